//! Questions to the store and its answers: pages of the list, what is known of a signature, counts over time.

use std::collections::BTreeMap;
use std::time::Duration;

use coroner_diagnosis::{Category, Origin, Severity, Similar};
use jiff::Timestamp;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::order::{Cursor, Sort};
use crate::{CommandLine, Error, ExperimentId, LogId, Status};

/// How many searches count before they say "at least": whoever finds more narrows the search down.
pub const COUNTED: u64 = 1000;

/// How many of the newest that a search or a signature finds are sorted by how long they took or what they cost: there is
/// no index for that.
pub const SORTED: u64 = 1000;

/// Which experiments to list, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Query {
    /// How many at once: 50 if not said, 500 at most.
    pub limit: Option<usize>,
    /// The newest first, if not said.
    pub sort: Sort,
    /// `next_cursor` of the page before, in the same order.
    pub cursor: Option<String>,
    /// Only these.
    pub status: Option<Status>,
    /// Only these.
    pub category: Option<Category>,
    /// Only these.
    pub severity: Option<Severity>,
    /// Only these.
    pub origin: Option<Origin>,
    /// Only these.
    pub signature: Option<String>,
    /// Words that all occur in id, type, command or root cause. If no experiment at all has them as whole words,
    /// then words that begin like them, from three letters on.
    pub q: Option<String>,
}

impl Query {
    pub(crate) fn page_size(&self) -> usize {
        self.limit.unwrap_or(50).clamp(1, 500)
    }

    /// What is searched for, if anything is.
    pub(crate) fn typed(&self) -> Option<&str> {
        self.q.as_deref().filter(|q| !q.trim().is_empty())
    }

    /// Where the page begins.
    pub(crate) fn cursor(&self) -> Result<Option<Cursor>, Error> {
        self.cursor.as_deref().map(|text| Cursor::parse(text, self.sort)).transpose()
    }
}

/// What a person typed, in words.
pub(crate) fn words(typed: &str) -> impl Iterator<Item = &str> {
    let all = typed.split(|c: char| c.is_whitespace() || c == '\0');
    all.filter(|word| word.chars().any(char::is_alphanumeric))
}

/// Can this word stand for all that begin like it? Shorter ones would find nearly everything.
pub(crate) fn is_beginning(word: &str) -> bool {
    word.chars().filter(|c| c.is_alphanumeric()).count() >= 3
}

/// One page of the list. Its JSON is the one of the admin API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page {
    /// How many experiments the query fits, on all pages.
    pub total_count: u64,
    /// Whether there are more than `total_count`: searches by words are counted up to [`COUNTED`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub total_is_at_least: bool,
    /// Only so many of the newest that fit were sorted, for there are more (see [`SORTED`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sorted_among: Option<u64>,
    /// How many experiments run at this moment, whatever the query.
    pub running_commands: u64,
    /// Where the next page begins; absent on the last.
    pub next_cursor: Option<String>,
    /// In the order asked for.
    pub experiments: Vec<Listed>,
}

/// An experiment as the list shows it. Its JSON is the one of the admin API.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The experiment.
    pub id: ExperimentId,
    /// When it started.
    pub started_at: Timestamp,
    /// How far it has come.
    pub status: Status,
    /// The caller's name for the kind of run; empty if none was given.
    pub experiment_type: String,
    /// What ran; empty if we did not run it.
    pub command: CommandLine,
    /// How long, once it has ended and somebody saw it.
    pub duration: Option<Duration>,
    /// The largest resident set that was seen, in bytes.
    pub peak_memory: Option<u64>,
    /// US dollars that were paid for models: for its diagnosis and, of a candidate, for its proposal.
    pub dollars: f64,
    /// What it printed.
    pub log: Option<LogId>,
    /// Why it died, if it did.
    pub analysis: Option<Analysis>,
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("Listed", 8)?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("number", &self.id.number())?;
        object.serialize_field("timestamp", &self.started_at.as_second())?;
        object.serialize_field("status", &self.status)?;
        object.serialize_field("experiment_type", &self.experiment_type)?;
        object.serialize_field("duration_seconds", &self.duration.map(|d| d.as_secs_f64()))?;
        match self.dollars > 0.0 {
            true => object.serialize_field("cost_usd", &self.dollars)?,
            false => object.skip_field("cost_usd")?,
        }
        match &self.analysis {
            Some(analysis) => object.serialize_field("failure_analysis", analysis)?,
            None => object.skip_field("failure_analysis")?,
        }
        object.end()
    }
}

/// The heart of a diagnosis, as the list shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// What kind of failure. The list says `category` where the diagnosis says `failure_category`.
    pub category: Category,
    /// Why.
    pub root_cause: String,
    /// What to change.
    pub fix_suggestion: String,
    /// How bad.
    pub severity: Severity,
    /// Whose fault.
    pub origin: Origin,
    /// 0..1.
    pub confidence: f64,
    /// The same for the same cause.
    pub signature: String,
    /// Would a second try have a fair chance.
    pub retryable: bool,
    /// The rule that said it, if one did.
    pub rule: Option<String>,
}

/// An experiment and when it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Occurrence {
    /// The experiment.
    pub id: ExperimentId,
    /// When it started.
    pub started_at: Timestamp,
}

/// What is known of the failures with one signature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignatureStats {
    /// The signature.
    pub signature: String,
    /// How many experiments have it now.
    pub count: u64,
    /// The first that was ever seen, even if it has been removed since.
    pub first_seen: Timestamp,
    /// The last one; absent if all have been removed.
    pub last_seen: Option<Timestamp>,
    /// The newest of them, five at most.
    pub recent: Vec<Occurrence>,
    /// What succeeded after one of them.
    pub passed_after: Option<PassedAfter>,
}

/// A failure, and the first run of the same kind that succeeded after it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PassedAfter {
    /// What failed.
    pub failed: ExperimentId,
    /// What was run.
    pub failed_command: CommandLine,
    /// What succeeded.
    pub passed: ExperimentId,
    /// What was run: the same, or the same type with other arguments.
    pub passed_command: CommandLine,
    /// When it started.
    pub passed_at: Timestamp,
    /// Of a candidate of the lab: what was changed, in a line; empty if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

impl PassedAfter {
    /// In words, for the `fix` of a similar failure.
    #[must_use]
    pub fn in_words(&self) -> String {
        let number = self.passed.number();
        match self.change.as_deref() {
            Some("") => return format!("passed unchanged when it was tested again (exp {number})"),
            Some(change) => return format!("exp {number} passed with: {}", shortened(change, 120)),
            None => {}
        }
        if self.failed_command == self.passed_command {
            return format!("passed unchanged when it ran again (exp {number})");
        }
        // only what differs: the rest is the reader's own command
        let (before, after) = (&self.failed_command.0, &self.passed_command.0);
        if before.len() == after.len() {
            let changed = (0..after.len()).filter(|i| before[*i] != after[*i]).map(|i| {
                let option = i.checked_sub(1).map(|i| &after[i]).filter(|word| word.starts_with('-'));
                let option =
                    option.map_or(String::new(), |word| format!("{} ", word.trim_start_matches('-')));
                format!("{option}{} → {}", before[i], after[i])
            });
            let changed: Vec<_> = changed.collect();
            return format!("exp {number} passed after {}", shortened(&changed.join(", "), 120));
        }
        let new: Vec<_> = after.iter().filter(|word| !before.contains(word)).map(String::as_str).collect();
        match new.is_empty() {
            true => format!("exp {number} passed with fewer arguments"),
            false => format!("exp {number} passed with {}", shortened(&new.join(" "), 120)),
        }
    }
}

pub(crate) fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}…", &text[..cut]),
    }
}

/// An earlier failure that is like another.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarFailure {
    /// The earlier experiment.
    pub id: ExperimentId,
    /// When it started.
    pub started_at: Timestamp,
    /// 1 for the same signature, less for words in common.
    pub score: f64,
    /// Its signature.
    pub signature: String,
    /// Its root cause.
    pub root_cause: String,
    /// What succeeded after it.
    pub passed_after: Option<PassedAfter>,
}

impl From<SimilarFailure> for Similar {
    fn from(it: SimilarFailure) -> Self {
        Self {
            experiment_id: it.id.to_string(),
            score: it.score,
            fix: it.passed_after.as_ref().map(PassedAfter::in_words),
        }
    }
}

/// Counts over a window of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The window's beginning, taken back to the full hour.
    pub from: Timestamp,
    /// The window's end, taken on to the full hour; experiments that started at it are not in.
    pub to: Timestamp,
    /// All experiments that started in it.
    pub total: u64,
    /// By status.
    pub by_status: BTreeMap<Status, u64>,
    /// Those with a diagnosis, by category.
    pub by_category: BTreeMap<Category, u64>,
    /// Those with a diagnosis, by severity.
    pub by_severity: BTreeMap<Severity, u64>,
    /// Those with a diagnosis, by origin.
    pub by_origin: BTreeMap<Origin, u64>,
}

impl Summary {
    /// An empty one over full hours.
    pub(crate) fn over(from: Timestamp, to: Timestamp) -> Self {
        let hour = |ms: i64| Timestamp::from_millisecond(ms * 3_600_000).unwrap_or_default();
        Self {
            from: hour(from.as_millisecond().div_euclid(3_600_000)),
            to: hour((to.as_millisecond() + 3_599_999).div_euclid(3_600_000)),
            total: 0,
            by_status: BTreeMap::new(),
            by_category: BTreeMap::new(),
            by_severity: BTreeMap::new(),
            by_origin: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, status: Status, verdict: Option<(Category, Severity, Origin)>, count: u64) {
        self.total += count;
        *self.by_status.entry(status).or_default() += count;
        if let Some((category, severity, origin)) = verdict {
            *self.by_category.entry(category).or_default() += count;
            *self.by_severity.entry(severity).or_default() += count;
            *self.by_origin.entry(origin).or_default() += count;
        }
    }
}

/// What was spent on a model on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spent {
    /// How often it was asked.
    pub calls: u64,
    /// US dollars.
    pub dollars: f64,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Where it is.
    pub location: String,
    /// Version of its schema.
    pub schema: i64,
    /// How many experiments it holds.
    pub experiments: u64,
    /// How many of them run.
    pub running: u64,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// Bytes of the logs as they are stored, those inside the database included.
    pub log_bytes: u64,
    /// What is damaged; empty if all is well or nothing was looked for.
    pub problems: Vec<String>,
    /// Why large logs can't be where they should, if they are to be elsewhere than on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
}
