//! The list in memory: all that fit, sorted, and cut into pages.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::State;
use crate::conformance::found::fits;
use crate::order::{Cursor, category_rank, severity_rank};
use crate::{CommandLine, Error, Experiment, ExperimentId, Listed, Page, Query, Sort, SortBy, Status};

/// What an experiment is sorted by, and its key.
type Place = (Option<i64>, i64);

/// What an order sorts by.
fn value(sort: Sort, of: &Listed) -> Option<i64> {
    let analysis = of.analysis.as_ref();
    match sort.by {
        SortBy::Started => None,
        SortBy::Severity => analysis.map(|it| severity_rank(it.severity)),
        SortBy::Category => analysis.map(|it| category_rank(it.category)),
        SortBy::Duration => of.duration.map(|it| it.as_micros() as i64),
        SortBy::Cost => Some((of.dollars * 1e9).round() as i64),
    }
}

/// Which of two comes first.
fn compare(sort: Sort, a: Place, b: Place) -> Ordering {
    let turned = |order: Ordering, turn: bool| if turn { order.reverse() } else { order };
    let values = match (a.0, b.0) {
        (Some(a), Some(b)) => turned(a.cmp(&b), sort.descending),
        // what has no value is last
        (a, b) => a.is_none().cmp(&b.is_none()),
    };
    values.then(turned(a.1.cmp(&b.1), sort.newest_first()))
}

impl State {
    pub(super) fn list(&self, query: &Query) -> Result<Page, Error> {
        let (cursor, sort) = (query.cursor()?, query.sort);
        let only_words = Query { q: query.q.clone(), ..Query::default() };
        let as_beginnings = match cursor {
            Some(cursor) => cursor.as_beginnings,
            None => !self.experiments.values().any(|e| fits(&e.listed, &only_words, false)),
        };
        let fitting = self.experiments.iter().filter(|(_, e)| fits(&e.listed, query, as_beginnings));
        let mut all: Vec<_> = fitting.map(|(key, e)| ((value(sort, &e.listed), *key), &e.listed)).collect();
        all.sort_by(|(a, _), (b, _)| compare(sort, *a, *b));
        let place = cursor.map(|cursor| (cursor.value, cursor.key));
        let is_behind = |it: &Place| place.is_none_or(|place| compare(sort, *it, place).is_gt());
        let rest: Vec<_> = all.iter().filter(|(it, _)| is_behind(it)).collect();
        let page: Vec<_> = rest.iter().take(query.page_size()).collect();
        let running = self.experiments.values().filter(|e| e.listed.status == Status::Running);
        Ok(Page {
            total_count: all.len() as u64,
            total_is_at_least: false,
            sorted_among: None,
            running_commands: running.count() as u64,
            next_cursor: page.last().filter(|_| rest.len() > page.len()).map(|((value, key), _)| {
                Cursor { sort, value: *value, key: *key, as_beginnings }.to_string()
            }),
            experiments: page.into_iter().map(|(_, listed)| (*listed).clone()).collect(),
        })
    }
}

pub(super) fn blank(status: Status, experiment_type: String, command: CommandLine) -> Experiment {
    let listed = Listed {
        id: ExperimentId::new(String::new(), 0, 0),
        started_at: Timestamp::UNIX_EPOCH,
        status,
        experiment_type,
        command,
        duration: None,
        peak_memory: None,
        dollars: 0.0,
        log: None,
        analysis: None,
    };
    Experiment {
        listed,
        cwd: String::new(),
        owner: None,
        exit: None,
        reason: None,
        log: None,
        log_note: None,
        diagnosis: None,
    }
}
