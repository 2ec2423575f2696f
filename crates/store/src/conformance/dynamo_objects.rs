//! Large logs in a bucket of S3, held against the same emulator: read by every host, removed with the last reference, and missed
//! without harm.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use aws_types::SdkConfig;
use tempfile::TempDir;

use super::dynamo;
use super::given::{at, diagnosis, ended, log_of, new, noise};
use crate::dynamodb::{Dynamo, make_table};
use crate::logs::LogFolder;
use crate::{Error, ExperimentId, LogPlace, ObjectTrouble, Outcome, Owner, Retention, Status, Store};

const REGION: &str = "eu-central-1";

/// Asks the emulator by hand: nothing of ours makes buckets or looks around in them.
fn ask_s3(config: &SdkConfig, method: &str, path: &str, body: &str) -> (u16, String) {
    let host = config.endpoint_url().unwrap().strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\nauthorization: \
         AWS4-HMAC-SHA256 Credential=test/20261129/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap(), answer)
}

struct Hosts {
    config: SdkConfig,
    table: String,
    place: LogPlace,
    folders: Vec<TempDir>,
}

impl Hosts {
    async fn new(case: &str) -> Option<Self> {
        let Some(config) = dynamo::config() else {
            println!(
                "skipped: dynamo_objects::{case}: CORONER_TEST_DYNAMODB is not set: scripts/test starts an emulator"
            );
            return None;
        };
        let name = uuid::Uuid::now_v7().to_string();
        let table = format!("{case}-{name}");
        make_table(&config, &table).await.unwrap();
        let place: LogPlace = format!("s3://logs-{name}/lab").parse().unwrap();
        let constraint = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        assert_eq!(ask_s3(&config, "PUT", &place.bucket, &constraint).0, 200);
        Some(Self { config, table, place, folders: Vec::new() })
    }

    /// The names of everything in the bucket.
    fn objects(&self) -> Vec<String> {
        let (status, listed) = ask_s3(&self.config, "GET", &format!("{}?list-type=2", self.place.bucket), "");
        assert_eq!(status, 200, "{listed}");
        listed.split("<Key>").skip(1).map(|part| part.split("</Key>").next().unwrap().to_owned()).collect()
    }

    /// One more host.
    async fn store(&mut self, place: Option<LogPlace>) -> Store {
        let folder = tempfile::tempdir().unwrap();
        let logs = LogFolder::beside(&folder.path().join(&self.table));
        self.folders.push(folder);
        let backend = Dynamo::open(&self.config, &self.table, logs.clone(), place).await.unwrap();
        Store::over(Arc::new(backend), logs)
    }
}

async fn failed(store: &Store, id: &str, bytes: &[u8]) -> ExperimentId {
    let begun = store.begin(new(id, "train", "python train.py", 0)).await.unwrap();
    let log = Some(log_of(store, bytes).await);
    let outcome = Outcome { diagnosis: Some(diagnosis("v1:a", "x")), log, ..ended(Status::Failed, 1) };
    store.finish(&begun, outcome).await.unwrap();
    begun
}

async fn read(store: &Store, id: &str) -> Result<Vec<u8>, Error> {
    let log = store.get(id).await.unwrap().log.unwrap();
    let mut bytes = Vec::new();
    store.read_log(log.id).await?.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

#[tokio::test]
async fn a_large_log_is_read_by_every_host_and_goes_with_the_last_that_has_it() {
    let Some(mut hosts) = Hosts::new("a_large_log").await else { return };
    let place = hosts.place.clone();
    let (here, there) = (hosts.store(Some(place)).await, hosts.store(None).await);
    // one that goes whole, and one in parts
    for (id, length) in [("large", 200_000), ("larger", 20_000_000)] {
        let bytes = noise(length as u64, length);
        failed(&here, id, &bytes).await;
        assert!(read(&there, id).await.unwrap() == bytes, "{id}");
        assert!(read(&here, id).await.unwrap() == bytes, "{id}");
    }
    // the same again is the same object
    let bytes = noise(200_000, 200_000);
    failed(&here, "again", &bytes).await;
    let (first, again) = (here.get("large").await.unwrap(), here.get("again").await.unwrap());
    let id = first.log.unwrap().id;
    assert_eq!(again.log.unwrap().id, id);
    assert_eq!(hosts.objects().len(), 2);
    // clean-up takes all of them, and nobody can read any more what nobody has
    let retention =
        Retention { max_log_age: Some(std::time::Duration::from_secs(60)), ..Retention::default() };
    let pruned = here.prune(retention, at(3600)).await.unwrap();
    assert_eq!((pruned.logs, pruned.problems.as_slice()), (2, &[][..]));
    assert!(matches!(there.read_log(id).await, Err(Error::NoLog { .. })));
    assert_eq!(hosts.objects(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_missing_is_told_and_the_rest_still_works() {
    let Some(mut hosts) = Hosts::new("what_is_missing").await else { return };
    let place = hosts.place.clone();
    let (here, there) = (hosts.store(Some(place)).await, hosts.store(None).await);
    failed(&here, "kept", &noise(1, 200_000)).await;
    // what a process left that died in between goes, and nothing else: not of another table, nor of somebody else
    let mine = hosts.objects().remove(0);
    let home = mine.rsplitn(3, '/').last().unwrap().to_owned();
    let file = format!("ab/{}.0123.zst", "c".repeat(62));
    let (stray, others, foreign) =
        (format!("{home}/{file}"), format!("{home}-more/{file}"), format!("{home}/notes.txt"));
    for object in [&stray, &others, &foreign] {
        assert_eq!(ask_s3(&hosts.config, "PUT", &format!("{}/{object}", hosts.place.bucket), "").0, 200);
    }
    let late = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    assert_eq!(here.prune(Retention::default(), jiff::Timestamp::now()).await.unwrap().stray_files, 0);
    let pruned = here.prune(Retention::default(), late).await.unwrap();
    // with the copy of what was written here
    assert_eq!((pruned.stray_files, pruned.problems.as_slice()), (2, &[][..]));
    let left: BTreeSet<_> = hosts.objects().into_iter().collect();
    assert_eq!(left, BTreeSet::from([mine.clone(), others, foreign]));
    // a copy that was made for reading goes with its time
    assert_eq!(read(&there, "kept").await.unwrap().len(), 200_000);
    assert_eq!(there.prune(Retention::default(), late).await.unwrap().stray_files, 1);
    assert_eq!(read(&there, "kept").await.unwrap().len(), 200_000);

    // somebody writes over one
    let object = format!("{}/{mine}", hosts.place.bucket);
    assert_eq!(ask_s3(&hosts.config, "PUT", &object, "something else").0, 200);
    let unread = hosts.store(None).await;
    for _ in 0..2 {
        let told = read(&unread, "kept").await.unwrap_err();
        assert!(matches!(told, Error::Object { trouble: ObjectTrouble::Damaged, .. }), "{told}");
        assert!(!told.is_store_failure(), "{told}");
    }

    // somebody empties the bucket
    for object in left {
        let path = format!("{}/{object}", hosts.place.bucket);
        assert!(matches!(ask_s3(&hosts.config, "DELETE", &path, "").0, 200 | 204));
    }
    let unread = hosts.store(None).await;
    let told = read(&unread, "kept").await.unwrap_err();
    assert!(
        matches!(told, Error::Object { trouble: ObjectTrouble::Gone, .. }) && !told.is_store_failure(),
        "{told}"
    );
    assert!(there.get("kept").await.unwrap().diagnosis.is_some());
}

#[tokio::test]
async fn a_log_that_can_not_be_uploaded_stays_on_its_host() {
    let Some(mut hosts) = Hosts::new("not_uploaded").await else { return };
    let (place, other) = (hosts.place.clone(), hosts.store(None).await);
    let missing: LogPlace = "s3://there-is-no-such-bucket/x".parse().unwrap();
    let store = hosts.store(Some(missing)).await;
    let told = store.health(false).await.unwrap().logs.unwrap();
    assert!(told.contains("s3://there-is-no-such-bucket") && told.contains("CORONER_LOGS"), "{told}");
    let bytes = noise(2, 200_000);
    failed(&store, "without", &bytes).await;
    let kept = store.get("without").await.unwrap();
    let note = kept.log_note.unwrap();
    assert_eq!((kept.listed.status, kept.diagnosis.is_some()), (Status::Failed, true));
    assert!(note.contains(&Owner::this_process().host) && note.contains("no such bucket"), "{note}");
    assert!(read(&store, "without").await.unwrap() == bytes);
    let told = read(&other, "without").await.unwrap_err();
    assert!(told.to_string().contains("CORONER_LOGS") && !told.is_store_failure(), "{told}");

    // whoever prints the same, and reaches the bucket, makes it everybody's
    let reaches = hosts.store(Some(place)).await;
    assert_eq!(reaches.health(false).await.unwrap().logs, None);
    failed(&reaches, "again", &bytes).await;
    assert_eq!(reaches.get("again").await.unwrap().log_note, None);
    assert!(read(&other, "without").await.unwrap() == bytes);
    assert_eq!(hosts.objects().len(), 1);

    // and where not even a file can be made, the experiment does without
    let nowhere = hosts.store(Some("s3://there-is-no-such-bucket/x".parse().unwrap())).await;
    let folder = hosts.folders.last().unwrap().path().join(format!("{}-logs", hosts.table));
    let begun = nowhere.begin(new("nothing", "train", "python train.py", 0)).await.unwrap();
    let log = log_of(&nowhere, &noise(3, 200_000)).await;
    std::fs::remove_dir_all(folder).unwrap();
    let outcome =
        Outcome { diagnosis: Some(diagnosis("v1:a", "x")), log: Some(log), ..ended(Status::Failed, 1) };
    nowhere.finish(&begun, outcome).await.unwrap();
    let kept = nowhere.get("nothing").await.unwrap();
    assert!(kept.log.is_none() && kept.diagnosis.is_some());
    assert!(kept.log_note.unwrap().contains("could not be kept"));
}
