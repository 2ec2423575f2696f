//! What the outer side orders of the inner one, and what the inner one tells: JSON over inherited descriptors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Denied, Limits};

/// The name under which our own binary is started as the inner side.
pub(super) const NAME: &str = "coroner-sandbox-init";
/// Where the inner side finds its orders.
pub(super) const ORDERS: i32 = 3;
/// Where it tells what happens and hears what to do. Its end is the end of everything inside.
pub(super) const CONTROL: i32 = 4;
/// The first descriptor that is meant for the command.
pub(super) const FIRST_OWN: i32 = 5;
/// The byte on `CONTROL` that ends the command.
pub(super) const END_IT: u8 = b'e';

/// All that the inner side has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    /// Program and arguments, ready to be used.
    pub(super) command: Vec<OsString>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) cwd: PathBuf,
    /// Descriptors: their number now, and for the command.
    pub(super) descriptors: Vec<(i32, i32)>,
    pub(super) forks: bool,
    pub(super) limits: Limits,
    /// Processes and threads of this user that there may be, with those that are there already.
    pub(super) processes: u64,
    /// The user that the command becomes; otherwise it stays who we are.
    pub(super) user: Option<u32>,
    /// We are process 1 of a pid namespace, and see a file system made for the command.
    pub(super) namespaces: bool,
    /// What Landlock lets through; `None` is no Landlock.
    pub(super) files: Option<Files>,
    /// A folder that goes with the command.
    pub(super) folder: Option<PathBuf>,
    /// No control group does it, so memory is watched.
    pub(super) watch_memory: bool,
    /// The descriptor of the `cgroup.procs` that the command joins.
    pub(super) cgroup: Option<i32>,
}

/// What the command may do with files.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Files {
    /// Files and folders that can be read and executed.
    pub(super) read: Vec<PathBuf>,
    /// Files that can be read and written to, such as /dev/null.
    pub(super) devices: Vec<PathBuf>,
    /// Folders where everything is allowed.
    pub(super) write: Vec<PathBuf>,
}

/// What the inner side tells, one a line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// All layers are in force, and the command is about to start.
    Ready {
        /// What Landlock said.
        landlock: String,
    },
    /// A layer could not be put up; nothing was started.
    Failed { step: String, reason: String },
    /// Nothing of it is left.
    Ended(Ended),
}

/// How the command ended, as its parent saw it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) status: Status,
    /// Why the inner side ended it, if it did.
    pub(super) forced: Option<Forced>,
    pub(super) wall: Duration,
    /// Processor time of the command and all that it waited for.
    pub(super) cpu: Duration,
    /// Processor time of the first process alone, if it was seen.
    pub(super) own_cpu: Duration,
    /// Largest resident set of one process, in bytes.
    pub(super) peak: u64,
    pub(super) survivors: u32,
    pub(super) denied: Vec<Denied>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Status {
    Exited(i32),
    Signaled(i32),
    /// What a shell would have returned, and the system's reason.
    NotStarted(i32, String),
}

/// Why the inner side ended the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Forced {
    Wall,
    Memory,
    /// The outer side wanted it.
    Asked,
}
