//! Looks at a candidate before it runs: can it be parsed, and does it keep to the policy. Advice for the diagnosis; what
//! protects the machine is the sandbox.

mod builtins;
mod call;
mod hash;
mod parse;
mod policy;
mod python;
mod refusal;
mod resolve;
mod scope;
mod semantic;
mod shape;
mod suspect;
mod walk;
mod words;

use std::collections::BTreeMap;

use coroner_diagnosis::{Capture, Category, Code, Refusal};
use serde::{Deserialize, Serialize};

pub use hash::CodeHash;
pub use policy::{Call, Policy, PolicyError, Rule};
pub use python::PythonVersion;
pub use shape::{Function, Parameter};

/// A candidate that is larger than this is no program.
pub const LARGEST_SOURCE: usize = 1 << 20;
/// More findings than this say nothing new.
const MOST_FINDINGS: usize = 50;

/// Something that the screening found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule of the policy that refused it; `syntax`, `source` or `entry-point` where that was not the policy.
    pub rule: String,
    /// What kind of failure it makes.
    pub category: Category,
    /// As the original said it: "Forbidden import: os", "Syntax error on line 3: ...".
    pub message: String,
    /// What it is about: the module, name or attribute; empty for a syntax error.
    pub what: String,
    /// Why the rule is there.
    pub why: String,
    /// What to do instead.
    pub instead: String,
    /// 1-based.
    pub line: u64,
    /// 1-based, in characters.
    pub column: u64,
    /// The offending text, its first line if it has several.
    pub text: String,
    /// Why this looks like a fault of the policy and not of the candidate, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<String>,
}

impl Finding {
    /// The same for refusals of the same thing by the same rule, in whatever candidate: "imports:torchvision". Under it
    /// `screen_knowing` takes how often that has happened.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.rule, self.what)
    }

    /// What to do: in the candidate, or in the policy of that name where that is the suspect.
    #[must_use]
    pub fn fix(&self, policy: &str) -> String {
        if self.suspect.is_some() { suspect::remedy(self, policy) } else { self.instead.clone() }
    }
}

/// What is known of a candidate before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screening {
    /// What refuses it, in the order of the source; empty if nothing does.
    pub findings: Vec<Finding>,
    /// What is worth a look but no reason to refuse it.
    pub notes: Vec<Finding>,
    /// The same for candidates that differ in comments and white space only.
    pub code_hash: CodeHash,
    /// The functions of the module itself, in their order.
    pub functions: Vec<Function>,
    /// All names that the module itself binds, functions among them.
    pub names: Vec<String>,
    /// May it have more names than can be seen (`from x import *`)?
    pub names_unknown: bool,
    /// The modules that it imports, in their order, each once.
    pub imports: Vec<String>,
    /// Lines of the source.
    pub lines: u64,
    /// The name of the policy.
    pub policy: String,
    /// Why nothing can be said of it, if that is so. Then it may run: the sandbox protects, and Python has its own say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unscreened: Option<String>,
}

impl Screening {
    /// Does anything refuse it?
    #[must_use]
    pub fn is_refused(&self) -> bool {
        !self.findings.is_empty()
    }

    /// All refusals in one line, each once, as the original joined them.
    #[must_use]
    pub fn error_message(&self) -> String {
        let mut messages: Vec<&str> = Vec::new();
        for finding in &self.findings {
            if !messages.contains(&finding.message.as_str()) {
                messages.push(&finding.message);
            }
        }
        messages.join("; ")
    }
}

impl Screening {
    /// The refusal that tells most, for the diagnosis: the first that is the candidate's fault, and only if there is none
    /// the first that looks like the policy's.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let first = self.findings.iter().find(|f| f.suspect.is_none()).or(self.findings.first())?;
        let mut others: Vec<String> = Vec::new();
        for finding in &self.findings {
            if finding.message != first.message && !others.contains(&finding.message) {
                others.push(finding.message.clone());
            }
        }
        Some(Refusal {
            rule: first.rule.clone(),
            policy: self.policy.clone(),
            category: first.category,
            message: first.message.clone(),
            why: first.why.clone(),
            fix: if first.suspect.is_some() {
                suspect::remedy(first, &self.policy)
            } else {
                first.instead.clone()
            },
            line: first.line,
            column: first.column,
            suspect: first.suspect.clone(),
            others,
        })
    }

    /// What the diagnosis starts from, if something refuses it.
    #[must_use]
    pub fn capture(&self, code: Code) -> Option<Capture> {
        let refused = Some(self.refusal()?);
        Some(Capture {
            error_message: Some(self.error_message()),
            code: Some(code),
            refused,
            ..Capture::default()
        })
    }
}

/// Looks at a candidate. Never fails and never runs anything; takes some 40 ms for the largest source.
#[must_use]
pub fn screen(source: &[u8], policy: &Policy, python: PythonVersion) -> Screening {
    screen_knowing(source, policy, python, &BTreeMap::new())
}

/// The same, knowing how many candidates were refused for the same so far (by [`Finding::key`]): a rule that refuses many
/// is a suspect itself.
#[must_use]
pub fn screen_knowing(
    source: &[u8],
    policy: &Policy,
    python: PythonVersion,
    refused: &BTreeMap<String, u64>,
) -> Screening {
    let mut screening = match readable(source) {
        Ok(text) => parse::on_a_deep_stack(|| look(text, policy, python)).unwrap_or_else(|| Screening {
            unscreened: Some("the parser gave up on it".to_owned()),
            ..blank(source, policy)
        }),
        Err(finding) => Screening { findings: vec![*finding], ..blank(source, policy) },
    };
    suspect::by_count(&mut screening.findings, policy, refused);
    screening
}

/// A screening that knows nothing yet.
fn blank(source: &[u8], policy: &Policy) -> Screening {
    Screening {
        findings: Vec::new(),
        notes: Vec::new(),
        code_hash: CodeHash::of_bytes(source),
        functions: Vec::new(),
        names: Vec::new(),
        names_unknown: false,
        imports: Vec::new(),
        lines: 0,
        policy: policy.name.clone(),
        unscreened: None,
    }
}

fn look(text: &str, policy: &Policy, python: PythonVersion) -> Screening {
    let mut screening = blank(text.as_bytes(), policy);
    let source = refusal::Source::new(text);
    screening.lines = source.lines();
    let parsed = match parse::parse(&source, python) {
        Ok(parsed) => parsed,
        Err(finding) => {
            screening.findings.push(*finding);
            return screening;
        }
    };
    if let Some(hash) = hash::of_tokens(text, &parsed) {
        screening.code_hash = hash;
    }
    let module = parsed.syntax();
    shape::describe(module, &source, &mut screening);
    screening.findings = parse::syntax_errors(&source, &parsed, python);
    if screening.findings.is_empty() && parse::is_empty(&parsed) {
        screening.findings.push(refusal::empty("There is no code in the candidate, only comments"));
    }
    // what can't be parsed has to be written again anyway, and half a tree gives false names
    if screening.findings.is_empty() {
        let (findings, notes) = walk::walk(module, &source, policy);
        screening.findings = findings;
        screening.notes = notes;
    }
    screening.findings.truncate(MOST_FINDINGS);
    screening.notes.truncate(MOST_FINDINGS);
    screening
}

/// The source as text, or why it is none.
fn readable(source: &[u8]) -> Result<&str, Box<Finding>> {
    if source.len() > LARGEST_SOURCE {
        return Err(Box::new(refusal::too_large()));
    }
    if source.is_empty() {
        return Err(Box::new(refusal::empty("The candidate is empty: the file has no bytes")));
    }
    let text = std::str::from_utf8(source)
        .map_err(|error| Box::new(refusal::not_utf8(source, error.valid_up_to())))?;
    match text.find('\0') {
        Some(at) => Err(Box::new(refusal::nul(text, at))),
        None => Ok(text),
    }
}
