//! A large store: a page of the list takes as many steps as it has rows, not as the store has experiments.

use std::time::Duration;

use coroner_diagnosis::{Category, Origin, Severity};
use jiff::Timestamp;
use rusqlite::Connection;

use super::{costs, groups, list, open, related};
use crate::conformance::plans::steps_of;
use crate::overview::{OverviewQuery, Questions};
use crate::{GroupQuery, Page, Query, Sort, SortBy, Status, Within};

const MANY: u64 = 30_000;
const CAUSES: u64 = 200;
/// Reading all rows once would take some hundred thousand.
const MOST: i64 = 12_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_760_667_000 + second).unwrap()
}

/// So many over a month, of two hundred causes, one of them far more frequent than the others.
fn fill(conn: &Connection) {
    let first = at(0).as_millisecond();
    let sql = format!(
        "BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CAUSES})
           INSERT INTO signatures (signature, words, first_seen) SELECT 'v1:' || i, 'died', {first} FROM n;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY})
           INSERT INTO experiments (key, number, name, attempt, type, status, category, severity, origin, signature,
               command, cwd, wall_us, cpu_us, nanodollars)
             SELECT ({first} + i * 40000) << 21, i, 'e' || i, 1, 'train',
               CASE WHEN i % 3 THEN 'passed' WHEN i % 50 THEN 'failed' ELSE 'test_failed' END,
               CASE WHEN i % 3 THEN '' WHEN i % 7 THEN 'timeout' ELSE 'logic_error' END,
               CASE WHEN i % 3 THEN '' WHEN i % 11 THEN 'high' ELSE 'low' END,
               CASE WHEN i % 3 THEN '' WHEN i % 5 THEN 'candidate' ELSE 'harness' END,
               CASE WHEN i % 3 THEN NULL WHEN i % 2 THEN 1 ELSE 1 + i * 7 % {CAUSES} END,
               '[]', '', iif(i % 13, i * 7919 % 1000003, NULL), 500000, iif(i % 6, 0, i * 31 % 997)
             FROM n;
         INSERT INTO diagnoses SELECT key, 'It died.', 'Mend it.', 1, 0, 'r', '{{}}' FROM experiments
           WHERE signature IS NOT NULL;
         INSERT INTO search (rowid, name, type, command, cause, words)
           SELECT key, name, type, '', iif(signature IS NULL, '', 'it died'), 'status' || replace(status, '_', '') ||
             iif(severity = '', '', ' severity' || severity || ' category' || replace(category, '_', '')
               || ' origin' || origin) FROM experiments WHERE number % 4 = 0;
         UPDATE counters SET value = {MANY} WHERE name = 'number';
         COMMIT;"
    );
    conn.execute_batch(&sql).unwrap();
}

#[test]
fn a_page_takes_as_many_steps_as_it_has_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.db");
    let wait = Duration::from_secs(5);
    let writer = open::for_writing(&path, wait).unwrap();
    fill(&writer);
    let conn = open::for_reading(&path, wait).unwrap();
    let ask = |query: &Query| -> (Page, i64) {
        let (page, steps) = steps_of(|| list::page(&conn, query).unwrap_or_else(|_| panic!("{query:?}")));
        // what a search finds is counted, up to a limit; where no index is in the order asked for, a thousand are looked at
        let by_hand = matches!(query.sort.by, SortBy::Duration | SortBy::Cost) && query.signature.is_some();
        let most = if query.q.is_some() || by_hand { 5 * MOST } else { MOST };
        assert!(steps < most, "{steps} steps: {query:?}");
        (page, steps)
    };
    let sorts: Vec<Sort> = Sort::WORDS.iter().map(|word| word.parse().unwrap()).collect();
    let mut filters = vec![Query::default()];
    filters.extend(Status::all().map(|status| Query { status: Some(status), ..Query::default() }));
    filters.extend(Severity::ALL.iter().map(|it| Query { severity: Some(*it), ..Query::default() }));
    filters.extend(Category::ALL.iter().map(|it| Query { category: Some(*it), ..Query::default() }));
    filters.extend(Origin::ALL.iter().map(|it| Query { origin: Some(*it), ..Query::default() }));
    let rare = Query { severity: Some(Severity::Low), origin: Some(Origin::Harness), ..Query::default() };
    filters.push(rare.clone());
    filters.push(Query { signature: Some("v1:1".into()), ..Query::default() });
    filters.push(Query { signature: Some("v1:1".into()), ..rare.clone() });
    filters.push(Query { signature: Some("v1:1".into()), status: Some(Status::Passed), ..Query::default() });
    let mut seen = 0;
    for sort in &sorts {
        for filter in &filters {
            let query = Query { sort: *sort, ..filter.clone() };
            let (page, _) = ask(&query);
            seen += page.experiments.len();
            if let Some(cursor) = page.next_cursor {
                let (second, _) = ask(&Query { cursor: Some(cursor), ..query.clone() });
                assert!(!second.experiments.is_empty(), "{query:?}");
                assert!(page.experiments.iter().all(|it| !second.experiments.contains(it)), "{query:?}");
            }
        }
    }
    assert!(seen > 1000, "{seen}");
    // far behind the beginning it takes no longer
    for sort in sorts {
        let (mut steps, mut cursor) = (Vec::new(), None);
        for _ in 0..30 {
            let (page, took) = ask(&Query { sort, limit: Some(50), cursor, ..Query::default() });
            steps.push(took);
            cursor = page.next_cursor;
        }
        assert!(steps[29] < 2 * steps[1], "{sort}: {steps:?}");
    }
    let all = ask(&Query::default()).0;
    assert_eq!((all.total_count, all.total_is_at_least), (MANY, false));
    let found = ask(&Query { q: Some("died".into()), ..Query::default() }).0;
    assert_eq!(
        (found.total_count, found.total_is_at_least, found.sorted_among),
        (crate::query::COUNTED, true, None)
    );
    let sort = "-duration".parse().unwrap();
    let found = ask(&Query { sort, q: Some("died".into()), ..Query::default() }).0;
    assert_eq!(found.sorted_among, Some(crate::SORTED));

    let now = at(MANY as i64 * 40);
    let (page, steps) = steps_of(|| groups::page(&conn, &GroupQuery::default(), now).ok().unwrap());
    assert!(page.groups.len() == 50 && steps < 2 * MOST, "{steps}");
    let (_, steps) = steps_of(|| groups::find(&conn, "v1:1", now).ok().unwrap());
    assert!(steps < MOST, "{steps}");
    let (totals, steps) = steps_of(|| related::totals(&conn).ok().unwrap());
    assert!(totals.total == MANY && steps < 1000, "{steps}");
    let (all, steps) = steps_of(|| costs::amounts(&conn, &Within::default()).ok().unwrap());
    assert!(all.total.experiments == MANY && steps < 1000, "{steps}");
    // the causes of a week are looked at one by one, once
    let query = OverviewQuery { days: 14, newest: 7, top: 8, running: 6 };
    let top = Questions::of(query, now).top;
    let (top, steps) = steps_of(|| costs::top(&conn, &top).ok().unwrap());
    assert!(top.len() == 8 && steps < 200 * 7 * 60, "{steps}");
}
