//! Runs of the lab's loop and their candidates: each code tested once, each candidate with one end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::given::{at, diagnosis, ended, failed, new};
use crate::{
    CandidateBegun, CandidateOutcome, Cost, Error, ExperimentId, Feedback, NewCandidate, NewRun, Outcome,
    Owner, Retention, RunEnd, RunId, RunState, Status, Store,
};

/// A process that is certainly gone.
fn gone() -> Owner {
    Owner { pid_start: Some(1), ..Owner::this_process() }
}

pub(crate) async fn run_of(store: &Store, task: &str, seconds: i64) -> RunId {
    let run = NewRun {
        task: task.to_owned(),
        settings: serde_json::json!({"generations": 3}),
        seed: u64::MAX,
        owner: Owner::this_process(),
        started_at: at(seconds),
    };
    store.start_run(run).await.unwrap()
}

pub(crate) fn made(run: RunId, code: &str, parents: &[&ExperimentId]) -> NewCandidate {
    NewCandidate {
        run,
        code: code.as_bytes().to_vec(),
        code_hash: format!("hash of {}", code.trim()),
        generation: parents.len() as u32,
        parents: parents.iter().copied().cloned().collect(),
        repair_of: None,
        proposer: "built-in".to_owned(),
        change: format!("made it {}", code.trim()),
        feedback: Feedback::Diagnosis,
        proposal_cost: Cost { dollars: 0.25, input_tokens: 900, output_tokens: 120 },
    }
}

pub(crate) async fn begun(store: &Store, candidate: NewCandidate, seconds: i64) -> ExperimentId {
    match store.begin_candidate(new("", "", "coroner test", seconds), candidate).await.unwrap() {
        CandidateBegun::Begun(id) => id,
        CandidateBegun::Known(id) => panic!("{id} has the same code"),
    }
}

pub(crate) fn came_of(score: f64) -> CandidateOutcome {
    CandidateOutcome {
        metrics: BTreeMap::from([("score".to_owned(), score), ("odd".to_owned(), f64::NAN)]),
        score: Some(score),
        result: serde_json::json!({"status": "adopted", "adopted": true, "reason": "better"}),
        refused_by: Vec::new(),
    }
}

pub(crate) fn died(signature: &str, seconds: i64) -> Outcome {
    Outcome { diagnosis: Some(diagnosis(signature, "It died.")), ..ended(Status::TestFailed, seconds) }
}

pub(crate) async fn runs_are_kept_and_resumed(store: &Store) {
    let first = run_of(store, "bare", 0).await;
    let second = run_of(store, "bare", 10).await;
    let other = run_of(store, "codec", 20).await;
    let run = store.run(first).await.unwrap();
    assert_eq!((run.task.as_str(), run.seed, run.state), ("bare", u64::MAX, RunState::Running));
    assert_eq!((run.settings["generations"].as_u64(), run.started_at), (Some(3), at(0)));
    assert_eq!(run.owner, Owner::this_process());
    assert_eq!(store.find_run("bare").await.unwrap().unwrap().id, second);
    assert!(store.find_run("none").await.unwrap().is_none());
    let ids = async |task, limit| {
        let runs = store.runs(task, limit).await.unwrap();
        runs.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 2).await, [other, second]);
    assert_eq!(ids(Some("bare"), 9).await, [second, first]);

    let end = RunEnd { state: RunState::Broken, reason: "numpy is missing".to_owned(), at: at(30) };
    store.end_run(first, end.clone()).await.unwrap();
    let run = store.run(first).await.unwrap();
    assert_eq!(
        (run.state, run.ended_at, run.reason.as_deref()),
        (RunState::Broken, Some(at(30)), Some("numpy is missing"))
    );
    let run = store.resume_run(first, gone(), false).await.unwrap();
    assert_eq!((run.state, run.ended_at, run.reason), (RunState::Running, None, None));
    // who resumed it was killed; then we resume it, and while we live nobody else does
    store.resume_run(first, Owner::this_process(), false).await.unwrap();
    let held = store.resume_run(first, gone(), false).await;
    assert!(matches!(held, Err(Error::RunIsHeld { id, .. }) if id == first), "{held:?}");
    store.resume_run(first, gone(), true).await.unwrap();
    let unknown = RunId(99);
    assert!(matches!(store.run(unknown).await, Err(Error::NoRun { .. })));
    assert!(matches!(store.end_run(unknown, end).await, Err(Error::NoRun { .. })));
    assert!(matches!(store.candidates(unknown).await, Err(Error::NoRun { .. })));
}

pub(crate) async fn a_code_is_tested_once(store: &Store) {
    let run = run_of(store, "bare", 0).await;
    let id = begun(store, made(run, "a = 1", &[]), 1).await;
    let again = async |seconds| {
        // comments and white space don't make another program
        store.begin_candidate(new("x", "", "t", seconds), made(run, "a = 1  ", &[])).await.unwrap()
    };
    assert_eq!(again(2).await, CandidateBegun::Known(id.clone()), "while it runs");
    store.finish_candidate(&id, died("v1:a", 3), CandidateOutcome::default()).await.unwrap();
    assert_eq!(again(4).await, CandidateBegun::Known(id.clone()), "and when it has ended");
    let other = run_of(store, "bare", 5).await;
    begun(store, made(other, "a = 1", &[]), 6).await;
    assert_eq!(store.candidates(run).await.unwrap().len(), 1);

    // the failure was not its own
    assert_eq!(store.mark_for_rerun(std::slice::from_ref(&id)).await.unwrap(), 1);
    assert_eq!(store.to_rerun(run).await.unwrap().iter().map(|c| &c.id).collect::<Vec<_>>(), [&id]);
    let CandidateBegun::Begun(second) = again(7).await else { panic!("it is marked") };
    assert_eq!((second.name(), second.attempt()), (id.name(), 2));
    assert!(store.to_rerun(run).await.unwrap().is_empty());
    assert_eq!(again(8).await, CandidateBegun::Known(second.clone()));
    assert_eq!(
        store.mark_for_rerun(&[id.clone(), second.clone()]).await.unwrap(),
        0,
        "replaced, and running"
    );
    store.finish_candidate(&second, ended(Status::Adopted, 9), came_of(0.5)).await.unwrap();
    let all = store.candidates(run).await.unwrap();
    let brief = |c: &crate::Candidate| (c.id.clone(), c.status, c.tries, c.replaced, c.rerun);
    assert_eq!(
        all.iter().map(brief).collect::<Vec<_>>(),
        [(id, Status::TestFailed, 1, true, false), (second, Status::Adopted, 2, false, false)]
    );
}

pub(crate) async fn a_candidate_is_kept_whole(store: &Store) {
    let run = run_of(store, "codec", 0).await;
    let seed = begun(store, made(run, "seed", &[]), 1).await;
    store.finish_candidate(&seed, ended(Status::Adopted, 2), came_of(1.0)).await.unwrap();
    let broken = begun(store, made(run, "broken", &[&seed]), 3).await;
    let outcome =
        CandidateOutcome { result: serde_json::json!({"status": "test_failed"}), ..Default::default() };
    store.finish_candidate(&broken, died("v1:bad", 4), outcome).await.unwrap();
    let mended = NewCandidate { repair_of: Some(broken.clone()), ..made(run, "mended", &[&broken, &seed]) };
    let mended = begun(store, mended, 5).await;
    store.finish_candidate(&mended, ended(Status::Rejected, 6), came_of(0.5)).await.unwrap();

    let kept = store.candidate(&mended).await.unwrap().unwrap();
    let c = &kept.candidate;
    assert_eq!((c.run, c.generation, c.status), (run, 2, Status::Rejected));
    assert_eq!((&c.parents, &c.repair_of), (&vec![broken.clone(), seed.clone()], &Some(broken.clone())));
    assert_eq!((c.proposer.as_str(), c.change.as_str()), ("built-in", "made it mended"));
    assert_eq!((c.feedback, c.code_hash.as_str()), (Feedback::Diagnosis, "hash of mended"));
    assert_eq!(c.proposal_cost, Cost { dollars: 0.25, input_tokens: 900, output_tokens: 120 });
    assert_eq!((c.score, &c.metrics), (Some(0.5), &BTreeMap::from([("score".to_owned(), 0.5)])));
    assert_eq!((kept.code_bytes, kept.result.unwrap()["adopted"].as_bool()), (6, Some(true)));
    let kept = store.candidate(&broken).await.unwrap().unwrap();
    assert_eq!(kept.children.iter().collect::<Vec<_>>(), [&mended]);
    let failure = kept.candidate.failure.as_ref().unwrap();
    assert_eq!((failure.signature.as_str(), failure.root_cause.as_str()), ("v1:bad", "It died."));
    let all = store.candidates(run).await.unwrap();
    assert_eq!(all.iter().map(|c| &c.id).collect::<Vec<_>>(), [&seed, &broken, &mended]);
    assert_eq!(
        (&all[1], &all[2]),
        (&kept.candidate, &store.candidate(&mended).await.unwrap().unwrap().candidate)
    );
    // what every experiment has, under the task's name
    let experiment = store.get(broken.name()).await.unwrap();
    assert_eq!(experiment.listed.experiment_type, "codec");
    assert!(experiment.diagnosis.is_some());

    let plain = failed(store, "plain", "codec", "x", 9, diagnosis("v1:bad", "It died.")).await;
    assert!(store.candidate(&plain).await.unwrap().is_none());
    assert!(matches!(store.candidate_code(&plain).await, Err(Error::NotACandidate { .. })));
    let open = store.begin(new("open", "codec", "x", 10)).await.unwrap();
    let wrong = store.finish_candidate(&open, ended(Status::Adopted, 11), came_of(1.0)).await;
    assert!(matches!(wrong, Err(Error::NotACandidate { .. })), "{wrong:?}");
    assert_eq!(store.get("open").await.unwrap().listed.status, Status::Running, "nothing of it was written");
    let orphan = made(run, "of nobody", &[&ExperimentId::new("nobody".into(), 1, 999)]);
    let wrong = store.begin_candidate(new("of-nobody", "", "x", 12), orphan).await;
    assert!(matches!(wrong, Err(Error::NotFound { .. })), "{wrong:?}");
    assert!(store.get("of-nobody").await.is_err(), "nothing of it was written");
}

pub(crate) async fn codes_come_back_untouched(store: &Store) {
    let run = run_of(store, "bare", 0).await;
    let long = super::given::noise(7, 300_000);
    let codes: [&[u8]; 5] = [b"", b"x = '\r\n'\t# \xff\xfe\0", "é = 1\n".as_bytes(), &long, b""];
    let mut ids = Vec::new();
    for (n, code) in codes.into_iter().enumerate() {
        let it = NewCandidate { code: code.to_vec(), ..made(run, &n.to_string(), &[]) };
        ids.push(begun(store, it, n as i64).await);
    }
    for (code, id) in codes.into_iter().zip(&ids) {
        assert!(store.candidate_code(id).await.unwrap() == code, "{id}");
    }
}

pub(crate) async fn what_is_lost_is_tested_again(store: &Store) {
    let run = run_of(store, "bare", 0).await;
    let (dead, slow) =
        (begun(store, made(run, "dead", &[]), 1).await, begun(store, made(run, "slow", &[]), 2).await);
    store.close_orphans(at(3), |_| false).await.unwrap();
    let marked = async || store.to_rerun(run).await.unwrap().into_iter().map(|c| c.id).collect::<Vec<_>>();
    assert_eq!(marked().await, [dead.clone(), slow.clone()]);
    // its watcher turned out to be alive
    store.finish_candidate(&slow, ended(Status::Adopted, 4), came_of(1.0)).await.unwrap();
    assert_eq!(marked().await.iter().collect::<Vec<_>>(), [&dead]);
    let second = begun(store, made(run, "dead", &[]), 5).await;
    // and so did the other's, but too late
    store.finish_candidate(&dead, died("v1:a", 6), CandidateOutcome::default()).await.unwrap();
    assert!(marked().await.is_empty());
    store.close_orphans(at(7), |_| false).await.unwrap();
    assert_eq!(marked().await, [second]);
}

pub(crate) async fn eight_at_once_begin_each_code_once(store: &Store) {
    let run = run_of(store, "bare", 0).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8_i64 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut mine = 0;
            for n in 0..40 {
                let candidate = made(run, &format!("program {}", (n * 7 + writer * 3) % 40), &[]);
                let begun = store.begin_candidate(new("", "", "t", n), candidate).await.unwrap();
                if let CandidateBegun::Begun(id) = begun {
                    mine += 1;
                    tokio::time::sleep(Duration::from_micros(200)).await;
                    store.finish_candidate(&id, died("v1:a", n), CandidateOutcome::default()).await.unwrap();
                }
            }
            mine
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<i32>(), 40);
    let all = store.candidates(run).await.unwrap();
    let hashes: std::collections::BTreeSet<_> = all.iter().map(|c| c.code_hash.clone()).collect();
    assert_eq!((all.len(), hashes.len()), (40, 40));
    assert!(all.iter().all(|c| c.status == Status::TestFailed && c.tries == 1));
}

pub(crate) async fn clean_up_takes_candidates_too(store: &Store) {
    let day = 24 * 3600;
    let (over, goes_on) = (run_of(store, "bare", -90 * day).await, run_of(store, "bare", -90 * day).await);
    let mut ids = Vec::new();
    for (run, days) in [(over, 80), (over, 70), (over, 1), (goes_on, 80)] {
        let parents: Vec<_> = ids.iter().rev().take(1).collect();
        let id = begun(store, made(run, &format!("day {days}"), &parents), -days * day).await;
        let refused = CandidateOutcome { refused_by: vec!["import".into()], ..Default::default() };
        store.finish_candidate(&id, died("v1:a", 1 - days * day), refused).await.unwrap();
        ids.push(id);
    }
    let end = RunEnd { state: RunState::Finished, reason: String::new(), at: at(0) };
    store.end_run(over, end.clone()).await.unwrap();
    let keep = Retention { max_age: Some(Duration::from_secs(30 * 24 * 3600)), ..Retention::default() };
    assert_eq!(store.prune(keep.clone(), at(0)).await.unwrap().experiments, 2);
    let kept = store.candidates(over).await.unwrap();
    assert_eq!(kept.iter().map(|c| &c.id).collect::<Vec<_>>(), [&ids[2]]);
    assert!(kept[0].parents.is_empty(), "what it was made from is gone");
    assert_eq!(store.candidates(goes_on).await.unwrap().len(), 1, "a run that goes on keeps its candidates");
    assert_eq!(store.candidate_code(&ids[2]).await.unwrap(), b"day 1");
    assert!(matches!(store.candidate(&ids[0]).await, Err(Error::NotFound { .. })));
    store.end_run(goes_on, end).await.unwrap();
    assert_eq!(store.prune(keep, at(0)).await.unwrap().experiments, 1);
    assert!(matches!(store.run(goes_on).await, Err(Error::NoRun { .. })), "nothing is left of it");
    assert_eq!(store.run(over).await.unwrap().task, "bare");
    assert_eq!(store.health(true).await.unwrap().problems, Vec::<String>::new());
}
