//! What happened, as far as it decides about alerts: the store's records cut down to size.

use coroner_diagnosis::{Category, Origin, Severity};
use coroner_store::{AlertCause, AlertEvent, AlertFailure, Run};
use serde::{Deserialize, Serialize};

/// So much of a cause or of a fix is told.
const SENTENCE: usize = 400;
/// So much of a line of evidence.
const LINE: usize = 300;
/// So many lines of evidence.
const LINES: usize = 5;

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Failed(Box<Failure>),
    Stopped(Stopped),
}

/// A failure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    /// Of its group.
    pub(crate) signature: String,
    pub(crate) severity: Severity,
    pub(crate) category: Category,
    pub(crate) origin: Origin,
    pub(crate) kind: String,
    pub(crate) is_new: bool,
    pub(crate) reopened: bool,
    /// People muted or resolved its group.
    pub(crate) is_quiet: bool,
    pub(crate) of_loop: bool,
    pub(crate) host: Option<String>,
    /// When it ended, in milliseconds.
    pub(crate) at: i64,
    pub(crate) wall_ms: u64,
    /// It had ended before and was judged anew.
    pub(crate) again: bool,
    pub(crate) told: Vec<String>,
    pub(crate) sample: Sample,
}

/// A failure as a message tells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The experiment's number.
    pub(crate) number: u64,
    /// Its id.
    pub(crate) id: String,
    pub(crate) cause: String,
    pub(crate) fix: String,
    pub(crate) evidence: Vec<Line>,
}

/// A line that proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) source: String,
    pub(crate) line: u64,
    pub(crate) text: String,
}

/// A run of the loop that was stopped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stopped {
    pub(crate) run: u64,
    pub(crate) task: String,
    pub(crate) reason: String,
    pub(crate) host: Option<String>,
    pub(crate) at: i64,
    pub(crate) wall_ms: u64,
}

impl Event {
    /// As the store tells it; nothing of what is gone.
    pub(crate) fn of(event: &AlertEvent) -> Option<Self> {
        match &event.cause {
            AlertCause::Failed(it) => failure(it).map(|failure| Self::Failed(Box::new(failure))),
            AlertCause::Stopped(run) => Some(Self::Stopped(stopped(run))),
            AlertCause::Gone => None,
        }
    }

    /// The same; what is said to be yet to come happened now.
    pub(crate) fn not_after(&self, now: i64) -> Self {
        let mut it = self.clone();
        match &mut it {
            Self::Failed(failure) => failure.at = failure.at.min(now),
            Self::Stopped(stopped) => stopped.at = stopped.at.min(now),
        }
        it
    }
}

fn failure(it: &AlertFailure) -> Option<Failure> {
    let diagnosis = it.experiment.diagnosis.as_ref()?;
    let listed = &it.experiment.listed;
    let lines = diagnosis.evidence.iter().take(LINES).map(|item| Line {
        source: item.source.to_string(),
        line: item.line,
        text: cut(&item.text, LINE),
    });
    Some(Failure {
        signature: it.signature.clone(),
        severity: diagnosis.severity,
        category: diagnosis.failure_category,
        origin: diagnosis.origin,
        kind: listed.experiment_type.clone(),
        is_new: it.is_new,
        reopened: it.reopened,
        is_quiet: it.is_quiet,
        of_loop: it.run.is_some(),
        host: it.experiment.owner.as_ref().map(|owner| cut(&owner.host, 64)).filter(|host| !host.is_empty()),
        at: it.ended_at.as_millisecond(),
        wall_ms: listed.duration.map_or(0, |wall| u64::try_from(wall.as_millis()).unwrap_or(u64::MAX >> 20)),
        again: it.again,
        told: it.told.clone(),
        sample: Sample {
            number: listed.id.number(),
            id: cut(&listed.id.to_string(), 120),
            cause: cut(&diagnosis.root_cause, SENTENCE),
            fix: cut(&diagnosis.fix_suggestion, SENTENCE),
            evidence: lines.collect(),
        },
    })
}

fn stopped(run: &Run) -> Stopped {
    let at = run.ended_at.unwrap_or(run.started_at).as_millisecond();
    Stopped {
        run: run.id.number(),
        task: cut(&run.task, 120),
        reason: cut(run.reason.as_deref().unwrap_or("for a reason that was not kept"), SENTENCE),
        host: Some(cut(&run.owner.host, 64)).filter(|host| !host.is_empty()),
        at,
        wall_ms: u64::try_from(at - run.started_at.as_millisecond()).unwrap_or(0),
    }
}

/// The beginning of a text, with a sign that there was more.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
