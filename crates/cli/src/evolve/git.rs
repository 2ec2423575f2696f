//! Commits of programs that were taken over: that file and nothing else, and never a push.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow, bail};

/// The repository that the versions folder is in.
pub(super) struct Repository {
    folder: PathBuf,
}

impl Repository {
    /// Of this folder, which need not be there yet.
    pub(super) fn of(versions: &Path) -> Result<Self, anyhow::Error> {
        std::fs::create_dir_all(versions)
            .with_context(|| format!("can't make the versions folder {}", versions.display()))?;
        let repository = Self { folder: versions.to_owned() };
        repository.git(&["rev-parse", "--show-toplevel"]).map_err(|error| {
            anyhow!(
                "--git commits to the repository of {}, and that is in none ({error}): run `git init` there, or leave \
                 out --git",
                versions.display()
            )
        })?;
        Ok(repository)
    }

    pub(super) fn commit(&self, path: &Path, number: u64, change: &str) -> Result<(), anyhow::Error> {
        let path = std::path::absolute(path)?;
        let path = path.to_str().ok_or_else(|| anyhow!("{} is no text", path.display()))?;
        let message = format!("coroner: exp {number} taken over\n\n{change}\n");
        self.git(&["add", "--", path])?;
        self.git(&["commit", "--quiet", "--no-verify", "--only", "-m", &message, "--", path])
    }

    fn git(&self, words: &[&str]) -> Result<(), anyhow::Error> {
        let output = Command::new("git")
            .arg("-C")
            .arg(&self.folder)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .context("can't run git: install it, or leave out --git")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("git {}: {}", words[0], said.lines().next().unwrap_or("no word on why"));
        }
        Ok(())
    }
}
