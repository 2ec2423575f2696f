//! The versions folder: every attempt's code, a report for every failure, and the best so far. For people and for `grep`;
//! what programs read is the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use coroner_diagnosis::Diagnosis;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Metrics, Standing};

/// A versions folder.
#[derive(Debug, Clone)]
pub struct Versions(PathBuf);

/// The best so far, or the last: what a candidate is compared with. Kept over processes, for the original forgot it with
/// each of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The experiment.
    pub version: String,
    /// The hash of its code, by which the same candidate is known again.
    pub code_hash: String,
    /// Its code, as it was written into this folder.
    pub file: String,
    /// What it reached.
    pub metrics: Metrics,
    /// The same on the inputs that are held out.
    #[serde(default, skip_serializing_if = "Metrics::is_empty")]
    pub held_out: Metrics,
    /// When, RFC 3339.
    pub timestamp: String,
}

impl Versions {
    /// Opens it, and makes it if it is not there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self(folder.to_owned()))
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Keeps an attempt's code as `attempt_<unix>_<id>.py`.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_code(&self, id: &str, extension: &str, code: &[u8], now: Timestamp) -> io::Result<PathBuf> {
        let id: String = id
            .chars()
            .take(80)
            .map(|c| if c.is_ascii_alphanumeric() || "-_.~".contains(c) { c } else { '_' })
            .collect();
        let (path, mut file) = self.create(&format!("attempt_{}_{id}", now.as_second()), extension)?;
        file.write_all(code)?;
        Ok(path)
    }

    /// Writes what there is to say of a failure: `validation_failure_<unix>.txt` of what was refused before it ran, else
    /// `execution_failure_<unix>.txt`.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_failure(
        &self,
        refused: bool,
        diagnosis: &Diagnosis,
        log: &[u8],
        code: &[u8],
        now: Timestamp,
    ) -> io::Result<PathBuf> {
        const LAST: usize = 64 << 10;
        let kind = if refused { "validation" } else { "execution" };
        let (path, mut file) = self.create(&format!("{kind}_failure_{}", now.as_second()), "txt")?;
        let json = serde_json::to_string_pretty(diagnosis).map_err(io::Error::other)?;
        write!(
            file,
            "Experiment: {}\nTime: {now}\n\n=== Error ===\n{}\n{}\n\n=== Diagnosis ===\n{json}\n\n=== Output ===\n",
            diagnosis.experiment_id,
            diagnosis.root_cause,
            diagnosis
                .evidence
                .iter()
                .map(|item| format!("  {} {}: {}\n", item.source, item.line, item.text))
                .collect::<String>(),
        )?;
        if log.len() > LAST {
            writeln!(file, "[the last {LAST} of {} bytes]", log.len())?;
        }
        file.write_all(&log[log.len().saturating_sub(LAST)..])?;
        write!(file, "\n=== Code ===\n")?;
        file.write_all(code)?;
        Ok(path)
    }

    /// The best so far, if there is one.
    ///
    /// # Errors
    /// It is there and can't be read.
    pub fn best(&self) -> io::Result<Option<Best>> {
        self.read("best.json")
    }

    /// The last that gave metrics, if there is one.
    ///
    /// # Errors
    /// It is there and can't be read.
    pub fn last(&self) -> io::Result<Option<Best>> {
        self.read("last.json")
    }

    /// Makes it the last; and the best, if it was taken over.
    ///
    /// # Errors
    /// It can't be written.
    pub fn settle(&self, one: &Best, adopted: bool) -> io::Result<()> {
        self.write("last.json", one)?;
        if adopted { self.write("best.json", one) } else { Ok(()) }
    }

    /// What code of this hash is compared with: never with itself.
    ///
    /// # Errors
    /// What is kept can't be read.
    pub fn standing(&self, code_hash: &str) -> io::Result<Standing> {
        let other = |one: Option<Best>| one.filter(|one| one.code_hash != code_hash);
        let (best, last) = (other(self.best()?), other(self.last()?));
        Ok(Standing {
            previous_name: last.as_ref().map(|last| last.version.clone()).unwrap_or_default(),
            previous: last.map(|last| last.metrics),
            best_held_out: best
                .as_ref()
                .map(|best| best.held_out.clone())
                .filter(|held_out| !held_out.is_empty()),
            best: best.map(|best| best.metrics),
        })
    }

    fn read(&self, name: &str) -> io::Result<Option<Best>> {
        let path = self.0.join(name);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{}: {error}; remove it to start afresh", path.display()),
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whole or not at all.
    fn write(&self, name: &str, one: &Best) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        serde_json::to_writer_pretty(&mut file, one).map_err(io::Error::other)?;
        file.write_all(b"\n")?;
        file.persist(self.0.join(name)).map(|_| ()).map_err(|error| error.error)
    }

    /// A file that was not there: within a second there may be several.
    fn create(&self, stem: &str, extension: &str) -> io::Result<(PathBuf, File)> {
        for n in 1_u32.. {
            let name = if n == 1 { format!("{stem}.{extension}") } else { format!("{stem}_{n}.{extension}") };
            let path = self.0.join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("every name is taken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_a_second_do_not_collide_and_the_best_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let versions = Versions::open(&folder.path().join("a/b")).unwrap();
        let now = Timestamp::from_second(1_760_000_000).unwrap();
        let one = versions.keep_code("exp 1/x", "py", b"1", now).unwrap();
        let two = versions.keep_code("exp 1/x", "py", b"2", now).unwrap();
        assert!(
            one.ends_with("attempt_1760000000_exp_1_x.py")
                && two.ends_with("attempt_1760000000_exp_1_x_2.py")
        );
        assert_eq!(fs::read(one).unwrap(), b"1");
        assert_eq!(versions.best().unwrap(), None);
        let best = Best {
            version: "exp 1".into(),
            code_hash: "h1".into(),
            file: "attempt_1.py".into(),
            metrics: Metrics::from([("score".to_owned(), 0.1 + 0.2)]),
            held_out: Metrics::new(),
            timestamp: now.to_string(),
        };
        versions.settle(&best, true).unwrap();
        versions
            .settle(&Best { version: "exp 2".into(), code_hash: "h2".into(), ..best.clone() }, false)
            .unwrap();
        assert_eq!(versions.best().unwrap().unwrap(), best);
        let standing = versions.standing("h2").unwrap();
        assert_eq!((standing.best, standing.previous), (Some(best.metrics), None));
        assert_eq!(versions.standing("h3").unwrap().previous_name, "exp 2");
        fs::write(versions.folder().join("best.json"), "{").unwrap();
        assert!(versions.best().unwrap_err().to_string().contains("remove it"));
    }
}
