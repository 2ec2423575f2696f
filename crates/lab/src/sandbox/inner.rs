//! The inner side: our own binary, started anew as the parent of the command. It puts up the layers, answers refused
//! calls, watches limits, and leaves nothing behind. It has one thread.

mod broker;
mod calls;
pub(super) mod files;
mod filter;
mod payload;
pub(super) mod processes;

use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, wait,
};

use super::descriptors::{self, inherited};
use super::folder;
use super::orders::{CONTROL, END_IT, Ended, Event, Forced, ORDERS, Orders, Status};
use broker::Broker;
use payload::{FAILED, Failure, LISTENER, Words, become_command};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long what was killed may take to be gone: more than a machine that swaps needs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries out the orders that were left for us.
pub(super) fn main() -> ExitCode {
    let Ok(control) = inherited(CONTROL) else { return ExitCode::FAILURE };
    let event = match read_orders() {
        Err(reason) => Event::Failed { step: "orders".to_owned(), reason },
        Ok(orders) => {
            let event = match carry_out(&orders, control) {
                Ok(ended) => Event::Ended(ended),
                Err((step, reason)) => Event::Failed { step: step.to_owned(), reason },
            };
            if let Some(folder) = &orders.folder {
                folder::remove(folder);
            }
            event
        }
    };
    tell(control, &event);
    ExitCode::SUCCESS
}

fn read_orders() -> Result<Orders, String> {
    let orders = inherited(ORDERS).and_then(|fd| fd.try_clone_to_owned()).map_err(|e| e.to_string())?;
    descriptors::close(ORDERS);
    let mut text = Vec::new();
    std::fs::File::from(orders).read_to_end(&mut text).map_err(|e| e.to_string())?;
    serde_json::from_slice(&text).map_err(|e| e.to_string())
}

/// One line; if nobody reads it any more, we are about to end anyway.
fn tell(control: BorrowedFd<'_>, event: &Event) {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    let mut rest = line.as_slice();
    while !rest.is_empty() {
        match rustix::net::send(control, rest, rustix::net::SendFlags::NOSIGNAL) {
            Ok(n) => rest = &rest[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn because<E: std::fmt::Display>(step: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| (step, error.to_string())
}

fn carry_out(orders: &Orders, control: BorrowedFd<'_>) -> Result<Ended, Failure> {
    // what the command may not read of us, and what neither of us gets back
    rustix::thread::set_no_new_privs(true).map_err(because("no new privileges"))?;
    if orders.namespaces {
        if let Some(user) = orders.user {
            payload::become_user(user).map_err(because("user"))?;
        }
    } else {
        let us = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(us)).map_err(because("subreaper"))?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(because("dumpable"))?;
    let words = Words::of(orders)?;
    let flags = SocketFlags::CLOEXEC;
    let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(because("socket pair"))?;
    let began = Instant::now();
    let Some(command) = fork().map_err(because("fork"))? else { become_command(orders, &words, its.as_fd()) };
    drop(its);
    orders.descriptors.iter().for_each(|(fd, _)| descriptors::close(*fd));
    orders.cgroup.into_iter().for_each(descriptors::close);
    let mut said = hear(&ours).map_err(because("start"))?;
    if said.kind != Some(LISTENER) {
        return Err(failure(&said));
    }
    let listener = said.listener.take().ok_or(("seccomp", "the kernel gave no listener".to_owned()))?;
    tell(control, &Event::Ready { landlock: said.text });
    let signals_below =
        (!orders.namespaces && orders.user.is_none() && orders.forks).then(rustix::process::getpid);
    let mut watch = Watch {
        orders,
        control,
        command,
        began,
        broker: Broker::new(listener, signals_below),
        forced: None,
        peak: 0,
        ended: None,
    };
    // exec closes its end, or says why it could not
    let not_started = watch.until_started(&ours);
    watch.until_ended();
    let survivors = watch.clear();
    let (status, wall, own) = watch.ended.unwrap_or((Status::Signaled(libc::SIGKILL), began.elapsed(), None));
    let (cpu, peak) = usage();
    Ok(Ended {
        status: not_started.unwrap_or(status),
        forced: watch.forced,
        wall,
        cpu,
        own_cpu: own.unwrap_or_default(),
        peak: peak.max(watch.peak),
        survivors,
        denied: watch.broker.denied(),
    })
}

/// `None` in the child.
#[expect(unsafe_code, reason = "fork")]
fn fork() -> std::io::Result<Option<Pid>> {
    // SAFETY: this process has one thread, so the child may do whatever its parent may
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

/// What the child said.
struct Said {
    kind: Option<u8>,
    text: String,
    listener: Option<OwnedFd>,
}

fn hear(from: &OwnedFd) -> rustix::io::Result<Said> {
    let mut text = [0; 4096];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let got = loop {
        let flags = RecvFlags::CMSG_CLOEXEC;
        match recvmsg(from, &mut [IoSliceMut::new(&mut text)], &mut ancillary, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let listener = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let (kind, text) =
        text[..got.bytes].split_first().map_or((None, &[][..]), |(kind, text)| (Some(*kind), text));
    Ok(Said { kind, text: String::from_utf8_lossy(text).into_owned(), listener })
}

fn failure(said: &Said) -> Failure {
    const STEPS: [&str; 11] = [
        "session",
        "descriptors",
        "control group",
        "limits",
        "user",
        "parent's death",
        "no new privileges",
        "landlock",
        "working folder",
        "seccomp",
        "start",
    ];
    let (step, reason) = said.text.split_once('\n').unwrap_or(("start", "it was killed"));
    let step = STEPS.into_iter().find(|known| *known == step).unwrap_or("start");
    match said.kind {
        Some(FAILED) => (step, reason.to_owned()),
        _ => ("start", "the command's process was killed before it had begun".to_owned()),
    }
}

/// The command while it runs.
struct Watch<'a> {
    orders: &'a Orders,
    control: BorrowedFd<'a>,
    command: Pid,
    began: Instant,
    broker: Broker,
    forced: Option<Forced>,
    peak: u64,
    /// How the first process ended, when, and what it had used by then.
    ended: Option<(Status, Duration, Option<Duration>)>,
}

impl Watch<'_> {
    /// Waits until exec has closed its end of `its`. A call may be refused even before.
    fn until_started(&mut self, its: &OwnedFd) -> Option<Status> {
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(its.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.broker.as_fd(), PollFlags::IN),
            ];
            if poll(&mut fds, None).is_err() {
                continue;
            }
            let [started, call] = fds.map(|fd| fd.revents());
            if call.contains(PollFlags::IN) {
                self.broker.answer();
            }
            if !started.is_empty() {
                let said = hear(its).ok()?;
                said.kind?;
                let errno = said.text.parse().unwrap_or(0);
                let reason = std::io::Error::from_raw_os_error(errno).to_string();
                let reason = reason.split(" (os error").next().unwrap_or(&reason).to_owned();
                let program = self.orders.command.first().map(|p| p.to_string_lossy().into_owned());
                let code = if errno == libc::ENOENT { 127 } else { 126 };
                return Some(Status::NotStarted(code, format!("{}: {reason}", program.unwrap_or_default())));
            }
        }
    }

    fn until_ended(&mut self) {
        let Ok(pidfd) = pidfd_open(self.command, PidfdFlags::empty()) else { return };
        let deadline = self.began + self.orders.limits.wall;
        let ticks = self.orders.watch_memory || self.orders.forks;
        let mut look = Instant::now() + LOOK;
        // a hang-up of the listener is for ever, and would be told again and again
        let mut asks = true;
        while self.ended.is_none() {
            let now = Instant::now();
            if now >= deadline {
                return self.end(Forced::Wall);
            }
            if ticks && now >= look {
                self.reap();
                if self.orders.watch_memory && self.is_over_memory() {
                    return self.end(Forced::Memory);
                }
                look = Instant::now() + LOOK;
            }
            let next = if ticks { look.min(deadline) } else { deadline };
            let mut fds = [
                PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.control, PollFlags::IN),
                PollFd::from_borrowed_fd(self.broker.as_fd(), PollFlags::IN),
            ];
            let timeout = timespec(next.saturating_duration_since(now));
            let asked_of = if asks { 3 } else { 2 };
            if poll(&mut fds[..asked_of], Some(&timeout)).is_err() {
                continue;
            }
            let [ended, asked, call] = fds.map(|fd| fd.revents());
            if call.contains(PollFlags::IN) {
                self.broker.answer();
            } else if !call.is_empty() {
                asks = false;
            }
            if !asked.is_empty() {
                // the outer side wants it, or is gone
                let mut byte = [0];
                let got = rustix::net::recv(self.control, &mut byte, RecvFlags::empty());
                if !matches!(got, Ok((1, _)) if byte[0] != END_IT) {
                    return self.end(Forced::Asked);
                }
            }
            if !ended.is_empty() {
                self.reap();
            }
        }
    }

    fn end(&mut self, why: Forced) {
        self.forced = Some(why);
        _ = kill_process(self.command, Signal::KILL);
    }

    fn is_over_memory(&mut self) -> bool {
        let limit = self.orders.limits.memory;
        let space = if self.orders.namespaces { used_space() } else { 0 };
        let memory = processes::memory(&processes::below(rustix::process::getpid()), space, limit);
        self.peak = self.peak.max(memory);
        memory > limit
    }

    /// Takes note of whoever has ended. True if there is nobody left.
    fn reap(&mut self) -> bool {
        loop {
            // its processor time is to be had until it is reaped
            let own = self.ended.is_none().then(|| processor_time(self.command)).flatten();
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.command => {
                    let how = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Status::Exited(code),
                        (None, signal) => Status::Signaled(signal.unwrap_or(libc::SIGKILL)),
                    };
                    self.ended = Some((how, self.began.elapsed(), own));
                }
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Kills what is left, and says how many that were, without the command itself.
    fn clear(&mut self) -> u32 {
        let us = rustix::process::getpid();
        self.reap();
        let left = processes::below(us);
        let others: Vec<Pid> = left.into_iter().filter(|pid| *pid != self.command).collect();
        let survivors = if others.is_empty() { 0 } else { processes::alive(&others) };
        let since = Instant::now();
        let mut pause = Duration::from_micros(200);
        while since.elapsed() < PATIENCE {
            if self.reap() {
                break;
            }
            if self.orders.namespaces {
                kill_everybody();
            } else {
                processes::kill_below(us);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOOK);
        }
        u32::try_from(survivors).unwrap_or(u32::MAX)
    }
}

/// Everybody in this pid namespace but us, whose process 1 we are.
#[expect(unsafe_code, reason = "rustix has no word for everybody")]
fn kill_everybody() {
    // SAFETY: no memory is involved; we are process 1, so that nobody outside is reached
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Bytes in the file systems in memory that are the command's to write to.
fn used_space() -> u64 {
    let used = |place| rustix::fs::statvfs(place).map_or(0, |fs| (fs.f_blocks - fs.f_bfree) * fs.f_frsize);
    // mostly another name for the first
    let second = std::fs::symlink_metadata("/tmp").is_ok_and(|meta| meta.is_dir());
    used("/work") + if second { used("/tmp") } else { 0 }
}

/// Of one process, its children not counted.
fn processor_time(pid: Pid) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let words: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = words.get(11)?.parse::<u64>().ok()? + words.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)))
}

/// Processor time and the largest resident set, in bytes, of all that was waited for.
#[expect(unsafe_code, reason = "rustix has no getrusage")]
fn usage() -> (Duration, u64) {
    // SAFETY: plain numbers, for which zero is a value
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.cast_unsigned()) + Duration::from_micros(t.tv_usec.cast_unsigned())
    };
    (time(usage.ru_utime) + time(usage.ru_stime), usage.ru_maxrss.cast_unsigned() * 1024)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
