//! `coroner run --sandbox`: what gets out, what ends it, what is left.

mod attacks;
mod ends;
mod gone;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::rig::{Home, text};

/// As whom a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever runs the tests.
    Us,
    /// Where that is root: nobody.
    Nobody,
}

const NOBODY: u32 = 65534;

/// A home whose owner is `who`, and a machine that has the level; `None` says why not.
pub(crate) struct Confined {
    home: Home,
    /// The current folder.
    pub(crate) here: std::path::PathBuf,
    level: &'static str,
    who: Who,
}

impl Confined {
    pub(crate) fn new(test: &str, level: &'static str, who: Who) -> Option<Self> {
        let home = Home::new();
        let skip = |why: &str| skipped(&format!("{test} at level {level} as {who:?}"), why);
        if who == Who::Nobody && !rustix::process::geteuid().is_root() {
            skip("only root can be somebody else");
            return None;
        }
        let here = home.path().join("project");
        std::fs::create_dir(&here).unwrap();
        for folder in [home.path(), &here] {
            // a temporary folder is nobody else's business, but this one is the command's
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
            if who == Who::Nobody {
                std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let confined = Self { home, here, level, who };
        let tried = confined.run(&[], &["true"]);
        match tried.status.code() {
            Some(0) => Some(confined),
            _ => {
                skip(text(&tried.stderr).trim());
                None
            }
        }
    }

    /// `coroner run --sandbox` at just this level.
    pub(crate) fn command(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        if self.who == Who::Nobody {
            command.args(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        }
        let sandbox = ["run", "--offline", "--sandbox", "--level", self.level, "--exactly"];
        command.arg(env!("CARGO_BIN_EXE_coroner")).args(sandbox).args(options).arg("--").args(words);
        self.home.dress(&mut command);
        command.current_dir(&self.here);
        // not what somebody has put before the system's
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("CORONER_RUN_GRACE", "1s").env("SECRET", "coroner-attack-secret");
        command
    }

    pub(crate) fn run(&self, options: &[&str], words: &[&str]) -> Output {
        self.command(options, words).output().unwrap()
    }

    /// The same with what the diagnosis says.
    pub(crate) fn diagnosed(&self, options: &[&str], words: &[&str]) -> (Output, serde_json::Value) {
        let file = self.here.join("diagnosis.json");
        let options = [options, &["--diagnosis", file.to_str().unwrap()]].concat();
        let output = self.run(&options, words);
        let diagnosis = std::fs::read(&file).unwrap_or_else(|_| panic!("no diagnosis: {output:?}"));
        std::fs::remove_file(&file).unwrap();
        (output, serde_json::from_slice(&diagnosis).unwrap())
    }

    /// A file in the current folder that everybody can read.
    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.home.file(&format!("project/{name}"), text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        if self.who == Who::Nobody {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}

/// As `scripts/test` wants to hear it, in one line.
fn skipped(test: &str, why: &str) {
    let why = why.replace('\n', " ");
    _ = std::io::Write::write_all(&mut std::io::stderr(), format!("skipped: {test}: {why}\n").as_bytes());
}

/// Every level that protects something, and everybody who can ask for it.
pub(crate) const ALL: [(&str, Who); 8] = [
    ("A", Who::Us),
    ("A", Who::Nobody),
    ("B", Who::Us),
    ("B", Who::Nobody),
    ("C", Who::Us),
    ("C", Who::Nobody),
    ("D", Who::Us),
    ("D", Who::Nobody),
];

/// A system call that was refused, in the JSON of a diagnosis.
pub(crate) fn was_refused(diagnosis: &serde_json::Value, call: &str, detail: &str) -> bool {
    let denied = diagnosis["sandbox"]["denied"].as_array().cloned().unwrap_or_default();
    denied.iter().any(|denied| denied["call"] == call && denied["detail"].as_str().unwrap().contains(detail))
}
