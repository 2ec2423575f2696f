//! Source files: short, introduced, named after what they are about, without loose ends.

use std::io::Write;
use std::process::{Command, Stdio};

use regex::Regex;

use crate::tree::{File, files, line_of, none};

/// What people wrote: specimens are meant to be broken, and captured logs are as long as they are.
fn sources(extensions: &[&str]) -> Vec<File> {
    let script = |file: &File| file.extension().is_empty() && file.text.starts_with("#!");
    files()
        .into_iter()
        .filter(|file| !file.is_specimen())
        .filter(|file| extensions.contains(&file.extension()) || (extensions.contains(&"sh") && script(file)))
        .collect()
}

#[test]
fn no_file_is_too_long_to_read_in_one_go() {
    let long: Vec<String> = sources(&["rs", "js", "mjs", "ts", "py", "css", "sh", "toml"])
        .iter()
        .map(|file| (file, if file.extension() == "toml" { 600 } else { 500 }))
        .filter(|(file, limit)| file.text.lines().count() > *limit)
        .map(|(file, limit)| {
            format!("{}: {} lines, the limit is {limit}", file.path, file.text.lines().count())
        })
        .collect();
    none(&long, "Split them by what they are about.");
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let introduced =
        |file: &File| file.text.strip_prefix("//! ").is_some_and(|rest| rest.find('\n') > Some(8));
    let silent: Vec<String> =
        sources(&["rs"]).into_iter().filter(|file| !introduced(file)).map(|file| file.path).collect();
    none(&silent, "Open each with `//! ` and a sentence.");
}

#[test]
fn no_file_is_named_after_nothing() {
    let empty_names =
        ["utils", "util", "types", "common", "helpers", "helper", "prelude", "misc", "imp", "shared"];
    let named: Vec<String> = sources(&["rs", "js", "mjs", "ts", "py", "css", "sh", "toml"])
        .iter()
        .filter(|file| {
            file.path.split('/').any(|part| empty_names.contains(&part.split('.').next().unwrap()))
        })
        .map(|file| file.path.clone())
        .collect();
    none(&named, "Name file and folder after what they are about.");
}

#[test]
fn no_loose_ends() {
    let loose = [
        (r"\b(todo|unimplemented)!\s*[(\[{]", "unfinished"),
        (r"#\[\s*ignore\s*\]", "ignored without a reason: #[ignore = \"why\"]"),
        (r"#!?\[\s*allow\s*\(", "use #[expect(lint, reason = \"...\")]"),
        (r"\b(FIXME|XXX|HACK)\b:?\s", "an issue, not a comment"),
    ]
    .map(|(pattern, why)| (Regex::new(pattern).unwrap(), why));
    let mut found = Vec::new();
    // This folder's files name the patterns themselves.
    for file in sources(&["rs"]).iter().filter(|file| !file.path.starts_with("xtask/")) {
        for (pattern, why) in &loose {
            for hit in pattern.find_iter(&file.text) {
                found.push(format!(
                    "{}:{}: {} ({why})",
                    file.path,
                    line_of(&file.text, hit.start()),
                    hit.as_str()
                ));
            }
        }
    }
    none(&found, "Finish them.");
}

#[test]
fn every_script_can_be_read() {
    let mut wrong = Vec::new();
    for file in sources(&["sh", "py"]) {
        let first = file.text.lines().next().unwrap_or_default();
        let reads: &[&str] = match file.extension() == "py" || first.contains("python") {
            true => &["python3", "-c", "import ast, sys; ast.parse(sys.stdin.read())"],
            false => &["bash", "-n"],
        };
        let mut command = Command::new(reads[0]);
        command.args(&reads[1..]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(file.text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
            wrong.push(format!("{}: {said}", file.path));
        }
    }
    none(&wrong, "A script that can't be read does nothing.");
}

#[test]
fn every_script_stops_at_its_first_error() {
    let careless: Vec<String> = sources(&["sh"])
        .iter()
        .filter(|file| file.text.lines().next().is_some_and(|first| first.contains("sh")))
        .filter(|file| !file.text.lines().any(|line| line == "set -euo pipefail"))
        .map(|file| file.path.clone())
        .collect();
    none(&careless, "Put `set -euo pipefail` after the opening comment.");
}
