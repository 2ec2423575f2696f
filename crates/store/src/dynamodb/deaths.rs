//! What a process leaves that dies, or hears no answer, in the middle of a step: held against the emulator, with a relay in
//! between that keeps answers to itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use jiff::civil::date;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::client::{Ask, Item, n, s};
use super::plan::key;
use super::{Dynamo, TableScan, emulator, make_table};
use crate::backend::Backend;
use crate::conformance::candidates::{made, run_of};
use crate::conformance::dynamo;
use crate::conformance::given::{at, diagnosis, ended, failed, log_of, new, noise};
use crate::logs::LogFolder;
use crate::{CandidateBegun, Outcome, Query, Retention, Ruling, Spent, Status, Store, What};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// It is done, and nobody hears of it; when it is said again, it isn't even done.
    Unheard,
    /// It is done, and only when it is said again somebody hears of it.
    HeardLater,
    /// It is not done yet.
    Waits,
}

#[derive(Default)]
struct Rule {
    /// Of which operations, and what becomes of the next of them.
    of: Option<(&'static [&'static str], Fate)>,
    met: bool,
}

#[derive(Default)]
struct Between {
    rule: Mutex<Rule>,
    changed: Condvar,
    met: Notify,
}

impl Between {
    /// Whether a request is passed on, and its answer back.
    fn judge(&self, operation: &str) -> (bool, bool) {
        let mut rule = self.rule.lock().unwrap();
        let Some((_, fate)) = rule.of.filter(|(of, _)| of.contains(&operation)) else { return (true, true) };
        let again = std::mem::replace(&mut rule.met, true);
        match fate {
            Fate::Unheard => (!again, false),
            Fate::HeardLater => (true, again),
            Fate::Waits => {
                self.met.notify_one();
                drop(self.changed.wait_while(rule, |rule| rule.of.is_some()).unwrap());
                (true, true)
            }
        }
    }

    fn does_to(&self, of: &'static [&'static str], fate: Fate) {
        *self.rule.lock().unwrap() = Rule { of: Some((of, fate)), met: false };
    }

    fn all_is_well(&self) {
        *self.rule.lock().unwrap() = Rule::default();
        self.changed.notify_all();
    }

    /// Waits until one has met its fate.
    async fn meets_one(&self) {
        self.met.notified().await;
    }

    fn serve(&self, stream: TcpStream, emulator: &str) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut head, mut length, mut operation) = (String::new(), 0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
            match name.to_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "x-amz-target" => operation = value.rsplit('.').next().unwrap_or_default().to_owned(),
                "connection" => continue,
                _ => {}
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (goes, comes_back) = self.judge(&operation);
        let mut answer = Vec::new();
        if goes {
            let mut there = TcpStream::connect(emulator)?;
            there.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
            there.write_all(&body)?;
            there.read_to_end(&mut answer)?;
        }
        if comes_back {
            reader.into_inner().write_all(&answer)?;
        } else {
            self.met.notify_one();
        }
        Ok(())
    }
}

/// A table that is reached over a relay, and by another host as it should be.
struct Hosts {
    between: Arc<Between>,
    here: Store,
    backend: Arc<Dynamo>,
    there: Store,
    direct: Arc<Dynamo>,
    table: String,
    _folders: [TempDir; 2],
}

impl Hosts {
    async fn new(case: &str) -> Option<Self> {
        let Some(config) = dynamo::config() else {
            println!(
                "skipped: dynamodb::deaths::{case}: CORONER_TEST_DYNAMODB is not set: scripts/test starts an emulator"
            );
            return None;
        };
        let table = format!("{case}-{}", uuid::Uuid::now_v7());
        make_table(&config, &table).await.unwrap();
        let endpoint =
            config.endpoint_url().unwrap().strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = emulator(&format!("http://{}", listener.local_addr().unwrap()));
        let between = Arc::new(Between::default());
        let serving = Arc::clone(&between);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (serving, endpoint) = (Arc::clone(&serving), endpoint.clone());
                // whoever asked may be gone
                std::thread::spawn(move || serving.serve(stream.unwrap(), &endpoint));
            }
        });
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut hosts = Vec::new();
        for (config, folder) in [&relay, &config].into_iter().zip(&folders) {
            let logs = LogFolder::beside(&folder.path().join(&table));
            let backend = Arc::new(Dynamo::open(config, &table, logs.clone(), None).await.unwrap());
            hosts.push((backend.clone(), Store::over(backend, logs)));
        }
        let [(backend, here), (direct, there)] = <[_; 2]>::try_from(hosts).ok().unwrap();
        Some(Self { between, here, backend, there, direct, table, _folders: folders })
    }

    /// Is there a partition that begins so?
    async fn has(&self, kind: &str) -> bool {
        let mut scan = TableScan::open(&dynamo::config().unwrap(), &self.table, "pk", "sk").await.unwrap();
        while let Some(page) = scan.page().await.unwrap() {
            if page.iter().any(|item| item["pk"].as_str().unwrap().starts_with(kind)) {
                return true;
            }
        }
        false
    }
}

const TRANSACTION: &[&str] = &["TransactWriteItems"];
const WRITES: &[&str] = &["PutItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"];

#[tokio::test]
async fn what_was_written_is_known_without_an_answer() {
    let Some(hosts) = Hosts::new("without_an_answer").await else { return };
    let run = run_of(&hosts.here, "bare", 0).await;
    let before = hosts.there.latest_happening().await.unwrap();
    hosts.between.does_to(TRANSACTION, Fate::Unheard);
    let begun = hosts.here.begin_candidate(new("", "", "t", 1), made(run, "a = 1", &[])).await.unwrap();
    hosts.between.all_is_well();
    let CandidateBegun::Begun(id) = begun else { panic!("{begun:?}") };
    assert_eq!(hosts.there.candidate_code(&id).await.unwrap(), b"a = 1");
    let told = hosts.there.happenings(before, 10).await.unwrap();
    assert_eq!(
        told.iter().map(|it| (it.what, &it.experiment.id)).collect::<Vec<_>>(),
        [(What::Started, &id)]
    );
}

#[tokio::test]
async fn an_experiment_goes_with_all_that_it_has_or_not_at_all() {
    let Some(hosts) = Hosts::new("goes_with_all").await else { return };
    let store = &hosts.there;
    let id = store.begin(new("old", "train", "python t.py", 0)).await.unwrap();
    let log = Some(log_of(store, &noise(1, 10_000)).await);
    let outcome = Outcome { log, diagnosis: Some(diagnosis("v1:a", "It died.")), ..ended(Status::Failed, 1) };
    store.finish(&id, outcome).await.unwrap();
    store.keep_source(&id, b"import torch\n").await.unwrap();
    store.vote(&id, "ada", Some(true), at(2)).await.unwrap();
    let told = [("pk".to_owned(), s(format!("VC#{}", id.number()))), ("sk".to_owned(), s("ops"))];
    hosts.direct.table.put(Item::from(told)).await.unwrap();
    let belongings = ["E#", "B#", "D#", "VO#", "VC#"];
    for kind in belongings {
        assert!(hosts.has(kind).await, "{kind}");
    }
    hosts.between.does_to(TRANSACTION, Fate::Unheard);
    let here = hosts.here.clone();
    let pruning = tokio::spawn(async move {
        let retention = Retention { max_age: Some(Duration::from_secs(60)), ..Retention::default() };
        here.prune(retention, at(3600)).await
    });
    hosts.between.meets_one().await;
    pruning.abort();
    for kind in belongings {
        assert!(!hosts.has(kind).await, "{kind}");
    }
    assert_eq!(store.health(false).await.unwrap().log_bytes, 0);
}

#[tokio::test]
async fn a_log_that_nobody_has_goes_with_its_age() {
    let Some((backend, logs, _folder)) = dynamo::backend("nobody_has").await else { return };
    let store = Store::over(backend.clone(), logs);
    let id = store.begin(new("old", "train", "python t.py", 0)).await.unwrap();
    let log = Some(log_of(&store, &noise(1, 10_000)).await);
    store.finish(&id, Outcome { log, ..ended(Status::Failed, 1) }).await.unwrap();
    let log = store.get("old").await.unwrap().log.unwrap().id;
    // as an earlier release left it that died in between
    let place = key(format!("B#{log}"), "-");
    backend.table.delete(&place.0, format!("E{}", id.number())).await.unwrap();
    let mut item = backend.table.get(&place.0, &place.1).await.unwrap().unwrap();
    item.insert("refs".to_owned(), n(0));
    backend.table.put(item).await.unwrap();
    let bytes = store.health(false).await.unwrap().log_bytes;
    let retention = Retention { max_log_age: Some(Duration::from_secs(60)), ..Retention::default() };
    let done = store.prune(retention, at(3600)).await.unwrap();
    assert_eq!((done.logs, done.log_bytes), (1, bytes));
    assert!(backend.table.get(&place.0, &place.1).await.unwrap().is_none());
    assert_eq!(store.health(false).await.unwrap().log_bytes, 0);
}

#[tokio::test]
async fn what_fails_after_the_transaction_is_no_failure() {
    let Some(hosts) = Hosts::new("after_the_transaction").await else { return };
    let given = diagnosis("v1:a", "It died of hunger.");
    let id = failed(&hosts.here, "hungry", "train", "python t.py", 0, given).await;
    // no word is new: what is written apart from the transaction is what goes
    hosts.between.does_to(&["BatchWriteItem"], Fate::Unheard);
    hosts.backend.attach(&id, diagnosis("v1:a", "It died.")).await.unwrap();
    hosts.between.all_is_well();
    assert_eq!(hosts.there.get("hungry").await.unwrap().diagnosis.unwrap().root_cause, "It died.");
}

#[tokio::test]
async fn words_that_were_not_written_are_written_the_next_time() {
    let Some(hosts) = Hosts::new("words").await else { return };
    hosts.between.does_to(&["BatchWriteItem"], Fate::Unheard);
    // not even the first is done
    hosts.between.rule.lock().unwrap().met = true;
    hosts.here.begin(new("first", "train", "python wonderful.py", 0)).await.unwrap_err();
    hosts.between.all_is_well();
    hosts.here.begin(new("second", "train", "python wonderful.py", 1)).await.unwrap();
    let query = Query { q: Some("wonder".to_owned()), ..Query::default() };
    let page = hosts.there.list(query).await.unwrap();
    assert_eq!(crate::conformance::given::names(&page.experiments), ["second"]);
}

#[tokio::test]
async fn what_was_spent_counts_once_when_it_is_said_again() {
    let Some(hosts) = Hosts::new("spent").await else { return };
    let (day, spent) = (date(2026, 11, 29), Spent { calls: 2, dollars: 0.25 });
    hosts.between.does_to(&["UpdateItem", "TransactWriteItems"], Fate::HeardLater);
    hosts.backend.record_spend(day, spent).await.unwrap();
    hosts.backend.record_spend(day, Spent::default()).await.unwrap();
    assert_eq!(hosts.direct.spent(day).await.unwrap(), spent);
}

#[tokio::test]
async fn a_correction_that_is_taken_back_stays_nowhere() {
    let Some(hosts) = Hosts::new("taken_back").await else { return };
    let given = || diagnosis("v1:a", "It died.");
    failed(&hosts.there, "first", "train", "python t.py", 0, given()).await;
    let ruling = Ruling { fix: Some("Take less.".into()), ..Ruling::default() };
    let correction = hosts.there.correct("v1:a", ruling, "ada", at(2), None).await.unwrap();
    let id = hosts.here.begin(new("second", "train", "python t.py", 3)).await.unwrap();
    hosts.between.does_to(TRANSACTION, Fate::Waits);
    let here = hosts.here.clone();
    let ending = tokio::spawn(async move {
        let outcome = Outcome { diagnosis: Some(given()), ..ended(Status::Failed, 4) };
        here.finish(&id, outcome).await
    });
    hosts.between.meets_one().await;
    assert!(hosts.there.take_back(correction.id, "ada", at(5)).await.unwrap());
    hosts.between.all_is_well();
    ending.await.unwrap().unwrap();
    let fix = |it: crate::Experiment| it.diagnosis.unwrap().fix_suggestion;
    let first = fix(hosts.there.get("first").await.unwrap());
    assert_eq!(fix(hosts.there.get("second").await.unwrap()), first);
    assert!(!hosts.has("XO#").await);
}

#[tokio::test]
async fn a_code_that_takes_the_place_of_another_is_never_missing() {
    let Some(hosts) = Hosts::new("another_code").await else { return };
    let id = failed(&hosts.here, "one", "train", "python t.py", 0, diagnosis("v1:a", "It died.")).await;
    // noise of this length is two parts
    hosts.here.keep_source(&id, &noise(1, 300_000)).await.unwrap();
    hosts.between.does_to(WRITES, Fate::Unheard);
    let (here, of) = (hosts.here.clone(), id.clone());
    let keeping = tokio::spawn(async move { here.keep_source(&of, &noise(2, 200_000)).await });
    hosts.between.meets_one().await;
    keeping.abort();
    hosts.between.all_is_well();
    assert!(hosts.there.candidate_code(&id).await.unwrap() == noise(2, 200_000));
    let parts = hosts.direct.table.query(Ask::table(super::lab::code_partition(id.number())));
    assert_eq!(parts.await.unwrap().len(), 1);
}
