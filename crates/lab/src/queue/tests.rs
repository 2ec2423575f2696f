//! Workers over a queue and a real store: twice the same, too often, too slow, of another task; and, where an emulator is, the
//! queue of AWS with the same manners.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use coroner_diagnosis::{Capture, Diagnosis, Origin, RuleSet, Settings, diagnose};
use coroner_store::{
    CandidateBegun, ExperimentId, Feedback, NewCandidate, NewExperiment, NewRun, Owner, RunId, Status, Store,
};
use jiff::Timestamp;

use super::local::Local;
use super::{Counts, Held, Job, Queue, QueueError, QueueTrouble, Worked, Worker, WorkerError};
use crate::evolve::{Bench, Standing, Tested, Trial};

const HIDDEN: Duration = Duration::from_secs(30);

/// Measures the length of a candidate; one that holds "slow" waits until it is let go.
#[derive(Default)]
struct Length {
    tests: AtomicU64,
    go: AtomicBool,
}

impl Bench for Length {
    fn test(&self, trial: &Trial<'_>) -> Tested {
        self.tests.fetch_add(1, Ordering::SeqCst);
        while trial.code.contains("slow") && !self.go.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let score = trial.code.len() as f64;
        let metrics = BTreeMap::from([("length".to_owned(), score)]);
        self.judge(trial, Tested { metrics, score: Some(score), ..Tested::default() })
    }

    fn judge(&self, trial: &Trial<'_>, tested: Tested) -> Tested {
        let better = trial.best.is_none_or(|best| tested.score.is_some_and(|score| score > best.rank));
        Tested { status: if better { Status::Adopted } else { Status::Rejected }, ..tested }
    }

    fn rank(&self, score: f64) -> f64 {
        score
    }
}

struct Rig {
    _folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    store: Store,
    run: RunId,
    queue: Local,
    bench: Length,
    events: Mutex<Vec<Worked>>,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let store = runtime.block_on(Store::open(&url)).unwrap();
        let new = NewRun {
            task: "toy".to_owned(),
            settings: serde_json::Value::Null,
            seed: 1,
            owner: Owner::this_process(),
            started_at: Timestamp::now(),
        };
        let run = runtime.block_on(store.start_run(new)).unwrap();
        let (queue, bench) = (Local::default(), Length::default());
        Self { _folder: folder, runtime, store, run, queue, bench, events: Mutex::default() }
    }

    fn begun(&self, code: &str) -> ExperimentId {
        let candidate = NewCandidate {
            run: self.run,
            code: code.as_bytes().to_vec(),
            code_hash: code.to_owned(),
            generation: 0,
            parents: Vec::new(),
            repair_of: None,
            proposer: "test".to_owned(),
            change: String::new(),
            feedback: Feedback::Diagnosis,
            proposal_cost: coroner_store::Cost::default(),
        };
        let experiment = NewExperiment {
            id: None,
            experiment_type: "toy".to_owned(),
            command: ["evolve"].into_iter().collect(),
            cwd: String::new(),
            owner: crate::evolve::owner_in("toy"),
            started_at: Timestamp::now(),
        };
        match self.runtime.block_on(self.store.begin_candidate(experiment, candidate)).unwrap() {
            CandidateBegun::Begun(id) => id,
            CandidateBegun::Known(id) => panic!("{id} is known"),
        }
    }

    fn put(&self, id: &ExperimentId, task: &str, best: Option<Standing>) {
        let job =
            Job { task: task.to_owned(), experiment: id.number(), id: id.to_string(), parent: None, best };
        self.runtime.block_on(self.queue.put(&job, Duration::ZERO)).unwrap();
    }

    fn with<T>(&self, hidden: Duration, work: impl FnOnce(&Worker<'_>) -> T) -> T {
        let tell = |worked: &Worked| self.events.lock().unwrap().push(worked.clone());
        work(&Worker {
            queue: &self.queue,
            store: self.store.clone(),
            runtime: self.runtime.handle().clone(),
            bench: &self.bench,
            diagnose: &|capture, _| why(capture),
            task: "toy",
            tries: 3,
            hidden,
            tell: &tell,
        })
    }

    fn status(&self, id: &ExperimentId) -> Status {
        self.runtime.block_on(self.store.numbered(id.number())).unwrap().listed.status
    }

    fn told(&self) -> Vec<Worked> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

/// Takes note of what is hidden anew, and for how long.
struct Hiding<'a> {
    queue: &'a Local,
    hidden: Mutex<Vec<(u64, Duration)>>,
}

#[async_trait::async_trait]
impl Queue for Hiding<'_> {
    fn name(&self) -> &str {
        self.queue.name()
    }

    async fn put(&self, job: &Job, after: Duration) -> Result<(), QueueError> {
        self.queue.put(job, after).await
    }

    async fn take(&self, wait: Duration, hidden: Duration) -> Result<Option<Held>, QueueError> {
        self.queue.take(wait, hidden).await
    }

    async fn hide(&self, held: &Held, hidden: Duration) -> Result<(), QueueError> {
        self.hidden.lock().unwrap().push((held.job.as_ref().unwrap().experiment, hidden));
        self.queue.hide(held, hidden).await
    }

    async fn done(&self, held: &Held) -> Result<(), QueueError> {
        self.queue.done(held).await
    }

    async fn bury(&self, held: &Held, why: &str) -> Result<(), QueueError> {
        self.queue.bury(held, why).await
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        self.queue.counts().await
    }

    async fn buried(&self) -> Result<Vec<Job>, QueueError> {
        self.queue.buried().await
    }
}

fn why(capture: &Capture) -> Diagnosis {
    let rules = RuleSet::new(&[]).unwrap();
    diagnose(capture, &rules, &Settings::default(), "2026-11-29T03:00:00Z", &mut |_| unreachable!())
}

#[test]
fn a_job_that_comes_twice_ends_once() {
    let rig = Rig::new();
    let id = rig.begun("aaa");
    rig.put(&id, "toy", None);
    rig.put(&id, "toy", None);
    rig.with(HIDDEN, |worker| assert!(worker.one().unwrap() && worker.one().unwrap()));
    assert_eq!((rig.status(&id), rig.bench.tests.load(Ordering::SeqCst)), (Status::Adopted, 1));
    assert!(matches!(
        rig.told()[..],
        [Worked::Began(1), Worked::Ended(1, Status::Adopted, None), Worked::Known(1)]
    ));
    assert!(
        rig.runtime.block_on(rig.queue.take(Duration::ZERO, HIDDEN)).unwrap().is_none(),
        "nothing is left"
    );
    // of another store, which has one of the number or not: who has the right one gets it, with all its tries
    let theirs = rig.begun("theirs");
    for (experiment, id) in [(999, "gone"), (theirs.number(), "of-another-store")] {
        let (task, id) = ("toy".to_owned(), id.to_owned());
        let job = Job { task, experiment, id, parent: None, best: None };
        rig.runtime.block_on(rig.queue.put(&job, Duration::ZERO)).unwrap();
        for _ in 0..5 {
            rig.queue.hurry();
            rig.with(HIDDEN, |worker| assert!(worker.one().unwrap()));
            assert!(matches!(rig.told().last(), Some(Worked::Left(why)) if why.contains("--store")));
        }
        rig.queue.hurry();
        let held = rig.runtime.block_on(rig.queue.take(HIDDEN, HIDDEN)).unwrap().unwrap();
        assert_eq!((held.job.clone(), held.times), (Ok(job), 1));
        rig.runtime.block_on(rig.queue.done(&held)).unwrap();
    }
    assert_eq!(rig.status(&theirs), Status::Running);
    assert_eq!(rig.runtime.block_on(rig.queue.buried()).unwrap(), []);
}

#[test]
fn two_who_have_the_same_job_write_one_end() {
    let rig = Rig::new();
    let id = rig.begun("slow");
    rig.put(&id, "toy", None);
    rig.put(&id, "toy", None);
    std::thread::scope(|scope| {
        let worker = || rig.with(HIDDEN, |worker| worker.one().unwrap());
        let both = [scope.spawn(worker), scope.spawn(worker)];
        while rig.bench.tests.load(Ordering::SeqCst) < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        rig.bench.go.store(true, Ordering::SeqCst);
        assert!(both.into_iter().all(|it| it.join().unwrap()));
    });
    let told = rig.told();
    assert_eq!(told.iter().filter(|it| matches!(it, Worked::Ended(..))).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|it| matches!(it, Worked::Known(_))).count(), 1, "{told:?}");
    assert_eq!(rig.runtime.block_on(rig.store.candidates(rig.run)).unwrap().len(), 1);
}

#[test]
fn what_takes_long_stays_hidden() {
    let rig = Rig::new();
    let id = rig.begun("slow");
    rig.put(&id, "toy", None);
    let hidden = Duration::from_millis(300);
    let queue = Hiding { queue: &rig.queue, hidden: Mutex::default() };
    let times = || queue.hidden.lock().unwrap().len();
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            rig.with(hidden, |worker| {
                let (store, runtime) = (worker.store.clone(), worker.runtime.clone());
                Worker { queue: &queue, store, runtime, ..*worker }.one().unwrap()
            })
        });
        // again and again, however long it takes
        while times() < 4 {
            std::thread::sleep(Duration::from_millis(1));
        }
        rig.bench.go.store(true, Ordering::SeqCst);
        assert!(working.join().unwrap());
    });
    // it, and for the whole time
    let all = queue.hidden.lock().unwrap().clone();
    assert!(all.iter().all(|it| *it == (id.number(), hidden)), "{all:?}");
    assert_eq!(rig.status(&id), Status::Adopted);
}

#[test]
fn what_ends_its_workers_gets_an_end_that_says_so() {
    let rig = Rig::new();
    let id = rig.begun("bad");
    rig.put(&id, "toy", None);
    // three who take it and die
    for _ in 0..3 {
        assert!(rig.runtime.block_on(rig.queue.take(HIDDEN, Duration::ZERO)).unwrap().is_some());
    }
    rig.with(HIDDEN, |worker| assert!(worker.one().unwrap()));
    let experiment = rig.runtime.block_on(rig.store.numbered(id.number())).unwrap();
    let diagnosis = experiment.diagnosis.unwrap();
    assert_eq!((experiment.listed.status, diagnosis.origin), (Status::TestFailed, Origin::Harness));
    assert!(diagnosis.root_cause.contains("taken from the queue 4 times"), "{}", diagnosis.root_cause);
    assert!(diagnosis.fix_suggestion.contains("--rerun"), "{}", diagnosis.fix_suggestion);
    assert_eq!(rig.bench.tests.load(Ordering::SeqCst), 0, "nobody tries a fourth time");
    assert_eq!(rig.runtime.block_on(rig.queue.buried()).unwrap().len(), 1);
    // what the engine has put away by itself
    let other = rig.begun("worse");
    rig.put(&other, "toy", None);
    let held = rig.runtime.block_on(rig.queue.take(HIDDEN, HIDDEN)).unwrap().unwrap();
    rig.runtime.block_on(rig.queue.bury(&held, "too often")).unwrap();
    rig.with(HIDDEN, |worker| worker.work(&AtomicBool::new(false), true).unwrap());
    assert_eq!(rig.status(&other), Status::TestFailed);
    assert!(
        rig.told()
            .iter()
            .any(|it| matches!(it, Worked::Buried(2, diagnosis) if diagnosis.origin == Origin::Harness))
    );
}

#[test]
fn another_tasks_job_is_left_and_a_better_one_in_the_meantime_counts() {
    let rig = Rig::new();
    let (first, second) = (rig.begun("aaaa"), rig.begun("bbb"));
    rig.put(&first, "other", None);
    for _ in 0..5 {
        rig.queue.hurry();
        rig.with(HIDDEN, |worker| assert!(worker.one().unwrap()));
    }
    let told = rig.told();
    let left = |it: &Worked| matches!(it, Worked::Left(why) if why.contains("is of task other"));
    assert!(told.len() == 5 && told.iter().all(left), "{told:?}");
    assert_eq!(rig.status(&first), Status::Running);
    // whose it is has all his tries
    rig.queue.hurry();
    let held = rig.runtime.block_on(rig.queue.take(HIDDEN, HIDDEN)).unwrap().unwrap();
    assert_eq!(held.times, 1);
    rig.runtime.block_on(rig.queue.done(&held)).unwrap();
    // both were put before either was tested: the second is not better than the first
    rig.put(&first, "toy", None);
    rig.put(&second, "toy", None);
    rig.with(HIDDEN, |worker| assert!(worker.one().unwrap() && worker.one().unwrap()));
    assert_eq!((rig.status(&first), rig.status(&second)), (Status::Adopted, Status::Rejected));
}

/// A queue that can't be reached for a while after what was taken from it first.
struct Away<'a> {
    queue: &'a Local,
    asked: AtomicU64,
}

#[async_trait::async_trait]
impl Queue for Away<'_> {
    fn name(&self) -> &str {
        self.queue.name()
    }

    async fn put(&self, job: &Job, after: Duration) -> Result<(), QueueError> {
        self.queue.put(job, after).await
    }

    async fn take(&self, _: Duration, hidden: Duration) -> Result<Option<Held>, QueueError> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            1..=2 => {
                Err(QueueError { queue: "q".to_owned(), trouble: QueueTrouble::Other("reset".to_owned()) })
            }
            4 => Err(QueueError { queue: "q".to_owned(), trouble: QueueTrouble::Missing }),
            _ => self.queue.take(Duration::ZERO, hidden).await,
        }
    }

    async fn hide(&self, held: &Held, hidden: Duration) -> Result<(), QueueError> {
        self.queue.hide(held, hidden).await
    }

    async fn done(&self, held: &Held) -> Result<(), QueueError> {
        self.queue.done(held).await
    }

    async fn bury(&self, held: &Held, why: &str) -> Result<(), QueueError> {
        self.queue.bury(held, why).await
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        self.queue.counts().await
    }

    async fn buried(&self) -> Result<Vec<Job>, QueueError> {
        self.queue.buried().await
    }
}

#[test]
fn a_queue_that_is_away_for_a_while_ends_no_worker() {
    let rig = Rig::new();
    let both = [rig.begun("aa"), rig.begun("aaa")];
    both.iter().for_each(|id| rig.put(id, "toy", None));
    let away = Away { queue: &rig.queue, asked: AtomicU64::new(0) };
    let gone = rig.with(HIDDEN, |worker| {
        let worker =
            Worker { queue: &away, store: worker.store.clone(), runtime: worker.runtime.clone(), ..*worker };
        worker.work(&AtomicBool::new(false), false).unwrap_err()
    });
    assert!(both.iter().all(|id| rig.status(id) == Status::Adopted), "it went on");
    let waits = |it: &Worked| matches!(it, Worked::Waits(why) if why.contains("reset"));
    assert_eq!(rig.told().iter().filter(|it| waits(it)).count(), 1, "said once: {:?}", rig.told());
    // what a person must mend ends it, and so does what never worked
    assert!(matches!(&gone, WorkerError::Queue(it) if it.trouble == QueueTrouble::Missing), "{gone}");
    let never = Away { queue: &rig.queue, asked: AtomicU64::new(1) };
    rig.with(HIDDEN, |worker| {
        let worker =
            Worker { queue: &never, store: worker.store.clone(), runtime: worker.runtime.clone(), ..*worker };
        worker.work(&AtomicBool::new(false), false).unwrap_err()
    });
}

/// What every queue does.
async fn manners(queue: &dyn Queue) {
    let job = |experiment| Job {
        task: "toy".to_owned(),
        experiment,
        id: format!("candidate-{experiment}"),
        parent: Some(Standing {
            number: 3,
            metrics: BTreeMap::from([("loss".to_owned(), 0.1)]),
            ..Standing::default()
        }),
        best: None,
    };
    let (wait, second) = (Duration::from_secs(10), Duration::from_secs(1));
    queue.put(&job(7), Duration::ZERO).await.unwrap();
    assert_eq!(queue.counts().await.unwrap(), Counts { waiting: 1, held: 0 });
    let held = queue.take(wait, second * 60).await.unwrap().unwrap();
    assert_eq!(queue.counts().await.unwrap(), Counts { waiting: 0, held: 1 });
    assert_eq!((held.job.clone(), held.times), (Ok(job(7)), 1));
    assert!(queue.take(second, second).await.unwrap().is_none(), "it is hidden");
    // given back at once
    queue.hide(&held, Duration::ZERO).await.unwrap();
    let again = queue.take(wait, second).await.unwrap().unwrap();
    assert_eq!((again.job.clone(), again.times), (Ok(job(7)), 2));
    // not hidden anew, it comes back
    let third = queue.take(wait, second * 60).await.unwrap().unwrap();
    assert_eq!(third.times, 3);
    // whoever had it before has no say any more, and no trouble
    queue.hide(&again, second).await.unwrap();
    queue.bury(&third, "too often").await.unwrap();
    assert!(queue.take(second, second).await.unwrap().is_none());
    assert_eq!(queue.buried().await.unwrap(), [job(7)]);
    queue.put(&job(8), Duration::ZERO).await.unwrap();
    let held = queue.take(wait, second * 60).await.unwrap().unwrap();
    queue.done(&held).await.unwrap();
    queue.done(&held).await.unwrap();
    assert!(queue.take(second, second).await.unwrap().is_none());
}

#[tokio::test]
async fn a_queue_of_this_process_has_manners() {
    manners(&Local::default()).await;
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn the_queue_of_aws_has_the_same_manners() {
    use super::sqs::Sqs;
    let Some(emulator) = super::sqs::emulated::Emulated::here("the_queue_of_aws_has_the_same_manners").await
    else {
        return;
    };
    let name = emulator.queue(Some(10)).await;
    let queue = Sqs::open(&emulator.config, &name).await.unwrap();
    assert_eq!(queue.most_times(), Some(10));
    manners(&queue).await;
    // no job of ours
    emulator.send(&name, "hello").await;
    let held = queue.take(Duration::from_secs(10), HIDDEN).await.unwrap().unwrap();
    assert!(held.job.as_ref().is_err_and(|why| why.contains("no job")), "{held:?}");
    queue.bury(&held, "no job").await.unwrap();
    // by its whole address, and one that is not there
    let url = format!("{}/000000000000/{name}", emulator.endpoint);
    assert!(Sqs::open(&emulator.config, &url).await.is_ok());
    let missing = Sqs::open(&emulator.config, "no-such-queue").await.unwrap_err().to_string();
    assert!(missing.contains("is not there") && missing.contains("AWS_REGION"), "{missing}");
    for (place, why) in [("a b", "letters"), ("x.fifo", "FIFO"), ("", "letters")] {
        let said = Sqs::open(&emulator.config, place).await.unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
}
