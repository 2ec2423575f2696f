//! What can go wrong when experiments are kept, one variant for each thing that a person would do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::{AwsTrouble, TableTrouble};

/// Why the store could not do what it was asked. `Clone`, because one failed commit is told to all who shared it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `--store` is not of a form that we know.
    #[error(
        "`{url}` is not a store: {why}; write sqlite:PATH, for instance sqlite:/home/me/coroner.db, or dynamodb:TABLE"
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A kind of store that this binary was built without.
    #[error("`{url}`: this build of coroner keeps experiments in SQLite only; use sqlite:PATH")]
    NotInThisBuild {
        /// What was given.
        url: String,
    },
    /// A table of DynamoDB can't be used.
    #[error("the DynamoDB table `{table}` {trouble}")]
    Table {
        /// Its name.
        table: String,
        /// Why, and what to do.
        trouble: crate::TableTrouble,
    },
    /// The folder or file can't be made or opened.
    #[error(
        "can't open the store {path}: {source}; check that the folder exists and may be written, or give another place with --store sqlite:PATH"
    )]
    Unwritable {
        /// The folder or file.
        path: PathBuf,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// The file may be read only.
    #[error(
        "the store {path} can't be written: it, or the file system that it is on, is read-only; give another place with --store sqlite:PATH"
    )]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },
    /// No space is left.
    #[error(
        "no space is left for the store {path}; free some, or remove old experiments and logs with the retention settings"
    )]
    DiskFull {
        /// The database.
        path: PathBuf,
    },
    /// Another process keeps it locked.
    #[error(
        "the store {path} is locked by another program (waited {waited:?}); try again when that program is done"
    )]
    Locked {
        /// The database.
        path: PathBuf,
        /// How long we waited.
        waited: Duration,
    },
    /// Not a database, or a damaged one.
    #[error(
        "the store {path} is damaged or not a database ({detail}); nothing was changed: move it aside and start anew, or bring back a copy"
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// A healthy database of some other program.
    #[error(
        "{path} is a database of another program; nothing was changed: give another place with --store sqlite:PATH"
    )]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// Written by a newer release.
    #[error(
        "the store {path} was written by a newer coroner (schema {found}; this one knows up to {known}); nothing was changed: use the newer release, or another store"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Any other trouble with the database.
    #[error("the store {path} failed: {source}")]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: Arc<rusqlite::Error>,
    },
    /// A file of a log can't be read or removed.
    #[error("the log file {path} failed: {source}")]
    LogFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// A log that is an object in S3 can't be written, read or removed.
    #[error("the log {object} {trouble}")]
    Object {
        /// Its address, or what that begins with.
        object: String,
        /// What is wrong.
        trouble: crate::ObjectTrouble,
    },
    /// A log that only the host has which ran the experiment.
    #[error(
        "the log {id} is a file of the host that ran the experiment and can't be read from here; with CORONER_LOGS=s3://BUCKET/PREFIX there, logs are for all hosts"
    )]
    LogElsewhere {
        /// The log.
        id: crate::LogId,
    },
    /// Where logs are to go can't be understood.
    #[error("`{url}` is no place for logs: {why}; give s3://BUCKET/PREFIX")]
    LogPlace {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No such log, or no longer.
    #[error("the log {id} is not in the store (any more)")]
    NoLog {
        /// The log.
        id: crate::LogId,
    },
    /// Nothing has this id.
    #[error("no experiment `{text}` in the store; `coroner list` shows what there is")]
    NotFound {
        /// What was asked for.
        text: String,
    },
    /// Several ids start like this.
    #[error("`{text}` is the beginning of several experiments: {}; give more of it", .matches.join(", "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// Some of those that fit.
        matches: Vec<String>,
    },
    /// The caller's id can't be used.
    #[error("`{id}` can't be an experiment's id: {why}")]
    BadId {
        /// What was given, shortened.
        id: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It has ended before.
    #[error("experiment {id} has ended already ({status}); its end is not overwritten")]
    AlreadyFinished {
        /// The experiment.
        id: String,
        /// How it ended.
        status: crate::Status,
    },
    /// It has not ended yet.
    #[error("experiment {id} is still running; it can be diagnosed when it has ended")]
    StillRunning {
        /// The experiment.
        id: String,
    },
    /// Not a cursor of ours.
    #[error("`{text}` is not a cursor; pass `next_cursor` on as it came, or leave it out")]
    Cursor {
        /// What was given.
        text: String,
    },
    /// A stored record can't be read by this release.
    #[error("the record of experiment {id} can't be read: {source}")]
    Record {
        /// The experiment.
        id: String,
        /// Where it does not fit.
        source: Arc<serde_json::Error>,
    },
    /// No run has this number.
    #[error("no run {id} of the lab in the store")]
    NoRun {
        /// What was asked for.
        id: crate::RunId,
    },
    /// Somebody else is at it.
    #[error("run {id} is still going on, in process {pid} on {host}; wait for it or end it first")]
    RunIsHeld {
        /// The run.
        id: crate::RunId,
        /// The machine.
        host: String,
        /// The process.
        pid: u32,
    },
    /// It is an experiment, but none of the lab's.
    #[error("experiment {id} is not a candidate of the lab: no code is kept of it")]
    NotACandidate {
        /// The experiment.
        id: String,
    },
    /// A candidate's code can't be packed or read back.
    #[error("the code of candidate {id} can't be packed or unpacked: {detail}")]
    Code {
        /// The candidate.
        id: String,
        /// What the compressor says.
        detail: String,
    },
    /// No failure has this signature.
    #[error("no failure of signature `{signature}` was ever seen")]
    NoGroup {
        /// What was asked for.
        signature: String,
    },
    /// No correction that is in force has this number.
    #[error("no correction {id} is in force")]
    NoCorrection {
        /// What was asked for.
        id: i64,
    },
    /// A copy would mix two stores.
    #[error(
        "the target has something else under the same names: {what}{}; nothing was written: copy into an empty store, or into the one that this was copied into before",
        if *.more > 0 { format!(" and {more} more") } else { String::new() }
    )]
    Taken {
        /// Some of it.
        what: String,
        /// How much there is beside.
        more: usize,
    },
    /// What came of a look at what alerts are told of is more than the store writes in one step; a smaller step is not.
    #[error("what alerts have to tell can't be written: {what} are more than the store takes in one step")]
    StepTooLarge {
        /// What there is too much of.
        what: String,
    },
    /// The store was closed before.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// May it pass without anybody doing anything, such as a network that is down?
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Locked { .. }
                | Self::Table {
                    trouble: TableTrouble::Throttled
                        | TableTrouble::Other { .. }
                        | TableTrouble::Aws(
                            AwsTrouble::Unreachable { .. }
                                | AwsTrouble::Clock { .. }
                                | AwsTrouble::Stranger { status: 500.. }
                        ),
                    ..
                }
        )
    }

    /// Is this about the store as a whole (exit status 3) and not about what was asked of it?
    #[must_use]
    pub fn is_store_failure(&self) -> bool {
        !matches!(
            self,
            Self::Url { .. }
                | Self::NotInThisBuild { .. }
                | Self::NoLog { .. }
                | Self::Object { trouble: crate::ObjectTrouble::Gone | crate::ObjectTrouble::Damaged, .. }
                | Self::LogElsewhere { .. }
                | Self::LogPlace { .. }
                | Self::NotFound { .. }
                | Self::Ambiguous { .. }
                | Self::BadId { .. }
                | Self::AlreadyFinished { .. }
                | Self::StillRunning { .. }
                | Self::Cursor { .. }
                | Self::NoGroup { .. }
                | Self::NoCorrection { .. }
                | Self::NoRun { .. }
                | Self::RunIsHeld { .. }
                | Self::NotACandidate { .. }
                | Self::Taken { .. }
        )
    }

    /// What SQLite's code means for a person.
    pub(crate) fn sqlite(path: &Path, waited: Duration, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let rusqlite::Error::SqliteFailure(failure, _) = &error else {
            return Self::Database { path, source: Arc::new(error) };
        };
        match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked { path, waited },
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Self::Corrupt { path, detail: error.to_string() }
            }
            ErrorCode::ReadOnly => Self::ReadOnly { path },
            ErrorCode::DiskFull => Self::DiskFull { path },
            // the shared index beside the log can't grow, or a write was cut short: both are a full disk
            _ if matches!(failure.extended_code, ffi::SQLITE_IOERR_SHMSIZE) => Self::DiskFull { path },
            ErrorCode::CannotOpen => {
                Self::Unwritable { path, source: Arc::new(io::Error::other(error.to_string())) }
            }
            _ => Self::Database { path, source: Arc::new(error) },
        }
    }

    pub(crate) fn unwritable(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            _ => Self::Unwritable { path, source: Arc::new(source) },
        }
    }

    pub(crate) fn log_file(path: &Path, source: io::Error) -> Self {
        Self::LogFile { path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn record(id: impl ToString, source: serde_json::Error) -> Self {
        Self::Record { id: id.to_string(), source: Arc::new(source) }
    }
}
