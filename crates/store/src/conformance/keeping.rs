//! Logs in and out, what is left when a watcher dies, and what a clean-up removes.

use std::io::{Read, Write};
use std::time::Duration;

use super::given::{at, diagnosis, ended, failed, log_of, names, new, noise, passed, saved};
use crate::{Error, Outcome, PassedLogs, Query, Retention, Status, Store};

async fn read(store: &Store, id: crate::LogId) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read_log(id).await.unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

pub(crate) async fn logs_come_back_as_they_went(store: &Store) {
    let large = noise(1, 3 << 20);
    let contents: [&[u8]; 7] = [
        b"",
        b"x",
        b"Traceback (most recent call last):\n  \xff\xfe\0 \r 10%\r 20%\n",
        &b"the same line\n".repeat(200_000),
        &noise(2, 20_000),
        &noise(3, 70_000),
        &large,
    ];
    for (n, content) in contents.into_iter().enumerate() {
        // once in pieces as a run prints, once at once as a file is saved
        let id = store.begin(new(&format!("run-{n}"), "t", "x", n as i64)).await.unwrap();
        let mut writer = store.log_writer(&id);
        for piece in content.chunks(9_999) {
            writer.write_all(piece).unwrap();
        }
        let log = writer.finish().await;
        assert_eq!(log.note(), None);
        let facts = log.facts().cloned();
        store.finish(&id, Outcome { log: Some(log), ..ended(Status::Passed, n as i64) }).await.unwrap();
        let kept = store.get(&format!("run-{n}")).await.unwrap();
        assert_eq!((kept.log.clone(), kept.log_note), (facts, None), "log {n}");
        if content.is_empty() {
            assert_eq!(kept.log, None);
            continue;
        }
        let at_once = log_of(store, content).await;
        let log = kept.log.unwrap();
        assert_eq!(at_once.facts().unwrap().id, log.id, "the address is of the content");
        let failure = saved(Some(&format!("saved-{n}")), 50, diagnosis("v1:a", "x"), Some(at_once));
        store.save_diagnoses(vec![failure]).await.unwrap();
        assert_eq!(store.get(&format!("saved-{n}")).await.unwrap().log.unwrap().id, log.id);
        assert!(read(store, log.id).await == content, "log {n}");
        assert_eq!(log.bytes, content.len() as u64);
    }
    let unknown = log_of(store, b"never kept").await.facts().unwrap().id;
    assert!(matches!(store.read_log(unknown).await, Err(Error::NoLog { .. })));
}

pub(crate) async fn orphans_keep_what_they_printed(store: &Store) {
    let (dead, alive) = (new("dead", "t", "x", 0), new("alive", "t", "x", 1));
    let (dead, alive) = (store.begin(dead).await.unwrap(), store.begin(alive).await.unwrap());
    let mut watching = store.log_writer(&alive);
    watching.write_all(b"still going\n").unwrap();
    {
        // dropped in the middle, as by a panic
        let mut writer = store.log_writer(&dead);
        writer.write_all(b"epoch 1\nepoch 2\n").unwrap();
    }
    let orphans = store.find_orphans(|running| running.id == alive).await.unwrap();
    assert_eq!(orphans.iter().map(|o| &o.id).collect::<Vec<_>>(), [&dead]);
    assert!(store.find_orphans(crate::Running::seems_alive).await.unwrap().is_empty(), "we live");

    let closed = store.close_orphans(at(9), |running| running.id == alive).await.unwrap();
    let log = closed[0].log.unwrap();
    assert_eq!(read(store, log).await, b"epoch 1\nepoch 2\n");
    let kept = store.get("dead").await.unwrap();
    assert_eq!((kept.listed.status, kept.listed.log), (Status::Lost, Some(log)));
    assert!(kept.log_note.unwrap().contains("ends where the process"));
    assert!(kept.reason.unwrap().contains("ended before it did"));
    assert_eq!(store.get("alive").await.unwrap().listed.status, Status::Running);
    let log = watching.finish().await;
    store.finish(&alive, Outcome { log: Some(log), ..ended(Status::Passed, 9) }).await.unwrap();
}

pub(crate) async fn clean_up_by_age_spares_what_runs(store: &Store) {
    let day = 24 * 3600;
    let old_runs = store.begin(new("old-runs", "t", "x", -90 * day)).await.unwrap();
    for n in 0..250 {
        let failure = saved(Some(&format!("old-{n}")), -50 * day + n, diagnosis("v1:old", "cuda"), None);
        store.save_diagnoses(vec![failure]).await.unwrap();
    }
    passed(store, "old-log", "t", "x", -40 * day, "an old log").await;
    failed(store, "young", "t", "x", -day, diagnosis("v1:old", "cuda")).await;
    let days = |n: u64| Duration::from_secs(n * 24 * 3600);
    let nothing = store.prune(Retention::default(), at(0)).await.unwrap();
    assert_eq!((nothing.experiments, nothing.logs), (0, 0), "nothing is removed by default");
    let done =
        store.prune(Retention { max_age: Some(days(30)), ..Retention::default() }, at(0)).await.unwrap();
    assert_eq!((done.experiments, done.logs, done.problems), (251, 1, vec![]));
    assert!(done.log_bytes > 0);
    let page = store.list(Query::default()).await.unwrap();
    assert_eq!(names(&page.experiments), ["young", "old-runs"]);
    assert_eq!(page.total_count, 2);
    let cuda = Query { q: Some("cuda".into()), ..Query::default() };
    assert_eq!(store.list(cuda).await.unwrap().total_count, 1);
    assert_eq!(store.summary(at(-60 * day), at(-35 * day)).await.unwrap().total, 0);
    let known = store.signature_stats("v1:old").await.unwrap().unwrap();
    assert_eq!((known.count, known.first_seen), (1, at(-50 * day)), "what was seen once is not new");
    assert_eq!(store.health(true).await.unwrap().log_bytes, 0);
    store.finish(&old_runs, ended(Status::Passed, 0)).await.unwrap();
}

pub(crate) async fn clean_up_of_logs_takes_the_oldest(store: &Store) {
    for n in 0..6 {
        let id = store.begin(new(&format!("e{n}"), "t", "x", n * 100)).await.unwrap();
        let log = Some(log_of(store, &noise(n as u64 + 10, if n % 2 == 0 { 10_000 } else { 100_000 })).await);
        store.finish(&id, Outcome { log, ..ended(Status::Failed, n * 100) }).await.unwrap();
    }
    let logs = async || {
        let mut with = Vec::new();
        for n in 0..6 {
            let kept = store.get(&format!("e{n}")).await.unwrap();
            assert_eq!(kept.log.is_none(), kept.log_note.is_some(), "e{n}: {:?}", kept.log_note);
            if let Some(log) = kept.log {
                assert_eq!(read(store, log.id).await.len() as u64, log.bytes);
                with.push(n);
            }
        }
        with
    };
    assert_eq!(logs().await, [0, 1, 2, 3, 4, 5]);
    let by_age = Retention { max_log_age: Some(Duration::from_secs(350)), ..Retention::default() };
    let done = store.prune(by_age, at(500)).await.unwrap();
    assert_eq!((done.experiments, done.logs), (0, 2));
    assert_eq!(logs().await, [2, 3, 4, 5]);
    let by_size = Retention { max_log_bytes: Some(115_000), ..Retention::default() };
    let done = store.prune(by_size.clone(), at(500)).await.unwrap();
    assert_eq!(logs().await, [4, 5]);
    assert_eq!((done.logs, done.log_bytes > 110_000), (2, true), "{done:?}");
    let again = store.prune(by_size, at(500)).await.unwrap();
    assert_eq!(again, crate::Pruned::default());
    let kept = store.get("e0").await.unwrap();
    assert!(kept.log_note.unwrap().contains("removed on 2025-10-17"));
}

pub(crate) async fn clean_up_keeps_baselines(store: &Store) {
    for (n, line) in ["a", "b", "a", "b", "c"].into_iter().enumerate() {
        passed(store, &format!("p{n}"), "t", line, n as i64, &format!("log {n}")).await;
    }
    let twin = passed(store, "twin", "t", "a", 9, "log 2").await;
    let with_logs = async || {
        let page = store.list(Query::default()).await.unwrap();
        page.experiments.iter().filter(|x| x.log.is_some()).map(|x| x.id.to_string()).collect::<Vec<_>>()
    };
    let newest = Retention { passed_logs: PassedLogs::Newest, ..Retention::default() };
    let done = store.prune(newest, at(100)).await.unwrap();
    assert_eq!(with_logs().await, ["twin", "p4", "p3"]);
    assert_eq!(done.logs, 2, "the log that two have in common is still one's");
    assert_eq!(read(store, store.get(&twin.to_string()).await.unwrap().log.unwrap().id).await, b"log 2");
    let none = Retention { passed_logs: PassedLogs::None, ..Retention::default() };
    assert_eq!(store.prune(none, at(100)).await.unwrap().logs, 3);
    assert!(with_logs().await.is_empty());
    assert_eq!(store.last_success("t", &super::given::command("a")).await.unwrap(), None);
}

pub(crate) async fn clean_up_forgets_replies(store: &Store) {
    for (key, seconds) in [("old", 0), ("young", 90)] {
        let reply: coroner_diagnosis::Reply = serde_json::from_value(serde_json::json!({
            "text": "{}", "model": "m", "input_tokens": 1, "output_tokens": 1, "cached": false
        }))
        .unwrap();
        store.remember_reply(key, reply, at(seconds)).await.unwrap();
    }
    let minute = Retention { max_reply_age: Some(Duration::from_secs(60)), ..Retention::default() };
    assert_eq!(store.prune(minute, at(100)).await.unwrap().replies, 1);
    assert!(store.cached_reply("old").await.unwrap().is_none());
    assert!(store.cached_reply("young").await.unwrap().is_some());
}

pub(crate) async fn many_at_once_lose_nothing(store: &Store) {
    let mut tasks = tokio::task::JoinSet::new();
    for producer in 0..64 {
        let store = store.clone();
        tasks.spawn(async move {
            for n in 0..5 {
                let id = format!("p{producer}-{n}");
                failed(&store, &id, "t", "x", n, diagnosis(&format!("v1:{}", producer % 3), "boom")).await;
                // one that fails takes only its own part back, also where it had begun to write
                let good = saved(Some(&format!("s{producer}-{n}")), n, diagnosis("v1:s", "boom"), None);
                let half = vec![good.clone(), saved(Some(""), n, diagnosis("v1:s", "boom"), None)];
                let (half, whole) =
                    tokio::join!(store.save_diagnoses(half), store.save_diagnoses(vec![good]));
                assert!(matches!(half, Err(crate::Error::BadId { .. })));
                assert!(!whole.unwrap()[0].replaced);
                let unknown = crate::ExperimentId::new("nobody".into(), 1, 1);
                assert!(store.finish(&unknown, ended(Status::Passed, 1)).await.is_err());
            }
        });
    }
    tasks.join_all().await;
    let page = store.list(Query { limit: Some(500), ..Query::default() }).await.unwrap();
    assert_eq!((page.total_count, page.experiments.len(), page.running_commands), (640, 500, 0));
    let query = Query { limit: Some(500), cursor: page.next_cursor, ..Query::default() };
    let rest = store.list(query).await.unwrap().experiments;
    let all: std::collections::BTreeSet<_> =
        page.experiments.iter().chain(&rest).map(|x| x.id.number()).collect();
    assert_eq!(all.len(), 640);
    assert_eq!(store.signature_stats("v1:s").await.unwrap().unwrap().count, 320);
    let mut counted = 0;
    for n in 0..3 {
        counted += store.signature_stats(&format!("v1:{n}")).await.unwrap().unwrap().count;
    }
    assert_eq!(counted, 320);
    assert_eq!(store.summary(at(-1), at(10)).await.unwrap().total, 640);
}
