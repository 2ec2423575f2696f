//! A rule as its TOML says it, and what is wrong with it. Shared by the build script, which compiles our own rules into
//! a table, and by the loading of a user's.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::literal;
use super::template::Template;
use crate::terms::{Category, Origin, Severity};

/// How precisely a rule names what happened; between rules that match in one log it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// The consequence of a failure elsewhere.
    Symptom,
    /// Words that make a kind of failure likely; speaks only where nothing else does.
    Hint,
    /// Something failed.
    Generic,
    /// A kind of failure without its reason.
    Typed,
    /// The very mechanism.
    Exact,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{reason}", .rule.as_ref().map(|r| format!("rule {r}: ")).unwrap_or_default())]
pub struct RuleFault {
    /// The file.
    pub file: String,
    /// 1-based line of the file.
    pub line: usize,
    /// The rule's id, where it has one.
    pub rule: Option<String>,
    /// Why, and what would be right.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    #[serde(default)]
    rule: Vec<toml::Spanned<RuleSpec>>,
}

/// One `[[rule]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleSpec {
    pub(crate) id: String,
    pub(crate) category: Category,
    pub(crate) severity: Severity,
    pub(crate) origin: Origin,
    #[serde(default)]
    pub(crate) retryable: bool,
    pub(crate) strength: Strength,
    #[serde(default)]
    pub(crate) cascade: bool,
    pub(crate) why: String,
    #[serde(rename = "match")]
    pub(crate) patterns: Vec<String>,
    #[serde(default)]
    pub(crate) unless: Vec<String>,
    #[serde(default)]
    pub(crate) near: Vec<String>,
    #[serde(default = "twenty")]
    pub(crate) within: usize,
    #[serde(default, rename = "type")]
    pub(crate) kind: Vec<String>,
    #[serde(default)]
    pub(crate) code: Vec<String>,
    #[serde(default)]
    pub(crate) code_without: Vec<String>,
    pub(crate) cause: Vec<String>,
    pub(crate) fix: Vec<String>,
    #[serde(default)]
    pub(crate) examples: Vec<String>,
    #[serde(default)]
    pub(crate) counterexamples: Vec<String>,
}

fn twenty() -> usize {
    20
}

/// A rule whose TOML is sound.
pub(crate) struct Sound {
    pub(crate) spec: RuleSpec,
    /// for each pattern the literals of which every match contains one, in lower case
    pub(crate) literals: Vec<Vec<String>>,
    /// 1-based, in its file
    pub(crate) line: usize,
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count()
}

/// The rules of a file; what is wrong with others goes into `faults`.
pub(crate) fn read(name: &str, text: &str, faults: &mut Vec<RuleFault>) -> Vec<Sound> {
    let spec: FileSpec = match toml::from_str(text) {
        Ok(spec) => spec,
        Err(e) => {
            let offset = e.span().map_or(0, |s| s.start);
            faults.push(RuleFault {
                file: name.to_owned(),
                line: line_of(text, offset),
                rule: id_before(text, offset),
                reason: e.message().to_owned(),
            });
            return Vec::new();
        }
    };
    let mut rules = Vec::new();
    // the tables come in the order of the file, so their lines are counted in one pass
    let mut counted = (0, 1);
    for spanned in spec.rule {
        let start = spanned.span().start.min(text.len());
        counted = (start, counted.1 + line_of(&text[counted.0..start], usize::MAX) - 1);
        let line = counted.1;
        let spec = spanned.into_inner();
        match check(&spec) {
            Ok(literals) => rules.push(Sound { spec, literals, line }),
            Err(reasons) => faults.extend(reasons.into_iter().map(|reason| RuleFault {
                file: name.to_owned(),
                line,
                rule: Some(spec.id.clone()),
                reason,
            })),
        }
    }
    rules
}

/// The id of the rule in which a TOML fault stands.
fn id_before(text: &str, offset: usize) -> Option<String> {
    // a missing field is told of at the head of its table
    let end = text.floor_char_boundary((offset + "[[rule]]".len()).min(text.len()));
    let start = text[..end].rfind("[[rule]]")?;
    let id = text[start..].lines().find_map(|l| l.trim().strip_prefix("id"))?;
    Some(id.trim_matches([' ', '=', '"', '\'']).to_owned()).filter(|s| !s.is_empty())
}

/// The literals that start the rule, or everything that is wrong with it.
fn check(spec: &RuleSpec) -> Result<Vec<Vec<String>>, Vec<String>> {
    let mut wrong = Vec::new();
    let mut literals = Vec::new();
    let mut bound: Option<BTreeSet<String>> = None;
    let mut known: BTreeSet<String> = ["at", "error", "exit"].map(String::from).into();
    for source in &spec.patterns {
        match regex_syntax::parse(source) {
            Err(e) => wrong.push(format!("match: {}", e.to_string().replace('\n', " "))),
            Ok(hir) => match literal::required(&hir) {
                Some(found) => literals.push(found),
                None => wrong.push(format!(
                    "match: `{source}` has no text of at least {} characters that every match contains; name some",
                    literal::SHORTEST
                )),
            },
        }
        let names = capture_names(source);
        known.extend(names.iter().cloned());
        bound = Some(match bound {
            None => names,
            Some(b) => b.intersection(&names).cloned().collect(),
        });
    }
    for source in
        spec.unless.iter().chain(&spec.near).chain(&spec.kind).chain(&spec.code).chain(&spec.code_without)
    {
        if let Err(e) = regex_syntax::parse(source) {
            wrong.push(format!("unless, near, type, code: {}", e.to_string().replace('\n', " ")));
        }
        known.extend(capture_names(source));
    }
    if spec.patterns.is_empty() {
        wrong.push("match: needs at least one pattern".into());
    }
    let bound = bound.unwrap_or_default();
    let mut templates = |what: &str, sources: &[String]| {
        let templates: Vec<Template> = sources.iter().map(|s| Template::new(s)).collect();
        for hole in templates.iter().flat_map(Template::holes).filter(|h| !known.contains(*h)) {
            wrong.push(format!("{what}: nothing captures {{{hole}}}"));
        }
        match templates.last() {
            None => wrong.push(format!("{what}: needs at least one sentence")),
            Some(last) => {
                for hole in last.holes() {
                    if known.contains(hole)
                        && !bound.contains(hole)
                        && !matches!(hole, "at" | "error" | "exit")
                    {
                        wrong.push(format!(
                            "{what}: the last sentence must always do, but {{{hole}}} is not captured by every pattern"
                        ));
                    }
                }
            }
        }
    };
    templates("cause", &spec.cause);
    templates("fix", &spec.fix);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(literals)
}

/// The names in `(?P<name>` and `(?<name>`.
fn capture_names(pattern: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (i, _) in pattern.match_indices("(?") {
        let rest = &pattern[i + 2..];
        let rest = rest.strip_prefix('P').unwrap_or(rest);
        if let Some((name, _)) = rest.strip_prefix('<').and_then(|r| r.split_once('>')) {
            names.insert(name.to_owned());
        }
    }
    names
}
