//! Experiments in one table of DynamoDB. Only this folder knows its keys: docs/dynamodb.md describes them.

mod alerts;
mod cause;
mod client;
mod commit;
mod copy;
mod corrections;
mod costs;
#[cfg(test)]
mod deaths;
mod desk;
mod experiments;
mod groups;
mod happenings;
mod lab;
mod list;
mod load;
mod logs;
mod lookup;
mod objects;
mod outbox;
#[cfg(test)]
mod parts;
mod people;
mod plan;
mod prune;
mod related;
mod row;
mod scan;
mod search;
mod table;
#[cfg(test)]
mod template;
mod trouble;
mod words;

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use coroner_diagnosis::{Diagnosis, Reply};
use jiff::Timestamp;
use jiff::civil::Date;

pub use load::{Hot, Load};
pub use scan::TableScan;
pub use table::Made;
pub use trouble::Said;

#[cfg(test)]
pub(crate) use client::Used;

use crate::backend::Backend;
use crate::logs::{LogFolder, StoredLog};
use crate::{
    CandidateOutcome, CommandLine, Error, Experiment, ExperimentId, Health, LogId, LogPlace, NewExperiment,
    Outcome, Page, Pruned, Query, Retention, Running, SavedAs, SavedFailure, SignatureStats, SimilarFailure,
    Spent, Summary,
};

/// The SDK pauses a little longer before each of these, when it is told that there is too much to do.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(15);

/// How the SDK speaks HTTP here: the TLS that everything else in the program has.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

fn client(config: &SdkConfig) -> Client {
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ANSWER).build();
    let retries = RetryConfig::standard()
        .with_max_attempts(TRIES)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    let config = aws_sdk_dynamodb::config::Builder::from(config)
        .http_client(http_client())
        .retry_config(retries)
        .timeout_config(timeouts)
        .build();
    Client::from_conf(config)
}

/// The configuration for an emulator that listens at `endpoint`: its keys open nothing elsewhere.
#[must_use]
pub fn emulator(endpoint: &str) -> SdkConfig {
    use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "test", "test", None, None, "emulator",
        )))
        .build()
}

/// Makes a table for experiments, where there is none of this name.
pub async fn make_table(config: &SdkConfig, table: &str) -> Result<Made, Error> {
    table::make(&client(config), table).await
}

/// The form of what stands in a table of ours; an error says what to do with one of another form.
pub async fn form_of(config: &SdkConfig, table: &str) -> Result<i64, Error> {
    table::check(&client(config), table).await.map(|_| table::SCHEMA)
}

pub(crate) struct Dynamo {
    table: client::Table,
    folder: LogFolder,
    objects: objects::Objects,
    /// Which of the counters' items this process writes.
    shard: u64,
    known: search::Known,
}

impl Dynamo {
    pub(crate) async fn open(
        config: &SdkConfig,
        table: &str,
        folder: LogFolder,
        logs: Option<LogPlace>,
    ) -> Result<Self, Error> {
        let client = client(config);
        let made = table::check(&client, table).await?;
        let shard = u64::from(uuid::Uuid::now_v7().into_bytes()[15]) % plan::SHARDS;
        Ok(Self {
            table: client::Table::new(client, table.to_owned()),
            folder,
            objects: objects::Objects::new(config, logs, format!("{table}-{made}")),
            shard,
            known: search::Known::default(),
        })
    }

    /// What was used since it was asked last.
    #[cfg(test)]
    pub(crate) fn used(&self) -> Used {
        self.table.used()
    }
}

#[async_trait]
impl Backend for Dynamo {
    async fn begin(&self, new: NewExperiment) -> Result<ExperimentId, Error> {
        self.begun(new).await
    }

    async fn finish(
        &self,
        id: &ExperimentId,
        outcome: Outcome,
        candidate: Option<CandidateOutcome>,
    ) -> Result<(), Error> {
        self.ended(id, &outcome, candidate.as_ref()).await
    }

    async fn record(&self, ended: Vec<(NewExperiment, Outcome)>) -> Result<Vec<ExperimentId>, Error> {
        self.recorded(ended).await
    }

    async fn attach(&self, id: &ExperimentId, diagnosis: Diagnosis) -> Result<(), Error> {
        self.attached(id, &diagnosis).await
    }

    async fn save(&self, failures: Vec<SavedFailure>) -> Result<Vec<SavedAs>, Error> {
        self.saved(failures).await
    }

    async fn running(&self) -> Result<Vec<Running>, Error> {
        self.all_running().await
    }

    async fn get(&self, text: &str) -> Result<Experiment, Error> {
        Ok(self.resolved(text).await?.experiment())
    }

    async fn numbered(&self, number: u64) -> Result<Experiment, Error> {
        let found = self.row(number).await?;
        found.map(|(row, _)| row.experiment()).ok_or_else(|| Error::NotFound { text: number.to_string() })
    }

    async fn list(&self, query: Query) -> Result<Page, Error> {
        self.page(&query).await
    }

    async fn log(&self, id: LogId) -> Result<StoredLog, Error> {
        self.stored_log(id).await
    }

    async fn give_up_log(&self, id: LogId) -> Result<(), Error> {
        self.unreferred_log(id).await
    }

    async fn signature(&self, signature: &str) -> Result<Option<SignatureStats>, Error> {
        self.stats(signature).await
    }

    async fn similar(
        &self,
        signature: &str,
        cause: &str,
        except: Option<&ExperimentId>,
        limit: usize,
    ) -> Result<Vec<SimilarFailure>, Error> {
        self.alike(signature, cause, except, limit).await
    }

    async fn last_success(&self, kind: &str, command: &CommandLine) -> Result<Option<LogId>, Error> {
        self.baseline(kind, command).await
    }

    async fn totals(&self) -> Result<Summary, Error> {
        self.total().await
    }

    async fn summary(&self, from: Timestamp, to: Timestamp) -> Result<Summary, Error> {
        self.sum(from, to).await
    }

    async fn prune(&self, retention: Retention, now: Timestamp) -> Result<Pruned, Error> {
        self.pruned(&retention, now).await
    }

    /// A reply that this release can't read is none: it will be asked for again.
    async fn cached_reply(&self, key: &str) -> Result<Option<Reply>, Error> {
        let item = self.table.get(prune::reply_partition(key), "-").await?;
        Ok(item.and_then(|item| serde_json::from_str(client::text(&item, "reply")?).ok()))
    }

    async fn forget_reply(&self, key: &str) -> Result<(), Error> {
        self.table.delete(prune::reply_partition(key), "-").await
    }

    async fn remember_reply(&self, key: &str, reply: Reply, now: Timestamp) -> Result<(), Error> {
        self.table.put(prune::reply_item(key, &reply, now)).await
    }

    async fn spent(&self, day: Date) -> Result<Spent, Error> {
        self.spent_on(day).await
    }

    async fn record_spend(&self, day: Date, spent: Spent) -> Result<(), Error> {
        self.add_spent(day, spent).await
    }

    async fn health(&self, thorough: bool) -> Result<Health, Error> {
        self.how_it_is(thorough).await
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    fn copying(&self) -> Option<&dyn crate::copy::CopyBackend> {
        Some(self)
    }
}
