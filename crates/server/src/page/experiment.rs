//! One experiment: why it failed, its log opened at the cause, how it ended, what ran.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use coroner_diagnosis::{Diagnosis, Source};
use coroner_store::{CandidateRecord, Error, Experiment, Status};
use jiff::Timestamp;
use serde::Deserialize;

use super::experiments::Row;
use super::log::{self, Shown, Viewer};
use super::{Frame, ansi, assets, experiment_at, figures, parts, whole};
use crate::Desk;
use crate::api::parameters::Params;
use crate::auth::Caller;
use crate::failure::Answer;

/// So many lines of code are shown, and so much of each.
const CODE: usize = 3000;
const LONGEST: usize = 1000;

/// Where the log is opened, and what is looked for in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Looking {
    line: Option<u64>,
    #[serde(default)]
    find: String,
}

#[derive(Template)]
#[template(path = "experiment.html")]
struct ExperimentPage {
    frame: Frame,
    row: Row,
    experiment: Experiment,
    view: Option<Viewer>,
    code: CodeView,
    candidate: Option<CandidateRecord>,
    now: Timestamp,
}

/// The code, with the lines that the analysis cites marked; or these lines alone, where the rest is not kept.
struct CodeView {
    lines: Vec<Shown>,
    /// All of it is kept.
    whole: bool,
    /// So many lines more are not shown.
    left_out: usize,
}

fn code_view(text: &str, diagnosis: Option<&Diagnosis>) -> CodeView {
    let roles = log::roles(diagnosis, Source::Code);
    let shown = |number: u64, text: &str| Shown {
        number,
        class: log::class(roles.get(&number)),
        markup: ansi::line(text, LONGEST).into(),
    };
    if text.is_empty() {
        let items = diagnosis.iter().flat_map(|d| &d.evidence).filter(|item| item.source == Source::Code);
        let mut lines: Vec<_> = items.map(|item| shown(item.line, &item.text)).collect();
        lines.sort_by_key(|line| line.number);
        return CodeView { lines, whole: false, left_out: 0 };
    }
    let lines = text.lines().zip(1..).take(CODE).map(|(line, number)| shown(number, line)).collect();
    CodeView { lines, whole: true, left_out: text.lines().count().saturating_sub(CODE) }
}

impl ExperimentPage {
    /// `failed after 42 min`
    fn ended(&self) -> String {
        match (self.row.listed.status, self.row.listed.duration) {
            (Status::Running, _) => String::new(),
            (_, Some(duration)) => format!("after {}", figures::took(duration)),
            (_, None) => String::new(),
        }
    }

    /// A candidate is called by its task: what ran is the same for all of them.
    fn title(&self) -> String {
        match &self.candidate {
            Some(record) if !self.row.listed.experiment_type.is_empty() => {
                let generation = record.candidate.generation;
                format!("{}, candidate of generation {generation}", self.row.listed.experiment_type)
            }
            _ => self.row.title.clone(),
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        if let Some(exit) = &self.experiment.exit {
            facts.push(("End", exit.end.to_string()));
            facts.push(("Took", figures::took(exit.wall)));
            facts.extend(exit.cpu.map(|cpu| ("Processor", figures::took(cpu))));
            facts.extend(exit.peak_memory.map(|peak| ("Peak memory", figures::bytes(peak))));
        } else if self.row.listed.status == Status::Running {
            facts.push(("End", "it runs".to_owned()));
        } else {
            facts.push(("End", "nobody saw it".to_owned()));
        }
        facts.push(("Started", figures::exact(self.row.listed.started_at)));
        facts.extend(self.experiment.reason.clone().map(|reason| ("Remark", reason)));
        if let Some(log) = &self.experiment.log {
            facts.push(("Log on disk", figures::bytes(log.stored_bytes)));
        }
        facts
    }

    fn no_log(&self) -> String {
        match (&self.experiment.log_note, self.row.listed.status) {
            (Some(note), _) => note.clone(),
            (None, Status::Running) => "It is shown here when the experiment has ended.".to_owned(),
            (None, _) => "It printed nothing, or the log was not given.".to_owned(),
        }
    }

    /// Numbers that a test measured, as a person reads them.
    fn metrics(&self) -> Vec<(String, String)> {
        let metrics = self.candidate.iter().flat_map(|it| &it.candidate.metrics);
        metrics.map(|(name, value)| (name.replace('_', " "), measured(*value))).collect()
    }

    fn number(&self, value: &f64) -> String {
        measured(*value)
    }

    fn command(&self) -> String {
        parts::command(&self.row.listed.command.0)
    }
}

/// Six digits that count.
fn measured(value: f64) -> String {
    let text = match value.abs() {
        size if size != 0.0 && !(1e-4..1e9).contains(&size) => return format!("{value:e}"),
        size if size >= 1000.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Answers `/experiments/{id}`.
pub(super) async fn experiment(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(looking): Params<Looking>,
) -> Answer<Response> {
    let experiment = experiment_at(&desk, &id).await?;
    let diagnosis = experiment.diagnosis.as_ref();
    let view = match &experiment.log {
        Some(log) => Some(Viewer::open(&desk, log.id, diagnosis, looking.line, looking.find).await?),
        None => None,
    };
    let candidate = desk.store().candidate(&experiment.listed.id).await?;
    let code = match desk.store().candidate_code(&experiment.listed.id).await {
        Err(Error::NotACandidate { .. }) => Vec::new(),
        code => code?,
    };
    let code = code_view(&String::from_utf8_lossy(&code), diagnosis);
    whole(&ExperimentPage {
        frame: Frame::of(&desk, "Experiments", caller).await?,
        row: Row::from(experiment.listed.clone()),
        view,
        code,
        candidate,
        experiment,
        now: Timestamp::now(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_short() {
        let shown = [0.0, 1.25, 33.123_456, 12_345.678, 0.000_001, f64::NAN, 2e12].map(measured);
        assert_eq!(shown, ["0", "1.25", "33.1235", "12345.68", "1e-6", "NaN", "2e12"]);
    }
}
