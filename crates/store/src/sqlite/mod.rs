//! Experiments in SQLite: one thread writes, a few connections read. Only this folder knows SQL.

mod alerts;
mod candidates;
mod copy;
mod corrections;
mod costs;
mod desk;
mod diagnoses;
mod experiments;
mod groups;
mod happenings;
mod kept_logs;
mod lab;
mod ledger;
mod list;
mod lookup;
#[cfg(test)]
mod many;
mod merge;
mod open;
mod outbox;
mod people;
mod prune;
mod readers;
mod related;
mod runs;
mod text;
mod writer;

pub use open::{SCHEMA, schema_of};

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use coroner_diagnosis::{Diagnosis, Reply};
use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::Connection;

use crate::backend::Backend;
use crate::logs::{LogFolder, StoredLog};
use crate::{
    CandidateOutcome, CommandLine, Error, Experiment, ExperimentId, Health, LogId, NewExperiment, Outcome,
    Page, Pruned, Query, Retention, Running, SavedAs, SavedFailure, SignatureStats, SimilarFailure, Spent,
    Summary,
};

/// Where the database is and how long a lock is waited for: what an error has to tell.
#[derive(Clone)]
struct Place {
    path: PathBuf,
    wait: Duration,
}

pub(crate) struct Sqlite {
    place: Place,
    folder: LogFolder,
    writer: writer::Writer,
    readers: readers::Readers,
}

/// What goes wrong inside this folder, before it is said in words.
enum Trouble {
    Sqlite(rusqlite::Error),
    Told(Error),
}

impl Trouble {
    fn told(self, place: &Place) -> Error {
        match self {
            Self::Sqlite(e) => Error::sqlite(&place.path, place.wait, e),
            Self::Told(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sqlite(e)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl Sqlite {
    pub(crate) async fn open(path: PathBuf, wait: Duration) -> Result<Self, Error> {
        Ok(Self {
            writer: writer::Writer::start(path.clone(), wait).await?,
            readers: readers::Readers::new(),
            folder: LogFolder::beside(&path),
            place: Place { path, wait },
        })
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Error> {
        self.writer.run(&self.place, work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Error> {
        self.readers.run(&self.place, read).await
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn begin(&self, new: NewExperiment) -> Result<ExperimentId, Error> {
        self.write(move |conn| experiments::begin(conn, new).map(|(_, id)| id)).await
    }

    async fn finish(
        &self,
        id: &ExperimentId,
        outcome: Outcome,
        candidate: Option<CandidateOutcome>,
    ) -> Result<(), Error> {
        let (id, folder) = (id.clone(), self.folder.clone());
        self.write(move |conn| experiments::finish(conn, &folder, &id, &outcome, candidate.as_ref())).await
    }

    async fn record(&self, ended: Vec<(NewExperiment, Outcome)>) -> Result<Vec<ExperimentId>, Error> {
        let folder = self.folder.clone();
        let all = move |conn: &Connection| {
            ended
                .into_iter()
                .map(|(new, outcome)| experiments::record(conn, &folder, new, &outcome))
                .collect()
        };
        self.write(all).await
    }

    async fn attach(&self, id: &ExperimentId, diagnosis: Diagnosis) -> Result<(), Error> {
        let id = id.clone();
        self.write(move |conn| experiments::attach(conn, &id, &diagnosis)).await
    }

    async fn save(&self, failures: Vec<SavedFailure>) -> Result<Vec<SavedAs>, Error> {
        let folder = self.folder.clone();
        let all = move |conn: &Connection| {
            failures.iter().map(|failure| experiments::save(conn, &folder, failure)).collect()
        };
        self.writer.run_again(&self.place, all).await
    }

    async fn running(&self) -> Result<Vec<Running>, Error> {
        self.read(lookup::running).await
    }

    async fn get(&self, text: &str) -> Result<Experiment, Error> {
        let text = text.to_owned();
        self.read(move |conn| lookup::get(conn, &text)).await
    }

    async fn numbered(&self, number: u64) -> Result<Experiment, Error> {
        self.read(move |conn| lookup::numbered(conn, number)).await
    }

    async fn list(&self, query: Query) -> Result<Page, Error> {
        self.read(move |conn| list::page(conn, &query)).await
    }

    async fn log(&self, id: LogId) -> Result<StoredLog, Error> {
        let folder = self.folder.clone();
        self.read(move |conn| lookup::log(conn, &folder, id)).await
    }

    async fn give_up_log(&self, id: LogId) -> Result<(), Error> {
        let folder = self.folder.clone();
        // writes nothing, and so can be done on a full disk; but nobody can begin to refer to the log meanwhile
        self.write(move |conn| lookup::give_up_log(conn, &folder, &id)).await
    }

    async fn signature(&self, signature: &str) -> Result<Option<SignatureStats>, Error> {
        let signature = signature.to_owned();
        self.read(move |conn| related::signature(conn, &signature)).await
    }

    async fn similar(
        &self,
        signature: &str,
        cause: &str,
        except: Option<&ExperimentId>,
        limit: usize,
    ) -> Result<Vec<SimilarFailure>, Error> {
        let (signature, cause) = (signature.to_owned(), cause.to_owned());
        let except = except.map(ExperimentId::number);
        self.read(move |conn| related::similar(conn, &signature, &cause, except, limit)).await
    }

    async fn last_success(&self, kind: &str, command: &CommandLine) -> Result<Option<LogId>, Error> {
        let (kind, command) = (kind.to_owned(), command.clone());
        self.read(move |conn| related::last_success(conn, &kind, &command)).await
    }

    async fn totals(&self) -> Result<Summary, Error> {
        self.read(related::totals).await
    }

    async fn summary(&self, from: Timestamp, to: Timestamp) -> Result<Summary, Error> {
        self.read(move |conn| related::summary(conn, from, to)).await
    }

    async fn prune(&self, retention: Retention, now: Timestamp) -> Result<Pruned, Error> {
        prune::prune(self, &retention, now).await
    }

    async fn cached_reply(&self, key: &str) -> Result<Option<Reply>, Error> {
        let key = key.to_owned();
        self.read(move |conn| ledger::cached_reply(conn, &key)).await
    }

    async fn forget_reply(&self, key: &str) -> Result<(), Error> {
        let key = key.to_owned();
        self.write(move |conn| ledger::forget_reply(conn, &key)).await
    }

    async fn remember_reply(&self, key: &str, reply: Reply, now: Timestamp) -> Result<(), Error> {
        let key = key.to_owned();
        self.write(move |conn| ledger::remember_reply(conn, &key, &reply, now)).await
    }

    async fn spent(&self, day: Date) -> Result<Spent, Error> {
        self.read(move |conn| ledger::spent(conn, day)).await
    }

    async fn record_spend(&self, day: Date, spent: Spent) -> Result<(), Error> {
        self.write(move |conn| ledger::record_spend(conn, day, spent)).await
    }

    async fn health(&self, thorough: bool) -> Result<Health, Error> {
        let path = self.place.path.clone();
        let bytes = ["", "-wal"].iter().map(|suffix| {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            fs::metadata(file).map_or(0, |data| data.len())
        });
        let database_bytes = bytes.sum();
        let location = format!("sqlite:{}", self.place.path.display());
        self.read(move |conn| lookup::health(conn, location, database_bytes, thorough)).await
    }

    async fn close(&self) -> Result<(), Error> {
        // the writer last: the last connection to close folds the write-ahead log into the database
        self.readers.close();
        self.writer.close().await;
        Ok(())
    }

    fn copying(&self) -> Option<&dyn crate::copy::CopyBackend> {
        Some(self)
    }
}
