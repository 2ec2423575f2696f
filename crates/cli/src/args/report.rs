//! What `coroner report` takes.

use clap::{Args, Subcommand};

/// What `coroner run --report` could not deliver yet.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(subcommand)]
    pub(crate) command: ReportCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// List what waits in the spool, the oldest first, and what is kept aside.
    #[command(after_help = "\
Exit status:
  0  done: nothing is kept aside
  1  done: something is kept aside, with the reason
  2  wrong use

Example:
  coroner report list")]
    List,
    /// Deliver what waits for the desk, the oldest first. Each report arrives once, whoever else delivers at the same time.
    #[command(after_help = "\
Exit status:
  0  done: nothing waits for this desk any more but what still runs
  1  done, but something was not taken and is kept aside, with the reason
  2  wrong use
  3  the desk can't be reached, or asks for patience: the rest waits

Example:
  coroner report deliver --report https://coroner.example")]
    Deliver {
        /// The desk. Default: the one that is configured (report, CORONER_REPORT).
        #[arg(long, value_name = "URL")]
        report: Option<String>,
        /// What is kept aside too: once the reason has been mended.
        #[arg(long)]
        again: bool,
    },
}
