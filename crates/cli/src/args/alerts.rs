//! The arguments of `coroner alerts`.

use clap::{Args, Subcommand};
use coroner_store::MessageState;

/// Tell people and programs what has failed, and see what they were told.
#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    pub(crate) command: AlertsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// Send a test message to one channel or to all of them, and say whether it arrived.
    #[command(after_help = "\
Exit status:
  0  every channel took it
  2  wrong use, or there is no such channel
  3  a channel did not take it

Example:
  coroner alerts test team")]
    Test {
        /// Which channel. Default: all.
        channel: Option<String>,
    },
    /// List messages, the newest first: those that wait, those that were sent, those that were given up and why.
    #[command(after_help = "\
Exit status:
  0  done
  1  messages have been given up
  2  wrong use
  3  the store failed

Example:
  coroner alerts list --state failed")]
    List {
        /// Only waiting, sent or failed ones.
        #[arg(long, value_parser = super::message_state())]
        state: Option<MessageState>,
        /// How many at most.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: usize,
    },
    /// Look at what has failed since the last look, and send what is due: what `coroner serve` does all the time, for a
    /// machine where nothing of coroner runs for long.
    #[command(after_help = "\
Exit status:
  0  nothing is left to send at the moment
  2  wrong use, or there is no channel
  3  something could not be sent, or the store failed

Example:
  coroner alerts deliver --retry")]
    Deliver {
        /// Also try again now what waits for its next try or was given up.
        #[arg(long)]
        retry: bool,
    },
}
