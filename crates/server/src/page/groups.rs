//! Groups: failures with one cause, how often and since when, what they cost, what got past them.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use coroner_store::{Group, GroupOrder, GroupPage, GroupQuery, GroupState};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::chart;
use super::experiments::encoded;
use super::parts::Markup;
use super::{Frame, assets, figures, parts, whole};
use crate::Desk;
use crate::api::parameters::{Params, given, word};
use crate::auth::Caller;
use crate::failure::Answer;

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
    fn of(group: Group, trend: Markup, now: Timestamp) -> Self {
        let new = group.first_seen >= now - SignedDuration::from_hours(24);
        Self { trend, new, group }
    }
}

/// A page of groups, and how their trends are drawn.
pub(super) struct Drawn {
    pub(super) page: GroupPage,
    trends: Vec<Markup>,
}

impl Drawn {
    pub(super) fn of(page: GroupPage) -> Self {
        let trends = page.groups.iter().map(|group| chart::sparkline(&group.trend, "failures"));
        Self { trends: trends.collect(), page }
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
    let found = desk.pages().groups(desk.store(), query, now).await?;
    let lines = found.page.groups.iter().zip(&found.trends);
    whole(&Groups {
        frame: Frame::of(&desk, "Groups", caller).await?,
        now,
        state,
        order,
        first_page: cursor.is_none(),
        lines: lines.map(|(group, trend)| Line::of(group.clone(), trend.clone(), now)).collect(),
        next: found.page.next_cursor.clone(),
    })
}
