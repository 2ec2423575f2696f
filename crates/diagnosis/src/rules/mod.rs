//! Rules are data: what a line of a failed run means. Loaded from TOML, checked with everything that is wrong named,
//! compiled once; a user's own stand beside ours.

mod grams;
mod literal;
mod load;
mod spec;
mod template;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::pattern::Pattern;
use crate::terms::{Category, Origin, Severity};
use grams::Grams;
pub use load::RuleFile;
pub use spec::{RuleFault, Strength};
use template::Template;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Unique and stable: it is stored with every diagnosis.
    pub id: Cow<'static, str>,
    /// What kind of failure.
    pub category: Category,
    /// How bad.
    pub severity: Severity,
    /// Whose fault.
    pub origin: Origin,
    /// Would a second try have a fair chance.
    pub retryable: bool,
    /// How precisely it names what happened.
    pub strength: Strength,
    /// Mostly the consequence of another's death, where there was one before.
    pub cascade: bool,
    /// Why the rule is there.
    pub why: Cow<'static, str>,
    /// The file that it came from.
    pub file: Cow<'static, str>,
    /// A user's own: wins over ours of the same strength.
    pub own: bool,
    /// Texts that the rule must explain.
    pub examples: Vec<Cow<'static, str>>,
    /// Texts that it must not touch.
    pub counterexamples: Vec<Cow<'static, str>>,
    pub(crate) patterns: Vec<Pattern>,
    unless: Vec<Pattern>,
    near: Vec<Pattern>,
    within: usize,
    kind: Vec<Pattern>,
    code: Vec<Pattern>,
    code_without: Vec<Pattern>,
    cause: Vec<Cow<'static, str>>,
    fix: Vec<Cow<'static, str>>,
}

/// What a rule may ask about beside the log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct About<'a> {
    /// The kind of experiment.
    pub(crate) kind: Option<&'a str>,
    /// The candidate's code.
    pub(crate) code: Option<&'a str>,
}

/// The named captures of a match, and what else a template may ask for.
#[derive(Debug, Default, Clone)]
pub(crate) struct Captures(Vec<(String, String)>);

impl Captures {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.0.push((name.to_owned(), value));
    }
}

impl Rule {
    /// Does the rule speak of this line, neighbours apart?
    #[must_use]
    pub fn matches(&self, line: &str) -> bool {
        self.patterns.iter().any(|p| p.is_match(line)) && !self.unless.iter().any(|u| u.is_match(line))
    }

    /// What it looks for: regular expressions, any of them.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|p| &*p.source)
    }

    /// The sentences of the cause, holes and all.
    pub fn causes(&self) -> impl Iterator<Item = &str> {
        self.cause.iter().map(|s| &**s)
    }

    /// The sentences of the fix, holes and all.
    pub fn fixes(&self) -> impl Iterator<Item = &str> {
        self.fix.iter().map(|s| &**s)
    }

    /// Does it speak of this kind of experiment and of this code?
    pub(crate) fn concerns(&self, about: About<'_>) -> bool {
        let any = |patterns: &[Pattern], text: &str| patterns.iter().any(|p| p.is_match(text));
        (self.kind.is_empty() || about.kind.is_some_and(|k| any(&self.kind, k)))
            && (self.code.is_empty() || about.code.is_some_and(|c| any(&self.code, c)))
            && (self.code_without.is_empty() || about.code.is_some_and(|c| !any(&self.code_without, c)))
    }

    /// Does it need something in the neighbourhood?
    pub(crate) fn needs_near(&self) -> Option<usize> {
        (!self.near.is_empty()).then_some(self.within)
    }

    /// Does it ask for more than a line?
    pub(crate) fn is_particular(&self) -> bool {
        !(self.near.is_empty()
            && self.kind.is_empty()
            && self.code.is_empty()
            && self.code_without.is_empty())
    }

    pub(crate) fn near_matches(&self, line: &str) -> bool {
        self.near.iter().any(|p| p.is_match(line))
    }

    /// What the patterns captured on `line` and, for `near`, on the neighbouring lines.
    pub(crate) fn captures<'a>(&self, line: &str, neighbours: impl Iterator<Item = &'a str>) -> Captures {
        let first = |patterns: &[Pattern], line: &str| patterns.iter().find_map(|p| p.captures(line));
        let mut found = Captures(first(&self.patterns, line).unwrap_or_default());
        if let Some(near) =
            neighbours.filter(|_| !self.near.is_empty()).find_map(|line| first(&self.near, line))
        {
            for (name, text) in near {
                if found.get(&name).is_none() {
                    found.set(&name, text);
                }
            }
        }
        found
    }

    /// The cause and the fix as sentences.
    pub(crate) fn sentences(&self, captures: &Captures) -> (String, String) {
        let fill = |sentences: &[Cow<'_, str>]| {
            sentences
                .iter()
                .find_map(|s| Template::new(s).fill(|hole| captures.get(hole)))
                .unwrap_or_default()
        };
        (fill(&self.cause), fill(&self.fix))
    }
}

/// A pattern of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Start {
    pub(crate) rule: u32,
    pattern: u32,
}

/// All the rules, ready to be matched. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Arc<[Rule]>,
    literals: Arc<Grams>,
    /// Those that are not to speak.
    silent: Arc<BTreeSet<u32>>,
}

impl RuleSet {
    /// The rules compiled into the binary.
    ///
    /// # Errors
    /// Names every faulty rule; a test holds that there is none.
    pub fn built_in() -> Result<Self, Vec<RuleFault>> {
        Self::new(&[])
    }

    /// Our rules and the user's beside them. A user's rule with the id of one of ours replaces it.
    ///
    /// # Errors
    /// Names every faulty rule of `own` with its file, line and the reason.
    pub fn new(own: &[RuleFile<'_>]) -> Result<Self, Vec<RuleFault>> {
        load::load(own)
    }

    /// The same rules, of which these are not to speak. An id that no rule has silences nothing.
    #[must_use]
    pub fn without<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Self {
        let ids: BTreeSet<&str> = ids.into_iter().collect();
        let silent = (0..).zip(self.rules.iter()).filter(|(_, rule)| ids.contains(&*rule.id));
        Self { silent: Arc::new(silent.map(|(i, _)| i).collect()), ..self.clone() }
    }

    /// May the rule of that id speak? One that there is not may not.
    #[must_use]
    pub fn speaks(&self, id: &str) -> bool {
        let place = self.rules.iter().position(|rule| rule.id == id);
        place.is_some_and(|i| !self.silent.contains(&(i as u32)))
    }

    /// How many may not.
    #[must_use]
    pub fn silent(&self) -> usize {
        self.silent.len()
    }

    /// Every rule, those that don't speak included: ours in the order of the files, then the user's.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|r| r.id == id)
    }

    pub(crate) fn at(&self, index: u32) -> &Rule {
        &self.rules[index as usize]
    }

    /// Patterns that may match `line`, those of a rule side by side. Most of them don't.
    pub(crate) fn starting(&self, line: &str, starting: &mut Vec<Start>) {
        starting.clear();
        self.literals.find(line, starting);
        starting.sort_unstable();
        starting.dedup();
    }

    /// Does the rule of these patterns speak of `line`, neighbours apart?
    pub(crate) fn speaks_of(&self, line: &str, starting: &[Start]) -> bool {
        starting.first().is_some_and(|first| {
            let rule = &self.rules[first.rule as usize];
            !self.silent.contains(&first.rule)
                && starting.iter().any(|start| rule.patterns[start.pattern as usize].is_match(line))
                && !rule.unless.iter().any(|u| u.is_match(line))
        })
    }
}
