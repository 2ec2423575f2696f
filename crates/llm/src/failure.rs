//! Every way in which asking can fail, each a variant of its own, and what the diagnosis is told of it.
//!
//! Nothing in here holds a key, a whole provider message or an address with credentials: texts from outside
//! come through `quote::short`, addresses as `host:port`.

use std::time::Duration;

use coroner_diagnosis::{FailureKind, ModelFailure};

use crate::key::KeyError;

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AskError {
    /// Nobody was asked: there is no key.
    #[error(transparent)]
    NoKey(#[from] KeyError),

    /// 401 or 403.
    #[error(
        "{endpoint} refused the key (HTTP {status}): check that it is the right one, still valid, and allowed to use this model"
    )]
    KeyRefused {
        /// Who refused.
        endpoint: String,
        /// The HTTP status.
        status: u16,
    },

    /// AWS would not know us.
    #[cfg(feature = "aws")]
    #[error("{endpoint} did not let us in: {why}")]
    NotLetIn {
        /// Who refused.
        endpoint: String,
        /// Why.
        why: crate::aws::AwsTrouble,
    },

    /// AWS knows us, and we may not. Its words are not repeated: they name accounts and roles.
    #[cfg(feature = "aws")]
    #[error(
        "{endpoint} does not allow it ({code}): allow bedrock:InvokeModel on `{model}` (on a profile, and on the models behind it), \
         and look in Bedrock's console whether this account may use the model yet"
    )]
    NotAllowed {
        /// Who refused.
        endpoint: String,
        /// AWS's word for it.
        code: String,
        /// What was asked for.
        model: String,
    },

    /// The provider does not know the model, or no longer.
    #[error("{endpoint} has no model `{model}`: set another one{}{}", known(.available), hint(.said))]
    ModelGone {
        /// Who does not have it.
        endpoint: String,
        /// What was asked for.
        model: String,
        /// The provider's words, shortened.
        said: String,
        /// What it has instead, where it told.
        available: Vec<String>,
    },

    /// 404, and not about the model.
    #[error("{endpoint} does not serve {path} (HTTP 404): check the base URL")]
    WrongAddress {
        /// Who answered.
        endpoint: String,
        /// What was asked for.
        path: String,
    },

    /// The base URL is no URL, or one that can't be used.
    #[error("the model's base URL can't be used: {why}")]
    BadAddress {
        /// What is wrong with it.
        why: String,
    },

    /// Asked too often.
    #[error("{endpoint} limits how often it may be asked (HTTP {status}){}: ask less often, or raise the limit with the provider{}", wait(.retry_after), hint(.said))]
    RateLimited {
        /// Who refused.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
        /// The provider's words, shortened.
        said: String,
    },

    /// The provider's spending limit is reached or the bill is open: asking again does not help.
    #[error("the spending limit at {endpoint} is reached or its bill is open (HTTP {status}{}): raise it with the provider", comma(.code))]
    SpendLimit {
        /// Who refused.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The provider's stable word for it.
        code: String,
    },

    /// Our own budget of the day is spent.
    #[error(
        "not asked: today's budget for the model is spent ({spent} of {limit}); it starts anew at midnight UTC, or raise the limit"
    )]
    BudgetSpent {
        /// What was spent.
        spent: String,
        /// What may be spent.
        limit: String,
    },

    /// Whether the budget allows it can't be known.
    #[error("not asked: what was spent today can't be read or written ({why})")]
    LedgerBroken {
        /// The ledger's words.
        why: String,
    },

    /// 5xx, 529, 409: the provider has trouble of its own.
    #[error("{endpoint} is overloaded or broken (HTTP {status}): ask again later{}", hint(.said))]
    Overloaded {
        /// Who failed.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The provider's words, shortened.
        said: String,
    },

    /// No whole answer inside the limit.
    #[error("no whole answer in {} s: {stage}", limit.as_secs_f64())]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// How far it came.
        stage: Stage,
    },

    /// No connection: name not resolved, refused, unreachable.
    #[error("{endpoint} can't be reached ({why}): is it running, is the address right, is there a network?")]
    Unreachable {
        /// Who was tried.
        endpoint: String,
        /// The system's words.
        why: String,
    },

    /// A connection, but no trust.
    #[error(
        "no secure connection to {endpoint} ({why}): check the address (https?) and this machine's CA certificates"
    )]
    Tls {
        /// Who was tried.
        endpoint: String,
        /// The TLS library's words.
        why: String,
    },

    /// The connection broke in the middle of the answer.
    #[error("the connection to {endpoint} broke in the middle of the answer, after {bytes} bytes")]
    Dropped {
        /// Who was answering.
        endpoint: String,
        /// How much had come.
        bytes: usize,
    },

    /// 3xx. Not followed: the key would go along.
    #[error(
        "{endpoint} redirects (HTTP {status}) and was not followed, because the key would go along: set the base URL to where it leads"
    )]
    Redirected {
        /// Who redirects.
        endpoint: String,
        /// The HTTP status.
        status: u16,
    },

    /// Another 4xx: the request as such was refused.
    #[error("{endpoint} rejected the request (HTTP {status}){}", hint(.said))]
    Rejected {
        /// Who rejected it.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The part of the request that it did not like, where it told.
        param: String,
        /// The provider's words, shortened.
        said: String,
    },

    /// More bytes than any answer has.
    #[error("{endpoint} sent more than {limit} bytes, which no answer has; the rest was not read")]
    TooLarge {
        /// Who sent it.
        endpoint: String,
        /// What is read at most.
        limit: usize,
    },

    /// 200, but what came is no answer of the API.
    #[error("{endpoint} sent {what} instead of an answer: check the base URL and what stands between")]
    NotAnAnswer {
        /// Who sent it.
        endpoint: String,
        /// What it was: an HTML page, cut-off JSON, JSON of another shape.
        what: String,
    },

    /// The model reached our cap in the middle of its answer.
    #[error("the answer of {model} was cut off at {max_tokens} tokens, so it can't be used")]
    CutOff {
        /// Who answered.
        model: String,
        /// The cap.
        max_tokens: u32,
    },

    /// The model said nothing.
    #[error("the answer of {model} is empty, so it can't be used")]
    Empty {
        /// Who answered.
        model: String,
    },

    /// The model declined.
    #[error("{model} declined to answer{}", category.as_deref().map(|c| format!(" (category {c})")).unwrap_or_default())]
    Refused {
        /// Who declined.
        model: String,
        /// The provider's word for why.
        category: Option<String>,
    },

    /// Question and answer do not fit into the model.
    #[error("the question does not fit into the context of {model}: ask with less evidence")]
    ContextExceeded {
        /// Who was asked.
        model: String,
    },

    /// The breaker is open.
    #[error("not asked, nor for another {seconds} s, after {}: {last}", in_a_row(*.failures))]
    Resting {
        /// The kind of the last failure.
        kind: FailureKind,
        /// How many failed.
        failures: u32,
        /// When the next one is let through.
        seconds: u64,
        /// What the last one said.
        last: String,
    },

    /// The script says so.
    #[error(transparent)]
    Scripted(#[from] ModelFailure),
}

/// How far an answer had come when the time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stage {
    /// Nothing had come.
    #[error("the model had said nothing yet")]
    Waiting,
    /// Some of it had come.
    #[error("it had come as far as {bytes} bytes")]
    Reading {
        /// How much.
        bytes: usize,
    },
}

/// Whether a failure says something about the next question too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Only this question failed.
    None,
    /// The provider may be better in a minute.
    Passing,
    /// The next one would fail the same way: a key, an address, a bill.
    Lasting,
}

impl AskError {
    /// Which of the contract's kinds this is.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::NoKey(_) => FailureKind::NoKey,
            Self::KeyRefused { .. } => FailureKind::Unauthorized,
            #[cfg(feature = "aws")]
            Self::NotLetIn { .. } | Self::NotAllowed { .. } => FailureKind::Unauthorized,
            Self::RateLimited { .. } => FailureKind::RateLimited,
            Self::Overloaded { .. } => FailureKind::Overloaded,
            Self::TimedOut { .. } => FailureKind::Timeout,
            Self::ModelGone { .. }
            | Self::WrongAddress { .. }
            | Self::BadAddress { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Redirected { .. } => FailureKind::Unreachable,
            Self::Dropped { .. }
            | Self::Rejected { .. }
            | Self::TooLarge { .. }
            | Self::NotAnAnswer { .. }
            | Self::CutOff { .. }
            | Self::Empty { .. } => FailureKind::Unreadable,
            Self::Refused { .. } => FailureKind::Refused,
            Self::SpendLimit { .. }
            | Self::BudgetSpent { .. }
            | Self::LedgerBroken { .. }
            | Self::ContextExceeded { .. } => FailureKind::OverBudget,
            Self::Resting { kind, .. } => *kind,
            Self::Scripted(failure) => failure.kind,
        }
    }

    /// Tells what there is instead of a model that is gone.
    pub(crate) fn with_available(self, others: Vec<String>) -> Self {
        match self {
            Self::ModelGone { endpoint, model, said, .. } => {
                Self::ModelGone { endpoint, model, said, available: others }
            }
            other => other,
        }
    }

    /// What the breaker should make of it.
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::KeyRefused { .. }
            | Self::ModelGone { .. }
            | Self::WrongAddress { .. }
            | Self::BadAddress { .. }
            | Self::SpendLimit { .. }
            | Self::Redirected { .. } => Trouble::Lasting,
            #[cfg(feature = "aws")]
            Self::NotLetIn { .. } | Self::NotAllowed { .. } => Trouble::Lasting,
            Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Dropped { .. }
            | Self::TooLarge { .. }
            | Self::NotAnAnswer { .. } => Trouble::Passing,
            Self::Scripted(failure) => match failure.kind {
                FailureKind::Unauthorized => Trouble::Lasting,
                FailureKind::RateLimited
                | FailureKind::Overloaded
                | FailureKind::Timeout
                | FailureKind::Unreachable => Trouble::Passing,
                _ => Trouble::None,
            },
            Self::NoKey(_)
            | Self::BudgetSpent { .. }
            | Self::LedgerBroken { .. }
            | Self::Rejected { .. }
            | Self::CutOff { .. }
            | Self::Empty { .. }
            | Self::Refused { .. }
            | Self::ContextExceeded { .. }
            | Self::Resting { .. } => Trouble::None,
        }
    }
}

impl From<AskError> for ModelFailure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Scripted(failure) => failure,
            other => Self { kind: other.kind(), detail: other.to_string() },
        }
    }
}

/// What the provider said, if it said anything.
fn hint(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; it said “{said}”") }
}

fn comma(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(", {code}") }
}

fn wait(retry_after: &Option<Duration>) -> String {
    retry_after.map(|wait| format!(" and asks to wait {} s", wait.as_secs_f64().ceil())).unwrap_or_default()
}

fn in_a_row(failures: u32) -> String {
    if failures < 2 { "a failure".to_owned() } else { format!("{failures} failures in a row; the last") }
}

/// The first few of what there is instead.
fn known(available: &[String]) -> String {
    if available.is_empty() {
        return String::new();
    }
    let shown: Vec<&str> = available.iter().take(5).map(String::as_str).collect();
    let more = if available.len() > shown.len() { ", …" } else { "" };
    format!(" (it has {}{more})", shown.join(", "))
}
