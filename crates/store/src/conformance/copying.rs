//! A store that has everything is copied there and back, broken off on the way and taken up again: all that it answers stays the
//! same, and what is written afterwards goes on from it.

use std::fmt::Debug;
use std::io::Read;

use coroner_diagnosis::{Category, Origin, Severity};

use super::candidates::{begun, came_of, died, made, run_of};
use super::given::{at, diagnosis, ended, failed, log_of, new, noise, passed, saved, verdict};
use super::{memory, sqlite};
use crate::{
    By, Decision, Error, GroupOrder, GroupQuery, NewCandidate, Outcome, Query, Role, Ruling, RunEnd,
    RunState, Sort, Spent, Status, Step, Store, TokenScope, TopOrder, TopQuery, Within,
};

/// At least one of everything that is copied.
async fn filled() -> (Store, tempfile::TempDir) {
    let (store, folder) = sqlite().await;
    for i in 0..8 {
        passed(&store, &format!("good-{i}"), "train", "python train.py", 10 * i, "all went well\n").await;
    }
    // logs: small, large, the same again, and one of which only a note is left
    for (id, log) in
        [("small", b"it died\n".to_vec()), ("large", noise(7, 100_000)), ("again", noise(7, 100_000))]
    {
        let begun = store.begin(new(id, "train", "python train.py", 100)).await.unwrap();
        let (log, diagnosis) =
            (Some(log_of(&store, &log).await), Some(diagnosis("v1:log", "The logs are odd.")));
        let outcome = Outcome { log, diagnosis, reason: Some("why".into()), ..ended(Status::Failed, 101) };
        store.finish(&begun, outcome).await.unwrap();
    }
    // attempts of one name, of several verdicts; one that was lost, one that runs
    for (i, (category, severity, origin)) in [
        (Category::Timeout, Severity::High, Origin::Candidate),
        (Category::ResourceError, Severity::Critical, Origin::Infrastructure),
        (Category::ImportError, Severity::Low, Origin::Harness),
    ]
    .into_iter()
    .enumerate()
    {
        failed(&store, "nightly", "test", "pytest -q", 200 + i as i64, verdict(category, severity, origin))
            .await;
    }
    let lost = store.begin(new("lost", "", "sleep 9", 300)).await.unwrap();
    store.finish(&lost, ended(Status::Lost, 310)).await.unwrap();
    store.begin(new("runs", "train", "sleep 9", 320)).await.unwrap();
    let reported =
        store.save_diagnoses(vec![saved(Some("far"), 330, diagnosis("v1:far", "It was far."), None)]);
    let far = reported.await.unwrap().remove(0).id;
    store.keep_source(&far, b"print('far')\n").await.unwrap();

    // groups: joined, split, resolved and come again, muted, assigned
    for (i, cause) in ["disk 1 is full", "disk 2 is full", "the network is gone"].iter().enumerate() {
        failed(&store, "", "train", "cp a b", 400 + i as i64, diagnosis("v1:wide", cause)).await;
    }
    for (i, signature) in ["v1:one", "v1:two", "v1:three", "v1:muted", "v1:done"].into_iter().enumerate() {
        failed(
            &store,
            "",
            "train",
            "cp a b",
            410 + i as i64,
            diagnosis(signature, &format!("It is {signature}.")),
        )
        .await;
    }
    store.split_group("v1:wide", "network", "ada", at(500)).await.unwrap();
    store.join_groups("v1:two", "v1:one").await.unwrap();
    store.join_groups("v1:three", "v1:one").await.unwrap();
    store.part_group("v1:three").await.unwrap();
    for (signature, decision) in [
        ("v1:one", Decision::Assign(Some("bob".into()))),
        ("v1:muted", Decision::Mute(Some(at(9_000_000)))),
        ("v1:done", Decision::Resolve),
        ("v1:log", Decision::Resolve),
    ] {
        store.decide(signature, decision, "ada", at(510)).await.unwrap();
    }
    failed(&store, "", "train", "cp a b", 600, diagnosis("v1:log", "The logs are odd.")).await;
    failed(&store, "", "train", "cp a b", 601, diagnosis("v1:two", "It is v1:two.")).await;

    // what people said: one in force, one taken back, one replaced; and voted
    let ruling = |cause: &str| Ruling {
        cause: Some(cause.into()),
        severity: Some(Severity::Low),
        ..Ruling::default()
    };
    store.correct("v1:far", ruling("It was too far."), "ada", at(620), Some(&far)).await.unwrap();
    let wrong = store.correct("v1:one", ruling("It is not one."), "bob", at(630), None).await.unwrap();
    store.replay(wrong.id, true).await.unwrap();
    store.take_back(wrong.id, "ada", at(640)).await.unwrap();
    let first = store.correct("v1:two", ruling("It is two."), "bob", at(650), None).await.unwrap();
    store.replay(first.id, true).await.unwrap();
    store.correct("v1:two", ruling("It is two and a half."), "ada", at(660), None).await.unwrap();
    store.vote(&far, "ada", Some(true), at(670)).await.unwrap();
    store.vote(&far, "bob", Some(false), at(671)).await.unwrap();

    // the lab
    let run = run_of(&store, "codec", 700).await;
    let parent = begun(&store, made(run, "a = 1\n", &[]), 701).await;
    store.finish_candidate(&parent, ended(Status::Adopted, 702), came_of(0.5)).await.unwrap();
    let child = begun(&store, made(run, "a = 2\n", &[&parent]), 703).await;
    let refused = crate::CandidateOutcome { refused_by: vec!["no-eval".into()], ..came_of(0.1) };
    store.finish_candidate(&child, died("v1:cand", 704), refused).await.unwrap();
    let mends = NewCandidate { repair_of: Some(child.clone()), ..made(run, "a = 3\n", &[&parent]) };
    let mends = begun(&store, mends, 705).await;
    store.finish_candidate(&mends, ended(Status::Rejected, 706), came_of(0.4)).await.unwrap();
    store.mark_for_rerun(std::slice::from_ref(&mends)).await.unwrap();
    let again = begun(&store, made(run, "a = 3\n", &[&parent]), 707).await;
    store.finish_candidate(&again, ended(Status::Lost, 708), came_of(0.0)).await.unwrap();
    let end = RunEnd { state: RunState::Stopped, reason: "enough".into(), at: at(709) };
    store.end_run(run, end).await.unwrap();

    // people and programs, and what is switched off
    store.add_user("ada", Role::Admin, "$argon2id$ada", at(800)).await.unwrap();
    store.add_user("bob", Role::Viewer, "$argon2id$bob", at(801)).await.unwrap();
    store.set_totp("ada", Some(vec![1, 2, 3])).await.unwrap();
    store.change_user("bob", None, Some(true), at(802)).await.unwrap();
    store.add_token("ci", TokenScope::Report, [7; 32], "ada", at(803)).await.unwrap();
    store.add_token("old", TokenScope::Read, [8; 32], "ada", at(804)).await.unwrap();
    store.revoke_token("old", at(805)).await.unwrap();
    store.silence("python.key_error", Some("ada"), at(806)).await.unwrap();
    store.record_spend("2025-10-17".parse().unwrap(), Spent { calls: 3, dollars: 0.125 }).await.unwrap();
    store.expect_alerts().await.unwrap();
    let step = crate::AlertStep {
        version: 0,
        memory: "{\"of\": \"alerts\"}".into(),
        done: Vec::new(),
        counted: vec![(far.number(), "mail".into())],
        messages: Vec::new(),
    };
    assert!(store.settle_alerts(step).await.unwrap());
    (store, folder)
}

fn say(all: &mut Vec<String>, what: &str, value: impl Debug) {
    all.push(format!("{what}: {value:?}"));
}

/// Whatever the API answers, in words. What runs is not copied, and looked past.
async fn everything(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    for sort in Sort::WORDS {
        let query = Query { limit: Some(500), sort: sort.parse().unwrap(), ..Query::default() };
        let mut page = store.list(query).await.unwrap().experiments;
        page.retain(|it| it.status != Status::Running);
        say(&mut all, sort, page.iter().map(|it| it.id.to_string()).collect::<Vec<_>>());
    }
    let listed = store.list(Query { limit: Some(500), ..Query::default() }).await.unwrap().experiments;
    for it in listed.iter().filter(|it| it.status != Status::Running) {
        let id = &it.id;
        let whole = store.numbered(id.number()).await.unwrap();
        if let Some(log) = &whole.log {
            let mut bytes = Vec::new();
            store.read_log(log.id).await.unwrap().read_to_end(&mut bytes).unwrap();
            say(&mut all, "log", (id, bytes.len(), crate::LogId::of(&bytes) == log.id));
        }
        say(&mut all, "whole", whole);
        say(&mut all, "candidate", store.candidate(id).await.unwrap());
        say(&mut all, "code", store.candidate_code(id).await.ok());
        say(&mut all, "votes", store.votes(id).await.unwrap());
        let analysis = it.analysis.as_ref();
        let (signature, cause) = analysis.map_or(("", ""), |it| (&*it.signature, &*it.root_cause));
        say(&mut all, "similar", store.similar(signature, cause, Some(id), 3).await.unwrap());
        say(&mut all, "known", store.signature_stats(signature).await.unwrap());
        say(&mut all, "success", store.last_success(&it.experiment_type, &it.command).await.unwrap());
    }
    for q in ["died", "network", "nightly", "far"] {
        let found = store.list(Query { q: Some(q.into()), ..Query::default() }).await.unwrap().experiments;
        say(&mut all, q, found.iter().map(|it| it.id.to_string()).collect::<Vec<_>>());
    }
    for order in [GroupOrder::Latest, GroupOrder::Largest, GroupOrder::Newest] {
        let query = GroupQuery { order, ..GroupQuery::default() };
        for group in store.groups(query, at(1000)).await.unwrap().groups {
            say(&mut all, "group", group);
        }
    }
    say(&mut all, "corrections", store.corrections(None).await.unwrap());
    for signature in ["v1:two", "v1:far"] {
        say(&mut all, signature, store.corrections(Some(signature)).await.unwrap());
    }
    for run in store.runs(None, 9).await.unwrap() {
        say(&mut all, "candidates", store.candidates(run.id).await.unwrap());
        say(&mut all, "to rerun", store.to_rerun(run.id).await.unwrap());
        let within = Within { scope: crate::Scope::Run(run.id), ..Within::default() };
        say(&mut all, "costs", store.costs(within).await.unwrap());
        say(&mut all, "run", run);
    }
    for name in ["ada", "bob"] {
        let word = store.credentials(name).await.unwrap().unwrap();
        say(&mut all, name, (word.password, word.role, word.totp, word.disabled));
    }
    say(&mut all, "users", store.users().await.unwrap());
    say(&mut all, "tokens", store.tokens().await.unwrap());
    for hash in [[7; 32], [8; 32]] {
        say(&mut all, "token", store.token(hash).await.unwrap());
    }
    say(&mut all, "silenced", store.silenced().await.unwrap());
    let (from, to) = ("2025-01-01".parse().unwrap(), "2026-01-01".parse().unwrap());
    say(&mut all, "spent", store.spent_within(from, to).await.unwrap());
    say(&mut all, "costs", store.costs(Within::default()).await.unwrap());
    let top = TopQuery {
        within: Within::default(),
        origin: None,
        failures_only: false,
        order: TopOrder::default(),
        limit: 50,
    };
    say(&mut all, "top", store.top_signatures(top).await.unwrap());
    say(&mut all, "refusals", store.policy_refusals(None).await.unwrap());
    say(&mut all, "days", store.series(at(0), at(9000), By::Category, Step::Day).await.unwrap());
    let round = store.alert_round(50).await.unwrap().unwrap();
    say(&mut all, "alerts", (round.memory, round.events.len()));
    all
}

/// Copies, but dies several times on the way: behind the first step, and wherever it may be after a while.
async fn copied_with_breaks(from: &Store, to: &Store) -> crate::Copied {
    let (enough, mut told) = tokio::sync::mpsc::unbounded_channel();
    let progress = |_: crate::CopyProgress| _ = enough.send(());
    tokio::select! {
        biased;
        _ = told.recv() => {}
        done = from.copy_into(to, &progress) => panic!("it was not broken off: {done:?}"),
    }
    for milliseconds in [10, 40, 90, 200, 400] {
        let some_time = std::time::Duration::from_millis(milliseconds);
        _ = tokio::time::timeout(some_time, from.copy_into(to, &|_| {})).await;
    }
    from.copy_into(to, &|_| {}).await.unwrap()
}

fn compare(a: &[String], b: &[String]) {
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a, b);
    }
    assert_eq!(a.len(), b.len());
}

/// There and, from there, into a file again.
async fn there_and_back(there: &Store) {
    let (from, _folder) = filled().await;
    let before = everything(&from).await;
    let version = from.version().await.unwrap();
    let copied = copied_with_breaks(&from, there).await;
    assert!(copied.counts().iter().all(|(_, both)| both.from == both.to && both.from > 0), "{copied:?}");
    assert_eq!((copied.running, copied.logs_missing, copied.is_whole()), (1, 0, false));
    compare(&everything(there).await, &before);
    let again = from.copy_into(there, &|_| {}).await.unwrap();
    assert_eq!(
        (again.copied, again.known, again.experiments),
        (0, copied.experiments.to, copied.experiments)
    );

    let (back, _folder) = sqlite().await;
    let returned = there.copy_into(&back, &|_| {}).await.unwrap();
    assert!(returned.is_whole() && returned.copied == copied.experiments.from, "{returned:?}");
    compare(&everything(&back).await, &before);
    assert_eq!(from.version().await.unwrap(), version, "what is copied is only read");

    // and both go on from there
    for store in [there, &back] {
        let id =
            failed(store, "nightly", "test", "pytest -q", 2000, diagnosis("v1:done", "It is v1:done.")).await;
        assert_eq!(
            (id.attempt(), id.number()),
            (4, from.list(Query::default()).await.unwrap().total_count + 1)
        );
        let group = store.group("v1:done", at(2001)).await.unwrap().unwrap();
        assert_eq!((group.state, group.count), (crate::GroupState::Open, 2));
        for word in store.corrections(Some("v1:two")).await.unwrap() {
            store.take_back(word.id, "ada", at(2002)).await.unwrap();
        }
        let two = Query { signature: Some("v1:two".into()), ..Query::default() };
        let causes = store.list(two).await.unwrap().experiments;
        assert!(causes.iter().all(|it| it.analysis.as_ref().unwrap().root_cause == "It is v1:two."));
        let round = store.alert_round(50).await.unwrap().unwrap();
        assert!(!round.events.is_empty());
        assert!(
            store.add_token("new", TokenScope::Read, [9; 32], "ada", at(2003)).await.unwrap().unwrap().id > 2
        );
        assert_eq!(run_of(store, "codec", 2004).await.number(), 2);
    }
}

#[tokio::test]
async fn a_file_into_a_file() {
    let (there, _folder) = sqlite().await;
    there_and_back(&there).await;
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn a_file_into_a_table_and_back() {
    let Some((backend, logs, _folder)) = super::dynamo::backend("copying").await else {
        return;
    };
    there_and_back(&Store::over(backend, logs)).await;
}

#[tokio::test]
async fn what_is_in_the_way_is_told_and_nothing_is_written() {
    let (from, _folder) = filled().await;
    let (other, _other) = sqlite().await;
    failed(&other, "mine", "train", "x", 0, diagnosis("v1:mine", "It is mine.")).await;
    run_of(&other, "mine", 0).await;
    other.add_token("ci", TokenScope::Read, [1; 32], "eve", at(0)).await.unwrap();
    let before = other.totals().await.unwrap().total;
    let told = from.copy_into(&other, &|_| {}).await.unwrap_err();
    let said = told.to_string();
    assert!(matches!(told, Error::Taken { .. }) && !told.is_store_failure(), "{said}");
    for part in ["run 1", "token `ci`", "experiment 1 (`mine`, attempt 1)", "nothing was written"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!((other.totals().await.unwrap().total, other.users().await.unwrap().len()), (before, 0));
    // what can't be copied says so too
    let (simple, _simple) = memory().await;
    assert!(matches!(simple.copy_into(&other, &|_| {}).await, Err(Error::Closed)));
}

/// A log that is not to be had is told each time, and comes when it is.
async fn logs_come_later(to: &Store) {
    let (from, folder) = filled().await;
    let (logs, away) = (folder.path().join("test.db-logs"), folder.path().join("away"));
    std::fs::rename(&logs, &away).unwrap();
    for copied in [17, 0] {
        let told = from.copy_into(to, &|_| {}).await.unwrap();
        assert_eq!((told.copied > 0, told.logs_missing, told.logs_later), (copied > 0, 2, 0));
        assert_eq!((told.experiments.to, told.logs.to), (told.experiments.from, told.logs.from - 2));
        assert!(told.why_missing.is_some() && !told.is_whole());
        let large = to.get("large").await.unwrap();
        assert!(large.log.is_none() && large.diagnosis.is_some());
        assert!(large.log_note.unwrap().contains("could not be copied"));
        assert!(to.get("small").await.unwrap().log.is_some());
    }
    // cut off, it is none
    std::fs::rename(&away, &logs).unwrap();
    let whole = from.get("large").await.unwrap();
    let file = {
        let hex = whole.log.clone().unwrap().id.to_string();
        let all =
            std::fs::read_dir(&logs).unwrap().flat_map(|it| std::fs::read_dir(it.unwrap().path()).unwrap());
        let mut all = all.map(|it| it.unwrap().path());
        all.find(|it| it.to_string_lossy().replace('/', "").contains(&hex)).unwrap()
    };
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let told = from.copy_into(to, &|_| {}).await.unwrap();
    assert!(told.logs_missing == 2 && told.why_missing.unwrap().contains("were written"));
    std::fs::write(&file, &bytes).unwrap();
    for later in [2, 0] {
        let told = from.copy_into(to, &|_| {}).await.unwrap();
        assert_eq!((told.copied, told.logs_missing, told.logs_later), (0, 0, later));
        assert_eq!(told.logs.to, told.logs.from);
    }
    let large = to.get("large").await.unwrap();
    let mut read = Vec::new();
    to.read_log(large.log.unwrap().id).await.unwrap().read_to_end(&mut read).unwrap();
    let mut ours = Vec::new();
    from.read_log(whole.log.unwrap().id).await.unwrap().read_to_end(&mut ours).unwrap();
    assert!(read == ours && large.log_note == whole.log_note);
}

#[tokio::test]
async fn a_log_that_is_nowhere_is_noted() {
    let (to, _to) = sqlite().await;
    logs_come_later(&to).await;
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn a_log_that_a_table_did_not_get_comes_later() {
    let Some((backend, logs, _folder)) = super::dynamo::backend("logs_later").await else { return };
    logs_come_later(&Store::over(backend, logs)).await;
}
