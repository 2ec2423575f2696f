//! Live events: of this process and of others, after a break, for many, and not for too many.

use std::time::Duration;

use coroner_diagnosis::Category;
use coroner_server::{Limits, Settings};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::admin;
use crate::rig::Rig;

/// A client that looks on.
struct Watcher(TcpStream, String);

impl Watcher {
    async fn open(rig: &Rig, headers: &str) -> Self {
        Self::over(TcpStream::connect(rig.address).await.unwrap(), headers).await
    }

    async fn over(mut stream: TcpStream, headers: &str) -> Self {
        let head = format!("GET /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut watcher = Self(stream, String::new());
        watcher.until("\r\n\r\n").await;
        watcher
    }

    /// Reads until this was seen.
    async fn until(&mut self, text: &str) {
        let (mut buffer, mut looked_at) = (vec![0; 64 << 10], 0);
        while !self.1[looked_at..].contains(text) {
            // what was looked at need not be looked at again, but for the beginning of it
            looked_at = self.1.floor_char_boundary(self.1.len().saturating_sub(text.len()));
            let read = tokio::time::timeout(Duration::from_secs(30), self.0.read(&mut buffer)).await;
            let n = read.unwrap_or_else(|_| panic!("{text} never came: {}", self.1)).unwrap();
            assert!(n > 0, "{text} never came: {}", self.1);
            self.1.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }
}

#[tokio::test]
pub(crate) async fn what_happens_is_seen_whoever_writes_it() {
    let rig = Rig::open().await;
    let mut watchers = Vec::new();
    for _ in 0..20 {
        watchers.push(Watcher::open(&rig, "").await);
    }
    assert!(watchers[0].1.contains("text/event-stream"), "{}", watchers[0].1);
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
async fn who_reads_no_events_is_let_go_and_loses_none() {
    let limits = Limits { idle: Duration::from_millis(300), ..Limits::default() };
    let rig = Rig::with(Settings { auth: false, limits, ..Settings::default() }).await;
    let mut reader = Watcher::open(&rig, "").await;
    // what the kernel takes for it is soon full
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(rig.address).await.unwrap();
    let mut idler = Watcher::over(stream, "").await;
    assert_eq!(clients(&rig).await, 2);
    // so much that no buffer between us holds it; and who reads is served on
    let mut told = 0;
    while clients(&rig).await == 2 {
        assert!(told < 10_000, "nobody is let go");
        admin::told_at_length(&rig.store, told..told + 50).await;
        told += 50;
        reader.until(&format!("\"id\":\"long-{}\"", told - 1)).await;
    }
    // the other comes back as a browser does, and says what it saw last
    let mut rest = Vec::new();
    _ = idler.0.read_to_end(&mut rest).await;
    let mut seen = idler.1 + &String::from_utf8_lossy(&rest);
    seen.truncate(seen.rfind("\n\n").unwrap_or(0));
    let last = seen.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap_or("0");
    let mut again = Watcher::open(&rig, &format!("last-event-id: {last}\r\n")).await;
    again.until(&format!("\"id\":\"long-{}\"", told - 1)).await;
    for number in 0..told {
        let id = format!("\"id\":\"long-{number}\"");
        assert!(reader.1.contains(&id), "{number} is lost to who reads");
        assert_eq!(seen.contains(&id), !again.1.contains(&id), "{number} is lost, or told twice");
    }
    rig.end().await;
}

/// How many look on.
async fn clients(rig: &Rig) -> u64 {
    let metrics = rig.get("/metrics").await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("coroner_live_clients "));
    line.unwrap().parse().unwrap()
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
