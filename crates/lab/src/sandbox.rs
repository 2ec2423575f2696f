//! Runs a command where it can do no harm, and says how it ended and what it tried.

mod cgroup;
mod confine;
mod descriptors;
mod error;
mod folder;
mod identity;
mod inner;
mod laid;
mod mounts;
mod orders;
mod output;
mod probe;
mod stop;
mod trial;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use coroner_diagnosis::Exit;
pub use coroner_diagnosis::{Confined, Denied};
use serde::{Deserialize, Serialize};

pub use error::SandboxError;
pub use stop::Stop;

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

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
        })
    }
}

impl std::str::FromStr for Level {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "A" | "a" => Ok(Self::A),
            "B" | "b" => Ok(Self::B),
            "C" | "c" => Ok(Self::C),
            "D" | "d" => Ok(Self::D),
            _ => Err(format!("`{text}` is not a level of protection: A, B, C or D")),
        }
    }
}

/// Must be called first thing in `main` of the binary that `Sandbox::probe` is given: it is the inner side of the sandbox
/// when it was started as that. `None` if it was not.
#[must_use]
pub fn take_over() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let name = words.next()?;
    if Path::new(&name).file_name()? != orders::NAME {
        return None;
    }
    match words.next() {
        None => Some(inner::main()),
        Some(word) if word == trial::WORD => Some(trial::main(words)),
        Some(_) => Some(ExitCode::FAILURE),
    }
}

/// What this machine gives, as a self-test has shown; runs plans.
#[derive(Debug, Clone)]
pub struct Sandbox {
    helper: PathBuf,
    scratch: PathBuf,
    identity: identity::Identity,
    cgroup: Option<cgroup::Parent>,
    /// `None` if not even the weakest works.
    best: Option<Level>,
    layers: Layers,
    missing: Vec<String>,
}

impl Sandbox {
    /// Tries which level this machine gives, by running something that tries to get out: about 30 ms, so keep it.
    /// `helper` is our own binary, whose `main` begins with [`take_over`].
    #[must_use]
    pub fn probe(helper: &Path) -> Self {
        Self::probe_from(helper, Level::A)
    }

    /// The same without levels above `strongest`, to see what a program does where less is possible.
    #[must_use]
    pub fn probe_from(helper: &Path, strongest: Level) -> Self {
        probe::probe(helper, strongest)
    }

    /// What protects: the level, and what it consists of.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The best that there is.
    #[must_use]
    pub fn level(&self) -> Level {
        self.best.unwrap_or(Level::D)
    }

    /// Why there is no better level, each with what to do.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Is there a sandbox at least as strong as `wanted`? The error says what to do.
    pub fn require(&self, wanted: Level) -> Result<Level, SandboxError> {
        match self.best {
            Some(best) if best <= wanted => Ok(best),
            best => Err(SandboxError::TooWeak { wanted, best, advice: self.missing.join("; ") }),
        }
    }

    /// Runs it to its end. What it prints, both streams in the order of printing, goes to `output` as it comes, cut as
    /// `plan.limits` say. Whatever happens, nothing of it is left when this returns.
    pub fn run(
        &self,
        plan: Plan,
        stop: &Stop,
        output: &mut (dyn Write + Send),
    ) -> Result<Report, SandboxError> {
        let level = self.require(plan.at_least)?;
        confine::confine(self, level, plan, stop, watch::Outputs::Merged(output))
    }

    /// The same with standard output and standard error kept apart; the limits are for each.
    pub fn run_apart(
        &self,
        plan: Plan,
        stop: &Stop,
        output: &mut (dyn Write + Send),
        errors: &mut (dyn Write + Send),
    ) -> Result<Report, SandboxError> {
        let level = self.require(plan.at_least)?;
        confine::confine(self, level, plan, stop, watch::Outputs::Apart(output, errors))
    }
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

impl Shown {
    /// Where the command sees it.
    #[must_use]
    pub fn to(&self) -> &Path {
        match self {
            Self::File { to, .. } | Self::Host { to, .. } => to,
        }
    }
}

/// A descriptor that the command inherits.
#[derive(Debug)]
pub struct Channel {
    /// Its number inside: 3 or more, or 0 for standard input, which otherwise is empty.
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

impl Report {
    /// What a diagnosis has to know of it.
    #[must_use]
    pub fn confined(&self) -> Confined {
        Confined {
            level: self.layers.level.to_string(),
            layers: self.layers.layers.clone(),
            unprotected: self.layers.unprotected.clone(),
            denied: self.denied.clone(),
            output_dropped: self.output_dropped,
            survivors: self.survivors,
            rules_were_known: false,
            stopped: self.stopped,
        }
    }
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
