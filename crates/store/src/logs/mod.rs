//! Logs, by the address of their content: small ones inside the database, larger ones as files beside it.
//!
//! While a run prints, its log grows as `partial/NUMBER.zst`, locked by the process that writes it. When the run ends,
//! what is small moves into the same commit as the run's end (no extra wait for the disk); what is large is
//! made durable and linked to `ab/cdef….zst` inside that commit. The partial file goes last, so whenever we die, either
//! the row has the log or the partial file still has it.

#[cfg(feature = "aws")]
mod copies;
mod reader;
mod writer;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

#[cfg(feature = "aws")]
pub(crate) use copies::holds;
pub use reader::LogReader;
pub use writer::LogWriter;
pub(crate) use writer::{keep, recover};

use crate::{ExperimentId, LogFacts};

/// Logs that are not larger than this, compressed, are kept inside the database.
const INLINE: u64 = 32 * 1024;

/// Fast rather than small: a log is written while something else wants the processor.
const LEVEL: i32 = 1;

/// The SHA-256 of a log's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId([u8; 32]);

impl LogId {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From what it is shown as.
    pub(crate) fn parse(hex: &str) -> Option<Self> {
        from_hex(hex)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl serde::Serialize for LogId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A log that has been written, on its way to the experiment that it belongs to.
#[derive(Clone, Default)]
pub struct Log {
    kept: Option<Kept>,
    note: Option<String>,
    /// Files that are superfluous once the experiment has the log.
    leftovers: Vec<PathBuf>,
}

#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) facts: LogFacts,
    pub(crate) data: LogData,
}

/// A log's compressed bytes, and how many bytes to read of them.
#[derive(Clone)]
pub(crate) enum LogData {
    Inline(Vec<u8>),
    File(PathBuf),
}

/// A log as a backend gives it back.
pub(crate) struct StoredLog {
    pub(crate) bytes: u64,
    pub(crate) data: LogData,
}

impl Log {
    /// What is kept; nothing if nothing was printed, or nothing could be kept.
    #[must_use]
    pub fn facts(&self) -> Option<&LogFacts> {
        self.kept.as_ref().map(|kept| &kept.facts)
    }

    /// Why there is less than was printed, for people.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// A log of some kB that is in memory, ready to be kept with its experiment: there is nothing to wait for. `None` if
    /// it is larger, and has to be written.
    #[must_use]
    pub fn small(bytes: &[u8]) -> Option<Self> {
        writer::keep_small(bytes)
    }

    /// One of another store; and the file that is superfluous once it is kept.
    pub(crate) fn copied(kept: Option<Kept>, note: Option<String>, leftover: Option<PathBuf>) -> Self {
        Self { kept, note, leftovers: leftover.into_iter().collect() }
    }

    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// A small log that never was a file.
    fn inline(bytes: &[u8], compressed: Vec<u8>) -> Self {
        let facts = LogFacts {
            id: LogId::of(bytes),
            bytes: bytes.len() as u64,
            stored_bytes: compressed.len() as u64,
        };
        Self { kept: Some(Kept { facts, data: LogData::Inline(compressed) }), ..Self::default() }
    }

    /// The experiment has it, or will do without: removes what is not needed any more. What can't be removed now is
    /// removed by a later clean-up.
    pub(crate) fn settle(&self) {
        for file in &self.leftovers {
            let _ = fs::remove_file(file);
        }
    }

    /// Gives up what is kept, so that its space can be used for something that matters more. Says what that was.
    pub(crate) fn give_up(&mut self, why: &str) -> Option<LogId> {
        self.settle();
        let facts = self.kept.take()?.facts;
        let bytes = coroner_diagnosis::bytes(facts.bytes);
        self.note = Some(format!("{why}: the log ({bytes}) was given up to keep the experiment"));
        Some(facts.id)
    }

    /// No log, and why.
    pub(crate) fn missing(why: &str) -> Self {
        Self { note: Some(why.to_owned()), ..Self::default() }
    }

    /// Says that what is kept ends where its writer did.
    pub(crate) fn cut_off(mut self) -> Self {
        let ends = "the log ends where the process that wrote it ended";
        self.note = match (self.note, self.kept.is_some()) {
            (None, true) => Some(ends.to_owned()),
            (Some(note), true) => Some(format!("{ends}; {note}")),
            (note, false) => note,
        };
        self
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("facts", &self.facts()).field("note", &self.note).finish_non_exhaustive()
    }
}

/// What lies in the folder: finished logs, and partial ones by the number of their experiment, where they have one.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) logs: Vec<(LogId, PathBuf)>,
    pub(crate) partials: Vec<(Option<u64>, PathBuf)>,
}

/// The folder beside the database.
#[derive(Debug, Clone)]
pub(crate) struct LogFolder {
    root: PathBuf,
}

impl LogFolder {
    /// The one of this database. Two databases in one folder must not share their logs: cleaning up one would remove
    /// the other's.
    pub(crate) fn beside(database: &Path) -> Self {
        let mut root = database.as_os_str().to_owned();
        root.push("-logs");
        Self { root: PathBuf::from(root) }
    }

    pub(crate) fn file(&self, id: &LogId) -> PathBuf {
        let hex = id.to_string();
        self.root.join(&hex[..2]).join(format!("{}.zst", &hex[2..]))
    }

    fn partial(&self, name: &str) -> PathBuf {
        self.root.join("partial").join(format!("{name}.zst"))
    }

    fn partial_of(&self, id: &ExperimentId) -> PathBuf {
        self.partial(&id.number().to_string())
    }

    /// Is the experiment's partial log held open? `None` if there is none, or locks don't work here.
    pub(crate) fn is_open(&self, id: &ExperimentId) -> Option<bool> {
        match File::open(self.partial_of(id)).ok()?.try_lock() {
            Ok(()) => Some(false),
            Err(TryLockError::WouldBlock) => Some(true),
            Err(TryLockError::Error(_)) => None,
        }
    }

    /// Makes a written, durable partial file the log of this address. Called inside the commit that refers to it, so
    /// that no clean-up can take it for a stray in between.
    pub(crate) fn adopt(&self, partial: &Path, id: &LogId) -> io::Result<()> {
        let file = self.file(id);
        let folder = file.parent().unwrap_or(&self.root);
        if !folder.is_dir() {
            private_folder(folder)?;
            sync_folder(&self.root)?;
        }
        match fs::hard_link(partial, &file) {
            Ok(()) => sync_folder(folder),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // not every file system has links
            Err(_) => match fs::rename(partial, &file) {
                Ok(()) => sync_folder(folder),
                // by an attempt that was taken back
                Err(e) if e.kind() == io::ErrorKind::NotFound && file.is_file() => Ok(()),
                Err(e) => Err(e),
            },
        }
    }

    /// A file of another folder, copied here to be adopted. That one stays as it is: a link would have both stores remove it.
    pub(crate) fn copied_here(&self, from: &Path) -> io::Result<PathBuf> {
        let partial = self.partial(&uuid::Uuid::now_v7().to_string());
        let mut from = File::open(from)?;
        let mut to = private_file(&partial)?;
        io::copy(&mut from, &mut to)?;
        to.sync_all()?;
        Ok(partial)
    }

    pub(crate) fn remove(&self, id: &LogId) -> io::Result<()> {
        match fs::remove_file(self.file(id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    pub(crate) fn files(&self) -> io::Result<Files> {
        let mut files = Files::default();
        for folder in entries(&self.root)? {
            let prefix = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if prefix.len() != 2 && prefix != "partial" {
                continue;
            }
            for file in entries(&folder)? {
                let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                match prefix.as_str() {
                    "partial" => files.partials.push((stem.parse().ok(), file)),
                    _ => files.logs.extend(from_hex(&format!("{prefix}{stem}")).map(|id| (id, file))),
                }
            }
        }
        Ok(files)
    }
}

/// Does nobody write this partial log at the moment?
pub(crate) fn partial_is_idle(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(all) => all.map(|entry| entry.map(|e| e.path())).collect(),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(e) => Err(e),
    }
}

fn from_hex(text: &str) -> Option<LogId> {
    let mut id = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(LogId(id))
}

/// Makes a folder that only its owner may enter, and those above it.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A file that only its owner may read, made anew.
fn private_file(path: &Path) -> io::Result<File> {
    let open =
        || OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path);
    match (open(), path.parent()) {
        (Err(e), Some(folder)) if e.kind() == io::ErrorKind::NotFound => {
            private_folder(folder)?;
            open()
        }
        (result, _) => result,
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
