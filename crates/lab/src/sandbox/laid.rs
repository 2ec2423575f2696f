//! Descriptors laid for the inner side, and its start: under bubblewrap, or alone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::error::system;
use super::mounts;
use super::orders::{CONTROL, FIRST_OWN, NAME, ORDERS};
use super::{Plan, Sandbox, SandboxError, descriptors};

/// Descriptors for the inner side and the command, and our ends of them.
pub(super) struct Laid {
    control: OwnedFd,
    its_control: OwnedFd,
    outputs: Vec<OwnedFd>,
    /// Goes to the inner side, under the number beside it.
    given: Vec<(OwnedFd, RawFd)>,
    /// The inner side's number and the command's.
    pub(super) for_command: Vec<(RawFd, RawFd)>,
    next: RawFd,
}

impl Laid {
    pub(super) fn new(plan: &Plan, apart: bool) -> Result<Self, SandboxError> {
        let flags = SocketFlags::CLOEXEC;
        let (control, its_control) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(system("make a socket pair"))?;
        let mut laid = Self {
            control,
            its_control,
            outputs: Vec::new(),
            given: Vec::new(),
            for_command: Vec::new(),
            next: FIRST_OWN,
        };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(system("make a pipe"));
        let (ours, its) = pipe()?;
        laid.outputs.push(ours);
        let out = laid.inherit(its);
        laid.for_command.push((out, 1));
        if apart {
            let (ours, its) = pipe()?;
            laid.outputs.push(ours);
            let err = laid.inherit(its);
            laid.for_command.push((err, 2));
        } else {
            laid.for_command.push((out, 2));
        }
        for channel in &plan.channels {
            let copy = channel.end.try_clone().map_err(system("copy a channel"))?;
            let number = laid.inherit(copy);
            laid.for_command.push((number, channel.number));
        }
        if plan.channels.iter().all(|channel| channel.number != 0) {
            let nothing = std::fs::File::open("/dev/null").map_err(system("open /dev/null"))?;
            let number = laid.inherit(nothing.into());
            laid.for_command.push((number, 0));
        }
        Ok(laid)
    }

    /// Gives it to the inner side; the answer is its number there.
    pub(super) fn inherit(&mut self, fd: OwnedFd) -> RawFd {
        let number = self.next;
        self.given.push((fd, number));
        self.next += 1;
        number
    }
}

/// bubblewrap, with our own binary as process 1.
pub(super) fn bubblewrap(
    sandbox: &Sandbox,
    plan: &Plan,
    user: Option<u32>,
    laid: &mut Laid,
) -> Result<Command, SandboxError> {
    let program = super::identity::bubblewrap().ok_or_else(|| SandboxError::Setup {
        step: "bubblewrap".to_owned(),
        reason: "it is gone since the self-test".to_owned(),
    })?;
    let mounts =
        mounts::mounts(plan, &sandbox.helper, user, laid.next).map_err(system("prepare its file system"))?;
    laid.next += i32::try_from(mounts.data.len()).unwrap_or(0);
    laid.given.extend(mounts.data);
    let mut command = Command::new(program);
    command.args([
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]);
    command.args([
        "--as-pid-1",
        "--die-with-parent",
        "--new-session",
        "--hostname",
        "sandbox",
        "--cap-drop",
        "ALL",
    ]);
    if user.is_some() {
        // only to become somebody else
        command.args(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]);
    } else {
        let id = mounts::INSIDE.to_string();
        command.args([
            "--unshare-user",
            "--disable-userns",
            "--assert-userns-disabled",
            "--uid",
            &id,
            "--gid",
            &id,
        ]);
    }
    command.args(mounts.arguments).args(["--", &mounts::helper()]);
    Ok(command)
}

/// Our own binary alone.
pub(super) fn helper(sandbox: &Sandbox) -> Command {
    let mut command = Command::new(&sandbox.helper);
    command.arg0(NAME);
    command
}

pub(super) struct Started {
    pub(super) child: Child,
    pub(super) control: OwnedFd,
    pub(super) outputs: Vec<OwnedFd>,
}

#[expect(unsafe_code, reason = "descriptors have to be laid between fork and exec")]
pub(super) fn start(command: &mut Command, laid: Laid, orders: &OwnedFd) -> Result<Started, SandboxError> {
    let mut wanted: Vec<(BorrowedFd<'_>, RawFd)> =
        vec![(orders.as_fd(), ORDERS), (laid.its_control.as_fd(), CONTROL)];
    wanted.extend(laid.given.iter().map(|(fd, number)| (fd.as_fd(), *number)));
    let mut pairs = descriptors::pairs(&wanted);
    pairs.extend([(0, 0), (1, 1), (2, 2)]);
    let mut spare = vec![0; pairs.len()];
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).current_dir("/");
    // SAFETY: what runs in the child makes system calls on memory that was allocated before
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            descriptors::place(&pairs, &mut spare)
        });
    }
    let child = command.spawn().map_err(system("be started"))?;
    Ok(Started { child, control: laid.control, outputs: laid.outputs })
}
