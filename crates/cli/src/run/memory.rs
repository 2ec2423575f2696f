//! Memory: our own limit, watched, and the kernel's out-of-memory killer, recognised by its counters.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::tree::Tree;

/// Memory can't be filled much faster than this: how soon to look again follows from what is left.
const FASTEST: u64 = 8 << 30;
const SOONEST: Duration = Duration::from_millis(10);
const LATEST: Duration = Duration::from_millis(250);

/// Our own limit on the resident memory of a command and of all that it started.
#[derive(Debug)]
pub(super) struct Watch {
    limit: u64,
    pub(super) peak: u64,
}

/// What a look at the memory said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Look again after this long.
    Within(Duration),
    Over,
}

impl Watch {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, peak: 0 }
    }

    /// Shared pages are counted once only where it matters: finding that out is dear.
    pub(super) fn look(&mut self) -> Look {
        let tree = Tree::now();
        let mut used = tree.resident();
        if used > self.limit {
            used = tree.proportional();
        }
        self.peak = self.peak.max(used);
        if used > self.limit { Look::Over } else { Look::Within(pause(self.limit - used)) }
    }
}

fn pause(left: u64) -> Duration {
    let until_full = Duration::from_micros(left.saturating_mul(1_000_000) / FASTEST);
    until_full.clamp(SOONEST, LATEST)
}

/// How many processes the kernel has killed for lack of memory: in our control group where that can be read, on the
/// whole machine where it can't.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OomKills {
    source: PathBuf,
    count: u64,
}

impl OomKills {
    pub(super) fn now() -> Option<Self> {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> Option<Self> {
        let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        counters(&groups)
            .into_iter()
            .map(|path| root.join(path))
            .find_map(|source| Some(Self { count: count(&std::fs::read_to_string(&source).ok()?)?, source }))
    }

    pub(super) fn into_source(self) -> PathBuf {
        self.source
    }

    /// Has the counter risen since?
    pub(super) fn rose(before: Option<&Self>, after: Option<&Self>) -> bool {
        matches!((before, after), (Some(b), Some(a)) if a.source == b.source && a.count > b.count)
    }
}

/// The files that may hold the counter, the closest to us first. In a container the group's path may be the one
/// outside, while the mounted tree begins at the container's own group.
fn counters(groups: &str) -> Vec<PathBuf> {
    let path = |controllers: &str| {
        let mut lines = groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        lines.find(|(names, _)| names.split(',').any(|name| name == controllers)).map(|(_, path)| path)
    };
    let file =
        |mount: &str, path: &str, name: &str| Path::new(mount).join(path.trim_start_matches('/')).join(name);
    let mut files = Vec::new();
    if let Some(path) = path("memory") {
        files.push(file("sys/fs/cgroup/memory", path, "memory.oom_control"));
        files.push(file("sys/fs/cgroup/memory", "", "memory.oom_control"));
    }
    if let Some(path) = path("") {
        files.push(file("sys/fs/cgroup", path, "memory.events"));
        files.push(file("sys/fs/cgroup", "", "memory.events"));
    }
    files.push("proc/vmstat".into());
    files
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_limit_the_sooner_we_look() {
        assert_eq!(pause(0), SOONEST);
        assert_eq!(pause(1 << 30), Duration::from_millis(125));
        assert_eq!(pause(u64::MAX), LATEST);
    }

    /// A root folder with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_closest_counter_counts() {
        let events = "low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\noom_group_kill 0\n";
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n";
        let vmstat = "nr_free_pages 1\noom_kill 40\n";
        for (files, expected) in [
            (
                &[
                    ("proc/self/cgroup", "0::/user.slice/run-1.scope\n"),
                    ("sys/fs/cgroup/user.slice/run-1.scope/memory.events", events),
                    ("proc/vmstat", vmstat),
                ][..],
                Some(("sys/fs/cgroup/user.slice/run-1.scope/memory.events", 2)),
            ),
            (
                &[("proc/self/cgroup", "0::/docker/f00\n"), ("sys/fs/cgroup/memory.events", events)],
                Some(("sys/fs/cgroup/memory.events", 2)),
            ),
            (
                &[
                    ("proc/self/cgroup", "8:pids:/\n4:cpu,memory:/job/3\n0::/\n"),
                    ("sys/fs/cgroup/memory/job/3/memory.oom_control", v1),
                    ("proc/vmstat", vmstat),
                ],
                Some(("sys/fs/cgroup/memory/job/3/memory.oom_control", 7)),
            ),
            // the root group of version 2 has no such file
            (&[("proc/self/cgroup", "0::/\n"), ("proc/vmstat", vmstat)], Some(("proc/vmstat", 40))),
            (&[("proc/vmstat", "nr_free_pages 1\n")], None),
        ] {
            let root = machine(files);
            let found = OomKills::below(root.path());
            let expected = expected.map(|(path, count)| OomKills { source: root.path().join(path), count });
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn only_a_rise_of_the_same_counter_tells() {
        let kills = |source: &str, count| OomKills { source: source.into(), count };
        assert!(OomKills::rose(Some(&kills("a", 1)), Some(&kills("a", 2))));
        assert!(!OomKills::rose(Some(&kills("a", 1)), Some(&kills("a", 1))));
        assert!(!OomKills::rose(Some(&kills("a", 1)), Some(&kills("b", 2))));
        assert!(!OomKills::rose(None, Some(&kills("a", 2))));
    }
}
