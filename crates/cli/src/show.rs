//! `coroner show`: one experiment, how it ended and why it failed; or its log, or its code.

mod candidate;

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::Arc;

use anyhow::anyhow;
use coroner_diagnosis::{Diagnosis, bytes, seconds};
use coroner_store::{CandidateRecord, Error, Experiment, Query, Status, Store};
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::args::{Format, ShowArgs};
use crate::card::{Facts, card, ended};
use crate::context::{Context, DONE, Failed, REPORTED, complain};
use crate::kept;
use crate::printable::printable;
use crate::quantities::thousands;

/// A line of a log that is longer is shown in pieces.
const LONGEST_LINE: u64 = 64 << 10;

pub(crate) fn show(args: &ShowArgs, context: &Context) -> Result<u8, Failed> {
    let runtime = crate::analyst::runtime()?;
    let Some(store) = kept::open(context, &runtime)? else {
        complain("nothing is kept yet; try: coroner run -- false");
        return Ok(REPORTED);
    };
    let Some(experiment) = find(args.id.as_deref(), &store, &runtime)? else { return Ok(REPORTED) };
    if args.log {
        return log(&experiment, &store, &runtime);
    }
    if args.code {
        return code(&experiment, &store, &runtime);
    }
    let candidate = runtime.block_on(store.candidate(&experiment.listed.id))?;
    match context.format {
        Format::Json => context.print_json(&as_json(&experiment, candidate.as_ref()))?,
        Format::Text => context.print(&as_text(&experiment, candidate.as_ref(), context))?,
    }
    Ok(DONE)
}

fn find(id: Option<&str>, store: &Store, runtime: &Arc<Runtime>) -> Result<Option<Experiment>, Failed> {
    let found = match id {
        Some(id) => runtime.block_on(store.get(id)),
        None => {
            let mut latest = None;
            for status in [Status::Failed, Status::TestFailed] {
                let query = Query { limit: Some(1), status: Some(status), ..Query::default() };
                let mut page = runtime.block_on(store.list(query))?;
                latest = latest.into_iter().chain(page.experiments.pop()).max_by_key(|l| l.started_at);
            }
            let Some(listed) = latest else {
                complain("no experiment has failed; `coroner list` shows what there is");
                return Ok(None);
            };
            runtime.block_on(store.get(&listed.id.number().to_string()))
        }
    };
    match found {
        Ok(experiment) => Ok(Some(experiment)),
        Err(error @ Error::NotFound { .. }) => {
            complain(&error.to_string());
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn as_json(experiment: &Experiment, candidate: Option<&CandidateRecord>) -> serde_json::Value {
    let listed = &experiment.listed;
    let mut shown = json!({
        "id": listed.id,
        "number": listed.id.number(),
        "attempt": listed.id.attempt(),
        "timestamp": listed.started_at.as_second(),
        "status": listed.status,
        "experiment_type": listed.experiment_type,
        "command": listed.command,
        "cwd": experiment.cwd,
        "duration_seconds": listed.duration.map(|duration| duration.as_secs_f64()),
        "exit": experiment.exit,
        "reason": experiment.reason,
        "log": experiment.log,
        "log_note": experiment.log_note,
        "diagnosis": experiment.diagnosis,
    });
    if let Some(candidate) = candidate {
        shown["candidate"] = json!(candidate);
    }
    shown
}

fn as_text(experiment: &Experiment, candidate: Option<&CandidateRecord>, context: &Context) -> String {
    let face = context.out();
    let listed = &experiment.listed;
    let number = listed.id.number();
    let mut text = String::new();
    if let Some(diagnosis) = &experiment.diagnosis {
        let name = format!("exp {number}");
        let facts =
            Facts { name: Some(&name), exit: experiment.exit.as_ref(), whole: true, ..Facts::default() };
        text.push_str(&card(diagnosis, &facts, face));
    } else {
        let ended = experiment.exit.as_ref().map(|exit| format!(", {}", ended(exit))).unwrap_or_default();
        text.push_str(&format!("exp {number}: {}{ended}\n", listed.status));
    }
    let mut row = |label: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {label:<10}{}\n", printable(value, face.unicode)));
        }
    };
    row("Status", listed.status.as_str());
    row("Reason", experiment.reason.as_deref().unwrap_or_default());
    row("Command", &listed.command.0.join(" "));
    row("Folder", &experiment.cwd);
    row("Type", &listed.experiment_type);
    row("Started", &kept::moment(listed.started_at, &TimeZone::system()));
    row("Used", &used(experiment));
    for (label, value) in candidate.map(|it| candidate::rows(it, number)).unwrap_or_default() {
        row(label, &value);
    }
    let log =
        experiment.log.as_ref().map(|log| format!("{} (coroner show {number} --log)", bytes(log.bytes)));
    row("Log", log.as_deref().unwrap_or("none"));
    row("Log note", experiment.log_note.as_deref().unwrap_or_default());
    row("Id", &listed.id.to_string());
    row("Signature", experiment.diagnosis.as_ref().map_or("", |diagnosis| diagnosis.signature.as_str()));
    row("Masked", &experiment.diagnosis.as_ref().map(masked).unwrap_or_default());
    text
}

fn used(experiment: &Experiment) -> String {
    let Some(exit) = &experiment.exit else { return String::new() };
    let cpu = exit.cpu.map(|cpu| format!("{} of processor time", seconds(cpu)));
    let memory = exit.peak_memory.map(|peak| format!("{} of memory", bytes(peak)));
    [Some(seconds(exit.wall)), cpu, memory].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn masked(diagnosis: &Diagnosis) -> String {
    let each = diagnosis.redactions.iter().map(|(kind, n)| format!("{} {kind}", thousands(*n as u64)));
    each.collect::<Vec<_>>().join(", ")
}

/// Copies the log: untouched where a program or a file takes it, safe where a terminal does.
fn log(experiment: &Experiment, store: &Store, runtime: &Arc<Runtime>) -> Result<u8, Failed> {
    let Some(facts) = &experiment.log else {
        complain(experiment.log_note.as_deref().unwrap_or("it printed nothing"));
        return Ok(REPORTED);
    };
    let log = runtime.block_on(store.read_log(facts.id))?;
    copy_out(log, "can't copy the log")
}

/// The same for a candidate's code.
fn code(experiment: &Experiment, store: &Store, runtime: &Arc<Runtime>) -> Result<u8, Failed> {
    match runtime.block_on(store.candidate_code(&experiment.listed.id)) {
        Ok(code) => copy_out(&code[..], "can't copy the code"),
        Err(error @ Error::NotACandidate { .. }) => {
            complain(&error.to_string());
            Ok(REPORTED)
        }
        Err(error) => Err(error.into()),
    }
}

fn copy_out(from: impl Read, failed: &'static str) -> Result<u8, Failed> {
    let mut out = io::stdout().lock();
    let copied = if out.is_terminal() { copy_safely(from, &mut out) } else { copy(from, &mut out) };
    match copied {
        Ok(()) => Ok(DONE),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failed::NobodyReads),
        Err(error) => Err(Failed::Outside(anyhow!(error).context(failed))),
    }
}

fn copy(mut log: impl Read, out: &mut impl Write) -> io::Result<()> {
    io::copy(&mut log, out)?;
    out.flush()
}

fn copy_safely(log: impl Read, out: &mut impl Write) -> io::Result<()> {
    let mut log = BufReader::with_capacity(128 << 10, log);
    let mut line = Vec::new();
    while log.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
        let end = if line.ends_with(b"\n") { "\n" } else { "" };
        out.write_all(printable(&String::from_utf8_lossy(&line), true).as_bytes())?;
        out.write_all(end.as_bytes())?;
        line.clear();
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_untouched_in_a_pipe_and_safe_on_a_terminal() {
        let log = b"a\x1b]0;owned\x07b\r\n\xff\xfe\0\nno end";
        let mut out = Vec::new();
        copy(&log[..], &mut out).unwrap();
        assert_eq!(out, log);
        out.clear();
        copy_safely(&log[..], &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "ab\n\u{fffd}\u{fffd}␀\nno end");
        let long = vec![b'x'; 200_000];
        let mut out = Vec::new();
        copy_safely(&long[..], &mut out).unwrap();
        assert_eq!(out.len(), long.len());
    }
}
