//! Live events: of this process and of others, after a break, for many, and not for too many.

use std::time::Duration;

use coroner_diagnosis::Category;
use coroner_server::{Limits, Settings};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admin;
use crate::rig::Rig;

/// A client that looks on.
struct Watcher(TcpStream, String);

impl Watcher {
    async fn open(rig: &Rig, headers: &str) -> Self {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let head = format!("GET /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut watcher = Self(stream, String::new());
        watcher.until("\r\n\r\n").await;
        watcher
    }

    /// Reads until this was seen.
    async fn until(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !self.1.contains(text) {
            let read = tokio::time::timeout(Duration::from_secs(30), self.0.read(&mut buffer)).await;
            let n = read.unwrap_or_else(|_| panic!("{text} never came: {}", self.1)).unwrap();
            assert!(n > 0, "{text} never came: {}", self.1);
            self.1.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }
}

#[tokio::test]
async fn what_happens_is_seen_whoever_writes_it() {
    let rig = Rig::open().await;
    let mut watchers = Vec::new();
    for _ in 0..20 {
        watchers.push(Watcher::open(&rig, "").await);
    }
    assert!(watchers[0].1.contains("text/event-stream"), "{}", watchers[0].1);
    // the task that asks begins with the next question
    tokio::time::sleep(Duration::from_millis(700)).await;
    rig.post("/api/v1/failures", &json!({"experiment_id": "mine", "error_message": "MemoryError"})).await;
    // as another process would
    admin::failed(&rig.store, "of-others", 0, Category::Timeout).await;
    for watcher in &mut watchers {
        watcher.until("\"id\":\"mine\"").await;
        watcher.until("event: started").await;
        watcher.until("\"category\":\"timeout\"").await;
    }
    // after a break, from where it was
    let mut again = Watcher::open(&rig, "last-event-id: 0\r\n").await;
    again.until("\"id\":\"mine\"").await;
    again.until("\"category\":\"timeout\"").await;
    let metrics = rig.get("/metrics").await.text();
    assert!(metrics.contains("coroner_live_clients 21\n"), "{metrics}");
    // they end with the desk, which doesn't wait for them
    rig.end().await;
    let mut rest = Vec::new();
    _ = again.0.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn not_more_than_are_allowed() {
    let limits = Limits { live_clients: 2, ..Limits::default() };
    let rig = Rig::with(Settings { auth: false, limits, ..Settings::default() }).await;
    let first = Watcher::open(&rig, "").await;
    let _second = Watcher::open(&rig, "").await;
    let third = rig.get("/api/v1/events").await;
    assert_eq!((third.status, third.json()["error"]["code"].as_str()), (503, Some("too_many_clients")));
    drop(first);
    let mut watcher = Watcher::open(&rig, "").await;
    while !watcher.1.contains("200") {
        watcher = Watcher::open(&rig, "").await;
    }
    rig.end().await;
}
