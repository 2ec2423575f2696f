//! Copies what the command prints to where it would have gone, as it comes, and into the log.

use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::log::Shared;
use super::pty::{Pty, Returns};

/// After the command has ended, whoever still holds its output has this long to say something ...
const SILENCE: Duration = Duration::from_millis(100);
/// ... and this long in total. Then we go.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a "\r" from a terminal may wait for its "\n".
const SOON: Duration = Duration::from_millis(2);
const CHUNK: usize = 64 << 10;

/// Where the command's output arrives.
pub(super) enum Source {
    Pipe(OwnedFd),
    Pty(Pty),
}

impl Source {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pipe(fd) => fd.as_fd(),
            Self::Pty(pty) => pty.master(),
        }
    }
}

/// Why a pump stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Everybody who could write has closed.
    Ended,
    /// Nobody reads our output any more; the command is told as it would have been without us.
    ReaderGone,
    /// The command has ended, but something that it started holds its output open.
    StillOpen,
}

/// Copies until there is no more. `ended` is closed at its other end when the command has ended.
pub(super) fn pump<W: Write>(
    mut source: Source,
    to: &OwnedFd,
    log: &Shared<W>,
    ended: &Arc<PipeReader>,
) -> Stopped {
    let mut buffer = vec![0; CHUNK];
    let mut returns = Returns::default();
    let mut drain: Option<Instant> = None;
    loop {
        let timeout = match drain {
            _ if returns.is_holding() => Some(SOON),
            Some(until) => Some(SILENCE.min(until.saturating_duration_since(Instant::now()))),
            None => None,
        };
        let ready = match wait(source.fd(), to.as_fd(), ended, drain.is_none(), timeout) {
            Ok(ready) => ready,
            Err(Errno::INTR) => continue,
            Err(_) => return Stopped::Ended,
        };
        if ready.ended && drain.is_none() {
            drain = Some(Instant::now() + PATIENCE);
        }
        if ready.reader_gone {
            return Stopped::ReaderGone;
        }
        if !ready.source {
            if returns.is_holding() {
                if let Some(stopped) = pass(returns.release(), to, log) {
                    return stopped;
                }
            } else if drain.is_some() && !ready.ended {
                return Stopped::StillOpen;
            }
            continue;
        }
        let read = match rustix::io::read(source.fd(), &mut buffer) {
            Ok(0) => return finish(&mut returns, to, log),
            Ok(n) => &buffer[..n],
            Err(Errno::INTR | Errno::AGAIN) => continue,
            // a terminal that nobody has open now; the command may open it again as long as it lives
            Err(Errno::IO) if drain.is_none() => {
                _ = wait_for_end(ended, Duration::from_millis(20));
                continue;
            }
            Err(_) => return finish(&mut returns, to, log),
        };
        let stopped = match &mut source {
            Source::Pipe(_) => pass(read, to, log),
            Source::Pty(pty) => {
                pty.mirror();
                if pty.adds_returns() {
                    pass(&returns.without(read), to, log)
                } else {
                    pass(returns.release(), to, log).or_else(|| pass(read, to, log))
                }
            }
        };
        if let Some(stopped) = stopped {
            return stopped;
        }
        if drain.is_some_and(|until| Instant::now() >= until) {
            return Stopped::StillOpen;
        }
    }
}

fn finish<W: Write>(returns: &mut Returns, to: &OwnedFd, log: &Shared<W>) -> Stopped {
    pass(returns.release(), to, log).unwrap_or(Stopped::Ended)
}

struct Ready {
    source: bool,
    reader_gone: bool,
    ended: bool,
}

fn wait(
    source: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    ended: &PipeReader,
    watch_end: bool,
    timeout: Option<Duration>,
) -> Result<Ready, Errno> {
    let mut fds = [
        PollFd::from_borrowed_fd(source, PollFlags::IN),
        // errors alone: a pipe whose reader has gone says so before anybody writes to it
        PollFd::from_borrowed_fd(to, PollFlags::empty()),
        PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
    ];
    let watched = if watch_end { 3 } else { 2 };
    poll(&mut fds[..watched], timeout.map(timespec).as_ref())?;
    Ok(Ready {
        source: !fds[0].revents().is_empty(),
        reader_gone: fds[1].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL),
        ended: watch_end && !fds[2].revents().is_empty(),
    })
}

fn wait_for_end(ended: &PipeReader, timeout: Duration) -> Result<usize, Errno> {
    poll(&mut [PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN)], Some(&timespec(timeout)))
}

/// Rounded up, so that a wait that has ended has really ended.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// First to where it goes, then into the log: the log may be slow.
fn pass<W: Write>(bytes: &[u8], to: &OwnedFd, log: &Shared<W>) -> Option<Stopped> {
    let written = write_all(to.as_fd(), bytes);
    log.add(bytes);
    written.is_err().then_some(Stopped::ReaderGone)
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            // our caller may have made it non-blocking
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use super::super::log::Capped;
    use super::*;

    struct Rig {
        input: Option<io::PipeWriter>,
        output: Option<PipeReader>,
        end: Option<io::PipeWriter>,
        log: Shared<Vec<u8>>,
        pump: std::thread::JoinHandle<Stopped>,
    }

    fn rig() -> Rig {
        let (source, input) = pipe().unwrap();
        let (output, to) = pipe().unwrap();
        let (ended, end) = pipe().unwrap();
        let log = Shared::new(Capped::new(Vec::new(), 1 << 20));
        let shared = log.clone();
        let pump = std::thread::spawn(move || {
            pump(Source::Pipe(source.into()), &OwnedFd::from(to), &shared, &Arc::new(ended))
        });
        Rig { input: Some(input), output: Some(output), end: Some(end), log, pump }
    }

    impl Rig {
        fn log(self) -> (Stopped, Vec<u8>) {
            let stopped = self.pump.join().unwrap();
            (stopped, self.log.take().unwrap().finish().0)
        }
    }

    #[test]
    fn a_piece_of_a_line_passes_at_once() {
        let mut rig = rig();
        rig.input.as_mut().unwrap().write_all(b"no line end yet").unwrap();
        let mut got = [0; 15];
        rig.output.as_mut().unwrap().read_exact(&mut got).unwrap();
        assert_eq!(&got, b"no line end yet");
        drop(rig.input.take());
        assert_eq!(rig.log(), (Stopped::Ended, b"no line end yet".to_vec()));
    }

    #[test]
    fn the_command_learns_that_its_reader_has_gone_at_its_first_write() {
        let mut rig = rig();
        drop(rig.output.take());
        let mut input = rig.input.take().unwrap();
        let (stopped, _) = rig.log();
        assert_eq!(stopped, Stopped::ReaderGone);
        assert_eq!(input.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn who_holds_the_output_open_is_not_waited_for() {
        let mut rig = rig();
        let mut input = rig.input.take().unwrap();
        input.write_all(b"said before the end").unwrap();
        drop(rig.end.take());
        assert_eq!(rig.log(), (Stopped::StillOpen, b"said before the end".to_vec()));
        drop(input);
    }
}
