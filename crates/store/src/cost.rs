//! What failures have cost, and which cost most.

use std::collections::BTreeMap;
use std::time::Duration;

use coroner_diagnosis::{Category, Origin, Severity};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::{ExperimentId, Listed, PassedAfter, RunId, Status};

/// Which experiments are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Within {
    /// Of these.
    pub scope: Scope,
    /// Only those that started in or after the full hour of this moment.
    pub since: Option<Timestamp>,
    /// Only those that started before this moment's full hour was over.
    pub until: Option<Timestamp>,
}

/// Whose experiments are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    #[default]
    All,
    /// Those of one type. A task's name is the type of its candidates.
    Type(String),
    /// Those of one run of the loop.
    Run(RunId),
}

/// Which signatures to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopQuery {
    /// Among these experiments.
    pub within: Within,
    /// Only failures of this origin.
    pub origin: Option<Origin>,
    /// Leave out what ran and was only not good enough to be taken over.
    pub failures_only: bool,
    /// What comes first.
    pub order: TopOrder,
    /// How many.
    pub limit: usize,
}

impl TopQuery {
    /// Is an experiment that ended so looked at?
    pub(crate) fn counts(&self, status: Status) -> bool {
        status.failed() || status == Status::Rejected && !self.failures_only
    }
}

/// Which signatures come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TopOrder {
    /// The most frequent; among equals those that took most time, then the cause that was first seen last.
    #[default]
    Count,
    /// Those that took most time on the clock; among equals the most frequent.
    Time,
}

impl TopOrder {
    /// Which of two sums comes first.
    pub(crate) fn compare(self, a: &Taken, b: &Taken) -> std::cmp::Ordering {
        let by_count = b.experiments.cmp(&a.experiments);
        let by_time = b.wall.cmp(&a.wall);
        match self {
            Self::Count => by_count.then(by_time),
            Self::Time => by_time.then(by_count),
        }
    }
}

/// A window in full hours since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: i64,
    /// Not in it.
    pub(crate) to: i64,
}

impl Span {
    /// No hour that any clock says.
    const NEVER: i64 = 24 * 1_000_000;

    /// Nothing if all of time is asked for.
    pub(crate) fn of(within: &Within) -> Option<Self> {
        if within.since.is_none() && within.until.is_none() {
            return None;
        }
        let hour = |at: Timestamp, more: i64| (at.as_millisecond().max(0) + more) / 3_600_000;
        Some(Self {
            from: within.since.map_or(0, |at| hour(at, 0)),
            to: within.until.map_or(Self::NEVER, |at| hour(at, 3_599_999)),
        })
    }

    #[cfg(test)]
    pub(crate) fn holds(self, at: Timestamp) -> bool {
        (self.from..self.to).contains(&(at.as_millisecond() / 3_600_000))
    }
}

/// What some experiments have taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Taken {
    /// How many.
    pub experiments: u64,
    /// Time on the clock, of those that were watched.
    #[serde(rename = "wall_seconds", serialize_with = "in_seconds")]
    pub wall: Duration,
    /// Processor time, where it was measured.
    #[serde(rename = "cpu_seconds", serialize_with = "in_seconds")]
    pub cpu: Duration,
    /// US dollars for proposals and diagnoses.
    pub dollars: f64,
}

fn in_seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

impl Taken {
    /// Adds up. Dollars are rounded to a billionth, so that the order of many small sums does not matter.
    pub(crate) fn add(&mut self, other: &Self) {
        self.experiments += other.experiments;
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.dollars = ((self.dollars + other.dollars) * 1e9).round() / 1e9;
    }
}

/// One cause of failure: how often, how much it took, and what got past it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignatureCost {
    /// The same for the same cause.
    pub signature: String,
    /// What kind of failure; like the next five, as the latest of them was judged.
    pub category: Category,
    /// How bad.
    pub severity: Severity,
    /// Whose fault.
    pub origin: Origin,
    /// Why.
    pub root_cause: String,
    /// What to change.
    pub fix_suggestion: String,
    /// The experiment that failed so last.
    pub last: ExperimentId,
    /// Its short number.
    pub last_number: u64,
    /// When that started.
    pub last_at: Timestamp,
    /// How many failed so and what that took.
    #[serde(flatten)]
    pub taken: Taken,
    /// What got past it.
    pub fixed_by: Option<FixedBy>,
}

impl SignatureCost {
    /// As the latest failure was judged; `None` if it has no analysis.
    pub(crate) fn of(last: Listed, taken: Taken, fixed_by: Option<PassedAfter>) -> Option<Self> {
        last.analysis.map(|analysis| Self {
            signature: analysis.signature,
            category: analysis.category,
            severity: analysis.severity,
            origin: analysis.origin,
            root_cause: analysis.root_cause,
            fix_suggestion: analysis.fix_suggestion,
            last_number: last.id.number(),
            last: last.id,
            last_at: last.started_at,
            taken,
            fixed_by: fixed_by.map(Into::into),
        })
    }
}

/// What got past a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FixedBy {
    /// The experiment that failed.
    pub failed: ExperimentId,
    /// The one that came from it, or after it, and did not.
    pub passed: ExperimentId,
    /// The passed one's short number.
    pub number: u64,
    /// What was changed in between, in words that name the number.
    pub how: String,
}

impl From<PassedAfter> for FixedBy {
    fn from(it: PassedAfter) -> Self {
        Self { how: it.in_words(), number: it.passed.number(), failed: it.failed, passed: it.passed }
    }
}

/// What experiments have taken, and how much of that was lost to failures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Costs {
    /// The beginning of what was counted, a full hour; absent if everything was.
    pub from: Option<Timestamp>,
    /// The end of what was counted, a full hour; absent if everything was.
    pub to: Option<Timestamp>,
    /// All that ended.
    pub total: Taken,
    /// Those that failed.
    pub lost: Taken,
    /// Candidates that ran but were not taken over: not lost, but not won either.
    pub rejected: Taken,
    /// What was lost, by kind of failure. Failures without a diagnosis are in none.
    pub by_category: BTreeMap<Category, Taken>,
    /// What was lost, by whose fault it was.
    pub by_origin: BTreeMap<Origin, Taken>,
    /// How many different causes there were.
    pub signatures: u64,
}

impl Costs {
    /// Empty ones.
    pub(crate) fn over(within: &Within) -> Self {
        let span = Span::of(within);
        let moment = |hour: i64| Timestamp::from_millisecond(hour * 3_600_000).ok();
        Self {
            from: span.filter(|_| within.since.is_some()).and_then(|span| moment(span.from)),
            to: span.filter(|_| within.until.is_some()).and_then(|span| moment(span.to)),
            ..Self::default()
        }
    }

    /// Adds experiments that ended alike and were judged alike; says whether they were lost.
    pub(crate) fn add(
        &mut self,
        status: Status,
        category: Option<Category>,
        origin: Option<Origin>,
        taken: &Taken,
    ) -> bool {
        self.total.add(taken);
        if status == Status::Rejected {
            self.rejected.add(taken);
        }
        if !status.failed() {
            return false;
        }
        self.lost.add(taken);
        if let (Some(category), Some(origin)) = (category, origin) {
            self.by_category.entry(category).or_default().add(taken);
            self.by_origin.entry(origin).or_default().add(taken);
        }
        true
    }
}

/// A rule of the policy and how many candidates it has refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyRefusals {
    /// The rule's id.
    pub rule: String,
    /// How many candidates; counted up to [`crate::COUNTED`].
    pub candidates: u64,
    /// When it last refused one.
    pub last_at: Timestamp,
}
