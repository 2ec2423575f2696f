//! What `coroner import` takes.

use clap::Args;

/// Take over the experiments of the system that coroner comes after, from its table of DynamoDB.
///
/// Each item becomes an experiment of the store: its status, time, code and figures, the original's own analysis beside ours.
/// Why it failed is found out anew, by the rules alone: nothing is sent anywhere. The table is only read. Importing twice adds
/// nothing. An item that can't be read is named, and the rest goes on.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  done
  1  done; some of the items can't be read or kept
  2  wrong use
  3  the table or the store failed; what was imported until then is kept, and importing again goes on

Example:
  coroner import dynamodb:ai-video-codec-experiments")]
pub(crate) struct ImportArgs {
    /// dynamodb:TABLE, with the keys `experiment_id` and `timestamp`, wherever the AWS configuration says.
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
}
