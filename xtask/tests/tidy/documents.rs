//! The documents: what they name exists, where they point there is something.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

use crate::tree::{File, files, line_of, none, root};

fn documents(files: &[File]) -> Vec<&File> {
    files.iter().filter(|file| file.extension() == "md" && !file.is_specimen()).collect()
}

fn document<'a>(files: &'a [File], path: &str) -> &'a File {
    files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing"))
}

/// Types and functions defined in our sources, those of the `words!` table among them.
fn defined(files: &[File]) -> BTreeSet<String> {
    let item =
        Regex::new(r"\b(?:struct|enum|union|trait|type|fn|const|static|mod)\s+([A-Za-z_]\w*)").unwrap();
    let word = Regex::new(r"(?m)^words! \{\n(?:\s*(?:///|#).*\n)*\s*([A-Z]\w*) \{").unwrap();
    files
        .iter()
        .filter(|file| file.extension() == "rs" && !file.is_specimen())
        .flat_map(|file| item.captures_iter(&file.text).chain(word.captures_iter(&file.text)))
        .map(|captures| captures[1].to_owned())
        .collect()
}

/// Resolves `..` and `.` by text: the target need not exist.
fn tidy_path(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if out.pop() => {}
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// GitHub's anchor of a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_type_and_function_that_the_architecture_names_exists() {
    let files = files();
    let known = defined(&files);
    let text = &document(&files, "ARCHITECTURE.md").text;
    let quoted = Regex::new(r"`([A-Za-z_][\w:]*)(\([^`]*\))?`").unwrap();
    let camel = Regex::new(r"^[A-Z]\w*[a-z]\w*$").unwrap();
    let missing: Vec<String> = quoted
        .captures_iter(text)
        .flat_map(|captures| {
            let call = captures.get(2).is_some();
            let line = line_of(text, captures.get(0).unwrap().start());
            let parts: Vec<&str> = captures[1].split("::").collect();
            let last = parts.len() - 1;
            // Of `Type::name` only the type is looked up, for a variant can't be told from a function here.
            parts
                .iter()
                .enumerate()
                .filter(|(i, part)| camel.is_match(part) && (last == 0 || *i < last) || call && *i == last)
                .filter(|(_, part)| !known.contains(**part))
                .map(|(_, part)| format!("ARCHITECTURE.md:{line}: {part}"))
                .collect::<Vec<_>>()
        })
        .collect();
    none(&missing, "Not defined in any source: mend the page or the name.");
}

#[test]
fn every_link_leads_somewhere() {
    let files = files();
    let link = Regex::new(r#"(?:\]\(|\b(?:src|srcset|href)=")([^)"\s]+)"#).unwrap();
    let mut dead = Vec::new();
    for file in documents(&files) {
        for captures in link.captures_iter(&file.text) {
            let target = &captures[1];
            let line = line_of(&file.text, captures.get(0).unwrap().start());
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(&file.path).parent().unwrap();
            let path =
                if path.is_empty() { PathBuf::from(&file.path) } else { tidy_path(&folder.join(path)) };
            if !root().join(&path).exists() {
                dead.push(format!("{}:{line}: {target}", file.path));
            } else if let Some(page) = files.iter().find(|page| Path::new(&page.path) == path)
                && !fragment.is_empty()
                && !page.text.lines().any(|row| row.starts_with('#') && anchor(row) == fragment)
            {
                dead.push(format!("{}:{line}: no heading `{fragment}` in {}", file.path, page.path));
            }
        }
    }
    none(&dead, "Mend or drop the links.");
}

#[test]
fn every_file_that_a_document_names_exists() {
    let files = files();
    let top: BTreeSet<&str> = files.iter().filter_map(|file| file.path.split('/').next()).collect();
    let names: BTreeSet<&str> = files.iter().map(File::name).collect();
    // A path of ours begins with something at the root; anything else in backticks is somebody else's.
    let quoted = Regex::new(r"[`\s](\.?[\w./-]*[\w/])[`\s]").unwrap();
    let mut missing = Vec::new();
    for file in documents(&files) {
        let folder = Path::new(&file.path).parent().unwrap();
        for captures in quoted.captures_iter(&file.text) {
            let path = captures[1].trim_start_matches("./").trim_end_matches('/');
            let first = path.split('/').next().unwrap();
            let there = |path: &Path| root().join(tidy_path(path)).exists();
            let lost = if path.contains('/') {
                top.contains(first) && !there(Path::new(path)) && !there(&folder.join(path))
            } else {
                path.ends_with(".rs") && !names.contains(path)
            };
            if lost {
                let line = line_of(&file.text, captures.get(1).unwrap().start());
                missing.push(format!("{}:{line}: {}", file.path, &captures[1]));
            }
        }
    }
    none(&missing, "There is no such file.");
}

#[test]
fn the_changelog_has_a_place_for_what_comes_next() {
    let files = files();
    let text = &document(&files, "CHANGELOG.md").text;
    let first = text.lines().find(|line| line.starts_with("## ")).unwrap_or_default();
    assert_eq!(first, "## [Unreleased]", "the newest section of CHANGELOG.md");
}

#[test]
fn the_readme_says_how_to_test_and_ci_can_read_it() {
    let files = files();
    let readme = &document(&files, "README.md").text;
    let marked = Regex::new(r"<!-- ci:test -->\n```sh\n([^`]+)```\n<!-- /ci:test -->").unwrap();
    assert_eq!(marked.captures_iter(readme).count(), 1, "one marked block in README.md");
    assert!(document(&files, ".ci/run").text.contains("ci:test"));
}
