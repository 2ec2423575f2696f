//! What the SDK says went wrong, in a person's terms.

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::{AwsTrouble, Error, TableTrouble};

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
    if let Some(trouble) = AwsTrouble::of(code, detail) {
        return trouble.into();
    }
    let detail = AwsTrouble::shortened(detail);
    match code {
        "ResourceNotFoundException" => TableTrouble::Missing,
        "AccessDeniedException" => TableTrouble::Forbidden { detail },
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "TransactionInProgressException" => TableTrouble::Throttled,
        _ => TableTrouble::Other { detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_advice() {
        for (code, detail, advice) in [
            ("ResourceNotFoundException", "Requested resource not found", "coroner store init"),
            ("UnrecognizedClientException", "The security token is invalid", "AWS_PROFILE"),
            ("AccessDeniedException", "not authorized to perform: dynamodb:Query", "docs/dynamodb.md"),
            ("ThrottlingException", "Rate exceeded", "try again"),
            ("ValidationException", "One or more parameter values were invalid", "One or more"),
        ] {
            let table = "experiments".to_owned();
            let said = Error::Table { table, trouble: trouble_of(code, detail) }.to_string();
            assert!(said.contains(advice) && said.contains("experiments"), "{said}");
        }
    }
}
