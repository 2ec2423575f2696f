//! What happened, on disk, until the desk has taken it: a folder with a folder for each run.
//!
//! An entry is `run.json`, the log as it comes, and at the end `end.json`. Each is written under another name, made durable and
//! renamed; the entry itself too. Whoever works on an entry holds a lock on its `run.json`, which the kernel takes away with the
//! process: a run that still goes on is nobody else's, one whose watcher died is free, and two who deliver at once never have the
//! same.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use coroner_store::{Liveness, Log};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Became, Begun, Ended, LogSize};

const RUN: &str = "run.json";
const END: &str = "end.json";
const LOG: &str = "log.zst";
/// Why it is kept aside.
const WHY: &str = "why.json";
/// The folder of what waiting does not help.
const ASIDE: &str = "aside";
/// Entries that are being made, and those that are being removed.
const MAKING: &str = ".new-";
const GOING: &str = ".gone-";
/// No part of an entry but its log is longer.
const LONGEST: u64 = 8 << 20;
/// Who is out of sight (another machine that shares the folder) gives a sign of life more often than this.
const SILENCE: Duration = Duration::from_secs(15 * 60);

/// A folder of reports that wait.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
    limit: u64,
}

/// The spool can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the spool {} can't be used ({source}); set report_spool to a folder that can be written, on a file system with locks", folder.display())]
pub struct SpoolError {
    folder: PathBuf,
    source: io::Error,
}

/// An entry that is ours to work on.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    spool: Spool,
    /// Open and locked as long as it is ours.
    lock: File,
    begun: Begun,
    ended: Option<Ended>,
    /// Its log was written to its end by ourselves: it need not be looked through.
    sure: bool,
}

/// An entry to look at.
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    /// Its folder.
    pub path: PathBuf,
    /// The experiment, where that can be read.
    pub experiment_id: Option<String>,
    /// The desk that it is for.
    pub desk: Option<String>,
    /// When the run began.
    pub started_at: Option<Timestamp>,
    /// When it ended; nothing while it runs.
    pub ended_at: Option<Timestamp>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Why it is kept aside, if it is.
    pub aside: Option<String>,
    /// Somebody works on it: the run goes on, or it is being delivered.
    pub busy: bool,
}

/// What became of an attempt to have an entry.
pub(super) enum Got {
    Ready(Box<Entry>),
    /// Another has it, or it is gone.
    Others,
    /// It is for another desk.
    Elsewhere,
    /// It can't be read; it is kept aside.
    Damaged(String),
}

#[derive(Serialize, Deserialize)]
struct Why {
    why: String,
    at: Timestamp,
}

impl Spool {
    /// In this folder, with so many bytes for what waits.
    #[must_use]
    pub fn new(folder: PathBuf, limit: u64) -> Self {
        Self { folder, limit }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A run begins: it is on disk when this returns.
    pub fn begin(&self, begun: Begun) -> Result<Entry, SpoolError> {
        let made = || {
            private_folder(&self.folder)?;
            let name = format!("{:013}-{}", begun.started_at.as_millisecond().max(0), begun.key);
            let new = self.folder.join(format!("{MAKING}{name}"));
            private_folder(&new)?;
            let lock = written(&new.join(RUN), &begun)?;
            lock.try_lock().map_err(io::Error::from)?;
            let path = self.folder.join(name);
            fs::rename(&new, &path)?;
            sync(&self.folder)?;
            Ok((path, lock))
        };
        let (path, lock) = made().map_err(|source| SpoolError { folder: self.folder.clone(), source })?;
        Ok(Entry { path, spool: self.clone(), lock, begun, ended: None, sure: false })
    }

    /// Everything that is here, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Waiting> {
        let (mut all, aside) = (self.entries(false), self.entries(true));
        all.extend(aside);
        all.into_iter().map(|path| self.look(path)).collect()
    }

    fn look(&self, path: PathBuf) -> Waiting {
        let begun: Option<Begun> = read(&path.join(RUN)).ok();
        let ended: Option<Ended> = read(&path.join(END)).ok();
        let aside = path.parent().is_some_and(|parent| parent.ends_with(ASIDE));
        let why = || read::<Why>(&path.join(WHY)).map_or_else(|_| "nobody knows why".to_owned(), |it| it.why);
        let busy = File::open(path.join(RUN))
            .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
        Waiting {
            experiment_id: begun.as_ref().map(|begun| begun.experiment_id.clone()),
            desk: begun.as_ref().map(|begun| begun.desk.clone()),
            started_at: begun.as_ref().map(|begun| begun.started_at),
            ended_at: ended.map(|ended| ended.at),
            bytes: size(&path),
            aside: aside.then(why),
            busy,
            path,
        }
    }

    /// The entries that wait, or those that are kept aside, the oldest first.
    pub(super) fn entries(&self, aside: bool) -> Vec<PathBuf> {
        let folder = if aside { self.folder.join(ASIDE) } else { self.folder.clone() };
        let all = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut all: Vec<PathBuf> = all
            .filter(|entry| {
                entry.file_name().to_str().is_some_and(|name| !name.starts_with('.') && name != ASIDE)
            })
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect();
        all.sort();
        all
    }

    /// Removes what those left who were killed while they made or removed an entry.
    pub(super) fn tidy_up(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let idle = || File::open(entry.path().join(RUN)).is_ok_and(|file| file.try_lock().is_ok());
            let old = || age(&entry.path()).is_some_and(|age| age > SILENCE);
            if name.starts_with(GOING) || name.starts_with(MAKING) && old() && idle() {
                _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Takes an entry for this desk, if it is to be had.
    pub(super) fn take(&self, path: &Path, desk: &str) -> io::Result<Got> {
        let lock = match OpenOptions::new().read(true).write(true).open(path.join(RUN)) {
            Ok(lock) => lock,
            // it was removed in the meantime, or something else did that
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if path.is_dir() {
                    self.damaged(path, &format!("it has no {RUN}"))
                } else {
                    Ok(Got::Others)
                };
            }
            // a disk that can only be read, too many open files: that says nothing of this one
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Got::Others),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // whoever had it before us may just have removed it, or set it aside
        let same = fs::metadata(path.join(RUN))
            .is_ok_and(|it| Some(it.ino()) == lock.metadata().ok().map(|own| own.ino()));
        if !same {
            return Ok(Got::Others);
        }
        let begun: Begun = match read(&path.join(RUN)) {
            Ok(begun) => begun,
            Err(error) => return self.damaged(path, &format!("{RUN} can't be read ({error})")),
        };
        if begun.desk != desk {
            return Ok(Got::Elsewhere);
        }
        let ended = match read(&path.join(END)) {
            Ok(ended) => Some(ended),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return self.damaged(path, &format!("{END} can't be read ({error})")),
        };
        let mut entry = Entry { path: path.to_owned(), spool: self.clone(), lock, begun, ended, sure: false };
        if entry.ended.is_none() {
            if entry.may_still_run() {
                return Ok(Got::Others);
            }
            entry.lost()?;
        }
        Ok(Got::Ready(Box::new(entry)))
    }

    fn damaged(&self, path: &Path, why: &str) -> io::Result<Got> {
        self.set_aside(path, why)?;
        Ok(Got::Damaged(format!("{}: {why}", path.display())))
    }

    fn set_aside(&self, path: &Path, why: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(ASIDE);
        private_folder(&folder)?;
        written(&path.join(WHY), &Why { why: why.to_owned(), at: Timestamp::now() })?;
        let to = folder.join(path.file_name().unwrap_or_default());
        if to != path {
            fs::rename(path, &to)?;
            sync(&folder)?;
            sync(&self.folder)?;
        }
        Ok(to)
    }

    /// How much lies here without this entry.
    fn used(&self, without: &Path) -> u64 {
        let all = [self.entries(false), self.entries(true)].concat();
        all.iter().filter(|path| *path != without).map(|path| size(path)).sum()
    }
}

impl Entry {
    /// The run.
    #[must_use]
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// Its end.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Where its log is written.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Its log as it was printed.
    pub fn read_log(&self) -> io::Result<impl Read + use<>> {
        zstd::Decoder::new(File::open(self.log_file())?)
    }

    /// What gives a sign of life, for those who share the folder from other machines.
    pub(super) fn pulse(&self) -> Option<File> {
        self.lock.try_clone().ok()
    }

    /// The run has ended, and its log is complete: it is on disk when this returns. If it can't be written, it can be
    /// delivered all the same, from memory.
    pub fn end(&mut self, mut ended: Ended, log: Option<&Log>) -> io::Result<()> {
        ended.log = log.and_then(Log::facts).map(|it| LogSize { bytes: it.bytes, stored: it.stored_bytes });
        let kept = (|| {
            if ended.log.is_some() {
                File::open(self.log_file())?.sync_all()?;
            }
            written(&self.path.join(END), &ended).map(drop)
        })();
        self.ended = Some(ended);
        self.sure = kept.is_ok() && log.is_none_or(|log| log.note().is_none());
        kept
    }

    /// Its log, whole: what was cut off by a full disk or a kill is mended to what can be read of it.
    pub(super) fn log(&mut self) -> io::Result<Option<PathBuf>> {
        let Some(size) = self.ended.as_ref().and_then(|ended| ended.log) else { return Ok(None) };
        let path = self.log_file();
        let same_size = fs::metadata(&path).is_ok_and(|it| it.len() == size.stored);
        let whole = same_size && (self.sure || is_whole(&path, size.bytes));
        if !whole {
            let left = self.mend_log()?;
            if let Some(ended) = &mut self.ended {
                ended.log = left;
                let cut = "its log ends where its file does: the rest is lost";
                ended.reason.get_or_insert_with(|| cut.to_owned());
            }
        }
        Ok(self.ended.as_ref().and_then(|ended| ended.log).map(|_| path))
    }

    fn mend_log(&self) -> io::Result<Option<LogSize>> {
        let path = self.log_file();
        let Ok(file) = File::open(&path) else { return Ok(None) };
        let mended = path.with_extension("mended");
        let mut to = zstd::Encoder::new(private_file(&mended)?, 1)?;
        let (mut from, mut buffer, mut bytes) = (zstd::Decoder::new(file)?, vec![0; 64 << 10], 0);
        // the last block may be cut off anywhere: what comes before the error is the log
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            to.write_all(&buffer[..n])?;
            bytes += n as u64;
        }
        let file = to.finish()?;
        file.sync_all()?;
        fs::rename(&mended, &path)?;
        Ok((bytes > 0).then_some(LogSize { bytes, stored: file.metadata()?.len() }))
    }

    /// Does somebody whom we can't see still watch it?
    fn may_still_run(&self) -> bool {
        match self.begun.owner.liveness() {
            Liveness::Alive => true,
            Liveness::Gone => false,
            Liveness::Unknown => age(&self.path.join(RUN)).is_none_or(|age| age < SILENCE),
        }
    }

    /// Nobody saw its end.
    fn lost(&mut self) -> io::Result<()> {
        let last =
            [LOG, RUN].iter().find_map(|name| fs::metadata(self.path.join(name)).ok()?.modified().ok());
        let at = last.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_else(Timestamp::now);
        let log = self.mend_log()?;
        let ended = Ended {
            at: at.max(self.begun.started_at),
            became: Became::Lost,
            exit: None,
            sandbox: None,
            error: None,
            reason: Some("the coroner that watched it ended before it did".to_owned()),
            code: None,
            log,
        };
        written(&self.path.join(END), &ended)?;
        self.ended = Some(ended);
        Ok(())
    }

    /// It was taken: nothing is left of it.
    pub(super) fn gone(self) -> io::Result<()> {
        let to = self.spool.folder.join(format!("{GOING}{}", self.begun.key));
        fs::rename(&self.path, &to)?;
        fs::remove_dir_all(&to)
    }

    /// Waiting does not help: it is kept aside, until somebody has mended what was wrong.
    pub(super) fn aside(self, why: &str) -> io::Result<PathBuf> {
        self.spool.set_aside(&self.path, why)
    }

    /// It stays. If there is no room for all of it, its log goes, and then itself: what is older stays as it is. Says what was
    /// given up.
    pub fn stay(mut self) -> Option<String> {
        let (used, limit) = (self.spool.used(&self.path), self.spool.limit);
        if used.saturating_add(size(&self.path)) <= limit {
            return None;
        }
        let folder = self.spool.folder.display().to_string();
        let full =
            format!("the spool {folder} is full ({} of report_spool_limit)", coroner_diagnosis::bytes(limit));
        let advice = "reach the desk and run `coroner report deliver`, or make the limit larger";
        if let Some(mut ended) = self.ended.take() {
            ended.log = None;
            let note = "its log was given up: the spool of its machine was full";
            ended.reason =
                Some(ended.reason.map_or_else(|| note.to_owned(), |reason| format!("{reason}; {note}")));
            let kept = written(&self.path.join(END), &ended).and_then(|_| fs::remove_file(self.log_file()));
            if kept.is_ok() && used.saturating_add(size(&self.path)) <= limit {
                return Some(format!("{full}: the log of this run is not kept, only how it ended; {advice}"));
            }
        }
        _ = self.gone();
        Some(format!("{full}: nothing of this run is kept; {advice}"))
    }
}

/// Can all of it be unpacked?
fn is_whole(path: &Path, bytes: u64) -> bool {
    let unpacked = || io::copy(&mut zstd::Decoder::new(File::open(path)?)?, &mut io::sink());
    unpacked().is_ok_and(|unpacked| unpacked == bytes)
}

fn age(path: &Path) -> Option<Duration> {
    SystemTime::now().duration_since(fs::metadata(path).ok()?.modified().ok()?).ok()
}

fn size(entry: &Path) -> u64 {
    let files = fs::read_dir(entry).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|it| it.len()).sum()
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

/// Written whole or not at all, and durable. The file is open still.
fn written(path: &Path, value: &impl Serialize) -> io::Result<File> {
    let new = path.with_extension("new");
    let mut file = private_file(&new)?;
    file.write_all(&serde_json::to_vec(value).map_err(io::Error::other)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        sync(folder)?;
    }
    Ok(file)
}

/// Only its owner may read it: a log may hold anything.
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_damaged_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, entry) = (Spool::new(folder.path().to_owned(), 1 << 20), folder.path().join("1-a"));
        fs::create_dir(&entry).unwrap();
        // it is there, and can't be opened
        std::os::unix::fs::symlink(RUN, entry.join(RUN)).unwrap();
        assert!(spool.take(&entry, "http://desk").is_err());
        assert!(entry.is_dir() && spool.entries(true).is_empty());
        fs::remove_file(entry.join(RUN)).unwrap();
        assert!(matches!(spool.take(&entry, "http://desk"), Ok(Got::Damaged(_))));
        assert!(!entry.exists() && spool.entries(true).len() == 1);
    }
}
