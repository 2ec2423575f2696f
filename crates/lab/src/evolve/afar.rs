//! A bench that is elsewhere: candidates are put on a queue, and their ends appear in the store.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use coroner_diagnosis::{Capture, Diagnosis, HarnessFault, HarnessKind};
use coroner_store::{ExperimentId, Owner, Status, Store};
use tokio::runtime::Handle;

use super::{Bench, Tested, Trial};
use crate::attempt::EvolutionResult;
use crate::queue::{Job, Queue};
use crate::sandbox::Stop;

/// Whose process an experiment belongs to that waits in a queue: nobody's that could be seen from anywhere, so that nobody takes
/// it for lost.
const QUEUE: &str = "queue:";
/// Between two looks at the store: at first, and at most.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(2);
/// So long a candidate waits before it is asked whether anybody works, and between two such questions.
const ALONE: Duration = Duration::from_secs(30);
/// How often a queue that fails is tried.
const TRIES: u32 = 4;

/// Has candidates tested by whoever takes them from a queue.
pub struct QueueBench<'a> {
    /// Where they are put.
    pub queue: &'a dyn Queue,
    /// The task's name.
    pub task: &'a str,
    /// Where their ends appear.
    pub store: Store,
    /// What drives both.
    pub runtime: Handle,
    /// From then on nothing is waited for.
    pub stop: Stop,
    /// Says why the queue failed.
    pub diagnose: &'a (dyn Fn(&Capture, &ExperimentId) -> Diagnosis + Sync),
    /// Knows the task.
    pub near: &'a dyn Bench,
    /// Says what is worth a word.
    pub tell: &'a (dyn Fn(&str) + Sync),
    /// When it was last asked whether anybody works.
    pub asked: Mutex<Instant>,
}

/// Who an experiment belongs to that waits in this queue.
pub(crate) fn owner(queue: &str) -> Owner {
    Owner {
        host: format!("{QUEUE}{queue}"),
        boot_id: String::new(),
        pid_namespace: String::new(),
        pid: 0,
        pid_start: None,
    }
}

/// Does it wait in a queue, or is it tested by a worker?
pub(super) fn is_in_a_queue(owner: &Owner) -> bool {
    owner.host.starts_with(QUEUE)
}

impl QueueBench<'_> {
    fn put(&self, job: &Job) -> Result<(), crate::queue::QueueError> {
        for attempt in 1.. {
            match self.runtime.block_on(self.queue.put(job, Duration::ZERO)) {
                Err(_) if attempt < TRIES && !self.stop.is_stopped() => {
                    std::thread::sleep(SOON * 2_u32.pow(attempt));
                }
                other => return other,
            }
        }
        Ok(())
    }

    /// Whoever waits for workers that nobody has started is told so.
    fn ask_who_works(&self) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.elapsed() < ALONE {
            return;
        }
        *asked = Instant::now();
        drop(asked);
        // a queue that can't be asked says so when something is put
        let Ok(counts) = self.runtime.block_on(self.queue.counts()) else { return };
        if counts.held == 0 && counts.waiting > 0 {
            let waiting = match counts.waiting {
                1 => "1 candidate waits".to_owned(),
                more => format!("{more} candidates wait"),
            };
            let queue = self.queue.name();
            (self.tell)(&format!(
                "{waiting} on the queue `{queue}`, and no worker has one: start some with coroner worker and the \
                 same --queue and --store"
            ));
        }
    }

    /// Its end, once it is there.
    fn end(&self, id: &ExperimentId) -> Option<Tested> {
        let mut pause = SOON;
        let begun = Instant::now();
        loop {
            // a store that can't be read now may be read later; what is under way is in nobody's way
            let found = self.runtime.block_on(self.store.numbered(id.number()));
            match found {
                Ok(experiment) if experiment.listed.status != Status::Running => {
                    let record = self.runtime.block_on(self.store.candidate(id)).ok().flatten();
                    let result = record.as_ref().and_then(|record| record.result.clone());
                    let result = serde_json::from_value::<EvolutionResult>(result.unwrap_or_default()).ok();
                    return Some(ended(&experiment, record.and_then(|it| it.candidate.score), result));
                }
                Err(coroner_store::Error::NotFound { .. }) => return None,
                _ => {}
            }
            if self.stop.is_stopped() {
                return None;
            }
            if begun.elapsed() >= ALONE {
                self.ask_who_works();
            }
            std::thread::sleep(pause);
            pause = (begun.elapsed() / 10).clamp(SOON, LATER);
        }
    }
}

fn ended(
    experiment: &coroner_store::Experiment,
    score: Option<f64>,
    result: Option<EvolutionResult>,
) -> Tested {
    let diagnosis = experiment.diagnosis.clone();
    let lines = diagnosis.iter().flat_map(|it| &it.evidence).map(|item| item.text.as_str());
    let raw = lines.collect::<Vec<_>>().join("\n");
    let status = experiment.listed.status;
    let tested = Tested {
        status,
        reason: experiment.reason.clone().unwrap_or_default(),
        score,
        exit: experiment.exit.clone(),
        raw,
        diagnosis,
        stopped: status == Status::Lost,
        kept: true,
        ..Tested::default()
    };
    let Some(result) = result else { return tested };
    Tested {
        metrics: result.metrics,
        held_out: result.held_out,
        improvement: result.improvement,
        remarks: result.remarks,
        ..tested
    }
}

impl Bench for QueueBench<'_> {
    fn test(&self, trial: &Trial<'_>) -> Tested {
        let job = Job {
            task: self.task.to_owned(),
            experiment: trial.id.number(),
            id: trial.id.to_string(),
            parent: trial.parent.cloned(),
            best: trial.best.cloned(),
        };
        if let Err(error) = self.put(&job) {
            let fault = HarnessFault {
                kind: HarnessKind::Network,
                what: format!("It could not be put on a queue for the workers: {error}"),
                advice: "Mend the queue, then go on with coroner evolve --rerun".to_owned(),
            };
            let capture = Capture {
                experiment_id: Some(trial.id.to_string()),
                experiment_type: Some(self.task.to_owned()),
                harness_failed: Some(fault),
                ..Capture::default()
            };
            return Tested {
                reason: "It could not be put on the queue".to_owned(),
                diagnosis: Some((self.diagnose)(&capture, trial.id)),
                ..Tested::default()
            };
        }
        // who has stopped waiting knows nothing, and leaves it to the workers
        self.end(trial.id).unwrap_or_else(|| Tested { stopped: true, kept: true, ..Tested::default() })
    }

    fn judge(&self, trial: &Trial<'_>, tested: Tested) -> Tested {
        self.near.judge(trial, tested)
    }

    fn rank(&self, score: f64) -> f64 {
        self.near.rank(score)
    }

    fn code_name(&self) -> &str {
        self.near.code_name()
    }

    fn queue(&self) -> Option<&str> {
        Some(self.queue.name())
    }
}
