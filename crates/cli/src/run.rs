//! `coroner run`: runs a command as if we were not there; if it fails, says why.

mod autopsy;
pub(crate) mod confined;
mod log;
mod memory;
mod pty;
mod pump;
mod record;
mod reported;
mod shown;
mod signals;
mod start;
mod supervise;
mod tree;

use std::io::{self};
use std::time::Duration;

use anyhow::Context as _;
use coroner_diagnosis::{Confined, Diagnosis};
use coroner_store::Log;
use indicatif::ProgressBar;

use crate::args::{Format, RunArgs};
use crate::card::wrap::fit;
use crate::card::{Facts, card};
use crate::context::{Context, Failed, complain};
use crate::printable::{printable, printable_json};
use crate::quantities::counted;
use autopsy::{Autopsy, Found};
pub(crate) use record::close_orphans;
use record::{Record, Sink};
use signals::{LastWords, Signals};
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
    let ready = args.sandbox.then(|| confined::ready(args, context)).transpose()?;
    let record = Record::begin(args, context)?;
    let mut signals = Signals::take().context("can't take signals")?;
    let (outcome, notes) = std::thread::scope(|scope| {
        // beside the command, which is waited for anyway
        let tidying = scope.spawn(|| record.tidy_up());
        let outcome = match ready {
            None => supervise(&spec, &mut signals, record.log())
                .context("can't watch a command")
                .map(|outcome| (outcome, None)),
            Some(ready) => confined::confined(ready, &mut signals, record.log(), spec.log_limit)
                .map_err(anyhow::Error::from)
                .map(|(outcome, sandbox)| (outcome, Some(sandbox))),
        };
        (outcome, tidying.join().unwrap_or_default())
    });
    let (mut outcome, sandbox) = outcome.inspect_err(|error| record.not_run(&error.to_string()))?;
    let status = u8::try_from(outcome.status).unwrap_or(u8::MAX);

    let log = record.keep_log(&mut outcome);
    let last_words = LastWords::default();
    if outcome.exit.succeeded() || outcome.reader_gone {
        record.passed(&outcome, log);
        signals.obey(status, &last_words);
        if let Some(reported) = record.reported() {
            reported.deliver(false, context);
        }
    } else {
        failed(args, context, &record, (signals, &last_words), (&outcome, sandbox), log);
    }
    notes.iter().for_each(|note| context.note(note));
    // last, because those who read standard error keep the end of it
    last_words.say();
    // nobody who pressed Ctrl-C waits for a mail: the next one sends it
    let patience = if outcome.interrupted { Duration::ZERO } else { crate::alerts::PATIENCE };
    crate::alerts::tell(context, record.store(), patience);
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
    (signals, last_words): (Signals, &LastWords),
    (outcome, sandbox): (&Outcome<Sink>, Option<Confined>),
    log: Option<Log>,
) {
    let mut autopsy = match Autopsy::new(args, context, record, outcome, sandbox) {
        Ok(autopsy) => autopsy,
        Err(error) => {
            record.failed(outcome, log, None);
            last_words.set(format!("coroner: no diagnosis: {error}\n"));
            if let Some(reported) = record.reported() {
                reported.deliver(outcome.interrupted, context);
            }
            return;
        }
    };
    let words = |found: &Found| last_words.set(as_words(args, context, record, outcome, found));
    let by_rules = autopsy.by_rules(None);
    let kept = log.as_ref().and_then(Log::facts).cloned();
    record.failed(outcome, log, Some((autopsy.capture(), &by_rules.diagnosis)));
    write(args, &by_rules.diagnosis);
    // whoever does not want to wait for what follows has this much
    words(&by_rules);
    signals.obey(u8::try_from(outcome.status).unwrap_or(u8::MAX), last_words);

    let more = autopsy.read_whole_log(outcome, kept.as_ref());
    let asking = autopsy.asks().then(|| asking(context, &by_rules.diagnosis));
    let counted = Some(by_rules.diagnosis.signature.as_str());
    let mut better = autopsy.by_model(counted).or_else(|| more.then(|| autopsy.by_rules(counted)));
    if let Some(bar) = asking {
        bar.finish_and_clear();
    }
    if let Some(reported) = record.reported() {
        // the desk knows more: its own rules, what people have corrected there, what failed elsewhere
        let log_lines = by_rules.log_lines.max(better.as_ref().map_or(0, |better| better.log_lines));
        if let Some(mut taken) = reported.deliver(outcome.interrupted, context)
            && let Some(diagnosis) = taken.diagnosis.take()
        {
            let name = args
                .id
                .as_ref()
                .map_or_else(|| format!("exp {}", taken.number), |_| taken.experiment_id.clone());
            // an id that was given may be another's by now
            let address = if args.id.is_some() { taken.address() } else { taken.experiment_id };
            let there = Some((name, reported.page(&address)));
            better = Some(Found { diagnosis, alike: None, log_lines, there });
        }
    }
    if let Some(better) = better {
        record.attach(&better.diagnosis);
        write(args, &better.diagnosis);
        words(&better);
    }
}

/// What the rules say, while a model is asked; gone when it has answered.
fn asking(context: &Context, diagnosis: &Diagnosis) -> ProgressBar {
    let face = context.err();
    let said = format!("asking a model; by the rules: {}", printable(&diagnosis.root_cause, face.unicode));
    let said = fit(&said, face.width.saturating_sub(4), face.sign("…", "..."));
    context.progress(None, "{spinner} {msg}").with_message(said)
}

/// Where the kernel counts the processes that it kills for lack of memory.
pub(crate) fn oom_counter() -> Option<std::path::PathBuf> {
    memory::OomKills::now().map(memory::OomKills::into_source)
}

/// The diagnosis, for where the command's own last words stand.
fn as_words<W>(
    args: &RunArgs,
    context: &Context,
    record: &Record<'_>,
    outcome: &Outcome<W>,
    found: &Found,
) -> String {
    let face = context.err();
    let mut text = String::new();
    if outcome.log.last.is_some_and(|byte| byte != b'\n') {
        text.push('\n');
    }
    if outcome.left_behind > 0 && !context.is_quiet() {
        let one = "process that it started still runs";
        let many = "processes that it started still run";
        text.push_str(&format!("coroner: {}\n", counted(outcome.left_behind as u64, one, many)));
    }
    if context.format == Format::Json {
        let json = serde_json::to_string(&found.diagnosis).unwrap_or_default();
        return text + &printable_json(&json) + "\n";
    }
    if face.colour {
        // the command may have died in the middle of a colour
        text.push_str("\x1b[0m");
    }
    let more = match &found.there {
        Some((_, page)) => Some(page.clone()),
        None => record.number().map(|number| format!("coroner show {number}")),
    };
    let more: Vec<String> = more.into_iter().collect();
    let name = found.there.as_ref().map(|(name, _)| name.clone()).or_else(|| record.name());
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
    text + &card(&found.diagnosis, &facts, face)
}

/// Writes the diagnosis where `--diagnosis` says.
fn write(args: &RunArgs, diagnosis: &Diagnosis) {
    let Some(path) = &args.diagnosis else { return };
    let written = serde_json::to_string_pretty(diagnosis)
        .map_err(io::Error::from)
        .and_then(|text| std::fs::write(path, text + "\n"));
    if let Err(error) = written {
        complain(&format!("can't write the diagnosis to {}: {error}", path.display()));
    }
}
