//! `coroner run`: runs a command as if we were not there; if it fails, says why.

mod autopsy;
mod log;
mod memory;
mod pty;
mod pump;
mod record;
mod signals;
mod start;
mod supervise;
mod tree;

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;
use coroner_diagnosis::Diagnosis;
use coroner_store::Log;

use crate::args::{Format, RunArgs};
use crate::card::{Facts, card};
use crate::context::{Context, Failed, complain};
use crate::quantities::counted;
use autopsy::{Autopsy, Found};
pub(crate) use record::close_orphans;
use record::{Record, Sink};
use signals::Signals;
use supervise::{Outcome, Spec, supervise};

/// Whatever happens to us, the status is the command's.
pub(crate) fn run(args: &RunArgs, context: &Context) -> Result<u8, Failed> {
    let settings = &context.config.run;
    let spec = Spec {
        command: &args.command,
        path: context.env.get("PATH"),
        timeout: args.timeout.or(settings.timeout),
        memory: args.memory.or(settings.memory),
        grace: settings.grace,
        log_limit: settings.log_limit,
    };
    let record = Record::begin(args, context, crate::analyst::runtime()?)?;
    let mut signals = Signals::take().context("can't take signals")?;
    let (outcome, notes) = std::thread::scope(|scope| {
        // beside the command, which is waited for anyway
        let tidying = scope.spawn(|| record.tidy_up());
        let outcome = supervise(&spec, &mut signals, record.log());
        (outcome, tidying.join().unwrap_or_default())
    });
    let mut outcome = outcome.context("can't watch a command")?;
    let status = u8::try_from(outcome.status).unwrap_or(u8::MAX);

    let log = record.keep_log(&mut outcome);
    let found = if outcome.exit.succeeded() || outcome.reader_gone {
        record.passed(&outcome, log);
        signals.obey(status);
        None
    } else {
        failed(args, context, &record, signals, &outcome, log)
    };
    say_what_is_left(context, &outcome);
    notes.iter().for_each(|note| context.note(note));
    // last, because those who read standard error keep the end of it
    if let Some(found) = &found {
        tell(args, context, &record, &outcome, found);
    }
    if outcome.interrupted {
        // a shell goes on with its loop unless it sees that Ctrl-C has ended us
        _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGINT);
    }
    Ok(status)
}

/// The row gets its end before anything that takes time; what a model adds comes after.
fn failed(
    args: &RunArgs,
    context: &Context,
    record: &Record<'_>,
    signals: Signals,
    outcome: &Outcome<Sink>,
    log: Option<Log>,
) -> Option<Found> {
    let mut autopsy = match Autopsy::new(args, context, record, outcome) {
        Ok(autopsy) => autopsy,
        Err(error) => {
            record.failed(outcome, log, None);
            complain(&format!("no diagnosis: {error}"));
            return None;
        }
    };
    let mut found = autopsy.by_rules();
    let kept = log.as_ref().and_then(Log::facts).cloned();
    record.failed(outcome, log, Some(&found.diagnosis));
    signals.obey(u8::try_from(outcome.status).unwrap_or(u8::MAX));

    let more = autopsy.read_whole_log(outcome, kept.as_ref());
    let better = autopsy.by_model().or_else(|| more.then(|| autopsy.by_rules()));
    if let Some(better) = better {
        record.attach(&better.diagnosis);
        found = better;
    }
    Some(found)
}

/// Where the kernel counts the processes that it kills for lack of memory.
pub(crate) fn oom_counter() -> Option<std::path::PathBuf> {
    memory::OomKills::now().map(memory::OomKills::into_source)
}

fn say_what_is_left<W>(context: &Context, outcome: &Outcome<W>) {
    if outcome.left_behind > 0 {
        let left = counted(
            outcome.left_behind as u64,
            "process that it started still runs",
            "processes that it started still run",
        );
        context.note(&left);
    }
}

/// Shows the diagnosis where the command's own last words stand.
fn tell<W>(args: &RunArgs, context: &Context, record: &Record<'_>, outcome: &Outcome<W>, found: &Found) {
    if let Some(path) = &args.diagnosis
        && let Err(error) = write(path, &found.diagnosis)
    {
        complain(&format!("{error:#}"));
    }
    let face = context.err();
    let more: Vec<String> =
        record.number().map(|number| format!("coroner show {number}")).into_iter().collect();
    let name = record.name();
    let mut text = String::new();
    if outcome.log.last.is_some_and(|byte| byte != b'\n') {
        text.push('\n');
    }
    if context.format == Format::Json {
        text.push_str(&serde_json::to_string(&found.diagnosis).unwrap_or_default());
        text.push('\n');
    } else {
        if face.colour {
            // the command may have died in the middle of a colour
            text.push_str("\x1b[0m");
        }
        let subject = autopsy::subject(&args.command);
        let facts = Facts {
            name: name.as_deref(),
            subject: Some(&subject),
            exit: Some(&outcome.exit),
            log_lines: Some(found.log_lines),
            alike: found.alike,
            more: &more,
            whole: false,
        };
        text.push_str(&card(&found.diagnosis, &facts, face));
    }
    // nobody may be left to read it
    _ = io::stderr().write_all(text.as_bytes());
}

fn write(path: &Path, diagnosis: &Diagnosis) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(diagnosis)? + "\n";
    std::fs::write(path, text).with_context(|| format!("can't write the diagnosis to {}", path.display()))
}
