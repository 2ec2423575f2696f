//! The run's place in the store, or on its way to a desk: a row before it starts, an end on every path. Either that fails costs
//! the record, never the run.

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use coroner_diagnosis::{Capture, Counts, Diagnosis, Redactor};
use coroner_store::{
    CommandLine, Error, ExperimentId, Log, LogWriter, NewExperiment, Orphan, Owner, Running, Status, Store,
};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::reported::Reported;
use super::supervise::Outcome;
use crate::analyst::{Analyst, now, rules_with};
use crate::args::RunArgs;
use crate::context::{Context, Failed, complain};

/// How long a start waits for another program's lock on the store ...
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a store elsewhere may keep a command from its start, and us from ours.
const BEFORE: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(30);
/// ... and how many times that long the end of a run does.
const TRIES: usize = 10;
/// Every so many runs the retention settings are applied.
const PRUNE_EVERY: u64 = 100;

/// A run in the store; or, where there is none, what stands for it.
pub(super) struct Record<'a> {
    context: &'a Context,
    pub(super) runtime: Arc<Runtime>,
    kept: Option<Kept>,
    /// Where it is reported instead.
    reported: Option<Reported>,
    pub(super) kind: String,
    pub(super) command: CommandLine,
    /// What the user called it.
    given: Option<String>,
}

struct Kept {
    store: Store,
    id: ExperimentId,
}

/// Where the log goes as it comes.
pub(super) enum Sink {
    Kept(LogWriter),
    /// The end of it is in memory all the same.
    Nowhere,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Kept(writer) => writer.write(bytes),
            Self::Nowhere => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Kept(writer) => writer.flush(),
            Self::Nowhere => Ok(()),
        }
    }
}

impl<'a> Record<'a> {
    /// Writes the row, durably. Only a wrong `--id`, `--store` or `--report` is an error: then nothing is started.
    pub(super) fn begin(args: &RunArgs, context: &'a Context) -> Result<Self, Failed> {
        let runtime = crate::storage::light_runtime(context)?;
        let command = masked(&args.command, context);
        let kind = args.kind.clone().unwrap_or_default();
        if let Some(desk) = crate::report::desk(context, args.report.as_deref())? {
            let reported = Reported::begin(args, context, desk, command.clone())?;
            return Ok(Self {
                context,
                runtime,
                kept: None,
                reported,
                kind,
                command,
                given: args.id.clone(),
            });
        }
        let new = NewExperiment {
            id: args.id.clone(),
            experiment_type: kind.clone(),
            command: command.clone(),
            cwd: std::env::current_dir().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            owner: Owner::this_process(),
            started_at: Timestamp::now(),
        };
        let begun = async {
            let store = crate::storage::open_waiting(context, PATIENCE).await?;
            let id = store.begin(new).await?;
            if crate::alerts::are_wanted(context)
                && let Err(error) = store.expect_alerts().await
            {
                complain(&format!("nobody is told if this fails: {error}"));
            }
            Ok(Kept { store, id })
        };
        // nobody's command waits for a network
        let kept = runtime.block_on(crate::storage::in_time(context, "the command", BEFORE, begun));
        let kept = match kept {
            Ok(kept) => Some(kept),
            Err(error) if wrong_use(&error) => return Err(error.into()),
            Err(error) => {
                complain(&format!("this run is not kept: {error}"));
                None
            }
        };
        Ok(Self { context, runtime, kept, reported: None, kind, command, given: args.id.clone() })
    }

    pub(super) fn store(&self) -> Option<&Store> {
        self.kept.as_ref().map(|kept| &kept.store)
    }

    pub(super) fn id(&self) -> Option<&ExperimentId> {
        self.kept.as_ref().map(|kept| &kept.id)
    }

    pub(super) fn reported(&self) -> Option<&Reported> {
        self.reported.as_ref()
    }

    /// What a person types to see it again.
    pub(super) fn number(&self) -> Option<u64> {
        self.id().map(ExperimentId::number)
    }

    /// The name to show: what the user gave, or "exp 12".
    pub(super) fn name(&self) -> Option<String> {
        match &self.given {
            Some(given) => Some(self.id().map_or_else(|| given.clone(), ToString::to_string)),
            None => self.number().map(|number| format!("exp {number}")),
        }
    }

    pub(super) fn log(&self) -> Sink {
        let in_store = self.kept.as_ref().map(|kept| kept.store.log_writer(&kept.id));
        let writer = in_store.or_else(|| self.reported.as_ref()?.log());
        writer.map_or(Sink::Nowhere, Sink::Kept)
    }

    /// The log is complete.
    pub(super) fn keep_log(&self, outcome: &mut Outcome<Sink>) -> Option<Log> {
        let Some(Sink::Kept(writer)) = outcome.written.take() else { return None };
        let log = self.runtime.block_on(writer.finish());
        if let Some(note) = log.note() {
            complain(note);
        }
        Some(log)
    }

    pub(super) fn passed<W>(&self, outcome: &Outcome<W>, log: Option<Log>) {
        let reason = outcome.reader_gone.then(|| "ended when nobody read its output any more".to_owned());
        let exit = Some(outcome.exit.clone());
        if let Some(reported) = &self.reported {
            return reported.close(true, (exit, reason, None), log.as_ref(), None, self.context);
        }
        self.close(Status::Passed, exit, log, reason, None);
    }

    /// `found`: what was looked at, and what the rules say of it.
    pub(super) fn failed<W>(
        &self,
        outcome: &Outcome<W>,
        log: Option<Log>,
        found: Option<(&Capture, &Diagnosis)>,
    ) {
        let reason = outcome.interrupted.then(|| "interrupted from the terminal".to_owned());
        let exit = Some(outcome.exit.clone());
        if let Some(reported) = &self.reported {
            let capture = found.map(|(capture, _)| capture);
            return reported.close(false, (exit, reason, None), log.as_ref(), capture, self.context);
        }
        self.close(Status::Failed, exit, log, reason, found.map(|(_, diagnosis)| diagnosis.clone()));
    }

    /// It could not even be started, and that was not its fault.
    pub(super) fn not_run(&self, why: &str) {
        if let Some(reported) = &self.reported {
            reported.close(false, (None, None, Some(why.to_owned())), None, None, self.context);
            reported.deliver(false, self.context);
        }
        self.close(Status::Failed, None, None, Some(why.to_owned()), None);
    }

    fn close(
        &self,
        status: Status,
        exit: Option<coroner_diagnosis::Exit>,
        log: Option<Log>,
        reason: Option<String>,
        diagnosis: Option<Diagnosis>,
    ) {
        let Some(Kept { store, id }) = &self.kept else { return };
        let end = coroner_store::Outcome { status, exit, ended_at: Timestamp::now(), reason, log, diagnosis };
        for attempt in 1.. {
            let kept = store.finish(id, end.clone());
            let kept = crate::storage::in_time(self.context, "the end of this run", AFTER, kept);
            match self.runtime.block_on(kept) {
                Ok(()) => return,
                Err(Error::Locked { .. }) if attempt < TRIES => {}
                Err(error) => return complain(&format!("the end of this run is not kept: {error}")),
            }
        }
    }

    /// A better diagnosis than the one that the row was closed with.
    pub(super) fn attach(&self, diagnosis: &Diagnosis) {
        let Some(Kept { store, id }) = &self.kept else { return };
        if let Err(error) = self.runtime.block_on(store.attach_diagnosis(id, diagnosis.clone())) {
            complain(&format!("the diagnosis below is not kept: {error}"));
        }
    }

    /// Closes what an earlier coroner left open when it died, and applies the retention settings now and then. Says
    /// what is worth a word.
    pub(super) fn tidy_up(&self) -> Vec<String> {
        let Some(Kept { store, id }) = &self.kept else { return Vec::new() };
        let mut notes = close_orphans(store, self.context, &self.runtime);
        if id.number().is_multiple_of(PRUNE_EVERY)
            && let Err(error) = crate::prune::prune(store, self.context, &self.runtime)
        {
            notes.push(format!("the retention settings could not be applied: {error}"));
        }
        notes
    }
}

/// Is it about what the user gave us?
fn wrong_use(error: &Error) -> bool {
    matches!(error, Error::Url { .. } | Error::NotInThisBuild { .. } | Error::BadId { .. })
}

/// Closes experiments whose watcher is gone, each with a diagnosis of what it had printed. They cost notes, not errors.
pub(crate) fn close_orphans(store: &Store, context: &Context, runtime: &Arc<Runtime>) -> Vec<String> {
    let closed = match runtime.block_on(store.close_orphans(Timestamp::now(), Running::seems_alive)) {
        Ok(closed) => closed,
        Err(error) => return vec![format!("experiments without an end could not be closed: {error}")],
    };
    let mut notes = Vec::new();
    for orphan in &closed {
        let number = orphan.experiment.id.number();
        notes.push(format!(
            "exp {number} has been closed as lost: the coroner that watched it ended before it did"
        ));
        if let Err(error) = explain(orphan, store, context, runtime) {
            notes.push(format!("exp {number} could not be diagnosed: {error}"));
        }
    }
    notes
}

fn explain(orphan: &Orphan, store: &Store, context: &Context, runtime: &Arc<Runtime>) -> Result<(), Failed> {
    let mut capture = Capture {
        experiment_id: Some(orphan.experiment.id.to_string()),
        experiment_type: Some(orphan.experiment.experiment_type.clone()).filter(|kind| !kind.is_empty()),
        ..Capture::default()
    };
    if let Some(log) = orphan.log {
        capture.log = super::autopsy::read_log(store, log, runtime)?;
    }
    let analyst = Analyst::with_rules(context, rules_with(&[])?, true, None, Arc::clone(runtime))?;
    let mut diagnosis = coroner_diagnosis::conclude(analyst.examine(&capture), None, &now());
    crate::history::look_up(store, &mut diagnosis, Some(&orphan.experiment.id), runtime);
    Ok(runtime.block_on(store.attach_diagnosis(&orphan.experiment.id, diagnosis))?)
}

/// The command as it may be kept: secrets in its arguments are masked.
fn masked(words: &[OsString], context: &Context) -> CommandLine {
    // a separator that is white space, so that `--token VALUE` is seen as one, and that no argument holds
    const BETWEEN: char = '\u{b}';
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().replace(BETWEEN, " ")).collect();
    let line = words.join(&BETWEEN.to_string());
    let secrets: Vec<String> = context.env.secrets().collect();
    if !may_hold_secret(&line, &secrets) {
        return words.into_iter().collect();
    }
    Redactor::new(secrets).redact(&line, &mut Counts::new()).split(BETWEEN).collect()
}

/// Getting the shapes of secrets ready takes longer than most commands have: most commands hold none.
fn may_hold_secret(line: &str, secrets: &[String]) -> bool {
    const WORDS: [&str; 13] = [
        "pass",
        "secret",
        "token",
        "key",
        "cred",
        "auth",
        "bearer",
        "cookie",
        "://",
        "@",
        "sig=",
        "signature",
        "webhook",
    ];
    let lower = line.to_lowercase();
    WORDS.iter().any(|word| lower.contains(word))
        || secrets.iter().any(|secret| secret.len() >= 6 && line.contains(secret.as_str()))
        || line.split(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c))).any(looks_random)
}

/// Long, with digits and letters mixed: what a provider would hand out.
fn looks_random(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    word.len() >= 18 && digits >= 2 && letters >= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hold_a_secret_is_looked_at() {
        let digits = "0123456789".repeat(4);
        for line in [
            "curl -u ada:pw https://ada:hunter22@example.org",
            "train --api-key\u{b}abcdef",
            "x sk-ant-api03-AbCdEf0123456789",
            "x hf_AbCdEfGhIjKlMnOp0123",
            "x AKIA0123456789ABCDEF",
            "x ghp_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
            &format!("x SKabcdef{digits}"),
        ] {
            assert!(may_hold_secret(line, &[]), "{line}");
        }
        assert!(may_hold_secret("x --name hunter22", &["hunter22".to_owned()]));
        for line in [
            "true",
            "python train.py --epochs 3 --lr=0.001",
            "make -j8 all",
            "bash -c exit\\ 1",
            "./a/b/run_017.sh",
        ] {
            assert!(!may_hold_secret(line, &["hunter22".to_owned()]), "{line}");
        }
    }
}
