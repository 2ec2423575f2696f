//! `coroner analyze --batch`: JSON lines in, one diagnosis a line out, in the same order; a line that can't be read
//! gives an error in its place and the rest goes on.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use coroner_diagnosis::{Capture, Code, Diagnosis, Log};
use coroner_store::SavedFailure;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{History, history};
use crate::analyst::Analyst;
use crate::args::AnalyzeArgs;
use crate::context::{Context, DONE, Failed, REPORTED, complain};
use crate::printable::printable_json;
use crate::source;

/// Lines judged together: enough to keep a model's concurrency busy, few enough to show results soon.
const TOGETHER: usize = 64;
/// A longer line is an error, not a failure.
const LONGEST: u64 = 256 << 20;

/// A line of the input.
#[derive(Debug, Default, Deserialize)]
struct Line {
    experiment_id: Option<String>,
    experiment_type: Option<String>,
    error_message: Option<String>,
    logs: Option<String>,
    log_path: Option<PathBuf>,
    code_snippet: Option<String>,
}

/// What became of a line.
enum Read {
    Failure(Box<Capture>),
    Broken { number: u64, error: String },
}

/// Judges every line.
pub(super) fn run(
    context: &Context,
    path: &Path,
    args: &AnalyzeArgs,
    runtime: &Arc<Runtime>,
) -> Result<u8, Failed> {
    let mut input: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(path).with_context(|| format!("can't read the batch {}", path.display()))?;
        if file.metadata().is_ok_and(|m| m.is_dir()) {
            return Err(Failed::Input(anyhow!(
                "{} is a folder: --batch takes a file of JSON lines",
                path.display()
            )));
        }
        Box::new(BufReader::with_capacity(1 << 20, file))
    };
    let history = history(context, args.save, runtime);
    let analyst = Analyst::new(context, args.offline, history.store(), Arc::clone(runtime))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut number, mut broken, mut unkept) = (0, 0_u64, 0_u64);
    let (mut unread, mut failed) = (None, None);
    let mut line = Vec::new();
    let mut ended = false;
    while !ended {
        let mut read = Vec::with_capacity(TOGETHER);
        while read.len() < TOGETHER && !ended {
            line.clear();
            number += 1;
            match next_line(&mut *input, &mut line) {
                Ok(Next::End) => ended = true,
                Ok(Next::Line) if line.trim_ascii().is_empty() => {}
                Ok(Next::Line) => read.push(parse(context, &line, number)),
                Ok(Next::TooLong) => {
                    let error = format!("the line is longer than {LONGEST} bytes");
                    read.push(Read::Broken { number, error });
                }
                Err(e) => {
                    ended = true;
                    unread = Some(e);
                }
            }
        }
        broken += read.iter().filter(|r| matches!(r, Read::Broken { .. })).count() as u64;
        let diagnoses = judge(&analyst, read, &mut out)?;
        if args.save && failed.is_none() {
            match save(&history, diagnoses, runtime) {
                Ok(refused) => unkept += refused,
                Err(e) => failed = Some(e),
            }
        }
    }
    if let Some(failed) = failed {
        return Err(failed);
    }
    if let Some(e) = unread {
        return Err(Failed::Input(
            anyhow::Error::new(e).context(format!("can't read the batch {} to its end", path.display())),
        ));
    }
    if broken > 0 {
        context.note(&format!("{broken} of the lines can't be read; each has its error in its place"));
    }
    Ok(if broken > 0 || unkept > 0 { REPORTED } else { DONE })
}

/// What came next.
enum Next {
    Line,
    /// Skipped.
    TooLong,
    End,
}

/// The next line, into `line`.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Next> {
    let n = io::Read::take(&mut *input, LONGEST).read_until(b'\n', line)?;
    if n as u64 == LONGEST && line.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
        return Ok(Next::TooLong);
    }
    Ok(if n > 0 { Next::Line } else { Next::End })
}

fn parse(context: &Context, line: &[u8], number: u64) -> Read {
    let read = || -> anyhow::Result<Capture> {
        // an array would be taken for the fields in their order
        if !line.trim_ascii_start().starts_with(b"{") {
            return Err(anyhow!("not a failure in JSON: it is no object"));
        }
        let line: Line = serde_json::from_slice(line).context("not a failure in JSON")?;
        let log = match (line.logs, line.log_path) {
            (Some(text), None) => Log::new(text.as_bytes()),
            (None, Some(path)) if path == Path::new("-") => {
                return Err(anyhow!("log_path can't be standard input"));
            }
            (None, Some(path)) => source::log(context, &path)?,
            (None, None) => Log::default(),
            (Some(_), Some(_)) => {
                return Err(anyhow!("it has both logs and log_path; one of them is the log"));
            }
        };
        Ok(Capture {
            experiment_id: line.experiment_id,
            experiment_type: line.experiment_type,
            error_message: line.error_message.filter(|e| !e.is_empty()),
            code: line.code_snippet.map(|text| Code { name: None, text }),
            log,
            ..Capture::default()
        })
    };
    match read() {
        Ok(capture) => Read::Failure(Box::new(capture)),
        Err(e) => Read::Broken { number, error: format!("{e:#}") },
    }
}

fn judge(analyst: &Analyst, read: Vec<Read>, out: &mut impl Write) -> Result<Vec<Diagnosis>, Failed> {
    let mut captures = Vec::with_capacity(read.len());
    let mut places = Vec::with_capacity(read.len());
    for line in read {
        match line {
            Read::Failure(capture) => {
                captures.push(*capture);
                places.push(None);
            }
            Read::Broken { number, error } => places.push(Some(json!({"error": error, "line": number}))),
        }
    }
    let diagnoses = analyst.diagnose_all(&captures);
    let mut next = diagnoses.iter();
    for place in &places {
        let written = match place {
            Some(error) => serde_json::to_string(error),
            None => serde_json::to_string(&next.next()),
        };
        let text = printable_json(&written.map_err(anyhow::Error::from)?) + "\n";
        out.write_all(text.as_bytes()).map_err(|e| unwritable(&e))?;
    }
    // whoever reads along sees each part as soon as it is done
    out.flush().map_err(|e| unwritable(&e))?;
    Ok(diagnoses)
}

/// Keeps them, and says how many can't be kept under the ids that they have.
fn save(history: &History, diagnoses: Vec<Diagnosis>, runtime: &Runtime) -> Result<u64, Failed> {
    let store = history.wanted()?;
    let at = Timestamp::now();
    let failures = diagnoses.into_iter().map(|diagnosis| SavedFailure {
        id: Some(diagnosis.experiment_id.clone()).filter(|id| !id.is_empty()),
        experiment_type: diagnosis.experiment_type.clone(),
        at,
        command: coroner_store::CommandLine::default(),
        exit: None,
        reason: None,
        diagnosis,
        log: None,
    });
    let failures: Vec<SavedFailure> = failures.collect();
    match runtime.block_on(store.save_diagnoses(failures.clone())) {
        Ok(_) => return Ok(0),
        Err(e) if e.is_store_failure() => return Err(e.into()),
        Err(_) => {}
    }
    // one that is refused must not cost the others
    let mut refused = 0;
    for failure in failures {
        match runtime.block_on(store.save_diagnoses(vec![failure])) {
            Ok(_) => {}
            Err(e) if e.is_store_failure() => return Err(e.into()),
            Err(e) => {
                refused += 1;
                complain(&format!("not kept: {e}"));
            }
        }
    }
    Ok(refused)
}

fn unwritable(error: &io::Error) -> Failed {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failed::NobodyReads,
        _ => Failed::Input(anyhow!("can't write to standard output: {error}")),
    }
}
