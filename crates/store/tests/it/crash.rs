//! Processes that are killed in the middle of things, and several that write at once.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use coroner_store::{
    CandidateBegun, CandidateOutcome, Cost, Error, Feedback, NewCandidate, NewRun, Outcome, Owner, Query,
    RunId, Running, Status, Store,
};
use jiff::Timestamp;

use crate::process::{Part, diagnosis, ended, given_folder, new, noise, open, read};

/// Every experiment of the store, by id.
async fn everything(store: &Store) -> BTreeMap<String, coroner_store::Listed> {
    let (mut all, mut query) = (BTreeMap::new(), Query { limit: Some(500), ..Query::default() });
    loop {
        let page = store.list(query.clone()).await.unwrap();
        all.extend(page.experiments.into_iter().map(|e| (e.id.to_string(), e)));
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => {
                assert_eq!(page.total_count, all.len() as u64, "the totals agree with what is there");
                let running = all.values().filter(|e| e.status == Status::Running).count() as u64;
                assert_eq!(page.running_commands, running);
                return all;
            }
        }
    }
}

#[tokio::test]
#[ignore = "runs in a process of its own, and is killed"]
async fn part_writes_until_it_is_killed() {
    let Some(folder) = given_folder() else { return };
    let store = open(&folder).await;
    let seed = u64::from(std::process::id());
    for n in 0.. {
        let id = store.begin(new(&format!("{seed}-{n}"))).await.unwrap();
        println!("said begun {id}");
        let mut writer = store.log_writer(&id);
        // small ones go into the database, large ones become files
        writer.write_all(&noise(seed + n, if n % 2 == 0 { 3_000 } else { 60_000 })).unwrap();
        let log = Some(writer.finish().await);
        let failed = n % 3 == 0;
        let status = if failed { Status::Failed } else { Status::Passed };
        let outcome = Outcome { log, diagnosis: failed.then(diagnosis), ..ended(status) };
        store.finish(&id, outcome).await.unwrap();
        println!("said ended {id} {n}");
    }
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (mut begun, mut done) = (Vec::new(), Vec::new());
    for after in [1, 2, 9, 26, 51, 80] {
        let mut part = Part::start("crash::part_writes_until_it_is_killed", folder.path());
        let pid = part.id();
        let mut said: Vec<_> = (0..after).filter_map(|_| part.hear()).collect();
        said.extend(part.kill());
        for line in said {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["begun", id] => begun.push(id.to_owned()),
                ["ended", id, n] => done.push((id.to_owned(), pid, n.parse::<u64>().unwrap())),
                // the last line may be cut off
                _ => {}
            }
        }

        let store = open(folder.path()).await;
        assert_eq!(store.health(true).await.unwrap().problems, Vec::<String>::new());
        let orphans = store.close_orphans(Timestamp::now(), Running::seems_alive).await.unwrap();
        assert!(orphans.len() <= 1, "one at a time was running: {orphans:?}");
        let all = everything(&store).await;
        for id in &begun {
            assert!(all.contains_key(id) && all[id].status != Status::Running, "{id}");
        }
        for (id, pid, n) in &done {
            let kept = &all[id];
            assert_eq!(kept.status, if n % 3 == 0 { Status::Failed } else { Status::Passed }, "{id}");
            assert_eq!(kept.analysis.is_some(), n % 3 == 0, "{id}");
            let expected = noise(u64::from(*pid) + n, if n % 2 == 0 { 3_000 } else { 60_000 });
            assert!(read(&store, kept.log.unwrap()).await == expected, "{id}");
        }
        store.close().await.unwrap();
    }
    assert!(done.len() >= 80, "{}", done.len());
    let store = open(folder.path()).await;
    let known = store.signature_stats(&diagnosis().signature).await.unwrap().unwrap();
    let failed = everything(&store).await.values().filter(|e| e.status == Status::Failed).count();
    assert_eq!(known.count, failed as u64);
}

#[tokio::test]
#[ignore = "runs in a process of its own, and is killed"]
async fn part_prints_and_waits() {
    let Some(folder) = given_folder() else { return };
    let store = open(&folder).await;
    let id = store.begin(new("long")).await.unwrap();
    let mut writer = store.log_writer(&id);
    writer.write_all(&noise(1, 200_000)).unwrap();
    writer.write_all(b"\nTraceback (most recent call last):\n").unwrap();
    println!("said printed");
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

#[tokio::test]
async fn what_an_orphan_printed_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut part = Part::start("crash::part_prints_and_waits", folder.path());
    assert_eq!(part.hear().as_deref(), Some("printed"));
    let store = open(folder.path()).await;
    assert!(store.find_orphans(Running::seems_alive).await.unwrap().is_empty(), "it is alive");
    let alive = store.find_orphans(|_| false).await.unwrap();
    assert_eq!((alive.len(), alive[0].log_is_open), (1, Some(true)));
    // what was printed reaches the file by itself soon, although the writer has not been asked to flush
    let partial = folder.path().join("t.db-logs/partial/1.zst");
    let since = Instant::now();
    while std::fs::metadata(&partial).map_or(0, |data| data.len()) < 200_030 {
        assert!(since.elapsed() < Duration::from_secs(60), "the log is held back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    part.kill();

    let orphans = store.close_orphans(Timestamp::now(), Running::seems_alive).await.unwrap();
    assert_eq!((orphans.len(), orphans[0].experiment.log_is_open), (1, Some(false)));
    let mut expected = noise(1, 200_000);
    expected.extend(b"\nTraceback (most recent call last):\n");
    assert!(read(&store, orphans[0].log.unwrap()).await == expected);
    let kept = store.get("long").await.unwrap();
    assert_eq!(kept.listed.status, Status::Lost);
    assert!(!partial.exists(), "it is a proper log now");
    store.attach_diagnosis(&kept.listed.id, diagnosis()).await.unwrap();
    assert!(store.get("long").await.unwrap().diagnosis.is_some());
}

#[tokio::test]
#[ignore = "runs in a process of its own, beside others"]
async fn part_writes_a_hundred() {
    let Some(folder) = given_folder() else { return };
    let store = open(&folder).await;
    for _ in 0..100 {
        // all use one id, as a job does that is run again and again
        let id = store.begin(new("nightly")).await.unwrap();
        store.finish(&id, Outcome { diagnosis: Some(diagnosis()), ..ended(Status::Failed) }).await.unwrap();
        println!("said {id}");
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn several_processes_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // none of them finds a store: they make it all at the same time
    let parts: Vec<_> = (0..4).map(|_| Part::start("crash::part_writes_a_hundred", folder.path())).collect();
    let mut ids: Vec<_> = parts.into_iter().flat_map(Part::end).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 400, "each has an attempt of its own");
    let store = open(folder.path()).await;
    assert_eq!(everything(&store).await.into_keys().collect::<Vec<_>>(), ids);
    assert_eq!(store.get("nightly").await.unwrap().listed.id.attempt(), 400);
    assert_eq!(store.signature_stats(&diagnosis().signature).await.unwrap().unwrap().count, 400);
    assert_eq!(store.health(true).await.unwrap().problems, Vec::<String>::new());
}

/// Candidates of one run, one after the other: those that are to be tested again first.
#[tokio::test]
#[ignore = "runs in a process of its own, and is killed"]
async fn part_tests_candidates_until_it_is_killed() {
    let Some(folder) = given_folder() else { return };
    let store = open(&folder).await;
    let run = match store.find_run("bare").await.unwrap() {
        Some(run) => store.resume_run(run.id, Owner::this_process(), false).await.unwrap().id,
        None => {
            let new = NewRun {
                task: "bare".to_owned(),
                settings: serde_json::Value::Null,
                seed: 1,
                owner: Owner::this_process(),
                started_at: Timestamp::now(),
            };
            store.start_run(new).await.unwrap()
        }
    };
    let again: Vec<_> = store.to_rerun(run).await.unwrap().into_iter().map(|c| c.code_hash).collect();
    let known = store.candidates(run).await.unwrap().len();
    for hash in again.into_iter().chain((known..).map(|n| format!("{}", n / 2))) {
        let code = format!("print({hash})").into_bytes();
        let candidate = NewCandidate {
            run,
            code,
            code_hash: hash.clone(),
            generation: 1,
            parents: Vec::new(),
            repair_of: None,
            proposer: "test".to_owned(),
            change: String::new(),
            feedback: Feedback::None,
            proposal_cost: Cost { dollars: 0.001, ..Cost::default() },
        };
        let new = coroner_store::NewExperiment { id: None, ..new("any") };
        match store.begin_candidate(new, candidate).await.unwrap() {
            CandidateBegun::Known(_) => {}
            CandidateBegun::Begun(id) => {
                println!("said begun {hash}");
                let outcome = Outcome { diagnosis: Some(diagnosis()), ..ended(Status::TestFailed) };
                let result = serde_json::json!({"status": "test_failed", "adopted": false, "code": hash});
                let came = CandidateOutcome { result, ..CandidateOutcome::default() };
                store.finish_candidate(&id, outcome, came).await.unwrap();
                println!("said ended {hash}");
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_is_killed_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (mut begun, mut done) = (Vec::new(), Vec::new());
    let mut run: Option<RunId> = None;
    for after in [1, 2, 3, 5, 8, 13, 14, 21, 34, 40] {
        let mut part = Part::start("crash::part_tests_candidates_until_it_is_killed", folder.path());
        let mut said: Vec<_> = (0..after).filter_map(|_| part.hear()).collect();
        if let Some(run) = run {
            let store = open(folder.path()).await;
            let held = store.resume_run(run, Owner::this_process(), false).await;
            assert!(matches!(held, Err(Error::RunIsHeld { .. })), "one process at a time: {held:?}");
            store.close().await.unwrap();
        }
        said.extend(part.kill());
        for line in said {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["begun", hash] => begun.push(hash.to_owned()),
                ["ended", hash] => done.push(hash.to_owned()),
                // the last line may be cut off
                _ => {}
            }
        }
        let store = open(folder.path()).await;
        store.close_orphans(Timestamp::now(), Running::seems_alive).await.unwrap();
        run = store.find_run("bare").await.unwrap().map(|run| run.id);
        let all = store.candidates(run.unwrap()).await.unwrap();
        for it in &all {
            assert_ne!(it.status, Status::Running);
            // an end that was seen is the last one; one that was not is tested again, once
            assert_eq!(it.rerun, it.status == Status::Lost && !it.replaced, "{it:?}");
            assert!(!it.replaced || it.status == Status::Lost, "{it:?}");
            let record = store.candidate(&it.id).await.unwrap().unwrap();
            let expected = (it.status == Status::TestFailed).then_some(it.code_hash.as_str());
            assert_eq!(
                record.result.as_ref().and_then(|r| r["code"].as_str()),
                expected,
                "end and result are one"
            );
            assert_eq!(it.failure.is_some(), expected.is_some());
        }
        let current: Vec<_> = all.iter().filter(|it| !it.replaced).collect();
        let hashes: std::collections::BTreeSet<_> = current.iter().map(|it| &it.code_hash).collect();
        assert_eq!(hashes.len(), current.len(), "no code has two candidates");
        for hash in &begun {
            assert!(hashes.contains(hash), "{hash}");
        }
        for hash in &done {
            let it = current.iter().find(|it| it.code_hash == *hash).unwrap();
            assert_eq!(it.status, Status::TestFailed, "{hash}");
        }
        store.close().await.unwrap();
    }
    assert!(done.len() >= 40, "{}", done.len());
    let each: std::collections::BTreeSet<_> = done.iter().collect();
    assert_eq!(each.len(), done.len(), "no code has ended twice");
    let store = open(folder.path()).await;
    let costs = store.costs(coroner_store::Within::default()).await.unwrap();
    let all = store.candidates(run.unwrap()).await.unwrap();
    assert_eq!(costs.lost.experiments, all.len() as u64);
    assert_eq!((costs.lost.dollars * 1000.0).round() as usize, all.len());
}
