//! The desk's API, asked from elsewhere: what is sent, and what an answer means for what is to be done next.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::blocking::{Body, Client, RequestBuilder};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{Begun, Ended, Taken};

const CONNECT: Duration = Duration::from_secs(5);
/// How long the desk waits for a word of a run before it takes it for lost.
const SILENCE: u64 = 300;
/// No answer that we ask for is longer.
const ANSWER: u64 = 16 << 20;
/// Of what a desk says when it refuses something so much is told.
const TOLD: usize = 240;
/// A failure is sent with its code, as JSON, if that is not longer than this; without it otherwise.
const WHOLE: usize = 12 << 20;
/// No address is longer: some servers take no more.
const ADDRESS: usize = 7 << 10;

/// A desk that runs are reported to.
pub struct Desk {
    url: Url,
    shown: String,
    token: Option<SecretString>,
    /// Made when something is sent: reading the system's certificates takes longer than many a command has.
    client: OnceLock<Result<Client, String>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// An address that no desk has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the desk's address {why}; it should look like https://coroner.example or http://127.0.0.1:8080")]
pub struct AddressError {
    why: String,
}

/// Why a report was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Nobody answers there.
    #[error("{why}")]
    Unreachable {
        /// What was found out.
        why: String,
    },
    /// Not now: somebody answers, and it may well work in a while.
    #[error("{why}")]
    Later {
        /// What was answered.
        why: String,
        /// After which time, where that was said.
        after: Option<Duration>,
    },
    /// Waiting does not help.
    #[error("{why}; {advice}")]
    Refused {
        /// What was answered.
        why: String,
        /// What to do.
        advice: &'static str,
    },
}

impl Desk {
    /// The desk at this address.
    pub fn new(url: &str, token: Option<SecretString>) -> Result<Self, AddressError> {
        let wrong = |why: &str| AddressError { why: why.to_owned() };
        let mut url = Url::parse(url.trim()).map_err(|e| wrong(&format!("can't be read ({e})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("begins with neither https:// nor http://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("holds a user or a password; a token is given in CORONER_TOKEN"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has a query or a fragment"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let host = url.host_str().unwrap_or_default().to_owned();
        let shown = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        Ok(Self { url, shown, token, client: OnceLock::new() })
    }

    /// Its address, always written the same.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The page of an experiment there.
    #[must_use]
    pub fn page(&self, id: &str) -> String {
        self.at(&["experiments", id]).to_string()
    }

    /// What is worth a word about the way there.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let in_the_clear = self.token.is_some() && self.url.scheme() == "http" && !self.is_local();
        in_the_clear.then(|| format!("the token travels to {} in the clear: use https://", self.shown))
    }

    /// Does a desk answer there, and would it take what we report? It is told that a run goes on which it can't know: it says so to
    /// whoever may report, and nothing changes.
    pub fn reach(&self, limit: Duration) -> Result<(), NotTaken> {
        let client = self.client()?;
        let response = client.get(self.at(&["healthz"])).timeout(limit).send();
        let status = response.map_err(|e| self.no_answer(&e))?.status();
        if !status.is_success() {
            return Err(self.not_taken(status, None, &[]));
        }
        let nobody = format!("nobody-{}", jiff::Timestamp::now().as_nanosecond());
        let request = client.post(self.at(&["api", "v1", "experiments", &nobody, "heartbeat"]));
        let request = self.with_token(with_json(request, &json!({})));
        let response = request.timeout(limit).send().map_err(|e| self.no_answer(&e))?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND || status.is_success() {
            return Ok(());
        }
        let mut body = Vec::new();
        // without its words the status says enough
        _ = response.take(ANSWER).read_to_end(&mut body);
        Err(self.not_taken(status, None, &body))
    }

    /// Tells that a run has begun. `again`: it may have been told before.
    pub fn start(&self, begun: &Begun, again: bool, limit: Duration) -> Result<Taken, NotTaken> {
        let body = json!({
            "experiment_id": begun.experiment_id,
            "experiment_type": begun.experiment_type,
            "command": begun.command,
            "cwd": begun.cwd,
            "host": begun.owner.host,
            "started_at": begun.started_at,
            "heartbeat_seconds": SILENCE,
            "key": begun.key,
            "again": again,
        });
        let request = self.client()?.post(self.at(&["api", "v1", "experiments"]));
        self.send(with_json(request, &body), limit)
    }

    /// Tells that a run still runs.
    pub fn beat(&self, id: &str, limit: Duration) -> Result<Taken, NotTaken> {
        let request = self.client()?.post(self.at(&["api", "v1", "experiments", id, "heartbeat"]));
        self.send(with_json(request, &json!({"heartbeat_seconds": SILENCE})), limit)
    }

    /// Tells how a run has ended, with its log (compressed with zstd).
    pub fn end(
        &self,
        id: &str,
        ended: &Ended,
        log: Option<&Path>,
        limit: Duration,
    ) -> Result<Taken, NotTaken> {
        let client = self.client()?;
        let mut address = self.at(&["api", "v1", "experiments", id, "end"]);
        let unreadable = |e: std::io::Error| NotTaken::Refused {
            why: format!("its log can't be read ({e})"),
            advice: super::deliver::UNREADABLE,
        };
        let facts = facts(ended);
        if let Some(whole) = whole(ended, log, &facts).map_err(unreadable)? {
            let packed = zstd::encode_all(whole.as_bytes(), 1).map_err(unreadable)?;
            let request = client.post(address).header("content-type", "application/json");
            return self.send(request.header("content-encoding", "zstd").body(packed), limit);
        }
        // the body is the log: everything else stands in the address
        for (name, value) in &facts {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let before = address.clone();
            address.query_pairs_mut().append_pair(name, &text);
            if address.as_str().len() > ADDRESS {
                address = before;
            }
        }
        let request = client.post(address).header("content-type", "application/octet-stream");
        let Some(log) = log else { return self.send(request, limit) };
        let file = File::open(log).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        self.send(request.header("content-encoding", "zstd").body(Body::sized(file, length)), limit)
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        // an address with http or https can be a base
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn is_local(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    fn client(&self) -> Result<&Client, NotTaken> {
        let made = self.client.get_or_init(|| {
            // fails only if somebody has installed a provider already, which is as good
            let _ = rustls::crypto::ring::default_provider().install_default();
            let mut builder = Client::builder()
                // the token would go along
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT)
                .user_agent(concat!("coroner/", env!("CARGO_PKG_VERSION")));
            if self.url.scheme() == "http" {
                builder = builder.tls_certs_only([]);
            }
            if self.is_local() {
                builder = builder.no_proxy();
            }
            builder.build().map_err(|e| format!("no secure connection can be made here ({})", innermost(&e)))
        });
        made.as_ref().map_err(|why| NotTaken::Unreachable { why: why.clone() })
    }

    fn with_token(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    fn send(&self, request: RequestBuilder, limit: Duration) -> Result<Taken, NotTaken> {
        let response = self.with_token(request).timeout(limit).send().map_err(|e| self.no_answer(&e))?;
        let status = response.status();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        let read = response.take(ANSWER).read_to_end(&mut body);
        if !status.is_success() {
            return Err(self.not_taken(status, after.map(Duration::from_secs), &body));
        }
        if read.is_err() {
            let why = format!("{} broke off while it answered", self.shown);
            return Err(NotTaken::Later { why, after: None });
        }
        serde_json::from_slice(&body).map_err(|_| NotTaken::Refused {
            why: format!("{} answered, but not as a desk does", self.shown),
            advice: "see whether this is the address of a coroner serve",
        })
    }

    fn not_taken(&self, status: StatusCode, after: Option<Duration>, body: &[u8]) -> NotTaken {
        let mut why = format!("{} answered {}", self.shown, status.as_u16());
        if let Some(said) = self.said(body) {
            why.push_str(&format!(" ({said})"));
        }
        let advice = match status.as_u16() {
            408 | 425 | 429 | 500.. => return NotTaken::Later { why, after },
            300..=399 => "that is a redirect, which is not followed: give the address that it leads to",
            401 => {
                "give a token that the desk knows, in CORONER_TOKEN or report_token_file: coroner token add NAME --scope report"
            }
            403 => "give a token that may report: coroner token add NAME --scope report",
            404 => {
                "see whether this is the address of a coroner serve, and whether the experiment is still there"
            }
            409 => "it has ended otherwise there: compare the two, and drop this one if the desk's is right",
            413 => "its log is larger than the desk takes: keep logs shorter with run.log_limit",
            421 => "give the desk's own address, or set serve.public_url there",
            _ => "this coroner and the desk's may be of different versions: update the older one",
        };
        NotTaken::Refused { why, advice }
    }

    /// What the desk says of itself, in a line and without our token.
    fn said(&self, body: &[u8]) -> Option<String> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let said = answer["error"]["message"].as_str()?;
        let line: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TOLD).collect();
        let token = self.token.as_ref().map(ExposeSecret::expose_secret).filter(|token| !token.is_empty());
        Some(token.map_or_else(|| line.clone(), |token| line.replace(token, "***")))
    }

    fn no_answer(&self, error: &reqwest::Error) -> NotTaken {
        let shown = &self.shown;
        if error.is_timeout() && !error.is_connect() {
            return NotTaken::Later { why: format!("{shown} does not answer in time"), after: None };
        }
        let why = if error.is_timeout() { "no connection in time".to_owned() } else { innermost(error) };
        NotTaken::Unreachable { why: format!("{shown} can't be reached ({why})") }
    }
}

fn with_json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}

/// What is known of an end, by the names that the API gives it.
fn facts(ended: &Ended) -> Map<String, Value> {
    let short = |text: &String| text.chars().take(2000).collect::<String>();
    let all = [
        ("at", Some(json!(ended.at))),
        ("became", Some(json!(ended.became))),
        ("exit", ended.exit.as_ref().map(|exit| json!(exit))),
        ("reason", ended.reason.as_ref().map(|reason| json!(short(reason)))),
        ("error_message", ended.error.as_ref().map(|error| json!(short(error)))),
        ("sandbox", ended.sandbox.as_ref().map(|sandbox| json!(sandbox))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The end with log and code in one document, where there is no log, or one with which the code can travel.
fn whole(ended: &Ended, log: Option<&Path>, facts: &Map<String, Value>) -> std::io::Result<Option<String>> {
    let mut document = facts.clone();
    if let Some(code) = &ended.code {
        document.insert("code".to_owned(), json!(code));
    }
    if let Some(log) = log {
        let size = ended.log.map_or(u64::MAX, |log| log.bytes);
        if ended.code.is_none() || size > WHOLE as u64 / 3 {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        zstd::Decoder::new(File::open(log)?)?.take(size).read_to_end(&mut bytes)?;
        // what is no text would be another log afterwards
        let Ok(text) = String::from_utf8(bytes) else { return Ok(None) };
        document.insert("logs".to_owned(), json!(text));
    }
    let document = Value::Object(document).to_string();
    Ok(Some(document).filter(|document| document.len() <= WHOLE))
}

/// The last cause says most; the address stands in the first and is left out with it.
fn innermost(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.last().map_or_else(|| "no answer".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_the_same() {
        let desk = |url: &str| Desk::new(url, None);
        for url in ["http://127.0.0.1:8080", "http://127.0.0.1:8080/", " http://127.0.0.1:8080// "] {
            assert_eq!(desk(url).unwrap().url(), "http://127.0.0.1:8080", "{url}");
        }
        let behind = desk("https://example.org/coroner/").unwrap();
        assert_eq!(behind.page("a b/c~2"), "https://example.org/coroner/experiments/a%20b%2Fc~2");
        assert_eq!(behind.url(), "https://example.org/coroner");
        for (url, why) in [
            ("nowhere", "can't be read"),
            ("ftp://x", "neither https"),
            ("http://ada:pw@x", "CORONER_TOKEN"),
            ("http://x?y=z", "a query"),
        ] {
            let error = desk(url).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("pw"), "{error}");
        }
    }

    #[test]
    fn a_token_stands_in_no_message() {
        let desk = Desk::new("http://example.org", Some("coroner_secret".to_owned().into())).unwrap();
        assert!(!format!("{desk:?}").contains("secret"));
        assert!(desk.warning().unwrap().contains("in the clear"));
        let body = br#"{"error": {"code": "x", "message": "no coroner_secret\u001b[31m here"}}"#;
        let NotTaken::Refused { why, advice } = desk.not_taken(StatusCode::UNAUTHORIZED, None, body) else {
            panic!()
        };
        assert!(why.contains("*** [31m here") && advice.contains("CORONER_TOKEN"), "{why}");
        let later = desk.not_taken(StatusCode::TOO_MANY_REQUESTS, Some(CONNECT), b"<html>");
        assert_eq!(later, NotTaken::Later { why: "example.org answered 429".into(), after: Some(CONNECT) });
    }
}
