//! What `coroner store` takes.

use clap::{Args, Subcommand};

/// The place where experiments are kept.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Make the store where there is none yet: a file, or a table of DynamoDB with its indexes. What is there already is
    /// left as it is; a table of another shape is refused.
    #[command(after_help = "\
Exit status:
  0  done, or it was there already
  2  wrong use
  3  the store can't be made, or is another's

Example:
  coroner --store dynamodb:coroner-lab store init")]
    Init,
    /// Copy everything of one store into another: experiments that have ended with their diagnoses, logs, codes and votes,
    /// causes and what was decided about them, corrections, runs of the lab, users, tokens, rules that are off, spending, and
    /// what alerts remember. Ids, numbers and times stay. The first is only read.
    ///
    /// What is there already stays as it is, so a copy that was broken off goes on when it is said again; a log that was not to be
    /// had comes when it is. At the end both are counted. Not copied: sessions (log in again), live events, kept replies of models, messages of alerts, and what runs.
    #[command(after_help = "\
Exit status:
  0  done: everything of the one is in the other
  1  done, and something is missing: it still runs, a log is nowhere to be had, or was written meanwhile
  2  wrong use: no such store, the same store, or the target has something else under the same names
  3  a store or the network failed; say it again to go on
  130  it was broken off (Ctrl-C); say it again to go on

Examples:
  coroner --store dynamodb:coroner-lab store init
  coroner store copy sqlite:lab.db dynamodb:coroner-lab
  coroner store copy dynamodb:coroner-lab sqlite:backup.db --format json")]
    Copy(CopyArgs),
    /// Bring the store to the newest form. Opening a file does so by itself; this says what was done, and that nothing is to do.
    /// A table has had one form in all releases.
    #[command(after_help = "\
Exit status:
  0  done, or there was nothing to do
  2  wrong use, or there is no such store
  3  the store can't be opened, or is another's

Example:
  coroner --store sqlite:lab.db store migrate")]
    Migrate,
}

/// From where to where.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The store that is read: sqlite:PATH or dynamodb:TABLE.
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// The store that is written, which must be there (`coroner store init`).
    #[arg(value_name = "TO")]
    pub(crate) to: String,
}
