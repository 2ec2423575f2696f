//! What is kept beside the experiments so that nothing need be counted is what counting finds, whatever happened before.

use std::time::Duration;

use coroner_diagnosis::{Category, Exit, Origin, Severity};
use rusqlite::Connection;

use super::given::{Random, at, diagnosis, ended, log_of, new, saved};
use crate::{Decision, ExperimentId, Outcome, Retention, Ruling, Status, Store};

/// A table that is kept, and what it should hold: as questions with the same columns.
const KEPT: [(&str, &str, &str); 7] = [
    (
        "facets",
        "SELECT status, category, severity, origin, count FROM facets WHERE count <> 0",
        "SELECT status, category, severity, origin, count(*) FROM experiments GROUP BY 1, 2, 3, 4",
    ),
    (
        "spans",
        "SELECT hours, start, status, category, severity, origin, count FROM spans WHERE count <> 0",
        "SELECT hours, (key >> 21) / (hours * 3600000), status, category, severity, origin, count(*)
         FROM experiments, (SELECT 1 AS hours UNION SELECT 24) GROUP BY 1, 2, 3, 4, 5, 6",
    ),
    (
        "signatures",
        "SELECT id, count FROM signatures WHERE count <> 0",
        "SELECT signature, count(*) FROM experiments WHERE signature IS NOT NULL GROUP BY 1",
    ),
    (
        "losses",
        "SELECT scope, hours, start, signature, status, category, origin, count, wall_us, cpu_us, nanodollars FROM losses",
        "SELECT scope, hours, iif(hours = 0, 0, (key >> 21) / (hours * 3600000)), ifnull(signature, 0), status, category,
           origin, count(*), sum(ifnull(wall_us, 0)), sum(ifnull(cpu_us, 0)), sum(nanodollars)
         FROM (SELECT *, '' AS scope FROM experiments UNION ALL
               SELECT *, 'type:' || type FROM experiments WHERE type <> ''),
           (SELECT 0 AS hours UNION SELECT 1 UNION SELECT 24)
         WHERE status <> 'running' GROUP BY 1, 2, 3, 4, 5, 6, 7",
    ),
    (
        "sums",
        "SELECT scope, hours, start, status, category, origin, count, wall_us, cpu_us, nanodollars FROM sums",
        "SELECT scope, hours, start, status, category, origin, sum(count), sum(wall_us), sum(cpu_us), sum(nanodollars)
         FROM losses GROUP BY 1, 2, 3, 4, 5, 6",
    ),
    (
        "daily",
        "SELECT signature, day, count, wall_us, nanodollars FROM daily",
        "SELECT signature, day, count(*), sum(ifnull(wall_us, 0)), sum(nanodollars)
         FROM (SELECT *, (key >> 21) / 86400000 AS day FROM experiments UNION ALL SELECT *, -1 FROM experiments)
         WHERE status <> 'running' AND signature IS NOT NULL GROUP BY 1, 2",
    ),
    (
        "groups",
        "SELECT id, count FROM groups WHERE count <> 0",
        "SELECT ifnull(lead, id), count(*) FROM experiments e JOIN groups g ON g.id = e.signature GROUP BY 1",
    ),
];

fn recount(conn: &Connection, after: &str) {
    for (table, kept, counted) in KEPT {
        let differ = |a: &str, b: &str| -> Option<String> {
            let sql = format!("SELECT * FROM (SELECT * FROM ({a}) EXCEPT SELECT * FROM ({b})) LIMIT 1");
            let mut statement = conn.prepare(&sql).unwrap();
            let columns = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            let row = rows.next().unwrap()?;
            let values = (0..columns).map(|n| format!("{:?}", row.get_ref(n).unwrap()));
            Some(values.collect::<Vec<_>>().join(", "))
        };
        assert_eq!(differ(kept, counted), None, "{table} holds what is not so, after {after}");
        assert_eq!(differ(counted, kept), None, "{table} lacks what is so, after {after}");
    }
}

fn end(random: &mut Random, n: i64) -> Outcome {
    let statuses: Vec<_> = Status::all().filter(|status| *status != Status::Running).collect();
    let outcome = ended(random.of(&statuses), n);
    let mut found =
        diagnosis(&format!("v1:{}", random.of(&["a", "b", "c", "d"])), random.of(&["It fell.", "It broke."]));
    found.failure_category = random.of(Category::ALL);
    found.severity = random.of(Severity::ALL);
    found.origin = random.of(Origin::ALL);
    found.cost_usd = random.of(&[None, Some(0.01), Some(0.5)]);
    let wall = Duration::from_millis(random.next() % 5000);
    let cpu = random.of(&[None, Some(Duration::from_millis(7))]);
    let seen = !random.next().is_multiple_of(6);
    let exit = outcome.exit.map(|exit| Exit { wall, cpu, ..exit }).filter(|_| seen);
    let diagnosis = (!outcome.status.succeeded()).then_some(found);
    Outcome { exit, diagnosis, ..outcome }
}

/// Something that happens to a store.
async fn something(
    store: &Store,
    random: &mut Random,
    running: &mut Vec<ExperimentId>,
    n: i64,
) -> &'static str {
    // some weeks, so that days and hours differ
    let when = (random.next() % 2_000_000) as i64;
    let kind = random.of(&["", "train", "eval"]);
    let signature = format!("v1:{}", random.of(&["a", "b", "c", "d"]));
    let words = |diagnosis| saved(Some(["x", "y"][n as usize % 2]), when, diagnosis, None);
    match random.next() % 14 {
        0..3 => {
            running.push(store.begin(new("", kind, "python x.py", when)).await.unwrap());
            "a start"
        }
        3 | 4 => {
            if let Some(id) = running.pop() {
                store.finish(&id, end(random, n)).await.unwrap();
            }
            "an end"
        }
        5 => {
            let ended =
                (0..3).map(|more| (new("", kind, "python y.py", when + more), end(random, n))).collect();
            store.record(ended).await.unwrap();
            "several recorded"
        }
        6 | 7 => {
            let mut failure =
                words(end(random, n).diagnosis.unwrap_or_else(|| diagnosis(&signature, "It fell.")));
            failure.log = match random.of(&[true, false]) {
                true => Some(log_of(store, format!("log {}", n % 5).as_bytes()).await),
                false => None,
            };
            store.save_diagnoses(vec![failure]).await.unwrap();
            "a report"
        }
        8 => {
            let page = store.list(crate::Query { limit: Some(3), ..crate::Query::default() }).await.unwrap();
            for it in page.experiments.iter().filter(|it| it.status != Status::Running) {
                store.attach_diagnosis(&it.id, diagnosis(&signature, "A model's word.")).await.unwrap();
            }
            "another diagnosis"
        }
        9 => {
            let ruling = Ruling { severity: Some(random.of(Severity::ALL)), ..Ruling::default() };
            if let Ok(correction) = store.correct(&signature, ruling, "ada", at(n), None).await {
                store.replay(correction.id, true).await.unwrap();
                if random.of(&[true, false]) {
                    store.take_back(correction.id, "bob", at(n)).await.unwrap();
                }
            }
            "a correction"
        }
        10 => {
            _ = store.join_groups(&signature, "v1:a").await;
            "groups joined"
        }
        11 => {
            _ = store.part_group(&signature).await;
            "groups parted"
        }
        12 => {
            _ = store.split_group(&signature, "broke", "ada", at(n)).await;
            _ = store.decide(&signature, Decision::Resolve, "ada", at(n)).await;
            "a group split"
        }
        _ => {
            let retention =
                Retention { max_age: Some(Duration::from_secs(1_900_000)), ..Retention::default() };
            store.prune(retention, at(2_000_000)).await.unwrap();
            "a clean-up"
        }
    }
}

#[tokio::test]
async fn sums_are_what_counting_finds() {
    for seed in [1, 7, 42] {
        let (store, folder) = super::sqlite().await;
        let conn = Connection::open(folder.path().join("test.db")).unwrap();
        let (mut random, mut running) = (Random(seed), Vec::new());
        for n in 0..150 {
            let what = something(&store, &mut random, &mut running, n).await;
            recount(&conn, &format!("{what} ({n} of seed {seed})"));
        }
        let kept: i64 = conn.query_row("SELECT count(*) FROM daily", [], |row| row.get(0)).unwrap();
        assert!(kept > 10, "nothing was counted");
        store.close().await.unwrap();
    }
}
