//! What is known of a failed run before anybody thinks about it: how it ended, what it printed, what it ran.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::confined::Confined;
use crate::judged::{HarnessFault, Judgement};
use crate::log::Log;
use crate::terms::Category;

/// A run as it was observed. Everything is optional but the log, which may be empty.
#[derive(Debug, Default)]
pub struct Capture {
    /// The caller's name for the run.
    pub experiment_id: Option<String>,
    /// The caller's name for the kind of run.
    pub experiment_type: Option<String>,
    /// The error message, where the caller has one beside the log.
    pub error_message: Option<String>,
    /// The candidate's code.
    pub code: Option<Code>,
    /// How it ended, when somebody watched.
    pub exit: Option<Exit>,
    /// What refused it before it ran.
    pub refused: Option<Refusal>,
    /// Why its result does not count or is not good enough, where it gave one.
    pub judged: Option<Judgement>,
    /// What of our own side failed: then nothing can be said of the candidate.
    pub harness_failed: Option<HarnessFault>,
    /// The sandbox around it, if there was one.
    pub sandbox: Option<Confined>,
    /// What it printed.
    pub log: Log,
    /// What runs of the same kind printed that succeeded.
    pub baselines: Vec<Log>,
}

/// The candidate's source text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The file's name, where it has one: frames of a traceback are matched against it.
    pub name: Option<String>,
    /// The text.
    pub text: String,
}

/// What refused a candidate before it ran: observed, like an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The rule of the policy, or `syntax`, `source`, `entry-point`.
    pub rule: String,
    /// Where the rule stands: `built-in`, or a file.
    pub policy: String,
    /// What kind of failure it is.
    pub category: Category,
    /// "Forbidden import: os". Stands in the capture's error message.
    pub message: String,
    /// Why the rule is there.
    pub why: String,
    /// What to do: for the candidate's author, or for the policy's where it is a suspect.
    pub fix: String,
    /// 1-based line of the code.
    pub line: u64,
    /// 1-based, in characters.
    pub column: u64,
    /// Why this looks like a fault of the policy and not of the candidate, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<String>,
    /// The messages of the other refusals, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
}

/// How a child ended and what it used, observed and never guessed from its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How it ended.
    pub end: End,
    /// From start to end.
    pub wall: Duration,
    /// Processor time of the child and the children that it waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Duration>,
    /// Largest resident set that was seen, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
}

/// The ways in which a child ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum End {
    /// It exited with this status.
    Exited {
        /// 0 is success.
        code: i32,
    },
    /// A signal ended it, and it was not ours.
    Signaled {
        /// The signal's number on Linux.
        signal: i32,
    },
    /// Our own time limit ended it.
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// Our own limit of processor time ended it.
    CpuLimit {
        /// The limit of each of its processes.
        limit: Duration,
    },
    /// Our own memory limit ended it.
    MemoryLimit {
        /// The limit in bytes.
        limit: u64,
    },
    /// The kernel's out-of-memory killer ended it.
    OomKilled,
    /// It printed more than our limit, which ended it.
    OutputLimit {
        /// The limit in bytes.
        limit: u64,
    },
    /// It never ran.
    NotStarted {
        /// The system's reason ("No such file or directory").
        reason: String,
        /// What a shell would have returned: 127 not found, 126 not executable.
        code: i32,
    },
}

impl Exit {
    /// Did it succeed as far as the system can tell?
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.end == End::Exited { code: 0 }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exit status {code}"),
            Self::Signaled { signal } => write!(f, "signal {signal} ({})", signal_name(*signal)),
            Self::TimedOut { limit } => write!(f, "stopped by our time limit of {}", seconds(*limit)),
            Self::CpuLimit { limit } => {
                write!(f, "stopped by our limit of {} of processor time", seconds(*limit))
            }
            Self::MemoryLimit { limit } => write!(f, "stopped by our memory limit of {}", bytes(*limit)),
            Self::OomKilled => f.write_str("killed by the kernel for lack of memory"),
            Self::OutputLimit { limit } => write!(f, "stopped by our output limit of {}", bytes(*limit)),
            Self::NotStarted { reason, .. } => write!(f, "not started: {reason}"),
        }
    }
}

/// Linux's name of a signal ("SIGKILL").
#[must_use]
pub fn signal_name(signal: i32) -> String {
    // the numbers of x86-64 and arm64 Linux, from signal(7)
    const NAMES: [&str; 32] = [
        "?", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
        "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(signal).ok().filter(|s| *s > 0).and_then(|s| NAMES.get(s)) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

/// A duration as people say it: "0.4 s", "42 min", "2 h 05 min".
#[must_use]
pub fn seconds(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..10 if d.subsec_millis() > 0 => format!("{:.1} s", d.as_secs_f64()),
        0..120 => format!("{s} s"),
        120..3600 if s.is_multiple_of(60) => format!("{} min", s / 60),
        120..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

/// A number of bytes as people say it: "512 B", "1.5 GiB".
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value.fract() == 0.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_read_as_sentences() {
        assert_eq!(End::Signaled { signal: 9 }.to_string(), "signal 9 (SIGKILL)");
        assert_eq!(End::Signaled { signal: 77 }.to_string(), "signal 77 (signal 77)");
        assert_eq!(
            End::TimedOut { limit: Duration::from_secs(90) }.to_string(),
            "stopped by our time limit of 90 s"
        );
        assert_eq!(End::MemoryLimit { limit: 3 << 29 }.to_string(), "stopped by our memory limit of 1.5 GiB");
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(7500)), "2 h 05 min");
        let exit =
            Exit { end: End::Exited { code: 3 }, wall: Duration::from_secs(1), cpu: None, peak_memory: None };
        let json = serde_json::to_string(&exit).unwrap();
        assert_eq!(serde_json::from_str::<Exit>(&json).unwrap(), exit, "{json}");
    }
}
