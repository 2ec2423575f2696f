//! What a candidate may do, as data: which modules it may import, and rules about names, attributes and calls, each
//! with its id and its reason.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Ids of what is checked without a rule of the file.
const OWN: [&str; 7] = ["syntax", "source", "imports", "relative-import", "builtins", "async", "entry-point"];
/// A rule that has refused so many candidates is looked at itself.
const SUSPECT_AFTER: u64 = 10;

/// What the screening refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Where it came from: "built-in", or the file.
    pub name: String,
    /// Modules that may be imported, with all that is inside them; `*` is every module that no rule refuses.
    pub allow_modules: BTreeSet<String>,
    /// The only built-ins that may be used; `None` is all that no rule refuses.
    pub allow_builtins: Option<BTreeSet<String>>,
    /// May it use `async` and `await`?
    pub allow_async: bool,
    /// A rule that has refused so many candidates is itself under suspicion; 0 is never.
    pub suspect_after: u64,
    /// What is refused, and why.
    pub rules: Vec<Rule>,
}

/// One rule of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Names the rule in every refusal.
    pub id: String,
    /// Why it is there.
    pub why: String,
    /// What to do instead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instead: String,
    /// Modules, with all that is inside them, in whatever way they are reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// Modules that other modules have as an attribute (`random._os`); a leading `_` does not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub borrowed_modules: Vec<String>,
    /// Built-ins (`eval`), and what modules hold (`sys.modules`), as what a name resolves to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Attributes of whatever object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Attributes that are refused only where their name is hidden in a string: `getattr(x, "__class__")`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden_attributes: Vec<String>,
    /// Calls of what modules hold, with or without a condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// `names` are compared letter by letter, and not as what they resolve to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_written: bool,
    /// The policy's `suspect_after`, for this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect_after: Option<u64>,
}

/// A call that a rule refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Call {
    /// However it is called.
    Always(String),
    /// Depending on an argument.
    If(Condition),
}

/// The argument on which it depends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// What is called: `numpy.load`.
    pub call: String,
    /// The name of the argument.
    pub argument: String,
    /// Its place where it is given without a name, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// Refused unless the argument is given and is this; otherwise refused where it is given and is not plainly the
    /// opposite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<bool>,
    /// Refused if the argument is given and is, or might be, this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<bool>,
}

impl Call {
    /// What is called.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Always(path) => path,
            Self::If(condition) => &condition.call,
        }
    }
}

/// A policy that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The file is no TOML of this shape.
    #[error("{name} is no policy: {detail}")]
    Shape {
        /// The file.
        name: String,
        /// What is wrong, with line and column.
        detail: String,
    },
    /// A rule that makes no sense.
    #[error("{name}: rule `{rule}`: {detail}")]
    Rule {
        /// The file.
        name: String,
        /// The id of the rule.
        rule: String,
        /// What is wrong and what to do.
        detail: String,
    },
}

/// A policy as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Start from the built-in policy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    extend: bool,
    /// Rules of the built-in policy that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    without: Vec<String>,
    #[serde(default)]
    allow_modules: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow_builtins: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow_async: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspect_after: Option<u64>,
    #[serde(default, rename = "rule")]
    rules: Vec<Rule>,
}

impl Default for Policy {
    /// The built-in one.
    fn default() -> Self {
        // a test reads it; should it ever be broken, nothing is allowed that it would have refused
        Self::parse(Self::DEFAULT, "built-in").unwrap_or_else(|error| Self {
            name: format!("built-in ({error})"),
            allow_modules: BTreeSet::new(),
            allow_builtins: None,
            allow_async: false,
            suspect_after: SUSPECT_AFTER,
            rules: Vec::new(),
        })
    }
}

impl Policy {
    /// The built-in policy as it is written, with comments: the manual of every key.
    pub const DEFAULT: &'static str = include_str!("default-policy.toml");

    /// Reads a policy. `name` is how refusals name it, mostly the path of the file.
    pub fn parse(text: &str, name: &str) -> Result<Self, PolicyError> {
        let file: File = toml::from_str(text).map_err(|error| PolicyError::Shape {
            name: name.to_owned(),
            detail: error.to_string().trim().to_owned(),
        })?;
        let fault = |rule: &str, detail: String| PolicyError::Rule {
            name: name.to_owned(),
            rule: rule.to_owned(),
            detail,
        };
        for rule in &file.rules {
            check(rule).map_err(|detail| fault(&rule.id, detail))?;
            if file.rules.iter().filter(|other| other.id == rule.id).count() > 1 {
                return Err(fault(&rule.id, "there are two rules of that id: give each its own".to_owned()));
            }
        }
        if !file.extend {
            if let Some(id) = file.without.first() {
                return Err(fault(
                    id,
                    "`without` leaves out rules of the built-in policy: it needs `extend = true`".to_owned(),
                ));
            }
            return Ok(Self {
                name: name.to_owned(),
                allow_modules: file.allow_modules.into_iter().collect(),
                allow_builtins: file.allow_builtins.map(|list| list.into_iter().collect()),
                allow_async: file.allow_async.unwrap_or(false),
                suspect_after: file.suspect_after.unwrap_or(SUSPECT_AFTER),
                rules: file.rules,
            });
        }
        let mut policy = Self { name: name.to_owned(), ..Self::default() };
        for id in &file.without {
            if !policy.rules.iter().any(|rule| rule.id == *id) {
                let ids: Vec<&str> = policy.rules.iter().map(|rule| rule.id.as_str()).collect();
                return Err(fault(
                    id,
                    format!("the built-in policy has no such rule; it has {}", ids.join(", ")),
                ));
            }
            policy.rules.retain(|rule| rule.id != *id);
        }
        policy.allow(&file.allow_modules);
        policy.allow_builtins = file.allow_builtins.map(|list| list.into_iter().collect());
        policy.allow_async = file.allow_async.unwrap_or(policy.allow_async);
        policy.suspect_after = file.suspect_after.unwrap_or(policy.suspect_after);
        for rule in file.rules {
            // a rule of the same id takes the place of ours
            policy.rules.retain(|ours| ours.id != rule.id);
            policy.rules.push(rule);
        }
        Ok(policy)
    }

    /// Allows more modules; what a rule says against just these no longer holds.
    pub fn allow<S: AsRef<str>>(&mut self, modules: &[S]) {
        for module in modules.iter().map(AsRef::as_ref) {
            for rule in &mut self.rules {
                rule.modules.retain(|refused| !is_inside(refused, module));
            }
            self.allow_modules.insert(module.to_owned());
        }
    }

    /// The policy as TOML, without comments.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let file = File {
            extend: false,
            without: Vec::new(),
            allow_modules: self.allow_modules.iter().cloned().collect(),
            allow_builtins: self.allow_builtins.as_ref().map(|list| list.iter().cloned().collect()),
            allow_async: Some(self.allow_async),
            suspect_after: Some(self.suspect_after),
            rules: self.rules.clone(),
        };
        toml::to_string_pretty(&file).unwrap_or_default()
    }

    /// The policy in a few lines, for whoever writes candidates.
    #[must_use]
    pub fn brief(&self) -> String {
        let all = |list: &BTreeSet<String>| list.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut lines = vec![format!("Allowed modules: {}.", all(&self.allow_modules))];
        if let Some(builtins) = &self.allow_builtins {
            lines.push(format!("Allowed built-ins: {}.", all(builtins)));
        }
        if !self.allow_async {
            lines.push("Not allowed: async and await.".to_owned());
        }
        for rule in &self.rules {
            let lists = [&rule.modules, &rule.names, &rule.attributes];
            let mut what: Vec<&str> = lists.into_iter().flatten().map(String::as_str).collect();
            what.extend(rule.calls.iter().map(Call::path));
            if !what.is_empty() {
                lines.push(
                    format!("Not allowed: {}. {}", what.join(", "), rule.instead).trim_end().to_owned(),
                );
            }
        }
        lines.join("\n")
    }

    /// The rule that refuses a module, if one does; and is the module allowed by the list?
    pub(super) fn module(&self, module: &str) -> (Option<&Rule>, bool) {
        let allowed = self.allow_modules.iter().filter(|m| is_inside(module, m)).map(String::len).max();
        let refused = self
            .rules
            .iter()
            .flat_map(|rule| rule.modules.iter().map(move |m| (rule, m)))
            .filter(|(_, m)| is_inside(module, m))
            .max_by_key(|(_, m)| m.len());
        // the more precise of the two speaks
        let rule =
            refused.filter(|(_, m)| allowed.is_none_or(|length| m.len() >= length)).map(|(rule, _)| rule);
        (rule, allowed.is_some() || self.allow_modules.contains("*"))
    }

    /// Does the list allow something inside this module (`concurrent.futures` of `concurrent`)?
    pub(super) fn allows_inside(&self, module: &str) -> bool {
        self.allow_modules.iter().any(|m| is_inside(m, module))
    }
}

/// Is `module` the same as `of` or inside it?
fn is_inside(module: &str, of: &str) -> bool {
    module.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn check(rule: &Rule) -> Result<(), String> {
    if rule.id.is_empty() || rule.id.chars().any(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(c)) {
        return Err("an id is made of letters, digits, `-`, `_` and `.`".to_owned());
    }
    if OWN.contains(&rule.id.as_str()) {
        return Err("this id belongs to a check of our own: choose another".to_owned());
    }
    if rule.why.trim().is_empty() {
        return Err("it says no reason: `why` is what the candidate's author will read".to_owned());
    }
    for call in &rule.calls {
        if let Call::If(condition) = call
            && condition.when.is_some() == condition.unless.is_some()
        {
            return Err(format!("the call {} needs either `when` or `unless`", condition.call));
        }
    }
    let lists =
        [&rule.modules, &rule.borrowed_modules, &rule.names, &rule.attributes, &rule.hidden_attributes];
    if lists.iter().all(|list| list.is_empty()) && rule.calls.is_empty() {
        return Err("it refuses nothing: give it modules, names, attributes or calls".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policy_is_sound_and_every_rule_says_what_to_do() {
        let policy = Policy::parse(Policy::DEFAULT, "built-in").unwrap();
        assert_eq!(policy, Policy::default());
        for rule in &policy.rules {
            assert!(!rule.instead.is_empty(), "{}", rule.id);
        }
        assert_eq!(Policy::parse(&policy.to_toml(), "built-in").unwrap(), policy);
    }

    #[test]
    fn the_more_precise_of_allowing_and_refusing_holds() {
        let mut policy = Policy::default();
        assert!(policy.module("numpy.linalg").1);
        assert!(!policy.module("numpyx").1);
        assert!(policy.module("os.path").0.is_some());
        policy.allow(&["os.path", "zarr"]);
        assert!(policy.module("os.path").0.is_none() && policy.module("os.path").1);
        assert!(policy.module("os").0.is_some());
        assert!(policy.module("zarr.core").1);
        policy.allow(&["os"]);
        assert!(policy.module("os").0.is_none());
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_its_reason() {
        for (text, expected) in [
            ("allow_module = []", "unknown field `allow_module`"),
            ("[[rule]]\nid = \"a\"", "why"),
            ("[[rule]]\nid = \"a\"\nwhy = \"b\"", "refuses nothing"),
            ("[[rule]]\nid = \"syntax\"\nwhy = \"b\"\nnames = [\"x\"]", "belongs to a check of our own"),
            ("[[rule]]\nid = \"a b\"\nwhy = \"b\"\nnames = [\"x\"]", "letters, digits"),
            ("without = [\"a\"]", "extend = true"),
            ("extend = true\nwithout = [\"a\"]", "no such rule; it has"),
            (
                "[[rule]]\nid = \"a\"\nwhy = \"b\"\ncalls = [{ call = \"x.y\", argument = \"z\" }]",
                "either `when` or `unless`",
            ),
            (
                "[[rule]]\nid = \"a\"\nwhy = \"b\"\nnames = [\"x\"]\n[[rule]]\nid = \"a\"\nwhy = \"b\"\nnames = [\"x\"]",
                "two rules",
            ),
        ] {
            let error = Policy::parse(text, "p.toml").unwrap_err().to_string();
            assert!(error.contains(expected) && error.starts_with("p.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_may_build_on_the_built_in_policy() {
        let text = "extend = true\nallow_modules = [\"zarr\"]\nallow_async = true\nwithout = [\"files\"]\n\
                    [[rule]]\nid = \"run-text\"\nwhy = \"w\"\nnames = [\"eval\"]\n";
        let policy = Policy::parse(text, "p.toml").unwrap();
        assert!(policy.module("zarr").1 && policy.module("math").1 && policy.allow_async);
        assert!(policy.rules.iter().all(|rule| rule.id != "files"));
        let rule = policy.rules.iter().find(|rule| rule.id == "run-text").unwrap();
        assert_eq!(rule.names, ["eval"]);
    }
}
