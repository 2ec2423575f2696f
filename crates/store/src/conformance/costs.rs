//! What failures cost: by cause, kind and fault, over all, a type, a run, a window.

use std::collections::BTreeMap;
use std::time::Duration;

use coroner_diagnosis::{Category, Diagnosis, Exit, Origin, Severity};

use super::candidates::{begun, came_of, died, made, run_of};
use super::given::{Random, at, diagnosis, ended, failed, new, passed};
use crate::{
    CandidateBegun, CandidateOutcome, NewCandidate, Outcome, Retention, Scope, Status, Store, Taken,
    TopOrder, TopQuery, Within,
};

const HOUR: i64 = 3600;

fn within(scope: Scope) -> Within {
    Within { scope, ..Within::default() }
}

fn top(within: Within) -> TopQuery {
    TopQuery { within, origin: None, failures_only: false, order: TopOrder::Count, limit: 10 }
}

fn taken(experiments: u64, wall_ms: u64, cpu_ms: u64, dollars: f64) -> Taken {
    Taken { experiments, wall: Duration::from_millis(wall_ms), cpu: Duration::from_millis(cpu_ms), dollars }
}

fn outcome(
    status: Status,
    seconds: i64,
    wall_ms: u64,
    cpu_ms: Option<u64>,
    found: Option<Diagnosis>,
) -> Outcome {
    let plain = ended(status, seconds);
    let exit = plain.exit.clone().map(|exit| Exit {
        wall: Duration::from_millis(wall_ms),
        cpu: cpu_ms.map(Duration::from_millis),
        ..exit
    });
    Outcome { exit, diagnosis: found, ..plain }
}

pub(crate) async fn what_was_lost_adds_up(store: &Store) {
    let (oom, hang) = (diagnosis("v1:oom", "Out of memory."), diagnosis("v1:hang", "It hung."));
    let oom = Diagnosis { failure_category: Category::ResourceError, origin: Origin::Infrastructure, ..oom };
    let oom = Diagnosis { cost_usd: Some(0.004), ..oom };
    for (n, (kind, hours, wall, cpu, found)) in [
        ("train", 0, 1000, Some(900), Some(&oom)),
        ("train", 1, 2000, None, Some(&oom)),
        ("eval", 1, 5000, Some(10), Some(&hang)),
        ("train", 30, 7000, Some(7000), Some(&hang)),
        ("train", 31, 100, Some(50), None),
    ]
    .into_iter()
    .enumerate()
    {
        let id = store.begin(new(&format!("e{n}"), kind, "x", hours * HOUR)).await.unwrap();
        let status = if found.is_some() { Status::Failed } else { Status::Lost };
        let outcome = outcome(status, hours * HOUR + 9, wall, cpu, found.cloned());
        store.finish(&id, outcome).await.unwrap();
    }
    passed(store, "fine", "train", "x", 2 * HOUR, "").await; // 1.5 s
    store.begin(new("runs", "train", "x", 3 * HOUR)).await.unwrap();

    let all = store.costs(Within::default()).await.unwrap();
    assert_eq!((all.total, all.lost), (taken(6, 16_600, 7960, 0.008), taken(5, 15_100, 7960, 0.008)));
    assert_eq!(
        all.by_category,
        BTreeMap::from([
            (Category::ResourceError, taken(2, 3000, 900, 0.008)),
            (Category::Timeout, taken(2, 12_000, 7010, 0.0))
        ])
    );
    assert_eq!(all.by_origin[&Origin::Infrastructure], taken(2, 3000, 900, 0.008));
    assert_eq!((all.signatures, all.from, all.to, all.rejected.experiments), (2, None, None, 0));
    let train = store.costs(within(Scope::Type("train".into()))).await.unwrap();
    assert_eq!((train.total.experiments, train.lost), (5, taken(4, 10_100, 7950, 0.008)));
    let none = store.costs(within(Scope::Type("none".into()))).await.unwrap();
    assert_eq!(none, crate::Costs::default());

    // full hours that hold the window; a day in the middle
    for (since, until, lost) in [
        (Some(0), Some(1), 1),
        (Some(HOUR + 20), Some(HOUR + 40), 2),
        (Some(0), Some(30 * HOUR + 60), 4),
        (Some(2 * HOUR), None, 2),
        (None, Some(29 * HOUR), 3),
        (Some(-90 * 24 * HOUR), Some(90 * 24 * HOUR), 5),
        (Some(40 * HOUR), None, 0),
    ] {
        let window = Within { since: since.map(at), until: until.map(at), scope: Scope::All };
        let costs = store.costs(window.clone()).await.unwrap();
        assert_eq!(costs.lost.experiments, lost, "{window:?}");
        assert!(costs.from.is_none_or(|from| from <= window.since.unwrap() && from.as_second() % HOUR == 0));
        let top = store.top_signatures(top(window)).await.unwrap();
        let named: u64 = top.iter().map(|s| s.taken.experiments).sum();
        assert!(named == lost || named + 1 == lost, "one has no diagnosis: {named} of {lost}");
    }
    // another judgement moves what was lost, a later end too
    let id = store.get("e4").await.unwrap().listed.id;
    store.attach_diagnosis(&id, hang.clone()).await.unwrap();
    let all = store.costs(Within::default()).await.unwrap();
    assert_eq!(all.by_category[&Category::Timeout], taken(3, 12_100, 7060, 0.0));
    store.finish(&id, outcome(Status::Passed, 40 * HOUR, 400, None, None)).await.unwrap();
    let all = store.costs(Within::default()).await.unwrap();
    assert_eq!((all.total, all.lost), (taken(6, 16_900, 7910, 0.008), taken(4, 15_000, 7910, 0.008)));
}

pub(crate) async fn the_worst_come_first(store: &Store) {
    let of = |signature: &str, cause: &str, origin| Diagnosis { origin, ..diagnosis(signature, cause) };
    for (n, (signature, origin)) in [
        ("v1:a", Origin::Candidate),
        ("v1:b", Origin::Harness),
        ("v1:a", Origin::Candidate),
        ("v1:c", Origin::Candidate),
        ("v1:b", Origin::Harness),
        ("v1:a", Origin::Candidate),
        ("v1:d", Origin::Candidate),
        ("v1:a", Origin::Policy), // the same, judged otherwise
    ]
    .into_iter()
    .enumerate()
    {
        let found = of(signature, &format!("{signature} number {n}"), origin);
        failed(store, &format!("e{n}"), "t", &format!("x {n}"), n as i64, found).await;
    }
    let named = async |query: TopQuery| {
        let top = store.top_signatures(query).await.unwrap();
        top.into_iter().map(|s| (s.signature, s.taken.experiments, s.last_number)).collect::<Vec<_>>()
    };
    let row = |signature: &str, count, last| (format!("v1:{signature}"), count, last);
    let everything = [row("a", 3, 6), row("b", 2, 5), row("d", 1, 7), row("c", 1, 4), row("a", 1, 8)];
    assert_eq!(named(top(Within::default())).await, everything);
    assert_eq!(named(TopQuery { limit: 2, ..top(Within::default()) }).await, everything[..2]);
    let candidate = TopQuery { origin: Some(Origin::Candidate), ..top(Within::default()) };
    assert_eq!(named(candidate).await, [row("a", 3, 6), row("d", 1, 7), row("c", 1, 4)]);
    assert!(named(top(within(Scope::Type("other".into())))).await.is_empty());

    let first = &store.top_signatures(top(Within::default())).await.unwrap()[0];
    assert_eq!((first.root_cause.as_str(), first.last.name(), first.last_at), ("v1:a number 5", "e5", at(5)));
    assert_eq!(
        (first.origin, first.category, first.severity),
        (Origin::Candidate, Category::Timeout, Severity::Medium)
    );
    assert_eq!(first.fixed_by, None);
    let long = outcome(Status::Failed, 99, 60_000, None, Some(of("v1:c", "slow", Origin::Candidate)));
    let id = store.begin(new("slow", "t", "y", 90)).await.unwrap();
    store.finish(&id, long).await.unwrap();
    let by_time = TopQuery { order: TopOrder::Time, ..top(Within::default()) };
    assert_eq!(named(by_time).await[0], row("c", 2, 9));
    passed(store, "better", "t", "x 7", 100, "").await;
    let first = &store.top_signatures(top(Within::default())).await.unwrap()[0];
    let fixed = first.fixed_by.as_ref().unwrap();
    assert_eq!((fixed.failed.name(), fixed.passed.name(), fixed.number), ("e5", "better", 10));
    assert_eq!(fixed.how, "exp 10 passed after 5 → 7");
}

pub(crate) async fn what_mended_a_candidate_is_known(store: &Store) {
    let run = run_of(store, "bare", 0).await;
    let seed = begun(store, made(run, "seed", &[]), 1).await;
    store.finish_candidate(&seed, ended(Status::Adopted, 2), came_of(1.0)).await.unwrap();
    let fail = async |code: &str, signature: &str, parents: &[&crate::ExperimentId], seconds| {
        let id = begun(store, made(run, code, parents), seconds).await;
        store.finish_candidate(&id, died(signature, seconds), CandidateOutcome::default()).await.unwrap();
        id
    };
    let fixed = async |signature: &str| {
        let all = store.top_signatures(top(within(Scope::Run(run)))).await.unwrap();
        let it = all.into_iter().find(|s| s.signature == signature).unwrap();
        it.fixed_by.map(|f| (f.passed, f.how))
    };
    let broken = fail("broken", "v1:dtype", &[&seed], 3).await;
    // adopted, but no child of it
    let other = begun(store, made(run, "other", &[&seed]), 4).await;
    store.finish_candidate(&other, ended(Status::Adopted, 5), came_of(2.0)).await.unwrap();
    assert_eq!(fixed("v1:dtype").await, None);
    // two rounds of repair, the second of which ran and was measured
    let first = fail("first round", "v1:shape", &[&broken], 6).await;
    let second = NewCandidate { repair_of: Some(first.clone()), ..made(run, "second round", &[&first]) };
    let second = begun(store, second, 7).await;
    let worse = Outcome { status: Status::Rejected, ..died("v1:worse", 8) };
    store.finish_candidate(&second, worse, came_of(0.1)).await.unwrap();
    let how = format!("exp {} passed with: made it second round", second.number());
    assert_eq!(fixed("v1:dtype").await, Some((second.clone(), how.clone())));
    assert_eq!(fixed("v1:shape").await, Some((second.clone(), how)));
    let known = store.signature_stats("v1:shape").await.unwrap().unwrap();
    assert_eq!(known.passed_after.unwrap().passed, second);
    // being measured again is no way past not being good enough
    let still = begun(store, made(run, "still worse", &[&second]), 9).await;
    let worse = Outcome { status: Status::Rejected, ..died("v1:other", 10) };
    store.finish_candidate(&still, worse, came_of(0.1)).await.unwrap();
    assert_eq!(fixed("v1:worse").await, None);
    // it was not the code's fault at all
    let unlucky = fail("unlucky", "v1:disk", &[&seed], 11).await;
    store.mark_for_rerun(std::slice::from_ref(&unlucky)).await.unwrap();
    let again = begun(store, made(run, "unlucky", &[&seed]), 12).await;
    store.finish_candidate(&again, ended(Status::Adopted, 13), came_of(3.0)).await.unwrap();
    let how = format!("passed unchanged when it was tested again (exp {})", again.number());
    assert_eq!(fixed("v1:disk").await, Some((again, how)));

    let run_costs = store.costs(within(Scope::Run(run))).await.unwrap();
    assert_eq!((run_costs.total.experiments, run_costs.total.dollars), (8, 2.0));
    assert_eq!((run_costs.lost.experiments, run_costs.rejected), (3, taken(2, 3000, 0, 0.5)));
    let failures = TopQuery { failures_only: true, ..top(within(Scope::Type("bare".into()))) };
    let named: Vec<_> =
        store.top_signatures(failures).await.unwrap().into_iter().map(|s| s.signature).collect();
    assert_eq!(named, ["v1:disk", "v1:shape", "v1:dtype"]);
}

pub(crate) async fn rules_that_refuse_are_counted(store: &Store) {
    assert!(store.policy_refusals(None).await.unwrap().is_empty());
    let run = run_of(store, "bare", 0).await;
    for (n, rules) in
        [&["import", "name"][..], &["import"], &[], &["import", "import"]].into_iter().enumerate()
    {
        let id = begun(store, made(run, &n.to_string(), &[]), n as i64 * 10).await;
        let refused_by = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let refused = CandidateOutcome { refused_by, ..CandidateOutcome::default() };
        store.finish_candidate(&id, died("v1:refused", n as i64), refused).await.unwrap();
    }
    let counted = async |since| {
        let all = store.policy_refusals(since).await.unwrap();
        all.into_iter().map(|r| (r.rule, r.candidates, r.last_at)).collect::<Vec<_>>()
    };
    let (import, name) = (("import".to_owned(), 3, at(30)), ("name".to_owned(), 1, at(0)));
    assert_eq!(counted(None).await, [import, name]);
    assert_eq!(counted(Some(at(5))).await, [("import".to_owned(), 2, at(30))]);
}

/// The same, at random, to a store and to the simplest one: they must say the same of it.
#[tokio::test]
async fn sums_agree_with_looking_at_everything() {
    let (sqlite, _folder) = super::sqlite().await;
    sums_agree(&sqlite, 600).await;
    sqlite.close().await.unwrap();
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn sums_of_dynamodb_agree_with_looking_at_everything() {
    if let Some((dynamo, _folder)) = super::dynamo::store("sums_agree").await {
        sums_agree(&dynamo, 200).await;
    }
}

async fn sums_agree(summed: &Store, steps: i64) {
    let (memory, _folder) = super::memory().await;
    let mut random = Random(20_261_128);
    for store in [summed, &memory] {
        run_of(store, "bare", 0).await;
        run_of(store, "codec", 0).await;
    }
    let runs: Vec<_> = summed.runs(None, 9).await.unwrap().iter().map(|run| run.id).collect();
    let mut open: Vec<(crate::ExperimentId, bool)> = Vec::new();
    let mut closed = Vec::new();
    for step in 0..steps {
        let seconds = step * 400;
        let found = |random: &mut Random| {
            let origin = random.of(&[Origin::Candidate, Origin::Harness]);
            let found = diagnosis(random.of(&["v1:a", "v1:b", "v1:c", "v1:d"]), "It died.");
            let cost_usd = random.of(&[None, Some(0.001), Some(0.3)]);
            Diagnosis { origin, failure_category: random.of(Category::ALL), cost_usd, ..found }
        };
        match random.next() % 10 {
            0..2 => {
                let new = new("", random.of(&["", "train", "bare"]), "x", seconds);
                let new = crate::NewExperiment { id: Some(format!("plain {step}")), ..new };
                let id = summed.begin(new.clone()).await.unwrap();
                assert_eq!(memory.begin(new).await.unwrap(), id);
                open.push((id, false));
            }
            2..5 => {
                let parents: Vec<_> = closed.iter().rev().take(2).collect();
                let candidate = made(random.of(&runs), &format!("{}", random.next() % 150), &parents);
                let new = new(&format!("candidate {step}"), "", "x", seconds);
                let begun = summed.begin_candidate(new.clone(), candidate.clone()).await.unwrap();
                assert_eq!(memory.begin_candidate(new, candidate).await.unwrap(), begun);
                if let CandidateBegun::Begun(id) = begun {
                    open.push((id, true));
                }
            }
            5..8 if !open.is_empty() => {
                let (id, candidate) = open.swap_remove((random.next() >> 33) as usize % open.len());
                let statuses = match candidate {
                    true => [Status::TestFailed, Status::Rejected, Status::Adopted, Status::Lost],
                    false => [Status::Failed, Status::Passed, Status::Lost, Status::Failed],
                };
                let status = random.of(&statuses);
                let wanted = !status.succeeded() && status != Status::Lost;
                let found = wanted.then(|| found(&mut random));
                let outcome = outcome(status, seconds, random.next() >> 45, Some(random.next() >> 46), found);
                let came = CandidateOutcome {
                    refused_by: vec![random.of(&["import", "name"]).to_owned()],
                    ..came_of(1.0)
                };
                for store in [summed, &memory] {
                    match candidate && status != Status::Lost {
                        true => store.finish_candidate(&id, outcome.clone(), came.clone()).await.unwrap(),
                        false => store.finish(&id, outcome.clone()).await.unwrap(),
                    }
                }
                closed.push(id);
            }
            8 if !closed.is_empty() => {
                let id = closed[(random.next() >> 33) as usize % closed.len()].clone();
                let found = found(&mut random);
                for store in [summed, &memory] {
                    store.attach_diagnosis(&id, found.clone()).await.unwrap();
                }
                let ids = [id];
                assert_eq!(
                    summed.mark_for_rerun(&ids).await.unwrap(),
                    memory.mark_for_rerun(&ids).await.unwrap()
                );
            }
            _ if step % 97 == 0 => {
                let keep =
                    Retention { max_age: Some(Duration::from_secs(40 * 3600)), ..Retention::default() };
                for store in [summed, &memory] {
                    for run in &runs {
                        let end = crate::RunEnd {
                            state: crate::RunState::Stopped,
                            reason: String::new(),
                            at: at(seconds),
                        };
                        // its last candidate may have gone, and the run with it
                        let _ = store.end_run(*run, end).await;
                    }
                    let _ = store.prune(keep.clone(), at(seconds)).await.unwrap();
                    for run in &runs {
                        let _ = store.resume_run(*run, crate::Owner::this_process(), true).await;
                    }
                }
                for id in std::mem::take(&mut closed) {
                    if summed.get(&id.to_string()).await.is_ok_and(|kept| kept.listed.id == id) {
                        closed.push(id);
                    }
                }
            }
            _ => {}
        }
        if step % 20 == 0 {
            agree(summed, &memory, &runs, seconds).await;
        }
    }
}

async fn agree(a: &Store, b: &Store, runs: &[crate::RunId], seconds: i64) {
    let mut scopes = vec![Scope::All, Scope::Type("bare".into()), Scope::Type("train".into())];
    scopes.extend(runs.iter().map(|run| Scope::Run(*run)));
    for scope in scopes {
        for hours in [None, Some(3), Some(60)] {
            let since = hours.map(|hours| at(seconds - hours * HOUR));
            let within = Within { scope: scope.clone(), since, until: None };
            assert_eq!(
                a.costs(within.clone()).await.unwrap(),
                b.costs(within.clone()).await.unwrap(),
                "{within:?}"
            );
            let top = TopQuery {
                origin: hours.map(|_| Origin::Candidate),
                failures_only: hours == Some(3),
                order: if hours == Some(60) { TopOrder::Time } else { TopOrder::Count },
                ..top(within)
            };
            let (mut one, mut other) =
                (a.top_signatures(top.clone()).await.unwrap(), b.top_signatures(top.clone()).await.unwrap());
            // which of several descendants is the nearest is not the same question to both
            for it in one.iter_mut().chain(&mut other) {
                it.fixed_by = None;
            }
            assert_eq!(one, other, "{top:?}");
        }
    }
    assert_eq!(a.policy_refusals(None).await.unwrap(), b.policy_refusals(None).await.unwrap());
    for run in runs {
        assert_eq!(a.candidates(*run).await.ok(), b.candidates(*run).await.ok());
        assert_eq!(a.to_rerun(*run).await.ok(), b.to_rerun(*run).await.ok());
    }
}
