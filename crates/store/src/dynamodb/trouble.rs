//! What the SDK says went wrong, in a person's terms.

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::{Error, TableTrouble};

pub(super) fn told<E, R>(table: &str, error: &SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let code = error.code().unwrap_or_default();
    let detail = match error.message() {
        Some(message) if !code.is_empty() => format!("{code}: {message}"),
        _ => DisplayErrorContext(error).to_string(),
    };
    Error::Table { table: table.to_owned(), trouble: trouble_of(code, &detail) }
}

/// By the service's code, or where the call never got there, by what the SDK says.
pub(super) fn trouble_of(code: &str, detail: &str) -> TableTrouble {
    let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
    match code {
        "ResourceNotFoundException" => TableTrouble::Missing,
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => TableTrouble::Expired,
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignatureException" => TableTrouble::Credentials { detail: shortened(detail) },
        "AccessDeniedException" => TableTrouble::Forbidden { detail: shortened(detail) },
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "TransactionInProgressException" => TableTrouble::Throttled,
        "" if says(&["Missing Region", "region must be set", "MissingRegion"]) => TableTrouble::NoRegion,
        "" if says(&["expired"]) => TableTrouble::Expired,
        "" if says(&[
            "CredentialsNotLoaded",
            "credentials provider",
            "no providers in chain",
            "credentials",
        ]) =>
        {
            TableTrouble::Credentials { detail: shortened(detail) }
        }
        "" if says(&["dispatch failure", "timeout", "connect", "dns"]) => {
            TableTrouble::Unreachable { detail: shortened(detail) }
        }
        _ => TableTrouble::Other { detail: shortened(detail) },
    }
}

/// The SDK's chains of causes are long; their beginning says it.
fn shortened(detail: &str) -> String {
    crate::query::shortened(detail, 300).replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_advice() {
        for (code, detail, advice) in [
            ("ResourceNotFoundException", "Requested resource not found", "coroner store init"),
            (
                "ExpiredTokenException",
                "The security token included in the request is expired",
                "aws sso login",
            ),
            ("UnrecognizedClientException", "The security token is invalid", "AWS_PROFILE"),
            ("AccessDeniedException", "not authorized to perform: dynamodb:Query", "docs/dynamodb.md"),
            ("ThrottlingException", "Rate exceeded", "try again"),
            ("", "dispatch failure: other: the credentials provider was not enabled", "AWS_PROFILE"),
            ("", "Invalid Configuration: Missing Region", "AWS_REGION"),
            (
                "",
                "dispatch failure: io error: error trying to connect: tcp connect error",
                "AWS_ENDPOINT_URL",
            ),
            ("ValidationException", "One or more parameter values were invalid", "One or more"),
        ] {
            let table = "experiments".to_owned();
            let said = Error::Table { table, trouble: trouble_of(code, detail) }.to_string();
            assert!(said.contains(advice) && said.contains("experiments"), "{said}");
        }
    }
}
