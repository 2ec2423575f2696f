//! The arguments of `coroner evolve`.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use coroner_store::Feedback;

use crate::quantities::parse_duration;

/// Improve a program: propose, screen, test, judge, learn, again and again.
///
/// Starts from the task's seed. Candidates come from a language model or, without one, from a built-in search.
/// Each is screened, tested in the sandbox, diagnosed if it fails, and taken over if it is better; everything is
/// kept as it happens. Ctrl-C ends it when what is being tested is done, a second one at once. Whatever ended it,
/// the same command goes on with the run that was not finished.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0    done
  1    stopped, because what fails is not the candidates: the report says whose fault it is and what to do
  2    wrong use, or a task that can't be read; nothing was run
  3    the store or the queue failed
  130  ended with Ctrl-C

Examples:
  coroner evolve examples/bare/task.toml --generations 100
  coroner --store dynamodb:coroner-lab evolve task.toml --queue sqs:coroner-tests --workers 32
  coroner evolve task.toml --proposer model --every 10m --budget-dollars 5 --git
  coroner evolve task.toml --ablate --seeds 1..5 --generations 60 --format json")]
pub(crate) struct EvolveArgs {
    /// The task (docs/tasks.md).
    #[arg(value_name = "TASK")]
    pub(crate) task: PathBuf,
    /// How many candidates to test after the baseline, those of a run that is taken up again included. Default: 50.
    #[arg(long, value_name = "N")]
    pub(crate) generations: Option<u64>,
    /// The time from the start of one candidate to the start of the next. Default: at once.
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub(crate) every: Option<Duration>,
    /// How many candidates are tested at once.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) workers: NonZeroUsize,
    /// Have them tested by `coroner worker` on other hosts: put them on this queue (sqs:NAME, or sqs: and its whole address).
    /// The store must be one that all share. With --workers: how many are under way at once.
    #[arg(long, value_name = "URL", conflicts_with = "ablate")]
    pub(crate) queue: Option<String>,
    /// Where the search's random numbers begin. Default: 1.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// What the proposer is told of failures: nothing, the raw end of the log, or the diagnosis. Default: diagnosis.
    #[arg(long, value_name = "KIND", value_parser = super::feedback())]
    pub(crate) feedback: Option<Feedback>,
    /// Who makes candidates. Default: builtin.
    #[arg(long, value_enum, value_name = "WHO", default_value_t)]
    pub(crate) proposer: Who,
    /// Stop when proposals and diagnoses of this run have cost so much.
    #[arg(long, value_name = "DOLLARS")]
    pub(crate) budget_dollars: Option<f64>,
    /// Go on with this run. Default: the newest of the task, if it is not finished.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["new", "ablate"])]
    pub(crate) run: Option<coroner_store::RunId>,
    /// Begin a new run.
    #[arg(long)]
    pub(crate) new: bool,
    /// Test those again that are marked: what became of them was not their fault.
    #[arg(long)]
    pub(crate) rerun: bool,
    /// Commit each program that is taken over, and only that file, to the git repository of the versions folder.
    #[arg(long)]
    pub(crate) git: bool,
    /// Where programs that were taken over are kept. Default: coroner/versions/TASK under the data folder; with --git,
    /// `versions` beside the task.
    #[arg(long, value_name = "DIR")]
    pub(crate) versions: Option<PathBuf>,
    /// Never touch the network: no package is fetched, no model explains failures.
    #[arg(long, conflicts_with = "budget_dollars")]
    pub(crate) offline: bool,
    /// Measure what feedback is worth: the built-in search with each kind of it, a step of each in turn, with the same
    /// seeds and as many candidates. Nothing is kept.
    #[arg(long, conflicts_with_all = ["feedback", "git", "rerun", "every", "versions"])]
    pub(crate) ablate: bool,
    /// Seeds of the ablation.
    #[arg(long, value_name = "A..B", default_value = "1..3", requires = "ablate", value_parser = seeds)]
    pub(crate) seeds: RangeInclusive<u64>,
}

/// Who makes candidates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    /// A search that needs no model.
    #[default]
    Builtin,
    /// The configured language model.
    Model,
}

/// "1..5", both included, or one number.
fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let wrong = || format!("`{text}` names no seeds; write it as 1..5 (both included) or 7");
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let from: u64 = from.trim().parse().map_err(|_| wrong())?;
    let to: u64 = to.trim().trim_start_matches('=').parse().map_err(|_| wrong())?;
    if from <= to && to - from < 100 { Ok(from..=to) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_with_both_ends() {
        assert_eq!(seeds("1..5"), Ok(1..=5));
        assert_eq!(seeds("2..=4"), Ok(2..=4));
        assert_eq!(seeds("7"), Ok(7..=7));
        for text in ["", "5..1", "a..b", "1..1000"] {
            assert!(seeds(text).unwrap_err().contains("names no seeds"), "{text}");
        }
    }
}
