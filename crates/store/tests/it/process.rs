//! Runs a part of a test in a process of its own, which may be killed, or live where the disk is small or read-only.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use coroner_diagnosis::{Diagnosis, End, Exit};
use coroner_store::{CommandLine, NewExperiment, Outcome, Owner, Status, Store};
use jiff::Timestamp;

/// Where a part finds its store.
const FOLDER: &str = "CORONER_STORE_TEST_FOLDER";

/// The folder that this process was given, if it is a part of another test.
pub(crate) fn given_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

pub(crate) fn url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("t.db").display())
}

pub(crate) async fn open(folder: &Path) -> Store {
    Store::open(&url(folder)).await.unwrap()
}

/// The command that runs one ignored test of this binary.
fn command(part: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", part, "--ignored", "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
    command
}

/// A part at work, and what it says.
pub(crate) struct Part {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Part {
    pub(crate) fn start(part: &str, folder: &Path) -> Self {
        let mut child = command(part, folder).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next thing that it says after `said `.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        lines.find_map(|line| line.split_once("said ").map(|(_, said)| said.to_owned()))
    }

    /// Kills it as nothing can be caught; what it had said by then is still heard.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let rest = std::iter::from_fn(|| self.hear()).collect();
        self.child.wait().unwrap();
        rest
    }

    pub(crate) fn end(mut self) -> Vec<String> {
        let rest = std::iter::from_fn(|| self.hear()).collect();
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

/// Runs a part behind mounts of its own, which need root or user namespaces. Where there are neither, says so and
/// gives `false`.
#[expect(clippy::print_stdout, reason = "who skips says so")]
pub(crate) fn run_mounted(part: &str, folder: &Path, mounts: &str) -> bool {
    let inner = command(part, folder);
    let words: Vec<_> = std::iter::once(inner.get_program()).chain(inner.get_args()).collect();
    for flags in [&["--mount"][..], &["--mount", "--map-root-user"][..]] {
        let script = format!("set -e; {mounts}\nexec \"$@\"");
        let mut outer = Command::new("unshare");
        outer
            .args(flags)
            .args(["sh", "-c", &script, "sh"])
            .args(&words)
            .env(FOLDER, folder)
            .env("DIR", folder);
        match Command::new("unshare").args(flags).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output() {
            Ok(trial) if trial.status.success() => {}
            _ => continue,
        }
        let output = outer.output().unwrap();
        let said =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success() && said.contains("1 passed"), "{part} failed:\n{said}");
        return true;
    }
    println!(
        "skipped: {part} needs mounts of its own, and neither root nor user namespaces are to be had here"
    );
    false
}

/// Nobody outlives his test, whatever became of it.
impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn new(id: &str) -> NewExperiment {
    NewExperiment {
        id: Some(id.to_owned()),
        experiment_type: "train".to_owned(),
        command: CommandLine(vec!["python".to_owned(), "train.py".to_owned()]),
        cwd: "/work".to_owned(),
        owner: Owner::this_process(),
        started_at: Timestamp::now(),
    }
}

pub(crate) fn ended(status: Status) -> Outcome {
    let exit =
        Exit { end: End::Exited { code: 0 }, wall: Duration::from_secs(1), cpu: None, peak_memory: None };
    Outcome { status, exit: Some(exit), ended_at: Timestamp::now(), reason: None, log: None, diagnosis: None }
}

pub(crate) fn diagnosis() -> Diagnosis {
    serde_json::from_str(include_str!("../../fixtures/records/v1/rule.json")).unwrap()
}

/// Bytes that don't become smaller, the same for the same seed (xorshift64*).
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

pub(crate) async fn read(store: &Store, id: coroner_store::LogId) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut store.read_log(id).await.unwrap(), &mut bytes).unwrap();
    bytes
}
