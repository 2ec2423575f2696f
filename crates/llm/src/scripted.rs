//! A model that says what it was told to say, and remembers what it was asked: for tests and demonstrations.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use coroner_diagnosis::{FailureKind, ModelFailure, Question};
use serde::Deserialize;

use crate::answer::{Answer, Ending, Usage};
use crate::catalogue::ModelInfo;
use crate::endpoint::Failed;
use crate::failure::AskError;
use crate::ledger::lock;
use crate::retry::Advice;

/// A queue of answers and failures, given out one by one.
#[derive(Debug)]
pub struct Scripted {
    model: String,
    steps: Mutex<VecDeque<Step>>,
    asked: Mutex<Vec<Question>>,
    models: Vec<ModelInfo>,
}

/// One thing that the model does when it is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Answers.
    Answer(Answer),
    /// Fails, and says whether trying again would help.
    Fail(AskError, Advice),
    /// Takes its time, then does the next step. For ever, if there is none.
    Wait(Duration),
}

impl Step {
    /// Answers with `text`, in a thousand tokens.
    #[must_use]
    pub fn say(text: impl Into<String>) -> Self {
        Self::Answer(Answer {
            text: text.into(),
            model: "scripted".to_owned(),
            ending: Ending::Whole,
            usage: Usage { input_tokens: 900, output_tokens: 100 },
        })
    }

    /// Fails with `kind`, for good.
    #[must_use]
    pub fn fail(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self::Fail(AskError::Scripted(ModelFailure { kind, detail: detail.into() }), Advice::Never)
    }
}

/// A line of a script that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the script can't be read ({why}): a line is {{\"text\": \"…\"}} or {{\"failure\": \"overloaded\", \"detail\": \"…\"}}, with \"after_ms\" if it should take its time"
)]
pub struct ScriptError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// A line of a script.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: Option<String>,
    failure: Option<FailureKind>,
    #[serde(default)]
    detail: String,
    after_ms: Option<u64>,
}

impl Scripted {
    /// Does `steps`, one after the other; then fails.
    #[must_use]
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            model: "scripted".to_owned(),
            steps: Mutex::new(steps.into_iter().collect()),
            asked: Mutex::default(),
            models: Vec::new(),
        }
    }

    /// The same, out of JSON lines; empty ones are skipped.
    pub fn from_lines(script: &str) -> Result<Self, ScriptError> {
        let mut steps = Vec::new();
        for (at, line) in script.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |why: String| ScriptError { line: at + 1, why };
            let line: Line = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
            steps.extend(line.after_ms.map(|ms| Step::Wait(Duration::from_millis(ms))));
            steps.push(match (line.text, line.failure) {
                (Some(text), None) => Step::say(text),
                (None, Some(kind)) => Step::fail(kind, line.detail),
                _ => return Err(wrong("it needs either a text or a failure".to_owned())),
            });
        }
        Ok(Self::new(steps))
    }

    /// Goes by another name than `scripted`, and lists `models`.
    #[must_use]
    pub fn named(mut self, model: &str, models: Vec<ModelInfo>) -> Self {
        model.clone_into(&mut self.model);
        self.models = models;
        self
    }

    /// Every question so far, in order, retries included.
    #[must_use]
    pub fn asked(&self) -> Vec<Question> {
        lock(&self.asked).clone()
    }

    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    pub(crate) fn models(&self) -> Vec<ModelInfo> {
        self.models.clone()
    }

    pub(crate) async fn ask(&self, question: &Question) -> Result<Answer, Failed> {
        lock(&self.asked).push(question.clone());
        loop {
            let step = lock(&self.steps).pop_front();
            match step {
                Some(Step::Answer(answer)) => return Ok(answer),
                Some(Step::Fail(error, advice)) => return Err(Failed { error, advice }),
                Some(Step::Wait(pause)) => tokio::time::sleep(pause).await,
                None => {
                    let detail = "the script has no further answer".to_owned();
                    return Err(
                        AskError::Scripted(ModelFailure { kind: FailureKind::Unreachable, detail }).into()
                    );
                }
            }
        }
    }
}
