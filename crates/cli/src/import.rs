//! `coroner import`: experiments of the original, out of its table into this store, diagnosed anew.

mod nan;
mod original;

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use anyhow::anyhow;
use coroner_diagnosis::{Capture, Code, Counts, Diagnosis, Log, Redactor};
use coroner_store::dynamodb::TableScan;
use coroner_store::{
    CandidateBegun, CandidateOutcome, CommandLine, Cost, Error, ExperimentId, Feedback, Location,
    NewCandidate, NewExperiment, NewRun, Outcome, Owner, RunEnd, RunId, RunState, Status, Store,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use self::original::Original;
use crate::analyst::Analyst;
use crate::args::{Format, ImportArgs};
use crate::context::{Context, DONE, Failed, REPORTED, complain};
use crate::quantities::counted;

/// So many runs of a kind are looked through for the one of this table.
const RUNS: usize = 1000;

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Imported {
    from: String,
    items: u64,
    imported: u64,
    /// Of those.
    failed: u64,
    known: u64,
    broken: Vec<Broken>,
}

/// An item that is not in the store.
#[derive(Debug, Serialize)]
struct Broken {
    /// From 1, in the order in which the table gives them.
    item: u64,
    id: String,
    error: String,
}

pub(crate) fn import(args: &ImportArgs, context: &Context) -> Result<u8, Failed> {
    let table = match args.from.parse()? {
        Location::DynamoDb(table) => table,
        Location::Sqlite(_) => {
            return Err(Failed::Input(anyhow!(
                "{} is a store already: what is imported is a table of the original, dynamodb:TABLE",
                args.from
            )));
        }
    };
    if context.store_url() == args.from {
        return Err(Failed::Input(anyhow!("{} is the store itself: give another with --store", args.from)));
    }
    let runtime = crate::analyst::runtime()?;
    let config = runtime.block_on(crate::storage::aws());
    let scan = runtime.block_on(TableScan::open(&config, &table, "experiment_id", "timestamp"))?;
    let store = runtime.block_on(crate::storage::open(context))?;
    let analyst = Analyst::new(context, true, Some(&store), Arc::clone(&runtime))?;
    let redactor = Redactor::new(context.env.secrets());
    let mut importer =
        Importer { store, analyst, redactor, runtime, from: args.from.clone(), runs: HashMap::new() };
    let told = importer.all(scan, context);
    let closed = importer.runtime.block_on(importer.store.clone().close());
    let told = told?;
    closed?;
    match context.format {
        Format::Json => context.print_json(&told)?,
        Format::Text => context.print(&told.text())?,
    }
    Ok(if told.broken.is_empty() { DONE } else { REPORTED })
}

impl Imported {
    fn text(&self) -> String {
        let mut text = format!(
            "{} of {}: {} imported, {} of them failed; {} there already\n",
            counted(self.items, "item", "items"),
            self.from,
            self.imported,
            self.failed,
            self.known
        );
        if !self.broken.is_empty() {
            text.push_str(&format!(
                "{} not in the store\n",
                counted(
                    self.broken.len() as u64,
                    "item can't be read or kept, and is",
                    "items can't be read or kept, and are"
                )
            ));
        }
        text
    }
}

/// A kind's run of the loop, and the items of it that are here.
struct Kind {
    run: RunId,
    known: HashMap<String, (ExperimentId, Status)>,
}

struct Importer {
    store: Store,
    analyst: Analyst,
    redactor: Redactor,
    runtime: Arc<Runtime>,
    from: String,
    runs: HashMap<String, Kind>,
}

enum Done {
    Imported(Status),
    Known,
}

impl Importer {
    fn all(&mut self, mut scan: TableScan, context: &Context) -> Result<Imported, Failed> {
        let mut told = Imported { from: self.from.clone(), ..Imported::default() };
        let bar = context.progress(
            Some(scan.about()).filter(|about| *about > 0),
            "{bar:40} {human_pos} of about {human_len} items, {per_sec}",
        );
        while let Some(page) = self.runtime.block_on(scan.page())? {
            for item in page {
                told.items += 1;
                let done = match original::read(&item) {
                    Ok(original) => {
                        let mask = &mut |text: &str| self.redactor.redact(text, &mut Counts::new());
                        let original = original.masked(mask);
                        self.one(&original)
                    }
                    Err(why) => Err(Failed::Input(anyhow!("{why}"))),
                };
                match done {
                    Ok(Done::Imported(status)) => {
                        told.imported += 1;
                        told.failed += u64::from(status.failed());
                    }
                    Ok(Done::Known) => told.known += 1,
                    Err(Failed::Input(why)) => {
                        let id: String =
                            original::id(&item).chars().filter(|c| !c.is_control()).take(80).collect();
                        let broken = Broken { item: told.items, id, error: why.to_string() };
                        bar.suspend(|| {
                            complain(&format!("item {} ({}): {}", broken.item, broken.id, broken.error));
                        });
                        told.broken.push(broken);
                    }
                    Err(other) => return Err(other),
                }
                bar.set_position(told.items);
            }
        }
        bar.finish_and_clear();
        let end = RunEnd {
            state: RunState::Finished,
            reason: format!("imported from {}", self.from),
            at: Timestamp::now(),
        };
        for kind in self.runs.values() {
            self.runtime.block_on(self.store.end_run(kind.run, end.clone()))?;
        }
        Ok(told)
    }

    /// One item, unless it is here. It is known again by its id and its time: the original has several items of an experiment
    /// whose time was taken anew, and each is an attempt of it.
    fn one(&mut self, it: &Original) -> Result<Done, Failed> {
        let key = format!("imported:{}@{}", it.id, it.at);
        let (run, known) = self.known(it, &key)?;
        let id = match known {
            // we were stopped in the middle, or it has ended since
            Some((id, Status::Running)) => id,
            Some((id, Status::Lost)) if it.status != Status::Lost => id,
            Some(_) => return Ok(Done::Known),
            None => {
                let begun = self.store.begin_candidate(self.experiment(it), candidate(it, run, &key));
                match self.runtime.block_on(begun)? {
                    CandidateBegun::Begun(id) => id,
                    CandidateBegun::Known(_) => return Ok(Done::Known),
                }
            }
        };
        let diagnosis = self.diagnosed(it);
        let log = match it.log.is_empty() {
            true => None,
            false => {
                let kept =
                    self.runtime.block_on(self.store.keep_log(Cursor::new(it.log.clone().into_bytes())));
                Some(kept.map_err(|e| Failed::Outside(anyhow!("the log of {} can't be kept: {e}", it.id)))?)
            }
        };
        let candidate = CandidateOutcome {
            metrics: it.metrics.clone(),
            score: it.score,
            result: result(it, diagnosis.as_ref()),
            refused_by: Vec::new(),
        };
        let outcome = Outcome {
            status: it.status,
            exit: None,
            ended_at: it.ended_at,
            reason: it.reason.clone(),
            log,
            diagnosis,
        };
        match self.runtime.block_on(self.store.finish_candidate(&id, outcome, candidate)) {
            // somebody else imports it too
            Err(Error::AlreadyFinished { .. }) => Ok(Done::Known),
            done => {
                done?;
                if let Some(kind) = self.runs.get_mut(&it.kind) {
                    kind.known.insert(key, (id, it.status));
                }
                Ok(Done::Imported(it.status))
            }
        }
    }

    /// The run of its kind, which is looked for once, and what is kept under `key` there.
    fn known(&mut self, it: &Original, key: &str) -> Result<(RunId, Option<(ExperimentId, Status)>), Failed> {
        if let Some(kind) = self.runs.get(&it.kind) {
            return Ok((kind.run, kind.known.get(key).cloned()));
        }
        let kind = self.runtime.block_on(found(&self.store, it, &self.from))?;
        let known = (kind.run, kind.known.get(key).cloned());
        self.runs.insert(it.kind.clone(), kind);
        Ok(known)
    }

    fn experiment(&self, it: &Original) -> NewExperiment {
        NewExperiment {
            id: Some(it.id.clone()),
            experiment_type: it.kind.clone(),
            command: CommandLine::default(),
            cwd: String::new(),
            owner: elsewhere(&self.from),
            started_at: it.started_at,
        }
    }

    /// By our rules, of what the item says of its failure. The original's own analysis is no evidence, but for its root cause
    /// where that is all that is left.
    fn diagnosed(&self, it: &Original) -> Option<Diagnosis> {
        if it.status.succeeded() {
            return None;
        }
        let code = (!it.code.is_empty()).then(|| Code { name: None, text: it.code.clone() });
        Some(self.analyst.diagnose(&Capture {
            experiment_id: Some(it.id.clone()),
            experiment_type: Some(it.kind.clone()),
            error_message: it.error.clone(),
            code,
            log: Log::new(it.log.as_bytes()),
            ..Capture::default()
        }))
    }
}

async fn found(store: &Store, it: &Original, from: &str) -> Result<Kind, Error> {
    let runs = store.runs(Some(&it.kind), RUNS).await?;
    if let Some(run) = runs.into_iter().find(|run| run.settings["imported_from"] == from) {
        let candidates = store.candidates(run.id).await?;
        let known = candidates.into_iter().map(|it| (it.code_hash, (it.id, it.status))).collect();
        return Ok(Kind { run: run.id, known });
    }
    let new = NewRun {
        task: it.kind.clone(),
        settings: json!({"imported_from": from}),
        seed: 0,
        owner: elsewhere(from),
        started_at: it.started_at,
    };
    Ok(Kind { run: store.start_run(new).await?, known: HashMap::new() })
}

/// Who watched it is nobody of whom anything can be known here.
fn elsewhere(from: &str) -> Owner {
    Owner {
        host: format!("imported:{from}"),
        boot_id: String::new(),
        pid_namespace: String::new(),
        pid: 0,
        pid_start: None,
    }
}

fn candidate(it: &Original, run: RunId, key: &str) -> NewCandidate {
    NewCandidate {
        run,
        code: it.code.clone().into_bytes(),
        // of the same code there may be many: what is to be here once is the item
        code_hash: key.to_owned(),
        generation: 0,
        parents: Vec::new(),
        repair_of: None,
        proposer: "the original".to_owned(),
        change: it.change.clone(),
        // its planner was shown none of its analyses
        feedback: Feedback::None,
        proposal_cost: Cost::default(),
    }
}

/// The contract's shape, and the original's step as it stood.
fn result(it: &Original, diagnosis: Option<&Diagnosis>) -> Value {
    let mut result = json!({"status": it.status.as_str(), "adopted": it.status == Status::Adopted});
    if let Some(reason) = &it.reason {
        result["reason"] = reason.as_str().into();
    }
    if let Some(diagnosis) = diagnosis {
        result["failure_analysis"] = serde_json::to_value(diagnosis).unwrap_or_default();
    }
    if it.step.is_object() {
        result["original"] = it.step.clone();
    }
    result
}
