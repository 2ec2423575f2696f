//! The store as everybody sees it: rows in a backend, logs beside them, and what keeps the two together.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use coroner_diagnosis::{Diagnosis, Reply};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::backend::Backend;
use crate::logs::{self, LogFolder};
use crate::sqlite::Sqlite;
use crate::{
    CandidateOutcome, CommandLine, Error, Experiment, ExperimentId, Health, Location, Log, LogId, LogReader,
    LogWriter, NewExperiment, Orphan, Outcome, Page, Pruned, Query, Retention, Running, SavedAs,
    SavedFailure, SignatureStats, SimilarFailure, Spent, Status, Summary,
};

/// How long the lock of another process is waited for.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Experiments, their diagnoses and logs. Cheap to clone; what it answered with `Ok` is durable.
#[derive(Clone)]
pub struct Store {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) folder: LogFolder,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store at this URL (`sqlite:PATH`), and makes it if it is not there.
    pub async fn open(url: &str) -> Result<Self, Error> {
        Self::open_waiting(url, LOCK_WAIT).await
    }

    /// The same, with another patience for locks of other processes.
    pub async fn open_waiting(url: &str, wait: Duration) -> Result<Self, Error> {
        let Location::Sqlite(path) = url.parse()? else {
            return Err(Error::NotInThisBuild { url: url.to_owned() });
        };
        let folder = LogFolder::beside(&path);
        Ok(Self { backend: Arc::new(Sqlite::open(path, wait).await?), folder })
    }

    /// Opens the store in this table of DynamoDB, which must be there ([`crate::dynamodb::make_table`]). Large logs go into a
    /// bucket, or else are kept as files in `TABLE-logs` of this folder.
    #[cfg(feature = "aws")]
    pub async fn open_dynamodb(
        config: &aws_types::SdkConfig,
        table: &str,
        folder: &std::path::Path,
        logs: Option<crate::LogPlace>,
    ) -> Result<Self, Error> {
        let folder = LogFolder::beside(&folder.join(table));
        let backend = crate::dynamodb::Dynamo::open(config, table, folder.clone(), logs).await?;
        Ok(Self { backend: Arc::new(backend), folder })
    }

    #[cfg(test)]
    pub(crate) fn over(backend: Arc<dyn Backend>, folder: LogFolder) -> Self {
        Self { backend, folder }
    }

    /// Waits until everything is written, and tidies up. A process may also end without it: nothing that was
    /// acknowledged is lost, the next start only has a little more to read.
    pub async fn close(self) -> Result<(), Error> {
        self.backend.close().await
    }

    // ---- an experiment's life ----

    /// Records that an experiment starts. It is durable when this returns, so that it has an end even if we have none. If the
    /// newest attempt of its id was begun by the same [`Owner`](crate::Owner) with a key, it is that one: whoever did not hear the answer
    /// says it again, perhaps while the first is still being written.
    pub async fn begin(&self, new: NewExperiment) -> Result<ExperimentId, Error> {
        self.backend.begin(new).await
    }

    /// The same, with a guard that records the end as `Lost` if nobody else records one.
    pub async fn begin_guarded(&self, new: NewExperiment) -> Result<Begun, Error> {
        let id = self.begin(new).await?;
        Ok(Begun { store: Some(self.clone()), id })
    }

    /// Takes what an experiment prints, as it prints it.
    #[must_use]
    pub fn log_writer(&self, id: &ExperimentId) -> LogWriter {
        LogWriter::of_experiment(&self.folder, id)
    }

    /// Keeps a log that is already there, for [`Self::save_diagnoses`].
    pub async fn keep_log(&self, from: impl Read + Send + 'static) -> std::io::Result<Log> {
        let folder = self.folder.clone();
        blocking(move || logs::keep(&folder, from)).await
    }

    /// Records how an experiment ended. If the disk is too full for both, the log is given up for it.
    ///
    /// An experiment that was closed as `Lost` can still be finished: its watcher turned out to be alive.
    pub async fn finish(&self, id: &ExperimentId, outcome: Outcome) -> Result<(), Error> {
        self.finish_with(id, outcome, None).await
    }

    pub(crate) async fn finish_with(
        &self,
        id: &ExperimentId,
        mut outcome: Outcome,
        candidate: Option<CandidateOutcome>,
    ) -> Result<(), Error> {
        let mut result = self.backend.finish(id, outcome.clone(), candidate.clone()).await;
        if let (Err(Error::DiskFull { .. }), Some(log)) = (&result, &mut outcome.log) {
            if let Some(id) = log.give_up("the disk is full") {
                self.backend.give_up_log(id).await?;
            }
            result = self.backend.finish(id, outcome.clone(), candidate).await;
        }
        if let (Ok(()), Some(log)) = (&result, &outcome.log) {
            log.settle();
        }
        result
    }

    /// Records experiments that ran and ended where nobody told this store, all or none of them: what fills a store from
    /// elsewhere. What still runs has no end and is for [`Self::begin`].
    pub async fn record(&self, ended: Vec<(NewExperiment, Outcome)>) -> Result<Vec<ExperimentId>, Error> {
        let logs: Vec<_> = ended.iter().filter_map(|(_, outcome)| outcome.log.clone()).collect();
        let ids = self.backend.record(ended).await?;
        logs.iter().for_each(Log::settle);
        Ok(ids)
    }

    /// Gives an experiment that has ended another diagnosis (a model has been asked, an orphan looked at, a person has
    /// corrected it).
    pub async fn attach_diagnosis(&self, id: &ExperimentId, diagnosis: Diagnosis) -> Result<(), Error> {
        self.backend.attach(id, diagnosis).await
    }

    /// Keeps failures that were not run by us, all or none of them.
    ///
    /// An id that is taken: if it is the same failure (the same log, or without a log the same signature), its
    /// diagnosis is replaced, so that saving twice doesn't count twice; otherwise it is kept as a further attempt, so
    /// that nothing is overwritten.
    pub async fn save_diagnoses(&self, failures: Vec<SavedFailure>) -> Result<Vec<SavedAs>, Error> {
        let logs: Vec<_> = failures.iter().filter_map(|failure| failure.log.clone()).collect();
        let saved = self.backend.save(failures).await?;
        logs.iter().for_each(Log::settle);
        Ok(saved)
    }

    /// Experiments whose watcher is gone, as far as `is_alive` can tell; [`Running::seems_alive`] is the usual one.
    pub async fn find_orphans(&self, is_alive: impl Fn(&Running) -> bool) -> Result<Vec<Running>, Error> {
        let mut running = self.backend.running().await?;
        for experiment in &mut running {
            experiment.log_is_open = self.folder.is_open(&experiment.id);
        }
        running.retain(|experiment| !is_alive(experiment));
        Ok(running)
    }

    /// Closes those as `Lost`, with what they had printed. The caller may diagnose them.
    pub async fn close_orphans(
        &self,
        now: Timestamp,
        is_alive: impl Fn(&Running) -> bool,
    ) -> Result<Vec<Orphan>, Error> {
        let mut closed = Vec::new();
        for experiment in self.find_orphans(is_alive).await? {
            let (folder, id) = (self.folder.clone(), experiment.id.clone());
            let log = match blocking(move || logs::recover(&folder, &id)).await {
                Ok(log) => log,
                Err(e) => Some(Log::missing(&format!("what it had printed can't be read ({e})"))),
            };
            let outcome = Outcome {
                status: Status::Lost,
                exit: None,
                ended_at: now,
                reason: Some("the coroner that watched it ended before it did".to_owned()),
                diagnosis: None,
                log: log.map(Log::cut_off),
            };
            let log = outcome.log.as_ref().and_then(Log::facts).map(|facts| facts.id);
            match self.finish(&experiment.id, outcome).await {
                Ok(()) => closed.push(Orphan { experiment, log }),
                // another start was quicker
                Err(Error::AlreadyFinished { .. } | Error::NotFound { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(closed)
    }

    // ---- questions ----

    /// The experiment with this id (its newest attempt), `ID~2`, number, or unambiguous beginning of an id; `last` is
    /// the newest of all.
    pub async fn get(&self, text: &str) -> Result<Experiment, Error> {
        self.backend.get(text).await
    }

    /// The experiment with this short number, whatever other experiments are called.
    pub async fn numbered(&self, number: u64) -> Result<Experiment, Error> {
        self.backend.numbered(number).await
    }

    /// One page of the list.
    pub async fn list(&self, query: Query) -> Result<Page, Error> {
        self.backend.list(query).await
    }

    /// A kept log, as a stream. Reading it blocks.
    pub async fn read_log(&self, id: LogId) -> Result<LogReader, Error> {
        let log = self.backend.log(id).await?;
        blocking(move || LogReader::open(log)).await
    }

    /// What is known of the failures with this signature.
    pub async fn signature_stats(&self, signature: &str) -> Result<Option<SignatureStats>, Error> {
        self.backend.signature(signature).await
    }

    /// Earlier failures like this one, the best first: those of the same signature, then those whose cause
    /// ([`crate::cause_text`]) is told in similar words.
    pub async fn similar(
        &self,
        signature: &str,
        cause: &str,
        except: Option<&ExperimentId>,
        limit: usize,
    ) -> Result<Vec<SimilarFailure>, Error> {
        self.backend.similar(signature, cause, except, limit).await
    }

    /// The log of the last success of the same command and type, or else of the same type: what a failure is compared
    /// with.
    pub async fn last_success(
        &self,
        experiment_type: &str,
        command: &CommandLine,
    ) -> Result<Option<LogId>, Error> {
        self.backend.last_success(experiment_type, command).await
    }

    /// Counts of everything that is kept, which takes no longer however much that is.
    pub async fn totals(&self) -> Result<Summary, Error> {
        self.backend.totals().await
    }

    /// Counts over the full hours that hold this window.
    pub async fn summary(&self, from: Timestamp, to: Timestamp) -> Result<Summary, Error> {
        self.backend.summary(from, to).await
    }

    /// How the store is; `thorough` reads the whole database.
    pub async fn health(&self, thorough: bool) -> Result<Health, Error> {
        self.backend.health(thorough).await
    }

    // ---- keeping house ----

    /// Removes what the settings don't keep; never what runs. Says what it removed, and what it could not.
    pub async fn prune(&self, retention: Retention, now: Timestamp) -> Result<Pruned, Error> {
        self.backend.prune(retention, now).await
    }

    /// What a model answered to the same question before.
    pub async fn cached_reply(&self, key: &str) -> Result<Option<Reply>, Error> {
        self.backend.cached_reply(key).await
    }

    /// Forgets what a model answered, if anything is kept: it turned out to be no good.
    pub async fn forget_reply(&self, key: &str) -> Result<(), Error> {
        self.backend.forget_reply(key).await
    }

    /// Keeps a model's answer.
    pub async fn remember_reply(&self, key: &str, reply: Reply, now: Timestamp) -> Result<(), Error> {
        self.backend.remember_reply(key, reply, now).await
    }

    /// What was spent on this UTC day.
    pub async fn spent(&self, day: Date) -> Result<Spent, Error> {
        self.backend.spent(day).await
    }

    /// Adds to what was spent on this UTC day.
    pub async fn record_spend(&self, day: Date, spent: Spent) -> Result<(), Error> {
        self.backend.record_spend(day, spent).await
    }
}

/// An experiment that has begun. Dropped without an end (an early return, a panic), it is closed as `Lost`.
#[derive(Debug)]
pub struct Begun {
    store: Option<Store>,
    id: ExperimentId,
}

impl Begun {
    /// The experiment.
    #[must_use]
    pub fn id(&self) -> &ExperimentId {
        &self.id
    }

    /// Records how it ended. If that fails, the next start finds it.
    pub async fn finish(mut self, outcome: Outcome) -> Result<(), Error> {
        match self.store.take() {
            Some(store) => store.finish(&self.id, outcome).await,
            None => Err(Error::Closed),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // without a runtime, or when the process ends first, the next start closes it
        if let (Some(store), Ok(runtime)) = (self.store.take(), tokio::runtime::Handle::try_current()) {
            let id = self.id.clone();
            runtime.spawn(async move {
                let now = Timestamp::now();
                let closed = store.close_orphans(now, |running| running.id != id).await;
                debug_assert!(closed.is_ok(), "{closed:?}");
            });
        }
    }
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // blocking tasks are never cancelled
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}
