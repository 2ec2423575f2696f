//! Runs a command where it can do no harm, and says how it ended and what it tried.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use coroner_diagnosis::Exit;
use serde::{Deserialize, Serialize};

/// How much protects the machine, the strongest first. What each has is in `docs/sandbox.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Namespaces, Landlock, seccomp, resource limits, and a cgroup of its own.
    A,
    /// The same without the cgroup: memory is watched instead.
    B,
    /// No namespaces: Landlock, seccomp and resource limits.
    C,
    /// seccomp and resource limits alone: files are not protected.
    D,
}

/// What is to run. Words of `command`, values of `env`, and `cwd` may hold `{root}`: the place under which `shown` lies,
/// empty where there is a mount namespace and a folder of ours where there is none.
#[derive(Debug)]
pub struct Plan {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// The whole environment; nothing of ours is passed on.
    pub env: BTreeMap<String, String>,
    /// Where it starts. `{root}/work` is its own, writable and empty.
    pub cwd: PathBuf,
    /// What it sees besides the system's programs and libraries; nothing of it can be written to.
    pub shown: Vec<Shown>,
    /// Ends of pipes or sockets that it inherits.
    pub channels: Vec<Channel>,
    /// May it start processes of its own? Threads are always allowed.
    pub forks: bool,
    /// What it may use.
    pub limits: Limits,
    /// The weakest level that will do; below it nothing runs.
    pub at_least: Level,
}

/// Something that the command sees.
#[derive(Debug, Clone)]
pub enum Shown {
    /// A file of ours, from memory.
    File {
        /// Where it sees it, absolute, without `{root}`.
        to: PathBuf,
        /// What stands in it.
        bytes: Vec<u8>,
    },
    /// A file or folder of the machine, read-only.
    Host {
        /// Where it lies.
        from: PathBuf,
        /// Where the command sees it, absolute, without `{root}`.
        to: PathBuf,
    },
}

/// A descriptor that the command inherits.
#[derive(Debug)]
pub struct Channel {
    /// Its number inside, 3 or more.
    pub number: i32,
    /// Our side's counterpart stays with the caller.
    pub end: OwnedFd,
}

/// What a command may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time on the clock.
    pub wall: Duration,
    /// Processor time of each process.
    pub cpu: Duration,
    /// Bytes of memory, of all processes together.
    pub memory: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Bytes of one file.
    pub file_size: u64,
    /// Open files of each process.
    pub open_files: u32,
    /// Bytes of the writable folder.
    pub work_space: u64,
    /// Bytes of output that are kept: its head and its tail.
    pub output_kept: u64,
    /// Bytes of output that end it.
    pub output: u64,
}

impl Default for Limits {
    /// What `../shared/research/sandbox.md` measured to be enough for numerical code.
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(30),
            cpu: Duration::from_secs(30),
            memory: 1 << 30,
            processes: 64,
            file_size: 64 << 20,
            open_files: 256,
            work_space: 256 << 20,
            output_kept: 1 << 20,
            output: 8 << 20,
        }
    }
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended and what it used.
    pub exit: Exit,
    /// How sure that is: `false` where the kernel does not tell and we conclude.
    pub certain: bool,
    /// We were asked to end it (`Stop`): no failure of its own.
    pub stopped: bool,
    /// Bytes that it printed.
    pub output_bytes: u64,
    /// Bytes of them that were not kept.
    pub output_dropped: u64,
    /// System calls that were refused.
    pub denied: Vec<Denied>,
    /// Processes that it left behind, and which are gone now.
    pub survivors: u32,
    /// What protected the machine.
    pub layers: Layers,
    /// What it might have used.
    pub limits: Limits,
}

/// A system call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// Its name ("socket").
    pub call: String,
    /// What it was about, where that can be told ("AF_INET"); as the process claimed.
    pub detail: String,
    /// How often.
    pub count: u64,
}

/// What protects the machine, as a self-test showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// Its sum.
    pub level: Level,
    /// Each layer and what is known of it ("landlock", "ABI 7, fully enforced"); absent layers say why.
    pub layers: BTreeMap<String, String>,
    /// What this level does not protect, in sentences; empty at levels A and B.
    pub unprotected: Vec<String>,
}
