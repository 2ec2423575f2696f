//! Groups, corrections and votes over the API.

use serde_json::{Value, json};

use crate::rig::Rig;

async fn report(rig: &Rig, id: &str, error: &str) -> Value {
    let report = json!({"experiment_id": id, "experiment_type": "train", "error_message": error, "duration_seconds": 60, "exit_code": 1});
    let answer = rig.post("/api/v1/failures", &report).await;
    assert_eq!(answer.status, 201, "{answer}");
    answer.json()
}

#[tokio::test]
pub(crate) async fn what_people_joined_is_listed_in_whole() {
    let rig = Rig::open().await;
    let modules = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"].map(|it| format!("{it}lib"));
    let mut lead = String::new();
    for module in &modules {
        for time in 0..2 {
            let id = format!("{module}-{time}");
            let error = format!("ModuleNotFoundError: No module named '{module}'");
            let it = report(&rig, &id, &error).await["diagnosis"]["signature"].as_str().unwrap().to_owned();
            if lead.is_empty() {
                lead = it;
            } else if lead != it && time == 0 {
                let joined = rig.post(&format!("/api/v1/groups/{it}/join"), &json!({"into": lead})).await;
                assert_eq!(joined.status, 200, "{joined}");
            }
        }
    }
    let page = rig.get(&format!("/groups/{lead}")).await.text();
    assert!(page.contains("All 24, by signature"), "{page}");
    // of 24 failures the 20 newest, of whichever signature
    let shown = |module: &str, time: u32| page.contains(&format!(">{module}-{time}</a>"));
    for (place, module) in modules.iter().enumerate() {
        assert_eq!(shown(module, 0), place >= 2, "{module}: {page}");
    }
    assert_eq!(
        page.matches("/experiments?signature=v1").count(),
        12,
        "each of its signatures leads to its list"
    );
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_group_is_shown_decided_about_and_opens_again() {
    let rig = Rig::open().await;
    report(&rig, "a", "ModuleNotFoundError: No module named 'scipy'").await;
    let second = report(&rig, "b", "ModuleNotFoundError: No module named 'scipy'").await;
    report(&rig, "c", "MemoryError").await;
    let page = rig.get("/api/v1/groups?order=largest").await.json();
    let groups = page["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2, "{page}");
    assert_eq!((groups[0]["count"].as_u64(), groups[0]["wall_seconds"].as_f64()), (Some(2), Some(120.0)));
    assert_eq!((groups[0]["is_new"].as_bool(), groups[0]["state"].as_str()), (Some(true), Some("open")));
    let signature = groups[0]["signature"].as_str().unwrap();
    assert_eq!(second["diagnosis"]["signature"], signature);
    assert_eq!(second["diagnosis"]["similar"][0]["experiment_id"], "a");
    let path = format!("/api/v1/groups/{signature}");
    let group = rig.get(&path).await.json();
    assert!(group["why"]["rule"].is_string(), "{group}");
    let parts = group["why"]["parts"].as_array().unwrap();
    assert!(parts.iter().any(|part| part.as_str().unwrap().contains("scipy")), "{group}");
    assert_eq!(
        rig.post(&path, &json!({"do": "assign", "assignee": "<b>ada</b>"})).await.json()["assignee"],
        "<b>ada</b>"
    );
    let resolved = rig.post(&path, &json!({"do": "resolve"})).await.json();
    assert_eq!(
        (resolved["state"].as_str(), resolved["decided_by"].as_str()),
        (Some("resolved"), Some("local"))
    );
    assert_eq!(rig.get("/api/v1/groups?state=open").await.json()["groups"].as_array().unwrap().len(), 1);
    report(&rig, "d", "ModuleNotFoundError: No module named 'scipy'").await;
    let group = rig.get(&path).await.json();
    assert_eq!(group["state"], "open");
    assert!(group["reopened_at"].is_string(), "{group}");
    assert_eq!(rig.post(&path, &json!({"do": "mute"})).await.json()["state"], "muted");
    assert_eq!(rig.post(&path, &json!({"do": "dance"})).await.status, 400);
    assert_eq!(rig.post("/api/v1/groups/v1:none", &json!({"do": "mute"})).await.status, 404);

    // joined, it counts there; parted, here again
    let other = groups[1]["signature"].as_str().unwrap();
    let joined = rig.post(&format!("/api/v1/groups/{other}/join"), &json!({"into": signature})).await.json();
    assert_eq!((joined["count"].as_u64(), &joined["members"]), (Some(4), &json!([other])));
    let parted = rig.post(&format!("/api/v1/groups/{other}/part"), &json!({})).await.json();
    assert_eq!(parted["count"], 1);
    let part = rig.post(&format!("{path}/split"), &json!({"words": "SciPy"})).await.json();
    assert_eq!(
        rig.get(&format!("/api/v1/groups/{}", part["signature"].as_str().unwrap().replace('+', "%2B")))
            .await
            .json()["count"],
        3
    );
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_correction_counts_at_once_later_and_before_and_is_taken_back() {
    let rig = Rig::open().await;
    report(&rig, "a", "weird: it broke").await;
    let before = report(&rig, "b", "weird: it broke").await;
    let right =
        json!({"category": "resource_error", "severity": "critical", "root_cause": "The <disk> is full."});
    let correction = rig.post("/api/v1/experiments/b/correction", &right).await;
    assert_eq!(correction.status, 200, "{correction}");
    let correction = correction.json();
    assert_eq!(
        (correction["by"].as_str(), correction["category"].as_str()),
        (Some("local"), Some("resource_error"))
    );
    let said = async |id: &str| rig.get(&format!("/api/v1/experiments/{id}/diagnosis")).await.json();
    let b = said("b").await;
    assert_eq!(
        (b["root_cause"].as_str(), b["provenance"]["source"].as_str()),
        (Some("The <disk> is full."), Some("human"))
    );
    assert_eq!(b["verdict"]["category"], before["diagnosis"]["failure_category"], "both verdicts stay");
    let later = report(&rig, "c", "weird: it broke").await;
    assert_eq!(later["diagnosis"]["provenance"]["source"], "human", "the answer says it too");
    assert_eq!(said("c").await["failure_category"], "resource_error");
    assert_eq!(said("a").await["failure_category"], before["diagnosis"]["failure_category"]);
    let replay = format!("/api/v1/corrections/{}/replay", correction["id"]);
    let would = rig.get(&replay).await.json();
    assert_eq!((would["looked_at"].as_u64(), would["changed"].as_u64()), (Some(3), Some(1)));
    assert_eq!(would["changes"][0]["experiment"], "a");
    assert_eq!(rig.post(&replay, &json!({})).await.json()["changed"], 1);
    assert_eq!(said("a").await["severity"], "critical");
    let back = format!("/api/v1/corrections/{}/take-back", correction["id"]);
    assert_eq!(rig.post(&back, &json!({})).await.status, 200);
    for id in ["a", "b", "c"] {
        assert_eq!(said(id).await["failure_category"], before["diagnosis"]["failure_category"], "{id}");
    }
    assert!(rig.get("/api/v1/corrections").await.json()["corrections"][0]["undone_at"].is_string());
    assert_eq!(rig.get(&replay).await.status, 404);
    for wrong in
        [json!({}), json!({"category": "bug"}), json!({"root_cause": "x".repeat(5000)}), json!({"x": 1})]
    {
        assert_eq!(rig.post("/api/v1/experiments/b/correction", &wrong).await.status, 400, "{wrong}");
    }

    let vote = rig.post("/api/v1/experiments/b/vote", &json!({"helpful": true})).await.json();
    assert_eq!(vote, json!({"helpful": 1, "unhelpful": 0}));
    assert_eq!(rig.get("/api/v1/experiments/b").await.json()["votes"]["helpful"], 1);
    // a form goes back to its page
    let headers = "content-type: application/x-www-form-urlencoded\r\n";
    let form = b"helpful=false&back=%2Fexperiments%2Fb&csrf=";
    let answer = rig.call("POST", "/api/v1/experiments/b/vote", headers, form).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/experiments/b")), "{answer}");
    assert_eq!(rig.get("/api/v1/experiments/b").await.json()["votes"]["unhelpful"], 1);
    let stale = rig.call("POST", "/api/v1/experiments/b/vote", headers, b"helpful=false&csrf=00").await;
    assert_eq!((stale.status, stale.json()["error"]["code"].as_str()), (403, Some("stale_form")));
    rig.end().await;
}
