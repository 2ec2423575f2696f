//! Groups: failures with one cause, and what people decided about them.

use std::time::Duration;

use coroner_diagnosis::{Diagnosis, UnknownWord};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{Error, Listed, PassedAfter};

/// How many days a group's trend goes back, today included.
pub const TREND_DAYS: usize = 14;

/// What people decided about a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// Somebody should look at it.
    #[default]
    Open,
    /// Known, and not worth a word, for a time or for good.
    Muted,
    /// Mended. It opens by itself when it recurs.
    Resolved,
}

impl GroupState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Muted, Self::Resolved];

    /// The spelling in JSON and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Muted => "muted",
            Self::Resolved => "resolved",
        }
    }
}

impl std::str::FromStr for GroupState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let unknown = || UnknownWord { text: text.to_owned(), expected: &["open", "muted", "resolved"] };
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(unknown)
    }
}

/// What comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum GroupOrder {
    /// The one that was seen last.
    #[default]
    Latest,
    /// The one with most experiments.
    Largest,
    /// The one that was first seen last.
    Newest,
}

impl std::str::FromStr for GroupOrder {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "latest" => Ok(Self::Latest),
            "largest" => Ok(Self::Largest),
            "newest" => Ok(Self::Newest),
            _ => Err(UnknownWord { text: text.to_owned(), expected: &["latest", "largest", "newest"] }),
        }
    }
}

/// Which groups to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct GroupQuery {
    /// How many at once: 50 if not said, 200 at most.
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Only these.
    pub state: Option<GroupState>,
    /// What comes first.
    pub order: GroupOrder,
}

impl GroupQuery {
    pub(crate) fn page_size(&self) -> usize {
        self.limit.unwrap_or(50).clamp(1, 200)
    }

    /// Where the page begins: the value that it is ordered by, and the id, of the last group before it.
    pub(crate) fn after(&self) -> Result<(i64, i64), Error> {
        let Some(text) = &self.cursor else { return Ok((i64::MAX, i64::MAX)) };
        let parse = || {
            let (value, id) = text.strip_prefix("g1.")?.split_once('.')?;
            Some((i64::from_str_radix(value, 16).ok()?, i64::from_str_radix(id, 16).ok()?))
        };
        parse().ok_or_else(|| Error::Cursor { text: text.chars().take(80).collect() })
    }
}

/// One page of groups.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupPage {
    /// In the order asked for.
    pub groups: Vec<Group>,
    /// Where the next page begins; absent on the last.
    pub next_cursor: Option<String>,
}

/// Failures with one cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Of the cause; the group's name.
    pub signature: String,
    /// Other signatures that were joined to it.
    pub members: Vec<String>,
    /// What people decided.
    pub state: GroupState,
    /// Until when it is muted; without it, until somebody says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<Timestamp>,
    /// Who looks after it.
    pub assignee: Option<String>,
    /// Who set the state.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// When it was resolved and came again.
    pub reopened_at: Option<Timestamp>,
    /// The first that was ever seen, even if it has been removed since.
    pub first_seen: Timestamp,
    /// The last that was ever seen.
    pub last_seen: Timestamp,
    /// How many experiments it holds now.
    pub count: u64,
    /// Time on the clock that they took.
    #[serde(rename = "wall_seconds", serialize_with = "in_seconds")]
    pub wall: Duration,
    /// US dollars for their proposals and diagnoses.
    pub dollars: f64,
    /// How many began on each of the last days (UTC), today last.
    pub trend: Vec<u64>,
    /// The latest of them; absent if all have been removed.
    pub latest: Option<Listed>,
    /// What succeeded after one of them.
    pub passed_after: Option<PassedAfter>,
}

pub(crate) fn in_seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

/// What somebody decides about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Not worth a word until then, or until somebody says otherwise.
    Mute(Option<Timestamp>),
    /// Mended.
    Resolve,
    /// To be looked at again.
    Open,
    /// Somebody looks after it, or nobody.
    Assign(Option<String>),
}

/// What somebody says that failures of a signature are. What is absent stays as it was judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ruling {
    /// What kind of failure.
    pub category: Option<coroner_diagnosis::Category>,
    /// How bad.
    pub severity: Option<coroner_diagnosis::Severity>,
    /// Whose fault.
    pub origin: Option<coroner_diagnosis::Origin>,
    /// Why.
    pub cause: Option<String>,
    /// What to change.
    pub fix: Option<String>,
}

impl Ruling {
    /// The diagnosis with a person's word in it. What the rules said stays beside it.
    pub(crate) fn over(&self, mut diagnosis: Diagnosis) -> Diagnosis {
        diagnosis.failure_category = self.category.unwrap_or(diagnosis.failure_category);
        diagnosis.severity = self.severity.unwrap_or(diagnosis.severity);
        diagnosis.origin = self.origin.unwrap_or(diagnosis.origin);
        diagnosis.root_cause = self.cause.clone().unwrap_or(diagnosis.root_cause);
        diagnosis.fix_suggestion = self.fix.clone().unwrap_or(diagnosis.fix_suggestion);
        diagnosis.provenance.source = coroner_diagnosis::Said::Human;
        diagnosis
    }
}

/// The signature of those failures of another whose cause holds these words, in small letters.
pub(crate) fn part_named(signature: &str, words: &str) -> String {
    let hash = Sha256::digest(words.as_bytes());
    let hex: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{signature}+{hex}")
}

/// A person's word on a signature: it decides for all failures of it that come after, until it is taken back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Correction {
    /// Its number.
    pub id: i64,
    /// What it speaks of.
    pub signature: String,
    /// What it says.
    #[serde(flatten, serialize_with = "ruling")]
    pub ruling: Ruling,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Who took it back, if somebody did.
    pub undone_by: Option<String>,
    /// When.
    pub undone_at: Option<Timestamp>,
}

fn ruling<S: Serializer>(it: &Ruling, to: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = to.serialize_map(Some(5))?;
    map.serialize_entry("category", &it.category)?;
    map.serialize_entry("severity", &it.severity)?;
    map.serialize_entry("origin", &it.origin)?;
    map.serialize_entry("root_cause", &it.cause)?;
    map.serialize_entry("fix_suggestion", &it.fix)?;
    map.end()
}

/// What a correction changes of one experiment, or would.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The experiment.
    pub experiment: crate::ExperimentId,
    /// As it is.
    pub from: Said,
    /// As it becomes.
    pub to: Said,
}

/// What a diagnosis says, as far as a person may correct it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Said {
    /// What kind of failure.
    pub category: coroner_diagnosis::Category,
    /// How bad.
    pub severity: coroner_diagnosis::Severity,
    /// Whose fault.
    pub origin: coroner_diagnosis::Origin,
    /// Why.
    pub root_cause: String,
    /// What to change.
    pub fix_suggestion: String,
}

impl Said {
    pub(crate) fn of(diagnosis: &Diagnosis) -> Self {
        Self {
            category: diagnosis.failure_category,
            severity: diagnosis.severity,
            origin: diagnosis.origin,
            root_cause: diagnosis.root_cause.clone(),
            fix_suggestion: diagnosis.fix_suggestion.clone(),
        }
    }
}

/// What came of holding a correction against the past.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replay {
    /// How many failures were looked at.
    pub looked_at: u64,
    /// How many change.
    pub changed: u64,
    /// The newest of these, fifty at most.
    pub changes: Vec<Change>,
}

/// How many people found a diagnosis helpful, and how many did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Votes {
    /// Helpful.
    pub helpful: u64,
    /// Not helpful.
    pub unhelpful: u64,
}
