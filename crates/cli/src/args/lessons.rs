//! The arguments of the commands that learn from failures: `advice`, `stats`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use coroner_store::RunId;

use crate::quantities::parse_duration;

/// Say what earlier failures teach whoever proposes the next experiment.
///
/// The most frequent causes with what got past them, as text for a prompt. Only what is the candidate's to change is
/// told, never a failure of the harness, the policy, the machine or a provider. What programs printed stands
/// between « and », on one line, and can't pass for an instruction.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  done, even if there is nothing to tell
  1  --parent: there is no such experiment
  2  wrong use, or a policy that can't be read
  3  the store failed

Examples:
  coroner advice --type training --window 24h
  coroner advice --task codec --parent 1432 --budget 1500 --format json")]
pub(crate) struct AdviceArgs {
    /// Only this kind of experiment. A task's name is the kind of its candidates.
    #[arg(long = "type", visible_alias = "task", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Only this run of the loop, whenever it was.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["kind", "window"])]
    pub(crate) run: Option<RunId>,
    /// What the next one is made from: an experiment's number or id. Why it failed is told first, and what its line
    /// has failed by before.
    #[arg(long, value_name = "ID")]
    pub(crate) parent: Option<String>,
    /// Say first what this policy forbids, and why (`coroner check --show-policy` prints the built-in one).
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Failures no older than this: 24h, 7d. Default: 7d.
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub(crate) window: Option<Duration>,
    /// At most this many characters; what has no room is left out whole, and counted.
    #[arg(long, value_name = "CHARS", default_value_t = coroner_lab::advice::DEFAULT_BUDGET)]
    pub(crate) budget: usize,
    /// At most this many causes.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(..=200))]
    pub(crate) top: u16,
}

/// Say what failures have cost: time, processor time and money, the worst first.
///
/// An experiment is counted by when it started. Full hours are counted: a window begins with the hour in which it
/// begins.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  done, even if nothing has failed
  1  --run: there is no such run
  2  wrong use
  3  the store failed

Examples:
  coroner stats --since 24h
  coroner stats --task codec --by origin --format json")]
pub(crate) struct StatsArgs {
    /// Only experiments that started so long ago or less: 24h, 7d; or `all`. Default: 7d, and all of a --run.
    #[arg(long, value_name = "AGE", value_parser = parse_since)]
    pub(crate) since: Option<Since>,
    /// What to add up by.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) by: By,
    /// Only this kind of experiment. A task's name is the kind of its candidates.
    #[arg(long = "type", visible_alias = "task", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Only this run of the loop.
    #[arg(long, value_name = "RUN", conflicts_with = "kind")]
    pub(crate) run: Option<RunId>,
    /// At most this many causes.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) top: u16,
}

/// How far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    All,
    Age(Duration),
}

fn parse_since(text: &str) -> Result<Since, String> {
    if text == "all" { Ok(Since::All) } else { parse_duration(text).map(Since::Age) }
}

/// What to add up by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The same cause, wherever and whenever it struck.
    #[default]
    Signature,
    /// Kind of failure.
    Category,
    /// Whose fault.
    Origin,
}
