//! Compiles the rule files of `rules/` into a table, so that no TOML is read and no pattern is parsed when the program
//! starts. A rule that is not sound stops the build and is named with file, line and reason.
#![expect(clippy::disallowed_methods, reason = "a build script reads files and its environment")]
#![expect(dead_code, unreachable_pub, reason = "these files are the crate's; the build needs a part of them")]

#[path = "src/terms.rs"]
mod terms;
mod rules {
    #[path = "../src/rules/literal.rs"]
    pub(crate) mod literal;
    #[path = "../src/rules/spec.rs"]
    pub(crate) mod spec;
    #[path = "../src/rules/template.rs"]
    pub(crate) mod template;
}

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    for path in ["rules", "src/terms.rs", "src/rules"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("rules");
    let mut files: Vec<_> =
        fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?.iter().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    files.sort();
    let mut faults = Vec::new();
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut table = Table::default();
    let mut built_in = String::new();
    for path in files {
        let name = path.file_name().ok_or("a rule file without a name")?.to_string_lossy().into_owned();
        for rule in rules::spec::read(&name, &fs::read_to_string(&path)?, &mut faults) {
            let spec = rule.spec;
            if let Some(other) = seen.insert(spec.id.clone(), name.clone()) {
                faults.push(rules::spec::RuleFault {
                    file: name.clone(),
                    line: rule.line,
                    reason: format!("the id is taken by a rule of {other}; ids are unique"),
                    rule: Some(spec.id),
                });
                continue;
            }
            writeln!(
                built_in,
                "BuiltIn {{ id: {}, category: Category::{:?}, severity: Severity::{:?}, origin: Origin::{:?}, retryable: {}, \
                 strength: Strength::{:?}, cascade: {}, why: {}, file: {}, patterns: {}, literals: {}, unless: {}, near: {}, \
                 within: {}, kind: {}, code: {}, code_without: {}, cause: {}, fix: {}, examples: {}, counterexamples: {} }},",
                table.text(&spec.id),
                spec.category,
                spec.severity,
                spec.origin,
                spec.retryable,
                spec.strength,
                spec.cascade,
                table.text(&spec.why),
                table.text(&name),
                table.list(&spec.patterns),
                table.lists(&rule.literals),
                table.list(&spec.unless),
                table.list(&spec.near),
                spec.within,
                table.list(&spec.kind),
                table.list(&spec.code),
                table.list(&spec.code_without),
                table.list(&spec.cause),
                table.list(&spec.fix),
                table.list(&spec.examples),
                table.list(&spec.counterexamples),
            )?;
        }
    }
    for fault in &faults {
        println!("cargo::error={fault}");
    }
    let Table { text, texts, lists } = table;
    let code = format!(
        "static TEXT: &str = {text:?};\nstatic TEXTS: &[Text] = &[{}];\nstatic LISTS: &[List] = &[{}];\n\
         static BUILT_IN: &[BuiltIn] = &[\n{built_in}];\n",
        texts.join(", "),
        lists.join(", "),
    );
    fs::write(Path::new(&env::var("OUT_DIR")?).join("built_in.rs"), code)?;
    Ok(())
}

/// Everything that rules say, one behind the other, and numbers that stand for its pieces.
#[derive(Default)]
struct Table {
    text: String,
    texts: Vec<String>,
    lists: Vec<String>,
}

impl Table {
    fn text(&mut self, text: &str) -> String {
        let from = self.text.len();
        self.text.push_str(text);
        format!("Text({from}, {})", text.len())
    }

    fn list(&mut self, texts: &[String]) -> String {
        let from = self.texts.len();
        for text in texts {
            let text = self.text(text);
            self.texts.push(text);
        }
        format!("List({from}, {})", texts.len())
    }

    fn lists(&mut self, lists: &[Vec<String>]) -> String {
        let from = self.lists.len();
        for list in lists {
            let list = self.list(list);
            self.lists.push(list);
        }
        format!("List({from}, {})", lists.len())
    }
}
