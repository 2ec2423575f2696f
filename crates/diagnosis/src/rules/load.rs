//! All rules together: ours from the table that the build script made, a user's own from TOML.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::grams::Grams;
use super::spec::{self, RuleFault, RuleSpec, Strength};
use super::{Rule, RuleSet, Start};
use crate::pattern::Pattern;
use crate::terms::{Category, Origin, Severity};

/// A piece of `TEXT`: where it begins, and its length in bytes. A reference would have to be mended by the loader whenever
/// the program starts; there are sixty thousand.
#[derive(Clone, Copy)]
struct Text(u32, u32);

impl Text {
    fn get(self) -> Cow<'static, str> {
        let from = self.0 as usize;
        Cow::Borrowed(&TEXT[from..from + self.1 as usize])
    }
}

/// A piece of `TEXTS`, or of `LISTS`: where it begins, and its length.
#[derive(Clone, Copy)]
struct List(u32, u32);

impl List {
    fn of<T>(self, all: &'static [T]) -> &'static [T] {
        let from = self.0 as usize;
        &all[from..from + self.1 as usize]
    }

    fn get(self) -> Vec<Cow<'static, str>> {
        self.of(TEXTS).iter().map(|text| text.get()).collect()
    }
}

/// A rule of ours, as the build script wrote it.
struct BuiltIn {
    id: Text,
    category: Category,
    severity: Severity,
    origin: Origin,
    retryable: bool,
    strength: Strength,
    cascade: bool,
    why: Text,
    file: Text,
    patterns: List,
    /// of lists
    literals: List,
    unless: List,
    near: List,
    within: usize,
    kind: List,
    code: List,
    code_without: List,
    cause: List,
    fix: List,
    examples: List,
    counterexamples: List,
}

// `TEXT`, `TEXTS`, `LISTS` and `BUILT_IN`, from the files of crates/diagnosis/rules
include!(concat!(env!("OUT_DIR"), "/built_in.rs"));

/// A user's rule file.
#[derive(Debug, Clone, Copy)]
pub struct RuleFile<'a> {
    /// For messages.
    pub name: &'a str,
    /// Its TOML.
    pub text: &'a str,
}

pub(super) fn load(own: &[RuleFile<'_>]) -> Result<RuleSet, Vec<RuleFault>> {
    let mut faults = Vec::new();
    let mut rules: Vec<Rule> = BUILT_IN.iter().map(Rule::from).collect();
    let mut literals: Vec<Literals> = BUILT_IN.iter().map(|b| Literals::BuiltIn(b.literals)).collect();
    let mut index: HashMap<Cow<'static, str>, usize> = HashMap::new();
    if !own.is_empty() {
        index.extend(rules.iter().enumerate().map(|(i, r)| (r.id.clone(), i)));
    }
    for file in own {
        for sound in spec::read(file.name, file.text, &mut faults) {
            let rule = Rule::own(sound.spec, file.name);
            let starts = Literals::Own(sound.literals);
            match index.get(&rule.id) {
                Some(i) if !rules[*i].own => {
                    rules[*i] = rule;
                    literals[*i] = starts;
                }
                Some(i) => faults.push(RuleFault {
                    file: file.name.to_owned(),
                    line: sound.line,
                    reason: format!("the id is taken by a rule of {}; ids are unique", rules[*i].file),
                    rule: Some(rule.id.into_owned()),
                }),
                None => {
                    index.insert(rule.id.clone(), rules.len());
                    rules.push(rule);
                    literals.push(starts);
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut starts = Vec::with_capacity(8 * rules.len());
    for (rule, literals) in literals.into_iter().enumerate() {
        // rules are counted in thousands and patterns in dozens
        literals
            .each(|pattern, text| starts.push((text, Start { rule: rule as u32, pattern: pattern as u32 })));
    }
    Ok(RuleSet { literals: Arc::new(Grams::new(starts)), rules: rules.into(), silent: Arc::default() })
}

/// The literals of a rule's patterns.
enum Literals {
    BuiltIn(List),
    Own(Vec<Vec<String>>),
}

impl Literals {
    fn each(self, mut f: impl FnMut(usize, Cow<'static, str>)) {
        match self {
            Self::BuiltIn(all) => {
                for (i, pattern) in all.of(LISTS).iter().enumerate() {
                    pattern.of(TEXTS).iter().for_each(|literal| f(i, literal.get()));
                }
            }
            Self::Own(all) => {
                all.into_iter()
                    .enumerate()
                    .for_each(|(i, p)| p.into_iter().for_each(|l| f(i, Cow::Owned(l))));
            }
        }
    }
}

fn owned(all: Vec<String>) -> Vec<Cow<'static, str>> {
    all.into_iter().map(Cow::Owned).collect()
}

fn patterns(all: Vec<Cow<'static, str>>) -> Vec<Pattern> {
    all.into_iter().map(Pattern::new).collect()
}

impl From<&'static BuiltIn> for Rule {
    fn from(b: &'static BuiltIn) -> Self {
        Self {
            id: b.id.get(),
            category: b.category,
            severity: b.severity,
            origin: b.origin,
            retryable: b.retryable,
            strength: b.strength,
            cascade: b.cascade,
            why: b.why.get(),
            file: b.file.get(),
            own: false,
            examples: b.examples.get(),
            counterexamples: b.counterexamples.get(),
            patterns: patterns(b.patterns.get()),
            unless: patterns(b.unless.get()),
            near: patterns(b.near.get()),
            within: b.within,
            kind: patterns(b.kind.get()),
            code: patterns(b.code.get()),
            code_without: patterns(b.code_without.get()),
            cause: b.cause.get(),
            fix: b.fix.get(),
        }
    }
}

impl Rule {
    fn own(spec: RuleSpec, file: &str) -> Self {
        Self {
            id: Cow::Owned(spec.id),
            category: spec.category,
            severity: spec.severity,
            origin: spec.origin,
            retryable: spec.retryable,
            strength: spec.strength,
            cascade: spec.cascade,
            why: Cow::Owned(spec.why),
            file: Cow::Owned(file.to_owned()),
            own: true,
            examples: owned(spec.examples),
            counterexamples: owned(spec.counterexamples),
            patterns: patterns(owned(spec.patterns)),
            unless: patterns(owned(spec.unless)),
            near: patterns(owned(spec.near)),
            within: spec.within,
            kind: patterns(owned(spec.kind)),
            code: patterns(owned(spec.code)),
            code_without: patterns(owned(spec.code_without)),
            cause: owned(spec.cause),
            fix: owned(spec.fix),
        }
    }
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
            (
                GOOD.replace("(?P<who>", "(?P<name>"),
                "mine.toml:2: rule mine.disk: cause: nothing captures {who}",
            ),
            (
                GOOD.replace("'quota of ", "'q((?P<who>"),
                "mine.toml:2: rule mine.disk: match: regex parse error",
            ),
            (GOOD.replace("resource_error", "disk"), "mine.toml:4: rule mine.disk: unknown variant `disk`"),
            (GOOD.replace("why", "wyh"), "mine.toml:8: rule mine.disk: unknown field `wyh`"),
            (
                GOOD.replace("['quota of (?P<who>\\w+) is spent']", r"['(?P<who>\w+)']"),
                "has no text of at least 4",
            ),
            (
                format!("{GOOD}{}", GOOD.replace("mine.disk", "mine.two").replace("why = \"ours\"", "")),
                "mine.toml:13: rule mine.two: missing field `why`",
            ),
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
