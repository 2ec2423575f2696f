//! Requests to AWS: signed with the credentials of this user or machine, and what can be wrong with those.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_types::SdkConfig;
use tokio::sync::Mutex;

use crate::quote;

/// So long before they end, credentials that were fetched are fetched anew.
const BEFORE_THE_END: Duration = Duration::from_secs(60);

/// Why AWS would not know us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AwsTrouble {
    /// Nobody says who we are, or nobody of that name is known.
    #[error(
        "no credentials that AWS takes ({why}); set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give \
         the machine a role"
    )]
    Credentials {
        /// What the SDK or AWS says.
        why: String,
    },
    /// They were good for a while.
    #[error("the credentials have expired; renew them (`aws sso login`, or new AWS_SESSION_TOKEN)")]
    Expired,
    /// It is not said where it is.
    #[error("no region is set; set AWS_REGION, or `region` in ~/.aws/config")]
    NoRegion,
    /// Signatures hold for minutes.
    #[error("AWS takes the request for an old one; check this machine's clock")]
    Clock,
}

impl AwsTrouble {
    /// What AWS means by `code`, if that is about who asks. It has one for a wrong key and for a wrong time, which its words tell
    /// apart.
    pub(crate) fn of(code: &str, says: &str) -> Option<Self> {
        match code {
            "InvalidSignatureException" | "SignatureDoesNotMatch"
                if says.contains("Signature expired") || says.contains("not yet current") =>
            {
                Some(Self::Clock)
            }
            "ExpiredToken" | "ExpiredTokenException" => Some(Self::Expired),
            "RequestExpired" | "RequestTimeTooSkewed" => Some(Self::Clock),
            "IncompleteSignature"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => Some(Self::Credentials { why: code.to_owned() }),
            _ => None,
        }
    }
}

/// Signs for one service.
#[derive(Debug)]
pub struct Signer {
    aws: SdkConfig,
    service: &'static str,
    /// Those that end: whoever gives them (STS, SSO) is asked over the network.
    kept: Mutex<Option<Credentials>>,
}

impl Signer {
    /// `service` is the name by which AWS signs, which need not be its host's.
    pub(crate) fn new(aws: SdkConfig, service: &'static str) -> Self {
        Self { aws, service, kept: Mutex::default() }
    }

    pub(crate) fn region(&self) -> Result<&str, AwsTrouble> {
        self.aws.region().map(AsRef::as_ref).ok_or(AwsTrouble::NoRegion)
    }

    /// Where a service is, unless the configuration says otherwise.
    pub(crate) fn place(&self, host: &str) -> Result<String, AwsTrouble> {
        let region = self.region()?;
        let china = if region.starts_with("cn-") { ".cn" } else { "" };
        let usual = || format!("https://{host}.{region}.amazonaws.com{china}");
        Ok(self.aws.endpoint_url().map_or_else(usual, str::to_owned))
    }

    async fn credentials(&self) -> Result<Credentials, AwsTrouble> {
        let mut kept = self.kept.lock().await;
        if let Some(credentials) = &*kept
            && credentials.expiry().is_some_and(|end| end > SystemTime::now() + BEFORE_THE_END)
        {
            return Ok(credentials.clone());
        }
        let none = |why: String| AwsTrouble::Credentials { why };
        let provider = self.aws.credentials_provider().ok_or_else(|| none("none are set".to_owned()))?;
        let credentials = provider.provide_credentials().await.map_err(|e| match e {
            e @ CredentialsError::CredentialsNotLoaded(_) => {
                let why = std::error::Error::source(&e).map(ToString::to_string);
                none(why.map_or_else(|| "none are set".to_owned(), |why| quote::short(&why, None)))
            }
            CredentialsError::ProviderTimedOut(_) => none("whoever gives them did not answer".to_owned()),
            e => none(quote::short(&e.to_string(), None)),
        })?;
        *kept = credentials.expiry().is_some().then(|| credentials.clone());
        Ok(credentials)
    }

    /// The headers that make AWS believe that the request is ours. The path is encoded once more for that, as all services
    /// but S3 want it; `url` holds it as it goes over the wire.
    pub(crate) async fn sign(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<(String, String)>, AwsTrouble> {
        let identity = self.credentials().await?.into();
        let unsigned =
            |_| AwsTrouble::Credentials { why: "nothing can be signed with those that are set".to_owned() };
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region()?)
            .name(self.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| unsigned(()))?
            .into();
        let signable = SignableRequest::new(method, url, headers.iter().copied(), SignableBody::Bytes(body));
        let output = sign(signable.map_err(|_| unsigned(()))?, &params).map_err(|_| unsigned(()))?;
        let (headers, _) = output.into_parts().0.into_parts();
        Ok(headers.into_iter().map(|it| (it.name().to_owned(), it.value().to_owned())).collect())
    }
}
