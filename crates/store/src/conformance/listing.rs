//! The list: every page by its cursor, every filter, every total, every word; and the JSON of the contract.

use coroner_diagnosis::{Category, Origin, Severity};
use serde_json::json;

use super::given::{Random, diagnosis, ended, failed, names, new, passed, saved, verdict};
use crate::{Error, Listed, Outcome, Page, Query, Sort, SortBy, Status, Store};

async fn page(store: &Store, query: Query) -> Page {
    store.list(query).await.unwrap()
}

/// All pages, one after the other.
async fn all(store: &Store, query: Query) -> Vec<Listed> {
    let (mut found, mut query) = (Vec::new(), query);
    loop {
        let page = page(store, query.clone()).await;
        assert!(page.experiments.len() <= query.limit.unwrap_or(50));
        found.extend(page.experiments);
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => return found,
        }
    }
}

pub(crate) async fn pages_hold_each_once(store: &Store) {
    let empty = page(store, Query::default()).await;
    assert_eq!((empty.total_count, empty.experiments.len(), empty.next_cursor), (0, 0, None));
    let failures = (0..123).map(|n| saved(Some(&format!("e{n:03}")), n / 2, diagnosis("v1:a", "x"), None));
    store.save_diagnoses(failures.collect()).await.unwrap();
    let newest_first: Vec<_> = (0..123).rev().map(|n| format!("e{n:03}")).collect();

    let first = page(store, Query::default()).await;
    assert_eq!((first.experiments.len(), first.total_count), (50, 123));
    assert_eq!(names(&first.experiments), newest_first[..50]);
    for limit in [1, 7, 41, 123, 500] {
        let query = Query { limit: Some(limit), ..Query::default() };
        assert_eq!(names(&all(store, query).await), newest_first, "{limit} a page");
    }
    for (asked, given) in [(0, 1), (10_000, 123)] {
        let query = Query { limit: Some(asked), ..Query::default() };
        assert_eq!(page(store, query).await.experiments.len(), given);
    }
    // what is added or ends while somebody pages moves nothing
    let cursor = first.next_cursor.clone();
    failed(store, "new", "t", "false", 1000, diagnosis("v1:b", "y")).await;
    let second = page(store, Query { cursor, ..Query::default() }).await;
    assert_eq!(names(&second.experiments), newest_first[50..100]);
    // an older one comes where it belongs
    store.save_diagnoses(vec![saved(Some("older"), -5, diagnosis("v1:a", "x"), None)]).await.unwrap();
    assert_eq!(all(store, Query::default()).await.last().unwrap().id.name(), "older");
}

pub(crate) async fn filters_agree_with_reading_everything(store: &Store) {
    let mut random = Random(42);
    let statuses: Vec<_> = Status::all().collect();
    let words = ["cuda", "nccl", "yaml", "disk"];
    for n in 0..240 {
        let id = store.begin(new("", random.of(&["train", "eval"]), "python x.py", n / 3)).await.unwrap();
        let status = random.of(&statuses);
        if status == Status::Running {
            continue;
        }
        let mut found = verdict(random.of(Category::ALL), random.of(Severity::ALL), random.of(Origin::ALL));
        found.signature = format!("v1:{}", random.of(&["a", "b", "c"]));
        found.root_cause = format!("{} failed", random.of(&words));
        found.cost_usd = random.of(&[None, None, Some(0.01), Some(0.25)]);
        let diagnosis = (!status.succeeded()).then_some(found);
        let mut outcome = Outcome { diagnosis, ..ended(status, n) };
        let wall = std::time::Duration::from_millis(random.next() % 40);
        outcome.exit =
            outcome.exit.map(|exit| coroner_diagnosis::Exit { wall, ..exit }).filter(|_| n % 7 > 0);
        store.finish(&id, outcome).await.unwrap();
    }
    let everything = all(store, Query { limit: Some(500), ..Query::default() }).await;
    assert_eq!(everything.len(), 240);
    // at random there are so many combinations of words that a page is hundreds of calls to an emulator
    let is_remote = store.health(false).await.unwrap().location.starts_with("dynamodb:");
    for _ in 0..if is_remote { 40 } else { 250 } {
        let mut sometimes = |share: u64| random.next() % 4 < share;
        let (a, b, c, d, e, f) =
            (sometimes(2), sometimes(1), sometimes(1), sometimes(1), sometimes(1), sometimes(1));
        let query = Query {
            limit: Some(7),
            sort: Sort { by: random.of(&BY), descending: random.of(&[true, false]) },
            cursor: None,
            status: a.then(|| random.of(&statuses)),
            category: b.then(|| random.of(Category::ALL)),
            severity: c.then(|| random.of(Severity::ALL)),
            origin: d.then(|| random.of(Origin::ALL)),
            signature: e.then(|| format!("v1:{}", random.of(&["a", "b", "none"]))),
            q: f.then(|| random.of(&words).to_owned()),
        };
        let fits = |x: &&Listed| {
            let of = |f: &dyn Fn(&crate::Analysis) -> bool| x.analysis.as_ref().is_some_and(f);
            query.status.is_none_or(|s| x.status == s)
                && query.category.is_none_or(|c| of(&|a| a.category == c))
                && query.severity.is_none_or(|s| of(&|a| a.severity == s))
                && query.origin.is_none_or(|o| of(&|a| a.origin == o))
                && query.signature.as_ref().is_none_or(|s| of(&|a| a.signature == *s))
                && query.q.as_ref().is_none_or(|q| of(&|a| a.root_cause.contains(q)))
        };
        let mut expected: Vec<_> = everything.iter().filter(fits).cloned().collect();
        in_order(query.sort, &mut expected);
        assert_eq!(all(store, query.clone()).await, expected, "{query:?}");
        let first = page(store, query.clone()).await;
        assert_eq!((first.total_count, first.total_is_at_least), (expected.len() as u64, false), "{query:?}");
        let running = everything.iter().filter(|x| x.status == Status::Running).count() as u64;
        assert_eq!(first.running_commands, running);
    }
}

const BY: [SortBy; 5] = [SortBy::Started, SortBy::Severity, SortBy::Category, SortBy::Duration, SortBy::Cost];

/// Sorts what stands the newest first.
fn in_order(sort: Sort, all: &mut [Listed]) {
    if !sort.descending && !matches!(sort.by, SortBy::Severity | SortBy::Category) {
        all.reverse();
    }
    let worst_last = |a: &crate::Analysis| Severity::ALL.iter().rev().position(|s| *s == a.severity).unwrap();
    let value = |it: &Listed| match sort.by {
        SortBy::Started => Some(String::new()),
        SortBy::Severity => it.analysis.as_ref().map(|a| worst_last(a).to_string()),
        SortBy::Category => it.analysis.as_ref().map(|a| a.category.to_string()),
        SortBy::Duration => it.duration.map(|d| format!("{:020}", d.as_micros())),
        SortBy::Cost => Some(format!("{:09.4}", it.dollars)),
    };
    all.sort_by(|a, b| match (value(a), value(b)) {
        (Some(a), Some(b)) if sort.descending => b.cmp(&a),
        (Some(a), Some(b)) => a.cmp(&b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    });
}

pub(crate) async fn words_are_found(store: &Store) {
    let oom = "CUDA out of memory: 2.50 GiB asked for by libtorch_cuda.so (Größe ßtraße)";
    failed(store, "exp-oom/17", "train", "python train.py --batch 32", 0, diagnosis("v1:aa", oom)).await;
    let yaml = "No module named 'yaml'; pip install pyyaml";
    failed(store, "exp-yaml", "eval", "python eval.py", 1, diagnosis("v1:bb", yaml)).await;
    store.begin(new("exp-running", "train", "./run.sh cuda", 2)).await.unwrap();
    let cases: [(&str, &[&str]); 26] = [
        ("cuda", &["exp-running", "exp-oom/17"]),
        ("CUDA memory", &["exp-oom/17"]),
        ("mem", &["exp-oom/17"]), // no word is just this, so it is taken for a beginning
        ("exp-run", &["exp-running"]),
        ("me", &[]),
        ("yam mod 'yaml'", &["exp-yaml"]),
        ("train.py", &["exp-oom/17"]),
        ("batch 32", &["exp-oom/17"]),
        ("exp-yaml", &["exp-yaml"]),
        ("exp", &["exp-running", "exp-yaml", "exp-oom/17"]),
        ("libtorch_cuda.so", &["exp-oom/17"]),
        ("torch_cuda", &[]), // beginnings of words only
        ("größe", &["exp-oom/17"]),
        ("OUT of MEM", &["exp-oom/17"]),
        ("'yaml'", &["exp-yaml"]),
        ("yaml OR cuda", &[]),
        ("yaml AND", &[]),
        ("NOT yaml", &[]),
        ("NEAR(yaml)", &[]),
        ("\"yaml", &["exp-yaml"]),
        ("cause:yaml", &[]),
        ("words : statusfailed", &[]), // our own words are not for searching
        ("statusfailed", &[]),
        ("*", &[]),
        ("( ) ^ - \"", &[]),
        ("yaml\0module", &["exp-yaml"]),
    ];
    for (q, expected) in cases {
        let found = page(store, Query { q: Some(q.into()), ..Query::default() }).await;
        assert_eq!(names(&found.experiments), expected, "{q:?}");
        assert_eq!(found.total_count, expected.len() as u64, "{q:?}");
    }
    for q in ["", "  \n "] {
        let found = page(store, Query { q: Some(q.into()), ..Query::default() }).await;
        assert_eq!(found.experiments.len(), 3, "nothing asked is everything");
    }
    let filtered = |q: &str, status| Query { q: Some(q.into()), status: Some(status), ..Query::default() };
    assert_eq!(names(&page(store, filtered("exp", Status::Running)).await.experiments), ["exp-running"]);
    assert_eq!(page(store, filtered("exp", Status::Passed)).await.total_count, 0);
    // beginnings stay beginnings from page to page, whatever is added
    let beginnings = Query { q: Some("mod trai".into()), limit: Some(1), ..Query::default() };
    assert_eq!(page(store, beginnings).await.total_count, 0);
    failed(store, "late-1", "train", "x", 3, diagnosis("v1:cc", "modules")).await;
    failed(store, "late-2", "train", "x", 4, diagnosis("v1:cc", "modular")).await;
    let beginnings = Query { q: Some("modu".into()), limit: Some(1), ..Query::default() };
    let first = page(store, beginnings.clone()).await;
    assert_eq!((names(&first.experiments), first.total_count), (vec!["late-2".to_owned()], 3));
    failed(store, "late-3", "train", "x", 5, diagnosis("v1:cc", "modu")).await;
    let second = page(store, Query { cursor: first.next_cursor, ..beginnings.clone() }).await;
    assert_eq!(names(&second.experiments), ["late-1"]);
    assert_eq!(
        names(&all(store, beginnings).await),
        ["late-3"],
        "a whole word comes first when one begins anew"
    );
    let long = page(store, Query { q: Some("cuda ".repeat(5000)), ..Query::default() }).await;
    assert_eq!(long.total_count, 2);
}

pub(crate) async fn cursors_are_checked(store: &Store) {
    passed(store, "a", "t", "true", 0, "").await;
    for text in ["", "x", "c1.", "c1.zz", "c2.0", "1", "c1.ffffffffffffffffffff", "c1.0 OR 1"] {
        let answer = store.list(Query { cursor: Some(text.into()), ..Query::default() }).await;
        assert!(matches!(answer, Err(Error::Cursor { .. })), "{text:?}");
    }
    let nothing_before = Query { cursor: Some("c1.0".into()), ..Query::default() };
    assert_eq!(page(store, nothing_before).await.experiments.len(), 0);
}

pub(crate) async fn json_is_the_contracts(store: &Store) {
    failed(store, "real_exp_1760667123", "codec", "false", 123, diagnosis("v1:ab", "Forbidden import: x"))
        .await;
    store.begin(new("still", "codec", "true", 124)).await.unwrap();
    let page = page(store, Query { limit: Some(2), ..Query::default() }).await;
    let answer = serde_json::to_value(&page).unwrap();
    let [running, failed] = [0, 1].map(|n| answer["experiments"][n].clone());
    assert_eq!(answer["total_count"], 2);
    assert_eq!(answer["running_commands"], 1);
    assert_eq!(answer["next_cursor"], json!(null));
    assert!(answer.get("total_is_at_least").is_none());
    assert_eq!(
        failed,
        json!({
            "id": "real_exp_1760667123", "number": page.experiments[1].id.number(), "timestamp": 1_760_667_123, "status": "failed",
            "experiment_type": "codec", "duration_seconds": 1.5,
            "failure_analysis": {
                "category": "timeout", "root_cause": "Forbidden import: x",
                "fix_suggestion": "Give it more time (--timeout 180s).", "severity": "medium",
                "origin": "candidate", "confidence": 1.0, "signature": "v1:ab", "retryable": false, "rule": null
            }
        })
    );
    assert!(running.get("failure_analysis").is_none(), "{running}");
    assert_eq!(running["duration_seconds"], json!(null));
}
