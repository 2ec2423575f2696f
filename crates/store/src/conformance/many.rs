//! A large store: what the lab asks of it takes as many steps as there are causes in the answer, not as there are
//! experiments.

use std::time::Instant;

use coroner_diagnosis::Origin;
use rusqlite::Connection;

use super::candidates::{begun, died, made, run_of};
use super::given::at;
use super::plans::longer_than;
use crate::{CandidateOutcome, RunId, Scope, TopOrder, TopQuery, Within};

const MANY: u64 = 100_000;
const CAUSES: u64 = 200;

/// A hundred thousand over a month, every second one a candidate, of two hundred causes.
fn fill(conn: &Connection) {
    let first = at(0).as_millisecond();
    let sql = format!(
        "BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CAUSES})
           INSERT INTO signatures (signature, words, first_seen) SELECT 'v1:' || i, 'died', {first} FROM n;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY})
           INSERT INTO experiments (key, number, name, attempt, type, status, category, severity, origin, signature, command,
               cwd, wall_us, cpu_us, run)
             SELECT ({first} + i * 25000) << 21, i, 'e' || i, 1, iif(i % 2, 'train', 'bare'),
               iif(i % 2, 'failed', iif(i % 3, 'test_failed', 'adopted')), 'timeout', 'high',
               iif(i % 5, 'candidate', 'harness'), 1 + i * i % {CAUSES}, '[]', '', 1000000, 500000, iif(i % 2, NULL, 1)
             FROM n;
         INSERT INTO diagnoses SELECT key, 'It died.', 'Mend it.', 1, 0, 'r', '{{}}' FROM experiments;
         INSERT INTO candidates (key, run, hash, code, tries, generation, proposer, change, feedback, nanodollars,
             input_tokens, output_tokens, metrics)
           SELECT key, 1, name, x'', 1, 1, 'test', 'changed', 'none', 1000000, 0, 0, '{{}}' FROM experiments WHERE run = 1;
         INSERT INTO lineage SELECT key + (100000 << 21), 0, 0, key FROM experiments WHERE run = 1;
         INSERT INTO refusals SELECT 'rule ' || number % 9, key FROM experiments WHERE run = 1;
         UPDATE counters SET value = {MANY} WHERE name = 'number';
         COMMIT;"
    );
    conn.execute_batch(&sql).unwrap();
}

#[tokio::test]
async fn answers_do_not_grow_with_the_store() {
    let (store, folder) = super::sqlite().await;
    run_of(&store, "bare", 0).await;
    let run = RunId(1);
    let started = Instant::now();
    fill(&Connection::open(folder.path().join("test.db")).unwrap());
    println!("measured: {MANY} experiments filled in {:?}", started.elapsed());

    let month = 30 * 24 * 3600;
    let week = Within { scope: Scope::All, since: Some(at(month - 7 * 24 * 3600)), until: None };
    let windows = [
        ("everything", Within::default()),
        ("a week", week.clone()),
        ("a type's week", Within { scope: Scope::Type("train".into()), ..week.clone() }),
        ("a run", Within { scope: Scope::Run(run), ..Within::default() }),
        (
            "an hour",
            Within { since: Some(at(month / 2)), until: Some(at(month / 2 + 3600)), scope: Scope::All },
        ),
    ];
    for (what, within) in windows {
        let started = Instant::now();
        let costs = store.costs(within.clone()).await.unwrap();
        let took = started.elapsed();
        let query = TopQuery {
            within,
            origin: Some(Origin::Candidate),
            failures_only: true,
            order: TopOrder::Count,
            limit: 10,
        };
        let started = Instant::now();
        let top = store.top_signatures(query).await.unwrap();
        println!(
            "measured: {what}: {} lost, costs in {took:?}, top in {:?}",
            costs.lost.experiments,
            started.elapsed()
        );
        assert!(costs.lost.experiments > 50 && !top.is_empty(), "{what}: {costs:?}");
    }
    let started = Instant::now();
    for n in 0..100 {
        let id = begun(&store, made(run, &format!("new {n}"), &[]), month + n).await;
        let again =
            store.begin_candidate(super::given::new("", "", "x", month), made(run, &format!("new {n}"), &[]));
        assert_eq!(again.await.unwrap(), crate::CandidateBegun::Known(id.clone()));
        store.finish_candidate(&id, died("v1:1", month + n), CandidateOutcome::default()).await.unwrap();
        if n % 10 == 0 {
            store.mark_for_rerun(std::slice::from_ref(&id)).await.unwrap();
        }
    }
    println!("measured: a candidate begun, known, ended: {:?}", started.elapsed() / 100);
    assert_eq!(store.to_rerun(run).await.unwrap().len(), 10);
    assert_eq!(store.policy_refusals(Some(at(month - 3600))).await.unwrap().len(), 9);
    let long = longer_than(100_000);
    // reading all hundred thousand rows takes a million and more
    assert!(long.is_empty(), "{long:?}");
    let started = Instant::now();
    assert_eq!(store.candidates(run).await.unwrap().len() as u64, MANY / 2 + 100);
    println!("measured: {} candidates read in {:?}", MANY / 2 + 100, started.elapsed());
    store.close().await.unwrap();
}
