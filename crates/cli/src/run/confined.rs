//! `coroner run --sandbox`: the same run where it can do no harm.

use std::collections::BTreeMap;
use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use coroner_diagnosis::{Confined, End};
use coroner_lab::sandbox::{Channel, Level, Limits, Plan, Report, Sandbox, SandboxError, Stop};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::signal::SIGINT;

use super::log::{Capped, Shared};
use super::shown::{Seen, shown};
use super::signals::{ENDS, Signals};
use super::start::same_place;
use super::supervise::{Outcome, code, outcome};
use crate::args::RunArgs;
use crate::context::{Context, Failed};

/// A sandbox that will do, and what is to run in it.
pub(super) struct Ready {
    sandbox: Sandbox,
    plan: Plan,
}

/// Our own binary, which is the inner side too.
pub(crate) fn helper() -> io::Result<std::path::PathBuf> {
    std::env::current_exe()
}

/// Finds the sandbox and lays the plan. What is wrong here is said before anything starts.
pub(super) fn ready(args: &RunArgs, context: &Context) -> Result<Ready, Failed> {
    let settings = &context.config.sandbox;
    let wanted = args.level.unwrap_or(settings.level);
    let helper = helper().context("can't find our own binary")?;
    let strongest = if args.exactly { wanted } else { Level::A };
    let sandbox = Sandbox::probe_from(&helper, strongest);
    sandbox.require(wanted).map_err(anyhow::Error::from)?;
    let Seen { program, search, shown } = shown(args, context)?;
    let mut command = args.command.clone();
    command[0] = program.into();
    let language = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| context.env.text(name));
    let env = [
        ("PATH", search.as_str()),
        ("LANG", language.unwrap_or("C.UTF-8")),
        ("HOME", "{root}/work"),
        ("TMPDIR", "{root}/work"),
    ];
    let plan = Plan {
        command,
        env: env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        cwd: std::env::current_dir().context("can't tell the current folder")?,
        shown,
        channels: input()?,
        forks: true,
        limits: Limits {
            wall: args.timeout.unwrap_or(settings.wall),
            memory: args.memory.unwrap_or(settings.memory),
            ..settings.limits()
        },
        at_least: wanted,
    };
    for sentence in &sandbox.layers().unprotected {
        context.note(&format!("sandbox of level {}: {sentence}", sandbox.level()));
    }
    Ok(Ready { sandbox, plan })
}

/// Standard input, unless it is a terminal: whoever can write to that can do more than read.
fn input() -> Result<Vec<Channel>, Failed> {
    let stdin = rustix::stdio::stdin();
    if io::IsTerminal::is_terminal(&stdin) {
        return Ok(Vec::new());
    }
    let end = stdin.try_clone_to_owned().context("can't copy standard input")?;
    Ok(vec![Channel { number: 0, end }])
}

/// Runs it. The output goes where it would have gone, and into `log`.
pub(super) fn confined<W: Write + Send + 'static>(
    ready: Ready,
    signals: &mut Signals,
    log: W,
    log_limit: u64,
) -> Result<(Outcome<W>, Confined), SandboxError> {
    let Ready { sandbox, plan } = ready;
    let log = Shared::new(Capped::new(log, log_limit));
    let (stdout, stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
    let system = |what| move |source| SandboxError::System { what, source };
    let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map_err(system("copy its output"));
    let mut out = Passed { to: copy(stdout)?, log: log.clone(), gone: false };
    let mut err = Passed { to: copy(stderr)?, log: log.clone(), gone: false };
    let merged = same_place(stdout, stderr);
    let stop = Stop::new();
    let (over, end) = io::pipe().map_err(system("make a pipe"))?;
    let (report, told) = std::thread::scope(|scope| {
        let listening = scope.spawn(|| listen(signals, &over, &stop));
        let report = if merged {
            sandbox.run(plan, &stop, &mut out)
        } else {
            sandbox.run_apart(plan, &stop, &mut out, &mut err)
        };
        drop(end);
        (report, listening.join().unwrap_or_default())
    });
    let report = report?;
    let told = told.filter(|_| report.stopped);
    let end = match told {
        Some((signal, _)) => End::Signaled { signal },
        None => report.exit.end.clone(),
    };
    let status = code(&end);
    let exit = coroner_diagnosis::Exit { end, ..report.exit.clone() };
    let mut outcome = outcome(exit, status, &log);
    let broken_pipe = 128 + signal_hook::consts::signal::SIGPIPE;
    outcome.reader_gone = (out.gone || err.gone) && status == broken_pipe;
    outcome.interrupted = matches!(told, Some((SIGINT, true)));
    Ok((outcome, facts(&report)))
}

fn facts(report: &Report) -> Confined {
    report.confined()
}

/// Waits for a signal that tells us to end, until it is `over`; the answer is the signal, and whether a terminal sent it.
fn listen(signals: &mut Signals, over: &PipeReader, stop: &Stop) -> Option<(i32, bool)> {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(over.as_fd(), PollFlags::IN),
        ];
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let is_over = !fds[1].revents().is_empty();
        if let Some(end) = signals.arrived().into_iter().find(|arrived| ENDS.contains(&arrived.signal)) {
            stop.stop();
            return Some((end.signal, end.from_terminal));
        }
        if is_over {
            return None;
        }
    }
}

/// Writes to where the output would have gone, and to the log.
struct Passed<W> {
    to: OwnedFd,
    log: Shared<W>,
    gone: bool,
}

impl<W: Write> Write for Passed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.to, bytes) {
                Ok(n) => {
                    self.log.add(&bytes[..n]);
                    return Ok(n);
                }
                // somebody else's setting of a shared terminal
                Err(rustix::io::Errno::AGAIN) => {
                    _ = poll(&mut [PollFd::from_borrowed_fd(self.to.as_fd(), PollFlags::OUT)], None);
                }
                Err(error) => {
                    self.gone = true;
                    return Err(error.into());
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Is it a folder that should not be shown as a whole?
pub(super) fn is_home(folder: &Path, home: Option<&Path>) -> bool {
    home.is_some_and(|home| home.starts_with(folder))
}
