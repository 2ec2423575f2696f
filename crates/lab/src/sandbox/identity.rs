//! As whom a command runs: never as the machine's root.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Users from here on belong to nobody: above systemd's range for containers, below what does not fit a signed number.
const FIRST: u32 = 0x7000_0000;
/// So many commands of one process can run at once, each as a user of its own.
const AT_ONCE: u32 = 1 << 6;

/// Who we are, as far as that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// Root over all users, who can become any of them.
    Root,
    /// Root over some users, of whom `most` is the highest.
    SomeRoot { most: u32 },
    /// Anybody else, who stays who he is.
    User,
}

impl Identity {
    pub(super) fn ours() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        if rustix::process::geteuid().is_root() { Self::of_root(&map) } else { Self::User }
    }

    /// By the map of the user namespace: `inside outside count`, a line each.
    fn of_root(map: &str) -> Self {
        let most = map.lines().filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(|word| word.parse::<u64>().ok());
            let (inside, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
            (inside + count).checked_sub(1)
        });
        match most.max() {
            Some(most) if most >= u64::from(FIRST) * 2 => Self::Root,
            // one that is nobody else's, and not root
            Some(most) if most >= 1000 => Self::SomeRoot { most: u32::try_from(most).unwrap_or(FIRST) },
            // root in name only
            _ => Self::User,
        }
    }

    /// The user that the next command becomes; `None` if it stays who we are.
    pub(super) fn next_user(self) -> Option<u32> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        match self {
            Self::Root => {
                let nth = NEXT.fetch_add(1, Ordering::Relaxed) % AT_ONCE;
                // of its own, so that the number of its processes is not added to that of others
                let process = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs() & 0x3f_ffff;
                Some(FIRST + process * AT_ONCE + nth)
            }
            Self::SomeRoot { most } => Some(most),
            Self::User => None,
        }
    }
}

/// The programs of bubblewrap that there may be.
pub(super) fn bubblewrap() -> Option<&'static Path> {
    const PLACES: [&str; 4] =
        ["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap", "/run/current-system/sw/bin/bwrap"];
    PLACES.map(Path::new).into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_the_users_under_it() {
        assert_eq!(Identity::of_root("         0          0 4294967295\n"), Identity::Root);
        assert_eq!(Identity::of_root("0 100000 65536\n"), Identity::SomeRoot { most: 65535 });
        assert_eq!(Identity::of_root("0 1000 1\n1 100000 65536\n"), Identity::SomeRoot { most: 65536 });
        assert_eq!(Identity::of_root("0 1000 1\n"), Identity::User);
        assert_eq!(Identity::of_root(""), Identity::User);
    }

    #[test]
    fn each_command_is_somebody_else() {
        let (one, two) = (Identity::Root.next_user().unwrap(), Identity::Root.next_user().unwrap());
        assert!(one != two && one >= FIRST && i32::try_from(one).is_ok());
        assert_eq!(Identity::User.next_user(), None);
    }
}
