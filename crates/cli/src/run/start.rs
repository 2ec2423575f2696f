//! Starts the command with its streams laid as they would have been without us.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::process::Pid;

use super::pty::{Pty, Sizer};
use super::pump::Source;

/// A command that runs.
pub(super) struct Started {
    pub(super) pid: Pid,
    /// What it prints, and where that goes.
    pub(super) streams: Vec<(Source, OwnedFd)>,
    /// For its terminal, if it has got one.
    pub(super) sizer: Option<Sizer>,
}

/// A command that did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotStarted {
    pub(super) reason: String,
    /// What a shell would have returned.
    pub(super) code: i32,
}

/// The command's ends of its output streams, and ours.
struct Streams {
    stdout: OwnedFd,
    stderr: OwnedFd,
    ours: Vec<(Source, OwnedFd)>,
    sizer: Option<Sizer>,
}

impl Streams {
    /// A stream that goes to a terminal comes from one, another from a pipe. Two that go to the same place share one
    /// pipe, because only so their order is kept.
    fn lay(stdout: BorrowedFd<'_>, stderr: BorrowedFd<'_>) -> io::Result<Self> {
        let (out_terminal, err_terminal) = (stdout.is_terminal(), stderr.is_terminal());
        if !out_terminal && !err_terminal {
            let (read, write) = io::pipe()?;
            let mut ours = vec![(Source::Pipe(read.into()), stdout.try_clone_to_owned()?)];
            let stdout: OwnedFd = write.into();
            let second = if same_place(ours[0].1.as_fd(), stderr) {
                stdout.try_clone()?
            } else {
                let (read, write) = io::pipe()?;
                ours.push((Source::Pipe(read.into()), stderr.try_clone_to_owned()?));
                write.into()
            };
            return Ok(Self { stdout, stderr: second, ours, sizer: None });
        }
        let real = if out_terminal { stdout } else { stderr };
        let (pty, slave) = Pty::like(real)?;
        let sizer = Some(pty.sizer()?);
        let mut ours = vec![(Source::Pty(pty), real.try_clone_to_owned()?)];
        if out_terminal && err_terminal {
            return Ok(Self { stdout: slave.try_clone()?, stderr: slave, ours, sizer });
        }
        let (read, write) = io::pipe()?;
        let other = if out_terminal { stderr } else { stdout };
        ours.push((Source::Pipe(read.into()), other.try_clone_to_owned()?));
        let write = OwnedFd::from(write);
        let (stdout, stderr) = if out_terminal { (slave, write) } else { (write, slave) };
        Ok(Self { stdout, stderr, ours, sizer })
    }
}

pub(super) fn same_place(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> bool {
    match (rustix::fs::fstat(a), rustix::fs::fstat(b)) {
        (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
        _ => false,
    }
}

/// Starts `command`, in a process group of its own if `own_group`. `path` is the search path.
pub(super) fn start(
    command: &[OsString],
    own_group: bool,
    path: Option<&OsStr>,
) -> Result<Started, NotStarted> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(NotStarted { reason: "there is no command".to_owned(), code: 127 });
    };
    let failed = |error: io::Error| not_started(program, &error, path);
    let streams = Streams::lay(rustix::stdio::stdout(), rustix::stdio::stderr()).map_err(failed)?;
    let attempt = |program: &OsStr, arguments: &[OsString]| -> io::Result<Pid> {
        let mut command = Command::new(program);
        command.args(arguments);
        command.stdout(Stdio::from(streams.stdout.try_clone()?));
        command.stderr(Stdio::from(streams.stderr.try_clone()?));
        if own_group {
            command.process_group(0);
        }
        // not waited for through this value: whoever reaps all our children reaps this one too
        Ok(Pid::from_child(&command.spawn()?))
    };
    let pid = match attempt(program, arguments) {
        // a script without "#!": a shell gives it to sh
        Err(error) if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
            let script = find(program, path).unwrap_or_else(|| program.into());
            let arguments: Vec<OsString> =
                std::iter::once(script.into()).chain(arguments.iter().cloned()).collect();
            attempt(OsStr::new("/bin/sh"), &arguments)
        }
        other => other,
    };
    Ok(Started { pid: pid.map_err(failed)?, streams: streams.ours, sizer: streams.sizer })
}

/// Says why as a shell would, with a shell's code.
fn not_started(program: &OsStr, error: &io::Error, path: Option<&OsStr>) -> NotStarted {
    let name = program.to_string_lossy();
    if error.kind() != io::ErrorKind::NotFound {
        let reason = match error.raw_os_error() {
            Some(code) => Errno::from_raw_os_error(code).to_string(),
            None => error.to_string(),
        };
        let reason = reason.split(" (os error").next().unwrap_or(&reason).to_owned();
        return NotStarted { reason: format!("{name}: {reason}"), code: 126 };
    }
    match find(program, path) {
        // it is there, so what was not found is what should run it
        Some(file) => match interpreter(&file) {
            Some(interpreter) => NotStarted {
                reason: format!("{name}: its interpreter {interpreter} was not found"),
                code: 126,
            },
            None => NotStarted { reason: format!("{name}: its loader was not found"), code: 126 },
        },
        None if program.as_bytes().contains(&b'/') => {
            NotStarted { reason: format!("{name}: No such file or directory"), code: 127 }
        }
        None => NotStarted { reason: format!("{name}: command not found"), code: 127 },
    }
}

pub(super) fn find(program: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|file| file.exists());
    }
    std::env::split_paths(path?).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// What stands behind the "#!" of a script.
fn interpreter(file: &Path) -> Option<String> {
    use std::io::Read;
    let mut head = Vec::new();
    std::fs::File::open(file).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.split_ascii_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(program: &str, path: &str) -> NotStarted {
        let error = Command::new(program).env("PATH", path).spawn().unwrap_err();
        not_started(OsStr::new(program), &error, Some(OsStr::new(path)))
    }

    #[test]
    fn what_did_not_start_says_why_as_a_shell_does() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let path = folder.path().to_str().unwrap();
        let plain = file("plain", "x", 0o644);
        let script = file("script", "#!/no/such/python -u\nprint()", 0o755);
        for (program, code, reason) in [
            ("no-such-command", 127, "no-such-command: command not found".to_owned()),
            ("/no/such/file", 127, "/no/such/file: No such file or directory".to_owned()),
            (&plain, 126, format!("{plain}: Permission denied")),
            ("/tmp", 126, "/tmp: Permission denied".to_owned()),
            (&script, 126, format!("{script}: its interpreter /no/such/python was not found")),
            ("script", 126, "script: its interpreter /no/such/python was not found".to_owned()),
        ] {
            assert_eq!(refused(program, path), NotStarted { reason, code }, "{program}");
        }
    }

    #[test]
    fn two_streams_to_one_place_share_a_pipe_and_two_places_do_not() {
        let (_a, to) = io::pipe().unwrap();
        let (_b, elsewhere) = io::pipe().unwrap();
        let again = to.try_clone().unwrap();
        assert_eq!(Streams::lay(to.as_fd(), again.as_fd()).unwrap().ours.len(), 1);
        assert_eq!(Streams::lay(to.as_fd(), elsewhere.as_fd()).unwrap().ours.len(), 2);
    }
}
