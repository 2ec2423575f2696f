//! What can be wrong with a table of DynamoDB, and what to do about it.

use crate::AwsTrouble;

/// One for each thing that a person would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableTrouble {
    /// There is none of this name.
    #[error(
        "is not there, in this account and region; make it with `coroner --store dynamodb:{table} store init`, or check AWS_REGION"
    )]
    Missing {
        /// Its name.
        table: String,
    },
    /// There is none of this name, and it would not be for us to make.
    #[error("is not there, in this account and region; check its name, AWS_PROFILE and AWS_REGION")]
    NotThere,
    /// There is one, and it is not ours.
    #[error("is of another shape ({detail}); nothing was changed: give another name")]
    Shape {
        /// What is different.
        detail: String,
    },
    /// It is about who asks, from where and when.
    #[error(transparent)]
    Aws(#[from] AwsTrouble),
    /// Who we are may not.
    #[error(
        "can't be used: AWS does not allow it ({detail}); docs/dynamodb.md lists the permissions that are needed"
    )]
    Forbidden {
        /// What was refused.
        detail: String,
    },
    /// It has too much to do, after many tries.
    #[error("has too much to do at this moment, after many tries; try again, or with fewer writers")]
    Throttled,
    /// An item can't be as large.
    #[error(
        "can't hold an experiment's record of {bytes} bytes: an item has at most 400 kB; leave long texts and lists (of the \
         command, the reason, the metrics) to the log"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Anything else.
    #[error("failed: {detail}")]
    Other {
        /// What it says.
        detail: String,
    },
}
