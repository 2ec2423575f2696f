//! What can be wrong with a log that is kept in a bucket of S3, and what to do about it.

use crate::AwsTrouble;

/// One for each thing that a person would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectTrouble {
    /// The bucket is there, and the object is not.
    #[error(
        "is not in its bucket (any more): somebody or a rule of the bucket has removed it; what was found out about the failure is kept"
    )]
    Gone,
    /// It holds something else than was put there.
    #[error(
        "is not what was kept (its bytes have another hash, or can't be unpacked): somebody or something has changed it in its bucket; \
         restore an earlier version of it, if the bucket keeps them. What was found out about the failure is here all the same"
    )]
    Damaged,
    /// There is no such bucket.
    #[error("can't be kept or read: there is no such bucket; make it, or name another with CORONER_LOGS")]
    NoBucket,
    /// The bucket lies elsewhere.
    #[error(
        "can't be kept or read: its bucket is in another region than the table ({detail}); name a bucket of AWS_REGION with CORONER_LOGS"
    )]
    Region {
        /// What S3 says.
        detail: String,
    },
    /// It is about who asks, from where and when.
    #[error("can't be kept or read: S3 {0}")]
    Aws(#[from] AwsTrouble),
    /// Who we are may not.
    #[error(
        "can't be kept or read: S3 does not allow it ({detail}); docs/dynamodb.md lists the permissions that are needed"
    )]
    Forbidden {
        /// What was refused.
        detail: String,
    },
    /// It has too much to do, after many tries.
    #[error(
        "can't be kept or read at this moment: S3 has too much to do, after many tries ({detail}); try again"
    )]
    Busy {
        /// What it says.
        detail: String,
    },
    /// Anything else.
    #[error("can't be kept or read: {detail}")]
    Other {
        /// What it says.
        detail: String,
    },
}
