//! What can be wrong with a log that is kept in a bucket of S3, and what to do about it.

/// One for each thing that a person would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectTrouble {
    /// The bucket is there, and the object is not.
    #[error(
        "is not in its bucket (any more): somebody or a rule of the bucket has removed it; what was found out about the failure is kept"
    )]
    Gone,
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
    /// Nobody says who we are, or nobody of that name is known.
    #[error(
        "can't be kept or read: no credentials that S3 takes ({detail}); set AWS_PROFILE, or give the machine a role"
    )]
    Credentials {
        /// What S3 or the SDK says.
        detail: String,
    },
    /// They were good for a while.
    #[error(
        "can't be kept or read: the credentials have expired; renew them (`aws sso login`, or new AWS_SESSION_TOKEN)"
    )]
    Expired,
    /// Who we are may not.
    #[error(
        "can't be kept or read: S3 does not allow it ({detail}); docs/dynamodb.md lists the permissions that are needed"
    )]
    Forbidden {
        /// What was refused.
        detail: String,
    },
    /// The machine's clock is wrong.
    #[error("can't be kept or read: this machine's clock is too far from the time of S3; set it right")]
    Clock,
    /// Nobody answers.
    #[error(
        "can't be kept or read: S3 can't be reached ({detail}); check the network, AWS_REGION and, if it is set, AWS_ENDPOINT_URL"
    )]
    Unreachable {
        /// What the network says.
        detail: String,
    },
    /// Anything else.
    #[error("can't be kept or read: {detail}")]
    Other {
        /// What it says.
        detail: String,
    },
}
