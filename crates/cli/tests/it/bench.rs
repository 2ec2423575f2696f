//! `coroner bench fill`: what it makes, that it goes on where it was, and what it leaves alone.

use std::path::Path;

use coroner_store::{Query, Store};
use serde_json::Value;

use crate::rig::{Home, started, text};

const WORDS: [&str; 10] =
    ["bench", "fill", "--failures", "450", "--causes", "40", "--days", "3", "--experiments", "7500"];

fn fill<'a>(store: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&["--store", store][..], words].concat()
}

async fn opened(path: &Path) -> Store {
    Store::open(&format!("sqlite:{}", path.display())).await.unwrap()
}

/// What tells the experiments of two stores apart, but for when they were.
async fn all(path: &Path) -> Vec<String> {
    let store = opened(path).await;
    let mut all = Vec::new();
    let mut query = Query { limit: Some(500), ..Query::default() };
    loop {
        let page = store.list(query.clone()).await.unwrap();
        for it in &page.experiments {
            let analysis =
                it.analysis.as_ref().map(|it| (it.category, it.severity, it.origin, &it.signature));
            all.push(format!("{} {} {:?} {:?} {analysis:?}", it.id, it.status, it.duration, it.log));
        }
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => return all,
        }
    }
}

#[tokio::test]
async fn a_store_is_filled_and_one_that_was_broken_off_goes_on_where_it_was() {
    let home = Home::new();
    let (whole, broken) = (home.path().join("whole.db"), home.path().join("broken.db"));
    let (at, other) = (format!("sqlite:{}", whole.display()), format!("sqlite:{}", broken.display()));
    let output = home.output(&fill(&at, &WORDS));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("the store holds 7,500 experiments"), "{}", text(&output.stderr));
    let expected = all(&whole).await;
    assert_eq!(expected.len(), 7500);
    let failed = expected.iter().filter(|it| it.contains("Some((")).count();
    assert_eq!(failed, 450, "as many as were asked for, each with a diagnosis");
    let costs = home.output(&["--store", &at, "stats", "--format", "json"]);
    let costs: Value = serde_json::from_slice(&costs.stdout).unwrap();
    assert!(costs.to_string().contains("450"), "{costs}");

    // killed in the middle: what is there is whole, and the rest is as it would have been
    let mut tries = 0;
    let store = loop {
        let mut child = started(home.coroner(&fill(&other, &WORDS)));
        while !broken.exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended without a store");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let store = opened(&broken).await;
        while store.health(false).await.unwrap().experiments == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let there = store.health(false).await.unwrap().experiments;
        if there < 7500 {
            break store;
        }
        // it was done before it was seen to have begun, as may happen where there is much to do: once more
        store.close().await.unwrap();
        tries += 1;
        assert!(tries < 20, "it can't be broken off");
        for end in ["", "-wal", "-shm"] {
            _ = std::fs::remove_file(home.path().join(format!("broken.db{end}")));
        }
        _ = std::fs::remove_dir_all(home.path().join("broken.db-logs"));
    };
    let output = home.output(&fill(&other, &WORDS));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(all(&broken).await == expected, "other experiments than in one go");
    // and once more there is nothing left to do
    assert_eq!(home.output(&fill(&other, &WORDS)).status.code(), Some(0));
    assert_eq!(store.health(false).await.unwrap().experiments, 7500);
}

#[test]
fn it_fills_nothing_that_holds_anything_else() {
    let home = Home::new();
    let refused = home.output(&["bench", "fill", "--experiments", "10", "--failures", "11"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused.stderr).contains("--failures is more than --experiments"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(home.output(&["run", "--", "true"]).status.code(), Some(0));
    let refused = home.output(&["bench", "fill", "--experiments", "10", "--failures", "3"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("the store holds other experiments"), "{}", text(&refused.stderr));
    let list: Vec<Value> = serde_json::from_slice(&home.output(&["list", "--format", "json"]).stdout)
        .map(|value: Value| value["experiments"].as_array().cloned().or(value.as_array().cloned()).unwrap())
        .unwrap();
    assert_eq!(list.len(), 1, "it was left as it was: {list:?}");
}

#[test]
fn the_partitions_of_a_table_are_those_that_the_store_would_write() {
    let home = Home::new();
    let words = ["bench", "keys", "--experiments", "400", "--failures", "120", "--causes", "30"];
    let output = home.output(&[&words[..], &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["experiments"], 400);
    let kinds = told["kinds"].as_array().unwrap();
    let of = |place: &str, begins: &str| {
        kinds
            .iter()
            .find(|it| it["place"] == place && it["begins"] == begins)
            .unwrap_or_else(|| panic!("{told}"))
    };
    assert_eq!(
        (of("table", "#")["partitions"].as_u64(), of("table", "#")["per_second"].as_u64()),
        (Some(1), Some(500))
    );
    assert_eq!(of("table", "E#")["partitions"], 400);
    assert_eq!(of("newest", "A")["partitions"], 4);
    assert_eq!(of("signature", "")["all_units"], 0.3, "one in each failure");
    let units: Vec<f64> = kinds.iter().map(|it| it["units"].as_f64().unwrap()).collect();
    assert!(units.is_sorted_by(|a, b| a >= b), "{units:?}");
    // the same numbers say the same
    let again = |words: &[&str]| text(&home.output(words).stdout);
    let table = again(&words);
    assert!(table.contains("| table `C#` |") && table.lines().count() == kinds.len() + 4, "{table}");
    assert_eq!(table, again(&words));
    let refused = home.output(&["bench", "keys", "--experiments", "10", "--failures", "11"]);
    assert_eq!(refused.status.code(), Some(2));
}
