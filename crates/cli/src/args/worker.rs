//! The arguments of `coroner worker`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::quantities::parse_duration;

/// Test what `coroner evolve --queue` puts on a queue, on this host.
///
/// Takes a candidate, screens and runs it in the sandbox, judges it, says why it failed if it did, and writes its end
/// into the store that all share (--store dynamodb:TABLE). Any number of workers on any number of hosts may have the
/// same queue, and each may be killed at any time: what it had is another's after a while, and each candidate ends
/// once. SIGINT and SIGTERM end it when what is being tested is done, a second one at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  ended as asked, or with --until-empty: there is nothing to do
  2  wrong use, or a task that can't be read or used here
  3  the store or the queue failed

Example:
  coroner --store dynamodb:coroner-lab worker task.toml --queue sqs:coroner-tests --workers 8")]
pub(crate) struct WorkerArgs {
    /// The task, as evolve has it.
    #[arg(value_name = "TASK")]
    pub(crate) task: PathBuf,
    /// The queue: sqs:NAME, or sqs: and its whole address.
    #[arg(long, value_name = "URL")]
    pub(crate) queue: String,
    /// How many candidates are tested at once.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) workers: NonZeroUsize,
    /// A candidate that was taken more often than this without an end is given up, with a diagnosis.
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) tries: NonZeroU32,
    /// How long a candidate is hidden from other workers; hidden anew all the time while it is tested. After the death of
    /// a worker it is another's after this.
    #[arg(long, value_name = "DUR", default_value = "60s", value_parser = parse_duration)]
    pub(crate) hidden: Duration,
    /// End when there is nothing to do.
    #[arg(long)]
    pub(crate) until_empty: bool,
    /// Never touch the network for packages or a model; store and queue are what they are.
    #[arg(long)]
    pub(crate) offline: bool,
}
