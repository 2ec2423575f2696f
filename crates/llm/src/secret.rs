//! A key that lies in AWS Secrets Manager: one signed request, its answer, and what can be wrong with either.

use std::time::Duration;

use async_trait::async_trait;
use aws_types::SdkConfig;
use reqwest::Url;
use serde_json::{Value, json};

use crate::aws::{AwsTrouble, Signer};
use crate::endpoint::client;
use crate::key::{ApiKey, FetchKey, KeyError};
use crate::quote;

/// What an answer is waited for, credentials included.
const PATIENCE: Duration = Duration::from_secs(10);
/// No secret is larger.
const LONGEST: usize = 256 * 1024;

/// A secret by its name or ARN.
#[derive(Debug)]
pub struct Secret {
    id: String,
    /// Where the key is, if the secret holds JSON.
    field: String,
    signer: Signer,
}

/// Why a secret gives no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretTrouble {
    /// AWS would not know us.
    #[error(transparent)]
    Aws(#[from] AwsTrouble),
    /// There is none of this name.
    #[error("there is no such secret in {region}; check its name (model.key_secret) and AWS_REGION")]
    Missing {
        /// Where it was looked for.
        region: String,
    },
    /// There is one, and nothing in it.
    #[error("it has no value yet; give it one with `aws secretsmanager put-secret-value`")]
    NoValue,
    /// Who we are may not.
    #[error(
        "AWS does not allow it; allow secretsmanager:GetSecretValue on it, and kms:Decrypt if it has a key of its own"
    )]
    Forbidden,
    /// It holds JSON, without the key.
    #[error(
        "it is JSON without a text in the field `{field}`; put {{\"{field}\": \"...\"}} into it, or the key alone"
    )]
    NoField {
        /// Which field was looked for.
        field: String,
    },
    /// It is neither the key nor JSON that can be read: part of it, or a list.
    #[error(
        "it is no map of JSON, and no key either; put {{\"{field}\": \"...\"}} into it, or the key alone"
    )]
    NoMap {
        /// Which field would be looked for.
        field: String,
    },
    /// It holds bytes.
    #[error(
        "it is binary, where text is wanted; give it text with `aws secretsmanager put-secret-value --secret-string`"
    )]
    Binary,
    /// Somebody has removed it, and AWS waits with that.
    #[error(
        "it is marked for deletion; bring it back with `aws secretsmanager restore-secret`, or name another (model.key_secret)"
    )]
    Going,
    /// Nobody answers.
    #[error(
        "nobody answers at {place} ({why}); check the network, AWS_REGION and, if it is set, AWS_ENDPOINT_URL"
    )]
    Unreachable {
        /// Whom was asked.
        place: String,
        /// Why.
        why: String,
    },
    /// Anything else.
    #[error("AWS answers {code}")]
    Other {
        /// AWS's word for it, or the status.
        code: String,
    },
}

impl Secret {
    /// `field` is where the key is, if the secret holds JSON. Nothing is asked before it is fetched.
    #[must_use]
    pub fn new(aws: SdkConfig, id: &str, field: &str) -> Self {
        Self { id: id.to_owned(), field: field.to_owned(), signer: Signer::new(aws, "secretsmanager") }
    }

    async fn value(&self) -> Result<String, SecretTrouble> {
        let place = self.signer.place("secretsmanager")?;
        let unreachable = |why: String| SecretTrouble::Unreachable { place: place.clone(), why };
        let url = Url::parse(&place).map_err(|e| unreachable(e.to_string()))?;
        let body = json!({"SecretId": self.id}).to_string();
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "secretsmanager.GetSecretValue"),
        ];
        let signed = self.signer.sign("POST", url.as_str(), &headers, body.as_bytes()).await?;
        // the chain of causes names no key: it is about connections
        let client = client(&url).map_err(|e| unreachable(quote::short(&e.to_string(), None)))?;
        let mut request = client.post(url.clone()).body(body);
        for (name, value) in headers.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).chain(signed) {
            request = request.header(name, value);
        }
        let told = |e: reqwest::Error| unreachable(quote::short(&e.without_url().to_string(), None));
        let mut response = request.send().await.map_err(told)?;
        let ok = response.status().is_success();
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST {
                return Err(SecretTrouble::Other { code: "with more than a secret can hold".to_owned() });
            }
        }
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match ok {
            true => match (answer["SecretString"].as_str(), answer["SecretBinary"].as_str()) {
                (Some(text), _) => Ok(text.to_owned()),
                (None, Some(_)) => Err(SecretTrouble::Binary),
                (None, None) => Err(SecretTrouble::NoValue),
            },
            false => Err(refusal(&answer, status, self.signer.region()?.to_owned())),
        }
    }

    fn key_in(&self, value: &str) -> Result<ApiKey, KeyError> {
        let place = format!("secret {}", self.id);
        let fields = match serde_json::from_str(value) {
            Ok(Value::Object(fields)) => fields,
            // no key begins so: sent as one, the whole would be in somebody's log
            _ if value.trim_start().starts_with(['{', '[', '"']) => {
                return Err(self.failed(SecretTrouble::NoMap { field: self.field.clone() }));
            }
            _ => return ApiKey::new(value, &place),
        };
        match fields.get(&self.field).and_then(Value::as_str) {
            Some(key) => ApiKey::new(key, &place),
            None => Err(self.failed(SecretTrouble::NoField { field: self.field.clone() })),
        }
    }

    fn failed(&self, why: SecretTrouble) -> KeyError {
        KeyError::Secret { secret: self.id.clone(), why }
    }
}

#[async_trait]
impl FetchKey for Secret {
    async fn fetch(&self) -> Result<ApiKey, KeyError> {
        let late = SecretTrouble::Unreachable {
            place: "AWS".to_owned(),
            why: format!("no answer in {} s", PATIENCE.as_secs()),
        };
        let value = tokio::time::timeout(PATIENCE, self.value()).await.unwrap_or(Err(late));
        self.key_in(&value.map_err(|why| self.failed(why))?)
    }
}

/// What AWS means by a refusal. Its words are not repeated: they may name more than the key's place.
fn refusal(answer: &Value, status: u16, region: String) -> SecretTrouble {
    let code = answer["__type"].as_str().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let says = answer["message"].as_str().or(answer["Message"].as_str()).unwrap_or_default();
    if let Some(trouble) = AwsTrouble::of(code, says) {
        return trouble.into();
    }
    match code {
        "ResourceNotFoundException" if says.contains("staging label") => SecretTrouble::NoValue,
        "ResourceNotFoundException" => SecretTrouble::Missing { region },
        "InvalidRequestException" if says.contains("delet") => SecretTrouble::Going,
        "AccessDeniedException" | "DecryptionFailure" => SecretTrouble::Forbidden,
        "" => SecretTrouble::Other { code: status.to_string() },
        code => SecretTrouble::Other { code: quote::short(code, None) },
    }
}
