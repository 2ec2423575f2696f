//! Copies what the command prints to where it would have gone, as it comes, and into the log in the order of printing.
//!
//! One thread reads all streams, so that what was printed first is logged first as far as that can be known; it reads
//! from a stream only when the other side can take what it reads, so that a reader that stalls holds only its own
//! stream, and the command sees that as it would have without us.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;

use super::log::Shared;
use super::pty::{Pty, Returns};

/// After the command has ended, whoever still holds its output has this long to say something ...
const SILENCE: Duration = Duration::from_millis(100);
/// ... and this long in total. Then we go.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a "\r" from a terminal may wait for its "\n".
const SOON: Duration = Duration::from_millis(2);
/// What a pipe, a socket or a terminal that can take anything takes without waiting.
const PIECE: usize = 4 << 10;
/// What is read at once for a file.
const CHUNK: usize = 64 << 10;
/// The event that says that the command has ended. Of stream N, 2N is its source and 2N + 1 where it goes.
const ENDED: u64 = u64::MAX;

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

/// Why a stream stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Everybody who could write has closed.
    Ended,
    /// Nobody reads our output any more; the command is told as it would have been without us.
    ReaderGone,
    /// The command has ended, but something that it started holds its output open.
    StillOpen,
}

/// A stream that is open.
struct Stream {
    source: Source,
    to: OwnedFd,
    piece: usize,
    returns: Returns,
    /// Has something to read, but nobody takes it now.
    blocked: bool,
    /// Bytes that were there when the command ended: they are its own, and passed on however long that takes.
    owed: u64,
}

/// What came of an attempt to read.
enum Read {
    Some,
    Nothing,
    Blocked,
    Stopped(Stopped),
}

/// All streams, and what is known of them.
pub(super) struct Pump<W> {
    epoll: OwnedFd,
    streams: Vec<Result<Stream, Stopped>>,
    /// Streams with something to read, in the order in which they got it.
    ready: VecDeque<usize>,
    log: Shared<W>,
    ended: PipeReader,
    /// When the command has ended: until when the rest of its output is waited for.
    until: Option<Instant>,
    buffer: Vec<u8>,
}

impl<W: Write> Pump<W> {
    /// `ended` is closed at its other end when the command has ended.
    pub(super) fn new(
        streams: Vec<(Source, OwnedFd)>,
        log: Shared<W>,
        ended: PipeReader,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &ended, EventData::new_u64(ENDED), EventFlags::IN | EventFlags::ET)?;
        let mut open = Vec::new();
        for (i, (source, to)) in streams.into_iter().enumerate() {
            // ours alone: the command's end is another description
            fcntl_setfl(source.fd(), fcntl_getfl(source.fd())? | OFlags::NONBLOCK)?;
            let id = 2 * i as u64;
            epoll::add(&epoll, source.fd(), EventData::new_u64(id), EventFlags::IN | EventFlags::ET)?;
            // files can't be waited for, and need not
            _ = epoll::add(&epoll, &to, EventData::new_u64(id + 1), EventFlags::OUT | EventFlags::ET);
            let file =
                fstat(&to).is_ok_and(|to| FileType::from_raw_mode(to.st_mode) == FileType::RegularFile);
            let piece = if file { CHUNK } else { PIECE };
            open.push(Ok(Stream { source, to, piece, returns: Returns::default(), blocked: false, owed: 0 }));
        }
        let buffer = vec![0; CHUNK];
        Ok(Self { epoll, streams: open, ready: VecDeque::new(), log, ended, until: None, buffer })
    }

    /// Copies until there is no more.
    pub(super) fn run(mut self) -> Vec<Stopped> {
        while self.streams.iter().any(Result::is_ok) {
            let turn = self.ready.pop_front();
            if let Some(i) = turn {
                match self.read(i) {
                    // behind those that have got something meanwhile
                    Read::Some => self.wait(Some(Duration::ZERO), Some(i)),
                    Read::Nothing => {}
                    Read::Blocked => self.set_blocked(i, true),
                    Read::Stopped(why) => self.stop(i, why),
                }
            } else {
                let timeout = self.timeout();
                self.wait(timeout, None);
            }
        }
        self.streams.into_iter().filter_map(Result::err).collect()
    }

    fn timeout(&self) -> Option<Duration> {
        let open = || self.streams.iter().filter_map(|stream| stream.as_ref().ok());
        if open().any(|stream| stream.returns.is_holding()) {
            return Some(SOON);
        }
        // who does not take what is there is waited for like before the end
        let until = self.until.filter(|_| !open().all(|stream| stream.blocked))?;
        // never nothing: that is how a look is told from a wait
        Some(until.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), SILENCE))
    }

    /// Waits for something to do; `then` is put behind what has come.
    fn wait(&mut self, timeout: Option<Duration>, then: Option<usize>) {
        let mut events = Vec::with_capacity(8);
        let waited = epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.map(timespec).as_ref(),
        );
        let silent = waited.is_ok() && events.is_empty();
        for event in &events {
            let (data, flags) = (event.data.u64(), event.flags);
            if data == ENDED {
                self.command_has_ended();
            } else if data % 2 == 0 {
                self.push(data as usize / 2);
            } else if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                self.stop(data as usize / 2, Stopped::ReaderGone);
            } else {
                self.set_blocked(data as usize / 2, false);
            }
        }
        if let Some(i) = then {
            self.push(i);
        }
        if silent && timeout.is_some_and(|timeout| !timeout.is_zero()) {
            self.nothing_came();
        }
    }

    fn push(&mut self, i: usize) {
        if !self.ready.contains(&i) {
            self.ready.push_back(i);
        }
    }

    fn set_blocked(&mut self, i: usize, blocked: bool) {
        if let Some(Ok(stream)) = self.streams.get_mut(i)
            && std::mem::replace(&mut stream.blocked, blocked) != blocked
            && !blocked
        {
            self.push(i);
        }
    }

    /// Closes the source, so that whoever still writes to it learns of it.
    fn stop(&mut self, i: usize, why: Stopped) {
        if let Some(stream) = self.streams.get_mut(i)
            && stream.is_ok()
        {
            *stream = Err(why);
        }
    }

    fn command_has_ended(&mut self) {
        if self.until.is_some() {
            return;
        }
        _ = epoll::delete(&self.epoll, &self.ended);
        self.until = Some(Instant::now() + PATIENCE);
        for i in 0..self.streams.len() {
            if let Ok(stream) = &mut self.streams[i] {
                stream.owed = rustix::io::ioctl_fionread(stream.source.fd()).unwrap_or(0);
                self.push(i);
            }
        }
    }

    /// Nothing came in time: what is held goes out; after the end, whoever is still there is left behind.
    fn nothing_came(&mut self) {
        let mut released = false;
        for i in 0..self.streams.len() {
            let Ok(stream) = &mut self.streams[i] else { continue };
            if stream.returns.is_holding() {
                released = true;
                let held = stream.returns.release();
                if let Some(why) = pass(held, &stream.to, &self.log) {
                    self.stop(i, why);
                }
            }
        }
        if self.until.is_some() && !released {
            for i in 0..self.streams.len() {
                if self.streams[i].as_ref().is_ok_and(|stream| !stream.blocked) {
                    self.stop(i, Stopped::StillOpen);
                }
            }
        }
    }

    /// Reads once, if what is read can be passed on.
    fn read(&mut self, i: usize) -> Read {
        let Some(Ok(stream)) = self.streams.get_mut(i) else { return Read::Nothing };
        if stream.blocked {
            return Read::Nothing;
        }
        if self.until.is_some_and(|until| stream.owed == 0 && Instant::now() >= until) {
            return Read::Stopped(Stopped::StillOpen);
        }
        if !takes(&stream.to) {
            return Read::Blocked;
        }
        let read = match rustix::io::read(stream.source.fd(), &mut self.buffer[..stream.piece]) {
            Ok(0) => return Read::Stopped(end(&mut stream.returns, &stream.to, &self.log)),
            Ok(n) => &self.buffer[..n],
            Err(Errno::AGAIN) => return Read::Nothing,
            Err(Errno::INTR) => return Read::Some,
            // a terminal that nobody has open now; the command may open it again as long as it lives
            Err(Errno::IO) if self.until.is_none() => return Read::Nothing,
            Err(_) => return Read::Stopped(end(&mut stream.returns, &stream.to, &self.log)),
        };
        stream.owed = stream.owed.saturating_sub(read.len() as u64);
        let stopped = match &mut stream.source {
            Source::Pipe(_) => pass(read, &stream.to, &self.log),
            Source::Pty(pty) => {
                pty.mirror();
                if pty.adds_returns() {
                    pass(&stream.returns.without(read), &stream.to, &self.log)
                } else {
                    pass(stream.returns.release(), &stream.to, &self.log)
                        .or_else(|| pass(read, &stream.to, &self.log))
                }
            }
        };
        stopped.map_or(Read::Some, Read::Stopped)
    }
}

fn end<W: Write>(returns: &mut Returns, to: &OwnedFd, log: &Shared<W>) -> Stopped {
    pass(returns.release(), to, log).unwrap_or(Stopped::Ended)
}

/// Would a write of a piece go through without waiting? An error has to be met, not waited for.
fn takes(to: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(to, PollFlags::OUT)];
    poll(&mut fds, Some(&timespec(Duration::ZERO))).is_ok_and(|_| !fds[0].revents().is_empty())
}

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
    use std::io::{PipeWriter, Read as _, pipe};

    use super::super::log::Capped;
    use super::*;

    /// Two streams, as a command has them.
    struct Rig {
        inputs: Vec<PipeWriter>,
        outputs: Vec<PipeReader>,
        end: Option<PipeWriter>,
        log: Shared<Vec<u8>>,
        pump: std::thread::JoinHandle<Vec<Stopped>>,
    }

    fn rig() -> Rig {
        let (mut inputs, mut outputs, mut streams) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..2 {
            let (source, input) = pipe().unwrap();
            let (output, to) = pipe().unwrap();
            inputs.push(input);
            outputs.push(output);
            streams.push((Source::Pipe(source.into()), OwnedFd::from(to)));
        }
        let (ended, end) = pipe().unwrap();
        let log = Shared::new(Capped::new(Vec::new(), 1 << 24));
        let pump = Pump::new(streams, log.clone(), ended).unwrap();
        Rig { inputs, outputs, end: Some(end), log, pump: std::thread::spawn(move || pump.run()) }
    }

    impl Rig {
        fn finish(self) -> (Vec<Stopped>, Vec<u8>) {
            let stopped = self.pump.join().unwrap();
            (stopped, self.log.take().unwrap().finish().0)
        }
    }

    #[test]
    fn a_piece_of_a_line_passes_at_once() {
        let mut rig = rig();
        rig.inputs[0].write_all(b"no line end yet").unwrap();
        let mut got = [0; 15];
        rig.outputs[0].read_exact(&mut got).unwrap();
        assert_eq!(&got, b"no line end yet");
        rig.inputs.clear();
        assert_eq!(rig.finish(), (vec![Stopped::Ended; 2], b"no line end yet".to_vec()));
    }

    #[test]
    fn what_was_printed_first_is_logged_first() {
        let mut rig = rig();
        let mut expected: Vec<u8> = Vec::new();
        for i in 0..500 {
            let line = format!("{i}\n");
            rig.inputs[i % 2].write_all(line.as_bytes()).unwrap();
            expected.extend(line.as_bytes());
            // as far apart as two writes are between which something happens
            let mut got = vec![0; line.len()];
            rig.outputs[i % 2].read_exact(&mut got).unwrap();
        }
        rig.inputs.clear();
        assert_eq!(rig.finish().1, expected);
    }

    #[test]
    fn a_reader_that_stalls_holds_its_own_stream_only() {
        let mut rig = rig();
        let mut stalled = rig.inputs.remove(0);
        let writer = std::thread::spawn(move || stalled.write_all(&vec![b'x'; 1 << 20]));
        for _ in 0..100 {
            rig.inputs[0].write_all(b"passes").unwrap();
            let mut got = [0; 6];
            rig.outputs[1].read_exact(&mut got).unwrap();
        }
        // the command ends, its reader takes his time: all of it arrives
        drop(rig.end.take());
        rig.inputs.clear();
        let mut all = Vec::new();
        rig.outputs[0].read_to_end(&mut all).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(all.len(), 1 << 20);
        assert_eq!(rig.finish().0, [Stopped::Ended; 2]);
    }

    #[test]
    fn the_command_learns_that_its_reader_has_gone_at_its_first_write() {
        let mut rig = rig();
        drop(rig.outputs.remove(0));
        let mut gone = rig.inputs.remove(0);
        let other = rig.inputs.remove(0);
        let error = loop {
            // one write may be quicker than the news
            match gone.write_all(b"x") {
                Ok(()) => std::thread::yield_now(),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        drop(other);
        assert_eq!(rig.finish().0, [Stopped::ReaderGone, Stopped::Ended]);
    }

    #[test]
    fn who_holds_the_output_open_is_not_waited_for() {
        let mut rig = rig();
        rig.inputs[1].write_all(b"said before the end").unwrap();
        drop(rig.end.take());
        let held = std::mem::take(&mut rig.inputs);
        assert_eq!(rig.finish(), (vec![Stopped::StillOpen; 2], b"said before the end".to_vec()));
        drop(held);
    }
}
