//! Stores that can't be used: each is told apart, told in words that say what to do, and left as it was.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use coroner_store::{Error, Query, Status, Store};
use rusqlite::Connection;

use crate::process::{ended, given_folder, new, open, run_mounted, url};

/// Opens, and if that goes well begins an experiment.
async fn use_it(folder: &Path) -> Result<(), Error> {
    let store = Store::open_waiting(&url(folder), Duration::from_millis(50)).await?;
    let begun = store.begin(new("x")).await;
    store.close().await?;
    begun.map(drop)
}

#[tokio::test]
async fn each_trouble_is_told_apart() {
    type Case = (&'static str, fn(&Path), fn(&Error) -> bool, &'static str);
    let cases: [Case; 6] = [
        (
            "text in place of a database",
            |db| fs::write(db, "# my notes\n".repeat(900)).unwrap(),
            |e| matches!(e, Error::Corrupt { .. }),
            "move it aside",
        ),
        (
            "a database of another program",
            |db| Connection::open(db).unwrap().execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap(),
            |e| matches!(e, Error::Foreign { .. }),
            "another program",
        ),
        (
            "one that another program has put its mark on",
            |db| {
                let sql = "PRAGMA application_id = 7; CREATE TABLE t (x)";
                Connection::open(db).unwrap().execute_batch(sql).unwrap();
            },
            |e| matches!(e, Error::Foreign { .. }),
            "another program",
        ),
        (
            "one of a newer release",
            |db| {
                let sql = "PRAGMA application_id = 0x436f726f; PRAGMA user_version = 99; CREATE TABLE t (x)";
                Connection::open(db).unwrap().execute_batch(sql).unwrap();
            },
            |e| matches!(e, Error::Newer { found: 99, .. }),
            "use the newer release",
        ),
        (
            "a folder in place of the file",
            |db| fs::create_dir(db).unwrap(),
            |e| matches!(e, Error::Unwritable { .. }),
            "check that the folder exists",
        ),
        (
            "a pipe in place of the file",
            |db| assert!(std::process::Command::new("mkfifo").arg(db).status().unwrap().success()),
            |e| matches!(e, Error::Unwritable { .. }),
            "give another place",
        ),
    ];
    for (what, make, expected, advice) in cases {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("t.db");
        make(&db);
        let before = fs::metadata(&db).unwrap().is_file().then(|| fs::read(&db).unwrap());
        let error = use_it(folder.path()).await.unwrap_err();
        assert!(expected(&error) && error.is_store_failure(), "{what}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(advice) && text.contains("t.db"), "{what}: {text}");
        assert_eq!(
            fs::metadata(&db).unwrap().is_file().then(|| fs::read(&db).unwrap()),
            before,
            "{what}: untouched"
        );
    }
}

#[tokio::test]
async fn an_empty_file_is_a_new_store() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.db"), "").unwrap();
    use_it(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_file_in_the_way_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = use_it(&file.join("below")).await.unwrap_err();
    assert!(matches!(error, Error::Unwritable { .. }), "{error:?}");
    assert!(error.to_string().contains("file/below/t.db"), "{error}");
}

#[tokio::test]
async fn a_damaged_page_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..100 {
        let id = store.begin(new(&format!("e{n}"))).await.unwrap();
        store.finish(&id, ended(Status::Passed)).await.unwrap();
    }
    store.close().await.unwrap();
    let db = folder.path().join("t.db");
    let whole = fs::read(&db).unwrap();
    for part in 1..8 {
        // an eighth of the file, from wherever
        let mut damaged = whole.clone();
        let eighth = whole.len() / 8;
        damaged[part * eighth..(part + 1) * eighth].fill(0xff);
        fs::write(&db, damaged).unwrap();
        let found = match Store::open(&url(folder.path())).await {
            Ok(store) => store.health(true).await.map(|health| health.problems),
            Err(error) => Err(error),
        };
        match found {
            Ok(problems) => assert!(!problems.is_empty(), "part {part}"),
            Err(error) => {
                assert!(matches!(error, Error::Corrupt { .. }), "part {part}: {error:?}");
                assert!(error.to_string().contains("is damaged or not a database"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_lock_is_waited_for_and_then_told() {
    let folder = tempfile::tempdir().unwrap();
    let patient = open(folder.path()).await;
    let hasty = Store::open_waiting(&url(folder.path()), Duration::from_millis(30)).await.unwrap();
    let other = Connection::open(folder.path().join("t.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // the queue behind the lock is refused too, each in its time
    let (a, b) = tokio::join!(hasty.begin(new("a")), hasty.begin(new("b")));
    for refused in [a, b] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
        assert!(error.to_string().contains("locked by another program"), "{error}");
    }
    assert_eq!(hasty.list(Query::default()).await.unwrap().total_count, 0, "reading does not wait");
    let waiting = tokio::spawn(async move { patient.begin(new("patient")).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    other.execute_batch("COMMIT").unwrap();
    waiting.await.unwrap().unwrap();
    hasty.begin(new("hasty")).await.unwrap();
}

#[tokio::test]
async fn closed_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let other = store.clone();
    store.close().await.unwrap();
    assert!(matches!(other.begin(new("x")).await, Err(Error::Closed)));
    assert!(matches!(other.list(Query::default()).await, Err(Error::Closed)));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["t.db"], "everything is in the one file");
}

#[tokio::test]
#[ignore = "runs in a process of its own, where the folder is read-only"]
async fn part_finds_it_read_only() {
    let Some(folder) = given_folder() else { return };
    let error = use_it(&folder).await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().contains("read-only"), "{error}");
    let missing = Store::open(&format!("sqlite:{}/sub/new.db", folder.display())).await.unwrap_err();
    assert!(matches!(missing, Error::ReadOnly { .. } | Error::Unwritable { .. }), "{missing:?}");
}

#[tokio::test]
async fn a_read_only_place_is_told() {
    let folder = tempfile::tempdir().unwrap();
    use_it(folder.path()).await.unwrap();
    run_mounted(
        "broken::part_finds_it_read_only",
        folder.path(),
        "mount --bind \"$DIR\" \"$DIR\"; mount -o remount,bind,ro \"$DIR\"",
    );
    // nobody but root is stopped by the file's mode
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        let db = folder.path().join("t.db");
        let mut mode = fs::metadata(&db).unwrap().permissions();
        mode.set_readonly(true);
        fs::set_permissions(&db, mode).unwrap();
        assert!(matches!(use_it(folder.path()).await, Err(Error::ReadOnly { .. })));
    }
}

#[tokio::test]
async fn what_the_search_remembers_of_nothing_costs_nobody_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.begin(new("x")).await.unwrap();
    let sql = "INSERT INTO search (rowid, name) VALUES (9, 'x')";
    Connection::open(folder.path().join("t.db")).unwrap().execute_batch(sql).unwrap();
    let page = store.list(Query { q: Some("x".to_owned()), ..Query::default() }).await.unwrap();
    assert_eq!(page.experiments.len(), 1);
}
