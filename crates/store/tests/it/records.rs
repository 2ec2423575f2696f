//! Records of every earlier version can be read, for ever; and those that can't be read spoil nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use coroner_diagnosis::Diagnosis;
use coroner_store::{Error, Outcome, Query, Status};
use rusqlite::Connection;

use crate::process::{ended, new, open};

#[tokio::test]
async fn every_record_there_ever_was_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/records");
    let mut versions = BTreeSet::new();
    for version in fs::read_dir(records).unwrap() {
        let version = version.unwrap();
        versions.insert(version.file_name().into_string().unwrap());
        for file in fs::read_dir(version.path()).unwrap() {
            let file = file.unwrap().path();
            let text = fs::read_to_string(&file).unwrap();
            let record: Diagnosis =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            let name = file.display().to_string();
            let id = store.begin(new(&name)).await.unwrap();
            let outcome = Outcome { diagnosis: Some(record.clone()), ..ended(Status::Failed) };
            store.finish(&id, outcome).await.unwrap();
            assert_eq!(store.get(&name).await.unwrap().diagnosis, Some(record), "{name}");
        }
    }
    assert!(versions.contains("v1"), "{versions:?}");
    assert!(store.list(Query::default()).await.unwrap().total_count >= 4);
}

#[tokio::test]
async fn one_that_cannot_be_read_spoils_no_list() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let diagnosis = crate::process::diagnosis();
    for name in ["good", "odd"] {
        let id = store.begin(new(name)).await.unwrap();
        let outcome = Outcome { diagnosis: Some(diagnosis.clone()), ..ended(Status::Failed) };
        store.finish(&id, outcome).await.unwrap();
    }
    // as a later release might write it
    let other = Connection::open(folder.path().join("t.db")).unwrap();
    let sql =
        "UPDATE diagnoses SET record = '{\"verdicts\": []}' WHERE key = (SELECT max(key) FROM experiments)";
    assert_eq!(other.execute(sql, []).unwrap(), 1);
    let page = store.list(Query::default()).await.unwrap();
    assert_eq!(page.experiments.len(), 2);
    assert_eq!(page.experiments[0].analysis.as_ref().unwrap().root_cause, diagnosis.root_cause);
    assert!(store.get("good").await.unwrap().diagnosis.is_some());
    let error = store.get("odd").await.unwrap_err();
    assert!(matches!(error, Error::Record { .. }), "{error:?}");
    assert!(error.to_string().contains("odd"), "{error}");
}
