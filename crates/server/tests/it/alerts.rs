//! Alerts of the desk: it tells of what is reported, says how deliveries stand, and sends tests.

use std::sync::Arc;
use std::time::Duration;

use coroner_server::Settings;
use coroner_server::alerts::{Alerts, Channel, Rule};
use coroner_store::Store;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::page::NASTY;
use crate::rig::Rig;

/// A program that takes webhooks and passes on what it is sent. Before each answer it waits until `go` says so.
async fn receiver() -> (String, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, all) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
            let body = loop {
                let n = stream.read(&mut buffer).await.unwrap();
                bytes.extend_from_slice(&buffer[..n]);
                let text = String::from_utf8_lossy(&bytes);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.unwrap().parse::<usize>().unwrap() {
                    break serde_json::from_str(body).unwrap();
                }
            };
            told.send(body).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
        }
    });
    (address, all)
}

fn alerts(store: Store, channels: Vec<Channel>) -> Alerts {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    Alerts::new(
        store,
        coroner_server::alerts::Settings {
            channels,
            rules: Rule::usual(),
            quiet: minutes(15),
            over: minutes(60),
            outage: minutes(10),
            most_per_hour: 10,
            desk: Some("https://coroner.example".into()),
            secrets: Vec::new(),
        },
    )
}

async fn telling(address: &str) -> Rig {
    let url = SecretString::from(format!("http://{address}/hooks/secretsecret"));
    let settings = Settings { auth: false, ..Settings::default() };
    let broken = Channel::unusable("broken", "email", "its password is missing: FOO is not set".into());
    Rig::telling(settings, |store| Some(alerts(store, vec![Channel::webhook("pager", &url, None), broken])))
        .await
}

#[tokio::test]
pub(crate) async fn what_is_reported_is_told_and_the_desk_says_so() {
    let (address, mut told) = receiver().await;
    let rig = telling(&address).await;
    // the desk watches from its first second on; what it has missed by then is nobody's news
    while rig.store.alert_round(0).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let report = json!({"experiment_id": NASTY.replace('\u{202e}', ""), "error_message": "ModuleNotFoundError: No module named 'torchh'", "exit_code": 1});
    assert_eq!(rig.post("/api/v1/failures", &report).await.status, 201);
    let body = told.recv().await.unwrap();
    assert_eq!((body["kind"].as_str(), body["category"].as_str()), (Some("opened"), Some("import_error")));
    assert_eq!(body["links"]["experiment"], "https://coroner.example/experiments/1");
    let state = async || {
        let answer = rig.get("/api/v1/alerts").await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    };
    while state().await["channels"][0]["last_sent"].is_null() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let known = state().await;
    assert_eq!(known["channels"][0]["place"], address);
    assert_eq!(known["channels"][1]["problem"], "its password is missing: FOO is not set");
    assert!(!known.to_string().contains("secretsecret"), "{known}");
    let page = rig.send(
        "GET /settings HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/html\r\nconnection: close\r\n\r\n",
        b"",
    );
    let page = page.await.text();
    assert!(page.contains(&address) && page.contains("FOO is not set") && page.contains("waiting"), "{page}");
    assert!(!page.contains("secretsecret"), "{page}");
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_test_is_sent_by_programs_and_by_the_page() {
    let (address, mut told) = receiver().await;
    let rig = telling(&address).await;
    let one = rig.post("/api/v1/alerts/test", &json!({"channel": "pager"})).await;
    assert_eq!(one.status, 200, "{one}");
    assert_eq!(one.json()["results"][0]["delivered"], true);
    assert_eq!(told.recv().await.unwrap()["kind"], "test");
    let all = rig.post("/api/v1/alerts/test", &json!({})).await.json();
    assert_eq!(all["results"][1]["why"], "its password is missing: FOO is not set");
    told.recv().await.unwrap();
    let form = "content-type: application/x-www-form-urlencoded\r\nsec-fetch-site: same-origin\r\n";
    let sent = rig.call("POST", "/api/v1/alerts/test", form, b"csrf=&back=%2Fsettings&channel=pager").await;
    assert_eq!((sent.status, sent.header("location")), (303, Some("/settings")), "{sent}");
    assert_eq!(told.recv().await.unwrap()["kind"], "test");
    let of_another = form.replace("same-origin", "cross-site");
    let sent = rig.call("POST", "/api/v1/alerts/test", &of_another, b"csrf=&channel=pager").await;
    assert_eq!(sent.status, 403);
    for (body, status) in [(json!({"channel": "pagr"}), 404), (json!({"chanel": "pager"}), 400)] {
        assert_eq!(rig.post("/api/v1/alerts/test", &body).await.status, status, "{body}");
    }
    for (query, status) in
        [("?state=failed", 200), ("?state=lost", 400), ("?limit=0", 400), ("?limit=1", 200)]
    {
        let answer = rig.get(&format!("/api/v1/alerts{query}")).await;
        assert_eq!(answer.status, status, "{query}: {answer}");
    }
    let failed = rig.get("/api/v1/alerts?state=failed").await.json();
    assert_eq!(failed["messages"].as_array().unwrap().len(), 1);
    assert!(told.try_recv().is_err());
    rig.end().await;

    let rig = Rig::open().await;
    assert_eq!(rig.post("/api/v1/alerts/test", &json!({})).await.status, 409);
    assert_eq!(rig.get("/api/v1/alerts").await.json(), json!({"channels": [], "messages": []}));
    rig.end().await;
}

fn critical(id: &str, signature: &str) -> coroner_store::SavedFailure {
    coroner_store::SavedFailure {
        id: Some(id.to_owned()),
        experiment_type: "train".into(),
        at: jiff::Timestamp::now(),
        command: coroner_store::CommandLine::default(),
        exit: None,
        reason: None,
        diagnosis: coroner_diagnosis::Diagnosis {
            severity: coroner_diagnosis::Severity::Critical,
            origin: coroner_diagnosis::Origin::Candidate,
            signature: signature.to_owned(),
            ..crate::rig::diagnosis("it went wrong")
        },
        log: None,
    }
}

#[tokio::test]
pub(crate) async fn several_that_look_and_send_tell_each_failure_once() {
    let (address, mut told) = receiver().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("a.db").display());
    let hook = SecretString::from(format!("http://{address}/hook"));
    let mut many = Vec::new();
    for _ in 0..4 {
        let store = Store::open(&url).await.unwrap();
        many.push(alerts(store, vec![Channel::webhook("pager", &hook, None)]));
    }
    let store = Store::open(&url).await.unwrap();
    many[0].expect().await.unwrap();
    let failures = 30;
    let saved = (0..failures).map(|i| critical(&format!("exp-{i}"), &format!("v1:{}", i % 6)));
    for failure in saved {
        let (one, other) = (Arc::new(many[0].clone()), many[1].clone());
        store.save_diagnoses(vec![failure]).await.unwrap();
        let looks = many[2..].iter().map(|it| it.tell(Duration::from_secs(30)));
        let (a, b, rest) = tokio::join!(
            one.tell(Duration::from_secs(30)),
            other.tell(Duration::from_secs(30)),
            futures_util::future::join_all(looks)
        );
        assert!(a.unwrap().failures.is_empty() && b.unwrap().failures.is_empty());
        assert!(rest.into_iter().all(|it| it.unwrap().failures.is_empty()));
    }
    let mut ids = Vec::new();
    while let Ok(body) = told.try_recv() {
        ids.push(body["id"].as_str().unwrap().to_owned());
    }
    let sent = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), sent), (6, 6), "one for each cause");
}

#[tokio::test]
pub(crate) async fn however_much_there_is_to_tell_it_is_told_in_one_look() {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::on_dynamodb::or_in(folder.path()).await;
    let names = ["pager", "team", "slack"];
    let hook = SecretString::from("http://127.0.0.1:1/hook".to_owned());
    let channels = names.iter().map(|name| Channel::webhook(name, &hook, None)).collect();
    let alerts = alerts(store.clone(), channels);
    alerts.expect().await.unwrap();
    // a step of a table has room for less: ten incidents, and the one of what is too much, for each of three channels
    let failures = 40;
    for i in 0..failures {
        let id = format!("exp-{i}");
        store.save_diagnoses(vec![critical(&id, &format!("v1:{i}"))]).await.unwrap();
    }
    let now = jiff::Timestamp::now();
    let at_once = Some(tokio::time::Instant::now());
    assert_eq!(alerts.look(now, at_once).await.unwrap(), 0, "there was no time");
    assert!(!store.alert_round(10).await.unwrap().unwrap().events.is_empty(), "and nothing is lost by it");
    let told = alerts.look(now, None).await.unwrap();
    assert!(store.alert_round(10).await.unwrap().unwrap().events.is_empty(), "nothing is left");
    assert_eq!(alerts.look(now, None).await.unwrap(), 0);
    // what is in the pause of the flood is told when that has passed
    let later = now + jiff::SignedDuration::from_mins(20);
    let told = told + alerts.look(later, None).await.unwrap();
    let sent = store.outbox(None, 500).await.unwrap();
    assert_eq!(sent.len(), told);
    for name in names {
        let to_it = sent.iter().filter(|it| it.channel == name);
        let counts =
            to_it.map(|it| serde_json::from_str::<Value>(&it.content).unwrap()["count"].as_u64().unwrap());
        let counts: Vec<u64> = counts.collect();
        assert_eq!(counts.iter().sum::<u64>(), failures, "{name}: {counts:?}");
        assert!(counts.len() > 10, "{name}: {counts:?}");
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn whoever_watches_says_once_that_a_store_fails() {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::on_dynamodb::or_in(folder.path()).await;
    let hook = SecretString::from("http://127.0.0.1:1/hook".to_owned());
    let alerts = alerts(store.clone(), vec![Channel::webhook("pager", &hook, None)]);
    store.close().await.unwrap();
    let (end, ending) = tokio::sync::watch::channel(false);
    let said = std::sync::Mutex::new(Vec::new());
    let watching = alerts.watch(ending, |text| said.lock().unwrap().push(text.to_owned()));
    let rounds = async {
        while said.lock().unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // it fails again, each second
        tokio::time::sleep(Duration::from_millis(2500)).await;
        end.send_replace(true);
    };
    tokio::join!(watching, rounds);
    let mut said = said.into_inner().unwrap();
    said.sort();
    let of_both = [
        "messages to pager can't be sent: the store is closed",
        "what has failed can't be told: the store is closed",
    ];
    assert_eq!(said, of_both);
}
