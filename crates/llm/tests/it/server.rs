//! A small HTTP server on loopback that behaves as badly as it is told to, and remembers what it was sent.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Answers: status, extra headers, body.
    Answer(u16, &'static str, String),
    /// Sends these bytes and closes the connection.
    Raw(Vec<u8>),
    /// Sends these bytes and then nothing more, for ever.
    Stall(Vec<u8>),
    /// Sends this head and then bytes for as long as anybody reads.
    Flood(&'static str),
}

impl Act {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self::Answer(200, "content-type: application/json\r\n", body.into())
    }

    pub(crate) fn status(status: u16, body: impl Into<String>) -> Self {
        // the client's own pauses are tested in paused time; here they would only cost real time
        Self::Answer(status, "content-type: application/json\r\nretry-after-ms: 1\r\n", body.into())
    }
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// Does `acts` one after the other, the last one for ever.
    pub(crate) async fn playing(acts: impl Into<Vec<Act>>) -> Self {
        let acts = acts.into();
        Self::deciding(move |_, n| acts[n.min(acts.len() - 1)].clone()).await
    }

    /// Does what `decide` says to the request and how many there were before it.
    pub(crate) async fn deciding(decide: impl Fn(&Request, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (decide, log) = (Arc::new(decide), Arc::clone(&seen));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (decide, log) = (Arc::clone(&decide), Arc::clone(&log));
                tokio::spawn(async move { serve(stream, decide.as_ref(), &log).await });
            }
        });
        Self { url, seen, accepting }
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

/// One connection: requests are taken until one of them ends it.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    decide: &(dyn Fn(&Request, usize) -> Act + Send + Sync),
    log: &Mutex<Vec<Request>>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let n = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        match decide(&request, n) {
            Act::Answer(status, headers, body) => {
                let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
                if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Act::Stall(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                // until the client hangs up
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
            Act::Flood(head) => {
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(&[b' '; 16 * 1024]).await.is_ok() {}
                return;
            }
        }
    }
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        if name == "content-length" {
            length = value.parse().ok()?;
        }
        headers.push((name, value));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, path, headers, body: String::from_utf8(body).ok()? })
}
