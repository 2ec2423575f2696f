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
}
