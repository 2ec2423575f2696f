//! The arguments of the commands that read the store: `list`, `show`, `prune`.

use std::time::Duration;

use clap::Args;
use coroner_diagnosis::{Category, Origin, Severity};
use coroner_store::{Sort, Status};

use crate::quantities::parse_duration;

/// List experiments, the newest first.
#[derive(Debug, Default, PartialEq, Eq, Args)]
#[command(after_help = "\
Exit status:
  0  done
  2  wrong use
  3  the store failed

Example:
  coroner list --severity high --origin infrastructure --limit 20")]
pub(crate) struct ListArgs {
    /// How many.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) limit: u16,
    /// In this order; with a minus (--sort=-duration) the largest, newest or worst first. Default: the newest first.
    #[arg(long, value_name = "ORDER", allow_hyphen_values = true, value_parser = super::sort())]
    pub(crate) sort: Option<Sort>,
    /// Go on where an earlier page ended, with the word that it printed.
    #[arg(long, value_name = "WORD")]
    pub(crate) cursor: Option<String>,
    /// Only this status.
    #[arg(long, value_parser = super::status())]
    pub(crate) status: Option<Status>,
    /// Only this kind of failure.
    #[arg(long, value_parser = super::category())]
    pub(crate) category: Option<Category>,
    /// Only this severity.
    #[arg(long, value_parser = super::severity())]
    pub(crate) severity: Option<Severity>,
    /// Only this origin.
    #[arg(long, value_parser = super::origin())]
    pub(crate) origin: Option<Origin>,
    /// Only failures with this signature: the same cause.
    #[arg(long)]
    pub(crate) signature: Option<String>,
    /// Only experiments with all these words, or words that begin so, in id, kind, command or cause.
    #[arg(value_name = "WORD")]
    pub(crate) words: Vec<String>,
}

/// Show one experiment: how it ended, and why it failed.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  done
  1  there is no such experiment
  2  wrong use, or the id begins several experiments
  3  the store failed

Examples:
  coroner show
  coroner show exp-1432 --log | less
  coroner show 57 --code > best.py")]
pub(crate) struct ShowArgs {
    /// The experiment: its number, its id, or the beginning of it. Default: the latest that failed.
    pub(crate) id: Option<String>,
    /// Write its log to standard output and nothing else: untouched, but on a terminal with signs for what would
    /// control it.
    #[arg(long)]
    pub(crate) log: bool,
    /// Write a candidate's code to standard output and nothing else: untouched, but on a terminal with signs for what
    /// would control it.
    #[arg(long, conflicts_with = "log")]
    pub(crate) code: bool,
}

/// Forget what the retention settings no longer keep.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  done
  2  wrong use
  3  the store failed

Example:
  coroner prune --logs-older-than 30d")]
pub(crate) struct PruneArgs {
    /// Logs older than this go, instead of retention.logs: 30d, 12h.
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub(crate) logs_older_than: Option<Duration>,
    /// Whole experiments older than this go, instead of retention.experiments.
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub(crate) older_than: Option<Duration>,
}
