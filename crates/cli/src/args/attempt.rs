//! The arguments of `coroner test`.

use std::path::PathBuf;

use clap::Args;

/// Test a candidate of a task: screen it, run it in a sandbox, measure it, judge it.
///
/// The task's evaluator measures in a process that the candidate can't reach. A result that is missing, not a
/// number, beyond what is possible, or the same to the last digit as other code's is a failure with a diagnosis.
/// The candidate's code, a report for each failure and the best so far are kept in the versions folder; the
/// experiment and its diagnosis in the store.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  passed: good enough for the task and better than the best so far
  1  failed or rejected, or our own side failed; the diagnosis says which
  2  wrong use, or a task or candidate that can't be read; nothing was run
  3  the store failed

Example:
  coroner test candidate.py --task examples/bare/task.toml")]
pub(crate) struct TestArgs {
    /// The candidate's source file, or `-` for standard input.
    #[arg(value_name = "CANDIDATE")]
    pub(crate) candidate: PathBuf,
    /// The task (docs/tasks.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) task: PathBuf,
    /// The experiment's name in the store. Default: a new one is made.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Where code, reports and the best so far are kept. Default: coroner/versions/TASK under the data folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) versions: Option<PathBuf>,
    /// Never touch the network: no model is asked, no package fetched.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Keep nothing: neither in the store nor in the versions folder.
    #[arg(long)]
    pub(crate) no_save: bool,
}
