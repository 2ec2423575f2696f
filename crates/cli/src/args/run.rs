//! The arguments of `coroner run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use coroner_lab::sandbox::Level;

use crate::quantities::{parse_duration, parse_size};

/// Run a command; if it fails, say why.
///
/// Output passes through as it comes, byte for byte, to where it would have gone; where standard output is a
/// terminal, the command sees a terminal. Signals are passed on. Standard input is left alone. A log of both
/// streams, how the command ended and, if it failed, the diagnosis are kept in the store; the diagnosis also
/// stands in the last lines of standard error. With --report all of that goes to a desk instead; what it can't take now
/// waits on disk.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  the command's own
  128 + N  signal N killed it
  124      --timeout ended it
  137      --memory ended it, or its output was more than a sandbox lets through
  127      the command was not found
  126      the command can't be executed
  152      --sandbox ended it at its limit of processor time
  2        wrong use of coroner itself, or no sandbox as good as was asked for; nothing was started
  A store or a desk that fails is a note on standard error and changes no status.

Example:
  coroner run --timeout 2h --memory 16G -- python train.py --epochs 3
  coroner run --report https://coroner.example -- python train.py
  coroner run --sandbox -- python candidate.py")]
pub(crate) struct RunArgs {
    /// The kind of experiment; baselines and statistics are taken among the same kind.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// The experiment's name in the store. Default: a new one is made.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Report the run to the desk (coroner serve) at this address instead of keeping it in a store of its own. Its token
    /// is read from the variable CORONER_TOKEN or from the file that report_token_file names.
    #[arg(long, value_name = "URL")]
    pub(crate) report: Option<String>,
    /// Time limit: 90s, 5min, 2h. The command is asked to end (SIGTERM), then killed after a grace period.
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Memory limit of the command and everything that it started: 512M, 16G. Watched several times a second,
    /// so a fast allocation can overshoot it briefly; whoever passes it is killed.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Run it where it can do no harm: it sees the system's programs and the current folder, can write to nothing
    /// but a folder of its own that goes with it, and has no network. Limits are those of section `sandbox` of the
    /// configuration.
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// The weakest protection that will do: A (as B, with a control group), B (namespaces, Landlock, seccomp),
    /// C (without namespaces) or D (files are not protected). The best that the machine has is used.
    #[arg(long, value_name = "LEVEL", requires = "sandbox")]
    pub(crate) level: Option<Level>,
    /// Use just that level, even if the machine has a better one.
    #[arg(long, requires = "level")]
    pub(crate) exactly: bool,
    /// A file or folder that it can read besides the current one; may be given several times.
    #[arg(long, value_name = "PATH", requires = "sandbox")]
    pub(crate) show: Vec<PathBuf>,
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
