//! Answers the system calls that are not allowed: refuses them, and remembers what they were about.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::*;
use rustix::process::Pid;

use super::super::Denied;
use super::processes;

/// So many different calls are told apart.
const MOST: usize = 48;
/// What stands for the rest.
const OTHERS: &str = "others";
/// From here on are the calls that came after this was written; libraries ask for them and know what to do without.
const UNKNOWN: c_int = 457;

/// The kernel's questions.
pub(super) struct Broker {
    listener: OwnedFd,
    denied: Vec<Denied>,
    /// Signals to processes below this one are passed on; `None` if that has been seen to elsewhere.
    signals_below: Option<Pid>,
}

impl Broker {
    pub(super) fn new(listener: OwnedFd, signals_below: Option<Pid>) -> Self {
        Self { listener, denied: Vec::new(), signals_below }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// What was refused, so far.
    pub(super) fn denied(self) -> Vec<Denied> {
        self.denied
    }

    /// Takes a question and answers it.
    #[expect(unsafe_code, reason = "the kernel's structures")]
    pub(super) fn answer(&mut self) {
        // SAFETY: both are plain numbers, for which zero is a value; the kernel wants them zeroed
        let (mut asked, mut answer): (seccomp_notif, seccomp_notif_resp) = unsafe { (zeroed(), zeroed()) };
        // SAFETY: the request's number carries the structure's size, and the structure lives
        if unsafe { ioctl(self.listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) } < 0 {
            // whoever asked is gone
            return;
        }
        answer.id = asked.id;
        let call = asked.data.nr;
        if self.may_signal(&asked) {
            answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        } else {
            answer.error = if call >= UNKNOWN { -ENOSYS } else { -EPERM };
            let name = name(call);
            let detail = detail(&asked, &name);
            // SAFETY: as above; is it still the same process that we read from?
            let same =
                unsafe { ioctl(self.listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_ID_VALID, &raw mut asked.id) };
            if same == 0 && detail != "/var/run/nscd/socket" {
                self.note(name, detail);
            }
        }
        // SAFETY: as above
        unsafe { ioctl(self.listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    }

    fn note(&mut self, call: String, detail: String) {
        let mut known = self.denied.iter_mut();
        if let Some(denied) = known.find(|denied| denied.call == call && denied.detail == detail) {
            denied.count += 1;
        } else if self.denied.len() < MOST {
            self.denied.push(Denied { call, detail, count: 1 });
        } else if call != OTHERS {
            self.note(OTHERS.to_owned(), String::new());
        } else {
            self.denied.push(Denied { call, detail, count: 1 });
        }
    }

    /// Is it a signal to one of its own? The number of a process can't be changed behind our back, unlike memory.
    fn may_signal(&self, asked: &seccomp_notif) -> bool {
        let (Some(root), signal) = (self.signals_below, i64::from(asked.data.nr)) else { return false };
        if ![SYS_kill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo].contains(&signal) {
            return false;
        }
        let to = asked.data.args[0] as c_int;
        // groups and everybody are negative numbers, which are no process's
        let to = Some(to).filter(|to| *to > 0).and_then(Pid::from_raw);
        to.is_some_and(|to| processes::below(root).contains(&to))
    }
}

/// What the call is about, as far as that can be told.
fn detail(asked: &seccomp_notif, call: &str) -> String {
    let argument = |i: usize| asked.data.args[i];
    let path = |i: usize| text_at(asked.pid, argument(i));
    match call {
        "socket" | "socketpair" => family(argument(0) as c_int, argument(1) as c_int),
        "connect" | "bind" => address(asked.pid, argument(1), argument(2)),
        "fork" | "vfork" => A_PROCESS.to_owned(),
        "clone" => match namespaces(argument(0) as c_int) {
            none if none.is_empty() => A_PROCESS.to_owned(),
            some => some,
        },
        "unshare" => namespaces(argument(0) as c_int),
        "ioctl" if argument(1) as u32 == TIOCSTI as u32 => "TIOCSTI".to_owned(),
        "ioctl" => format!("request {:#x}", argument(1)),
        "prctl" => format!("option {}", argument(0)),
        "fcntl" => format!("option {}", argument(1)),
        "ptrace" => format!("process {}", argument(1) as c_int),
        "kill" | "tgkill" | "tkill" | "process_vm_readv" | "process_vm_writev" | "pidfd_open"
        | "prlimit64" => {
            format!("process {}", argument(0) as c_int)
        }
        "fchmodat" | "fchmodat2" | "fchownat" | "utimensat" | "mknodat" | "mount" => path(1),
        "setxattr" | "lsetxattr" | "removexattr" | "lremovexattr" | "truncate" | "chroot" | "umount2"
        | "chmod" | "memfd_create" | "chown" | "lchown" | "utime" | "utimes" | "mknod" => path(0),
        _ => String::new(),
    }
}

const A_PROCESS: &str = "a new process";

/// What kind of socket.
fn family(number: c_int, kind: c_int) -> String {
    let name = match number {
        AF_UNIX => "AF_UNIX",
        AF_INET => "AF_INET",
        AF_INET6 => "AF_INET6",
        AF_NETLINK => "AF_NETLINK",
        AF_PACKET => "AF_PACKET",
        AF_VSOCK => "AF_VSOCK",
        AF_ALG => "AF_ALG",
        AF_BLUETOOTH => "AF_BLUETOOTH",
        AF_CAN => "AF_CAN",
        AF_XDP => "AF_XDP",
        other => return format!("family {other}"),
    };
    match kind & 0xf {
        SOCK_DGRAM if number == AF_UNIX => format!("{name} datagram"),
        SOCK_RAW => format!("{name} raw"),
        _ => name.to_owned(),
    }
}

fn namespaces(flags: c_int) -> String {
    let names = [
        (CLONE_NEWUSER, "user namespace"),
        (CLONE_NEWNS, "mount namespace"),
        (CLONE_NEWPID, "pid namespace"),
        (CLONE_NEWNET, "network namespace"),
        (CLONE_NEWIPC, "ipc namespace"),
        (CLONE_NEWUTS, "uts namespace"),
        (CLONE_NEWCGROUP, "cgroup namespace"),
    ];
    names.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

/// The address in a process's memory, as people write it.
fn address(pid: u32, at: u64, length: u64) -> String {
    let mut bytes = [0; size_of::<sockaddr_un>()];
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
    let Ok(read) = read_memory(pid, at, &mut bytes[..length]) else { return String::new() };
    let bytes = &bytes[..read];
    let Some(family) = bytes.first_chunk().map(|f| c_int::from(u16::from_ne_bytes(*f))) else {
        return String::new();
    };
    let rest = &bytes[2..];
    match family {
        AF_UNIX => match rest.split_first() {
            None => "AF_UNIX".to_owned(),
            Some((0, name)) => format!("@{}", String::from_utf8_lossy(name).trim_end_matches('\0')),
            Some(_) => until_zero(rest),
        },
        AF_INET if rest.len() >= 6 => {
            let port = u16::from_be_bytes([rest[0], rest[1]]);
            format!("{}.{}.{}.{}:{port}", rest[2], rest[3], rest[4], rest[5])
        }
        AF_INET6 if rest.len() >= 22 => {
            let port = u16::from_be_bytes([rest[0], rest[1]]);
            let mut address = [0; 16];
            address.copy_from_slice(&rest[6..22]);
            format!("[{}]:{port}", std::net::Ipv6Addr::from(address))
        }
        other => self::family(other, 0),
    }
}

fn until_zero(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A text in a process's memory, cut at 200 bytes.
fn text_at(pid: u32, at: u64) -> String {
    let mut bytes = [0; 200];
    match read_memory(pid, at, &mut bytes) {
        Ok(read) => until_zero(&bytes[..read]),
        // it may end at the end of what is mapped
        Err(_) => {
            let to_page_end = usize::try_from(4096 - at % 4096).unwrap_or(0).min(bytes.len());
            read_memory(pid, at, &mut bytes[..to_page_end])
                .map_or(String::new(), |read| until_zero(&bytes[..read]))
        }
    }
}

#[expect(unsafe_code, reason = "another process's memory")]
fn read_memory(pid: u32, at: u64, to: &mut [u8]) -> io::Result<usize> {
    let here = iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let there = iovec { iov_base: at as *mut c_void, iov_len: to.len() };
    let pid = pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `here` is the buffer that we were lent; `there` is checked by the kernel
    let read = unsafe { process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

macro_rules! names {
    ($($name:ident)*) => { &[$(($name, stringify!($name))),*] };
}

/// Those that are refused and have a name worth saying.
const NAMES: &[(c_long, &str)] = names![
    SYS_socket SYS_socketpair SYS_connect SYS_bind SYS_listen SYS_accept4 SYS_accept SYS_clone SYS_unshare SYS_setns
    SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_fsopen SYS_fsmount SYS_open_tree SYS_move_mount SYS_fspick
    SYS_fsconfig SYS_mount_setattr SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise
    SYS_process_mrelease SYS_pidfd_open SYS_pidfd_getfd SYS_pidfd_send_signal SYS_kcmp SYS_kill SYS_tkill SYS_tgkill
    SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_prlimit64 SYS_keyctl SYS_add_key SYS_request_key SYS_io_uring_enter
    SYS_io_uring_register SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_memfd_create SYS_memfd_secret
    SYS_personality SYS_mknodat SYS_ioctl SYS_prctl SYS_fcntl SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown
    SYS_fchownat SYS_utimensat SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr SYS_lremovexattr
    SYS_fremovexattr SYS_truncate SYS_shmget SYS_shmat SYS_shmctl SYS_semget SYS_semop SYS_msgget SYS_msgsnd
    SYS_msgrcv SYS_mq_open SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setgroups
    SYS_setfsuid SYS_setfsgid SYS_capset SYS_setpriority SYS_ioprio_set SYS_sched_setaffinity SYS_sched_setscheduler
    SYS_sched_setparam SYS_sched_setattr SYS_inotify_init1 SYS_inotify_add_watch SYS_fanotify_init SYS_fanotify_mark
    SYS_name_to_handle_at SYS_open_by_handle_at SYS_swapon SYS_swapoff SYS_reboot SYS_sethostname SYS_setdomainname
    SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_syslog SYS_acct SYS_quotactl SYS_sync
    SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex SYS_io_setup SYS_io_submit SYS_move_pages
    SYS_migrate_pages SYS_vhangup SYS_lookup_dcookie SYS_nfsservctl
];
#[cfg(target_arch = "x86_64")]
const NAMES_HERE: &[(c_long, &str)] = names![
    SYS_fork SYS_vfork SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_mknod SYS_modify_ldt
    SYS_iopl SYS_ioperm SYS_uselib SYS_ustat SYS_sysfs SYS_inotify_init
];
#[cfg(not(target_arch = "x86_64"))]
const NAMES_HERE: &[(c_long, &str)] = &[];

fn name(call: c_int) -> String {
    let found = NAMES.iter().chain(NAMES_HERE).find(|(number, _)| *number == c_long::from(call));
    match found {
        Some((_, name)) => name.trim_start_matches("SYS_").to_owned(),
        // the x32 way of calling: never allowed
        None if call & 0x4000_0000 != 0 => format!("x32 call {}", call & !0x4000_0000),
        None => format!("system call {call}"),
    }
}
