//! A run seen from outside while it lasts: its output taken, its end understood.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use coroner_diagnosis::{End, Exit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, Signal, kill_process};

use super::cgroup::Group;
use super::error::{explain_bubblewrap, system};
use super::inner::processes;
use super::laid::Started;
use super::orders::{END_IT, Ended, Event, Forced, Status};
use super::output::Output;
use super::{Denied, Level, Limits, Report, Sandbox, SandboxError};

/// When the inner side should have ended a run and has not, we do it, after this long. Its own attempt may take as long on
/// a machine that swaps.
const BACKSTOP: Duration = Duration::from_secs(12);
/// What is left of the output when everybody is gone is there at once.
const REST: Duration = Duration::from_secs(1);

/// Where a command's output goes: both streams to one place in the order of printing, or each to its own.
pub(super) enum Outputs<'a> {
    Merged(&'a mut (dyn Write + Send)),
    Apart(&'a mut (dyn Write + Send), &'a mut (dyn Write + Send)),
}

/// A run while it lasts.
pub(super) struct Run<'a> {
    child: Child,
    control: OwnedFd,
    heard: Vec<u8>,
    streams: Vec<(Option<OwnedFd>, Output<'a>)>,
    ready: Option<String>,
    ended: Option<Ended>,
    failed: Option<(String, String)>,
    stopped: bool,
    too_much: bool,
    /// When we kill it ourselves.
    backstop: Instant,
    /// We had to.
    killed: bool,
    began: Instant,
}

impl<'a> Run<'a> {
    pub(super) fn new(started: Started, limits: &Limits, outputs: Outputs<'a>) -> Self {
        let output = |to| Output::new(to, limits.output_kept, limits.output);
        let writers = match outputs {
            Outputs::Merged(to) => vec![output(to)],
            Outputs::Apart(out, err) => vec![output(out), output(err)],
        };
        let began = Instant::now();
        Self {
            child: started.child,
            control: started.control,
            heard: Vec::new(),
            streams: started.outputs.into_iter().map(Some).zip(writers).collect(),
            ready: None,
            ended: None,
            failed: None,
            stopped: false,
            too_much: false,
            backstop: began + limits.wall + BACKSTOP,
            killed: false,
            began,
        }
    }

    /// Until the inner side is gone and its output is read.
    pub(super) fn until_over(&mut self, stop: BorrowedFd<'_>) {
        let mut control_open = true;
        let mut listening = true;
        let mut gone_at: Option<Instant> = None;
        let mut buffer = vec![0; 64 << 10];
        while control_open || self.streams.iter().any(|(fd, _)| fd.is_some()) {
            let now = Instant::now();
            if !self.killed && now >= self.backstop {
                self.kill();
            }
            if gone_at.is_some_and(|at| now >= at + REST) {
                break;
            }
            let until = gone_at.map_or(self.backstop, |at| at + REST);
            let wait = until.saturating_duration_since(now);
            let wait = if self.killed { wait.max(Duration::from_millis(50)) } else { wait };
            let open = |on: bool| if on { PollFlags::IN } else { PollFlags::empty() };
            let mut fds = Vec::with_capacity(4);
            if control_open {
                fds.push(PollFd::from_borrowed_fd(self.control.as_fd(), PollFlags::IN));
            }
            let streams: Vec<usize> =
                (0..self.streams.len()).filter(|i| self.streams[*i].0.is_some()).collect();
            fds.push(PollFd::from_borrowed_fd(stop, open(listening)));
            for i in &streams {
                if let Some(fd) = &self.streams[*i].0 {
                    fds.push(PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
                }
            }
            if poll(&mut fds, Some(&timespec(wait))).is_err() {
                continue;
            }
            let mut events = fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
            if control_open && events.next() == Some(true) {
                control_open = self.hear(&mut buffer);
                if !control_open {
                    gone_at = Some(Instant::now());
                }
            }
            if events.next() == Some(true) && listening {
                listening = false;
                self.stopped = true;
                self.ask();
            }
            for (i, readable) in streams.into_iter().zip(events) {
                if readable {
                    self.read(i, &mut buffer);
                }
            }
        }
    }

    /// False if there is nobody to hear any more.
    fn hear(&mut self, buffer: &mut [u8]) -> bool {
        match rustix::net::recv(&self.control, &mut *buffer, RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => return true,
            Ok((n, _)) if n > 0 => self.heard.extend_from_slice(&buffer[..n]),
            _ => return false,
        }
        while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Event::Ready { landlock }) => self.ready = Some(landlock),
                Ok(Event::Failed { step, reason }) => self.failed = Some((step, reason)),
                Ok(Event::Ended(ended)) => self.ended = Some(ended),
                Err(error) => self.failed = Some(("report".to_owned(), error.to_string())),
            }
        }
        true
    }

    fn read(&mut self, i: usize, buffer: &mut [u8]) {
        let (fd, output) = &mut self.streams[i];
        let Some(pipe) = fd else { return };
        match rustix::io::read(&*pipe, &mut *buffer) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(n) if n > 0 => {
                let fits = output.add(&buffer[..n]);
                // nobody takes it: the command is to notice, as it would without us
                if output.failed.is_some() {
                    *fd = None;
                }
                let total: u64 = self.streams.iter().map(|(_, output)| output.total).sum();
                if (!fits || total > self.streams[i].1.limit()) && !self.too_much {
                    self.too_much = true;
                    self.ask();
                }
            }
            _ => *fd = None,
        }
    }

    /// Asks the inner side to end it.
    fn ask(&mut self) {
        _ = rustix::net::send(&self.control, &[END_IT], SendFlags::NOSIGNAL);
        self.backstop = self.backstop.min(Instant::now() + BACKSTOP);
    }

    /// The inner side does not answer. Its children first, for it is their guard.
    fn kill(&mut self) {
        self.killed = true;
        let us = Pid::from_child(&self.child);
        processes::kill_below(us);
        _ = kill_process(us, Signal::KILL);
    }

    /// What it comes to.
    pub(super) fn report(
        mut self,
        sandbox: &Sandbox,
        limits: Limits,
        level: Level,
        oom_before: Option<u64>,
        group: Option<&Group>,
    ) -> Result<Report, SandboxError> {
        self.streams.iter_mut().for_each(|(_, output)| output.finish());
        // it ends as soon as its child has; what it then says on standard error is short
        let status = self.child.wait().map_err(system("wait for it"))?;
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            _ = stderr.take(8 << 10).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        if let Some((step, reason)) = self.failed.take() {
            return Err(SandboxError::Setup { step, reason });
        }
        let ended = match self.ended.take() {
            Some(ended) => ended,
            None if self.killed && self.ready.is_some() => self.as_killed(),
            None if self.ready.is_some() => return Err(SandboxError::Lost(format!("{status} {said}"))),
            None if level <= Level::B => {
                let reason = explain_bubblewrap(&said);
                return Err(SandboxError::Setup { step: "bubblewrap".to_owned(), reason });
            }
            None => {
                let reason = format!("our own binary said nothing ({status}) {said}");
                return Err(SandboxError::Setup { step: "start".to_owned(), reason });
            }
        };
        let counted = group.map(Group::counted).unwrap_or_default();
        let (end, certain) = self.end(&ended, &limits, oom_before, counted.oom_kills);
        let mut denied = ended.denied;
        if counted.refused > 0 {
            let detail = format!("the process limit of {}", limits.processes);
            denied.push(Denied { call: "fork".to_owned(), detail, count: counted.refused });
        }
        let exit = Exit {
            end,
            wall: ended.wall,
            cpu: Some(ended.cpu),
            peak_memory: Some(ended.peak.max(counted.peak)).filter(|peak| *peak > 0),
        };
        let mut layers = sandbox.layers().clone();
        layers.level = level;
        if let Some(landlock) = self.ready.filter(|text| !text.is_empty()) {
            layers.layers.insert("landlock".to_owned(), landlock);
        }
        Ok(Report {
            exit,
            certain,
            stopped: self.stopped && ended.forced == Some(Forced::Asked),
            output_bytes: self.streams.iter().map(|(_, output)| output.total).sum(),
            output_dropped: self.streams.iter().map(|(_, output)| output.dropped).sum(),
            denied,
            survivors: ended.survivors,
            layers,
            limits,
        })
    }

    fn as_killed(&self) -> Ended {
        let forced = if self.stopped || self.too_much { Forced::Asked } else { Forced::Wall };
        Ended {
            status: Status::Signaled(Signal::KILL.as_raw()),
            forced: Some(forced),
            wall: self.began.elapsed(),
            cpu: Duration::ZERO,
            own_cpu: Duration::ZERO,
            peak: 0,
            survivors: 0,
            denied: Vec::new(),
        }
    }

    /// How it ended, and whether that was seen or concluded.
    fn end(&self, ended: &Ended, limits: &Limits, oom_before: Option<u64>, group_kills: u64) -> (End, bool) {
        // the limit is held against ticks, what we see is exact: on a busy machine they are far apart
        let used_up = ended.own_cpu * 2 >= limits.cpu;
        let end = match (ended.forced, &ended.status) {
            (Some(Forced::Wall), _) => End::TimedOut { limit: limits.wall },
            (Some(Forced::Memory), _) => End::MemoryLimit { limit: limits.memory },
            (Some(Forced::Asked), _) if self.too_much => End::OutputLimit { limit: limits.output },
            (_, Status::NotStarted(code, reason)) => End::NotStarted { reason: reason.clone(), code: *code },
            (_, Status::Signaled(libc::SIGKILL)) if group_kills > 0 => {
                End::MemoryLimit { limit: limits.memory }
            }
            (_, Status::Signaled(libc::SIGXCPU)) if used_up => End::CpuLimit { limit: limits.cpu },
            // it did not listen to the signal
            (None, Status::Signaled(libc::SIGKILL)) if used_up => {
                return (End::CpuLimit { limit: limits.cpu }, ended.own_cpu >= limits.cpu);
            }
            (None, Status::Signaled(libc::SIGKILL)) if oom_before < oom_kills() => {
                return (End::OomKilled, false);
            }
            (_, Status::Signaled(signal)) => {
                return (
                    End::Signaled { signal: *signal },
                    *signal != libc::SIGKILL || ended.forced.is_some(),
                );
            }
            // it may have come to its end while we asked
            (_, Status::Exited(_)) if self.too_much => End::OutputLimit { limit: limits.output },
            (_, Status::Exited(code)) => End::Exited { code: *code },
        };
        (end, true)
    }
}

/// How many processes the kernel has killed for lack of memory, on the whole machine.
pub(super) fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok())
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
