//! What AWS says of whoever asks, whatever is asked for, and what to do about it.

/// One for each thing that a person would do. The words follow on the name of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AwsTrouble {
    /// Nobody says who we are, or nobody of that name is known.
    #[error(
        "can't be used: no credentials that AWS takes ({detail}); set AWS_PROFILE or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, or give the machine a role"
    )]
    Credentials {
        /// What the SDK says.
        detail: String,
    },
    /// They were good for a while.
    #[error(
        "can't be used: the credentials have expired; renew them (`aws sso login`, or new AWS_SESSION_TOKEN)"
    )]
    Expired,
    /// A signature holds for minutes.
    #[error(
        "can't be used: this machine's clock is too far from AWS's ({detail}); set it right (timedatectl set-ntp true)"
    )]
    Clock {
        /// Both times, as AWS says them.
        detail: String,
    },
    /// It is not said where it is.
    #[error("can't be used: no region is set; set AWS_REGION, or `region` in ~/.aws/config")]
    NoRegion,
    /// Nobody answers.
    #[error("can't be reached ({detail}); check the network, AWS_REGION and, if it is set, AWS_ENDPOINT_URL")]
    Unreachable {
        /// What the SDK says.
        detail: String,
    },
    /// Somebody answers who is not AWS: a proxy that wants to be asked first, or another server.
    #[error(
        "can't be reached: what answers there is not AWS (HTTP {status}, and no words of its); check AWS_ENDPOINT_URL if it is set, and \
         whether a proxy answers in its place"
    )]
    Stranger {
        /// The answer's status.
        status: u16,
    },
}

impl AwsTrouble {
    /// By the service's code.
    #[must_use]
    pub fn of(code: &str, detail: &str) -> Option<Self> {
        let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
        let detail = Self::shortened(detail);
        match code {
            "ExpiredTokenException" | "ExpiredToken" => Some(Self::Expired),
            "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => Some(Self::Clock { detail }),
            // one code for a wrong key and for a wrong time
            "InvalidSignatureException" | "SignatureDoesNotMatch"
                if says(&["Signature expired", "not yet current"]) =>
            {
                Some(Self::Clock { detail })
            }
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "InvalidToken"
            | "InvalidSecurity"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignatureException" => Some(Self::Credentials { detail }),
            _ => None,
        }
    }

    /// The SDK's chains of causes are long; their beginning says it.
    #[must_use]
    pub fn shortened(detail: &str) -> String {
        crate::query::shortened(detail, 300).replace(char::is_control, " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_advice() {
        for (code, detail, advice) in [
            (
                "ExpiredTokenException",
                "The security token included in the request is expired",
                "aws sso login",
            ),
            ("ExpiredToken", "The security token included in the request is expired", "aws sso login"),
            ("UnrecognizedClientException", "The security token is invalid", "AWS_PROFILE"),
            ("InvalidClientTokenId", "The security token is invalid", "AWS_PROFILE"),
            (
                "InvalidSignatureException",
                "The request signature we calculated does not match",
                "AWS_PROFILE",
            ),
            (
                "InvalidSignatureException",
                "Signature expired: 20261129T010000Z is now earlier than 20261129T015500Z",
                "timedatectl",
            ),
            (
                "SignatureDoesNotMatch",
                "Signature not yet current: 20261129T030000Z is still later than",
                "clock",
            ),
            ("RequestTimeTooSkewed", "The difference is too large", "clock"),
        ] {
            let said = AwsTrouble::of(code, detail).unwrap().to_string();
            assert!(said.contains(advice), "{said}");
        }
        for code in ["ValidationException", "AccessDeniedException", "InternalError", ""] {
            assert_eq!(
                AwsTrouble::of(code, "credentials expired"),
                None,
                "{code} is for the service to tell"
            );
        }
    }
}
