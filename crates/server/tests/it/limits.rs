//! What the desk does with clients that are wrong, slow or too many.

use std::time::Duration;

use coroner_server::{Limits, Settings};

use crate::rig::Rig;

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
    let limits = Limits { head: Duration::from_millis(200), ..Limits::default() };
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
