//! The other end of the reports: a run on some host, told to a desk elsewhere, and kept on disk until it has taken it.
//!
//! [`Spool`] holds what happened, [`Desk`] is asked over its API, [`Live`] tells it of a run while it runs, and [`deliver`]
//! brings what waits. Whatever is killed when, each run arrives once: it has a key, which the desk keeps with it, and an entry
//! goes only after its end was taken.

mod deliver;
mod live;
mod spool;
mod wire;

use coroner_diagnosis::{Confined, Diagnosis, Exit};
use coroner_store::{CommandLine, Owner};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use deliver::{Delivered, Fate, deliver, deliver_waiting};
pub use live::Live;
pub use spool::{Entry, Spool, SpoolError, Waiting};
pub use wire::{AddressError, Desk, NotTaken};

/// A run, as it begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begun {
    /// Its own and no other's: by it the desk knows it again.
    pub key: String,
    /// The address of the desk that it is reported to.
    pub desk: String,
    /// The experiment's id, as the user gave it or as it was made.
    pub experiment_id: String,
    /// The caller's name for the kind of run; empty if none was given.
    pub experiment_type: String,
    /// What runs, without secrets.
    pub command: CommandLine,
    /// Where.
    pub cwd: String,
    /// Who watches it.
    pub owner: Owner,
    /// Since when.
    pub started_at: Timestamp,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// It succeeded, or was ended for a reason that is no failure of its own.
    Passed,
    /// It failed.
    Failed,
    /// Whoever watched it is gone, and nobody saw its end.
    Lost,
}

/// A run, as it ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// What became of it.
    pub became: Became,
    /// How it ended, where somebody saw it.
    pub exit: Option<Exit>,
    /// What a sandbox around it did.
    pub sandbox: Option<Confined>,
    /// Why it could not be run.
    pub error: Option<String>,
    /// A word on its end.
    pub reason: Option<String>,
    /// What ran, without secrets, if it failed.
    pub code: Option<String>,
    /// What it printed, beside this; nothing if it printed nothing.
    pub log: Option<LogSize>,
}

/// How large a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSize {
    /// Bytes as they were printed.
    pub bytes: u64,
    /// Bytes in the file.
    pub stored: u64,
}

/// What the desk says of a run that it has taken.
#[derive(Debug, Clone, Deserialize)]
pub struct Taken {
    /// Its id there: from the second attempt on `ID~2`.
    pub experiment_id: String,
    /// Its short number there.
    pub number: u64,
    /// Which attempt of the id it is.
    pub attempt: u32,
    /// Why it failed, as the rules there see it.
    #[serde(default)]
    pub diagnosis: Option<Diagnosis>,
}

impl Taken {
    /// By which it and no other attempt is addressed: an id alone is the newest attempt of it.
    #[must_use]
    pub fn address(&self) -> String {
        match self.attempt {
            1 => format!("{}~1", self.experiment_id),
            _ => self.experiment_id.clone(),
        }
    }
}
