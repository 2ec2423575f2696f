//! Runs a command to its end and says how it ended: passes its output and our signals on, keeps to the limits, and
//! waits for nobody who does not matter.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use coroner_diagnosis::{End, Exit};
use nix::sys::resource::{UsageWho, getrusage};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group};
use signal_hook::consts::signal::{SIGCHLD, SIGINT, SIGKILL, SIGPIPE, SIGTSTP, SIGWINCH, SIGXCPU};

use super::log::{Capped, LogFacts, Recent, Shared};
use super::memory::{Look, OomKills, Watch};
use super::pump::{Pump, Stopped, timespec};
use super::signals::{Arrived, ENDS, Signals};
use super::start::start;
use super::tree::{Tree, kill_all, state};

/// Once the command was ended by force, output that nobody takes is not waited for longer than this.
const UNREAD: Duration = Duration::from_secs(2);

/// What is run, and within which limits.
#[derive(Debug, Clone)]
pub(crate) struct Spec<'a> {
    pub(crate) command: &'a [OsString],
    /// The search path.
    pub(crate) path: Option<&'a OsStr>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) memory: Option<u64>,
    pub(crate) grace: Duration,
    pub(crate) log_limit: u64,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Outcome<W> {
    pub(crate) exit: Exit,
    /// Our own exit status.
    pub(crate) status: i32,
    /// It was ended because nobody read its output any more: no failure of its own.
    pub(crate) reader_gone: bool,
    /// Ctrl-C ended it.
    pub(crate) interrupted: bool,
    /// Processes that it left running.
    pub(crate) left_behind: usize,
    pub(crate) log: LogFacts,
    pub(crate) recent: Recent,
    /// Where the log was written, if it can still be had.
    pub(crate) written: Option<W>,
}

/// Runs it. The log goes to `log`, the signals come from `signals`, which were taken before anything else began. An error means that not even the attempt could be made.
pub(crate) fn supervise<W: Write + Send + 'static>(
    spec: &Spec<'_>,
    signals: &mut Signals,
    log: W,
) -> io::Result<Outcome<W>> {
    let shared_terminal = signals.shared_terminal();
    // orphans of the command become ours, so that they can be found; where that is refused, they are init's
    _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let oom_before = OomKills::now();
    let begun = Instant::now();
    let log = Shared::new(Capped::new(log, spec.log_limit));

    let (end_reader, end_writer) = io::pipe()?;
    let started = match start(spec.command, !shared_terminal, spec.path) {
        Ok(started) => started,
        Err(refused) => {
            let end = End::NotStarted { reason: refused.reason, code: refused.code };
            let exit = Exit { end, wall: begun.elapsed(), cpu: None, peak_memory: None };
            return Ok(outcome(exit, refused.code, &log));
        }
    };
    let pump = start_pump(Pump::new(started.streams, log.clone(), end_reader)?);
    let mut run = Run {
        pid: started.pid,
        signals,
        sizer: started.sizer,
        shared_terminal,
        deadline: spec.timeout.map(|limit| begun + limit),
        spec,
        watch: spec.memory.map(Watch::new),
        forced: None,
        kill_at: None,
        status: None,
        interrupted: false,
        asked_to_end: false,
    };
    let status = run.until_the_end();
    let wall = begun.elapsed();
    drop(end_writer);
    let stopped = run.drain(&pump);

    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok();
    let end = run.end(status, oom_before.as_ref());
    let exit = Exit {
        wall,
        cpu: usage.map(|usage| processor_time(&usage)),
        peak_memory: peak(usage.as_ref(), run.watch.as_ref()),
        end,
    };
    let code = code(&exit.end);
    let mut outcome = outcome(exit, code, &log);
    outcome.reader_gone = stopped.contains(&Stopped::ReaderGone) && code == 128 + SIGPIPE;
    outcome.interrupted = run.interrupted && status.terminating_signal() == Some(SIGINT);
    outcome.left_behind = left_behind();
    Ok(outcome)
}

pub(super) fn outcome<W: Write>(exit: Exit, status: i32, log: &Shared<W>) -> Outcome<W> {
    let kept = log.take().map(Capped::finish);
    let (written, log, recent) =
        kept.map(|(to, facts, recent)| (Some(to), facts, recent)).unwrap_or_default();
    Outcome { exit, status, reader_gone: false, interrupted: false, left_behind: 0, log, recent, written }
}

/// Copies on a thread of its own, which is not joined: one that is stuck in a write must not hold us.
fn start_pump<W: Write + Send + 'static>(pump: Pump<W>) -> Receiver<Vec<Stopped>> {
    let (tell, told) = channel();
    std::thread::spawn(move || _ = tell.send(pump.run()));
    told
}

/// A command while it runs.
struct Run<'a> {
    pid: Pid,
    signals: &'a mut Signals,
    sizer: Option<super::pty::Sizer>,
    /// The terminal's driver signals us and the command together; else it has a group of its own.
    shared_terminal: bool,
    spec: &'a Spec<'a>,
    deadline: Option<Instant>,
    watch: Option<Watch>,
    /// The limit that we ended it for.
    forced: Option<End>,
    kill_at: Option<Instant>,
    status: Option<WaitStatus>,
    interrupted: bool,
    /// Somebody told us to end.
    asked_to_end: bool,
}

impl Run<'_> {
    fn until_the_end(&mut self) -> WaitStatus {
        let mut look_at = self.watch.is_some().then(Instant::now);
        loop {
            self.reap();
            // at a limit everything has to go, not only the command itself
            if let Some(status) = self.status
                && (self.kill_at.is_none() || Tree::now().is_empty())
            {
                return status;
            }
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                self.deadline = None;
                self.end_by_time(now);
            }
            if self.kill_at.is_some_and(|kill_at| now >= kill_at) {
                kill_all();
                self.kill_at = self.status.is_none().then_some(now + Duration::from_secs(1));
                continue;
            }
            if look_at.is_some_and(|at| now >= at) {
                look_at = self.look_at_memory(now);
            }
            // when only others are left at a limit, no signal says that they are gone
            let polling = (self.status.is_some()).then_some(now + Duration::from_millis(10));
            let next = [self.deadline, self.kill_at, look_at, polling].into_iter().flatten().min();
            self.wait(next.map(|next| next.saturating_duration_since(now)));
        }
    }

    /// Waits for a signal, and deals with those that have arrived.
    fn wait(&mut self, timeout: Option<Duration>) {
        let mut fds = [PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        _ = poll(&mut fds, timeout.map(timespec).as_ref());
        for arrived in self.signals.arrived() {
            self.deal_with(arrived);
        }
    }

    fn deal_with(&mut self, arrived: Arrived) {
        match arrived.signal {
            SIGCHLD => return,
            SIGWINCH => {
                let Some(sizer) = &self.sizer else { return self.pass_on(arrived) };
                sizer.resize();
                // the command may have asked for the size before it was right: tell it once more
                _ = kill_process(self.pid, Signal::WINCH);
                return;
            }
            SIGINT if arrived.from_terminal => self.interrupted = true,
            signal if ENDS.contains(&signal) => self.asked_to_end = true,
            _ => {}
        }
        self.pass_on(arrived);
        if arrived.signal == SIGTSTP {
            _ = kill_process(rustix::process::getpid(), Signal::STOP);
        }
    }

    fn pass_on(&self, arrived: Arrived) {
        let Some(signal) = Signal::from_named_raw(arrived.signal) else { return };
        if self.status.is_some() {
            return;
        }
        if !self.shared_terminal {
            _ = kill_process_group(self.pid, signal);
            return;
        }
        // in a shared group the command has what its terminal sent, and what its own children send to the group
        let its_own = arrived.sender.is_some_and(|sender| Tree::now().contains(sender));
        if !arrived.from_terminal && !its_own {
            _ = kill_process(self.pid, signal);
        }
    }

    /// Takes note of children that have ended: the command, and orphans that became ours.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG | WaitOptions::UNTRACED)
        {
            if pid != self.pid {
                continue;
            }
            if status.exited() || status.signaled() {
                self.status = Some(status);
            } else if self.shared_terminal && state(pid) == Some('T') {
                // it was stopped from the terminal, or stopped itself: so the shell has to see us stop
                _ = kill_process(rustix::process::getpid(), Signal::STOP);
            }
        }
    }

    fn end_by_time(&mut self, now: Instant) {
        if self.forced.is_none()
            && let Some(limit) = self.spec.timeout
        {
            self.forced = Some(End::TimedOut { limit });
            self.kill_at = Some(now + self.spec.grace);
            let tree = Tree::now();
            tree.send(Signal::TERM);
            // who is stopped can't end
            tree.send(Signal::CONT);
        }
    }

    fn look_at_memory(&mut self, now: Instant) -> Option<Instant> {
        match self.watch.as_mut()?.look() {
            Look::Within(pause) => Some(now + pause),
            Look::Over => {
                self.forced = self.forced.take().or(self.spec.memory.map(|limit| End::MemoryLimit { limit }));
                self.kill_at = Some(now);
                None
            }
        }
    }

    /// Waits until the output has gone where it goes. Who does not take it holds us only if nobody wants us gone.
    fn drain(&mut self, pump: &Receiver<Vec<Stopped>>) -> Vec<Stopped> {
        let since = Instant::now();
        loop {
            match pump.recv_timeout(Duration::from_millis(50)) {
                Ok(stopped) => return stopped,
                Err(RecvTimeoutError::Disconnected) => return Vec::new(),
                Err(RecvTimeoutError::Timeout) => {
                    self.asked_to_end |= self.signals.arrived().iter().any(|a| ENDS.contains(&a.signal));
                    if (self.forced.is_some() || self.asked_to_end) && since.elapsed() >= UNREAD {
                        return Vec::new();
                    }
                }
            }
        }
    }

    fn end(&self, status: WaitStatus, oom_before: Option<&OomKills>) -> End {
        if let Some(forced) = &self.forced {
            return forced.clone();
        }
        let killed = status.terminating_signal() == Some(SIGKILL) || status.exit_status() == Some(137);
        let oom = killed && OomKills::rose(oom_before, OomKills::now().as_ref());
        match (status.exit_status(), status.terminating_signal()) {
            // a shell reports the kill of what it ran as its own exit status
            (_, Some(SIGKILL)) if oom => End::OomKilled,
            (Some(137), _) if oom => End::OomKilled,
            (_, Some(signal)) => End::Signaled { signal },
            (code, None) => End::Exited { code: code.unwrap_or(-1) },
        }
    }
}

/// What it started and that still runs. Without any child at all, there is nothing to look for.
fn left_behind() -> usize {
    match rustix::process::wait(WaitOptions::NOHANG) {
        Err(rustix::io::Errno::CHILD) => 0,
        _ => Tree::now().len(),
    }
}

/// The status that we exit with.
pub(super) fn code(end: &End) -> i32 {
    match end {
        End::TimedOut { .. } => 124,
        // what a shell shows for SIGXCPU
        End::CpuLimit { .. } => 128 + SIGXCPU,
        End::MemoryLimit { .. } | End::OutputLimit { .. } | End::OomKilled => 128 + SIGKILL,
        End::Signaled { signal } => 128 + signal,
        End::NotStarted { code, .. } => *code,
        End::Exited { code } => *code,
    }
}

fn processor_time(usage: &nix::sys::resource::Usage) -> Duration {
    let part = |time: nix::sys::time::TimeVal| {
        let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
        Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0)) + Duration::from_micros(micros)
    };
    part(usage.user_time()) + part(usage.system_time())
}

/// The largest process, as the kernel saw it, or all together, as we did.
fn peak(usage: Option<&nix::sys::resource::Usage>, watch: Option<&Watch>) -> Option<u64> {
    let largest = |usage: &nix::sys::resource::Usage| u64::try_from(usage.max_rss()).unwrap_or(0) * 1024;
    // until it starts its program, a child is a copy of us: what is not above our own size says nothing
    let ours = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| largest(&usage));
    usage.map(largest).filter(|peak| *peak > ours).max(watch.map(|watch| watch.peak)).filter(|peak| *peak > 0)
}
