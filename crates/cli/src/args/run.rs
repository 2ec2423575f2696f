//! The arguments of `coroner run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::quantities::{parse_duration, parse_size};

/// Run a command; if it fails, say why.
///
/// Output passes through as it comes, byte for byte, to where it would have gone; where standard output is a
/// terminal, the command sees a terminal. Signals are passed on. Standard input is left alone. A log of both
/// streams, how the command ended and, if it failed, the diagnosis are kept in the store; the diagnosis also
/// stands in the last lines of standard error.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  the command's own
  128 + N  signal N killed it
  124      --timeout ended it
  137      --memory ended it
  127      the command was not found
  126      the command can't be executed
  2        wrong use of coroner itself; nothing was started
  A store that fails is a note on standard error and changes no status.

Example:
  coroner run --timeout 2h --memory 16G -- python train.py --epochs 3")]
pub(crate) struct RunArgs {
    /// The kind of experiment; baselines and statistics are taken among the same kind.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// The experiment's name in the store. Default: a new one is made.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Time limit: 90s, 5min, 2h. The command is asked to end (SIGTERM), then killed after a grace period.
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Memory limit of the command and everything that it started: 512M, 16G. Watched several times a second,
    /// so a fast allocation can overshoot it briefly; whoever passes it is killed.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Never ask a language model.
    #[arg(long)]
    pub(crate) offline: bool,
    /// If the command fails, also write the diagnosis to FILE, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) diagnosis: Option<PathBuf>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}
