//! What the original's clients read.

use std::time::Duration;

use coroner_diagnosis::{Category, End, Exit, Origin, Severity};
use coroner_store::{CommandLine, NewExperiment, Outcome, Owner, Status, Store};
use jiff::Timestamp;
use serde_json::json;

use crate::rig::{Rig, verdict};

/// Failures of which much is to be said, named by their number, in one commit.
pub(crate) async fn told_at_length(store: &Store, numbers: std::ops::Range<usize>) {
    let one = |number: usize| {
        let started_at = Timestamp::from_second(1_760_667_123 + number as i64).unwrap();
        let new = NewExperiment {
            id: Some(format!("long-{number}")),
            experiment_type: "train".into(),
            command: CommandLine::default(),
            cwd: String::new(),
            owner: Owner::this_process(),
            started_at,
        };
        let mut diagnosis = verdict(Category::RuntimeError, Severity::High, Origin::Candidate);
        diagnosis.root_cause = format!("number {number} {}", "went wrong ".repeat(2000));
        let outcome = Outcome {
            status: Status::Failed,
            exit: None,
            ended_at: started_at,
            reason: None,
            log: None,
            diagnosis: Some(diagnosis),
        };
        (new, outcome)
    };
    store.record(numbers.map(one).collect()).await.unwrap();
}

pub(crate) async fn failed(store: &Store, id: &str, seconds: i64, category: Category) {
    let started_at = Timestamp::from_second(1_760_667_123 + seconds).unwrap();
    let id = store
        .begin(NewExperiment {
            id: Some(id.to_owned()),
            experiment_type: "llm_generated_code".into(),
            command: CommandLine::default(),
            cwd: String::new(),
            owner: Owner::this_process(),
            started_at,
        })
        .await
        .unwrap();
    let exit = Exit {
        end: End::Exited { code: 1 },
        wall: Duration::from_millis(12_500),
        cpu: None,
        peak_memory: None,
    };
    let outcome = Outcome {
        status: Status::TestFailed,
        exit: Some(exit),
        ended_at: started_at,
        reason: None,
        log: None,
        diagnosis: Some(verdict(category, Severity::High, Origin::Policy)),
    };
    store.finish(&id, outcome).await.unwrap();
}

#[tokio::test]
pub(crate) async fn experiments_have_the_contracts_shape_and_nothing_else() {
    let rig = Rig::open().await;
    failed(&rig.store, "real_exp_1760667123", 0, Category::ValidationError).await;
    let mut page = rig.get("/admin/experiments").await.json();
    let analysis = &mut page["experiments"][0]["failure_analysis"];
    for text in ["root_cause", "fix_suggestion"] {
        assert!(analysis[text].is_string());
        analysis[text] = json!("…");
    }
    analysis["confidence"] = json!(0.9);
    let expected = json!({
        "success": true, "total_count": 1, "running_commands": 0, "next_cursor": null,
        "experiments": [{
            "id": "real_exp_1760667123", "timestamp": 1_760_667_123, "status": "test_failed",
            "experiment_type": "llm_generated_code", "duration_seconds": 12.5,
            "failure_analysis": {
                "category": "validation_error", "root_cause": "…", "fix_suggestion": "…", "severity": "high",
                "origin": "policy", "confidence": 0.9, "signature": "v1:validation_error"
            }
        }]
    });
    assert_eq!(page, expected);
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn filters_cursor_and_search() {
    let rig = Rig::open().await;
    for i in 0..7 {
        let category = if i % 2 == 0 { Category::Timeout } else { Category::ImportError };
        failed(&rig.store, &format!("exp-{i}"), i, category).await;
    }
    let first = rig.get("/admin/experiments?limit=3&category=timeout").await.json();
    assert_eq!(first["total_count"], 4);
    assert_eq!(first["experiments"][0]["id"], "exp-6");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second =
        rig.get(&format!("/admin/experiments?limit=3&category=timeout&cursor={cursor}")).await.json();
    assert_eq!(second["experiments"].as_array().unwrap().len(), 1);
    assert!(second["next_cursor"].is_null());
    for (query, count) in [
        ("status=test_failed", 7),
        ("status=running", 0),
        ("severity=high&origin=policy", 7),
        ("origin=candidate", 0),
        ("signature=v1:import_error", 3),
        ("q=exp-3", 1),
        ("q=&category=", 7),
    ] {
        let page = rig.get(&format!("/admin/experiments?{query}")).await.json();
        assert_eq!(page["total_count"], count, "{query}");
    }
    let status = rig.get("/admin/status").await.json();
    assert_eq!(status["total_experiments"], 7);
    assert_eq!(status["success_rate"], 0.0);
    rig.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_originals_shape() {
    let rig = Rig::open().await;
    for (query, why) in [
        ("limit=0", "limit: `0` is not a number from 1 to 500"),
        ("limit=x", "limit: `x`"),
        ("cursor=zzz", "`zzz` is not a cursor"),
        ("status=Passed", "status: "),
        ("catgory=timeout", "unknown field `catgory`"),
    ] {
        let answer = rig.get(&format!("/admin/experiments?{query}")).await;
        assert_eq!(answer.status, 400, "{answer}");
        let body = answer.json();
        assert!(body["error"].as_str().unwrap().contains(why), "{body}");
        assert_eq!(answer.header("x-request-id"), body["request_id"].as_str());
    }
    let answer = rig.get("/admin/nothing").await;
    assert_eq!((answer.status, answer.json()["error"].is_string()), (404, true));
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_list_is_sorted_as_asked_and_its_page_says_how() {
    let rig = Rig::open().await;
    for (number, category) in
        [Category::Timeout, Category::ImportError, Category::LogicError].iter().enumerate()
    {
        failed(&rig.store, &format!("e{number}"), number as i64, *category).await;
    }
    for (sort, expected) in
        [("category", "import_error"), ("-category", "timeout"), ("started", "timeout"), ("", "logic_error")]
    {
        let first = rig.get(&format!("/admin/experiments?sort={sort}&limit=1")).await.json();
        assert_eq!(first["experiments"][0]["failure_analysis"]["category"], expected, "{sort}");
        let next = first["next_cursor"].as_str().unwrap();
        let second = rig.get(&format!("/admin/experiments?sort={sort}&limit=1&cursor={next}")).await;
        assert_eq!(second.status, 200, "{second}");
        let other = rig.get(&format!("/admin/experiments?sort=-cost&limit=1&cursor={next}")).await;
        assert_eq!(other.status, 400, "a cursor of another order: {other}");
    }
    let wrong = rig.get("/admin/experiments?sort=age").await;
    assert!(wrong.status == 400 && wrong.text().contains("-duration"), "{wrong}");
    let page = rig.get("/experiments?sort=-duration&status=test_failed").await.text();
    assert!(page.contains("aria-sort=\"descending\""), "{page}");
    assert!(page.contains("href=\"/experiments?status=test_failed&amp;sort=duration\""), "{page}");
    assert!(page.contains("href=\"/experiments?status=test_failed\">Started</a>"), "{page}");
    assert!(page.contains("3 experiments fit the filter, the longest first"), "{page}");
    rig.end().await;
}
