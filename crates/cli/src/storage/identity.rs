//! Who we are for AWS: whom the SDK finds, and where it finds nobody, which setting that is due to. The SDK asks one place after
//! the other and tells only what the last one said, which is always that no role of this machine answers.

use std::error::Error as _;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use coroner_store::dynamodb;

use crate::environment::Environment;

/// The same configuration, which says why it has no credentials.
pub(super) fn explained(config: SdkConfig) -> SdkConfig {
    let Some(found) = config.credentials_provider() else { return config };
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(Explained(found))).build()
}

#[derive(Debug)]
struct Explained(SharedCredentialsProvider);

impl ProvideCredentials for Explained {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            match self.0.provide_credentials().await {
                Err(error) if is_of_the_last(&error) => Err(CredentialsError::not_loaded(why().await)),
                other => other,
            }
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.0.fallback_on_interrupt()
    }
}

/// Did all of them have none? One that is set up and does not work is told as it is.
fn is_of_the_last(error: &CredentialsError) -> bool {
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    matches!(error, CredentialsError::CredentialsNotLoaded(_)) || source.contains("IMDS")
}

async fn why() -> String {
    let env = Environment::of_this_process();
    let [key, secret] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| env.text(name).is_some());
    match (key, secret) {
        (true, false) => return "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not".to_owned(),
        (false, true) => return "AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not".to_owned(),
        _ => {}
    }
    let config = ProviderConfig::without_region()
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_http_client(dynamodb::http_client());
    let alone =
        ProfileFileCredentialsProvider::builder().configure(&config).build().provide_credentials().await;
    let says = alone.err().and_then(|error| error.source().map(ToString::to_string)).unwrap_or_default();
    match (says.is_empty(), env.text("AWS_PROFILE")) {
        (false, _) => says,
        (true, Some(profile)) => {
            format!("the profile `{profile}` of AWS_PROFILE is not there, or holds none")
        }
        (true, None) => "none are set, and no role of this machine answers".to_owned(),
    }
}
