//! The signals that reach us while a command runs: which we take, where they came from, what becomes of them.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::signal::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::tree::has_terminal;

/// Taken so that we outlive the command, and passed on to it.
const PASSED_ON: [i32; 8] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH];

/// Of which these tell a process to end.
pub(super) const ENDS: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// A signal that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) signal: i32,
    /// The terminal's driver sent it, to the whole foreground group: the command has it already.
    pub(super) from_terminal: bool,
    pub(super) sender: Option<i32>,
}

/// What is said last, and once: when all is done, or by whoever is told to end before.
#[derive(Clone, Default)]
pub(super) struct LastWords(Arc<Mutex<String>>);

impl LastWords {
    /// These, until there are better ones.
    pub(super) fn set(&self, words: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// Says them. Nobody may be left to read them.
    pub(super) fn say(&self) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        _ = std::io::stderr().write_all(words.as_bytes());
        words.clear();
    }
}

/// The signals that we take, delivered through a descriptor that can be polled.
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
    shared_terminal: bool,
}

impl Signals {
    /// Takes them, but for those that we were started to ignore (as nohup does): the command inherits that.
    /// Where a terminal stops us and the command together, stopping is left to it.
    pub(super) fn take() -> std::io::Result<Self> {
        let shared_terminal = has_terminal();
        let (read, write) = UnixStream::pair()?;
        write.set_nonblocking(true)?;
        let ignored = ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
        let wanted = PASSED_ON.into_iter().chain((!shared_terminal).then_some(SIGTSTP));
        let wanted = wanted.filter(|signal| ignored & (1 << (signal - 1)) == 0).chain([SIGCHLD]);
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), wanted)?;
        Ok(Self { delivery, shared_terminal })
    }

    /// Do we belong to a terminal, whose driver signals us and what we start together?
    pub(super) fn shared_terminal(&self) -> bool {
        self.shared_terminal
    }

    /// From now on, whoever tells us to end ends us, with the last words: the command is over, and only we are still busy.
    pub(super) fn obey(mut self, status: u8, last_words: &LastWords) {
        let last_words = last_words.clone();
        std::thread::spawn(move || {
            loop {
                let mut fds = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)];
                _ = poll(&mut fds, None);
                if self.arrived().iter().any(|arrived| ENDS.contains(&arrived.signal)) {
                    // held to the end, so that nobody else says them too
                    let words = last_words.0.lock().unwrap_or_else(PoisonError::into_inner);
                    // a line that shows progress may stand there
                    let progress = !words.is_empty() && std::io::stderr().is_terminal();
                    let clear = if progress { "\r\x1b[K" } else { "" };
                    _ = std::io::stderr().write_all(format!("{clear}{words}").as_bytes());
                    std::process::exit(i32::from(status));
                }
            }
        });
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }

    /// What has arrived since the last call; each signal once.
    pub(super) fn arrived(&mut self) -> Vec<Arrived> {
        let arrived = |origin: signal_hook::low_level::siginfo::Origin| Arrived {
            signal: origin.signal,
            from_terminal: origin.cause == Cause::Kernel,
            sender: origin.process.map(|process| process.pid),
        };
        self.delivery.pending().map(arrived).collect()
    }
}

/// The bit mask of ignored signals in /proc/self/status.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_were_started_to_ignore_is_read() {
        let status =
            "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000440\n";
        assert_eq!(ignored(status), 1 << (SIGHUP - 1) | 1 << (13 - 1));
        assert_eq!(ignored(""), 0);
    }
}
