//! Processes that write to one table of DynamoDB and are killed in the middle of things: nothing that was acknowledged is
//! lost, no code is begun twice, and every sum is what counting finds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use aws_types::SdkConfig;
use coroner_diagnosis::Diagnosis;
use coroner_store::dynamodb::{emulator, make_table};
use coroner_store::{
    CandidateBegun, CandidateOutcome, Cost, Feedback, GroupQuery, Listed, NewCandidate, NewRun, Outcome,
    Owner, Query, RunId, Running, Status, Store, Taken, Within,
};
use jiff::Timestamp;

use crate::process::{Part, diagnosis, ended, given_folder, new};

/// Where the emulator listens, on this machine only.
const ENDPOINT: &str = "CORONER_TEST_DYNAMODB";
const AT_ONCE: usize = 4;
const KILLS: usize = 12;

fn config() -> Option<SdkConfig> {
    let endpoint = std::env::var(ENDPOINT).ok().filter(|it| !it.is_empty())?;
    Some(emulator(&endpoint))
}

/// Each folder has a table.
fn table(folder: &Path) -> String {
    format!("hosts-{}", folder.file_name().unwrap().to_str().unwrap().trim_start_matches('.'))
}

async fn open(config: &SdkConfig, folder: &Path) -> Store {
    Store::open_dynamodb(config, &table(folder), folder, None).await.unwrap()
}

fn died_of(n: u64) -> Diagnosis {
    let signature = format!("v1:{}", n % 3);
    Diagnosis { signature, cost_usd: Some(0.001), ..diagnosis() }
}

#[tokio::test]
#[ignore = "runs in a process of its own, and is killed"]
async fn part_works_until_it_is_killed() {
    let (Some(folder), Some(config)) = (given_folder(), config()) else { return };
    let store = open(&config, &folder).await;
    let run = store.find_run("bare").await.unwrap().unwrap().id;
    let me = std::process::id();
    for n in 0_u64.. {
        let id = store.begin(new(&format!("{me}-{n}"))).await.unwrap();
        println!("said begun {id}");
        let failed = n % 3 != 0;
        let status = if failed { Status::Failed } else { Status::Passed };
        let outcome = Outcome { diagnosis: failed.then(|| died_of(n)), ..ended(status) };
        store.finish(&id, outcome).await.unwrap();
        println!("said ended {id}");
        // the others try the same codes
        let candidate = NewCandidate {
            run,
            code: format!("a = {n}").into_bytes(),
            code_hash: n.to_string(),
            generation: 0,
            parents: Vec::new(),
            repair_of: None,
            proposer: "built-in".to_owned(),
            change: String::new(),
            feedback: Feedback::None,
            proposal_cost: Cost::default(),
        };
        let new = coroner_store::NewExperiment { id: None, ..new("") };
        if let CandidateBegun::Begun(id) = store.begin_candidate(new, candidate).await.unwrap() {
            println!("said begun {id}");
            let outcome = Outcome { diagnosis: Some(died_of(n)), ..ended(Status::TestFailed) };
            store.finish_candidate(&id, outcome, CandidateOutcome::default()).await.unwrap();
            println!("said ended {id}");
        }
    }
}

async fn everything(store: &Store) -> Vec<Listed> {
    let (mut all, mut query) = (Vec::new(), Query { limit: Some(500), ..Query::default() });
    loop {
        let page = store.list(query.clone()).await.unwrap();
        let total = page.total_count;
        all.extend(page.experiments);
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => {
                assert_eq!(total, all.len() as u64, "the totals agree with what is there");
                return all;
            }
        }
    }
}

#[tokio::test]
async fn whoever_is_killed_leaves_every_sum_right() {
    let Some(config) = config() else {
        println!(
            "skipped: many_hosts::whoever_is_killed_leaves_every_sum_right: {ENDPOINT} is not set: scripts/test starts an emulator"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    make_table(&config, &table(folder.path())).await.unwrap();
    let store = open(&config, folder.path()).await;
    let run = NewRun {
        task: "bare".to_owned(),
        settings: serde_json::json!({}),
        seed: 1,
        owner: Owner::this_process(),
        started_at: Timestamp::now(),
    };
    let run: RunId = store.start_run(run).await.unwrap();

    let start = || Part::start("many_hosts::part_works_until_it_is_killed", folder.path());
    let mut parts: Vec<Part> = (0..AT_ONCE).map(|_| start()).collect();
    let mut said = Vec::new();
    for kill in 0..KILLS {
        let place = kill % AT_ONCE;
        // in the middle of whatever comes after a few words, which is seldom the same
        said.extend((0..3 + kill).filter_map(|_| parts[place].hear()));
        std::thread::sleep(Duration::from_millis(kill as u64 * 7 % 23));
        said.extend(std::mem::replace(&mut parts[place], start()).kill());
    }
    parts.into_iter().for_each(|part| said.extend(part.kill()));

    store.close_orphans(Timestamp::now(), Running::seems_alive).await.unwrap();
    let all = everything(&store).await;
    let by_id: BTreeMap<String, &Listed> = all.iter().map(|it| (it.id.to_string(), it)).collect();
    assert_eq!(by_id.len(), all.len(), "each once");
    let mut acknowledged = 0;
    for line in &said {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["begun", id] => assert_ne!(by_id[id].status, Status::Running, "{id}"),
            ["ended", id] => {
                acknowledged += 1;
                assert!(!matches!(by_id[id].status, Status::Running | Status::Lost), "{id}");
            }
            // the last line may be cut off
            _ => {}
        }
    }
    assert!(acknowledged > 2 * KILLS, "{acknowledged}");

    let candidates = store.candidates(run).await.unwrap();
    let hashes: BTreeSet<_> = candidates.iter().map(|it| &it.code_hash).collect();
    assert_eq!(hashes.len(), candidates.len(), "no code was begun twice");

    let (mut statuses, mut lost) = (BTreeMap::<Status, u64>::new(), Taken::default());
    let mut causes = BTreeMap::<&str, u64>::new();
    for it in &all {
        *statuses.entry(it.status).or_default() += 1;
        if let Some(analysis) = &it.analysis {
            *causes.entry(&analysis.signature).or_default() += 1;
        }
        if it.status.failed() {
            lost.experiments += 1;
            lost.wall += it.duration.unwrap_or_default();
            lost.dollars += it.dollars;
        }
    }
    assert_eq!(store.totals().await.unwrap().by_status, statuses);
    let costs = store.costs(Within::default()).await.unwrap();
    assert_eq!((costs.lost.experiments, costs.lost.wall), (lost.experiments, lost.wall));
    assert!((costs.lost.dollars - lost.dollars).abs() < 1e-9, "{costs:?}");
    // the third is of candidates alone, and whoever tests one may be killed
    let known = causes.len();
    assert!(known >= 2, "{causes:?}");
    for (signature, count) in causes {
        assert_eq!(store.signature_stats(signature).await.unwrap().unwrap().count, count, "{signature}");
        let group = store.group(signature, Timestamp::now()).await.unwrap().unwrap();
        assert_eq!((group.count, group.trend.iter().sum::<u64>()), (count, count), "{signature}");
        let of_it = |it: &&Listed| it.analysis.as_ref().is_some_and(|it| it.signature == signature);
        let wall = all.iter().filter(of_it).filter_map(|it| it.duration).sum::<Duration>();
        assert_eq!(group.wall, wall, "{signature}");
    }
    let groups = store.groups(GroupQuery::default(), Timestamp::now()).await.unwrap().groups;
    assert_eq!(groups.len(), known, "none is missing from the list");
    // whoever looks on hears of everything that was acknowledged, though some who took a number died with it
    let mut heard = BTreeSet::new();
    let (mut since, mut waited) = (0, false);
    loop {
        let some = store.happenings(since, 50).await.unwrap();
        let Some(last) = some.last() else {
            // those behind a number whose owner died come a little later
            if since >= store.latest_happening().await.unwrap() && waited {
                break;
            }
            waited = true;
            tokio::time::sleep(Duration::from_secs(6)).await;
            continue;
        };
        since = last.id;
        heard.extend(some.iter().map(|it| (it.what.as_str(), it.experiment.id.to_string())));
    }
    assert_eq!(store.latest_happening().await.unwrap(), since);
    for line in &said {
        if let ["ended", id] = line.split(' ').collect::<Vec<_>>()[..] {
            assert!(heard.contains(&("ended", id.to_owned())), "{id}");
        }
    }
    println!("{} experiments, {acknowledged} ends acknowledged", all.len());
}
