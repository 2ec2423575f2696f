//! How SQLite answers every statement that this crate runs: by an index, in the index's order, never by reading a whole
//! table or sorting it. The statements are listened to while the whole suite runs, so none can be forgotten.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, StatementStatus};

/// Tables with a row for each combination of words at most, or made for the day: reading them whole is what they are for.
const SMALL: [&str; 1] = ["facets"];

/// Each statement that ran in this process, and how often it had to sort, to make an index of its own or, where it
/// writes, to step through a table: a plan does not show what triggers do.
static HEARD: Mutex<BTreeMap<String, i32>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// The steps that each statement had taken when this thread last heard it (its counter goes on for as long as it is
    /// kept prepared), and what all have taken together.
    static STEPS: RefCell<(BTreeMap<String, i32>, i64)> = const { RefCell::new((BTreeMap::new(), 0)) };
}

/// How many steps of SQLite's virtual machine this takes: a measure that no other process disturbs. It must ask one
/// connection alone, on this thread.
pub(crate) fn steps_of<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let before = STEPS.with_borrow(|(_, all)| *all);
    let done = work();
    (done, STEPS.with_borrow(|(_, all)| *all) - before)
}

pub(crate) fn listen(conn: &mut Connection) {
    let hear = |event: TraceEvent<'_>| {
        if let TraceEvent::Profile(statement, _) = event {
            let sql = statement.sql().into_owned();
            let mut slow = statement.get_status(StatementStatus::Sort)
                + statement.get_status(StatementStatus::AutoIndex);
            if !sql.trim_start().starts_with("SELECT") {
                slow += statement.get_status(StatementStatus::FullscanStep);
            }
            let steps = statement.get_status(StatementStatus::VmStep);
            STEPS.with_borrow_mut(|(seen, all)| {
                let before = seen.insert(sql.clone(), steps).unwrap_or(0);
                // prepared anew, it counts anew
                *all += i64::from(if steps >= before { steps - before } else { steps });
            });
            *HEARD.lock().unwrap().entry(sql).or_default() += slow;
        }
    };
    conn.trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(hear)).unwrap();
}

/// What is wrong with the way this statement is answered.
fn faults(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // without values for its parameters: the plan must not depend on them
    let steps: Vec<String> =
        statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>().unwrap();
    steps.into_iter().filter(|step| is_slow(step)).map(|step| format!("{step}  <-  {sql}")).collect()
}

fn is_slow(step: &str) -> bool {
    if step.contains("TEMP B-TREE") || step.contains("AUTOMATIC") {
        return true;
    }
    let Some(scan) = step.strip_prefix("SCAN ") else { return false };
    if let Some((_, how)) = scan.split_once(" VIRTUAL TABLE INDEX ") {
        // the word search: with an expression to match (M) or one row (=), it is an index
        return !how.contains('M') && !how.contains('=');
    }
    let table = scan.split(' ').next().unwrap_or_default();
    // an inner SELECT has steps of its own
    let no_table = scan == "CONSTANT ROW" || scan.ends_with("VALUES CLAUSE") || table.starts_with('(');
    // read in the order asked for, and only as far as its limit
    let oldest_logs = scan == "logs USING INDEX logs_by_age";
    !no_table && !oldest_logs && !SMALL.contains(&table)
}

#[tokio::test]
async fn every_statement_is_answered_by_an_index() {
    super::everything_on_sqlite().await;
    super::desk::everything().await;
    let (store, folder) = super::sqlite().await;
    let conn = Connection::open(folder.path().join("test.db")).unwrap();
    let heard = HEARD.lock().unwrap().clone();
    let of_ours = |sql: &&String| {
        let verb = sql.trim_start().split(' ').next().unwrap_or_default().to_ascii_uppercase();
        ["SELECT", "INSERT", "UPDATE", "DELETE"].contains(&verb.as_str())
            // statements of the word search itself, on tables that only it knows
            && !sql.contains("'main'.")
            && !sql.contains("sqlite_schema")
            // what brings an older store up to date: done once, whatever it takes
            && !sql.trim_start().starts_with("-- once")
    };
    let ours: BTreeSet<_> = heard.keys().filter(of_ours).collect();
    assert!(ours.len() > 40, "only {} statements were heard: {ours:#?}", ours.len());
    let faults: Vec<_> = ours.iter().flat_map(|sql| faults(&conn, sql)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let sorted: Vec<_> = ours.iter().filter(|sql| heard[**sql] > 0).collect();
    assert!(sorted.is_empty(), "{sorted:#?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn slow_ones_would_be_seen() {
    let (store, folder) = super::sqlite().await;
    let conn = Connection::open(folder.path().join("test.db")).unwrap();
    for sql in [
        "SELECT * FROM experiments WHERE cwd = ?1",
        "SELECT key FROM experiments WHERE status = ?1 ORDER BY name",
        "SELECT count(*) FROM experiments",
        "SELECT rowid FROM search",
        "DELETE FROM diagnoses WHERE rule = 'x'",
        "SELECT count(*) FROM experiments e JOIN diagnoses d ON d.root_cause = e.name WHERE e.key = ?1",
    ] {
        assert!(!faults(&conn, sql).is_empty(), "{sql}");
    }
    for sql in ["SELECT * FROM experiments WHERE key = 1", "SELECT rowid FROM search WHERE search MATCH 'x'"]
    {
        assert_eq!(faults(&conn, sql), Vec::<String>::new());
    }
    store.close().await.unwrap();
}
