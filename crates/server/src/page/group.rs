//! One group: how often and since when, what people decided and said of it, and what would change if they said otherwise.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use coroner_store::{Change, Correction, Group, GroupOrder, GroupQuery, Query, Replay, Ruling, Stretch};
use futures_util::future::try_join_all;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;

use super::chart::{self, days_before};
use super::experiments::{Row, Sorting, encoded};
use super::form::Sent;
use super::parts::Markup;
use super::{Frame, assets, figures, parts, whole};
use crate::Desk;
use crate::api::parameters::{Params, short};
use crate::auth::Caller;
use crate::failure::{Answer, Failure};

/// So many failures are shown.
const SHOWN: usize = 20;
/// So many other groups are offered to join.
const OTHERS: usize = 30;
/// Among so many of its newest failures it is counted what a split would move.
const COUNTED: usize = 500;

/// What is asked before it is decided.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// What would this correction change of the past?
    replay: Option<i64>,
    /// What would a split by these words move?
    words: Option<String>,
}

/// What a split would move.
struct Moved {
    words: String,
    looked_at: usize,
    moved: usize,
    /// Some of them.
    rows: Vec<Row>,
}

/// A correction as it is told: what it says, and whether it still decides.
struct Word {
    it: Correction,
    says: Vec<(&'static str, String)>,
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
    words: Vec<Word>,
    others: Vec<Group>,
    replayed: Option<(i64, Replay)>,
    moved: Option<Moved>,
}

impl GroupPage {
    /// All failures of one of its signatures.
    fn all(&self, signature: &str) -> String {
        format!("/experiments?signature={}", encoded(signature))
    }

    fn place(&self) -> String {
        format!("/groups/{}", encoded(&self.group.signature))
    }

    /// Where its forms are sent; `what` is empty, or begins with a slash.
    fn endpoint(&self, what: &str) -> String {
        endpoint(&self.group.signature, what)
    }

    fn of(&self, signature: &str, what: &str) -> String {
        endpoint(signature, what)
    }

    fn of_word(&self, id: &i64, what: &str) -> String {
        format!("/api/v1/corrections/{id}{what}")
    }

    fn is_replayed(&self, id: &i64) -> bool {
        self.replayed.as_ref().is_some_and(|(of, _)| of == id)
    }

    /// Until when it may be muted: what is sent, and its name.
    fn spans(&self) -> Vec<(String, &'static str)> {
        let spans = [(24.hours(), "for a day"), (168.hours(), "for a week"), (720.hours(), "for 30 days")];
        spans.map(|(span, name)| (seconds_of(self.now + span), name)).into()
    }

    /// What a change is, in a line.
    fn change(&self, change: &Change) -> String {
        let (from, to) = (&change.from, &change.to);
        let mut said = Vec::new();
        if from.category != to.category {
            said.push(format!("{} → {}", parts::spelt(from.category), parts::spelt(to.category)));
        }
        if from.severity != to.severity {
            said.push(format!("{} → {}", from.severity, to.severity));
        }
        if from.origin != to.origin {
            said.push(format!("{} → {}", from.origin, to.origin));
        }
        if from.root_cause != to.root_cause {
            said.push("another cause".to_owned());
        }
        if from.fix_suggestion != to.fix_suggestion {
            said.push("another fix".to_owned());
        }
        said.join(", ")
    }
}

fn seconds_of(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn endpoint(signature: &str, what: &str) -> String {
    format!("/api/v1/groups/{}{what}", encoded(signature))
}

/// What a ruling says, of what it says anything.
fn says(ruling: &Ruling) -> Vec<(&'static str, String)> {
    let mut says = Vec::new();
    says.extend(ruling.category.map(|it| ("Category", parts::spelt(it).to_owned())));
    says.extend(ruling.severity.map(|it| ("Severity", it.to_string())));
    says.extend(ruling.origin.map(|it| ("Origin", it.to_string())));
    says.extend(ruling.cause.clone().map(|it| ("Cause", it)));
    says.extend(ruling.fix.clone().map(|it| ("Fix", it)));
    says
}

/// Answers `/groups/{signature}`.
pub(super) async fn group(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(signature): Path<String>,
    Params(asked): Params<Asked>,
    sent: Option<Extension<Sent>>,
) -> Answer<Response> {
    let (store, now) = (desk.store(), Timestamp::now());
    let missing = || Failure::not_found(format!("no failure has the signature `{}`", short(&signature)));
    let group = desk.pages().group(store, &signature, now).await?.ok_or_else(missing)?;
    // each signature has a list of its own, and the newest of all are among the newest of each
    let lists = std::iter::once(&group.signature).chain(&group.members).map(|member| {
        desk.pages()
            .list(store, Query { signature: Some(member.clone()), limit: Some(SHOWN), ..Query::default() })
    });
    let lists = try_join_all(lists).await?;
    let mut rows: Vec<_> = lists.iter().flat_map(|page| page.experiments.iter().cloned()).collect();
    rows.sort_by_key(|listed| std::cmp::Reverse(listed.started_at));
    rows.truncate(SHOWN);
    let more = group.count > rows.len() as u64;
    let first = group.trend.len() as i64 - 1;
    let days = group
        .trend
        .iter()
        .enumerate()
        .map(|(i, count)| (days_before(now, first - i as i64).strftime("%a %-d %b").to_string(), *count));
    let frame = Frame::of(&desk, "Groups", caller).await?.after(sent);
    let others = match frame.may_change() {
        true => others(&desk, &group, now).await?,
        false => Vec::new(),
    };
    let mut words = Vec::new();
    // a correction speaks of one signature, and each of a group has its own
    for member in std::iter::once(&group.signature).chain(&group.members) {
        let said = store.corrections(Some(member)).await?;
        words.extend(said.into_iter().map(|it| Word { says: says(&it.ruling), it }));
    }
    let replayed = match asked.replay {
        Some(id) if words.iter().any(|word| word.it.id == id) => Some((id, store.replay(id, false).await?)),
        Some(id) => return Err(Failure::not_found(format!("this group has no correction {id}"))),
        None => None,
    };
    let moved = match asked.words.as_deref().map(str::trim) {
        Some(words) if !words.is_empty() => Some(moved(&desk, &group, words).await?),
        _ => None,
    };
    whole(&GroupPage {
        frame,
        now,
        days: days.collect(),
        trend: trend_chart(&group, now),
        rows: rows.into_iter().map(Row::from).collect(),
        sorting: Sorting::default(),
        more,
        caption: "The newest failures of this group",
        words,
        others,
        replayed,
        moved,
        group,
    })
}

/// Groups that this one may belong to: those seen last, those of the same kind first.
async fn others(desk: &Desk, group: &Group, now: Timestamp) -> Answer<Vec<Group>> {
    let query = GroupQuery { limit: Some(OTHERS + 1), order: GroupOrder::Latest, ..GroupQuery::default() };
    let mut others = desk.pages().groups(desk.store(), query, now).await?.page.groups.clone();
    let kind = |it: &Group| it.latest.as_ref().and_then(|it| it.analysis.as_ref()).map(|it| it.category);
    others.retain(|it| it.signature != group.signature && it.latest.is_some());
    others.sort_by_key(|it| kind(it) != kind(group));
    others.truncate(OTHERS);
    Ok(others)
}

/// Counts, among the newest failures of a group, those whose cause holds these words.
async fn moved(desk: &Desk, group: &Group, words: &str) -> Answer<Moved> {
    let query = Query { signature: Some(group.signature.clone()), limit: Some(COUNTED), ..Query::default() };
    let page = desk.store().list(query).await?;
    let needle = words.to_lowercase();
    let holds = |row: &coroner_store::Listed| {
        row.analysis.as_ref().is_some_and(|it| it.root_cause.to_lowercase().contains(&needle))
    };
    let looked_at = page.experiments.len();
    let moved: Vec<_> = page.experiments.into_iter().filter(holds).collect();
    let count = moved.len();
    let rows = moved.into_iter().take(5).map(Row::from).collect();
    Ok(Moved { words: words.to_owned(), looked_at, moved: count, rows })
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
    chart::Stack::of_categories(&days).drawn()
}
