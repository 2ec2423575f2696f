//! What the desk does with clients that are wrong, slow or too many.

use std::collections::BTreeSet;
use std::time::Duration;

use coroner_server::{Limits, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::admin;
use crate::rig::{Answer, Rig};

#[tokio::test]
async fn every_answer_has_an_id_and_is_guarded() {
    let rig = Rig::open().await;
    for path in ["/healthz", "/readyz", "/nothing", "/admin/experiments"] {
        let answer = rig.get(path).await;
        assert!(answer.header("x-request-id").is_some(), "{answer}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let answer = rig
        .send(
            "GET /nothing HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nx-request-id: mine.7\r\n\r\n",
            b"",
        )
        .await;
    assert_eq!(answer.json()["request_id"], "mine.7");
    assert_eq!(answer.json()["error"]["code"], "not_found");
    let answer =
        rig.send("DELETE /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n", b"").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (405, Some("method_not_allowed")));
    assert!(answer.header("allow").unwrap().contains("GET"), "{answer}");
    rig.end().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_or_never_ends_is_given_up() {
    let limits = Limits { head: Duration::from_secs(1), ..Limits::default() };
    let rig = Rig::with(Settings { auth: false, limits, ..Settings::default() }).await;
    let answer =
        rig.send(&format!("GET /{} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", "a".repeat(64 << 10)), b"").await;
    assert!([400, 414, 431].contains(&answer.status), "{answer}");
    let many: String = (0..100).map(|i| format!("x-{i}: 1\r\n")).collect();
    let answer = rig.send(&format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n{many}\r\n"), b"").await;
    assert_eq!(answer.status, 431, "{answer}");
    // never ends: the connection is closed, or this would wait for ever
    let answer = rig.send("GET / HTTP/1.1\r\nhost:", b"").await;
    assert!([0, 408].contains(&answer.status), "{answer}");
    assert_eq!(rig.get("/healthz").await.status, 200);
    rig.end().await;
}

/// Asks for something large and doesn't read it, or reads a little.
async fn stuck(rig: &Rig, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // what the kernel takes for it is soon full
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(rig.address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_u8().await.unwrap();
    stream
}

/// Somebody who does not read has the one place that there is; what who asks after him is answered in the end. What is small
/// is served meanwhile.
async fn after_one_who_does_not_read(rig: &Rig, path: &str, small: &str) -> Answer {
    for _ in 0..50 {
        let held = stuck(rig, path).await;
        // until it is given up: or this would wait for ever
        let mut refused = 0;
        let whole = loop {
            assert_eq!(rig.get(small).await.status, 200);
            let answer = rig.get(path).await;
            match answer.status {
                200 => break answer,
                503 => assert_eq!(answer.json()["error"]["code"], "busy", "{answer}"),
                _ => panic!("{answer}"),
            }
            refused += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        drop(held);
        // where there is much to do he may have been let go before we came to ask
        if refused > 0 {
            return whole;
        }
    }
    panic!("{path}: the place was never taken");
}

#[tokio::test]
async fn who_does_not_read_what_he_asked_for_is_let_go() {
    let limits = Limits { idle: Duration::from_millis(300), downloads: 1, ..Limits::default() };
    let rig = Rig::with(Settings { auth: false, limits, ..Settings::default() }).await;
    let mut chance = 1_u64;
    let mut noise = || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{chance:016x}\n")
    };
    let log: String = std::iter::repeat_with(&mut noise).take(1 << 20).collect();
    let answer = rig
        .call("POST", "/api/v1/failures?experiment_id=large", "content-type: text/plain\r\n", log.as_bytes())
        .await;
    assert_eq!(answer.status, 201, "{answer}");
    let path = "/api/v1/experiments/large/log";
    let whole = after_one_who_does_not_read(&rig, path, "/api/v1/experiments/large").await;
    assert_eq!(whole.body, log.as_bytes());
    rig.end().await;
}

#[tokio::test]
async fn who_does_not_read_an_export_is_let_go_and_the_next_has_all_of_it() {
    let limits = Limits { idle: Duration::from_millis(300), downloads: 1, ..Limits::default() };
    let rig = Rig::with(Settings { auth: false, limits, ..Settings::default() }).await;
    // more than the buffers between us hold
    const ALL: usize = 400;
    admin::told_at_length(&rig.store, 0..ALL).await;
    for path in ["/api/v1/export.jsonl", "/api/v1/export.csv", "/api/v1/export.xml"] {
        let whole = after_one_who_does_not_read(&rig, path, "/api/v1/experiments/long-7").await.text();
        let told = whole.split("number ").skip(1).filter_map(|part| part.split_once(" went")?.0.parse().ok());
        assert_eq!(told.collect::<BTreeSet<usize>>(), (0..ALL).collect(), "{path}");
    }
    rig.end().await;
}
