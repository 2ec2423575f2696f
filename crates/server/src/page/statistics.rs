//! Counts over time, by category, severity, origin and type, and what failures cost.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use coroner_store::{By, Costs, Error, Status, Step, Store, Stretch, Summary, TopOrder, TopQuery, Within};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::chart::{Stack, days_before};
use super::overview::{Share, shares};
use super::{Frame, assets, figures, hour, parts, whole};
use crate::Desk;
use crate::api::parameters::Params;
use crate::auth::Caller;
use crate::failure::{Answer, Failure};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    days: Option<String>,
}

/// A word and how often it occurs.
struct Count {
    word: String,
    count: u64,
    width: String,
    percent: String,
    href: Option<String>,
}

/// The most frequent first.
fn counted(all: Vec<(String, u64, Option<String>)>) -> Vec<Count> {
    let (sum, most) =
        (all.iter().map(|c| c.1).sum::<u64>(), all.iter().map(|c| c.1).max().unwrap_or(0).max(1));
    let mut counts: Vec<_> = all
        .into_iter()
        .filter(|(_, count, _)| *count > 0)
        .map(|(word, count, href)| Count {
            width: format!("{:.1}%", count as f64 / most as f64 * 100.0),
            percent: figures::percent(count, sum),
            word,
            count,
            href,
        })
        .collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.count));
    counts
}

fn words<T: std::fmt::Display>(name: &str, of: &std::collections::BTreeMap<T, u64>) -> Vec<Count> {
    let all = of.iter().map(|(word, count)| {
        (word.to_string().replace('_', " "), *count, Some(format!("/experiments?{name}={word}")))
    });
    counted(all.collect())
}

#[derive(Template)]
#[template(path = "statistics.html")]
struct Statistics {
    frame: Frame,
    days: i64,
    summary: Summary,
    chart: Stack,
    /// Title and counts.
    tables: Vec<(&'static str, Vec<Count>)>,
    costs: Costs,
    shares: Vec<Share>,
    dear: Vec<coroner_store::SignatureCost>,
    now: Timestamp,
}

impl Statistics {
    fn spans(&self) -> [(i64, bool); 3] {
        [7, 14, 30].map(|days| (days, days == self.days))
    }

    fn succeeded(&self) -> String {
        let of = |status| self.summary.by_status.get(&status).copied().unwrap_or(0);
        figures::percent(of(Status::Passed) + of(Status::Adopted), self.summary.total - of(Status::Running))
    }

    fn wasted(&self) -> String {
        let (lost, all) = (self.costs.lost.wall.as_millis() as u64, self.costs.total.wall.as_millis() as u64);
        figures::percent(lost, all)
    }
}

/// What the store says of so many days.
pub(super) struct Counted {
    summary: Summary,
    costs: Costs,
    kinds: Vec<Stretch>,
    categories: Vec<Stretch>,
    dear: Vec<coroner_store::SignatureCost>,
}

async fn count(store: &Store, from: Timestamp, now: Timestamp) -> Result<Counted, Error> {
    let within = || Within { since: Some(from), ..Within::default() };
    let question =
        TopQuery { within: within(), origin: None, failures_only: true, order: TopOrder::Time, limit: 10 };
    Ok(Counted {
        summary: store.summary(from, now + SignedDuration::from_hours(1)).await?,
        costs: store.costs(within()).await?,
        kinds: store.series(from, now, By::Type, Step::Day).await?,
        categories: store.series(from, now, By::Category, Step::Day).await?,
        dear: store.top_signatures(question).await?,
    })
}

/// How often each word occurs in all stretches together.
fn sums(series: &[Stretch]) -> Vec<(String, u64, Option<String>)> {
    let mut sums = std::collections::BTreeMap::<&str, u64>::new();
    for (word, count) in series.iter().flat_map(|stretch| &stretch.counts) {
        *sums.entry(word).or_default() += count;
    }
    sums.into_iter().map(|(word, count)| (word.to_owned(), count, None)).collect()
}

/// Answers `/statistics`.
pub(super) async fn statistics(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Params(window): Params<Window>,
) -> Answer<Response> {
    let days = match window.days.as_deref() {
        None | Some("") => 14,
        Some(text) => match text.parse::<i64>() {
            Ok(days @ 1..=90) => days,
            _ => return Err(Failure::invalid("days: a number from 1 to 90 is wanted")),
        },
    };
    let (store, now) = (desk.store(), Timestamp::now());
    let from = days_before(now, days - 1);
    let counted_now = count(store, from, now);
    let found = desk.pages().statistics.get(store, (days, hour(now)), counted_now).await?;
    let (summary, costs) = (found.summary.clone(), found.costs.clone());
    whole(&Statistics {
        frame: Frame::of(&desk, "Statistics", caller).await?,
        days,
        chart: Stack::of_categories(&found.categories),
        tables: vec![
            ("By status", words("status", &summary.by_status)),
            ("By category", words("category", &summary.by_category)),
            ("By severity", words("severity", &summary.by_severity)),
            ("By origin", words("origin", &summary.by_origin)),
            ("By type", counted(sums(&found.kinds)).into_iter().take(12).collect()),
        ],
        summary,
        shares: shares(&costs),
        costs,
        dear: found.dear.clone(),
        now,
    })
}
