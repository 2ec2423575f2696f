//! Tests candidates of one task, as many at once as there are threads.

use std::collections::BTreeMap;
use std::time::Instant;

use coroner_diagnosis::{HarnessFault, HarnessKind};

use super::across::Crossing;
use super::adoption::{Standing, accept, accept_held_out, assess};
use super::outcome::{Outcome, of_command, of_crossing};
use super::tested::{Cause, Tested};
use super::{Progress, command};
use crate::sandbox::{Sandbox, Stop};
use crate::screen::{CodeHash, Function, LARGEST_SOURCE, Policy, PythonVersion, Screening, screen_knowing};
use crate::task::{Evaluator, Ground, Machine, Task};

/// Everything that a test needs besides the candidate.
#[derive(Debug)]
pub struct Tester {
    task: Task,
    policy: Policy,
    wanted: Vec<Function>,
    python: PythonVersion,
    ground: Ground,
    sandbox: Sandbox,
}

impl Tester {
    /// Makes ready: the policy, the interpreter, the packages and inputs (once, which may take minutes), the sandbox.
    ///
    /// # Errors
    /// What can't be had, and what to do; never a candidate's fault.
    pub fn new(task: Task, sandbox: Sandbox, machine: &Machine<'_>) -> Result<Self, HarnessFault> {
        sandbox.require(task.level).map_err(|error| super::of_sandbox(&error))?;
        let policy = task.screening_policy().map_err(|error| HarnessFault {
            kind: HarnessKind::Task,
            what: error.to_string(),
            advice: "Correct the policy of the task".to_owned(),
        })?;
        let ground = Ground::prepare(&task, machine)?;
        let python = ground.python.as_ref().map_or_else(PythonVersion::default, |python| PythonVersion {
            major: u8::try_from(python.version[0]).unwrap_or(3),
            minor: u8::try_from(python.version[1]).unwrap_or(u8::MAX),
        });
        // one that is no signature is left to Python
        let wanted =
            task.entry_points.iter().filter_map(|p| Function::wanted(&p.name, &p.signature)).collect();
        Ok(Self { task, policy, wanted, python, ground, sandbox })
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// What candidates are screened with.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What candidates run on.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// What protects the machine from them.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The version of Python that candidates are written for.
    #[must_use]
    pub fn python(&self) -> PythonVersion {
        self.python
    }

    /// The same for candidates that differ in comments and white space only.
    #[must_use]
    pub fn code_hash(&self, code: &[u8]) -> CodeHash {
        if self.task.is_python() {
            self.screen(code, &BTreeMap::new()).code_hash
        } else {
            CodeHash::of_bytes(code)
        }
    }

    /// Looks at a candidate without running it. `refused` is how many candidates were refused for the same so far.
    #[must_use]
    pub fn screen(&self, code: &[u8], refused: &BTreeMap<String, u64>) -> Screening {
        let mut screening = screen_knowing(code, &self.policy, self.python, refused);
        for wanted in &self.wanted {
            screening.require(wanted);
        }
        screening
    }

    /// Screens, runs and judges a candidate. Blocks until nothing of it is left; `stop` ends it from another thread.
    #[must_use]
    pub fn test(
        &self,
        code: &[u8],
        standing: &Standing,
        refused: &BTreeMap<String, u64>,
        stop: &Stop,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Tested {
        let mut tested = self.measure(code, standing, refused, stop, progress);
        self.judge(&mut tested, code, standing, stop, progress);
        tested
    }

    /// Screens and runs a candidate, and says whether its result counts: the first half of [`Self::test`], which may go on
    /// for many candidates at once. Of `standing` only the previous one is looked at.
    #[must_use]
    pub fn measure(
        &self,
        code: &[u8],
        standing: &Standing,
        refused: &BTreeMap<String, u64>,
        stop: &Stop,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Tested {
        progress(Progress::Screening);
        let mut tested = self.screened(code, refused);
        // the built-in policy names processes, network and the rest; whoever wrote another may have left them out
        tested.rules_were_known = self.task.policy.file.is_none();
        if tested.cause.is_some() {
            return tested;
        }
        let since = Instant::now();
        let run = self.run(code, false, stop, progress);
        tested.wall = since.elapsed();
        let outcome = match run {
            Ok(outcome) => outcome,
            Err(fault) => {
                tested.stopped = stop.is_stopped();
                tested.cause = Some(Cause::Harness(fault));
                return tested;
            }
        };
        tested.report = outcome.report;
        tested.log = outcome.log;
        tested.remarks.extend(outcome.notes);
        tested.stopped = outcome.stopped;
        match outcome.result {
            Err(cause) => tested.cause = Some(cause),
            Ok(metrics) => {
                tested.metrics = metrics;
                match assess(&self.task, &tested.metrics, standing) {
                    Err(judgement) => tested.cause = Some(Cause::Judged(judgement)),
                    Ok(remark) => {
                        tested.remarks.extend(remark);
                        tested.score = self.task.score(&tested.metrics);
                    }
                }
            }
        }
        tested
    }

    /// Says whether what was measured is to be taken over; the second half of [`Self::test`], for one candidate at a time,
    /// because the best may change. Only one that would be taken over meets the inputs that are held out: whoever sees them
    /// every time has seen them.
    pub fn judge(
        &self,
        tested: &mut Tested,
        code: &[u8],
        standing: &Standing,
        stop: &Stop,
        progress: &(dyn Fn(Progress) + Sync),
    ) {
        if tested.cause.is_some() || tested.stopped {
            return;
        }
        match accept(&self.task, &tested.metrics, standing) {
            Err(judgement) => tested.cause = Some(Cause::Judged(judgement)),
            Ok(improvement) => {
                if self.ground.held_out.is_some() {
                    let since = Instant::now();
                    tested.cause = self.hold_out(tested, code, standing, stop, progress).err();
                    tested.wall += since.elapsed();
                }
                tested.improvement = improvement.filter(|_| tested.cause.is_none());
            }
        }
    }

    fn hold_out(
        &self,
        tested: &mut Tested,
        code: &[u8],
        standing: &Standing,
        stop: &Stop,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Cause> {
        let outcome = self.run(code, true, stop, progress).map_err(Cause::Harness)?;
        tested.stopped |= outcome.stopped;
        match outcome.result {
            Ok(metrics) => tested.held_out = metrics,
            Err(cause) => {
                tested.report = outcome.report;
                tested.log = outcome.log;
                let said = "it failed on the held-out inputs, and not on those that are shown";
                tested.remarks.push(said.to_owned());
                return Err(cause);
            }
        }
        let best = standing.best_held_out.as_ref();
        accept_held_out(&self.task, &tested.held_out, best).map_err(Cause::Judged)
    }

    fn screened(&self, code: &[u8], refused: &BTreeMap<String, u64>) -> Tested {
        if !self.task.is_python() {
            return unscreened(code);
        }
        let screening = self.screen(code, refused);
        let mut tested = Tested::new(screening.code_hash.clone(), None);
        if let Some(refusal) = screening.refusal() {
            tested.cause = Some(Cause::Refused(Box::new(refusal), screening.error_message()));
        }
        tested.remarks.extend(screening.unscreened.iter().map(|why| format!("not screened: {why}")));
        tested.screening = Some(screening);
        tested
    }

    fn run(
        &self,
        code: &[u8],
        held_out: bool,
        stop: &Stop,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Outcome, HarnessFault> {
        progress(Progress::Evaluating { done: 0.0, total: 0.0, held_out });
        match &self.task.evaluator {
            Evaluator::Python(evaluator) => {
                let (task, ground, sandbox) = (&self.task, &self.ground, &self.sandbox);
                let crossed =
                    Crossing { task, evaluator, ground, sandbox, held_out }.run(code, stop, progress)?;
                Ok(of_crossing(crossed))
            }
            Evaluator::Command(evaluator) => {
                let process =
                    command::run(&self.task, evaluator, &self.ground, &self.sandbox, held_out, code, stop)?;
                Ok(of_command(process, stop.is_stopped()))
            }
        }
    }
}

/// A candidate in a language that we can't read: only its size is looked at.
fn unscreened(code: &[u8]) -> Tested {
    use coroner_diagnosis::{Judgement, JudgementKind, bytes};
    let mut tested = Tested::new(CodeHash::of_bytes(code), None);
    let what = match code.len() {
        0 => "the candidate is empty: the file has no bytes".to_owned(),
        n if n > LARGEST_SOURCE => {
            format!("the candidate has {}, and {} is the most", bytes(n as u64), bytes(LARGEST_SOURCE as u64))
        }
        _ => return tested,
    };
    tested.cause = Some(Cause::Judged(Judgement { detail: what, ..Judgement::new(JudgementKind::Invalid) }));
    tested
}
