//! The crates: who may know whom, what each may bring in, and under which licence.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::tree::{files, none, root};

/// The picture of ARCHITECTURE.md: each crate and the crates of ours that it may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("coroner-cli", &["coroner-diagnosis", "coroner-lab", "coroner-llm", "coroner-server", "coroner-store"]),
    ("coroner-diagnosis", &[]),
    ("coroner-lab", &["coroner-diagnosis", "coroner-store"]),
    ("coroner-llm", &["coroner-diagnosis"]),
    ("coroner-server", &["coroner-diagnosis", "coroner-store"]),
    ("coroner-store", &["coroner-diagnosis"]),
    ("xtask", &[]),
];

/// What only some crates may bring in: the knowledge that the design gives to one place.
const ONLY: &[(&[&str], &[&str])] = &[
    (&["coroner-store"], &["rusqlite", "aws-sdk-dynamodb"]),
    (&["coroner-lab"], &["aws-sdk-sqs"]),
    (&["coroner-llm"], &["hyper", "ureq"]),
    // models are asked, and webhooks called
    (&["coroner-llm", "coroner-server", "coroner-store"], &["reqwest"]),
    (&["coroner-server"], &["lettre"]),
    (&["coroner-cli"], &["clap", "anyhow"]),
];

/// What the pure core must never depend on: runtimes, networks, clocks, randomness.
const IMPURE: &[&str] =
    &["tokio", "futures", "reqwest", "rusqlite", "jiff", "chrono", "time", "rand", "uuid"];

fn packages() -> Vec<Value> {
    metadata(&["--no-deps"])
}

fn metadata(options: &[&str]) -> Vec<Value> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1"])
        .args(options)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap()
}

/// Names of direct dependencies; `kinds` are cargo's: null for normal, `dev`, `build`.
fn dependencies(package: &Value) -> impl Iterator<Item = (&str, bool)> {
    package["dependencies"].as_array().unwrap().iter().map(|dep| (name(dep), dep["kind"] == "dev"))
}

#[test]
fn crates_depend_on_each_other_only_as_drawn() {
    let allowed: BTreeMap<_, _> = EDGES.iter().copied().collect();
    let packages = packages();
    let ours: Vec<&str> = packages.iter().map(name).collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let Some(may_know) = allowed.get(name(package)) else {
            wrong.push(format!("{} is not in the picture", name(package)));
            continue;
        };
        for (dependency, _) in dependencies(package).filter(|(dep, _)| ours.contains(dep)) {
            if !may_know.contains(&dependency) {
                wrong.push(format!("{} -> {dependency}", name(package)));
            }
        }
    }
    none(
        &wrong,
        "The design draws no such edge: move the type to coroner-diagnosis, or the wiring to coroner-cli.",
    );
}

#[test]
fn knowledge_stays_where_the_design_put_it() {
    let mut wrong = Vec::new();
    for package in &packages() {
        // Tests may start a server or a runtime of their own.
        for (dependency, _) in dependencies(package).filter(|(_, dev)| !dev) {
            let owners = ONLY.iter().find(|(_, deps)| deps.contains(&dependency)).map(|(owners, _)| *owners);
            if owners.is_some_and(|owners| !owners.contains(&name(package))) {
                wrong.push(format!("{} uses {dependency}, which is {owners:?}'s", name(package)));
            }
            if name(package) == "coroner-diagnosis" && IMPURE.contains(&dependency) {
                wrong.push(format!("the pure core uses {dependency}"));
            }
        }
    }
    none(&wrong, "See the invariants in ARCHITECTURE.md.");
}

#[test]
fn every_crate_says_what_it_is_and_keeps_to_the_house() {
    let mut wrong = Vec::new();
    for package in &packages() {
        let of = |field: &str| package[field].as_str().unwrap_or_default();
        for (field, expected) in [("license", "MIT OR Apache-2.0"), ("edition", "2024")] {
            if of(field) != expected {
                wrong.push(format!("{}: {field} is `{}`, not `{expected}`", name(package), of(field)));
            }
        }
        if of("description").len() < 20 {
            wrong.push(format!("{}: no description", name(package)));
        }
        let manifest = std::fs::read_to_string(of("manifest_path")).unwrap();
        if !manifest.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{}: without the workspace's lints", name(package)));
        }
        let integration: Vec<&str> = package["targets"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|target| target["kind"][0] == "test" && name(target) != "slow")
            .map(name)
            .collect();
        if integration.len() > 1 {
            wrong.push(format!("{}: more than one test binary to link: {integration:?}", name(package)));
        }
    }
    none(&wrong, "Mend the crate's Cargo.toml.");
}

#[test]
fn both_licences_are_here() {
    let files = files();
    let text = |path: &str| files.iter().find(|file| file.path == path).map_or("", |file| &file.text);
    assert!(text("LICENSE-MIT").contains("Permission is hereby granted, free of charge"));
    assert!(text("LICENSE-APACHE").contains("TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION"));
}

/// What `deny.toml` says, checked here for licences, bans and sources: cargo-deny need not be installed for that.
#[test]
fn nothing_comes_in_that_deny_toml_refuses() {
    let rules: toml::Table = std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let list = |table: &str, key: &str| rules[table][key].as_array().unwrap().clone();
    let allowed: Vec<String> =
        list("licenses", "allow").iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let banned: Vec<String> =
        list("bans", "deny").iter().map(|ban| ban["name"].as_str().unwrap().to_owned()).collect();
    assert!(!allowed.is_empty() && !banned.is_empty());

    let mut wrong = Vec::new();
    for package in &metadata(&["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]) {
        let Some(source) = package["source"].as_str() else { continue };
        let who = format!("{} {}", name(package), package["version"].as_str().unwrap());
        if !source.starts_with("registry+https://github.com/rust-lang/crates.io-index") {
            wrong.push(format!("{who} comes from {source}"));
        }
        if banned.iter().any(|ban| ban == name(package)) {
            wrong.push(format!("{who} is banned"));
        }
        let licence = package["license"].as_str().unwrap_or_default();
        // The lax mode reads the old `MIT/Apache-2.0` too.
        let accepted = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX)
            .is_ok_and(|terms| terms.evaluate(|term| allowed.contains(&term.to_string())));
        if !accepted {
            wrong.push(format!("{who} is under `{licence}`"));
        }
    }
    none(&wrong, "See deny.toml.");
}
