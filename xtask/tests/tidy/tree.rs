//! The repository as the checks see it: every file that is not ignored, by its path from the root.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// Empty for what is not UTF-8: pictures, captured logs.
    pub(crate) text: String,
}

impl File {
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub(crate) fn extension(&self) -> &str {
        self.name().rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// What somebody else's program would look like is no matter of style: specimens are meant to be broken.
    pub(crate) fn is_specimen(&self) -> bool {
        self.path.contains("fixtures/")
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Everything that git would track, whether or not there is a git here.
pub(crate) fn files() -> Vec<File> {
    let root = root();
    let mut files: Vec<File> = ignore::WalkBuilder::new(&root)
        .hidden(false)
        .require_git(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
        .map(|entry| File {
            path: entry.path().strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/"),
            text: String::from_utf8(fs::read(entry.path()).unwrap()).unwrap_or_default(),
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "{} is not the root", root.display());
    files
}

/// Fails with all complaints at once: one run, one list.
#[track_caller]
pub(crate) fn none(complaints: &[String], what_to_do: &str) {
    assert!(complaints.is_empty(), "\n  {}\n{what_to_do}\n", complaints.join("\n  "));
}

/// The 1-based number of the line that holds byte `at`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
