//! Webhooks: a POST that follows no redirect, within a time, signed as the Standard Webhooks specification says.

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::Sha256;

use super::channel::SendError;
use super::notice::one_line;
use super::outgoing::Outgoing;

const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(20);
/// So much of a refusal is read, in bytes, and so much told, in characters.
const REFUSAL: usize = 2048;
const TOLD: usize = 160;
/// No receiver makes us wait longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// An address that takes messages.
#[derive(Clone)]
pub(super) struct Hook {
    /// Made when something is sent: reading the system's certificates takes longer than many a command has.
    client: OnceLock<Result<Client, String>>,
    url: SecretString,
    key: Option<SecretString>,
    shown: String,
    secure: bool,
    local: bool,
}

// the address is often the secret
impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Hook {
    pub(super) fn new(url: &SecretString, key: Option<&SecretString>) -> Result<Self, String> {
        let parsed = Url::parse(url.expose_secret().trim())
            .map_err(|e| format!("its address can't be read ({e}); it should look like https://host/path"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err("its address should begin with https:// or http://".to_owned());
        }
        let host = parsed.host_str().unwrap_or_default().to_owned();
        let local = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if let Some(key) = key {
            key_bytes(key)?;
        }
        Ok(Self {
            client: OnceLock::new(),
            secure: parsed.scheme() == "https",
            local,
            shown: parsed.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}")),
            url: SecretString::from(parsed.to_string()),
            key: key.cloned(),
        })
    }

    fn client(&self) -> Result<&Client, SendError> {
        let made = self.client.get_or_init(|| {
            // fails only if somebody has installed a provider already, which is as good
            let _ = rustls::crypto::ring::default_provider().install_default();
            let mut builder = Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT)
                .timeout(WHOLE)
                .user_agent(concat!("coroner/", env!("CARGO_PKG_VERSION")));
            if !self.secure {
                builder = builder.tls_certs_only([]);
            }
            if self.local {
                builder = builder.no_proxy();
            }
            builder.build().map_err(|e| format!("no secure connection can be made here ({})", innermost(&e)))
        });
        made.as_ref().map_err(|why| SendError::later(why.clone()))
    }

    /// `host:port`.
    pub(super) fn place(&self) -> &str {
        &self.shown
    }

    pub(super) fn is_signed(&self) -> bool {
        self.key.is_some()
    }

    pub(super) fn warning(&self) -> Option<&'static str> {
        (!self.secure && !self.local)
            .then_some("messages travel in the clear: https:// would keep them from others")
    }

    pub(super) fn secrets(&self) -> Vec<String> {
        let url = self.url.expose_secret();
        // the path is what a secret address hides; a host alone is none
        let path = Url::parse(url).ok().map(|url| url.path().to_owned()).filter(|path| path.len() > 8);
        let key = self.key.as_ref().map(|key| key.expose_secret().to_owned());
        path.map(|_| url.to_owned()).into_iter().chain(path_of(url)).chain(key).collect()
    }

    pub(super) async fn post(&self, message: &Outgoing<'_>, body: &Value) -> Result<(), SendError> {
        let body = body.to_string();
        let mut request = self
            .client()?
            .post(self.url.expose_secret())
            .header("content-type", "application/json")
            .header("webhook-id", message.delivery);
        if let Some(key) = &self.key {
            let at = Timestamp::now().as_second();
            let signature = sign(key, message.delivery, at, &body).map_err(SendError::later)?;
            request = request.header("webhook-timestamp", at).header("webhook-signature", signature);
        }
        let mut response = request.body(body).send().await.map_err(|e| self.no_answer(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let after = after.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
        let mut said = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            said.extend_from_slice(&chunk);
            if said.len() > REFUSAL {
                break;
            }
        }
        said.truncate(REFUSAL);
        let said = one_line(String::from_utf8_lossy(&said).trim());
        let mut why = format!("{} answered {}", self.shown, status.as_u16());
        if status.is_redirection() {
            why.push_str(", a redirect, which is not followed: give the address that it leads to");
        } else if !said.is_empty() && !said.starts_with('<') {
            why.push_str(&format!(": {}", super::event::cut(&self.masked(&said), TOLD)));
        }
        match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Err(SendError::Later { why, after })
            }
            _ if status.is_server_error() => Err(SendError::Later { why, after }),
            _ => Err(SendError::Refused { why }),
        }
    }

    /// A receiver that repeats our secrets to us does not get them into our records.
    fn masked(&self, said: &str) -> String {
        self.secrets().iter().fold(said.to_owned(), |said, secret| said.replace(secret.as_str(), "***"))
    }

    fn no_answer(&self, error: &reqwest::Error) -> SendError {
        let why = if error.is_timeout() { "no answer in time".to_owned() } else { innermost(error) };
        SendError::later(self.masked(&one_line(&format!("{}: {why}", self.shown))))
    }
}

fn path_of(url: &str) -> Option<String> {
    let path = Url::parse(url).ok()?.path().to_owned();
    (path.len() > 8).then_some(path)
}

/// The last cause says most; the address stands in the first and is left out with it.
fn innermost(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.last().map_or_else(|| "no answer".to_owned(), ToString::to_string)
}

/// `whsec_` and base64, as the specification has it, or any text of 16 bytes or more.
fn key_bytes(key: &SecretString) -> Result<Vec<u8>, String> {
    let text = key.expose_secret().trim();
    let bytes = match text.strip_prefix("whsec_") {
        Some(rest) => STANDARD
            .decode(rest)
            .map_err(|_| "its secret begins with whsec_, but what follows is not base64")?,
        None => text.as_bytes().to_vec(),
    };
    if bytes.len() < 16 { Err("its secret is shorter than 16 bytes".to_owned()) } else { Ok(bytes) }
}

/// `v1,` and the base64 of the HMAC-SHA256 of id, time and body, with dots between.
pub(super) fn sign(key: &SecretString, id: &str, at: i64, body: &str) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key_bytes(key)?).map_err(|e| e.to_string())?;
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_specification() {
        // the example of github.com/standard-webhooks
        let key = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(sign(&SecretString::from("short"), "a", 1, "b").unwrap_err().contains("16 bytes"));
        assert!(sign(&SecretString::from("whsec_???"), "a", 1, "b").unwrap_err().contains("base64"));
    }

    #[test]
    fn addresses_are_checked_and_hidden() {
        let hook = |url: &str| Hook::new(&SecretString::from(url), None);
        let good = hook("https://hooks.example.org/services/T0/B0/secretsecret").unwrap();
        assert_eq!(good.place(), "hooks.example.org");
        assert!(!format!("{good:?}").contains("secretsecret"));
        assert_eq!(good.masked("no /services/T0/B0/secretsecret here"), "no *** here");
        for (url, why) in
            [("ftp://x", "https://"), ("nowhere", "can't be read"), ("file:///etc/passwd", "https://")]
        {
            let error = hook(url).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(hook("http://example.org/x").unwrap().warning().is_some());
        assert!(hook("http://127.0.0.1:8/x").unwrap().warning().is_none());
    }
}
