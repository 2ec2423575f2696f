//! The loop over a real store and a bench that measures by looking: what fails, whose fault it is and what it costs are
//! chosen by the text of a candidate.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use coroner_diagnosis::{Capture, Diagnosis, Origin, RuleSet, Settings as Rules, diagnose};
use coroner_store::{Cost, Feedback, RunState, Status, Store};

use super::*;
use crate::propose::{Brief, Builtin, Errand, Proposal, Proposer, ProposerError};

/// Measures `A` and `B`; fails where they are out of range.
struct Toy {
    tests: Mutex<HashMap<String, u64>>,
    count: AtomicU64,
    broken: std::sync::atomic::AtomicBool,
}

impl Toy {
    fn new() -> Self {
        Self { tests: Mutex::default(), count: AtomicU64::new(0), broken: false.into() }
    }
}

fn value(code: &str, name: &str) -> Option<f64> {
    let line = code.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
    line.trim_matches(['(', ')']).parse().ok()
}

fn why(log: &str, code: &str) -> Diagnosis {
    let rules = RuleSet::new(&[]).unwrap();
    let capture = Capture {
        error_message: Some(log.to_owned()),
        code: Some(coroner_diagnosis::Code { name: Some("candidate.py".to_owned()), text: code.to_owned() }),
        ..Capture::default()
    };
    let settings = Rules::default();
    diagnose(&capture, &rules, &settings, "2026-11-28T17:00:00Z", &mut |_| unreachable!("nobody is asked"))
}

impl Bench for Toy {
    fn test(&self, trial: &Trial<'_>) -> Tested {
        self.count.fetch_add(1, Ordering::SeqCst);
        *self.tests.lock().unwrap().entry(hash(trial.code)).or_default() += 1;
        let failed = |text: &str, origin: Option<Origin>| {
            let mut diagnosis = why(text, trial.code);
            diagnosis.origin = origin.unwrap_or(diagnosis.origin);
            Tested {
                diagnosis: Some(diagnosis),
                raw: text.to_owned(),
                reason: "Code testing failed".to_owned(),
                ..Tested::default()
            }
        };
        if self.broken.load(Ordering::SeqCst) {
            return failed(
                "FileNotFoundError: [Errno 2] No such file or directory: 'evaluate.py'",
                Some(Origin::Harness),
            );
        }
        match (value(trial.code, "A"), value(trial.code, "B")) {
            _ if !trial.code.contains("A * x") => {
                failed("NameError: name 'y' is not defined", Some(Origin::Candidate))
            }
            (Some(a), Some(b)) if b < 22.0 => {
                let loss = (a - 3.0).powi(2) + (b - 20.0).powi(2);
                let metrics = BTreeMap::from([("loss".to_owned(), loss)]);
                self.judge(trial, Tested { metrics, score: Some(loss), ..Tested::default() })
            }
            (Some(_), Some(_)) => failed("MemoryError: Unable to allocate 3 GiB", Some(Origin::Candidate)),
            _ => failed("NameError: name 'A' is not defined", Some(Origin::Candidate)),
        }
    }

    fn judge(&self, trial: &Trial<'_>, tested: Tested) -> Tested {
        let rank = self.rank(tested.score.unwrap_or(f64::NAN));
        let better = trial.best.is_none_or(|best| rank > best.rank);
        let (status, reason) =
            if better { (Status::Adopted, "better") } else { (Status::Rejected, "Performance not better") };
        Tested { status, reason: reason.to_owned(), ..tested }
    }

    fn rank(&self, score: f64) -> f64 {
        -score
    }
}

const SEED: &str = "A = 1.0\nB = 2.0\n\n\ndef f(x):\n    y = A * x\n    return y + B\n";

fn hash(code: &str) -> String {
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Rig {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    bench: Toy,
    proposer: Box<dyn Proposer>,
    events: Mutex<Vec<Event>>,
}

impl Rig {
    fn new(proposer: impl Proposer + 'static) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            bench: Toy::new(),
            proposer: Box::new(proposer),
            events: Mutex::default(),
        }
    }

    fn builtin() -> Self {
        Self::new(Builtin::new(None, Arc::new(hash)).unwrap())
    }

    fn store(&self) -> Store {
        let url = format!("sqlite:{}", self.folder.path().join("store.db").display());
        self.runtime.block_on(Store::open(&url)).unwrap()
    }

    /// Does something with a run's ground.
    fn on<T>(&self, work: impl FnOnce(Ground<'_>) -> T) -> T {
        let tell = |event: &Event| self.events.lock().unwrap().push(event.clone());
        work(Ground {
            store: self.store(),
            runtime: self.runtime.handle().clone(),
            errand: Arc::new(Errand { task: "toy".to_owned(), ..Errand::default() }),
            baseline: SEED.to_owned(),
            proposer: self.proposer.as_ref(),
            bench: &self.bench,
            hash: Arc::new(hash),
            versions: Some(Versions::new(self.folder.path().join("versions"))),
            advice: &|_| String::new(),
            tell: &tell,
            adopted: &|_, _, _| {},
        })
    }

    fn summary(&self, run: coroner_store::RunId) -> Summary {
        self.runtime.block_on(Summary::of(&self.store(), run)).unwrap()
    }

    fn said(&self, of: impl Fn(&Event) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| of(event)).count()
    }
}

fn settings(generations: u64) -> Settings {
    Settings { generations, ..Settings::default() }
}

#[test]
fn it_improves_keeps_everything_and_tests_nothing_twice() {
    let rig = Rig::builtin();
    let (over, run) = rig.on(|ground| {
        let evolution = Evolution::start(ground, settings(120)).unwrap();
        (evolution.go(2).unwrap(), evolution.run_id())
    });
    assert_eq!(over, Over::Done);
    let summary = rig.summary(run);
    assert_eq!(summary.candidates, 121);
    assert_eq!(summary.adopted + summary.rejected + summary.failed, 121);
    assert!(summary.adopted > 3 && summary.failed > 3, "{summary:#?}");
    // how much better depends on which of the two workers was quicker
    assert!(summary.lineage[0].score < summary.baseline, "{:#?}", summary.lineage);
    assert_eq!(summary.lineage.last().map(|a| a.change.as_str()), Some("baseline"));
    assert!(rig.bench.tests.lock().unwrap().values().all(|n| *n == 1), "nothing is tested twice");
    let versions = Versions::new(rig.folder.path().join("versions")).all().unwrap();
    assert_eq!(versions.len() as u64, summary.adopted);
    assert!(summary.repairs > 0);
    let chain = rig.runtime.block_on(rig.store().candidates(run)).unwrap();
    for it in &chain {
        // a failure is mended twice at most
        let by_number = |n: u64| chain.iter().find(|c| c.number == n).unwrap();
        let mut rounds = 0;
        let mut at = it;
        while let Some(before) = &at.repair_of {
            rounds += 1;
            at = by_number(before.number());
        }
        assert!(rounds <= 2, "{it:?}");
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_where_it_was() {
    let rig = Rig::builtin();
    let run = rig.on(|ground| {
        let evolution = Evolution::start(ground, settings(60)).unwrap();
        while evolution.state().tested < 20 {
            evolution.step().unwrap();
        }
        // no end is recorded: as if it had been killed
        evolution.run_id()
    });
    let before = rig.bench.count.load(Ordering::SeqCst);
    let best = rig.summary(run).lineage[0].clone();
    let found = rig.runtime.block_on(rig.store().find_run("toy")).unwrap().unwrap();
    assert_eq!((found.id, found.state), (run, RunState::Running));
    rig.on(|ground| {
        let evolution = Evolution::resume(ground, &found, settings(60), false).unwrap();
        {
            let state = evolution.state();
            assert_eq!(state.tested, 20);
            assert_eq!(state.best.as_ref().map(|best| best.number), Some(best.number));
            assert_eq!(state.history.len(), 21);
            assert!(state.population.best().is_some());
        }
        assert_eq!(evolution.go(1).unwrap(), Over::Done);
    });
    assert_eq!(rig.bench.count.load(Ordering::SeqCst), before + 40);
    assert!(rig.bench.tests.lock().unwrap().values().all(|n| *n == 1));
    assert_eq!(rig.summary(run).candidates, 61);
    assert_eq!(rig.said(|e| matches!(e, Event::Resumed { tested: 20, .. })), 1);
}

#[test]
fn a_harness_that_breaks_stops_the_loop_and_its_victims_are_tested_again() {
    let rig = Rig::builtin();
    let (over, run) = rig.on(|ground| {
        let evolution = Evolution::start(ground, settings(50)).unwrap();
        while evolution.state().tested < 10 {
            evolution.step().unwrap();
        }
        rig.bench.broken.store(true, Ordering::SeqCst);
        (evolution.go(1).unwrap(), evolution.run_id())
    });
    let Over::Broken(trip) = over else { panic!("{over:?}") };
    assert_eq!(trip.origin, Origin::Harness);
    assert_eq!(trip.experiments.len(), 3);
    assert_eq!(rig.bench.count.load(Ordering::SeqCst), 14, "it costs no more");
    let summary = rig.summary(run);
    assert_eq!(summary.marked.len(), 3);
    assert_eq!(summary.by_origin.get(&Origin::Harness), Some(&3));
    let found = rig.runtime.block_on(rig.store().find_run("toy")).unwrap().unwrap();
    assert_eq!(found.state, RunState::Broken);

    rig.bench.broken.store(false, Ordering::SeqCst);
    rig.on(|ground| {
        let evolution = Evolution::resume(ground, &found, settings(20), true).unwrap();
        assert_eq!(evolution.state().again.len(), 3);
        // what was not their fault has taught nothing
        let not_theirs = |t: &&crate::propose::Tried| t.result == crate::propose::Became::NotItsFault;
        assert_eq!(evolution.state().history.iter().filter(not_theirs).count(), 3);
        assert_eq!(evolution.go(1).unwrap(), Over::Done);
    });
    let summary = rig.summary(run);
    assert_eq!((summary.candidates, summary.marked.len()), (21, 0));
    assert_eq!(summary.by_origin.get(&Origin::Harness), None);
    assert_eq!(rig.said(|e| matches!(e, Event::Started { again: true, .. })), 3, "said aloud");
}

#[test]
fn what_is_told_depends_on_the_kind_of_feedback() {
    for (feedback, repairs) in [(Feedback::None, false), (Feedback::Raw, true), (Feedback::Diagnosis, true)] {
        let rig = Rig::builtin();
        rig.on(|ground| {
            let settings = Settings { feedback, ..settings(40) };
            let evolution = Evolution::start(ground, settings).unwrap();
            let mut planned = 0;
            while evolution.step().unwrap() != Step::Over {
                planned += evolution.repairs().len();
            }
            assert_eq!(planned > 0, repairs, "{feedback}");
        });
    }
}

/// Says what it is told to say.
struct Canned(Mutex<Vec<Result<Proposal, ProposerError>>>);

#[async_trait]
impl Proposer for Canned {
    fn name(&self) -> String {
        "canned".to_owned()
    }

    async fn propose(&self, brief: &Brief) -> Result<Proposal, ProposerError> {
        let mut script = self.0.lock().unwrap();
        if script.is_empty() {
            return Err(ProposerError::Exhausted { parent: brief.parent.number, tries: 1 });
        }
        script.remove(0)
    }
}

fn program(code: &str, dollars: f64) -> Result<Proposal, ProposerError> {
    Ok(Proposal {
        code: code.to_owned(),
        change: "a change".to_owned(),
        from: Vec::new(),
        edits: Vec::new(),
        cost: Cost { dollars, ..Cost::default() },
    })
}

#[test]
fn replies_that_are_no_programs_are_experiments_and_trip_the_breaker() {
    let reply = |text: &str| {
        Err(ProposerError::Unusable {
            why: format!("no fenced block of Python ({text})"),
            reply: text.to_owned(),
            cost: Cost { dollars: 0.01, ..Cost::default() },
        })
    };
    let script = vec![
        program("A = 2.0\nB = 2.0\nC = A * x", 0.01),
        reply("no"),
        reply("sorry"),
        reply("no"),
        reply("never"),
    ];
    let rig = Rig::new(Canned(Mutex::new(script)));
    let (over, run) = rig.on(|ground| {
        let evolution = Evolution::start(ground, settings(50)).unwrap();
        (evolution.go(1).unwrap(), evolution.run_id())
    });
    let Over::Broken(trip) = over else { panic!("{over:?}") };
    assert_eq!(trip.origin, Origin::Provider);
    let summary = rig.summary(run);
    assert_eq!((summary.candidates, summary.failed), (5, 3));
    assert!((summary.costs.total.dollars - 0.04).abs() < 1e-9, "{:?}", summary.costs);
}

#[test]
fn the_budget_ends_it_and_the_same_code_is_not_tested_again() {
    let script = vec![
        program("A = 2.0\nB = 2.0\nC = A * x", 0.4),
        program("A  =  2.0\nB = 2.0\nC = A * x ", 0.4),
        program("A = 2.5\nB = 2.0\nC = A * x", 0.4),
        program("A = 2.6\nB = 2.0\nC = A * x", 0.4),
    ];
    let rig = Rig::new(Canned(Mutex::new(script)));
    let over = rig.on(|ground| {
        let settings = Settings { dollars: Some(1.0), ..settings(50) };
        Evolution::start(ground, settings).unwrap().go(1).unwrap()
    });
    assert_eq!(over, Over::OverBudget("$1.20 of $1.00 are spent".to_owned()));
    assert_eq!(rig.said(|e| matches!(e, Event::Known { .. })), 1);
    assert_eq!(rig.bench.count.load(Ordering::SeqCst), 3);
}

#[test]
fn a_baseline_that_fails_is_the_end() {
    let rig = Rig::builtin();
    rig.bench.broken.store(true, Ordering::SeqCst);
    let over = rig.on(|ground| Evolution::start(ground, settings(5)).unwrap().go(1).unwrap());
    assert!(matches!(over, Over::Baseline(_)), "{over:?}");
    let found = rig.runtime.block_on(rig.store().find_run("toy")).unwrap().unwrap();
    rig.bench.broken.store(false, Ordering::SeqCst);
    let over = rig.on(|ground| Evolution::resume(ground, &found, settings(5), false).unwrap().go(1).unwrap());
    assert_eq!(over, Over::Done);
}

#[test]
fn an_ablation_compares_the_three_kinds_of_feedback() {
    let rigs: Vec<Rig> = (0..3).map(|_| Rig::builtin()).collect();
    let lanes = rigs[0].on(|none| {
        rigs[1].on(|raw| {
            rigs[2].on(|diagnosis| {
                let runs: Vec<Evolution<'_>> = [none, raw, diagnosis]
                    .into_iter()
                    .zip(Feedback::ALL)
                    .map(|(ground, feedback)| {
                        Evolution::start(ground, Settings { feedback, seed: 5, ..settings(30) }).unwrap()
                    })
                    .collect();
                ablate(&runs, &|_| {}).unwrap()
            })
        })
    });
    assert!(lanes.iter().all(|lane| lane.candidates == 30 && lane.failed >= lane.repeated), "{lanes:#?}");
    assert_eq!(lanes[0].repairs, 0);
    let ablation = Ablation::over("toy", 30, lanes);
    assert_eq!(ablation.modes.len(), 3);
    let share = ablation.modes[2].failed.unwrap();
    assert!(share.of == 1 && (0.0..=1.0).contains(&share.mean));
    assert_eq!(Spread::of(&[1.0, 2.0, 6.0]), Some(Spread { mean: 3.0, min: 1.0, max: 6.0, of: 3 }));
}
