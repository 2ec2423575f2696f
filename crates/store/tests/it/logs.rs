//! Logs on disk: where they lie, what damage does to them, and what a crash leaves behind.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use coroner_store::{Error, Outcome, Retention, Status, Store};
use jiff::Timestamp;

use crate::process::{ended, new, noise, open, read};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

async fn run(store: &Store, id: &str, log: &[u8]) -> coroner_store::LogFacts {
    let id = store.begin(new(id)).await.unwrap();
    let mut writer = store.log_writer(&id);
    writer.write_all(log).unwrap();
    let log = writer.finish().await;
    let facts = log.facts().cloned().unwrap();
    store.finish(&id, Outcome { log: Some(log), ..ended(Status::Passed) }).await.unwrap();
    facts
}

#[tokio::test]
async fn only_large_ones_are_files() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("t.db-logs");
    let store = open(folder.path()).await;
    run(&store, "small", &b"a line\n".repeat(100_000)).await;
    assert_eq!(files(&logs), Vec::<PathBuf>::new());
    let large = run(&store, "large", &noise(1, 100_000)).await;
    let hex = large.id.to_string();
    let expected = logs.join(&hex[..2]).join(format!("{}.zst", &hex[2..]));
    assert_eq!(files(&logs), std::slice::from_ref(&expected));
    // the same again is the same file
    run(&store, "again", &noise(1, 100_000)).await;
    assert_eq!(files(&logs), std::slice::from_ref(&expected));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&expected), 0o600);
    assert_eq!((mode(&logs), mode(expected.parent().unwrap())), (0o700, 0o700));
    assert_eq!(fs::metadata(&expected).unwrap().len(), large.stored_bytes);
    let health = store.health(false).await.unwrap();
    assert!(
        health.log_bytes > large.stored_bytes && health.log_bytes < large.stored_bytes + 1000,
        "{health:?}"
    );
}

#[tokio::test]
async fn damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let facts = run(&store, "large", &noise(2, 200_000)).await;
    let file = files(&folder.path().join("t.db-logs")).remove(0);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let mut reader = store.read_log(facts.id).await.unwrap();
    assert_eq!(reader.remaining(), 200_000);
    let mut got = Vec::new();
    let error = reader.read_to_end(&mut got).unwrap_err();
    assert!(got == noise(2, 200_000)[..got.len()], "what is there is right");
    assert!(!got.is_empty() || !error.to_string().is_empty());
    fs::remove_file(&file).unwrap();
    let error = store.read_log(facts.id).await.err().unwrap();
    assert!(matches!(error, Error::LogFile { .. }), "{error:?}");
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    // printed again, it is whole again
    run(&store, "again", &noise(2, 200_000)).await;
    assert!(read(&store, facts.id).await == noise(2, 200_000));
}

#[tokio::test]
async fn what_a_crash_left_behind_is_swept_up() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("t.db-logs");
    let store = open(folder.path()).await;
    run(&store, "one", &noise(3, 100_000)).await;
    let running = store.begin(new("two")).await.unwrap();
    let mut writer = store.log_writer(&running);
    writer.write_all(b"going on\n").unwrap();
    writer.flush().unwrap();
    let log = store.keep_log(std::io::Cursor::new(noise(4, 100_000))).await.unwrap();
    while files(&logs.join("partial")).len() < 2 {
        tokio::task::yield_now().await;
    }
    let needed = files(&logs);
    assert_eq!(needed.len(), 3, "a log, one that grows, one on its way: {needed:?}");
    let nothing = store.prune(Retention::default(), Timestamp::now()).await.unwrap();
    assert_eq!((nothing.stray_files, files(&logs)), (0, needed.clone()));

    let strays = ["partial/1.zst", "partial/77.zst", &format!("ab/{}.zst", "0".repeat(62))]
        .map(|name| logs.join(name));
    fs::create_dir_all(logs.join("ab")).unwrap();
    strays.iter().for_each(|stray| fs::write(stray, "x").unwrap());
    fs::write(logs.join("README"), "somebody's own").unwrap();
    let swept = store.prune(Retention::default(), Timestamp::now()).await.unwrap();
    assert_eq!((swept.stray_files, swept.problems), (3, vec![]));
    let mut left = needed.clone();
    left.push(logs.join("README"));
    left.sort();
    assert_eq!(files(&logs), left);
    // nobody has claimed the one on its way for two days
    drop(log);
    let later = Timestamp::now().checked_add(std::time::Duration::from_secs(48 * 3600)).unwrap();
    assert_eq!(store.prune(Retention::default(), later).await.unwrap().stray_files, 1);
    let log = writer.finish().await;
    store.finish(&running, Outcome { log: Some(log), ..ended(Status::Passed) }).await.unwrap();
    let kept = store.get("two").await.unwrap().log.unwrap();
    assert_eq!(read(&store, kept.id).await, b"going on\n");
}

#[tokio::test]
async fn space_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..200 {
        run(&store, &format!("e{n}"), &noise(n + 1, 20_000)).await;
    }
    let size = async |store: Store| {
        store.close().await.unwrap();
        fs::metadata(folder.path().join("t.db")).unwrap().len()
    };
    let before = size(store).await;
    assert!(before > 4_000_000, "{before}");
    let store = open(folder.path()).await;
    let keep = Retention { max_log_bytes: Some(100_000), ..Retention::default() };
    let done = store.prune(keep, Timestamp::now()).await.unwrap();
    assert_eq!(done.logs, 196, "{done:?}");
    let after = size(store).await;
    assert!(after < before / 4, "{before} {after}");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_does_not_stop_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    fs::write(folder.path().join("t.db-logs"), "a file in the way").unwrap();
    let id = store.begin(new("x")).await.unwrap();
    let mut writer = store.log_writer(&id);
    writer.write_all(&noise(1, 3 << 20)).unwrap();
    let log = writer.finish().await;
    assert!(log.facts().is_none());
    store.finish(&id, Outcome { log: Some(log), ..ended(Status::Passed) }).await.unwrap();
    let kept = store.get("x").await.unwrap();
    assert_eq!((kept.listed.status, kept.log), (Status::Passed, None));
    let note = kept.log_note.unwrap();
    assert!(note.contains("Not a directory") && note.contains("3 MiB"), "{note}");
}
