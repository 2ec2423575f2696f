//! Reporting failures and runs, and reading them back.

use std::io::Write;
use std::time::Duration;

use coroner_server::Settings;
use coroner_store::Retention;
use serde_json::json;

use crate::rig::Rig;

const LOG: &str = "step 1\nTraceback (most recent call last):\n  File \"train.py\", line 3, in <module>\n    \
                   import scipy\nModuleNotFoundError: No module named 'scipy'\n";

#[tokio::test]
pub(crate) async fn a_failure_is_reported_once_and_read_back() {
    let rig = Rig::open().await;
    let report = json!({
        "experiment_id": "exp <b>42</b>/ä", "experiment_type": "train", "logs": LOG, "exit_code": 1,
        "command": "python train.py --epochs 3", "duration_seconds": 2.5
    });
    let first = rig.post("/api/v1/failures", &report).await;
    assert_eq!(first.status, 201, "{first}");
    let first = first.json();
    assert_eq!(first["diagnosis"]["failure_category"], "import_error");
    assert_eq!((first["known"].as_bool(), first["attempt"].as_u64()), (Some(false), Some(1)));
    let again = rig.post("/api/v1/failures", &report).await;
    assert_eq!((again.status, again.json()["known"].as_bool()), (200, Some(true)));
    assert_eq!(again.json()["diagnosis"]["similar"], json!([]), "it is not like itself");
    let other = json!({"experiment_id": "exp <b>42</b>/ä", "logs": "MemoryError\n"});
    let other = rig.post("/api/v1/failures", &other).await.json();
    assert_eq!(other["experiment_id"], "exp <b>42</b>/ä~2");

    let path = "/api/v1/experiments/exp%20%3Cb%3E42%3C%2Fb%3E%2F%C3%A4~1";
    let one = rig.get(path).await.json();
    assert_eq!(one["id"], "exp <b>42</b>/ä");
    assert_eq!(one["command"], json!(["python", "train.py", "--epochs", "3"]));
    assert_eq!((one["exit"].as_str(), one["duration_seconds"].as_f64()), (Some("exit status 1"), Some(2.5)));
    let diagnosis = rig.get(&format!("{path}/diagnosis")).await.json();
    assert_eq!(diagnosis["failure_category"], "import_error");
    assert_eq!(diagnosis["experiment_type"], "train");
    let all = rig.get("/api/v1/experiments?q=scipy").await.json();
    assert_eq!(all["total_count"], 1);
    assert_eq!(rig.get("/api/v1/experiments/1/diagnosis").await.json()["signature"], diagnosis["signature"]);

    // the log: whole, a range, lines
    let log = rig.get(&format!("{path}/log")).await;
    assert_eq!((log.status, log.text().as_str()), (200, LOG));
    assert_eq!(log.header("content-type"), Some("text/plain; charset=utf-8"));
    let part = rig.call("GET", &format!("{path}/log"), "range: bytes=5-10\r\n", b"").await;
    assert_eq!((part.status, part.text().as_str()), (206, &LOG[5..11]));
    let beyond = rig.call("GET", &format!("{path}/log"), "range: bytes=5000-\r\n", b"").await;
    assert_eq!((beyond.status, beyond.json()["error"]["code"].as_str()), (416, Some("range")));
    let lines = rig.get(&format!("{path}/log/lines?from=4&count=2")).await.json();
    assert_eq!(lines["lines"][1]["line"], 5);
    assert_eq!(lines["lines"][1]["role"], "cause");
    assert_eq!(lines["more"], false);
    assert_eq!(rig.get(&format!("{path}/log/lines?from=1&count=2")).await.json()["more"], true);
    let code = rig.get(&format!("{path}/code")).await;
    assert_eq!(code.status, 404, "{code}");
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_log_may_be_the_body_packed_or_not() {
    let rig = Rig::open().await;
    // larger than what stands in the database, and than what is held of a log
    let filler = (0..200_000).map(|i| format!("line {i} of something that went well\n")).collect::<String>();
    let log = format!("{filler}{LOG}");
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(log.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(log.as_bytes(), 1).unwrap();
    let bodies =
        [("", log.as_bytes()), ("content-encoding: gzip\r\n", &gzip), ("content-encoding: zstd\r\n", &zstd)];
    for (i, (encoding, body)) in bodies.into_iter().enumerate() {
        let headers = format!("content-type: text/plain\r\n{encoding}");
        let path = "/api/v1/failures?experiment_id=big&exit_code=1&experiment_type=train";
        let answer = rig.call("POST", path, &headers, body).await;
        assert_eq!(
            answer.status,
            if i == 0 { 201 } else { 200 },
            "the same log is the same failure: {answer}"
        );
        assert_eq!(answer.json()["diagnosis"]["failure_category"], "import_error");
    }
    let kept = rig.get("/api/v1/experiments/big/log").await;
    assert!(kept.text() == log, "{} bytes of {}", kept.body.len(), log.len());
    // opens a little before the cause
    let lines = rig.get("/api/v1/experiments/big/log/lines").await.json();
    let lines = lines["lines"].as_array().unwrap().clone();
    assert!(lines.iter().any(|line| line["role"] == "cause"), "{lines:?}");
    // invalid UTF-8 is kept as it is
    let odd = b"\xff\xfe it broke\nSegmentation fault (core dumped)\n";
    let headers = "content-type: application/octet-stream\r\n";
    let answer = rig.call("POST", "/api/v1/failures?experiment_id=odd&signal=11", headers, odd).await;
    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(rig.get("/api/v1/experiments/odd/log").await.body, odd);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_run_starts_lives_and_ends() {
    let rig = Rig::open().await;
    let start = json!({"experiment_id": "far", "experiment_type": "train", "command": "python train.py", "host": "gpu-07"});
    let first = rig.post("/api/v1/experiments", &start).await;
    assert_eq!((first.status, first.json()["status"].as_str()), (201, Some("running")));
    // the answer was lost and the client says it again
    let again = rig.post("/api/v1/experiments", &start).await;
    assert_eq!((again.status, again.json()["attempt"].as_u64()), (200, Some(1)));
    assert_eq!(rig.get("/admin/experiments").await.json()["running_commands"], 1);
    assert_eq!(rig.post("/api/v1/experiments/far/heartbeat", &json!({})).await.status, 200);
    let end = json!({"exit_code": 1, "logs": LOG});
    let ended = rig.post("/api/v1/experiments/far/end", &end).await;
    assert_eq!(ended.status, 201, "{ended}");
    assert_eq!(ended.json()["diagnosis"]["failure_category"], "import_error");
    assert_eq!(rig.post("/api/v1/experiments/far/end", &end).await.status, 200);
    let without_logs = Retention { max_log_age: Some(Duration::ZERO), ..Retention::default() };
    let later = jiff::Timestamp::now() + Duration::from_secs(3600);
    assert_eq!(rig.store.prune(without_logs, later).await.unwrap().logs, 1);
    assert_eq!(rig.post("/api/v1/experiments/far/end", &end).await.status, 200, "its log is gone meanwhile");
    let other = rig.post("/api/v1/experiments/far/end", &json!({"exit_code": 0})).await;
    assert_eq!((other.status, other.json()["error"]["code"].as_str()), (409, Some("already_ended")));
    assert_eq!(rig.post("/api/v1/experiments/far/heartbeat", &json!({})).await.status, 409);
    // it runs again under its id, and passes
    assert_eq!(rig.post("/api/v1/experiments", &start).await.json()["experiment_id"], "far~2");
    let headers = "content-type: text/plain\r\n";
    let passed = rig.call("POST", "/api/v1/experiments/far/end?exit_code=0", headers, b"all well\n").await;
    assert_eq!((passed.status, passed.json()["status"].as_str()), (201, Some("passed")), "{passed}");
    assert!(passed.json().get("diagnosis").is_none());
    assert_eq!(rig.get("/api/v1/experiments/far~2/diagnosis").await.status, 404);
    // whose silence lasts too long is lost
    let silent = json!({"experiment_id": "silent", "heartbeat_seconds": 5, "host": "gpu-08"});
    rig.post("/api/v1/experiments", &silent).await;
    for _ in 0..600 {
        if rig.get("/api/v1/experiments/silent").await.json()["status"] == "lost" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let lost = rig.get("/api/v1/experiments/silent").await.json();
    assert_eq!(lost["reason"], "no heartbeat came any more");
    let diagnosis = rig.get("/api/v1/experiments/silent/diagnosis").await.json();
    assert_eq!(
        (diagnosis["origin"].as_str(), diagnosis["retryable"].as_bool()),
        (Some("infrastructure"), Some(true)),
        "{diagnosis}"
    );
    assert!(diagnosis["fix_suggestion"].as_str().unwrap().contains("`gpu-08`"), "{diagnosis}");
    // an end that comes late still counts
    let late = rig.post("/api/v1/experiments/silent/end", &json!({"exit_code": 0})).await;
    assert_eq!((late.status, late.json()["status"].as_str()), (201, Some("passed")), "{late}");
    assert_eq!(rig.get("/api/v1/experiments/silent/diagnosis").await.status, 404);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn who_goes_before_the_answer_and_says_it_again_has_said_it_once() {
    let rig = Rig::open().await;
    for round in 0..60 {
        let (id, key) = (format!("gone-{round}"), format!("k{round}"));
        let start = json!({"experiment_id": id, "experiment_type": "train", "key": key});
        // at whatever the desk is: not read yet, written, answered
        rig.post_and_go("/api/v1/experiments", &start, Duration::from_micros(round * 137 % 4000)).await;
        let again = rig.post("/api/v1/experiments", &start).await;
        assert_eq!(again.json()["experiment_id"], id, "{again}");
        let end = json!({"exit_code": 1, "logs": LOG, "code_snippet": "import scipy\n"});
        let path = format!("/api/v1/experiments/{id}/end");
        rig.post_and_go(&path, &end, Duration::from_micros(round * 151 % 6000)).await;
        if round % 2 == 0 {
            // the second time is known or not, and either way it is the same end
            assert!(matches!(rig.post(&path, &end).await.status, 200 | 201));
        }
    }
    // what was begun is done to its end, the code that comes after the diagnosis too
    for round in 0..60 {
        let path = format!("/api/v1/experiments/gone-{round}/code");
        let mut tries = 0;
        while rig.get(&path).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            tries += 1;
            assert!(tries < 1000, "{path}: half of an end was kept");
        }
    }
    assert_eq!(rig.get("/admin/experiments?status=failed").await.json()["total_count"], 60);
    // without an id it is known by its key
    let start = json!({"key": "only-a-key", "experiment_type": "train"});
    let first = rig.post("/api/v1/experiments", &start).await;
    let again = rig.post("/api/v1/experiments", &start).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json()["experiment_id"], again.json()["experiment_id"]);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_desk_that_is_ended_finishes_what_it_has_begun() {
    let mut finished = 0;
    for round in 0..30 {
        let rig = Rig::open().await;
        let report = json!({"experiment_id": "last", "logs": LOG, "code": "import scipy\n"});
        rig.post_and_go("/api/v1/failures", &report, Duration::from_micros(round * 97)).await;
        let (store, _folder) = rig.leave().await;
        // it was read or not; if it was, it is there in whole
        if let Ok(last) = store.get("last").await {
            assert!(store.candidate_code(&last.listed.id).await.is_ok(), "round {round}: half of it");
            finished += 1;
        }
        store.close().await.unwrap();
    }
    assert!(finished > 0, "nothing was begun");
}

#[tokio::test]
pub(crate) async fn what_is_kept_no_longer_goes_by_itself() {
    let day = Duration::from_secs(24 * 3600);
    let retention = Retention { max_age: Some(90 * day), ..Retention::default() };
    let often = Duration::from_millis(50);
    let rig =
        Rig::with(Settings { auth: false, retention, forget_every: often, ..Settings::default() }).await;
    for (id, days) in [("young", 80), ("old", 100)] {
        let at = (jiff::Timestamp::now() - days * day).to_string();
        let report = json!({"experiment_id": id, "logs": LOG, "at": at});
        assert_eq!(rig.post("/api/v1/failures", &report).await.status, 201);
    }
    let mut tries = 0;
    while rig.get("/api/v1/experiments/old").await.status != 404 {
        tokio::time::sleep(often).await;
        tries += 1;
        assert!(tries < 1000, "it is still there");
    }
    assert_eq!(rig.get("/api/v1/experiments/young").await.status, 200);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn the_code_of_a_failure_is_kept_without_secrets_and_its_failing_lines_are_marked() {
    let rig = Rig::open().await;
    let code = "import os\nAPI_KEY = 'sk-ant-REDACTED'\nimport scipy\n";
    let report = json!({"experiment_id": "a", "logs": LOG, "exit_code": 1, "code": code});
    assert_eq!(rig.post("/api/v1/failures", &report).await.status, 201);
    let kept = rig.get("/api/v1/experiments/a/code").await;
    assert_eq!((kept.status, kept.text().lines().nth(2)), (200, Some("import scipy")), "{kept}");
    assert!(!kept.text().contains("AbCdEf"), "{kept}");
    let page = rig.call("GET", "/experiments/a", "accept: text/html\r\n", b"").await.text();
    assert!(page.contains("as it was reported"), "{page}");
    assert!(page.contains("<li id=\"C1\">") && page.contains("<li id=\"C3\" class=\""), "{page}");
    // a run has it too
    rig.post("/api/v1/experiments", &json!({"experiment_id": "b"})).await;
    let end = json!({"exit_code": 1, "logs": LOG, "code_snippet": code});
    assert_eq!(rig.post("/api/v1/experiments/b/end", &end).await.status, 201);
    assert_eq!(rig.get("/api/v1/experiments/b/code").await.text().lines().count(), 3);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn everything_is_exported_and_nothing_becomes_syntax() {
    let rig = Rig::open().await;
    let evil = "<script>alert(1)</script> & \"quotes\", =1+1";
    for i in 0..3 {
        let report =
            json!({"experiment_id": format!("{evil}{i}"), "experiment_type": evil, "error_message": evil});
        assert_eq!(rig.post("/api/v1/failures", &report).await.status, 201);
    }
    let lines = rig.get("/api/v1/export.jsonl").await;
    assert_eq!(lines.text().lines().count(), 3);
    let first: serde_json::Value = serde_json::from_str(lines.text().lines().next().unwrap()).unwrap();
    assert_eq!(first["experiment_type"], evil);
    let csv = rig.get("/api/v1/export.csv?category=runtime_error").await.text();
    assert!(csv.starts_with("id,number,started_at,"), "{csv}");
    assert!(csv.contains("\"<script>alert(1)</script> & \"\"quotes\"\", =1+12\""), "{csv}");
    let xml = rig.get("/api/v1/export.xml").await.text();
    assert!(
        xml.contains("&lt;script&gt;") && !xml.contains("<script>") && xml.ends_with("</testsuites>\n"),
        "{xml}"
    );
    assert_eq!(rig.get("/api/v1/export.pdf").await.status, 404);
    // and as JSON it stays data, sent as JSON
    let page = rig.get("/admin/experiments").await;
    assert_eq!(page.header("content-type"), Some("application/json"));
    assert_eq!(page.json()["experiments"][0]["experiment_type"], evil);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn what_is_measured_is_told() {
    let rig = Rig::open().await;
    rig.post("/api/v1/failures", &json!({"experiment_type": "train", "logs": LOG})).await;
    let day = rig.store.get("1").await.unwrap().listed.started_at.strftime("%Y-%m-%d").to_string();
    for by in ["category", "severity", "origin", "status", "type"] {
        let answer = rig.get(&format!("/api/v1/statistics?by={by}")).await.json();
        let days = answer["series"].as_array().unwrap();
        assert_eq!(days.len(), 15, "{answer}");
        // the day of the report, which may be over by now
        let its = days.iter().find(|it| it["start"].as_str().unwrap().starts_with(&day)).unwrap();
        let count: u64 = its["counts"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(count, 1, "{by}");
        assert_eq!(answer["summary"]["by_category"]["import_error"], 1);
    }
    assert_eq!(rig.get("/api/v1/costs").await.status, 200);
    let metrics = rig.get("/metrics").await.text();
    assert!(metrics.contains("coroner_failures{category=\"import_error\"} 1\n"), "{metrics}");
    assert!(metrics.contains("coroner_reports_total 1\n"), "{metrics}");
    let document = rig.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 25, "{:?}", paths.keys());
    for (path, methods) in paths {
        for (method, it) in methods.as_object().unwrap() {
            assert!(it["summary"].is_string(), "{method} {path} says nothing of itself");
        }
    }
    let page = rig.get("/docs").await.text();
    assert!(page.contains("<code>/api/v1/failures</code>") && !page.contains("<script>"), "{page}");
    assert!(
        page.contains("desk.css") && page.contains("what was sent can") && page.contains("oom_killed"),
        "{page}"
    );
    rig.end().await;
}
