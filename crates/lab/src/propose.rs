//! Where the next candidate comes from: a language model, or a search of our own.

mod builtin;
mod edit;
mod graft;
mod lessons;
mod numbers;
mod program;
mod prompt;
mod repair;
mod shapes;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use coroner_diagnosis::{Category, Diagnosis, Origin, Source};
use coroner_store::{Cost, Feedback};

pub(crate) use builtin::mix;
pub use builtin::{BlocksError, Builtin, Hash};
pub use edit::{Deed, Edit, Operator, Piece};
pub(crate) use prompt::tail;
pub use prompt::{PROPOSAL_VERSION, Prompt, prompt, read_reply};

/// Makes candidates.
#[async_trait]
pub trait Proposer: Send + Sync {
    /// Its name, as it is kept with every candidate.
    fn name(&self) -> String;

    /// The next candidate. The same brief gives the same answer, as far as the proposer is of this machine.
    async fn propose(&self, brief: &Brief) -> Result<Proposal, ProposerError>;
}

/// What does not change during a run.
#[derive(Debug, Clone, Default)]
pub struct Errand {
    /// The task's name.
    pub task: String,
    /// What it says to a proposer.
    pub description: String,
    /// Functions that a candidate must have: name and signature.
    pub entry_points: Vec<(String, String)>,
    /// What the policy forbids and allows, in words.
    pub policy: String,
    /// Metrics, what is wanted of each, and which one decides, in words.
    pub goals: String,
    /// Limits in words.
    pub limits: String,
}

/// Everything that a proposer is told for one proposal.
#[derive(Debug, Clone)]
pub struct Brief {
    /// What does not change.
    pub errand: Arc<Errand>,
    /// Where random numbers begin.
    pub seed: u64,
    /// Which proposal of the run it is, from 1.
    pub ordinal: u64,
    /// What may be told of failures.
    pub feedback: Feedback,
    /// What to start from.
    pub parent: Arc<Member>,
    /// Other good programs, the best first.
    pub others: Vec<Arc<Member>>,
    /// A failure that is to be mended, if it is not a step of the search.
    pub repair: Option<Arc<Mending>>,
    /// What was tried so far, in order.
    pub history: Arc<Vec<Tried>>,
    /// Hashes of code that need not be proposed again.
    pub known: Arc<HashSet<String>>,
    /// What earlier failures teach, in words and within a budget; empty unless the feedback is the diagnosis.
    pub advice: String,
}

/// A program that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its experiment's short number.
    pub number: u64,
    /// Its code.
    pub code: String,
    /// What was measured.
    pub metrics: BTreeMap<String, f64>,
    /// By what it is compared; more is better, whatever the task's direction.
    pub rank: f64,
    /// Why it was not good enough, if it was not.
    pub remark: Option<String>,
}

/// A failure that is to be mended.
#[derive(Debug, Clone, PartialEq)]
pub struct Mending {
    /// Its experiment's short number.
    pub number: u64,
    /// Its code.
    pub code: String,
    /// What had been changed from the parent; empty if that is not known.
    pub edits: Vec<Edit>,
    /// Which attempt at mending it this is, from 1.
    pub round: u32,
    /// What is told of it.
    pub told: Told,
}

/// Something that was tried before.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// Its experiment's short number.
    pub number: u64,
    /// What was changed.
    pub change: String,
    /// The failure that it was to mend.
    pub repair_of: Option<u64>,
    /// What came of it.
    pub result: Became,
}

/// What came of something that was tried.
#[derive(Debug, Clone, PartialEq)]
pub enum Became {
    /// It was measured. Was it better than what it was made from?
    Measured {
        /// By what it is compared.
        rank: f64,
        /// Than its parent.
        better: bool,
    },
    /// It failed, and nothing else is told of it than this.
    Failed(Told),
    /// What became of it says nothing about it: harness, policy, machine or provider.
    NotItsFault,
}

/// What a proposer is told of a failure, by the kind of feedback.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// That there was one.
    Nothing,
    /// The end of what it printed, as it is.
    Raw(String),
    /// What the diagnosis says.
    Lesson(Box<Lesson>),
}

/// What a diagnosis teaches about a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lesson {
    /// The same for the same cause.
    pub signature: String,
    /// What kind of failure.
    pub category: Category,
    /// Whose fault.
    pub origin: Origin,
    /// Why.
    pub root_cause: String,
    /// What to change.
    pub fix: String,
    /// The candidate's line that it points at.
    pub line: Option<u64>,
    /// Words that it quotes: names, modules, attributes.
    pub names: Vec<String>,
    /// "same as exp 42, fixed in 57 by ..."
    pub repeated: Option<String>,
}

impl Lesson {
    /// What this diagnosis teaches; `code_name` is the file that frames of the log name.
    #[must_use]
    pub fn of(diagnosis: &Diagnosis, code_name: &str) -> Self {
        let cited = diagnosis.evidence.iter().find(|item| item.source == Source::Code).map(|item| item.line);
        let framed = || {
            let frames = diagnosis.evidence.iter().map(|item| item.text.as_str());
            frames.filter_map(|text| frame_line(text, code_name)).next_back()
        };
        Self {
            signature: diagnosis.signature.clone(),
            category: diagnosis.failure_category,
            origin: diagnosis.origin,
            root_cause: diagnosis.root_cause.clone(),
            fix: diagnosis.fix_suggestion.clone(),
            line: cited.or_else(framed).or_else(|| frame_line(&diagnosis.root_cause, code_name)),
            names: quoted(&diagnosis.root_cause),
            repeated: None,
        }
    }
}

/// The line of `code_name` that a frame names: `File "candidate.py", line 12` or `candidate.py:12`.
fn frame_line(text: &str, code_name: &str) -> Option<u64> {
    let at = text.rfind(code_name)? + code_name.len();
    let rest = text[at..].trim_start_matches(['"', '\'', ',', ':', ' ']);
    let digits = rest.strip_prefix("line ").unwrap_or(rest);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// Words that stand in quotation marks or back quotes, and what a refusal names after its colon.
pub(crate) fn quoted(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let is_name = |word: &str| {
        !word.is_empty() && word.len() <= 80 && word.chars().all(|c| c.is_alphanumeric() || "_.".contains(c))
    };
    let mut push = |word: &str| {
        if is_name(word) && !names.iter().any(|n| n == word) {
            names.push(word.to_owned());
        }
    };
    for (open, close) in [('\'', '\''), ('`', '`'), ('"', '"'), ('“', '”'), ('‘', '’')] {
        let mut rest = text;
        while let Some((_, tail)) = rest.split_once(open) {
            let Some((word, after)) = tail.split_once(close) else { break };
            push(word);
            rest = after;
        }
    }
    for marker in ["import: ", "import from: ", "attribute: ", "name: "] {
        for (at, _) in text.match_indices(marker) {
            let rest = &text[at + marker.len()..];
            push(rest.split(|c: char| !(c.is_alphanumeric() || "_.".contains(c))).next().unwrap_or(""));
        }
    }
    names
}

/// A candidate that somebody wants tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The whole program.
    pub code: String,
    /// What was changed, in one line.
    pub change: String,
    /// Who else's parts went into it: numbers of experiments.
    pub from: Vec<u64>,
    /// How it differs from the parent, if that is known.
    pub edits: Vec<Edit>,
    /// What it cost.
    pub cost: Cost,
}

/// Why there is no proposal.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProposerError {
    /// Nothing was found that would mend it.
    #[error("there is nothing left to change back in exp {0}")]
    NothingToMend(u64),
    /// Everything that came to mind is known already.
    #[error("no new program came up in {tries} tries from exp {parent}")]
    Exhausted {
        /// From which experiment.
        parent: u64,
        /// How often it was tried.
        tries: u32,
    },
    /// A model answered, and it is of no use.
    #[error("{why}")]
    Unusable {
        /// What is wrong with it, as a diagnosis may quote it.
        why: String,
        /// What it said, as far as that is known.
        reply: String,
        /// It was paid for all the same.
        cost: Cost,
    },
    /// The money for this run is spent.
    #[error("{0}")]
    OverBudget(String),
}
