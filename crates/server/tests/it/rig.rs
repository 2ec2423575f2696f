//! A desk that listens, over a store in a folder of its own, and a client that speaks HTTP by hand.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use coroner_diagnosis::{Capture, Category, Code, Diagnosis, Origin, RuleSet, Severity, conclude, examine};
use coroner_server::{Analyst, Desk, Settings};
use coroner_store::Store;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The rules alone.
pub(crate) struct Rules(RwLock<RuleSet>);

impl Rules {
    pub(crate) fn built_in() -> Self {
        Self(RwLock::new(RuleSet::new(&[]).unwrap()))
    }
}

impl Analyst for Rules {
    fn diagnose(&self, capture: &Capture) -> Diagnosis {
        let examined = examine(capture, &self.rules(), &coroner_diagnosis::Settings::default());
        conclude(examined, None, "2026-11-28T12:00:00Z")
    }

    fn signature_parts(&self, capture: &Capture) -> (String, Vec<String>) {
        let signature = examine(capture, &self.rules(), &coroner_diagnosis::Settings::default()).signature;
        (signature.id, signature.parts)
    }

    fn rules(&self) -> RuleSet {
        self.0.read().unwrap().clone()
    }

    fn silence(&self, ids: &[String]) {
        let mut rules = self.0.write().unwrap();
        *rules = rules.without(ids.iter().map(String::as_str));
    }
}

/// What a failure with this error message is.
pub(crate) fn diagnosis(error: &str) -> Diagnosis {
    let code = Some(Code { name: None, text: "import torch\n".into() });
    let capture = Capture { error_message: Some(error.to_owned()), code, ..Capture::default() };
    Rules::built_in().diagnose(&capture)
}

/// One with these words.
pub(crate) fn verdict(category: Category, severity: Severity, origin: Origin) -> Diagnosis {
    let signature = format!("v1:{category}");
    Diagnosis { failure_category: category, severity, origin, signature, ..diagnosis("it went wrong") }
}

pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    end: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    _folder: TempDir,
}

impl Rig {
    /// One that asks nobody who they are.
    pub(crate) async fn open() -> Self {
        Self::with(Settings { auth: false, ..Settings::default() }).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::telling(settings, |_| None).await
    }

    /// One that tells of failures.
    pub(crate) async fn telling(
        mut settings: Settings,
        alerts: impl FnOnce(Store) -> Option<coroner_server::alerts::Alerts>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::on_dynamodb::or_in(folder.path()).await;
        settings.alerts = alerts(store.clone());
        let rules = Arc::new(Rules::built_in());
        let desk = Desk::new(store.clone(), rules, settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let served = tokio::spawn(coroner_server::serve(desk, listener, async { _ = ended.await }));
        Self { address, store, end: Some(end), served, _folder: folder }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"), b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, "content-type: application/json\r\n", body.to_string().as_bytes()).await
    }

    /// With these headers, each with its line's end.
    pub(crate) async fn call(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        self.send(&head, body).await
    }

    /// A request as it is.
    pub(crate) async fn send(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // whoever refuses a body need not read it: what is answered meanwhile counts
        let (mut from, mut to) = stream.split();
        let mut bytes = Vec::new();
        let send = async {
            _ = to.write_all(body).await;
        };
        let receive = async { _ = from.read_to_end(&mut bytes).await };
        tokio::join!(send, receive);
        Answer::parse(&bytes)
    }

    /// The same, from somebody who waits so long for the answer and goes.
    pub(crate) async fn post_and_go(&self, path: &str, body: &Value, waits: Duration) {
        let body = body.to_string();
        let length = body.len();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\ncontent-type: application/json\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        tokio::time::sleep(waits).await;
    }

    /// Ends the desk and waits until it has ended; what it has kept is left.
    pub(crate) async fn leave(mut self) -> (Store, TempDir) {
        drop(self.end.take());
        self.served.await.unwrap().unwrap();
        (self.store, self._folder)
    }

    /// Ends the desk and waits until it has ended.
    pub(crate) async fn end(self) {
        let (store, _folder) = self.leave().await;
        store.close().await.unwrap();
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let head: String = head
            .lines()
            .map(|line| match line.split_once(':') {
                Some((name, value)) => format!("{}:{value}\n", name.to_lowercase()),
                None => format!("{}\n", line.to_lowercase()),
            })
            .collect();
        let mut body = bytes.get(end + 4..).unwrap_or_default().to_vec();
        if head.contains("transfer-encoding: chunked") {
            body = unchunked(&body);
        }
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, head, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.head, self.text())
    }
}

fn unchunked(mut from: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = from.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&from[..end]).unwrap(), 16).unwrap();
        let from_here = &from[end + 2..];
        body.extend_from_slice(&from_here[..size.min(from_here.len())]);
        if size == 0 || from_here.len() < size + 2 {
            break;
        }
        from = &from_here[size + 2..];
    }
    body
}
