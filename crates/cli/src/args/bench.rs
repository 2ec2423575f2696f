//! The arguments of `coroner bench`.

use clap::{Args, Subcommand};

/// Make what the desk is measured with.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    Fill(FillArgs),
    #[cfg(feature = "aws")]
    Keys(KeysArgs),
}

/// Fill a store with invented experiments: weeks of them, of several machines, with logs, and diagnoses by the rules in
/// force.
///
/// Give it a store of its own with --store: one that holds anything else is refused. Broken off and given again with the
/// same numbers, it goes on where it was.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = "\
Exit status:
  0  done
  2  wrong use, or the store holds other experiments
  3  the store failed

Example:
  coroner bench fill --store sqlite:/tmp/desk.db --experiments 20000 --failures 6000")]
pub(crate) struct FillArgs {
    /// How many in all.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) experiments: u64,
    /// How many of them fail.
    #[arg(long, value_name = "N", default_value_t = 300_000)]
    pub(crate) failures: u64,
    /// How many causes they have, a few of them frequent, most of them rare.
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) causes: u32,
    /// Over how many days up to now.
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// Another number makes other experiments.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Say which partitions of a table in DynamoDB invented experiments would write, and how hot each is: what gives first.
///
/// The keys are those that the store would write, with diagnoses by the rules in force; no table is needed, and nothing is
/// kept. Logs are left out: each has a partition of its own.
#[cfg(feature = "aws")]
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = "\
Exit status:
  0  done
  2  wrong use

Example:
  coroner bench keys --experiments 20000 --failures 6000")]
pub(crate) struct KeysArgs {
    /// How many in all.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) experiments: u64,
    /// How many of them fail.
    #[arg(long, value_name = "N", default_value_t = 6000)]
    pub(crate) failures: u64,
    /// How many causes they have.
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) causes: u32,
    /// Over how many days.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// Another number makes other experiments.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}
