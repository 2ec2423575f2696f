//! Runs evaluator and candidate in sandboxes of their own, joined by sockets, and says what came of it.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use coroner_diagnosis::{HarnessFault, HarnessKind};
use serde_json::json;

use super::told::{Reports, Told};
use super::{Progress, of_sandbox};
use crate::sandbox::{Channel, Limits, Plan, Report, Sandbox, SandboxError, Shown, Stop};
use crate::task::{Ground, PythonEvaluator, Task};

/// Where everything of ours is seen.
pub(super) const PLACE: &str = "/coroner";
/// The candidate's side of the border.
const DRIVER: &str = concat!(include_str!("python/wire.py"), include_str!("python/driver.py"));
/// The evaluator's side.
const TASK: &str = concat!(include_str!("python/wire.py"), include_str!("python/coroner_task.py"));
/// How long a candidate may take to end when nobody needs it any more.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often somebody looks whether we were stopped.
const LOOK: Duration = Duration::from_millis(100);
/// Beyond the time that the evaluator counts: start, and what it takes to say that time is up.
const SLACK: Duration = Duration::from_secs(5);

/// A process that has ended.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) report: Report,
    /// What it printed.
    pub(super) log: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Crossed {
    /// The evaluator's last word; why there is none, if what it said is no word.
    pub(super) told: Option<Result<Told, String>>,
    pub(super) notes: Vec<String>,
    pub(super) candidates: Vec<Process>,
    pub(super) evaluator: Process,
    pub(super) stopped: bool,
}

/// What is to be measured, with what.
#[derive(Clone, Copy)]
pub(super) struct Crossing<'a> {
    pub(super) task: &'a Task,
    pub(super) evaluator: &'a PythonEvaluator,
    pub(super) ground: &'a Ground,
    pub(super) sandbox: &'a Sandbox,
    pub(super) held_out: bool,
}

impl Crossing<'_> {
    pub(super) fn run(
        &self,
        code: &[u8],
        stop: &Stop,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Crossed, HarnessFault> {
        let names = self.task.processes();
        let pair = || UnixStream::pair().map_err(|error| internal("make a pair of sockets", &error));
        let (ours, theirs) = pair()?;
        let mut evaluator_ends = vec![Channel { number: 3, end: theirs.into() }];
        let mut plans = Vec::new();
        for (i, name) in (0..).zip(&names) {
            let (one, other) = pair()?;
            evaluator_ends.push(Channel { number: 4 + i, end: one.into() });
            plans.push(((*name).to_owned(), self.candidate_plan(name, code, other.into())?));
        }
        let evaluator = self.evaluator_plan(&names, evaluator_ends)?;
        // ends what we no longer need, and only that
        let (end_candidates, end_evaluator) = (Stop::new(), Stop::new());
        let (send, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            for (i, (name, plan)) in plans.into_iter().enumerate() {
                let (send, end) = (send.clone(), &end_candidates);
                scope.spawn(move || _ = send.send((i, self.process(name, plan, end))));
            }
            {
                let (send, end) = (send.clone(), &end_evaluator);
                scope.spawn(move || {
                    _ = send.send((usize::MAX, self.process("evaluator".to_owned(), evaluator, end)));
                });
            }
            drop(send);
            let mut watched = Watched { ended, candidates: BTreeMap::new(), evaluator: None, failed: None };
            let (reports, notes) =
                self.listen(ours, &mut watched, stop, &[&end_candidates, &end_evaluator], progress);
            // those that wait for a call see that nobody calls any more; one that hangs does not
            let hangs = matches!(reports.last, Some(Ok(Told::OverTime(_))));
            if hangs || watched.failed.is_some() || stop.is_stopped() {
                end_candidates.stop();
                end_evaluator.stop();
            }
            watched.wait(names.len(), Instant::now() + FAREWELL);
            end_candidates.stop();
            end_evaluator.stop();
            watched.wait(names.len(), Instant::now() + Duration::from_secs(3600));
            if let Some(error) = watched.failed {
                return Err(of_sandbox(&error));
            }
            let Some(evaluator) = watched.evaluator else {
                return Err(internal("wait for the evaluator", &"it never ended"));
            };
            Ok(Crossed {
                told: reports.last,
                notes,
                candidates: watched.candidates.into_values().collect(),
                evaluator,
                stopped: stop.is_stopped(),
            })
        })
    }

    fn process(&self, name: String, plan: Plan, stop: &Stop) -> Result<Process, SandboxError> {
        let mut log = Vec::new();
        let report = self.sandbox.run(plan, stop, &mut log)?;
        Ok(Process { name, report, log })
    }

    /// Hears the evaluator until it has ended.
    fn listen(
        &self,
        mut from: UnixStream,
        watched: &mut Watched,
        stop: &Stop,
        ends: &[&Stop],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> (Reports, Vec<String>) {
        let mut reports = Reports::default();
        let mut notes = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        // without it we would not notice that we were stopped; a socket takes any time but none
        _ = from.set_read_timeout(Some(LOOK));
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    for told in reports.push(&buffer[..n]) {
                        match told {
                            Told::Progress(done, total) => {
                                progress(Progress::Evaluating { done, total, held_out: self.held_out });
                            }
                            Told::Note(note) if notes.len() < 20 => notes.push(note),
                            _ => {}
                        }
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            watched.look();
            if stop.is_stopped() || watched.failed.is_some() {
                ends.iter().for_each(|end| end.stop());
                break;
            }
        }
        reports.finish();
        (reports, notes)
    }

    fn interpreter(&self) -> Result<&Path, HarnessFault> {
        self.ground
            .interpreter
            .as_deref()
            .ok_or_else(|| internal("start Python", &"the environment has none"))
    }

    fn python(
        &self,
        script: &str,
        orders: &serde_json::Value,
    ) -> Result<Vec<std::ffi::OsString>, HarnessFault> {
        // not -I: the seed of hashes is told in the environment, which is wholly ours
        let interpreter = self.interpreter()?.as_os_str().to_owned();
        let words = ["-s", "-B", "-u", "-X", "faulthandler"].map(Into::into);
        let rest = [format!("{{root}}{PLACE}/{script}").into(), orders.to_string().into()];
        Ok(std::iter::once(interpreter).chain(words).chain(rest).collect())
    }

    /// All the time that a run can take.
    fn longest(&self) -> Duration {
        self.task.longest() + SLACK
    }

    fn candidate_plan(&self, process: &str, code: &[u8], end: OwnedFd) -> Result<Plan, HarnessFault> {
        let names: Vec<&str> =
            self.task.entry_points.iter().filter(|p| p.process == process).map(|p| p.name.as_str()).collect();
        let orders = json!({
            "candidate": format!("{{root}}{PLACE}/candidate.py"),
            "names": names,
            "limit": self.task.limits.wall.as_secs_f64(),
        });
        let mut shown = self.ground.shown();
        shown.push(file("driver.py", DRIVER.as_bytes()));
        shown.push(file("candidate.py", code));
        Ok(Plan {
            command: self.python("driver.py", &orders)?,
            env: environment(),
            cwd: "{root}/work".into(),
            shown,
            channels: vec![Channel { number: 3, end }],
            forks: false,
            // the evaluator counts the time that the candidate takes; this is for when it can't
            limits: Limits { wall: self.longest(), ..self.task.limits.clone() },
            at_least: self.task.level,
        })
    }

    fn evaluator_plan(&self, names: &[&str], channels: Vec<Channel>) -> Result<Plan, HarnessFault> {
        let mut shown = self.ground.shown();
        shown.push(file("coroner_task.py", TASK.as_bytes()));
        let folder = PathBuf::from(PLACE).join("task");
        for path in std::iter::once(&self.evaluator.file).chain(&self.evaluator.files) {
            let name = path.file_name().unwrap_or_default();
            shown.push(Shown::Host { from: path.clone(), to: folder.join(name) });
        }
        let inputs = if self.held_out { &self.ground.held_out } else { &self.ground.inputs };
        let seen = inputs.as_ref().map(|from| {
            shown.push(Shown::Host { from: from.clone(), to: format!("{PLACE}/inputs").into() });
            format!("{{root}}{PLACE}/inputs")
        });
        let seconds = self.task.limits.wall.as_secs_f64();
        let processes: Vec<_> = (4..)
            .zip(names)
            .map(|(number, name)| json!({"name": name, "descriptor": number, "seconds": seconds}))
            .collect();
        let functions: Vec<_> =
            self.task.entry_points.iter().map(|p| json!({"name": p.name, "process": p.process})).collect();
        let evaluator = self.evaluator.file.file_name().unwrap_or_default().to_string_lossy();
        let orders = json!({
            "name": self.task.name,
            "seed": 0,
            "config": self.evaluator.config,
            "held_out": self.held_out,
            "most": self.evaluator.largest_answer,
            "inputs": seen,
            "evaluator": format!("{{root}}{PLACE}/task/{evaluator}"),
            "processes": processes,
            "functions": functions,
        });
        Ok(Plan {
            command: self.python("coroner_task.py", &orders)?,
            env: environment(),
            cwd: "{root}/work".into(),
            shown,
            channels,
            forks: self.evaluator.forks,
            limits: Limits { wall: self.task.longest(), ..self.evaluator.limits.clone() },
            at_least: self.task.level,
        })
    }
}

/// Those that have ended so far.
struct Watched {
    ended: mpsc::Receiver<(usize, Result<Process, SandboxError>)>,
    candidates: BTreeMap<usize, Process>,
    evaluator: Option<Process>,
    failed: Option<SandboxError>,
}

impl Watched {
    fn take(&mut self, (i, process): (usize, Result<Process, SandboxError>)) {
        match process {
            Ok(process) if i == usize::MAX => self.evaluator = Some(process),
            Ok(process) => _ = self.candidates.insert(i, process),
            // the first says most: the others are ended because of it
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }

    fn look(&mut self) {
        while let Ok(one) = self.ended.try_recv() {
            self.take(one);
        }
    }

    /// Waits for the evaluator and so many candidates.
    fn wait(&mut self, candidates: usize, until: Instant) {
        while self.candidates.len() < candidates || self.evaluator.is_none() {
            match self.ended.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(one) => self.take(one),
                Err(_) => return,
            }
        }
    }
}

pub(super) fn file(name: &str, bytes: &[u8]) -> Shown {
    Shown::File { to: PathBuf::from(PLACE).join(name), bytes: bytes.to_vec() }
}

/// What a process finds in its environment: nothing of the machine's, and the same every time.
pub(super) fn environment() -> BTreeMap<String, String> {
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "{root}/work"),
        ("TMPDIR", "{root}/work"),
        ("LANG", "C.UTF-8"),
        ("PYTHONHASHSEED", "0"),
        // threads of linear algebra want memory, and give other last digits
        ("OPENBLAS_NUM_THREADS", "1"),
        ("OMP_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

pub(super) fn internal(what: &str, error: &dyn std::fmt::Display) -> HarnessFault {
    HarnessFault {
        kind: HarnessKind::Internal,
        what: format!("coroner could not {what}: {error}"),
        advice: "Try again; if it stays, report it with the output of coroner doctor".to_owned(),
    }
}
