//! The command's own process between fork and exec: gives up everything that it must not have, then becomes the command.
//!
//! It is the child of a process with one thread, so that memory may be allocated here.

use std::ffi::{CString, OsStr};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::Mode;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::super::Limits;
use super::super::descriptors;
use super::super::orders::Orders;
use super::calls::{self, Kind};
use super::files;

/// What was being done, and what went wrong.
pub(super) type Failure = (&'static str, String);

/// What the child tells its parent before it is gone: a listener, a failure, or that exec failed.
pub(super) const LISTENER: u8 = b'l';
pub(super) const FAILED: u8 = b'f';
pub(super) const NOT_STARTED: u8 = b'n';

/// The words of the command as exec wants them, made before anything is given up.
pub(super) struct Words {
    programs: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Words {
    pub(super) fn of(orders: &Orders) -> Result<Self, Failure> {
        let c = |text: &OsStr| {
            CString::new(text.as_bytes()).map_err(|_| ("command", "it holds a zero byte".to_owned()))
        };
        let program = orders.command.first().ok_or(("command", "there is none".to_owned()))?;
        let programs = if program.as_bytes().contains(&b'/') {
            vec![c(program)?]
        } else {
            let path = orders.env.get("PATH").map_or("/usr/bin:/bin", String::as_str);
            path.split(':')
                .map(|folder| c(std::path::Path::new(folder).join(program).as_os_str()))
                .collect::<Result<_, _>>()?
        };
        let environment = orders.env.iter().map(|(name, value)| c(OsStr::new(&format!("{name}={value}"))));
        Ok(Self {
            programs,
            arguments: orders.command.iter().map(|word| c(word)).collect::<Result<_, _>>()?,
            environment: environment.collect::<Result<_, _>>()?,
        })
    }
}

/// Becomes the command, or tells over `tell` why not. Never comes back.
pub(super) fn become_command(orders: &Orders, words: &Words, tell: BorrowedFd<'_>) -> ! {
    // what is still needed goes out of the way of the command's descriptors
    let least = orders.descriptors.iter().map(|(_, to)| to + 1).max().unwrap_or(3);
    match out_of_the_way(tell.as_raw_fd(), least) {
        Err(error) => say(tell, FAILED, &format!("descriptors\n{error}")),
        // it stays open until exec closes it: its end tells that the command runs
        Ok(tell) => match give_up(orders, tell.as_fd(), least) {
            Err((step, reason)) => say(tell.as_fd(), FAILED, &format!("{step}\n{reason}")),
            Ok(()) => {
                let error = exec(words);
                say(tell.as_fd(), NOT_STARTED, &error.raw_os_error().unwrap_or(0).to_string());
            }
        },
    }
    exit()
}

#[expect(unsafe_code, reason = "a forked child must not run what its parent registered for its own end")]
fn exit() -> ! {
    // SAFETY: ends the process and nothing else
    unsafe { libc::_exit(127) }
}

fn say(tell: BorrowedFd<'_>, kind: u8, text: &str) {
    _ = rustix::io::write(tell, &[&[kind], text.as_bytes()].concat());
}

/// All that must be gone before the command runs, in the order in which it can be given up.
fn give_up(orders: &Orders, tell: BorrowedFd<'_>, least: i32) -> Result<(), Failure> {
    rustix::process::setsid().map_err(because("session"))?;
    default_signals();
    let cgroup =
        orders.cgroup.map(|fd| out_of_the_way(fd, least)).transpose().map_err(because("descriptors"))?;
    let mut spare = vec![0; orders.descriptors.len()];
    descriptors::place(&orders.descriptors, &mut spare).map_err(because("descriptors"))?;
    if let Some(cgroup) = &cgroup {
        rustix::io::write(cgroup, b"0").map_err(because("control group"))?;
    }
    // when memory is short, this goes first
    _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    limit(&orders.limits, orders.processes).map_err(because("limits"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // where there are namespaces its parent has become him already
    if let Some(user) = orders.user.filter(|_| !orders.namespaces) {
        become_user(user).map_err(because("user"))?;
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(because("parent's death"))?;
    rustix::thread::set_no_new_privs(true).map_err(because("no new privileges"))?;
    let landlock = match &orders.files {
        Some(files) => files::keep_to(files).map_err(|reason| ("landlock", reason))?,
        None => String::new(),
    };
    rustix::process::chdir(&orders.cwd).map_err(|error| {
        let who = if orders.user.is_some() {
            "; what root runs in a sandbox is not root, and has to be let in"
        } else {
            ""
        };
        ("working folder", format!("{}: {error}{who}", orders.cwd.display()))
    })?;
    let kind = Kind {
        forks: orders.forks,
        namespaces: orders.namespaces,
        same_user: orders.user.is_none(),
        signals_scoped: orders.files.is_some() && files::version() >= files::SCOPES_SIGNALS,
        truncation_scoped: orders.files.is_some() && files::version() >= files::SCOPES_TRUNCATION,
        pid: rustix::process::getpid().as_raw_nonzero().get().unsigned_abs(),
        ids: (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
    };
    let listener = filter(&calls::allowed(kind)).map_err(because("seccomp"))?;
    pass(tell, &listener, &landlock).map_err(because("seccomp"))
}

fn because<E: std::fmt::Display>(step: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| (step, error.to_string())
}

#[expect(unsafe_code, reason = "a number that we have just got becomes a descriptor")]
fn out_of_the_way(fd: i32, least: i32) -> io::Result<OwnedFd> {
    let copy = descriptors::above_all(fd, least)?;
    // SAFETY: it is new and nobody else's
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// As for a program started from a shell: nothing ignored, nothing blocked.
#[expect(unsafe_code, reason = "signal dispositions")]
fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: the default is no function of ours
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut none = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills what sigprocmask reads
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

fn limit(limits: &Limits, processes: u64) -> io::Result<()> {
    let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    let cpu = limits.cpu.as_secs() + u64::from(limits.cpu.subsec_nanos() > 0);
    // room for what is not data, so that an allocation fails with its line before the kernel kills
    let data = limits.memory - limits.memory / 8;
    for (resource, limit) in [
        (Resource::Core, both(0)),
        (Resource::Cpu, Rlimit { current: Some(cpu), maximum: Some(cpu + 1) }),
        (Resource::Data, both(data)),
        (Resource::Fsize, both(limits.file_size)),
        (Resource::Nofile, both(limits.open_files.into())),
        (Resource::Nproc, both(processes)),
        (Resource::Msgqueue, both(0)),
    ] {
        // who has less already keeps it
        let had = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let least = |value: Option<u64>| value.map(|value| value.min(had));
        setrlimit(resource, Rlimit { current: least(limit.current), maximum: least(limit.maximum) })?;
    }
    Ok(())
}

/// For good: saved ids too, and no groups.
pub(super) fn become_user(user: u32) -> io::Result<()> {
    let (uid, gid) = (rustix::process::Uid::from_raw(user), rustix::process::Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Installs the filter whose questions go to the answer.
#[expect(unsafe_code, reason = "rustix has no seccomp")]
fn filter(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the instructions live until the call is over, which does not write to them
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const filter,
        )
    };
    let listener = i32::try_from(listener).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made it for us
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Hands the listener to the parent.
fn pass(tell: BorrowedFd<'_>, listener: &OwnedFd, landlock: &str) -> io::Result<()> {
    let listeners = [listener.as_fd()];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    ancillary.push(SendAncillaryMessage::ScmRights(&listeners));
    let text = [&[LISTENER], landlock.as_bytes()].concat();
    sendmsg(tell, &[IoSlice::new(&text)], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// As execvpe does: along the search path, and a text without "#!" is a shell's.
#[expect(unsafe_code, reason = "exec")]
fn exec(words: &Words) -> io::Error {
    let pointers = |texts: &[CString]| {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let environment = pointers(&words.environment);
    let mut arguments = pointers(&words.arguments);
    let mut denied = None;
    for program in &words.programs {
        // SAFETY: lists of zero-ended texts, ended by a null, all alive
        unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOEXEC) => {
                let shell = c"/bin/sh";
                arguments[0] = program.as_ptr();
                arguments.insert(0, shell.as_ptr());
                // SAFETY: as above
                unsafe { libc::execve(shell.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
                return io::Error::last_os_error();
            }
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => denied = Some(error),
            _ => return error,
        }
    }
    denied.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}
