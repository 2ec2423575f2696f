//! The bench of a task: its tester, and whoever says why something failed.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use coroner_diagnosis::{Capture, Code, Diagnosis, HarnessFault, HarnessKind, Log};
use coroner_store::{ExperimentId, Status, Store};
use tokio::runtime::Handle;

use super::{Bench, Tested, Trial};
use crate::attempt::{self, Tester, accept, accept_held_out};
use crate::propose::tail;
use crate::sandbox::Stop;
use crate::screen::CodeHash;
use crate::task::Direction;

/// What others feed back: the end of the output and the error.
const RAW: usize = 1_500;

/// Tests candidates of a task.
pub struct TaskBench<'a> {
    /// Runs them.
    pub tester: &'a Tester,
    /// Keeps what they print.
    pub store: Store,
    /// What drives the store.
    pub runtime: Handle,
    /// Ends what runs.
    pub stop: Stop,
    /// Says why one failed.
    pub diagnose: &'a (dyn Fn(&Capture, &ExperimentId) -> Diagnosis + Sync),
    /// How many candidates each rule of the policy has refused so far.
    pub refused: Mutex<BTreeMap<String, u64>>,
}

impl TaskBench<'_> {
    fn standing(trial: &Trial<'_>) -> attempt::Standing {
        attempt::Standing {
            previous: trial.parent.map(|parent| parent.metrics.clone()),
            previous_name: trial.parent.map(|parent| format!("exp {}", parent.number)).unwrap_or_default(),
            best: trial.best.map(|best| best.metrics.clone()),
            best_held_out: trial
                .best
                .map(|best| best.held_out.clone())
                .filter(|held_out| !held_out.is_empty()),
        }
    }

    /// The tester's word; if something of ours gives up, that is a result too.
    fn attempt(&self, trial: &Trial<'_>) -> attempt::Tested {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let code = trial.code.as_bytes();
        let test = || self.tester.test(code, &Self::standing(trial), &refused, &self.stop, &|_| {});
        catch_unwind(AssertUnwindSafe(test)).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said =
                said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason was given");
            let fault = HarnessFault {
                kind: HarnessKind::Internal,
                what: format!("coroner itself failed: {said}"),
                advice: "Report it with the task, the candidate and the output of coroner doctor".to_owned(),
            };
            attempt::Tested::of_harness(CodeHash::of_bytes(code), fault)
        })
    }
}

impl Bench for TaskBench<'_> {
    fn test(&self, trial: &Trial<'_>) -> Tested {
        let it = self.attempt(trial);
        let result = it.result(None);
        let refused_by = it.refused_by();
        {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            for rule in &refused_by {
                *refused.entry(rule.clone()).or_default() += 1;
            }
        }
        let capture = it.capture(&trial.id.to_string(), &self.tester.task().name, trial.code.as_bytes());
        let capture = capture.filter(|_| !it.stopped);
        let message = capture.as_ref().and_then(|capture| capture.error_message.clone()).unwrap_or_default();
        let end = it.exit().map(|exit| exit.end.to_string()).unwrap_or_default();
        let raw = format!("{}\n{message}\n{end}", tail(&String::from_utf8_lossy(&it.log), RAW));
        let kept = self.runtime.block_on(self.store.keep_log(Cursor::new(it.log.clone())));
        Tested {
            status: result.status,
            reason: result.reason,
            score: it.score,
            exit: it.exit(),
            // a log that can't be kept costs the log
            log: kept.ok(),
            raw: raw.trim().to_owned(),
            diagnosis: capture.map(|capture| (self.diagnose)(&capture, trial.id)),
            refused_by,
            stopped: it.stopped,
            kept: false,
            improvement: it.improvement,
            metrics: it.metrics,
            held_out: it.held_out,
            remarks: it.remarks,
        }
    }

    fn judge(&self, trial: &Trial<'_>, mut tested: Tested) -> Tested {
        let task = self.tester.task();
        let standing = Self::standing(trial);
        let held_out = standing.best_held_out.as_ref();
        let accepted =
            accept(task, &tested.metrics, &standing).and_then(|improvement| match &tested.held_out {
                none if none.is_empty() => Ok(improvement),
                metrics => accept_held_out(task, metrics, held_out).map(|()| improvement),
            });
        let judgement = match accepted {
            Ok(improvement) => {
                tested.improvement = improvement;
                return tested;
            }
            Err(judgement) => judgement,
        };
        let capture = Capture {
            experiment_id: Some(trial.id.to_string()),
            experiment_type: Some(task.name.clone()),
            code: Some(Code { name: Some(self.code_name().to_owned()), text: trial.code.to_owned() }),
            log: Log::new(b""),
            judged: Some(judgement),
            ..Capture::default()
        };
        Tested {
            status: Status::Rejected,
            reason: "Performance not better than current implementation".to_owned(),
            diagnosis: Some((self.diagnose)(&capture, trial.id)),
            improvement: None,
            ..tested
        }
    }

    fn rank(&self, score: f64) -> f64 {
        let task = self.tester.task();
        match task.metrics.get(&task.adoption.metric).map(|metric| metric.direction) {
            Some(Direction::Lower) => -score,
            _ => score,
        }
    }
}
