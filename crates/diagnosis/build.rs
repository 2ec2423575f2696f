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
    let mut table = String::from("static BUILT_IN: &[BuiltIn] = &[\n");
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
                table,
                "BuiltIn {{ id: {:?}, category: Category::{:?}, severity: Severity::{:?}, origin: Origin::{:?}, retryable: {}, \
                 strength: Strength::{:?}, cascade: {}, why: {:?}, file: {name:?}, patterns: &{:?}, literals: &[{}], unless: &{:?}, near: &{:?}, \
                 within: {}, kind: &{:?}, code: &{:?}, code_without: &{:?}, cause: &{:?}, fix: &{:?}, examples: &{:?}, counterexamples: &{:?} }},",
                spec.id,
                spec.category,
                spec.severity,
                spec.origin,
                spec.retryable,
                spec.strength,
                spec.cascade,
                spec.why,
                spec.patterns,
                rule.literals.iter().map(|p| format!("&{p:?}")).collect::<Vec<_>>().join(", "),
                spec.unless,
                spec.near,
                spec.within,
                spec.kind,
                spec.code,
                spec.code_without,
                spec.cause,
                spec.fix,
                spec.examples,
                spec.counterexamples,
            )?;
        }
    }
    table.push_str("];\n");
    for fault in &faults {
        println!("cargo::error={fault}");
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("built_in.rs"), table)?;
    Ok(())
}
