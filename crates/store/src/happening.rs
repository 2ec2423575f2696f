//! What happens in the store, in its order, whoever does it: for those who look on.

use jiff::Timestamp;
use serde::Serialize;

use crate::Listed;

/// Whoever listens again waits for those who speak seldom, but not for longer, in milliseconds.
pub(crate) const LONGEST_GRACE: i64 = 3600 * 1000;

/// What has happened to an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It began.
    Started,
    /// It came to its end, however.
    Ended,
    /// It has another diagnosis.
    Diagnosed,
}

impl What {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ended => "ended",
            Self::Diagnosed => "diagnosed",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Happening {
    /// Grows with each.
    pub id: i64,
    /// What.
    pub what: What,
    /// To which experiment, as it is now.
    pub experiment: Listed,
}

/// Counts of one stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// Its beginning.
    pub start: Timestamp,
    /// How many experiments that started in it have each word.
    pub counts: std::collections::BTreeMap<String, u64>,
}

/// By which word to count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum By {
    /// running, passed, failed and so on.
    Status,
    /// Of the failures.
    #[default]
    Category,
    /// Of the failures.
    Severity,
    /// Of the failures.
    Origin,
    /// All that have ended, by the caller's name for the kind of run.
    Type,
}

/// How long a stretch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Step {
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight, UTC.
    #[default]
    Day,
}

impl Step {
    pub(crate) fn hours(self) -> i64 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
        }
    }
}
