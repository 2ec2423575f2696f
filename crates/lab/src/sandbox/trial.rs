//! The self-test: tries, from inside a sandbox, what must not work, and says what did. Our own binary is the program that is run.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// The word that makes our binary this program.
pub(super) const WORD: &str = "trial";

/// What lies outside and must not be reached.
pub(super) struct Bait {
    folder: tempfile::TempDir,
    listener: Option<TcpListener>,
}

impl Bait {
    pub(super) fn lay(within: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::Builder::new().prefix("coroner-self-test-").tempdir_in(within)?;
        // everybody may read and write here: only the sandbox stands before it
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        fs::write(folder.path().join("canary"), "still alive")?;
        // a machine without even a loopback has no network to be kept from
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok();
        Ok(Self { folder, listener })
    }

    /// The arguments that tell the program where it is.
    pub(super) fn words(&self) -> [OsString; 2] {
        let port = self.listener.as_ref().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port());
        [self.folder.path().into(), port.to_string().into()]
    }
}

/// Tries everything and prints what worked, a word a line.
pub(super) fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let folder = PathBuf::from(words.next().unwrap_or_default());
    let port = words.next().and_then(|word| word.to_str()?.parse::<u16>().ok()).unwrap_or(0);
    let mut worked = Vec::new();
    let mut tried = |what: &'static str, did: bool| {
        if did {
            worked.push(what);
        }
    };
    tried("read", fs::read(folder.join("canary")).is_ok());
    tried("write", fs::write(folder.join("written"), "").is_ok());
    tried("connect", port != 0 && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    tried("fork", fork());
    tried("namespace", namespace());
    tried("root", rustix::process::getuid().is_root() || rustix::process::geteuid().is_root());
    tried("privileges", !matches!(rustix::thread::no_new_privs(), Ok(true)));
    // through the descriptor, because there is nothing else to be said with
    _ = rustix::io::write(rustix::stdio::stdout(), worked.join("\n").as_bytes());
    ExitCode::SUCCESS
}

#[expect(unsafe_code, reason = "fork")]
fn fork() -> bool {
    // SAFETY: one thread; a child ends at once
    match unsafe { libc::fork() } {
        0 => unsafe { libc::_exit(0) },
        child => child > 0,
    }
}

#[expect(unsafe_code, reason = "unshare")]
fn namespace() -> bool {
    // SAFETY: a new user namespace shares memory and descriptors with the old one
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }.is_ok()
}
