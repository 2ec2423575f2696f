//! A failed run looked at: what is known of it put together, then the rules, then a model where one is wanted.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use coroner_diagnosis::{Capture, Code, Confined, Diagnosis, End, LogReader, conclude};
use coroner_store::{LogFacts, LogId, Store};
use tokio::runtime::Runtime;

use super::record::Record;
use super::reported::Reported;
use super::supervise::Outcome;
use crate::analyst::{Analyst, now, rules_with};
use crate::args::RunArgs;
use crate::context::{Context, Failed, complain};
use crate::history;

/// A source file is no larger than this.
const LARGEST_CODE: u64 = 1 << 20;
/// What source files are called.
const SOURCES: [&str; 14] =
    ["py", "sh", "bash", "js", "mjs", "ts", "rb", "pl", "php", "r", "R", "jl", "lua", "go"];

/// What is known of a failed run, and who looks at it.
pub(super) struct Autopsy<'a> {
    capture: Capture,
    analyst: Analyst,
    record: &'a Record<'a>,
}

/// What it says.
pub(super) struct Found {
    pub(super) diagnosis: Diagnosis,
    /// Earlier failures with the same signature.
    pub(super) alike: Option<u64>,
    pub(super) log_lines: u64,
    /// At the desk that it was reported to: its name there, and its page.
    pub(super) there: Option<(String, String)>,
}

impl<'a> Autopsy<'a> {
    /// With as much of the log as is in memory, which nearly always is all.
    pub(super) fn new<W>(
        args: &RunArgs,
        context: &Context,
        record: &'a Record<'a>,
        outcome: &Outcome<W>,
        sandbox: Option<Confined>,
    ) -> Result<Self, Failed> {
        let capture = Capture {
            experiment_id: record
                .id()
                .map(ToString::to_string)
                .or_else(|| record.reported().and_then(Reported::id))
                .or_else(|| args.id.clone()),
            experiment_type: args.kind.clone(),
            error_message: None,
            code: code(&args.command),
            exit: Some(outcome.exit.clone()),
            refused: None,
            sandbox,
            log: outcome.recent.log(),
            baselines: baseline(record).into_iter().collect(),
            ..Capture::default()
        };
        // nobody waits for a model to hear that he pressed Ctrl-C, or that a file is not there; where it is reported the desk asks
        let plain = outcome.interrupted
            || matches!(outcome.exit.end, End::NotStarted { .. })
            || record.reported().is_some();
        Ok(Self { capture, analyst: analyst(context, args.offline || plain, record)?, record })
    }

    /// Takes the whole log from the store, where memory has only its end. True if there is more to look at now.
    pub(super) fn read_whole_log<W>(&mut self, outcome: &Outcome<W>, kept: Option<&LogFacts>) -> bool {
        if outcome.recent.is_whole() {
            return false;
        }
        let expected = outcome.log.bytes - outcome.log.left_out;
        let kept = kept.filter(|facts| facts.bytes >= expected);
        let read = kept.and_then(|facts| match (self.record.store(), self.record.reported()) {
            (Some(store), _) => Some(read_log(store, facts.id, &self.record.runtime)),
            (None, Some(reported)) => Some(reported.read_log().map_err(|e| Failed::Outside(e.into()))),
            (None, None) => None,
        });
        match read {
            Some(Ok(log)) => {
                self.capture.log = log;
                true
            }
            Some(Err(error)) => {
                complain(&format!("only the end of the log is looked at: {error}"));
                false
            }
            None => {
                complain("only the end of the log is looked at: the rest could not be kept");
                false
            }
        }
    }

    /// What is looked at.
    pub(super) fn capture(&self) -> &Capture {
        &self.capture
    }

    /// At once, and without leaving the process. `counted`: the signature under which the store counts this run.
    pub(super) fn by_rules(&self, counted: Option<&str>) -> Found {
        self.found(conclude(self.analyst.examine(&self.capture), None, &now()), counted)
    }

    /// Is a model to be asked?
    pub(super) fn asks(&self) -> bool {
        self.analyst.asks()
    }

    /// With a model, if one is to be asked.
    pub(super) fn by_model(&self, counted: Option<&str>) -> Option<Found> {
        self.asks().then(|| self.found(self.analyst.diagnose(&self.capture), counted))
    }

    fn found(&self, mut diagnosis: Diagnosis, counted: Option<&str>) -> Found {
        let alike = self.record.store().and_then(|store| {
            history::look_up(store, &mut diagnosis, self.record.id(), &self.record.runtime)
        });
        let itself = u64::from(counted == Some(diagnosis.signature.as_str()));
        let alike = alike.map(|alike| alike.saturating_sub(itself));
        Found { diagnosis, alike, log_lines: self.capture.log.lines(), there: None }
    }
}

/// What is wrong with the user's rules or model costs these, not the diagnosis.
fn analyst(context: &Context, offline: bool, record: &Record<'_>) -> Result<Analyst, Failed> {
    let rules = || {
        crate::analyst::rules(context).or_else(|failed| {
            complain(&format!("only the built-in rules are used: {failed}"));
            rules_with(&[])
        })
    };
    // a model is asked over the network
    let runtime = crate::analyst::runtime()?;
    let analyst =
        |rules, offline| Analyst::with_rules(context, rules, offline, record.store(), Arc::clone(&runtime));
    analyst(rules()?, offline).or_else(|failed| {
        complain(&format!("no model is asked: {failed}"));
        analyst(rules_with(&[])?, true)
    })
}

/// A kept log, read as the rules want it.
pub(super) fn read_log(
    store: &Store,
    id: LogId,
    runtime: &Runtime,
) -> Result<coroner_diagnosis::Log, Failed> {
    let mut from = runtime.block_on(store.read_log(id))?;
    let mut reader = LogReader::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(reader.finish()),
            Ok(n) => reader.push(&buffer[..n]),
            Err(error) => {
                return Err(Failed::Outside(anyhow::Error::new(error).context("can't read a kept log")));
            }
        }
    }
}

/// What the last run of the same kind printed that succeeded.
fn baseline(record: &Record<'_>) -> Option<coroner_diagnosis::Log> {
    let store = record.store()?;
    let id = record.runtime.block_on(store.last_success(&record.kind, &record.command)).ok().flatten()?;
    read_log(store, id, &record.runtime).ok()
}

/// The source file among the words of the command: the script that an interpreter was given, or the program itself.
fn script(command: &[OsString]) -> Option<&Path> {
    command.iter().map(Path::new).find(|path| {
        path.extension().and_then(|extension| extension.to_str()).is_some_and(|e| SOURCES.contains(&e))
            && path.is_file()
    })
}

fn code(command: &[OsString]) -> Option<Code> {
    let path = script(command)?;
    if std::fs::metadata(path).ok()?.len() > LARGEST_CODE {
        return None;
    }
    let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
    Some(Code { name: Some(path.display().to_string()), text })
}

/// What was run, in a word: "train.py".
pub(super) fn subject(command: &[OsString]) -> String {
    let path = script(command).or_else(|| command.first().map(Path::new));
    path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_found_among_the_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("train.py");
        std::fs::write(&file, "import numpy\n").unwrap();
        let words = |words: &[&str]| words.iter().map(Into::into).collect::<Vec<OsString>>();
        let command = words(&["python3", "-u", file.to_str().unwrap(), "--data", "other.py"]);
        assert_eq!(subject(&command), "train.py");
        assert_eq!(code(&command).unwrap().text, "import numpy\n");
        for plain in
            [&["/usr/bin/make", "all"][..], &["python3", "-c", "missing.py"], &["python3", "-m", "train"]]
        {
            assert!(code(&words(plain)).is_none());
        }
        assert_eq!(subject(&words(&["/usr/bin/make", "all"])), "make");
        assert_eq!(subject(&[]), "");
    }
}
