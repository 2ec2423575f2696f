//! Takes jobs from a queue, tests them, and writes their end into the store: once, whoever else has the same job.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use coroner_diagnosis::{Capture, Diagnosis, HarnessFault, HarnessKind};
use coroner_store::{Error, Experiment, ExperimentId, RunId, Status, Store};
use tokio::runtime::Handle;

use super::{Held, Job, Queue, QueueError};
use crate::attempt::EvolutionResult;
use crate::evolve::{Bench, Standing, Tested, Trial, kept};

/// How long a job is waited for before somebody looks whether we are to end.
const WAIT: Duration = Duration::from_secs(5);
/// Between two looks at what lies in the place of what can't be done.
const LOOK: Duration = Duration::from_secs(60);
/// For how long a job of another task is left to others.
const NOT_OURS: Duration = Duration::from_secs(20);
/// Between tries while the queue or the store can't be reached: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often the store is asked to keep an end before the job is left to another.
const TRIES: u32 = 5;

/// Tests what a queue gives.
pub struct Worker<'a> {
    /// Where jobs come from.
    pub queue: &'a dyn Queue,
    /// Where candidates are, and where their ends go.
    pub store: Store,
    /// What drives both.
    pub runtime: Handle,
    /// Tests candidates of the task.
    pub bench: &'a dyn Bench,
    /// Says why something failed.
    pub diagnose: &'a (dyn Fn(&Capture, &ExperimentId) -> Diagnosis + Sync),
    /// The task's name.
    pub task: &'a str,
    /// A job that was taken more often than this without an end gets one: that nobody can test it.
    pub tries: u32,
    /// So long a job is hidden from others; it is hidden anew all the time while it is worked on.
    pub hidden: Duration,
    /// Is told what happens.
    pub tell: &'a (dyn Fn(&Worked) + Sync),
}

/// What a worker did.
#[derive(Debug, Clone, PartialEq)]
pub enum Worked {
    /// A test begins.
    Began(u64),
    /// It has ended, and that is kept.
    Ended(u64, Status, Option<Box<Diagnosis>>),
    /// It had an end already: the job was given twice, or another was quicker.
    Known(u64),
    /// It has ended without a test: nobody could test it.
    Buried(u64, Box<Diagnosis>),
    /// It is left to others, and why.
    Left(String),
    /// The queue or the store can't be reached, and is tried again.
    Waits(String),
}

/// Why a worker could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

impl WorkerError {
    /// May it pass without anybody doing anything?
    fn may_pass(&self) -> bool {
        match self {
            Self::Queue(error) => error.may_pass(),
            Self::Store(error) => error.may_pass(),
        }
    }
}

impl Worker<'_> {
    /// Works until `ending` says so; with `until_empty`, until there is nothing to do.
    pub fn work(&self, ending: &AtomicBool, until_empty: bool) -> Result<(), WorkerError> {
        let mut looked = None::<Instant>;
        // what has never worked will not by itself
        let (mut worked, mut pause) = (false, None);
        while !ending.load(Ordering::Relaxed) {
            let took = match self.step(&mut looked) {
                Ok(took) => took,
                Err(error) if worked && error.may_pass() => {
                    if pause.is_none() {
                        (self.tell)(&Worked::Waits(error.to_string()));
                    }
                    let wait = pause.map_or(FIRST_PAUSE, |it: Duration| (it * 2).min(LONGEST_PAUSE));
                    pause = Some(wait);
                    let until = Instant::now() + wait;
                    while Instant::now() < until && !ending.load(Ordering::Relaxed) {
                        std::thread::sleep(FIRST_PAUSE.min(until.saturating_duration_since(Instant::now())));
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            (worked, pause) = (true, None);
            if !took && until_empty {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes one job, or looks now and then at those that nobody takes any more.
    fn step(&self, looked: &mut Option<Instant>) -> Result<bool, WorkerError> {
        if self.one()? {
            return Ok(true);
        }
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            self.look_at_buried()?;
            *looked = Some(Instant::now());
        }
        Ok(false)
    }

    /// Takes one job, if there is one, and does what is to be done with it.
    pub fn one(&self) -> Result<bool, WorkerError> {
        // while the store can't be read nothing is taken: each time counts as a try
        self.runtime.block_on(self.store.version())?;
        let Some(held) = self.runtime.block_on(self.queue.take(WAIT, self.hidden))? else { return Ok(false) };
        let job = match &held.job {
            Ok(job) => job.clone(),
            Err(why) => {
                (self.tell)(&Worked::Left(format!("a message is put aside: {why}")));
                self.runtime.block_on(self.queue.bury(&held, why))?;
                return Ok(true);
            }
        };
        let found = match self.runtime.block_on(self.store.numbered(job.experiment)) {
            Ok(experiment) => Some(experiment),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(experiment) = found.filter(|it| job.is_of(it)) else {
            return self.leave(
                &held,
                &job,
                &format!(
                    "exp {} is not in this store: a worker needs the --store that the loop has; if that loop is \
                     gone, purge the queue",
                    job.experiment
                ),
            );
        };
        if experiment.listed.status != Status::Running {
            (self.tell)(&Worked::Known(job.experiment));
            self.runtime.block_on(self.queue.done(&held))?;
            return Ok(true);
        }
        if job.task != self.task {
            let why =
                format!("exp {} is of task {}, and this worker has {}", job.experiment, job.task, self.task);
            return self.leave(&held, &job, &why);
        }
        if held.times > self.tries {
            return self.give_up(&held, &experiment).map(|()| true);
        }
        self.test(&held, &job, &experiment).map(|()| true)
    }

    /// Leaves it to others: anew, for that it came to us was no try.
    fn leave(&self, held: &Held, job: &Job, why: &str) -> Result<bool, WorkerError> {
        (self.tell)(&Worked::Left(why.to_owned()));
        self.runtime.block_on(self.queue.put(job, NOT_OURS))?;
        self.runtime.block_on(self.queue.done(held))?;
        Ok(true)
    }

    fn test(&self, held: &Held, job: &Job, experiment: &Experiment) -> Result<(), WorkerError> {
        let id = &experiment.listed.id;
        let code = self.runtime.block_on(self.store.candidate_code(id))?;
        let code = String::from_utf8_lossy(&code);
        (self.tell)(&Worked::Began(job.experiment));
        let trial = |best| Trial { id, code: &code, parent: job.parent.as_ref(), best };
        let mut tested = self.while_hidden(held, || self.bench.test(&trial(job.best.as_ref())));
        if tested.stopped {
            // we are to end, and nothing is known: the next one may have it at once
            self.runtime.block_on(self.queue.hide(held, Duration::ZERO))?;
            return Ok(());
        }
        if tested.status == Status::Adopted
            && let Some(run) = self.runtime.block_on(self.store.candidate(id))?.map(|it| it.candidate.run)
        {
            // others may have become better since it was put
            let best = self.best(run)?;
            if best.as_ref().map(|best| best.number) != job.best.as_ref().map(|best| best.number) {
                tested = self.bench.judge(&trial(best.as_ref()), tested);
            }
        }
        let ended = self.keep(id, &tested)?;
        let (status, diagnosis) = (tested.status, tested.diagnosis.map(Box::new));
        (self.tell)(&match ended {
            true => Worked::Ended(job.experiment, status, diagnosis),
            false => Worked::Known(job.experiment),
        });
        Ok(self.runtime.block_on(self.queue.done(held))?)
    }

    /// Does `work`, and keeps the job hidden meanwhile.
    fn while_hidden<T>(&self, held: &Held, work: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            let (done, ended) = channel::<()>();
            scope.spawn(move || {
                while ended.recv_timeout(self.hidden / 3) == Err(RecvTimeoutError::Timeout) {
                    // if that fails another may take it too; one of us will be first
                    _ = self.runtime.block_on(self.queue.hide(held, self.hidden));
                }
            });
            let result = work();
            drop(done);
            result
        })
    }

    /// The best of the run that is kept.
    fn best(&self, run: RunId) -> Result<Option<Standing>, WorkerError> {
        let all = self.runtime.block_on(self.store.candidates(run))?;
        let rank = |it: &coroner_store::Candidate| it.score.map(|score| self.bench.rank(score));
        let adopted = all.iter().filter(|it| it.status == Status::Adopted && !it.replaced);
        let best = adopted.filter_map(|it| Some((it, rank(it)?))).max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((it, rank)) = best else { return Ok(None) };
        let result = self.runtime.block_on(self.store.candidate(&it.id))?.and_then(|record| record.result);
        let result = result.and_then(|result| serde_json::from_value::<EvolutionResult>(result).ok());
        let held_out = result.map(|result| result.held_out).unwrap_or_default();
        Ok(Some(Standing { number: it.number, metrics: it.metrics.clone(), held_out, rank }))
    }

    /// Keeps its end. False if it has one already.
    fn keep(&self, id: &ExperimentId, tested: &Tested) -> Result<bool, WorkerError> {
        let (outcome, candidate) = kept(tested, &tested.reason);
        for attempt in 1.. {
            let finished = self.store.finish_candidate(id, outcome.clone(), candidate.clone());
            match self.runtime.block_on(finished) {
                Ok(()) => return Ok(true),
                Err(Error::AlreadyFinished { .. } | Error::NotFound { .. }) => return Ok(false),
                Err(error) if attempt >= TRIES || !error.is_store_failure() => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(200) * attempt),
            }
        }
        Ok(false)
    }

    /// It was taken too often: whoever tests it does not come back.
    fn give_up(&self, held: &Held, experiment: &Experiment) -> Result<(), WorkerError> {
        let why = format!("taken {} times without an end", held.times);
        self.end_untested(
            experiment,
            &format!("It was taken from the queue {} times, and no worker has told its end", held.times),
        )?;
        Ok(self.runtime.block_on(self.queue.bury(held, &why))?)
    }

    fn end_untested(&self, experiment: &Experiment, what: &str) -> Result<(), WorkerError> {
        let (id, number) = (&experiment.listed.id, experiment.listed.id.number());
        let fault = HarnessFault {
            kind: HarnessKind::Internal,
            what: what.to_owned(),
            advice: format!(
                "See what ends the workers while they test it: one that is killed for lack of memory, a machine that goes down, or \
                 workers that have other tasks than {}. When that is mended, coroner evolve --rerun tests it again",
                experiment.listed.experiment_type
            ),
        };
        let capture = Capture {
            experiment_id: Some(id.to_string()),
            experiment_type: Some(experiment.listed.experiment_type.clone()),
            harness_failed: Some(fault),
            ..Capture::default()
        };
        let diagnosis = (self.diagnose)(&capture, id);
        let tested = Tested {
            reason: "No worker could test it".to_owned(),
            diagnosis: Some(diagnosis.clone()),
            ..Tested::default()
        };
        (self.tell)(&match self.keep(id, &tested)? {
            true => Worked::Buried(number, Box::new(diagnosis)),
            false => Worked::Known(number),
        });
        Ok(())
    }

    /// What the engine itself has put away, because it was taken too often, gets an end too.
    fn look_at_buried(&self) -> Result<(), WorkerError> {
        for job in self.runtime.block_on(self.queue.buried())? {
            match self.runtime.block_on(self.store.numbered(job.experiment)) {
                Ok(it) if !job.is_of(&it) => {}
                Ok(experiment) if experiment.listed.status == Status::Running => {
                    self.end_untested(
                        &experiment,
                        "It lies among the queue's dead letters, and no worker has told its end",
                    )?;
                }
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
