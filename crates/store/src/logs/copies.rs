//! Copies of logs that are kept elsewhere, for whoever reads on in them: bounded, and the longest unread goes first.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::{LogFolder, LogId, entries, private_folder};

/// So many bytes stay at most, or the one that was copied last, if it is larger. A function of Lambda has 512 MB of disk.
const MOST: u64 = 256 << 20;
/// And no longer than this since somebody read it.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Does this file, unpacked, have the hash that it should have?
pub(crate) fn holds(path: &Path, id: &LogId) -> io::Result<bool> {
    let mut hash = Sha256::new();
    let mut packed = zstd::Decoder::new(File::open(path)?)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match packed.read(&mut buffer) {
            Ok(0) => return Ok(LogId::from_bytes(hash.finalize().into()) == *id),
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // what can't be unpacked is not what was kept
            Err(_) => return Ok(false),
        }
    }
}

impl LogFolder {
    pub(crate) fn copy(&self, id: &LogId) -> PathBuf {
        self.root.join("copies").join(format!("{id}.zst"))
    }

    /// The copy of this log, if there is one; it counts as read just now.
    pub(crate) fn known_copy(&self, id: &LogId) -> Option<PathBuf> {
        let path = self.copy(id);
        let file = File::options().append(true).open(&path).ok()?;
        // one that looks older than it is goes a little early
        _ = file.set_modified(SystemTime::now());
        Some(path)
    }

    pub(crate) fn forget_copy(&self, id: &LogId) {
        // one that can't be removed now is a stray of the folder
        _ = fs::remove_file(self.copy(id));
    }

    /// A log that was just written here stays at hand for whoever looks at it next, which is soon.
    pub(crate) fn keep_copy(&self, of: &Path, id: &LogId) {
        let copy = self.copy(id);
        let folder = copy.parent().unwrap_or(&self.root);
        // where that is not possible it is fetched
        if private_folder(folder).and_then(|()| fs::hard_link(of, &copy)).is_ok() {
            self.bound_copies(&copy);
        }
    }

    /// Makes room for what was just copied to this path, and removes what nobody has read for a day.
    pub(crate) fn bound_copies(&self, latest: &Path) {
        self.bound_copies_to(MOST, latest);
    }

    fn bound_copies_to(&self, most: u64, latest: &Path) {
        let mut copies: Vec<_> = self.copies().unwrap_or_default().into_iter().filter_map(aged).collect();
        copies.sort();
        let mut total: u64 = copies.iter().map(|(_, size, _)| size).sum();
        for (read, size, path) in copies {
            let is_old = read.elapsed().is_ok_and(|age| age > LONGEST);
            // those that are still being copied have no name of a log yet
            let is_whole = path.extension().is_some_and(|it| it == "zst");
            if path != latest && (is_old || is_whole && total > most) && fs::remove_file(&path).is_ok() {
                total -= size;
            }
        }
    }

    pub(crate) fn copies(&self) -> io::Result<Vec<PathBuf>> {
        entries(&self.root.join("copies"))
    }
}

fn aged(path: PathBuf) -> Option<(SystemTime, u64, PathBuf)> {
    let data = fs::metadata(&path).ok()?;
    Some((data.modified().ok()?, data.len(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unread_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let logs = LogFolder::beside(&folder.path().join("lab"));
        fs::create_dir_all(logs.root.join("copies")).unwrap();
        let ids: Vec<_> = (0..4).map(|i| LogId::of(&[i])).collect();
        for (i, id) in ids.iter().enumerate() {
            fs::write(logs.copy(id), [0; 100]).unwrap();
            let long_ago = SystemTime::now() - Duration::from_secs(1000 - i as u64);
            File::options().append(true).open(logs.copy(id)).unwrap().set_modified(long_ago).unwrap();
        }
        // somebody reads the oldest, and another is on its way
        assert_eq!(logs.known_copy(&ids[0]), Some(logs.copy(&ids[0])));
        let coming = logs.root.join("copies/x.part");
        fs::write(&coming, [0; 100]).unwrap();
        logs.bound_copies_to(300, &logs.copy(&ids[3]));
        let left: Vec<_> = ids.iter().map(|id| logs.known_copy(id).is_some()).collect();
        assert_eq!((left.as_slice(), coming.exists()), (&[true, false, false, true][..], true));
        logs.bound_copies_to(50, &logs.copy(&ids[3]));
        assert!(logs.known_copy(&ids[3]).is_some() && logs.known_copy(&ids[0]).is_none());
        logs.forget_copy(&ids[3]);
        assert_eq!(logs.copies().unwrap(), std::slice::from_ref(&coming));
        // what was left by a process that died goes too, and what was just written stays
        let days_ago = SystemTime::now() - 2 * LONGEST;
        File::options().append(true).open(&coming).unwrap().set_modified(days_ago).unwrap();
        let written = folder.path().join("written");
        fs::write(&written, "log").unwrap();
        logs.keep_copy(&written, &ids[1]);
        assert_eq!(logs.copies().unwrap(), [logs.copy(&ids[1])]);
    }
}
