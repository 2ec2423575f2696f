//! `coroner bench`: a store full of invented experiments, to measure with; and what they would write to DynamoDB.

mod invent;
#[cfg(feature = "aws")]
mod keys;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::anyhow;
use coroner_diagnosis::{
    Capture, FailureKind, LogReader, ModelFailure, RuleSet, Settings, Similar, conclude, examine,
};
use coroner_store::{Error, NewExperiment, Outcome, Store};
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;

use crate::analyst;
use crate::args::{BenchArgs, BenchCommand, FillArgs};
use crate::context::{Context, DONE, Failed};
use crate::quantities::thousands;
use invent::{Ended, Invented, World};

/// So many are kept in one commit.
const CHUNK: u64 = 2500;
/// So many of them are one step.
const PART: usize = 50;
/// So many chunks of each thread wait to be written.
const AHEAD: usize = 1;
/// How far it is.
const PROGRESS: &str = "{bar:40} {human_pos} of {human_len}, {per_sec}, {eta} left";

pub(crate) fn bench(args: &BenchArgs, context: &Context) -> Result<u8, Failed> {
    match &args.command {
        BenchCommand::Fill(args) => fill(args, context),
        #[cfg(feature = "aws")]
        BenchCommand::Keys(args) => keys::keys(args, context),
    }
}

fn fits(args: &FillArgs) -> Result<(), Failed> {
    match args.failures > args.experiments {
        true => Err(Failed::Input(anyhow!("--failures is more than --experiments"))),
        false => Ok(()),
    }
}

fn fill(args: &FillArgs, context: &Context) -> Result<u8, Failed> {
    fits(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|e| Failed::Outside(anyhow!("can't start: the system gives no event queue ({e})")))?;
    let rules = analyst::rules(context)?;
    runtime.block_on(async {
        let store = crate::storage::open(context).await?;
        let (done, begin) = so_far(&store, args).await?;
        let world = World::new(args, begin).map_err(anyhow::Error::new)?;
        let (settings, handle) = (analyst::settings(context), Handle::current());
        let judge = Judge { world, rules, settings };
        let maker = Maker { judge, store: store.clone(), handle };
        let chunks = maker.start(done, args.experiments);
        let bar = context.progress(Some(args.experiments), PROGRESS);
        bar.set_position(done);
        let written = write(&store, &chunks, &bar).await;
        bar.finish_and_clear();
        let experiments = store.health(false).await?.experiments;
        store.close().await?;
        written?;
        context.note(&format!("the store holds {} experiments", thousands(experiments)));
        Ok(DONE)
    })
}

/// How many are there already, and when the first began.
async fn so_far(store: &Store, args: &FillArgs) -> Result<(u64, Timestamp), Failed> {
    let there = store.health(false).await?.experiments;
    if there == 0 {
        let days = SignedDuration::from_hours(24 * i64::from(args.days));
        return Ok((0, Timestamp::now() - days));
    }
    let foreign = || {
        Failed::Input(anyhow!(
            "the store holds other experiments than these; give a store of its own with --store sqlite:FILE"
        ))
    };
    let (first, last) = (store.get(&World::id(0)).await, store.get(&World::id(there - 1)).await);
    match (first, last) {
        (Ok(first), Ok(last)) if last.listed.id.number() == there => {
            // the first begins a little after the beginning, by as much as the same numbers say again
            let zero = World::new(args, Timestamp::UNIX_EPOCH).map_err(anyhow::Error::new)?.experiment(0);
            let begin = first.listed.started_at - zero.new.started_at.duration_since(Timestamp::UNIX_EPOCH);
            Ok((there, begin))
        }
        (Err(Error::NotFound { .. }), _) | (_, Err(Error::NotFound { .. })) | (Ok(_), Ok(_)) => {
            Err(foreign())
        }
        (Err(e), _) | (_, Err(e)) => Err(e.into()),
    }
}

/// Experiments in their order, with an end or, of those that still run, without.
type Chunk = Vec<(NewExperiment, Option<Outcome>)>;

/// What invents experiments and says why they failed.
struct Judge {
    world: World,
    rules: RuleSet,
    settings: Settings,
}

/// What makes experiments, in as many threads as there are processors.
struct Maker {
    judge: Judge,
    store: Store,
    handle: Handle,
}

impl Maker {
    /// Each thread gives every so manieth chunk.
    fn start(self, from: u64, to: u64) -> Vec<Receiver<Result<Chunk, Failed>>> {
        let maker = Arc::new(self);
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let start = |thread: u64| {
            let maker = Arc::clone(&maker);
            let (sender, receiver) = sync_channel(AHEAD);
            std::thread::spawn(move || {
                let mut begin = from + thread * CHUNK;
                while begin < to {
                    let chunk = (begin..(begin + CHUNK).min(to)).map(|index| maker.make(index)).collect();
                    if sender.send(chunk).is_err() {
                        return; // it was given up
                    }
                    begin += threads * CHUNK;
                }
            });
            receiver
        };
        (0..threads).map(start).collect()
    }

    fn make(&self, index: u64) -> Result<(NewExperiment, Option<Outcome>), Failed> {
        let (new, end) = self.judge.experiment(index);
        let Some((mut outcome, log)) = end else { return Ok((new, None)) };
        if !log.is_empty() {
            let kept = self.handle.block_on(self.store.keep_log(std::io::Cursor::new(log)));
            outcome.log = Some(kept.map_err(|e| Failed::Outside(anyhow!("a log can't be kept: {e}")))?);
        }
        Ok((new, Some(outcome)))
    }
}

impl Judge {
    /// With its end, if it has one: all but the log, and the log.
    fn experiment(&self, index: u64) -> (NewExperiment, Option<(Outcome, Vec<u8>)>) {
        let Invented { new, end } = self.world.experiment(index);
        let Some(Ended { status, exit, at, error, log, dollars }) = end else { return (new, None) };
        let diagnosis = (!status.succeeded()).then(|| {
            let mut reader = LogReader::new();
            reader.push(&log);
            let capture = Capture {
                experiment_id: new.id.clone(),
                experiment_type: Some(new.experiment_type.clone()),
                error_message: error.clone(),
                exit: exit.clone(),
                log: reader.finish(),
                ..Capture::default()
            };
            let examined = examine(&capture, &self.rules, &self.settings);
            let mut diagnosis = conclude(examined, None, &at.to_string());
            if dollars.is_some() {
                diagnosis.cost_usd = dollars;
                diagnosis.provenance.model_failure = Some(ModelFailure {
                    kind: FailureKind::Ungrounded,
                    detail: "the model quoted a line that does not stand in the log".to_owned(),
                });
            }
            diagnosis
        });
        let outcome = Outcome { status, exit, ended_at: at, reason: error, log: None, diagnosis };
        (new, Some((outcome, log)))
    }
}

fn parts<T>(mut of: Vec<T>) -> Vec<Vec<T>> {
    let mut parts = Vec::new();
    while !of.is_empty() {
        let rest = of.split_off(of.len().min(PART));
        parts.push(std::mem::replace(&mut of, rest));
    }
    parts
}

/// Keeps the chunks in their order, each in one commit.
async fn write(
    store: &Store,
    chunks: &[Receiver<Result<Chunk, Failed>>],
    bar: &ProgressBar,
) -> Result<(), Failed> {
    let mut before: HashMap<String, String> = HashMap::new();
    for turn in 0.. {
        // a thread that has nothing more is the last one's turn
        let Ok(chunk) = chunks[turn % chunks.len()].recv() else { break };
        let (mut ended, mut running) = (Vec::new(), Vec::new());
        for (new, outcome) in chunk? {
            let Some(mut outcome) = outcome else {
                running.push(new);
                continue;
            };
            if let Some(diagnosis) = &mut outcome.diagnosis {
                let name = new.id.clone().unwrap_or_default();
                let like = before.insert(diagnosis.signature.clone(), name);
                let similar = like.map(|id| Similar { experiment_id: id, score: 1.0, fix: None });
                diagnosis.similar = similar.into_iter().collect();
            }
            ended.push((new, outcome));
        }
        let count = ended.len() + running.len();
        // each part is a step of its own that can be taken back, and all go into one commit: what SQLite would take back
        // it looks through at the end of each statement
        let parts = parts(ended).into_iter().map(|part| store.record(part));
        try_join_all(parts).await?;
        for new in running {
            store.begin(new).await?;
        }
        bar.inc(count as u64);
    }
    Ok(())
}
