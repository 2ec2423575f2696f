//! What the SDK says went wrong, in a person's terms.

use std::error::Error as _;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use crate::{AwsTrouble, Error, TableTrouble};

/// What is known of a call that failed, whichever service of AWS was asked.
#[derive(Debug)]
pub struct Said {
    /// The service's word for it; empty where it did not say one.
    pub code: String,
    /// What it says, or what lies beneath.
    pub detail: String,
    /// What that is, if it is about who asks, from where and when.
    pub trouble: Option<AwsTrouble>,
}

impl Said {
    /// The service's own words, or where it said nothing, what the SDK met. The chain of the SDK's errors tells kinds apart; as
    /// text it is hundreds of characters of its insides.
    pub fn by<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let code = error.code().unwrap_or_default().to_owned();
        if !code.is_empty() {
            let detail = error.message().map_or_else(|| code.clone(), |message| format!("{code}: {message}"));
            return Self { trouble: AwsTrouble::of(&code, &detail), code, detail };
        }
        let mut chain = Vec::new();
        let mut beneath = error.source();
        while let Some(reason) = beneath {
            chain.push(reason);
            beneath = reason.source();
        }
        let said: Vec<String> = chain.iter().map(ToString::to_string).collect();
        let says = |words: &str| said.iter().any(|it| it.contains(words));
        let last = said.last().map_or("no reason is given", String::as_str);
        let last = AwsTrouble::shortened(&match said.iter().rev().nth(1) {
            // alone it would be about nothing
            Some(before) if before.contains("TLS") => format!("{before}: {last}"),
            _ if last == "endpoint must contain scheme" => {
                "the address begins with neither https:// nor http://".to_owned()
            }
            _ => last.to_owned(),
        });
        let credentials = chain.iter().position(|it| it.is::<CredentialsError>());
        let trouble = if says("missing signing region") || says("Missing Region") {
            AwsTrouble::NoRegion
        } else if let Some(place) = credentials {
            // asked last, a machine that has no role does not answer; and some that have none say nothing more
            let nobody = place + 1 == said.len() || says("IMDS");
            let detail = if nobody { "none are set".to_owned() } else { last.clone() };
            AwsTrouble::Credentials { detail }
        } else if says("no identity resolver") {
            AwsTrouble::Credentials { detail: "none are set".to_owned() }
        } else if let Some(answer) = error.raw_response() {
            AwsTrouble::Stranger { status: answer.status().as_u16() }
        } else {
            AwsTrouble::Unreachable { detail: last.clone() }
        };
        Self { code, detail: last, trouble: Some(trouble) }
    }
}

pub(super) fn told<E>(table: &str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let said = Said::by(error);
    let trouble = said.trouble.map_or_else(|| trouble_of(table, &said.code, &said.detail), Into::into);
    Error::Table { table: table.to_owned(), trouble }
}

/// By the service's code.
pub(super) fn trouble_of(table: &str, code: &str, detail: &str) -> TableTrouble {
    let detail = AwsTrouble::shortened(detail);
    match code {
        "ResourceNotFoundException" => TableTrouble::Missing { table: table.to_owned() },
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
    use std::io::{Read, Write};
    use std::time::Duration;

    use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
    use aws_sdk_dynamodb::config::retry::RetryConfig;
    use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
    use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Credentials, Region};

    use super::*;

    #[test]
    fn each_has_its_advice() {
        for (code, detail, advice) in [
            (
                "ResourceNotFoundException",
                "Requested resource not found",
                "coroner --store dynamodb:experiments store init",
            ),
            ("AccessDeniedException", "not authorized to perform: dynamodb:Query", "docs/dynamodb.md"),
            ("ThrottlingException", "Rate exceeded", "try again"),
            ("ValidationException", "One or more parameter values were invalid", "One or more"),
        ] {
            let table = "experiments".to_owned();
            let trouble = trouble_of(&table, code, detail);
            let said = Error::Table { table, trouble }.to_string();
            assert!(said.contains(advice) && said.contains("experiments"), "{said}");
        }
    }

    /// Answers every request so; with nothing if that is empty.
    fn answering(status: &str, kind: &str, body: &str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let answer = if status.is_empty() { String::new() } else { answer };
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                _ = stream.read(&mut [0; 8192]);
                _ = stream.write_all(answer.as_bytes());
            }
        });
        address.to_string()
    }

    fn keys() -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test"))
    }

    #[derive(Debug)]
    struct Nobody(&'static str);

    impl ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err(match self.0 {
                "" => CredentialsError::not_loaded_no_source(),
                why => CredentialsError::not_loaded(why),
            }))
        }
    }

    fn none(why: &'static str) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Nobody(why))
    }

    /// The SDK itself is asked: what it says changes with its versions.
    #[tokio::test]
    async fn what_the_sdk_says_is_understood() {
        let region = || Some(Region::new("eu-central-1"));
        let html = |status| answering(status, "text/html", "<html>Sign in.</html>");
        let (page, refused) = (format!("http://{}", html("200 OK")), format!("http://{}", html("407 No")));
        let (bare, tls) = (html("200 OK"), format!("https://{}", html("200 OK")));
        let broken = format!("http://{}", answering("", "", ""));
        // nobody takes what is sent
        let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = format!("http://{}", deaf.local_addr().unwrap());
        let body = "{\"__type\":\"com.amazonaws#ExpiredTokenException\",\"message\":\"It is.\"}";
        let expired = format!("http://{}", answering("400 Bad", "application/x-amz-json-1.0", body));
        for (region, keys, endpoint, advice) in [
            (None, Some(keys()), Some("http://127.0.0.1:9"), "no region is set"),
            (None, Some(keys()), None, "no region is set"),
            (region(), None, Some("http://127.0.0.1:9"), "no credentials that AWS takes (none are set)"),
            (region(), Some(none("")), None, "no credentials that AWS takes (none are set)"),
            (region(), Some(none("the profile `x` is not there")), None, "(the profile `x` is not there)"),
            (region(), Some(keys()), Some("http://127.0.0.1:9"), "reached (Connection refused"),
            (region(), Some(keys()), Some("http://nowhere.invalid"), "reached (failed to lookup address"),
            (region(), Some(keys()), Some(&*bare), "reached (the address begins with neither"),
            (region(), Some(keys()), Some(&*tls), "reached (TLS handshake failed: "),
            (region(), Some(keys()), Some(&*page), "not AWS (HTTP 200"),
            (region(), Some(keys()), Some(&*refused), "not AWS (HTTP 407"),
            (region(), Some(keys()), Some(&*broken), "reached (connection closed before"),
            (region(), Some(keys()), Some(&*silent), "reached (operation attempt timeout"),
            (region(), Some(keys()), Some(&*expired), "aws sso login"),
        ] {
            let mut config = Builder::new()
                .behavior_version(BehaviorVersion::latest())
                .region(region)
                .http_client(super::super::http_client())
                .retry_config(RetryConfig::disabled())
                .timeout_config(
                    TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(2)).build(),
                );
            config.set_credentials_provider(keys);
            config.set_endpoint_url(endpoint.map(str::to_owned));
            let client = aws_sdk_dynamodb::Client::from_conf(config.build());
            let error = client.list_tables().send().await.unwrap_err();
            let said = told("lab", &error).to_string();
            assert!(
                said.starts_with("the DynamoDB table `lab` can't be ") && said.contains(advice),
                "{said}"
            );
            // none of the insides of the SDK
            assert!(!said.contains(" { ") && said.len() < 300, "{said}");
        }
    }
}
