//! Groups: failures with one cause, how often and since when, what they cost, what got past them.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use coroner_store::{Group, GroupOrder, GroupQuery, GroupState, Query, Stretch};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::chart::{self, days_before};
use super::experiments::{Row, Sorting, encoded};
use super::parts::Markup;
use super::{Frame, assets, figures, parts, whole};
use crate::Desk;
use crate::api::parameters::{Params, given, word};
use crate::auth::Caller;
use crate::failure::{Answer, Failure};

/// What is asked for of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    state: Option<String>,
    order: Option<String>,
    cursor: Option<String>,
}

/// A group as the list shows it.
struct Line {
    group: Group,
    trend: Markup,
    /// First seen in the last 24 hours.
    new: bool,
}

impl Line {
    fn of(group: Group, now: Timestamp) -> Self {
        let new = group.first_seen >= now - SignedDuration::from_hours(24);
        Self { trend: chart::sparkline(&group.trend, "failures"), new, group }
    }
}

#[derive(Template)]
#[template(path = "groups.html")]
struct Groups {
    frame: Frame,
    now: Timestamp,
    state: String,
    order: String,
    first_page: bool,
    lines: Vec<Line>,
    next: Option<String>,
}

impl Groups {
    fn address(&self, state: &str, order: &str, cursor: &str) -> String {
        let parts = [("state", state), ("order", order), ("cursor", cursor)];
        let parts: Vec<_> =
            parts.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={}", encoded(v))).collect();
        if parts.is_empty() { "/groups".to_owned() } else { format!("/groups?{}", parts.join("&")) }
    }

    /// Name, address, chosen.
    fn states(&self) -> Vec<(&'static str, String, bool)> {
        let all = [("All", ""), ("Open", "open"), ("Muted", "muted"), ("Resolved", "resolved")];
        all.iter()
            .map(|(name, word)| (*name, self.address(word, &self.order, ""), self.state == *word))
            .collect()
    }

    fn orders(&self) -> Vec<(&'static str, String, bool)> {
        let all = [("Seen last", ""), ("Most failures", "largest"), ("Newest", "newest")];
        all.iter()
            .map(|(name, word)| (*name, self.address(&self.state, word, ""), self.order == *word))
            .collect()
    }

    fn older(&self) -> Option<String> {
        self.next.as_deref().map(|cursor| self.address(&self.state, &self.order, cursor))
    }

    fn newest(&self) -> String {
        self.address(&self.state, &self.order, "")
    }
}

/// Answers `/groups`.
pub(super) async fn groups(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Which>,
) -> Answer<Response> {
    let (state, order) = (which.state.clone().unwrap_or_default(), which.order.clone().unwrap_or_default());
    let cursor = given(which.cursor);
    let query = GroupQuery {
        limit: Some(50),
        cursor: cursor.clone(),
        state: word::<GroupState>("state", which.state)?,
        order: word::<GroupOrder>("order", which.order)?.unwrap_or_default(),
    };
    let now = Timestamp::now();
    let page = desk.store().groups(query, now).await?;
    whole(&Groups {
        frame: Frame::of(&desk, "Groups", caller).await?,
        now,
        state,
        order,
        first_page: cursor.is_none(),
        lines: page.groups.into_iter().map(|group| Line::of(group, now)).collect(),
        next: page.next_cursor,
    })
}

#[derive(Template)]
#[template(path = "group.html")]
struct GroupPage {
    frame: Frame,
    now: Timestamp,
    group: Group,
    days: Vec<(String, u64)>,
    trend: Markup,
    rows: Vec<Row>,
    sorting: Sorting,
    more: bool,
    caption: &'static str,
}

impl GroupPage {
    fn all(&self) -> String {
        format!("/experiments?signature={}", encoded(&self.group.signature))
    }
}

/// Answers `/groups/{signature}`.
pub(super) async fn group(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(signature): Path<String>,
) -> Answer<Response> {
    let now = Timestamp::now();
    let group = desk.store().group(&signature, now).await?.ok_or_else(|| {
        Failure::not_found(format!(
            "no failure has the signature `{}`",
            crate::api::parameters::short(&signature)
        ))
    })?;
    let query = Query { signature: Some(group.signature.clone()), limit: Some(20), ..Query::default() };
    let page = desk.store().list(query).await?;
    let first = group.trend.len() as i64 - 1;
    let days = group
        .trend
        .iter()
        .enumerate()
        .map(|(i, count)| (days_before(now, first - i as i64).strftime("%a %-d %b").to_string(), *count));
    whole(&GroupPage {
        frame: Frame::of(&desk, "Groups", caller).await?,
        now,
        days: days.collect(),
        trend: trend_chart(&group, now),
        rows: page.experiments.into_iter().map(Row::from).collect(),
        sorting: Sorting::default(),
        more: page.next_cursor.is_some(),
        caption: "The newest failures of this group",
        group,
    })
}

/// The group's days, drawn like the chart of the overview.
fn trend_chart(group: &Group, now: Timestamp) -> Markup {
    let Some(category) = group.latest.as_ref().and_then(|l| l.analysis.as_ref()).map(|a| a.category) else {
        return Markup::default();
    };
    let first = group.trend.len() as i64 - 1;
    let days = group.trend.iter().enumerate().map(|(i, count)| Stretch {
        start: days_before(now, first - i as i64),
        counts: [(category.to_string(), *count)].into_iter().collect(),
    });
    let days: Vec<_> = days.collect();
    Plot { chart: chart::Stack::of_categories(&days) }.render().map(Markup).unwrap_or_default()
}

#[derive(Template)]
#[template(path = "stack.html")]
struct Plot {
    chart: chart::Stack,
}
