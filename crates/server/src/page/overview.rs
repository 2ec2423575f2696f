//! The morning's page: what is new, what broke, whose fault it was, what it cost, what to do first.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use coroner_diagnosis::Origin;
use coroner_store::{Costs, Group, OverviewQuery, SignatureCost, Status, Summary, Taken};
use jiff::{SignedDuration, Timestamp};

use super::chart::{self, Stack};
use super::experiments::Row;
use super::parts::Markup;
use super::{Frame, assets, figures, hour, parts, whole};
use crate::Desk;
use crate::auth::Caller;
use crate::failure::Answer;

/// How many days the chart goes back, today included.
const DAYS: u32 = 14;
/// How many new causes, top groups and running experiments are named.
const NEW: usize = 6;
const TOP: usize = 8;
const RUNNING: usize = 6;

/// A group with its trend.
struct Top {
    cost: SignatureCost,
    trend: Markup,
}

/// A part of what was lost.
pub(super) struct Share {
    pub(super) origin: Origin,
    pub(super) taken: Taken,
    /// Of the largest, in per cent.
    pub(super) width: String,
    pub(super) percent: String,
}

/// What was lost by whose fault, the largest first, by time where any was measured.
pub(super) fn shares(costs: &Costs) -> Vec<Share> {
    let weight = |taken: &Taken| match costs.lost.wall.is_zero() {
        true => taken.experiments as f64,
        false => taken.wall.as_secs_f64(),
    };
    let all: f64 = costs.by_origin.values().map(weight).sum();
    let most = costs.by_origin.values().map(weight).fold(0.0, f64::max);
    let mut shares: Vec<_> = costs
        .by_origin
        .iter()
        .filter(|(_, taken)| taken.experiments > 0)
        .map(|(origin, taken)| Share {
            origin: *origin,
            taken: *taken,
            width: format!("{:.1}%", weight(taken) / most.max(f64::MIN_POSITIVE) * 100.0),
            percent: figures::percent((weight(taken) * 1000.0) as u64, (all * 1000.0) as u64),
        })
        .collect();
    shares.sort_by(|a, b| weight(&b.taken).total_cmp(&weight(&a.taken)));
    shares
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    now: Timestamp,
    /// Nothing was ever kept.
    empty: bool,
    day: Summary,
    before: Summary,
    day_costs: Costs,
    week: Costs,
    fresh: Vec<Group>,
    more_fresh: bool,
    /// Nothing, if nothing failed in these days.
    chart: Option<Markup>,
    shares: Vec<Share>,
    top: Vec<Top>,
    running: Vec<Row>,
}

fn failures(summary: &Summary) -> u64 {
    [Status::Failed, Status::TestFailed, Status::Lost].iter().filter_map(|s| summary.by_status.get(s)).sum()
}

fn ended(summary: &Summary) -> u64 {
    summary.total - summary.by_status.get(&Status::Running).copied().unwrap_or(0).min(summary.total)
}

impl Overview {
    fn failed(&self) -> u64 {
        failures(&self.day)
    }

    /// `12 more than the day before`
    fn compared(&self) -> String {
        let (now, before) = (self.failed(), failures(&self.before));
        match now.cmp(&before) {
            std::cmp::Ordering::Equal => "as many as the day before".to_owned(),
            std::cmp::Ordering::Greater => {
                format!("{} more than the day before", figures::thousands(now - before))
            }
            std::cmp::Ordering::Less => {
                format!("{} fewer than the day before", figures::thousands(before - now))
            }
        }
    }

    fn share_failed(&self) -> String {
        figures::percent(self.failed(), ended(&self.day))
    }

    fn lost(&self, costs: &Costs) -> String {
        figures::took(costs.lost.wall)
    }

    fn headline(&self) -> String {
        let failed = self.failed();
        let new = match (self.fresh.len(), self.more_fresh) {
            (0, _) => "nothing of it is new".to_owned(),
            (1, _) => "one cause is new".to_owned(),
            (n, more) => format!("{n}{} causes are new", if more { " or more" } else { "" }),
        };
        match failed {
            0 => "Nothing failed in the last 24 hours.".to_owned(),
            1 => format!("One experiment failed in the last 24 hours; {new}."),
            _ => format!("{} experiments failed in the last 24 hours; {new}.", figures::thousands(failed)),
        }
    }
}

/// What the page shows, with what is drawn of it.
pub(super) struct Drawn {
    found: coroner_store::Overview,
    chart: Option<Markup>,
    trends: Vec<Markup>,
}

impl Drawn {
    fn of(found: coroner_store::Overview) -> Self {
        let chart = Stack::of_categories(&found.days);
        Self {
            chart: (!chart.is_empty()).then(|| chart.drawn()),
            trends: found.top.iter().map(|(_, trend)| chart::sparkline(trend, "failures")).collect(),
            found,
        }
    }
}

/// Answers `/`.
pub(super) async fn overview(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
) -> Answer<Response> {
    let (store, now) = (desk.store(), Timestamp::now());
    let query = OverviewQuery { days: DAYS, newest: NEW + 1, top: TOP, running: RUNNING };
    let ask = async { store.overview(query, now).await.map(Drawn::of) };
    let drawn = desk.pages().overview.get(store, hour(now), ask).await?;
    let found = &drawn.found;
    let yesterday = now - SignedDuration::from_hours(24);
    let mut fresh: Vec<Group> =
        found.newest.iter().filter(|group| group.first_seen >= yesterday).cloned().collect();
    let more_fresh = fresh.len() > NEW;
    fresh.truncate(NEW);
    // the worst first, of the same severity the most frequent
    fresh.sort_by_key(|group| {
        (
            group.latest.as_ref().and_then(|l| l.analysis.as_ref()).map(|a| a.severity),
            std::cmp::Reverse(group.count),
        )
    });
    let top = found.top.iter().zip(&drawn.trends);
    let top = top.map(|((cost, _), trend)| Top { cost: cost.clone(), trend: trend.clone() });
    whole(&Overview {
        frame: Frame { here: "Overview", running: found.running.running_commands, caller, sent: None },
        now,
        empty: found.empty,
        chart: drawn.chart.clone(),
        shares: shares(&found.week_costs),
        running: found.running.experiments.iter().cloned().map(Row::from).collect(),
        day: found.day.clone(),
        before: found.before.clone(),
        day_costs: found.day_costs.clone(),
        week: found.week_costs.clone(),
        fresh,
        more_fresh,
        top: top.collect(),
    })
}
