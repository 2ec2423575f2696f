//! A table of its own for each case, in an emulator that `scripts/test` starts; without one the cases say that they were
//! skipped.

use std::sync::Arc;

use aws_types::SdkConfig;
use tempfile::TempDir;

use crate::Store;
use crate::dynamodb::{Dynamo, Made, emulator, make_table};
use crate::logs::LogFolder;

/// Where the emulator listens, on this machine only.
const ENDPOINT: &str = "CORONER_TEST_DYNAMODB";

pub(crate) fn config() -> Option<SdkConfig> {
    let endpoint = std::env::var(ENDPOINT).ok().filter(|it| !it.is_empty())?;
    Some(emulator(&endpoint))
}

pub(crate) async fn backend(case: &str) -> Option<(Arc<Dynamo>, LogFolder, TempDir)> {
    let Some(config) = config() else {
        println!("skipped: on_dynamodb::{case}: {ENDPOINT} is not set: scripts/test starts an emulator");
        return None;
    };
    let table = format!("{case}-{}", uuid::Uuid::now_v7());
    assert_eq!(make_table(&config, &table).await.unwrap(), Made::New);
    let folder = tempfile::tempdir().unwrap();
    let logs = LogFolder::beside(&folder.path().join(&table));
    let dynamo = Dynamo::open(&config, &table, logs.clone(), None).await.unwrap();
    Some((Arc::new(dynamo), logs, folder))
}

pub(super) async fn store(case: &str) -> Option<(Store, TempDir)> {
    let (backend, logs, folder) = backend(case).await?;
    Some((Store::over(backend, logs), folder))
}
