//! What is known beyond the single experiment: signatures, likeness, successes, counts, replies, spending.

use std::collections::BTreeMap;

use coroner_diagnosis::{Category, Origin, Reply, Severity, Similar};
use jiff::civil::date;

use super::given::{at, command, diagnosis, ended, failed, new, passed, verdict};
use crate::{Outcome, Spent, Status, Store, cause_text};

pub(crate) async fn signatures_are_counted(store: &Store) {
    assert!(store.signature_stats("v1:oom").await.unwrap().is_none());
    for n in 0..7 {
        failed(
            store,
            &format!("oom-{n}"),
            "train",
            "python t.py --batch 32",
            n * 10,
            diagnosis("v1:oom", "oom"),
        )
        .await;
    }
    let known = store.signature_stats("v1:oom").await.unwrap().unwrap();
    assert_eq!((known.count, known.first_seen, known.last_seen), (7, at(0), Some(at(60))));
    let recent: Vec<_> = known.recent.iter().map(|r| r.id.to_string()).collect();
    assert_eq!(recent, ["oom-6", "oom-5", "oom-4", "oom-3", "oom-2"]);
    assert_eq!(known.passed_after, None);
    // older ones that come in later
    failed(store, "oom-older", "train", "x", -50, diagnosis("v1:oom", "oom")).await;
    let known = store.signature_stats("v1:oom").await.unwrap().unwrap();
    assert_eq!((known.first_seen, known.last_seen), (at(-50), Some(at(60))));
}

pub(crate) async fn what_helped_is_known(store: &Store) {
    failed(store, "f1", "train", "python t.py --batch 32", 0, diagnosis("v1:oom", "out of memory")).await;
    passed(store, "other", "eval", "python t.py --batch 32", 5, "").await; // another type
    passed(store, "before", "train", "python t.py --batch 8", -9, "").await; // before it
    let known = async |s: &str| store.signature_stats(s).await.unwrap().unwrap().passed_after;
    assert_eq!(known("v1:oom").await, None);
    passed(store, "p16", "train", "python t.py --batch 16", 10, "").await;
    let helped = known("v1:oom").await.unwrap();
    assert_eq!((helped.failed.name(), helped.passed.name()), ("f1", "p16"));
    assert_eq!(helped.in_words(), format!("exp {} passed after batch 32 → 16", helped.passed.number()));
    // the same command is nearer than the same type
    passed(store, "again", "train", "python t.py --batch 32", 20, "").await;
    let helped = known("v1:oom").await.unwrap();
    assert_eq!(helped.passed.name(), "again");
    assert!(helped.in_words().starts_with("passed unchanged"), "{}", helped.in_words());
    // without a type only the same command counts
    failed(store, "f2", "", "make test", 30, diagnosis("v1:make", "make failed")).await;
    passed(store, "p2", "", "make lint", 40, "").await;
    assert_eq!(known("v1:make").await, None);
}

pub(crate) async fn similar_ones_come_best_first(store: &Store) {
    let causes = [
        (
            "cuda-a",
            "v1:cuda",
            "CUDA out of memory at train.py:212: 2.50 GiB asked for, 1.19 GiB free on GPU 0",
        ),
        ("cuda-b", "v1:cuda", "CUDA out of memory at train.py:9: 1.00 GiB asked for, 0.19 GiB free on GPU 3"),
        ("hip", "v1:hip", "HIP out of memory at train.py:212: 2.50 GiB asked for, 1.19 GiB free on GPU 0"),
        ("host", "v1:host", "The host ran out of memory: worker killed by the kernel"),
        ("yaml", "v1:yaml", "No module named 'yaml' for eval.py"),
    ];
    for (n, (id, signature, cause)) in causes.into_iter().enumerate() {
        failed(store, id, "train", "python t.py", n as i64, diagnosis(signature, cause)).await;
    }
    passed(store, "after", "train", "python t.py", 100, "").await;
    let asked = diagnosis("v1:cuda", causes[0].2);
    let this = store.get("cuda-b").await.unwrap().listed.id;
    let found = store.similar("v1:cuda", &cause_text(&asked), Some(&this), 5).await.unwrap();
    let names: Vec<_> = found.iter().map(|f| f.id.name()).collect();
    assert_eq!(names[..2], ["cuda-a", "hip"], "{found:?}");
    assert!(!names.contains(&"yaml"), "{found:?}");
    assert_eq!(found[0].score, 1.0);
    assert!(found.windows(2).all(|w| w[0].score >= w[1].score) && found[1].score < 1.0, "{found:?}");
    let told: Similar = found[0].clone().into();
    assert_eq!(told.experiment_id, "cuda-a");
    assert!(told.fix.unwrap().starts_with("passed unchanged"));

    let limited = store.similar("v1:cuda", &cause_text(&asked), None, 2).await.unwrap();
    assert_eq!(limited.iter().map(|f| f.id.name()).collect::<Vec<_>>(), ["cuda-b", "cuda-a"]);
    // a signature that was never seen, a cause that is no word
    let unseen = store.similar("v1:new", causes[4].2, None, 5).await.unwrap();
    assert_eq!(unseen.iter().map(|f| f.id.name()).collect::<Vec<_>>(), ["yaml"]);
    assert!(store.similar("v1:new", "\" OR * 17 (", None, 5).await.unwrap().is_empty());
}

pub(crate) async fn the_last_success_is_the_baseline(store: &Store) {
    let last = async |kind: &str, line: &str| {
        let Some(id) = store.last_success(kind, &command(line)).await.unwrap() else { return String::new() };
        let mut text = String::new();
        std::io::Read::read_to_string(&mut store.read_log(id).await.unwrap(), &mut text).unwrap();
        text
    };
    assert_eq!(last("train", "python t.py").await, "");
    passed(store, "1", "train", "python t.py", 0, "one").await;
    passed(store, "2", "train", "python t.py --x", 1, "two").await;
    passed(store, "3", "", "make", 2, "three").await;
    let silent = store.begin(new("4", "train", "python t.py", 3)).await.unwrap();
    store.finish(&silent, ended(Status::Passed, 4)).await.unwrap();
    failed(store, "5", "train", "python t.py", 5, diagnosis("v1:a", "x")).await;
    for (kind, line, expected) in [
        ("train", "python t.py", "one"),
        ("train", "python t.py --x", "two"),
        ("train", "python t.py --y", "two"),
        ("train", "", "two"),
        ("", "make", "three"),
        ("", "make all", ""),
        ("eval", "python t.py", ""),
        ("", "", ""),
    ] {
        assert_eq!(last(kind, line).await, expected, "{kind} {line}");
    }
    let id = store.begin(new("6", "loop", "candidate", 6)).await.unwrap();
    let log = Some(super::given::log_of(store, b"six").await);
    store.finish(&id, Outcome { log, ..ended(Status::Adopted, 7) }).await.unwrap();
    assert_eq!(last("loop", "candidate").await, "six");
}

pub(crate) async fn counts_follow_time(store: &Store) {
    let hour = 3600;
    for (n, category) in [(0, Category::Timeout), (1, Category::Timeout), (30, Category::ImportError)] {
        let found = verdict(category, Severity::High, Origin::Harness);
        failed(store, &format!("f{n}"), "t", "x", n * hour, found).await;
    }
    passed(store, "p", "t", "x", hour, "").await;
    store.begin(new("r", "t", "x", hour)).await.unwrap();
    let whole = store.summary(at(-hour), at(40 * hour)).await.unwrap();
    assert_eq!(whole.total, 5);
    assert_eq!(
        whole.by_status,
        BTreeMap::from([(Status::Running, 1), (Status::Passed, 1), (Status::Failed, 3)])
    );
    assert_eq!(whole.by_category, BTreeMap::from([(Category::ImportError, 1), (Category::Timeout, 2)]));
    assert_eq!(whole.by_severity, BTreeMap::from([(Severity::High, 3)]));
    assert_eq!(whole.by_origin, BTreeMap::from([(Origin::Harness, 3)]));
    let evening = store.summary(at(0), at(2 * hour)).await.unwrap();
    assert_eq!((evening.total, evening.by_category.len()), (4, 1));
    assert!(evening.from <= at(0) && evening.to >= at(2 * hour));
    assert_eq!(evening.from.as_second() % hour, 0);
    assert_eq!(evening.to.as_second() % hour, 0);
    assert_eq!(store.summary(at(100 * hour), at(101 * hour)).await.unwrap().total, 0);
}

pub(crate) async fn replies_are_remembered(store: &Store) {
    let reply = |text: &str| Reply {
        text: text.to_owned(),
        model: "claude-sonnet-5".into(),
        input_tokens: 900,
        output_tokens: 120,
        cost_usd: Some(0.0045),
        cached: false,
        notice: None,
    };
    assert_eq!(store.cached_reply("k").await.unwrap(), None);
    store.remember_reply("k", reply("{\"a\": \"ä\"}"), at(0)).await.unwrap();
    store.remember_reply("other", reply("2"), at(0)).await.unwrap();
    assert_eq!(store.cached_reply("k").await.unwrap(), Some(reply("{\"a\": \"ä\"}")));
    store.remember_reply("k", reply("3"), at(1)).await.unwrap();
    assert_eq!(store.cached_reply("k").await.unwrap(), Some(reply("3")));
}

pub(crate) async fn spending_adds_up(store: &Store) {
    let day = date(2026, 11, 23);
    assert_eq!(store.spent(day).await.unwrap(), Spent::default());
    for _ in 0..10 {
        store.record_spend(day, Spent { calls: 1, dollars: 0.1 }).await.unwrap();
    }
    store.record_spend(date(2026, 11, 24), Spent { calls: 2, dollars: 0.000_000_017 }).await.unwrap();
    assert_eq!(store.spent(day).await.unwrap(), Spent { calls: 10, dollars: 1.0 });
    let next = store.spent(date(2026, 11, 24)).await.unwrap();
    assert_eq!((next.calls, next.dollars), (2, 0.000_000_017));
}
