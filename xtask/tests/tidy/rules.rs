//! The rules as data: ids that can be stored for ever, files named after their topics.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::tree::{File, files, none};

/// Our rule files, parsed.
fn rule_files() -> Vec<(File, toml::Table)> {
    files()
        .into_iter()
        .filter(|file| file.path.starts_with("crates/diagnosis/rules/") && file.extension() == "toml")
        .map(|file| {
            let table = file.text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.path));
            (file, table)
        })
        .collect()
}

fn rules(table: &toml::Table) -> impl Iterator<Item = &toml::Table> {
    table.get("rule").and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_table)
}

fn text<'a>(rule: &'a toml::Table, key: &str) -> &'a str {
    rule.get(key).and_then(toml::Value::as_str).unwrap_or_default()
}

#[test]
fn every_rule_has_an_id_of_its_own() {
    let shape = Regex::new(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*\.[a-z0-9]+(-[a-z0-9]+)*$").unwrap();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (file, table) in &rule_files() {
        for rule in rules(table) {
            let id = text(rule, "id");
            if !shape.is_match(id) {
                wrong.push(format!("{}: `{id}` is not topic.kebab-case", file.path));
            }
            if let Some(other) = seen.insert(id.to_owned(), file.path.clone()) {
                wrong.push(format!("{}: `{id}` stands in {other} too", file.path));
            }
        }
    }
    none(&wrong, "Ids are stored with every diagnosis: unique and stable.");
}

#[test]
fn a_topic_lives_in_one_place() {
    let mut homes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, table) in &rule_files() {
        // `java.toml` and `java-linkage.toml` are one place, for they stand side by side.
        let place = file.name().trim_end_matches(".toml").split('-').next().unwrap().to_owned();
        for rule in rules(table) {
            let topic = text(rule, "id").split('.').next().unwrap_or_default().to_owned();
            homes.entry(topic).or_default().insert(place.clone());
        }
    }
    let scattered: Vec<String> = homes
        .iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(topic, places)| format!("`{topic}.` in files of {places:?}"))
        .collect();
    none(&scattered, "Somebody who looks for a rule must find it by its topic.");
}

#[test]
fn every_rule_file_is_introduced_and_every_rule_explained() {
    let mut wrong = Vec::new();
    for (file, table) in &rule_files() {
        if !file.text.starts_with("# ") {
            wrong.push(format!("{}: opens without a `# ` line that says what it is for", file.path));
        }
        if rules(table).next().is_none() {
            wrong.push(format!("{}: holds no rule", file.path));
        }
        for rule in rules(table).filter(|rule| text(rule, "why").is_empty()) {
            wrong.push(format!("{}: {} has no `why`", file.path, text(rule, "id")));
        }
    }
    none(&wrong, "See crates/diagnosis/rules/README.md.");
}
