//! `coroner worker`: tests what a queue gives, and writes its end into the store that all share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use coroner_diagnosis::Capture;
use coroner_lab::queue::{Queue, QueueError, QueueTrouble, Worked, Worker, WorkerError};
use coroner_lab::sandbox::Stop;
use coroner_lab::task::Task;
use coroner_store::ExperimentId;
use tokio::runtime::Runtime;

use super::voice::Voice;
use super::{bench, diagnose, tester, with_signals};
use crate::analyst::Analyst;
use crate::args::WorkerArgs;
use crate::context::{Context, DONE, Failed};

/// Candidates are parsed here, and one may be nested deeply.
const STACK: usize = 64 << 20;
/// No engine hides a message for less or for longer.
const HIDDEN: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(12 * 3600);

pub(crate) fn worker(args: &WorkerArgs, context: &Context) -> Result<u8, Failed> {
    if !HIDDEN.contains(&args.hidden) {
        return Err(Failed::Input(anyhow!("--hidden is 1 s to 12 h")));
    }
    let task = Task::load(&args.task).map_err(anyhow::Error::from)?;
    let runtime = super::runtime()?;
    let queue = open(&args.queue, Some(args.tries.get()), context, &runtime)?;
    let store = runtime.block_on(crate::storage::open(context))?;
    let voice = Voice::new(context);
    let tester = tester(args.offline, context, task, &voice)?;
    let analyst = Analyst::new(context, args.offline, Some(&store), Arc::clone(&runtime))?;
    let stop = Stop::new();
    let explain = |capture: &Capture, id: &ExperimentId| diagnose(&analyst, &store, &runtime, capture, id);
    let bench = bench(&tester, &store, &runtime, &stop, &explain);
    let worker = Worker {
        queue: queue.as_ref(),
        store: store.clone(),
        runtime: runtime.handle().clone(),
        bench: &bench,
        diagnose: &explain,
        task: &tester.task().name,
        tries: args.tries.get(),
        hidden: args.hidden,
        tell: &|worked| say(worked, context),
    };
    let ending = AtomicBool::new(false);
    let end = || ending.store(true, Ordering::Relaxed);
    let asked = || {
        end();
        voice.note(super::ENDING);
    };
    let go = || many(args.workers.get(), &|| worker.work(&ending, args.until_empty), &end);
    with_signals(&stop, &asked, go)??;
    Ok(DONE)
}

/// So many at once. What ends one ends all.
fn many(
    workers: usize,
    work: &(dyn Fn() -> Result<(), WorkerError> + Sync),
    end: &(dyn Fn() + Sync),
) -> Result<(), Failed> {
    std::thread::scope(|scope| {
        let start = |number| {
            let builder = std::thread::Builder::new().name(format!("worker {number}")).stack_size(STACK);
            builder.spawn_scoped(scope, || work().inspect_err(|_| end()))
        };
        let started: Result<Vec<_>, _> = (0..workers).map(start).collect();
        let started = started.map_err(|error| {
            end();
            Failed::Outside(anyhow!("can't start a worker ({error}): ask for fewer with --workers"))
        })?;
        started.into_iter().try_for_each(|thread| match thread.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(WorkerError::Store(error))) => Err(error.into()),
            Ok(Err(error)) => Err(Failed::Outside(error.into())),
            Err(_) => {
                Err(Failed::Outside(anyhow!("a worker ended unexpectedly: this is a fault of coroner")))
            }
        })
    })
}

fn say(worked: &Worked, context: &Context) {
    context.note(&match worked {
        Worked::Began(number) => format!("exp {number} is being tested"),
        Worked::Ended(number, status, None) => format!("exp {number}: {status}"),
        Worked::Ended(number, status, Some(why)) => format!("exp {number}: {status}: {}", why.root_cause),
        Worked::Buried(number, why) => format!("exp {number} is given up: {}", why.root_cause),
        Worked::Known(number) => format!("exp {number} has its end already"),
        Worked::Left(why) => why.clone(),
        Worked::Waits(why) => format!("{why}; it is tried again until it can be reached"),
    });
}

/// The queue that is written so. `tries`: how often its messages are taken at most, if we are the ones who take them.
pub(super) fn open(
    written: &str,
    tries: Option<u32>,
    context: &Context,
    runtime: &Runtime,
) -> Result<Box<dyn Queue>, Failed> {
    let wrong = |trouble| QueueError { queue: written.to_owned(), trouble };
    let place = written
        .strip_prefix("sqs:")
        .ok_or_else(|| wrong(QueueTrouble::Address("only queues of SQS are known".to_owned())))
        .map_err(of_queue)?;
    remote::open(place, tries, context, runtime).map_err(of_queue)
}

pub(super) fn of_queue(error: QueueError) -> Failed {
    match error.trouble {
        QueueTrouble::Address(_) | QueueTrouble::NotInThisBuild => Failed::Input(error.into()),
        _ => Failed::Outside(error.into()),
    }
}

#[cfg(feature = "aws")]
mod remote {
    //! SQS, with whatever the AWS configuration of this user and machine says.

    use coroner_lab::queue::sqs::Sqs;
    use coroner_lab::queue::{Queue, QueueError};
    use tokio::runtime::Runtime;

    use crate::context::Context;

    pub(super) fn open(
        place: &str,
        tries: Option<u32>,
        context: &Context,
        runtime: &Runtime,
    ) -> Result<Box<dyn Queue>, QueueError> {
        let queue =
            runtime.block_on(async { Sqs::open(&crate::storage::aws_config().await, place).await })?;
        if let (Some(most), Some(tries)) = (queue.most_times(), tries)
            && most <= tries
        {
            context.note(&format!(
                "the queue moves a message to its dead letters after {most} times, before --tries {tries}: what is moved there gets \
                 its end when a worker finds it there"
            ));
        }
        Ok(Box::new(queue))
    }
}

#[cfg(not(feature = "aws"))]
mod remote {
    //! SQS, in a build without it.

    use coroner_lab::queue::{Queue, QueueError, QueueTrouble};
    use tokio::runtime::Runtime;

    use crate::context::Context;

    pub(super) fn open(
        place: &str,
        _tries: Option<u32>,
        _context: &Context,
        _runtime: &Runtime,
    ) -> Result<Box<dyn Queue>, QueueError> {
        Err(QueueError { queue: place.to_owned(), trouble: QueueTrouble::NotInThisBuild })
    }
}
