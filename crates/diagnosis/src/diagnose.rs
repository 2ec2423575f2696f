//! The flow on one page: examine, ask, conclude.

use crate::capture::Capture;
use crate::conclude::conclude;
use crate::examine::{Examined, examine};
use crate::prompt::question;
use crate::question::{Question, Reply};
use crate::record::{Diagnosis, ModelFailure};
use crate::redact::Redactor;
use crate::rules::RuleSet;

/// When a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// About every failure.
    Always,
    /// Only about what no rule explains.
    Unexplained,
    /// Never.
    #[default]
    Never,
}

/// What a diagnosis depends on besides the capture and the rules.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Characters of log that a model is sent.
    pub budget: usize,
    /// When it is asked.
    pub ask: Ask,
    /// What is masked.
    pub redactor: Redactor,
}

/// As much log as the original sent.
pub const DEFAULT_BUDGET: usize = 3_000;

impl Default for Settings {
    fn default() -> Self {
        Self { budget: DEFAULT_BUDGET, ask: Ask::Never, redactor: Redactor::default() }
    }
}

/// Why the run died. `ask` is the edge: it asks a model, or says why it could not. Always answers.
#[must_use]
pub fn diagnose(
    capture: &Capture,
    rules: &RuleSet,
    settings: &Settings,
    now: &str,
    ask: &mut dyn FnMut(&Question) -> Result<Reply, ModelFailure>,
) -> Diagnosis {
    // what happened, in evidence and in a verdict; nothing below can lose it
    let examined = examine(capture, rules, settings);
    // what the rules can't explain, as a question
    let question = examined.question(settings.ask);
    // the only step that leaves the process
    let answer = question.map(|question| ask(&question));
    // what the answer is worth
    conclude(examined, answer, now)
}

impl Examined<'_> {
    /// The question for a model, if one is to be asked.
    #[must_use]
    pub fn question(&self, ask: Ask) -> Option<Question> {
        let wanted = match ask {
            Ask::Always => true,
            Ask::Unexplained => self.is_unexplained(),
            Ask::Never => false,
        };
        wanted.then(|| question(self, self.budget).0)
    }
}
