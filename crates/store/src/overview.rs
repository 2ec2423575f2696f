//! What the morning's page shows, asked for at once: one state of the store, in one go.

use jiff::{SignedDuration, Timestamp};

use crate::{
    Costs, Group, GroupOrder, GroupQuery, GroupState, Page, Query, SignatureCost, Status, Stretch, Summary,
    TopOrder, TopQuery, Within,
};

/// How much of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OverviewQuery {
    /// Days of the chart, the one of `now` included.
    pub days: u32,
    /// Newest groups.
    pub newest: usize,
    /// Groups with most failures.
    pub top: usize,
    /// Running experiments.
    pub running: usize,
}

/// What broke, what it cost and what to look at first.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// The last 24 hours.
    pub day: Summary,
    /// The 24 hours before.
    pub before: Summary,
    /// Open groups, the newest first.
    pub newest: Vec<Group>,
    /// Failures by category, day by day.
    pub days: Vec<Stretch>,
    /// What the last 24 hours cost. (How many causes that were is not counted.)
    pub day_costs: Costs,
    /// What the last seven days cost. (The same.)
    pub week_costs: Costs,
    /// The most frequent causes of the seven days, and how often each failed on each of the last days.
    pub top: Vec<(SignatureCost, Vec<u64>)>,
    /// What runs, the newest first.
    pub running: Page,
    /// Is anything kept?
    pub empty: bool,
}

/// The questions that an overview is made of.
pub(crate) struct Questions {
    pub(crate) day: (Timestamp, Timestamp),
    pub(crate) before: (Timestamp, Timestamp),
    pub(crate) newest: GroupQuery,
    pub(crate) days: (Timestamp, Timestamp),
    pub(crate) day_costs: Within,
    pub(crate) week_costs: Within,
    pub(crate) top: TopQuery,
    pub(crate) running: Query,
}

impl Questions {
    pub(crate) fn of(query: OverviewQuery, now: Timestamp) -> Self {
        let ago = |hours: i64| now - SignedDuration::from_hours(hours);
        let since = |hours| Within { since: Some(ago(hours)), ..Within::default() };
        Self {
            day: (ago(24), now),
            before: (ago(48), ago(24)),
            newest: GroupQuery {
                order: GroupOrder::Newest,
                state: Some(GroupState::Open),
                limit: Some(query.newest),
                cursor: None,
            },
            days: (ago(24 * (i64::from(query.days) - 1)), now),
            day_costs: since(24),
            week_costs: since(7 * 24),
            top: TopQuery {
                within: since(7 * 24),
                origin: None,
                failures_only: true,
                order: TopOrder::Count,
                limit: query.top,
            },
            running: Query { status: Some(Status::Running), limit: Some(query.running), ..Query::default() },
        }
    }
}
