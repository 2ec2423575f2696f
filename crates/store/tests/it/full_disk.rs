//! A disk without space: the log loses its rest, the experiment nothing, and what can't be kept is told.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use coroner_store::{Error, Outcome, Query, Status};

use crate::process::{ended, given_folder, new, noise, open, read, run_mounted};

/// Leaves no byte.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [65_536, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

#[tokio::test]
async fn a_full_disk_costs_the_log_not_the_run() {
    for part in ["full_disk::part_prints_too_much", "full_disk::part_ends_without_space"] {
        let folder = tempfile::tempdir().unwrap();
        run_mounted(part, folder.path(), "mount -t tmpfs -o size=4m none \"$DIR\"");
    }
}

#[tokio::test]
#[ignore = "runs in a process of its own, where the disk is small"]
async fn part_prints_too_much() {
    let Some(folder) = given_folder() else { return };
    let store = open(&folder).await;
    let id = store.begin(new("loud")).await.unwrap();
    let mut writer = store.log_writer(&id);
    let printed = noise(5, 9 << 20);
    for piece in printed.chunks(50_000) {
        writer.write_all(piece).unwrap();
    }
    let log = writer.finish().await;
    let note = log.note().unwrap().to_owned();
    assert!(note.contains("not whole") && note.contains("No space left"), "{note}");
    let facts = log.facts().cloned().unwrap();
    assert!(facts.bytes > 1 << 20 && facts.bytes < 4 << 20, "{facts:?}");
    store.finish(&id, Outcome { log: Some(log), ..ended(Status::Failed) }).await.unwrap();

    let kept = store.get("loud").await.unwrap();
    assert_eq!((kept.listed.status, kept.log_note), (Status::Failed, Some(note)));
    assert_eq!(kept.log.as_ref(), Some(&facts));
    let back = read(&store, facts.id).await;
    assert!(
        back == printed[..back.len()] && back.len() as u64 == facts.bytes,
        "the beginning, as it was printed"
    );
    store.begin(new("next")).await.unwrap();
}

#[tokio::test]
#[ignore = "runs in a process of its own, where the disk is small"]
async fn part_ends_without_space() {
    let Some(folder) = given_folder() else { return };
    let store = open(&folder).await;
    let id = store.begin(new("unlucky")).await.unwrap();
    let mut writer = store.log_writer(&id);
    writer.write_all(&noise(6, 1 << 20)).unwrap();
    let log = writer.finish().await;
    assert_eq!(log.note(), None);
    fill(&folder.join("something-else"));
    store.finish(&id, Outcome { log: Some(log), ..ended(Status::Failed) }).await.unwrap();
    let kept = store.get("unlucky").await.unwrap();
    assert_eq!((kept.listed.status, kept.log), (Status::Failed, None));
    let note = kept.log_note.unwrap();
    assert!(note.contains("given up to keep the experiment") && note.contains("1 MiB"), "{note}");

    // nothing left to give up
    fill(&folder.join("and-more"));
    let mut refused = None;
    for n in 0..200 {
        match store.begin(new(&format!("e{n}"))).await {
            Ok(_) => fill(&folder.join(format!("more-{n}"))),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.unwrap();
    assert!(matches!(refused, Error::DiskFull { .. }), "{refused:?}");
    assert!(refused.to_string().contains("no space is left"), "{refused}");
    assert_eq!(
        store.get("unlucky").await.unwrap().listed.status,
        Status::Failed,
        "what is there can be read"
    );

    fs::remove_file(folder.join("something-else")).unwrap();
    let id = store.begin(new("later")).await.unwrap();
    store.finish(&id, ended(Status::Passed)).await.unwrap();
    assert_eq!(store.health(true).await.unwrap().problems, Vec::<String>::new());
    assert!(store.list(Query::default()).await.unwrap().total_count >= 2);
}
