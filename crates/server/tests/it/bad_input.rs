//! What is wrong is refused in one shape, and costs nobody else anything.

use std::io::Write;
use std::time::Duration;

use coroner_server::{Limits, Settings};
use serde_json::json;

use crate::rig::Rig;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bodies_that_are_wrong_are_named_and_nothing_is_kept() {
    let limits =
        Limits { json: 100_000, log: 3_000_000, idle: Duration::from_millis(300), ..Limits::default() };
    let rig = Rig::with(Settings { auth: false, limits, ..Settings::default() }).await;
    let cut = {
        let whole = gzip(&b"it broke\n".repeat(1000));
        whole[..whole.len() / 2].to_vec()
    };
    let cut_zstd = {
        // what does not pack, so that half of it is half of the text
        let noise: Vec<u8> = (0..40_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let whole = zstd::encode_all(&noise[..], 1).unwrap();
        whole[..whole.len() / 2].to_vec()
    };
    let zstd_bomb = zstd::encode_all(&vec![0; 50_000_000][..], 1).unwrap();
    assert!(zstd_bomb.len() < 20_000);
    let json_type = "content-type: application/json\r\n";
    let log_type = "content-type: text/plain\r\n";
    let packed = "content-encoding: gzip\r\n";
    let huge = json!({"logs": "x".repeat(200_000)}).to_string();
    let cases: Vec<(String, Vec<u8>, u16, &str)> = vec![
        (json_type.into(), huge.clone().into_bytes(), 413, "too_large"),
        (format!("{json_type}{packed}"), gzip(huge.as_bytes()), 413, "too_large"),
        (log_type.into(), vec![b'x'; 4_000_000], 413, "too_large"),
        (format!("{log_type}{packed}"), gzip(&vec![b'x'; 4_000_000]), 413, "too_large"),
        (format!("{log_type}{packed}"), cut.clone(), 400, "invalid"),
        (format!("{log_type}{packed}"), b"no gzip".to_vec(), 400, "invalid"),
        (format!("{log_type}content-encoding: zstd\r\n"), b"no zstd".to_vec(), 400, "invalid"),
        (format!("{log_type}content-encoding: zstd\r\n"), cut_zstd.clone(), 400, "invalid"),
        (format!("{json_type}content-encoding: zstd\r\n"), cut_zstd, 400, "invalid"),
        (format!("{log_type}content-encoding: zstd\r\n"), zstd_bomb.clone(), 413, "too_large"),
        (format!("{json_type}content-encoding: zstd\r\n"), zstd_bomb, 413, "too_large"),
        // a bomb in a second member of the same stream
        (
            format!("{log_type}{packed}"),
            [gzip(b"it broke\n"), gzip(&vec![0; 4_000_000])].concat(),
            413,
            "too_large",
        ),
        (format!("{log_type}content-encoding: br\r\n"), b"x".to_vec(), 415, "encoding"),
        (format!("{json_type}{packed}"), cut, 400, "invalid"),
        (json_type.into(), b"{\"logs\": ".to_vec(), 400, "invalid"),
        (json_type.into(), b"{\"logs\": \"\xff\xfe\"}".to_vec(), 400, "invalid"),
        (json_type.into(), b"[1]".to_vec(), 400, "invalid"),
        (json_type.into(), b"{\"lgos\": \"x\"}".to_vec(), 400, "invalid"),
        (json_type.into(), b"{}".to_vec(), 400, "invalid"),
        (json_type.into(), b"{\"error_message\": \"x\", \"signal\": 900}".to_vec(), 400, "invalid"),
        (json_type.into(), b"{\"error_message\": \"x\", \"duration_seconds\": -1}".to_vec(), 400, "invalid"),
        (json_type.into(), b"{\"error_message\": \"x\", \"at\": \"yesterday\"}".to_vec(), 400, "invalid"),
        (
            json_type.into(),
            b"{\"error_message\": \"x\", \"experiment_id\": \"a\\nb\"}".to_vec(),
            400,
            "invalid",
        ),
        ("content-type: image/png\r\n".into(), b"x".to_vec(), 415, "media_type"),
        (String::new(), b"{}".to_vec(), 415, "media_type"),
    ];
    for (headers, body, status, code) in cases {
        let answer = rig.call("POST", "/api/v1/failures", &headers, &body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(answer.status, status, "{headers} {shown}: {answer}");
        let error = answer.json();
        assert_eq!(error["error"]["code"], code, "{headers} {shown}: {error}");
        assert!(error["request_id"].is_string() && error["error"]["message"].is_string(), "{error}");
    }
    // a body that never comes
    let head = "POST /api/v1/failures HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 9\r\n\
                content-type: text/plain\r\n\r\n";
    let answer = rig.send(head, b"it").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (408, Some("timeout")), "{answer}");
    assert_eq!(rig.get("/admin/experiments").await.json()["total_count"], 0);
    assert_eq!(rig.get("/healthz").await.status, 200);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn an_id_with_another_content_is_another_attempt_and_loses_nothing() {
    let rig = Rig::open().await;
    let report = async |log: &str, error: &str| {
        let body = json!({"experiment_id": "same", "logs": log, "error_message": error});
        let answer = rig.post("/api/v1/failures", &body).await;
        (answer.status, answer.json()["experiment_id"].as_str().unwrap().to_owned())
    };
    assert_eq!(report("MemoryError\n", "").await, (201, "same".into()));
    assert_eq!(report("KeyError: 'lr'\n", "").await, (201, "same~2".into()));
    assert_eq!(report("MemoryError\n", "").await, (200, "same".into()), "said again");
    assert_eq!(report("", "CUDA out of memory").await, (201, "same~3".into()));
    for (id, log) in [("same~1", "MemoryError\n"), ("same~2", "KeyError: 'lr'\n")] {
        assert_eq!(rig.get(&format!("/api/v1/experiments/{id}/log")).await.text(), log);
    }
    // a run that has ended otherwise is not overwritten
    rig.post("/api/v1/experiments", &json!({"experiment_id": "run"})).await;
    let end = |code: i32| json!({"exit_code": code});
    assert_eq!(rig.post("/api/v1/experiments/run/end", &end(0)).await.status, 201);
    let other = rig.post("/api/v1/experiments/run/end", &end(1)).await;
    assert_eq!((other.status, other.json()["error"]["code"].as_str()), (409, Some("already_ended")));
    assert_eq!(rig.get("/api/v1/experiments/run").await.json()["status"], "passed");
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn many_at_once_with_one_id_lose_nothing() {
    let rig = Rig::open().await;
    let report = async |i: usize| {
        let body = json!({"experiment_id": "same", "logs": format!("worker {i}\nMemoryError\n")});
        rig.post("/api/v1/failures", &body).await.status
    };
    let answers = futures_util::future::join_all((0..20).map(report)).await;
    assert_eq!(answers, vec![201; 20]);
    assert_eq!(rig.get("/api/v1/experiments?q=same").await.json()["total_count"], 20);
    rig.end().await;
}

#[tokio::test]
async fn questions_that_are_wrong_are_named() {
    let rig = Rig::open().await;
    for (path, status, code) in [
        ("/api/v1/experiments?cursor=c1.zz", 400, "cursor"),
        ("/api/v1/experiments?limit=501", 400, "invalid"),
        ("/api/v1/experiments?category=bug", 400, "invalid"),
        ("/api/v1/experiments?unknown=1", 400, "invalid"),
        ("/api/v1/experiments/nobody", 404, "not_found"),
        ("/api/v1/experiments/%ff", 400, "invalid"),
        ("/api/v1/experiments/nobody/log", 404, "not_found"),
        ("/api/v1/groups?cursor=c1.1", 400, "cursor"),
        ("/api/v1/groups?order=smallest", 400, "invalid"),
        ("/api/v1/groups/v1:none", 404, "not_found"),
        ("/api/v1/statistics?by=colour", 400, "invalid"),
        ("/api/v1/statistics?from=yesterday", 400, "invalid"),
        ("/api/v1/statistics?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 400, "invalid"),
        ("/api/v1/statistics?step=hour&from=1990-01-01T00:00:00Z", 400, "invalid"),
        ("/api/v1/experiments?cursor=%00", 400, "cursor"),
        ("/api/v1/experiments?cursor=c1.ffffffffffffffffffff", 400, "cursor"),
        ("/api/v1/groups?cursor=g1.1.", 400, "cursor"),
        ("/api/v1/rules?category=bug", 400, "invalid"),
        ("/api/v1/rules?unknown=1", 400, "invalid"),
        ("/api/v1/corrections/7/replay", 404, "not_found"),
        ("/api/v1/corrections/x/replay", 404, "not_found"),
        ("/api/v2/experiments", 404, "not_found"),
    ] {
        let answer = rig.get(path).await;
        assert_eq!(answer.status, status, "{path}: {answer}");
        assert_eq!(answer.json()["error"]["code"], code, "{path}: {answer}");
    }
    rig.end().await;
}

#[tokio::test]
async fn a_clock_that_is_ahead_is_not_believed() {
    let rig = Rig::open().await;
    let ahead = json!({"experiment_id": "a", "error_message": "MemoryError", "at": "2099-01-01T00:00:00Z"});
    let answer = rig.post("/api/v1/failures", &ahead).await.json();
    assert!(answer["notes"][0].as_str().unwrap().contains("in the future"), "{answer}");
    rig.post("/api/v1/failures", &json!({"experiment_id": "b", "error_message": "MemoryError"})).await;
    let page = rig.get("/admin/experiments").await.json();
    assert_eq!(page["experiments"][0]["id"], "b", "the newest is the newest");
    let past = json!({"experiment_id": "c", "error_message": "MemoryError", "at": "1914-01-01T00:00:00Z"});
    assert_eq!(rig.post("/api/v1/failures", &past).await.status, 400);
    rig.end().await;
}
