//! The folder of adopted programs: one file for each, and a line that says where it came from.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where the lines are.
const LINEAGE: &str = "lineage.jsonl";

/// A folder of adopted programs.
#[derive(Debug, Clone)]
pub struct Versions {
    folder: PathBuf,
}

/// Why a version can't be kept there.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't keep a version in {path}: {source}. The candidate itself is in the store; mend the folder and run `coroner evolve` again"
)]
pub struct VersionsError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// A line of the lineage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// From 1, through all runs that keep theirs here.
    pub version: u64,
    /// The file beside this one.
    pub file: String,
    /// The run of the loop.
    pub run: u64,
    /// The experiment's short number.
    pub experiment: u64,
    /// What it was made from.
    pub parents: Vec<u64>,
    /// What was changed.
    pub change: String,
    /// By what it is compared.
    pub score: Option<f64>,
    /// All that was measured.
    pub metrics: BTreeMap<String, f64>,
    /// When, RFC 3339.
    pub at: String,
}

impl Versions {
    /// In this folder, which is made when the first one comes.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every line that can be read; one that was cut off when the machine went down is left out.
    pub fn all(&self) -> Result<Vec<Version>, VersionsError> {
        let path = self.folder.join(LINEAGE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(VersionsError { path, source }),
        }
    }

    /// Keeps a program, and says where. The number of `version` and the file's name are given here; one that is there
    /// already is left as it is. Of several who keep at once each waits for the one before.
    pub fn keep(&self, mut version: Version, code: &str) -> Result<PathBuf, VersionsError> {
        let folder = |source| VersionsError { path: self.folder.clone(), source };
        std::fs::create_dir_all(&self.folder).map_err(folder)?;
        // until it is dropped, in whatever process
        let alone = std::fs::File::open(&self.folder).map_err(folder)?;
        alone.lock().map_err(folder)?;
        let all = self.all()?;
        if let Some(there) = all.iter().find(|v| (v.run, v.experiment) == (version.run, version.experiment)) {
            return Ok(self.folder.join(&there.file));
        }
        version.version = all.iter().map(|v| v.version).max().unwrap_or(0) + 1;
        version.file = format!("v{:04}_exp{}.py", version.version, version.experiment);
        let path = self.folder.join(&version.file);
        self.write(&path, code.as_bytes())?;
        // the line last, and the whole file anew: whoever reads it sees all of it or none, and its programs are there
        let mut lines: String =
            all.iter().filter_map(|v| serde_json::to_string(v).ok()).map(|l| l + "\n").collect();
        lines += &serde_json::to_string(&version).unwrap_or_default();
        lines.push('\n');
        self.write(&self.folder.join(LINEAGE), lines.as_bytes())?;
        Ok(path)
    }

    /// Whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), VersionsError> {
        let written = (|| {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            file.as_file().set_permissions(mode)?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        })();
        written.map_err(|source| VersionsError { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(run: u64, experiment: u64) -> Version {
        Version {
            version: 0,
            file: String::new(),
            run,
            experiment,
            parents: vec![1],
            change: "constant in f: x".to_owned(),
            score: Some(0.5),
            metrics: BTreeMap::new(),
            at: "2026-11-28T17:00:00Z".to_owned(),
        }
    }

    #[test]
    fn each_adopted_program_has_one_file_and_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let versions = Versions::new(folder.path().join("versions"));
        let first = versions.keep(version(1, 57), "a = 1\n").unwrap();
        assert!(first.ends_with("v0001_exp57.py"));
        assert_eq!(versions.keep(version(1, 57), "other").unwrap(), first, "once");
        let second = versions.keep(version(2, 60), "a = 2\n").unwrap();
        assert!(second.ends_with("v0002_exp60.py"));
        assert_eq!(std::fs::read_to_string(first).unwrap(), "a = 1\n");
        let lineage = folder.path().join("versions/lineage.jsonl");
        let text = std::fs::read_to_string(&lineage).unwrap();
        std::fs::write(&lineage, text + "{\"version\": 3, \"fi").unwrap();
        assert_eq!(versions.all().unwrap().len(), 2, "a line that was cut off");
        let third = versions.keep(version(2, 61), "a = 3\n").unwrap();
        assert!(third.ends_with("v0003_exp61.py"));
        assert_eq!(std::fs::read_dir(versions.folder()).unwrap().count(), 4, "nothing else is left");
    }
}
