//! The processes below one: found, counted, measured, killed.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// Everything that descends from `root`, without it.
pub(in super::super) fn below(root: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        let Some(children) = children(parent) else { return below_by_search(root) };
        found.extend(&children);
        open.extend(children);
        // a process can't have more ancestors than there are processes: the tree has changed under us
        if found.len() > 1 << 17 {
            break;
        }
    }
    found
}

/// As the kernel lists them; `None` if this kernel does not.
fn children(parent: Pid) -> Option<Vec<Pid>> {
    let tasks = format!("/proc/{parent}/task");
    let Ok(tasks) = fs::read_dir(tasks) else { return Some(Vec::new()) };
    let mut found = Vec::new();
    for task in tasks.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(text) => found.extend(text.split_ascii_whitespace().filter_map(pid)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && task.path().exists() => {
                return None;
            }
            Err(_) => {}
        }
    }
    Some(found)
}

fn pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

fn below_by_search(root: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let all: Vec<(Pid, Pid)> = entries
        .flatten()
        .filter_map(|entry| {
            let pid = pid(entry.file_name().to_str()?)?;
            Some((pid, stat(pid)?.parent?))
        })
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// What /proc/PID/stat says.
pub(in super::super) struct Stat {
    pub(in super::super) state: u8,
    pub(in super::super) parent: Option<Pid>,
}

pub(in super::super) fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // the name may hold anything, but ends with the last parenthesis
    let rest = &text[text.iter().rposition(|byte| *byte == b')')? + 2..];
    let mut words = rest.split(|byte| *byte == b' ');
    let state = *words.next()?.first()?;
    let parent = words.next().and_then(|word| std::str::from_utf8(word).ok()).and_then(self::pid);
    Some(Stat { state, parent })
}

/// Those that still run.
pub(super) fn alive(pids: &[Pid]) -> usize {
    pids.iter().filter(|pid| stat(**pid).is_some_and(|stat| !matches!(stat.state, b'Z' | b'X'))).count()
}

/// Kills everything below `root`, and says how many there were.
pub(in super::super) fn kill_below(root: Pid) -> usize {
    let all = below(root);
    all.iter().for_each(|pid| _ = kill_process(*pid, Signal::KILL));
    all.len()
}

/// How many tasks a user has.
pub(in super::super) fn tasks_of(user: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let tasks = entries.flatten().filter(|entry| {
        entry.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            && entry.metadata().is_ok_and(|meta| meta.uid() == user)
    });
    // the number of links of `task` is two more than that of the threads
    tasks
        .map(|entry| fs::metadata(entry.path().join("task")).map_or(1, |meta| meta.nlink().saturating_sub(2)))
        .sum()
}

/// Bytes of memory of these processes that nobody else has to give back: what they wrote, and what they share among
/// themselves, counted once. `space` is what lies in their file system in memory.
pub(super) fn memory(pids: &[Pid], space: u64, limit: u64) -> u64 {
    let quick = |pid: &Pid| fields(&format!("/proc/{pid}/status"), &["RssAnon:", "RssShmem:"]);
    let [anonymous, shared] = sum(pids, quick);
    let most = anonymous + shared.max(space);
    if most <= limit || pids.len() < 2 {
        return most;
    }
    // copies of each other count each page once
    let exact = |pid: &Pid| fields(&format!("/proc/{pid}/smaps_rollup"), &["Pss_Anon:", "Pss_Shmem:"]);
    let [anonymous, shared] = sum(pids, exact);
    if anonymous == 0 { most } else { anonymous + shared.max(space) }
}

fn sum(pids: &[Pid], of: impl Fn(&Pid) -> [u64; 2]) -> [u64; 2] {
    pids.iter().map(of).fold([0; 2], |[a, b], [c, d]| [a + c, b + d])
}

fn fields(path: &str, names: &[&str; 2]) -> [u64; 2] {
    let text = fs::read_to_string(path).unwrap_or_default();
    names.map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or(0) * 1024
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_found_in_both_ways() {
        let mut child =
            std::process::Command::new("sh").args(["-c", "sleep 100 & sleep 100; :"]).spawn().unwrap();
        let root = Pid::from_child(&child);
        while below(root).len() < 2 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let (mut one, mut two) = (below(root), below_by_search(root));
        one.sort_by_key(|pid| pid.as_raw_nonzero());
        two.sort_by_key(|pid| pid.as_raw_nonzero());
        assert_eq!(one, two);
        assert_eq!(alive(&one), 2);
        let us = rustix::process::getpid();
        assert_eq!(stat(root).unwrap().parent, Some(us));
        assert!(memory(&[us], 0, 0) > 100_000);
        assert!(tasks_of(rustix::process::getuid().as_raw()) >= 3);
        assert!(kill_below(root) >= 2);
        _ = child.kill();
        child.wait().unwrap();
    }
}
