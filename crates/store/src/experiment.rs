//! What is kept of an experiment: its id, how it began, how it ended.

use coroner_diagnosis::{Diagnosis, Exit};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Error, Log, LogId, Owner, Status};

/// The longest id that is taken, in bytes.
const MAX_NAME: usize = 512;

/// An experiment of this store, and of which attempt. Shown as `NAME`, from the second attempt on as `NAME~2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExperimentId {
    name: String,
    attempt: u32,
    number: u64,
}

impl ExperimentId {
    pub(crate) fn new(name: String, attempt: u32, number: u64) -> Self {
        Self { name, attempt, number }
    }

    /// The id as the caller gave it, or the one made for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// 1, or more if the same id was given before.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// A short number, unique in this store and growing: what a person types.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// A given id as it may be kept, or a new one.
    pub fn name_for(given: Option<String>) -> Result<String, Error> {
        let Some(name) = given else { return Ok(uuid::Uuid::now_v7().to_string()) };
        let why = match name.as_str() {
            "" => "it is empty",
            _ if name.len() > MAX_NAME => "it is longer than 512 bytes",
            _ if name.chars().any(char::is_control) => "it holds control characters",
            _ if name.trim() != name => "it begins or ends with a space",
            _ => return Ok(name),
        };
        Err(Error::BadId { id: name.chars().filter(|c| !c.is_control()).take(60).collect(), why })
    }
}

impl std::fmt::Display for ExperimentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.attempt {
            1 => f.pad(&self.name),
            attempt => f.pad(&format!("{}~{attempt}", self.name)),
        }
    }
}

impl Serialize for ExperimentId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A command and its arguments. Arguments may hold a password, so `Debug` shows only how many there are.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandLine(pub Vec<String>);

impl std::fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.split_first() {
            None => f.write_str("-"),
            Some((program, rest)) => write!(f, "{program} (+{} arguments)", rest.len()),
        }
    }
}

impl<S: Into<String>> FromIterator<S> for CommandLine {
    fn from_iter<I: IntoIterator<Item = S>>(words: I) -> Self {
        Self(words.into_iter().map(Into::into).collect())
    }
}

/// An experiment that is about to start.
#[derive(Debug, Clone)]
pub struct NewExperiment {
    /// The caller's id. One that is taken already makes a new attempt of it: the same job runs again under its id
    /// (requeued, restarted), and neither may the run be refused nor the earlier failure be lost.
    pub id: Option<String>,
    /// The caller's name for the kind of run; empty if none was given.
    pub experiment_type: String,
    /// What runs.
    pub command: CommandLine,
    /// Where it runs.
    pub cwd: String,
    /// Who watches it.
    pub owner: Owner,
    /// When it starts.
    pub started_at: Timestamp,
}

/// How an experiment ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Anything but `Running`.
    pub status: Status,
    /// What was observed of the child's end; absent if nobody saw it.
    pub exit: Option<Exit>,
    /// When.
    pub ended_at: Timestamp,
    /// A word on it, where there is one ("Code testing failed").
    pub reason: Option<String>,
    /// What it printed, as [`crate::LogWriter::finish`] gave it.
    pub log: Option<Log>,
    /// Why it died, if it did.
    pub diagnosis: Option<Diagnosis>,
}

/// A failure that was not run by us: what `coroner analyze --save` keeps, and what others report.
#[derive(Debug, Clone)]
pub struct SavedFailure {
    /// The caller's id. See [`crate::Store::save_diagnoses`] for one that is taken.
    pub id: Option<String>,
    /// The caller's name for the kind of run; empty if none was given.
    pub experiment_type: String,
    /// When it failed, or was looked at.
    pub at: Timestamp,
    /// What ran, where the caller says so.
    pub command: CommandLine,
    /// How it ended, where the caller says so.
    pub exit: Option<Exit>,
    /// A word on its end.
    pub reason: Option<String>,
    /// Why it died.
    pub diagnosis: Diagnosis,
    /// What it printed.
    pub log: Option<Log>,
}

/// Where a saved failure went.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedAs {
    /// The experiment.
    pub id: ExperimentId,
    /// The same failure was there already: its diagnosis was replaced, no experiment was added.
    pub replaced: bool,
    /// Its diagnosis, where people's corrections or splits made another of it.
    pub corrected: Option<Box<Diagnosis>>,
}

/// An experiment without an end.
#[derive(Debug, Clone)]
pub struct Running {
    /// The experiment.
    pub id: ExperimentId,
    /// The caller's name for the kind of run.
    pub experiment_type: String,
    /// What runs.
    pub command: CommandLine,
    /// Who watches it.
    pub owner: Owner,
    /// Since when.
    pub started_at: Timestamp,
    /// Is what it has printed so far being written by somebody at this moment? `None` if nothing tells.
    pub log_is_open: Option<bool>,
}

impl Running {
    /// Is somebody still watching it? Somebody who holds its log open is: the kernel takes that lock away with the
    /// process, on whatever machine and in whatever container it runs. Otherwise the process decides, where it is in
    /// sight. In doubt it is taken to be alive.
    #[must_use]
    pub fn seems_alive(&self) -> bool {
        match (self.log_is_open, self.owner.liveness()) {
            (Some(true), _) | (_, crate::Liveness::Alive) => true,
            (_, crate::Liveness::Gone) => false,
            (log_is_open, crate::Liveness::Unknown) => log_is_open.unwrap_or(true),
        }
    }
}

/// An experiment whose watcher died, and which was closed as [`Status::Lost`].
#[derive(Debug, Clone)]
pub struct Orphan {
    /// What is known of it.
    pub experiment: Running,
    /// What it had printed until then, if anything.
    pub log: Option<LogId>,
}

/// What is kept of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogFacts {
    /// Its content's address.
    pub id: LogId,
    /// Bytes as they were printed.
    pub bytes: u64,
    /// Bytes on disk.
    pub stored_bytes: u64,
}

/// Everything that is kept of one experiment.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// What the list shows.
    pub listed: crate::Listed,
    /// Where it ran; empty if we did not run it.
    pub cwd: String,
    /// Who watched it; absent if we did not run it.
    pub owner: Option<Owner>,
    /// How it ended, if somebody saw it.
    pub exit: Option<Exit>,
    /// A word on its end.
    pub reason: Option<String>,
    /// What it printed.
    pub log: Option<LogFacts>,
    /// Why there is no log, or less than there was.
    pub log_note: Option<String>,
    /// Why it died, if it did.
    pub diagnosis: Option<Diagnosis>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_and_shown() {
        for (given, why) in
            [("", "empty"), ("a\nb", "control"), (" a", "space"), (&"x".repeat(513)[..], "512 bytes")]
        {
            let error = ExperimentId::name_for(Some(given.to_owned())).unwrap_err().to_string();
            assert!(error.contains(why) && error.len() < 200, "{error}");
        }
        assert_eq!(ExperimentId::name_for(Some("exp 42/ä".into())).unwrap(), "exp 42/ä");
        let made = [ExperimentId::name_for(None).unwrap(), ExperimentId::name_for(None).unwrap()];
        assert!(made[0] < made[1], "{made:?}");
        assert_eq!(format!("{:>5}", ExperimentId::new("a".into(), 2, 7)), "  a~2");
    }

    #[test]
    fn debug_keeps_arguments_to_itself() {
        let command: CommandLine = ["curl", "-H", "Bearer abc"].into_iter().collect();
        assert_eq!(format!("{command:?}"), "curl (+2 arguments)");
    }
}
