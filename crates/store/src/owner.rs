//! Which process watches an experiment, so that a later start can tell whether it still does.

use std::fs;

use serde::{Deserialize, Serialize};

/// Those who report from elsewhere are called so: their process is out of sight from here.
const ELSEWHERE: &str = "reported:";

/// The process that began an experiment and will end it. A process id alone says nothing: it is used again after a
/// while, after a reboot, and in every container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The machine's name.
    pub host: String,
    /// The kernel's id of this boot; empty where there is none.
    #[serde(default)]
    pub boot_id: String,
    /// The namespace that `pid` counts in (`pid:[4026531836]`); empty where there is none.
    #[serde(default)]
    pub pid_namespace: String,
    /// The process.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot: tells it from a later process with the same id.
    #[serde(default)]
    pub pid_start: Option<u64>,
}

/// What is known of an [`Owner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs.
    Alive,
    /// It has ended.
    Gone,
    /// It is out of sight from here: another machine, or another container.
    Unknown,
}

impl Owner {
    /// The process that asks.
    #[must_use]
    pub fn this_process() -> Self {
        let line = |path| fs::read_to_string(path).map(|s| s.trim().to_owned()).unwrap_or_default();
        let pid = std::process::id();
        Self {
            host: line("/proc/sys/kernel/hostname"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            pid_namespace: fs::read_link("/proc/self/ns/pid")
                .map(|target| target.to_string_lossy().into_owned())
                .unwrap_or_default(),
            pid,
            pid_start: started(pid),
        }
    }

    /// Somebody out of sight who says that he runs something, and says it again until he is heard. `key` is that run's
    /// alone; empty if he has none.
    #[must_use]
    pub fn elsewhere(host: &str, key: String) -> Self {
        // a key tells one run from another as a boot tells one process from another
        Self {
            host: format!("{ELSEWHERE}{host}"),
            boot_id: key,
            pid_namespace: String::new(),
            pid: 0,
            pid_start: None,
        }
    }

    /// Of who is out of sight, the machine that he named.
    #[must_use]
    pub fn host_elsewhere(&self) -> Option<&str> {
        self.host.strip_prefix(ELSEWHERE)
    }

    /// What tells the run of who is out of sight from all others.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.host_elsewhere().map(|_| self.boot_id.as_str()).filter(|key| !key.is_empty())
    }

    /// Does this process still run, as far as can be told from here?
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        self.seen_from(&Self::this_process())
    }

    fn seen_from(&self, here: &Self) -> Liveness {
        if here.boot_id.is_empty() || here.pid_start.is_none() {
            return Liveness::Unknown; // no /proc: nothing can be told apart
        }
        if self.boot_id == here.boot_id {
            if self.pid_namespace != here.pid_namespace {
                return Liveness::Unknown;
            }
            // without a start of its own, any process of that number may be it
            return match (started(self.pid), self.pid_start) {
                (Some(now), Some(then)) if now != then => Liveness::Gone,
                (Some(_), _) => Liveness::Alive,
                (None, _) => Liveness::Gone,
            };
        }
        if self.host == here.host { Liveness::Gone } else { Liveness::Unknown }
    }
}

/// When a process started; nothing if there is none, or only its corpse.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name in parentheses may hold anything, parentheses included
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_from_what_is_kept() {
        let here = Owner::this_process();
        assert!(here.pid_start.is_some() && !here.boot_id.is_empty(), "{here:?}");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let running = Owner { pid: child.id(), pid_start: started(child.id()), ..here.clone() };
        let cases = [
            ("ourselves", here.clone(), Liveness::Alive),
            ("a child", running.clone(), Liveness::Alive),
            ("its number, used again", Owner { pid_start: Some(1), ..running.clone() }, Liveness::Gone),
            ("an older record without start", Owner { pid_start: None, ..running.clone() }, Liveness::Alive),
            ("before the reboot", Owner { boot_id: "other".into(), ..running.clone() }, Liveness::Gone),
            (
                "another machine",
                Owner { boot_id: "other".into(), host: "gpu-07".into(), ..running.clone() },
                Liveness::Unknown,
            ),
            (
                "another container",
                Owner { pid_namespace: "pid:[1]".into(), ..running.clone() },
                Liveness::Unknown,
            ),
        ];
        for (what, owner, expected) in cases {
            assert_eq!(owner.liveness(), expected, "{what}");
        }
        child.kill().unwrap();
        // killed but not waited for, it is a corpse that still has its entry
        while started(child.id()).is_some() {
            std::thread::yield_now();
        }
        assert_eq!(running.liveness(), Liveness::Gone);
        child.wait().unwrap();
        assert_eq!(running.liveness(), Liveness::Gone);
    }
}
