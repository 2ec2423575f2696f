//! The log on a page: a window of lines, opened at the cause, with the evidence marked; more of it when it is scrolled.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use coroner_diagnosis::{Diagnosis, Role, Source};
use coroner_store::{Experiment, LogId};
use serde::Deserialize;

use super::parts::Markup;
use super::window::{self, Found, Place, Window};
use super::{ansi, experiment_at, figures, whole};
use crate::Desk;
use crate::api::parameters::Params;
use crate::failure::{Answer, Failure};

/// Lines come in pieces of so many, which begin at 1, 201, 401, ...
pub(super) const PIECE: u64 = 200;
/// More characters of one line are not shown.
const LONGEST: usize = 4000;
/// So many lines that hold what is looked for are listed.
const FOUND: usize = 200;

/// A line as templates show it.
pub(super) struct Shown {
    pub(super) number: u64,
    pub(super) class: &'static str,
    pub(super) markup: Markup,
}

/// The roles of the lines that a diagnosis cites of this source.
pub(super) fn roles(diagnosis: Option<&Diagnosis>, source: Source) -> BTreeMap<u64, Role> {
    let mut roles = BTreeMap::new();
    for item in diagnosis.iter().flat_map(|d| &d.evidence).filter(|item| item.source == source) {
        roles.entry(item.line).or_insert(item.role);
    }
    roles
}

pub(super) fn class(role: Option<&Role>) -> &'static str {
    match role {
        Some(Role::Cause) => "cause",
        Some(Role::Symptom) => "symptom",
        Some(Role::Context) => "context",
        None => "",
    }
}

fn shown(window: &Window, roles: &BTreeMap<u64, Role>) -> Vec<Shown> {
    let show = |line: &window::Line| Shown {
        number: line.number,
        class: class(roles.get(&line.number)),
        markup: ansi::line(&line.text, LONGEST).into(),
    };
    window.lines.iter().map(show).collect()
}

/// The line that a reader wants to see first: the cause, or whatever else is cited.
pub(super) fn telling_line(diagnosis: Option<&Diagnosis>) -> Option<u64> {
    let cited = |role| {
        let mut items = diagnosis?.evidence.iter().filter(move |item| item.source == Source::Log);
        items.find(|item| item.role == role).map(|item| item.line)
    };
    cited(Role::Cause).or_else(|| cited(Role::Symptom)).or_else(|| cited(Role::Context))
}

/// Where a reader may jump: to the cause first, then to the rest in the log's order.
fn jumps(roles: &BTreeMap<u64, Role>) -> Vec<(u64, &'static str)> {
    let mut jumps: Vec<_> = roles.iter().map(|(line, role)| (*line, class(Some(role)))).collect();
    jumps.sort_by_key(|(line, class)| (*class != "cause", *line));
    jumps
}

/// The viewer.
pub(super) struct Viewer {
    pub(super) lines: Vec<Shown>,
    pub(super) total: u64,
    pub(super) at_least: bool,
    /// The line that it opens at.
    pub(super) at: u64,
    /// Cited lines, for jumping.
    pub(super) cited: Vec<(u64, &'static str)>,
    pub(super) find: String,
    pub(super) found: Option<Finds>,
}

/// What a search in the log found.
pub(super) struct Finds {
    pub(super) lines: Vec<Shown>,
    pub(super) count: u64,
    pub(super) at_least: bool,
}

impl Viewer {
    pub(super) fn first(&self) -> u64 {
        self.lines.first().map_or(1, |line| line.number)
    }

    pub(super) fn last(&self) -> u64 {
        self.lines.last().map_or(0, |line| line.number)
    }

    pub(super) fn total(&self) -> String {
        let lines = figures::counted(self.total, "line", "lines");
        if self.at_least { format!("more than {lines}") } else { lines }
    }

    pub(super) fn earlier(&self) -> Option<u64> {
        (self.first() > 1).then(|| self.first().saturating_sub(PIECE).max(1))
    }

    pub(super) fn later(&self) -> Option<u64> {
        (self.last() < self.total || self.at_least).then_some(self.last() + 1)
    }

    /// Opens the log of an experiment at a line, at the cause, or at its end.
    pub(super) async fn open(
        desk: &Desk,
        log: LogId,
        diagnosis: Option<&Diagnosis>,
        line: Option<u64>,
        find: String,
    ) -> Answer<Self> {
        let wanted = line.or_else(|| telling_line(diagnosis));
        let place = match wanted {
            Some(line) => {
                let piece = (line.max(1) - 1) / PIECE;
                Place::From { line: piece.saturating_sub(1) * PIECE + 1, count: 3 * PIECE as usize }
            }
            None => Place::Last { count: 2 * PIECE as usize },
        };
        let mut window = windowed(desk, log, place).await?;
        if window.lines.is_empty() && window.total > 0 {
            // a line beyond the end: the end is the nearest
            window = windowed(desk, log, Place::Last { count: 2 * PIECE as usize }).await?;
        }
        // pieces begin at fixed lines, so that what is loaded later fits
        let skip = window.lines.iter().position(|line| (line.number - 1) % PIECE == 0).unwrap_or(0);
        window.lines.drain(..skip);
        let roles = roles(diagnosis, Source::Log);
        let found = match find.trim() {
            "" => None,
            text => Some(searched(desk, log, text.to_owned()).await?),
        };
        let found = found.map(|found| Finds {
            lines: shown(&Window { lines: found.lines, total: 0, at_least: false }, &roles),
            count: found.count,
            at_least: found.at_least,
        });
        Ok(Self {
            lines: shown(&window, &roles),
            total: window.total,
            at_least: window.at_least,
            at: wanted.unwrap_or(window.total).clamp(1, window.total.max(1)),
            cited: jumps(&roles),
            find,
            found,
        })
    }
}

async fn windowed(desk: &Desk, log: LogId, place: Place) -> Answer<Window> {
    let reader = desk.store().read_log(log).await?;
    blocking(move || window::read(reader, place)).await
}

async fn searched(desk: &Desk, log: LogId, text: String) -> Answer<Found> {
    let reader = desk.store().read_log(log).await?;
    blocking(move || window::find(reader, &text, FOUND)).await
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Answer<T> {
    let done = tokio::task::spawn_blocking(read).await.map_err(|_| Failure::internal())?;
    done.map_err(|e| {
        crate::guard::complain(&format!("a log can't be read: {e}"));
        Failure::internal()
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stretch {
    from: u64,
}

#[derive(Template)]
#[template(path = "lines.html")]
struct Lines {
    lines: Vec<Shown>,
}

/// Answers `/experiments/{id}/log?from=LINE`: one piece of lines, for the viewer.
pub(super) async fn log(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Params(stretch): Params<Stretch>,
) -> Answer<Response> {
    let Experiment { log, diagnosis, .. } = experiment_at(&desk, &id).await?;
    let log = log.ok_or_else(|| Failure::not_found("this experiment has no log"))?.id;
    let window =
        windowed(&desk, log, Place::From { line: stretch.from.max(1), count: PIECE as usize }).await?;
    whole(&Lines { lines: shown(&window, &roles(diagnosis.as_ref(), Source::Log)) })
}
