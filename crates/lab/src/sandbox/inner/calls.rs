//! Which system calls a command may make. What is not listed is refused and reported; that is how io_uring, bpf, keyrings,
//! user namespaces and whatever Linux gets next stay shut.

use std::collections::BTreeMap;

use libc::*;

use super::filter::{Answer, Condition, program};

/// Numbers that libc does not name.
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const F_SETOWN_EX: u32 = 15;
/// -1, which leaves an id as it is.
const UNCHANGED: u32 = u32::MAX;

/// What a filter has to know of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) forks: bool,
    /// Other processes and the machine's files are out of sight.
    pub(super) namespaces: bool,
    /// The command is the user who started us.
    pub(super) same_user: bool,
    /// Landlock keeps its signals among its own.
    pub(super) signals_scoped: bool,
    /// Landlock keeps its `truncate` to its own files.
    pub(super) truncation_scoped: bool,
    /// The command's process.
    pub(super) pid: u32,
    /// Its user and group.
    pub(super) ids: (u32, u32),
}

const CLONE_ANY_NAMESPACE: c_int =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

/// Files, memory, time, threads, signals: what numerical code and its libraries use.
const ALLOWED: &[c_long] = &[
    SYS_read,
    SYS_write,
    SYS_close,
    SYS_fstat,
    SYS_lseek,
    SYS_mmap,
    SYS_mprotect,
    SYS_munmap,
    SYS_brk,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_pread64,
    SYS_pwrite64,
    SYS_readv,
    SYS_writev,
    SYS_sched_yield,
    SYS_mremap,
    SYS_msync,
    SYS_mincore,
    SYS_madvise,
    SYS_dup,
    SYS_nanosleep,
    SYS_getitimer,
    SYS_setitimer,
    SYS_getpid,
    SYS_sendfile,
    SYS_sendto,
    SYS_recvfrom,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_shutdown,
    SYS_getsockname,
    SYS_getpeername,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_execve,
    SYS_exit,
    SYS_wait4,
    SYS_uname,
    SYS_flock,
    SYS_fsync,
    SYS_fdatasync,
    SYS_ftruncate,
    SYS_getcwd,
    SYS_chdir,
    SYS_fchdir,
    SYS_umask,
    SYS_gettimeofday,
    SYS_getrlimit,
    SYS_setrlimit,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_times,
    SYS_getuid,
    SYS_getgid,
    SYS_geteuid,
    SYS_getegid,
    SYS_setpgid,
    SYS_getppid,
    SYS_setsid,
    SYS_getgroups,
    SYS_getresuid,
    SYS_getresgid,
    SYS_getpgid,
    SYS_getsid,
    SYS_capget,
    SYS_rt_sigpending,
    SYS_rt_sigtimedwait,
    SYS_rt_sigsuspend,
    SYS_sigaltstack,
    SYS_statfs,
    SYS_fstatfs,
    SYS_getpriority,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_sched_get_priority_max,
    SYS_sched_get_priority_min,
    SYS_sched_rr_get_interval,
    SYS_sched_getattr,
    SYS_mlock,
    SYS_munlock,
    SYS_mlockall,
    SYS_munlockall,
    SYS_mlock2,
    SYS_gettid,
    SYS_readahead,
    SYS_getxattr,
    SYS_lgetxattr,
    SYS_fgetxattr,
    SYS_listxattr,
    SYS_llistxattr,
    SYS_flistxattr,
    SYS_futex,
    SYS_futex_waitv,
    SYS_sched_getaffinity,
    SYS_getdents64,
    SYS_set_tid_address,
    SYS_restart_syscall,
    SYS_fadvise64,
    SYS_timer_create,
    SYS_timer_settime,
    SYS_timer_gettime,
    SYS_timer_getoverrun,
    SYS_timer_delete,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_exit_group,
    SYS_epoll_ctl,
    SYS_epoll_create1,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_mbind,
    SYS_set_mempolicy,
    SYS_get_mempolicy,
    SYS_waitid,
    SYS_ioprio_get,
    SYS_openat,
    SYS_openat2,
    SYS_mkdirat,
    SYS_newfstatat,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_linkat,
    SYS_symlinkat,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_pselect6,
    SYS_ppoll,
    SYS_set_robust_list,
    SYS_get_robust_list,
    SYS_splice,
    SYS_tee,
    SYS_vmsplice,
    SYS_sync_file_range,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime,
    SYS_fallocate,
    SYS_signalfd4,
    SYS_eventfd2,
    SYS_dup3,
    SYS_pipe2,
    SYS_preadv,
    SYS_pwritev,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_recvmmsg,
    SYS_sendmmsg,
    SYS_syncfs,
    SYS_getcpu,
    SYS_getrandom,
    SYS_execveat,
    SYS_membarrier,
    SYS_copy_file_range,
    SYS_pkey_mprotect,
    SYS_pkey_alloc,
    SYS_pkey_free,
    SYS_statx,
    SYS_rseq,
    SYS_close_range,
    SYS_seccomp,
    SYS_landlock_create_ruleset,
    SYS_landlock_add_rule,
    SYS_landlock_restrict_self,
    SYS_mseal,
    // map_shadow_stack, futex_wake, futex_wait, futex_requeue: libc has no names for them yet
    453,
    454,
    455,
    456,
];

/// The same in older words.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_poll,
    SYS_access,
    SYS_pipe,
    SYS_select,
    SYS_dup2,
    SYS_pause,
    SYS_alarm,
    SYS_getdents,
    SYS_rename,
    SYS_mkdir,
    SYS_rmdir,
    SYS_creat,
    SYS_link,
    SYS_unlink,
    SYS_symlink,
    SYS_readlink,
    SYS_getpgrp,
    SYS_arch_prctl,
    SYS_time,
    SYS_epoll_create,
    SYS_epoll_wait,
    SYS_signalfd,
    SYS_eventfd,
    SYS_set_thread_area,
    SYS_get_thread_area,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// Change what belongs to a file, which Landlock lets through: only where the files of the machine are out of sight, or
/// belong to somebody else.
const OWNERS: &[c_long] = &[
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchmodat2,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
];
#[cfg(target_arch = "x86_64")]
const OWNERS_HERE: &[c_long] = &[SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat];
#[cfg(not(target_arch = "x86_64"))]
const OWNERS_HERE: &[c_long] = &[];

/// Look at or change other processes: only where the user's own are out of sight.
const OTHERS: &[c_long] = &[SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_pidfd_open];
/// Change a process, which is 0 for itself.
const CHANGE: &[c_long] =
    &[SYS_sched_setaffinity, SYS_sched_setscheduler, SYS_sched_setparam, SYS_sched_setattr];
/// Send a signal to a process.
const SIGNAL: &[c_long] = &[SYS_kill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo];

/// Calls that libraries know how to do without: an error number is enough.
const ABSENT: &[c_long] = &[SYS_clone3, SYS_io_uring_setup];

/// Everything that is allowed, as a program for the kernel; what is not listed is reported.
pub(super) fn allowed(kind: Kind) -> Vec<sock_filter> {
    let Kind { pid, .. } = kind;
    let mut list = List::default();
    list.free(ALLOWED);
    list.free(ALLOWED_HERE);
    if kind.namespaces {
        list.free(OTHERS);
    }
    if kind.namespaces || !kind.same_user {
        list.free(OWNERS);
        list.free(OWNERS_HERE);
        list.free(CHANGE);
        list.free(&[SYS_setpriority, SYS_ioprio_set]);
    } else {
        for call in CHANGE {
            list.when(*call, [is(0, 0)]);
        }
        list.when(SYS_setpriority, [is(0, PRIO_PROCESS), is(1, 0)]);
    }
    if kind.namespaces || kind.truncation_scoped {
        list.free(&[SYS_truncate]);
    }
    if kind.namespaces || !kind.same_user || kind.signals_scoped {
        list.free(SIGNAL);
        list.free(&[SYS_tkill, SYS_pidfd_send_signal]);
    } else {
        for call in SIGNAL {
            list.when(*call, [is(0, pid)]);
        }
        // its own process group, which it leads
        list.when(SYS_kill, [is(0, 0)]);
    }
    // of itself alone: who watches it may be the same user
    list.when(SYS_prlimit64, [is(0, 0)]);
    list.when(SYS_prlimit64, [is(0, pid)]);
    // make and shells set what they already are
    let (user, group) = kind.ids;
    for (call, id, arguments) in [
        (SYS_setuid, user, 1),
        (SYS_setgid, group, 1),
        (SYS_setreuid, user, 2),
        (SYS_setregid, group, 2),
        (SYS_setresuid, user, 3),
        (SYS_setresgid, group, 3),
    ] {
        list.when_all(call, arguments, &[id, UNCHANGED]);
    }
    let (mask, value) = if kind.forks {
        #[cfg(target_arch = "x86_64")]
        list.free(&[SYS_fork, SYS_vfork]);
        (CLONE_ANY_NAMESPACE, 0)
    } else {
        (CLONE_ANY_NAMESPACE | CLONE_THREAD, CLONE_THREAD)
    };
    list.when(SYS_clone, [bits(0, mask, value)]);
    // sockets of this machine whose every message goes where they are connected; connecting is another matter
    for kind in [SOCK_STREAM, SOCK_SEQPACKET] {
        for call in [SYS_socket, SYS_socketpair] {
            list.when(call, [is(0, AF_UNIX.unsigned_abs()), bits(1, 0xf, kind)]);
        }
    }
    // keys pressed for whoever owns the terminal; signals for whoever is named
    let keys = [TIOCSTI as u32, TIOCLINUX as u32, FIOSETOWN, SIOCSPGRP];
    list.when(SYS_ioctl, keys.map(|request| is_not(1, request)));
    list.when(SYS_fcntl, [F_SETOWN.unsigned_abs(), F_SETOWN_EX].map(|command| is_not(1, command)));
    // nothing may outlive its parent unseen, or change who may look into it
    let own = [PR_SET_PDEATHSIG, PR_SET_MM, PR_SCHED_CORE, PR_SET_PTRACER];
    list.when(SYS_prctl, own.map(|option| is_not(0, option.unsigned_abs())));
    // named pipes are files; devices are not
    list.when(SYS_mknodat, [bits(2, S_IFMT.cast_signed(), S_IFIFO.cast_signed())]);
    #[cfg(target_arch = "x86_64")]
    list.when(SYS_mknod, [bits(1, S_IFMT.cast_signed(), S_IFIFO.cast_signed())]);

    list.0.extend(ABSENT.iter().map(|call| (*call, Answer::Fail(ENOSYS))));
    program(&list.0)
}

/// Calls and what their arguments must be.
#[derive(Default)]
struct List(BTreeMap<c_long, Answer>);

impl List {
    fn free(&mut self, calls: &[c_long]) {
        self.0.extend(calls.iter().map(|call| (*call, Answer::Allow)));
    }

    /// With all of these; several times is with any of them.
    fn when<const N: usize>(&mut self, call: c_long, conditions: [Condition; N]) {
        self.way(call, conditions.to_vec());
    }

    fn way(&mut self, call: c_long, conditions: Vec<Condition>) {
        match self.0.entry(call).or_insert_with(|| Answer::When(Vec::new())) {
            Answer::When(ways) => ways.push(conditions),
            // whatever its arguments are
            Answer::Allow | Answer::Ask | Answer::Fail(_) => {}
        }
    }

    /// With each of the first `arguments` one of `values`.
    fn when_all(&mut self, call: c_long, arguments: u8, values: &[u32]) {
        let mut ways = vec![Vec::new()];
        for argument in 0..arguments {
            let with = |way: &Vec<Condition>, value: u32| [way.clone(), vec![is(argument, value)]].concat();
            ways = ways.iter().flat_map(|way| values.iter().map(move |value| with(way, *value))).collect();
        }
        ways.into_iter().for_each(|way| self.way(call, way));
    }
}

fn is(argument: u8, value: u32) -> Condition {
    Condition { argument, mask: u32::MAX, value, equal: true }
}

fn is_not(argument: u8, value: u32) -> Condition {
    Condition { argument, mask: u32::MAX, value, equal: false }
}

/// The bits of `mask` are those of `value`.
fn bits(argument: u8, mask: c_int, value: c_int) -> Condition {
    Condition { argument, mask: mask.cast_unsigned(), value: value.cast_unsigned(), equal: true }
}
