//! The one way to a provider: a request with the key, an answer of limited size, inside a deadline.

use std::error::Error as _;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, Url};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::complaint::{Called, Complaint};
use crate::failure::{AskError, Stage};
#[cfg(feature = "aws")]
use crate::key::KeyError;
use crate::key::{ApiKey, Credential};
use crate::quote;
use crate::retry::Advice;

/// No answer that we ask for comes near this.
const BODY_LIMIT: usize = 1024 * 1024;
/// Of a refusal we read no more than this.
const REFUSAL_LIMIT: usize = 64 * 1024;
/// Who does not take a connection in this time is tried anew.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// By when an answer has to be there in whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) limit: Duration,
}

impl Deadline {
    pub(crate) fn starting_now(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    pub(crate) fn missed(self, stage: Stage) -> Failed {
        Failed { error: AskError::TimedOut { limit: self.limit, stage }, advice: Advice::Never }
    }
}

/// An attempt that failed, and whether to try again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failed {
    pub(crate) error: AskError,
    pub(crate) advice: Advice,
}

impl From<AskError> for Failed {
    fn from(error: AskError) -> Self {
        Self { error, advice: Advice::Never }
    }
}

/// In which header the key goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Auth {
    ApiKeyHeader,
    Bearer,
    /// As a bearer's; where there is none, a signature.
    #[cfg(feature = "aws")]
    Aws,
}

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) path: &'a str,
    /// `POST` with this body, or `GET`.
    pub(crate) body: Option<&'a Value>,
    /// For the words of an error.
    pub(crate) model: &'a str,
}

/// A provider's address and our key there.
#[derive(Debug)]
pub(crate) struct Endpoint {
    base: String,
    auth: Auth,
    headers: &'static [(&'static str, &'static str)],
    credential: Credential,
    ready: OnceLock<Result<Ready, AskError>>,
}

#[derive(Debug)]
struct Ready {
    client: Client,
    base: Url,
    shown: String,
}

impl Endpoint {
    /// Nothing is looked at until the first call, so a wrong address is a failure of that call.
    pub(crate) fn new(
        base: &str,
        auth: Auth,
        headers: &'static [(&'static str, &'static str)],
        credential: Credential,
    ) -> Self {
        Self { base: base.to_owned(), auth, headers, credential, ready: OnceLock::new() }
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// `host:port`, or a placeholder for an address that can't be read.
    pub(crate) fn shown(&self) -> &str {
        self.ready().map_or("the model's address", |ready| &ready.shown)
    }

    /// Does the key travel in the clear over a network?
    pub(crate) fn in_the_clear(&self) -> bool {
        let keyed = matches!(self.credential, Credential::Key(_) | Credential::Renewed(_));
        keyed && self.ready().is_ok_and(|r| r.base.scheme() == "http" && !is_loopback(&r.base))
    }

    fn ready(&self) -> Result<&Ready, &AskError> {
        self.ready.get_or_init(|| Ready::new(&self.base)).as_ref()
    }

    /// The key to send, if one is needed.
    async fn key(&self) -> Result<Option<ApiKey>, AskError> {
        match &self.credential {
            Credential::Key(key) => Ok(Some(key.clone())),
            Credential::Renewed(key) => key.get().await.map(Some).map_err(AskError::NoKey),
            Credential::NotNeeded => Ok(None),
            #[cfg(feature = "aws")]
            Credential::Signed(_) => Ok(None),
            Credential::Missing(error) => Err(AskError::NoKey(error.clone())),
        }
    }

    /// Sends `call` and gives the JSON of a 2xx answer. A key that is refused and is another one by now is tried again.
    pub(crate) async fn send(&self, call: Call<'_>, deadline: Deadline) -> Result<Value, Failed> {
        let late = |_| deadline.missed(Stage::Waiting);
        let key = timeout_at(deadline.at, self.key()).await.map_err(late)??;
        let failed = match self.send_once(&call, key.as_ref(), deadline).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        if let (AskError::KeyRefused { .. }, Credential::Renewed(renewed), Some(refused)) =
            (&failed.error, &self.credential, &key)
            && let Ok(Some(other)) = timeout_at(deadline.at, renewed.instead_of(refused)).await
        {
            return self.send_once(&call, Some(&other), deadline).await;
        }
        Err(failed)
    }

    async fn send_once(
        &self,
        call: &Call<'_>,
        key: Option<&ApiKey>,
        deadline: Deadline,
    ) -> Result<Value, Failed> {
        let ready = self.ready().map_err(Clone::clone)?;
        let request = timeout_at(deadline.at, self.request(ready, call, key)).await;
        let request = request.map_err(|_| deadline.missed(Stage::Waiting))??;
        let response = match timeout_at(deadline.at, request.send()).await {
            Err(_) => return Err(deadline.missed(Stage::Waiting)),
            Ok(Err(error)) => return Err(no_answer(&error, &ready.shown)),
            Ok(Ok(response)) => response,
        };
        if response.status().is_success() {
            let is_html = is_html(response.headers());
            let body = read(response, BODY_LIMIT, deadline, &ready.shown).await?;
            return parse(&body, is_html).map_err(|what| not_an_answer(&ready.shown, what));
        }
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let advice = Advice::read(status, &headers, jiff::Timestamp::now());
        // the status alone says enough when the words do not come
        let body = read(response, REFUSAL_LIMIT, deadline, &ready.shown).await.unwrap_or_default();
        let called = Called {
            endpoint: &ready.shown,
            path: call.path,
            model: call.model,
            secret: key.map(ApiKey::expose),
            #[cfg(feature = "aws")]
            aws: matches!(self.auth, Auth::Aws),
        };
        let error = Complaint::read(&body, &headers).means(status, &headers, &called);
        // whatever the headers say, money does not come back by asking
        let advice = if matches!(error, AskError::SpendLimit { .. }) { Advice::Never } else { advice };
        Err(Failed { error, advice })
    }

    async fn request(
        &self,
        ready: &Ready,
        call: &Call<'_>,
        key: Option<&ApiKey>,
    ) -> Result<reqwest::RequestBuilder, AskError> {
        let mut url = ready.base.clone();
        let (path, query) = call.path.split_once('?').map_or((call.path, None), |(p, q)| (p, Some(q)));
        url.set_path(&format!("{}{path}", ready.base.path().trim_end_matches('/')));
        url.set_query(query);
        let method = if call.body.is_some() { Method::POST } else { Method::GET };
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.insert("accept", HeaderValue::from_static("application/json"));
        if let Some(key) = key {
            let (name, value) = match self.auth {
                Auth::ApiKeyHeader => ("x-api-key", key.expose().to_owned()),
                #[cfg(feature = "aws")]
                Auth::Aws => ("authorization", format!("Bearer {}", key.expose())),
                Auth::Bearer => ("authorization", format!("Bearer {}", key.expose())),
            };
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| AskError::BadAddress { why: "the key does not fit a header".to_owned() })?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let body = call.body.map(Value::to_string);
        if body.is_some() {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
        }
        #[cfg(feature = "aws")]
        if let Credential::Signed(signer) = &self.credential {
            let told = body.as_deref().unwrap_or_default();
            let signed = signer.sign(method.as_str(), url.as_str(), &[], told.as_bytes()).await;
            for (name, value) in signed.map_err(KeyError::Aws)? {
                // `sign` makes headers of HTTP
                if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
                {
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
            }
        }
        let request = ready.client.request(method, url).headers(headers);
        Ok(match body {
            Some(body) => request.body(body),
            None => request,
        })
    }
}

impl Ready {
    fn new(base: &str) -> Result<Self, AskError> {
        let bad = |why: &str| AskError::BadAddress { why: why.to_owned() };
        // people write it with and without /v1, as each server's documentation has it
        let trimmed = base.trim().trim_end_matches('/');
        let trimmed = trimmed.strip_suffix("/v1").unwrap_or(trimmed);
        let url = Url::parse(trimmed).map_err(|e| bad(&format!("{e}; it should look like https://host")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("it should begin with https:// or http://"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(bad("user, password and query have no place in it; give the key apart"));
        }
        let host = url.host_str().unwrap_or_default();
        let shown = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let client =
            client(&url).map_err(|e| AskError::Tls { endpoint: shown.clone(), why: innermost(&e) })?;
        Ok(Self { client, base: url, shown })
    }
}

/// A client that never follows a redirect (the key would go along) and takes the system's proxy, except to this
/// machine. Without TLS no CA certificates are read: a bare container has none and needs none for that.
pub(crate) fn client(base: &Url) -> reqwest::Result<Client> {
    // fails only if somebody has installed a provider already, which is as good
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_PATIENCE)
        .user_agent(concat!("coroner/", env!("CARGO_PKG_VERSION")));
    if base.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(base) {
        builder = builder.no_proxy();
    }
    builder.build()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The body, up to `limit` bytes.
async fn read(
    mut response: Response,
    limit: usize,
    deadline: Deadline,
    shown: &str,
) -> Result<Vec<u8>, Failed> {
    let too_large = || Failed::from(AskError::TooLarge { endpoint: shown.to_owned(), limit });
    if response.content_length().is_some_and(|n| n > limit as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    loop {
        match timeout_at(deadline.at, response.chunk()).await {
            Err(_) => return Err(deadline.missed(Stage::Reading { bytes: body.len() })),
            Ok(Err(_)) => {
                let error = AskError::Dropped { endpoint: shown.to_owned(), bytes: body.len() };
                return Err(Failed { error, advice: Advice::Soon });
            }
            Ok(Ok(None)) => return Ok(body),
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > limit => return Err(too_large()),
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
        }
    }
}

fn is_html(headers: &HeaderMap) -> bool {
    headers.get("content-type").is_some_and(|v| v.as_bytes().to_ascii_lowercase().starts_with(b"text/html"))
}

/// The JSON of a body, or what it is instead.
fn parse(body: &[u8], is_html: bool) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|error| {
        let start = body.trim_ascii_start();
        if start.is_empty() {
            "nothing at all".to_owned()
        } else if is_html || start.starts_with(b"<") {
            "an HTML page".to_owned()
        } else if error.is_eof() {
            format!("JSON that is cut off after {} bytes", body.len())
        } else {
            "something that is not JSON".to_owned()
        }
    })
}

/// What a 2xx answer is told to be when it is not one.
pub(crate) fn not_an_answer(endpoint: &str, what: impl Into<String>) -> Failed {
    AskError::NotAnAnswer { endpoint: endpoint.to_owned(), what: what.into() }.into()
}

/// No response at all: why, as far as the error tells.
fn no_answer(error: &reqwest::Error, shown: &str) -> Failed {
    let endpoint = shown.to_owned();
    if is_about_trust(error) {
        return AskError::Tls { endpoint, why: innermost(error) }.into();
    }
    let why = if error.is_timeout() {
        format!("no connection in {} s", CONNECT_PATIENCE.as_secs())
    } else {
        innermost(error)
    };
    Failed { error: AskError::Unreachable { endpoint, why }, advice: Advice::Soon }
}

/// Is there an error of the TLS library somewhere in the chain, or a connection that ended in its handshake?
fn is_about_trust(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        let cut = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        cause.is::<rustls::Error>() || (error.is_connect() && cut == Some(std::io::ErrorKind::UnexpectedEof))
    })
}

/// The last cause says most; the URL stands in the first and is left out with it.
fn innermost(error: &reqwest::Error) -> String {
    causes(error)
        .last()
        .map_or_else(|| "no answer".to_owned(), |cause| quote::short(&cause.to_string(), None))
}

/// What caused `error`, and what caused that. An I/O error hides the one that it wraps from `source`.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> + '_ {
    std::iter::successors(error.source(), |&cause| {
        let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        wrapped.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| cause.source())
    })
}
