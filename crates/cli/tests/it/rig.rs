//! A home of its own for each test, and the binary in it.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::on_dynamodb;

/// A home folder that goes when the test ends.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    /// What the binary is told of its store: nothing, so that it is a file of this home, or a table.
    store: Vec<(&'static str, String)>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = on_dynamodb::place(folder.path());
        let home = Self { folder, store };
        if home.has_a_table() {
            let made = home.output(&["store", "init"]);
            assert!(made.status.success(), "{}", text(&made.stderr));
        }
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Is the store of this home a table of DynamoDB?
    pub(crate) fn has_a_table(&self) -> bool {
        !self.store.is_empty()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The binary, in a session of its own: how it groups processes must not depend on who runs the tests.
    pub(crate) fn coroner(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command.arg(env!("CARGO_BIN_EXE_coroner")).args(words);
        self.dress(&mut command);
        command
    }

    /// Takes what the user who runs the tests has set out of a command's environment.
    pub(crate) fn dress(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["CORONER_", "XDG_", "LC_", "ANTHROPIC_", "OPENAI_", "OTEL_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                command.env_remove(name);
            }
        }
        command.env_remove("NO_COLOR").env_remove("COLUMNS");
        command.env("HOME", self.path()).env("LANG", "C.UTF-8").env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(self.store.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.path()).stdin(Stdio::null());
    }

    pub(crate) fn output(&self, words: &[&str]) -> Output {
        self.coroner(words).output().unwrap()
    }
}

/// Starts with three pipes.
pub(crate) fn started(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn with_input(command: Command, input: &[u8]) -> Output {
    let mut child = started(command);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || _ = stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until `done`, and fails the test if that never comes.
pub(crate) fn until(what: &str, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(60), "{what}: still not");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that is nobody else's for as long as this lives, and where nobody listens but those of this test who are told it:
/// it is bound here, and the system gives no port away that is bound.
pub(crate) struct HeldPort(tokio::net::TcpSocket);

impl HeldPort {
    pub(crate) fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        // who listens there later says the same; both have to
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    pub(crate) fn number(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}

/// Does the process live? One that waits to be reaped does not.
pub(crate) fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
