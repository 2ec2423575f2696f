//! From TOML to rules: every fault is named with file, line, rule and reason, and none hides another.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aho_corasick::AhoCorasick;
use serde::Deserialize;

use super::{Pattern, Rule, RuleSet, Strength, Template, literal};
use crate::terms::{Category, Origin, Severity};

/// The files of `crates/diagnosis/rules`, compiled in; written by build.rs.
const BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/rule_files.rs"));

/// A user's rule file.
#[derive(Debug, Clone, Copy)]
pub struct RuleFile<'a> {
    /// For messages.
    pub name: &'a str,
    /// Its TOML.
    pub text: &'a str,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSpec {
    id: String,
    category: Category,
    severity: Severity,
    origin: Origin,
    #[serde(default)]
    retryable: bool,
    strength: Strength,
    why: String,
    #[serde(rename = "match")]
    patterns: Vec<String>,
    #[serde(default)]
    unless: Vec<String>,
    #[serde(default)]
    near: Vec<String>,
    #[serde(default = "twenty")]
    within: usize,
    cause: Vec<String>,
    fix: Vec<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    counterexamples: Vec<String>,
}

fn twenty() -> usize {
    20
}

pub(super) fn load(own: &[RuleFile<'_>]) -> Result<RuleSet, Vec<RuleFault>> {
    let mut faults = Vec::new();
    let mut rules: Vec<(Rule, Vec<String>)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    let files = BUILT_IN.iter().map(|(name, text)| (RuleFile { name, text }, false));
    for (file, is_own) in files.chain(own.iter().map(|f| (*f, true))) {
        for (rule, literals, line) in read(file, is_own, &mut faults) {
            match index.get(&rule.id) {
                Some(i) if is_own && !rules[*i].0.own => rules[*i] = (rule, literals),
                Some(i) => faults.push(RuleFault {
                    file: file.name.to_owned(),
                    line,
                    reason: format!("the id is taken by a rule of {}; ids are unique", rules[*i].0.file),
                    rule: Some(rule.id),
                }),
                None => {
                    index.insert(rule.id.clone(), rules.len());
                    rules.push((rule, literals));
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut starts: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (i, (_, literals)) in rules.iter().enumerate() {
        for literal in literals {
            // rules are counted in thousands, never in billions
            starts.entry(literal).or_default().push(i as u32);
        }
    }
    let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(starts.keys());
    match automaton {
        Ok(literals) => {
            let starts = starts.into_values().collect();
            Ok(RuleSet { rules: rules.into_iter().map(|(r, _)| r).collect(), literals, starts })
        }
        Err(e) => Err(vec![RuleFault {
            file: own.first().map_or("built in", |f| f.name).to_owned(),
            line: 1,
            rule: None,
            reason: format!("the rules together are too large: {e}"),
        }]),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count()
}

fn read(file: RuleFile<'_>, own: bool, faults: &mut Vec<RuleFault>) -> Vec<(Rule, Vec<String>, usize)> {
    let spec: FileSpec = match toml::from_str(file.text) {
        Ok(spec) => spec,
        Err(e) => {
            let offset = e.span().map_or(0, |s| s.start);
            faults.push(RuleFault {
                file: file.name.to_owned(),
                line: line_of(file.text, offset),
                rule: id_before(file.text, offset),
                reason: e.message().to_owned(),
            });
            return Vec::new();
        }
    };
    let mut rules = Vec::new();
    // the tables come in the order of the file, so their lines are counted in one pass
    let mut counted = (0, 1);
    for spanned in spec.rule {
        let start = spanned.span().start.min(file.text.len());
        counted = (start, counted.1 + line_of(&file.text[counted.0..start], usize::MAX) - 1);
        let line = counted.1;
        let spec = spanned.into_inner();
        let id = spec.id.clone();
        match build(spec, file.name, own) {
            Ok((rule, literals)) => rules.push((rule, literals, line)),
            Err(reasons) => faults.extend(reasons.into_iter().map(|reason| RuleFault {
                file: file.name.to_owned(),
                line,
                rule: Some(id.clone()),
                reason,
            })),
        }
    }
    rules
}

/// The id of the rule in which a TOML fault stands.
fn id_before(text: &str, offset: usize) -> Option<String> {
    let start = text[..text.floor_char_boundary(offset)].rfind("[[rule]]")?;
    let id = text[start..].lines().find_map(|l| l.trim().strip_prefix("id"))?;
    Some(id.trim_matches([' ', '=', '"', '\'']).to_owned()).filter(|s| !s.is_empty())
}

fn build(spec: RuleSpec, file: &str, own: bool) -> Result<(Rule, Vec<String>), Vec<String>> {
    let mut wrong = Vec::new();
    let mut literals = Vec::new();
    let mut bound: Option<BTreeSet<String>> = None;
    let mut known: BTreeSet<String> = ["at", "error", "exit"].map(String::from).into();
    for source in &spec.patterns {
        match regex_syntax::parse(source) {
            Err(e) => wrong.push(format!("match: {}", e.to_string().replace('\n', " "))),
            Ok(hir) => match literal::required(&hir) {
                Some(found) => literals.extend(found),
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
    for source in spec.unless.iter().chain(&spec.near) {
        // ours are compiled by a test
        if own && let Err(e) = regex::Regex::new(source) {
            wrong.push(format!("unless, near: {}", e.to_string().replace('\n', " ")));
        }
        known.extend(capture_names(source));
    }
    if spec.patterns.is_empty() {
        wrong.push("match: needs at least one pattern".into());
    }
    let bound = bound.unwrap_or_default();
    let mut templates = |what: &str, sources: &[String]| -> Vec<Template> {
        let templates: Vec<Template> = sources.iter().map(|s| Template::new(s)).collect();
        for hole in templates.iter().flat_map(Template::holes).filter(|h| !known.contains(*h)) {
            wrong.push(format!("{what}: nothing captures {{{hole}}}"));
        }
        match templates.last() {
            None => wrong.push(format!("{what}: needs at least one sentence")),
            Some(last) => {
                for hole in last.holes() {
                    if known.contains(hole) && !bound.contains(hole) && !matches!(hole, "at" | "error" | "exit") {
                        wrong.push(format!(
                            "{what}: the last sentence must always do, but {{{hole}}} is not captured by every pattern"
                        ));
                    }
                }
            }
        }
        templates
    };
    let cause = templates("cause", &spec.cause);
    let fix = templates("fix", &spec.fix);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    literals.sort();
    literals.dedup();
    let patterns = |sources: Vec<String>| sources.into_iter().map(Pattern::new).collect();
    let rule = Rule {
        id: spec.id,
        category: spec.category,
        severity: spec.severity,
        origin: spec.origin,
        retryable: spec.retryable,
        strength: spec.strength,
        why: spec.why,
        file: file.to_owned(),
        own,
        examples: spec.examples,
        counterexamples: spec.counterexamples,
        patterns: patterns(spec.patterns),
        unless: patterns(spec.unless),
        near: patterns(spec.near),
        within: spec.within,
        cause,
        fix,
    };
    Ok((rule, literals))
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[rule]]
id = "mine.disk"
category = "resource_error"
severity = "critical"
origin = "infrastructure"
strength = "exact"
why = "ours"
match = ['quota of (?P<who>\w+) is spent']
cause = ["The quota of {who} is spent{at}."]
fix = ["Ask for more."]
"#;

    fn faults(text: &str) -> Vec<String> {
        let file = RuleFile { name: "mine.toml", text };
        RuleSet::new(&[file]).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn faults_name_rule_line_and_reason() {
        assert_eq!(faults(GOOD), Vec::<String>::new());
        let cases = [
            (GOOD.replace("[{who}", "["), ""),
            (GOOD.replace("(?P<who>", "(?P<name>"), "mine.toml:2: rule mine.disk: cause: nothing captures {who}"),
            (GOOD.replace("'quota of ", "'q((?P<who>"), "mine.toml:2: rule mine.disk: match: regex parse error"),
            (GOOD.replace("resource_error", "disk"), "mine.toml:4: rule mine.disk: unknown variant `disk`"),
            (GOOD.replace("why", "wyh"), "mine.toml:8: rule mine.disk: unknown field `wyh`"),
            (GOOD.replace("['quota of (?P<who>\\w+) is spent']", r"['(?P<who>\w+)']"), "has no text of at least 3"),
            (format!("{GOOD}{GOOD}"), "the id is taken by a rule of mine.toml"),
            (GOOD.replace(" = [\"Ask for more.\"]", " = []"), "fix: needs at least one sentence"),
            (GOOD.replace("origin = ", "origin "), "mine.toml:6: rule mine.disk: "),
        ];
        for (text, want) in cases {
            let got = faults(&text).join("\n");
            assert!(got.contains(want), "{want:?} not in {got:?}");
        }
    }
}
