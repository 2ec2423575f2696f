//! The processes that a command started, wherever they went: found, signalled, weighed.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Our descendants. Because we are their subreaper, also those whose parent has died or that left its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree(Vec<Pid>);

impl Tree {
    /// Those that live now.
    pub(super) fn now() -> Self {
        let me = rustix::process::getpid();
        let mut found = Vec::new();
        let mut open = children(me);
        while let Some(pid) = open.pop() {
            if !found.contains(&pid) {
                found.push(pid);
                open.extend(children(pid));
            }
        }
        found.retain(|pid| state(*pid).is_some_and(|state| state != 'Z' && state != 'X'));
        Self(found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, pid: i32) -> bool {
        self.0.iter().any(|known| known.as_raw_nonzero().get() == pid)
    }

    /// Sends to each. One that has ended meanwhile is not yet reaped, so its number is nobody else's.
    pub(super) fn send(&self, signal: Signal) {
        for pid in &self.0 {
            _ = kill_process(*pid, signal);
        }
    }

    /// Resident memory in bytes. Pages that several share count once for each, so this is never too little.
    pub(super) fn resident(&self) -> u64 {
        self.0.iter().filter_map(|pid| resident(*pid)).sum()
    }

    /// Resident memory in bytes, with each shared page divided among those that share it. Costly for large processes.
    pub(super) fn proportional(&self) -> u64 {
        self.0.iter().filter_map(|pid| proportional(*pid).or_else(|| resident(*pid))).sum()
    }
}

/// Kills whatever is left, and what that started while we looked. Who has been sent SIGKILL forks no more.
pub(super) fn kill_all() {
    let mut killed: Vec<Pid> = Vec::new();
    loop {
        let mut tree = Tree::now();
        tree.0.retain(|pid| !killed.contains(pid));
        if tree.is_empty() {
            return;
        }
        tree.send(Signal::KILL);
        killed.extend(tree.0);
    }
}

/// 'T' is stopped, 'Z' has ended and waits for its parent.
pub(super) fn state(pid: Pid) -> Option<char> {
    field(&proc_file(pid, "stat")?, 3)?.chars().next()
}

/// Do we belong to a terminal, whose driver sends signals to us and to what we start?
pub(super) fn has_terminal() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    field(&stat, 7).is_some_and(|terminal| terminal != "0")
}

/// Field `number` of /proc/PID/stat, counted from 1 as in proc(5). The second is a name that may hold anything.
fn field(stat: &str, number: usize) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number.checked_sub(3)?)
}

fn proc_file(pid: Pid, name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{}/{name}", pid.as_raw_nonzero())).ok()
}

/// The kernel lists children by the thread that started them; a kernel built without that list has all of /proc read.
fn children(pid: Pid) -> Vec<Pid> {
    if !Path::new("/proc/thread-self/children").exists() {
        return children_by_parent(pid);
    }
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else {
        return Vec::new();
    };
    let lists =
        threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_ascii_whitespace().filter_map(number).collect::<Vec<_>>()).collect()
}

fn children_by_parent(parent: Pid) -> Vec<Pid> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.flatten().filter_map(|entry| number(entry.file_name().to_str()?));
    let parent = parent.as_raw_nonzero().to_string();
    pids.filter(|pid| proc_file(*pid, "stat").is_some_and(|stat| field(&stat, 4) == Some(&parent))).collect()
}

fn number(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

fn resident(pid: Pid) -> Option<u64> {
    let pages: u64 = proc_file(pid, "statm")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn proportional(pid: Pid) -> Option<u64> {
    let rollup = proc_file(pid, "smaps_rollup")?;
    let kib: u64 = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn names_can_not_forge_fields() {
        let stat = "17 (a) S 1 (b) R 4 17 17 34816 17 0";
        assert_eq!(field(stat, 3), Some("R"));
        assert_eq!(field(stat, 4), Some("4"));
        assert_eq!(field(stat, 7), Some("34816"));
        assert_eq!(field("", 3), None);
    }

    #[test]
    fn children_are_found_either_way_and_weigh_something() {
        let mut child =
            Command::new("sh").args(["-c", "sleep 60 & read x"]).stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        // the shell starts its own child when it gets to it
        while children(pid).is_empty() {
            std::thread::yield_now();
        }
        let me = rustix::process::getpid();
        assert!(children(me).contains(&pid));
        assert!(children_by_parent(me).contains(&pid));
        assert_eq!(children(pid), children_by_parent(pid));
        let tree = Tree::now();
        assert!(tree.contains(child.id().cast_signed()) && tree.len() >= 2);
        let (both, shared) = (resident(pid).unwrap(), proportional(pid).unwrap());
        assert!(both > 4096 && shared > 0 && shared <= both, "{both} {shared}");
        for grandchild in children(pid) {
            _ = kill_process(grandchild, Signal::KILL);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(resident(pid), None);
    }
}
