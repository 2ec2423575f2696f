//! A control group (version 2) for each run, where a part of the tree was delegated to us: memory, processes, and the
//! kernel's own count of what it killed.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Limits;

/// What our own process moves into, because a group that hands out controllers may hold no process.
const SUPERVISOR: &str = "coroner-supervisor";
const PREFIX: &str = "coroner-run-";

/// The part of the tree that is ours.
#[derive(Debug, Clone)]
pub(super) struct Parent(PathBuf);

impl Parent {
    /// Finds it and makes it ready, or says why there is none.
    pub(super) fn find() -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let ours = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let mount = mount_point(&mounts).ok_or("no cgroup v2 is mounted here")?;
        let path =
            ours.lines().find_map(|line| line.strip_prefix("0::")).ok_or("this process is in no v2 group")?;
        let mut folder = Path::new(mount).join(path.trim_start_matches('/'));
        // an earlier call has moved us
        if folder.file_name().is_some_and(|name| name == SUPERVISOR) {
            folder.pop();
        }
        Self::ready(&folder)
    }

    fn ready(folder: &Path) -> Result<Self, String> {
        const ADVICE: &str =
            "start it with `systemd-run --user --scope -p Delegate=yes`, or in a unit with Delegate=yes";
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        let has = |text: &str| {
            ["memory", "pids"].iter().all(|name| text.split_ascii_whitespace().any(|w| w == *name))
        };
        if !has(&read("cgroup.controllers")) {
            return Err(format!("no memory and pids controllers in {}: {ADVICE}", folder.display()));
        }
        if !has(&read("cgroup.subtree_control")) {
            // whoever else is in here would be moved about: then it is not ours
            let us = std::process::id().to_string();
            if read("cgroup.procs").lines().any(|pid| pid != us) {
                return Err(format!("{} is shared with other processes: {ADVICE}", folder.display()));
            }
            let refused =
                |error: io::Error| format!("{} is not delegated ({error}): {ADVICE}", folder.display());
            let supervisor = folder.join(SUPERVISOR);
            fs::create_dir(&supervisor).or_else(exists).map_err(refused)?;
            fs::write(supervisor.join("cgroup.procs"), &us).map_err(refused)?;
            fs::write(folder.join("cgroup.subtree_control"), "+memory +pids").map_err(refused)?;
        }
        // what earlier processes left when they were killed; whatever still runs in one keeps it
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                _ = fs::remove_dir(entry.path());
            }
        }
        Ok(Self(folder.to_owned()))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// A group for one run.
    pub(super) fn group(&self, limits: &Limits) -> io::Result<Group> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let group = Group(self.0.join(format!("{PREFIX}{}-{nth}", std::process::id())));
        fs::create_dir(&group.0)?;
        let write = |file: &str, text: &str| fs::write(group.0.join(file), text);
        write("memory.max", &limits.memory.to_string())?;
        // not everywhere
        _ = write("memory.swap.max", "0");
        _ = write("memory.oom.group", "1");
        write("pids.max", &limits.processes.to_string())?;
        Ok(group)
    }
}

fn exists(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// Where version 2 is mounted.
fn mount_point(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2").then_some(place)
    })
}

/// The group of one run, gone when this is dropped.
#[derive(Debug)]
pub(super) struct Group(PathBuf);

impl Group {
    /// Whoever writes 0 to this joins.
    pub(super) fn door(&self) -> io::Result<OwnedFd> {
        Ok(fs::OpenOptions::new().write(true).open(self.0.join("cgroup.procs"))?.into())
    }

    /// What the kernel counted: processes killed for lack of memory, processes refused, and the most memory, in bytes.
    pub(super) fn counted(&self) -> Counted {
        let read = |file: &str| fs::read_to_string(self.0.join(file)).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(word, _)| *word == name).and_then(|(_, n)| n.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        Counted {
            oom_kills: field(&read("memory.events"), "oom_kill"),
            refused: field(&read("pids.events"), "max"),
            peak: read("memory.peak").trim().parse().unwrap_or(0),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        _ = fs::write(self.0.join("cgroup.kill"), "1");
        _ = fs::remove_dir(&self.0);
    }
}

/// What a group counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) oom_kills: u64,
    pub(super) refused: u64,
    pub(super) peak: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder is no control group, but the files are written and read in the same way.
    #[test]
    fn a_group_is_made_limited_read_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert!(Parent::ready(folder.path()).unwrap_err().contains("Delegate=yes"));
        file("cgroup.controllers", "cpu memory pids\n");
        file("cgroup.procs", "1\n");
        assert!(Parent::ready(folder.path()).unwrap_err().contains("shared with other processes"));
        file("cgroup.procs", &format!("{}\n", std::process::id()));
        let parent = Parent::ready(folder.path()).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("cgroup.subtree_control")).unwrap(),
            "+memory +pids"
        );
        let group = parent.group(&Limits::default()).unwrap();
        assert_eq!(fs::read_to_string(group.0.join("memory.max")).unwrap(), "1073741824");
        assert_eq!(fs::read_to_string(group.0.join("pids.max")).unwrap(), "64");
        fs::write(group.0.join("memory.events"), "low 0\noom 3\noom_kill 2\n").unwrap();
        fs::write(group.0.join("pids.events"), "max 7\n").unwrap();
        fs::write(group.0.join("memory.peak"), "4096\n").unwrap();
        assert_eq!(group.counted(), Counted { oom_kills: 2, refused: 7, peak: 4096 });
    }

    #[test]
    fn version_two_is_found_among_the_mounts() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_point(mounts), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mount_point("proc /proc proc rw 0 0\n"), None);
    }
}
