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

use super::{History, history, outside};
use crate::analyst::Analyst;
use crate::args::AnalyzeArgs;
use crate::context::{Context, DONE, Failed, REPORTED};
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
    let (mut number, mut broken, mut failed) = (0, 0_u64, None);
    let mut line = Vec::new();
    let mut ended = false;
    while !ended {
        let mut read = Vec::with_capacity(TOGETHER);
        while read.len() < TOGETHER && !ended {
            line.clear();
            number += 1;
            match next_line(&mut *input, &mut line) {
                Ok(false) => ended = true,
                Ok(true) if line.trim_ascii().is_empty() => {}
                Ok(true) => read.push(parse(context, &line, number)),
                Err(e) => {
                    ended = !e.to_string().starts_with("the line");
                    read.push(Read::Broken { number, error: e.to_string() });
                }
            }
        }
        broken += read.iter().filter(|r| matches!(r, Read::Broken { .. })).count() as u64;
        let diagnoses = judge(&analyst, read, &mut out)?;
        if args.save && failed.is_none() {
            failed = save(&history, diagnoses, runtime).err();
        }
    }
    out.flush().map_err(|e| unwritable(&e))?;
    if let Some(failed) = failed {
        return Err(failed);
    }
    if broken > 0 {
        context.note(&format!("{broken} of the lines can't be read; each has its error in its place"));
        return Ok(REPORTED);
    }
    Ok(DONE)
}

/// The next line without its end; false at the end of the input.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> anyhow::Result<bool> {
    let n = io::Read::take(&mut *input, LONGEST).read_until(b'\n', line)?;
    if n as u64 == LONGEST && line.last() != Some(&b'\n') {
        // skip the rest of it
        let mut rest = Vec::new();
        while io::Read::take(&mut *input, 1 << 20).read_until(b'\n', &mut rest)? > 0
            && rest.last() != Some(&b'\n')
        {
            rest.clear();
        }
        return Err(anyhow!("the line is longer than {LONGEST} bytes"));
    }
    Ok(n > 0)
}

fn parse(context: &Context, line: &[u8], number: u64) -> Read {
    let read = || -> anyhow::Result<Capture> {
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
            Some(error) => serde_json::to_writer(&mut *out, error),
            None => serde_json::to_writer(&mut *out, &next.next()),
        };
        written.map_err(io::Error::from).and_then(|()| out.write_all(b"\n")).map_err(|e| unwritable(&e))?;
    }
    // whoever reads along sees each part as soon as it is done
    out.flush().map_err(|e| unwritable(&e))?;
    Ok(diagnoses)
}

fn save(history: &History, diagnoses: Vec<Diagnosis>, runtime: &Runtime) -> Result<(), Failed> {
    let store = history.wanted()?;
    let at = Timestamp::now();
    let failures = diagnoses.into_iter().map(|diagnosis| SavedFailure {
        id: Some(diagnosis.experiment_id.clone()).filter(|id| !id.is_empty()),
        experiment_type: diagnosis.experiment_type.clone(),
        at,
        diagnosis,
        log: None,
    });
    runtime.block_on(store.save_diagnoses(failures.collect())).map_err(outside)?;
    Ok(())
}

fn unwritable(error: &io::Error) -> Failed {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failed::NobodyReads,
        _ => Failed::Input(anyhow!("can't write to standard output: {error}")),
    }
}
