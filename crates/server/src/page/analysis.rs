//! The analysis of one failure: a page of its own, which the script also opens as a dialog over a table.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use coroner_diagnosis::{Diagnosis, EvidenceItem, Origin, Role, Said, Source};
use coroner_store::{Experiment, SignatureStats, SimilarFailure, Votes, cause_text};
use jiff::Timestamp;

use super::experiments::{Row, encoded};
use super::form::Sent;
use super::{Frame, assets, experiment_at, figures, parts, whole};
use crate::Desk;
use crate::auth::Caller;
use crate::failure::{Answer, Failure};

/// So many failures like this one are shown.
const ALIKE: usize = 5;

/// A cited line.
struct Quote {
    item: EvidenceItem,
    /// Where it stands, if that can be shown.
    href: Option<String>,
}

impl Quote {
    fn class(&self) -> &'static str {
        if self.item.role == Role::Cause { "cause-line" } else { "" }
    }

    fn said(&self) -> String {
        match self.item.source {
            Source::Log => self.item.role.to_string(),
            source => format!("{} · {source}", self.item.role),
        }
    }
}

#[derive(Template)]
#[template(path = "analysis.html")]
struct Analysis {
    frame: Frame,
    row: Row,
    found: Diagnosis,
    quotes: Vec<Quote>,
    similar: Vec<SimilarFailure>,
    known: Option<SignatureStats>,
    votes: Votes,
    /// Rule and model say different things.
    differ: bool,
    /// It is the model's word that stands.
    by_model: bool,
    now: Timestamp,
}

impl Analysis {
    async fn of(desk: &Desk, caller: Caller, experiment: Experiment) -> Answer<Self> {
        let row = Row::from(experiment.listed);
        let Some(found) = experiment.diagnosis else {
            return Err(Failure::not_found(format!("experiment {} has no analysis", row.listed.id)));
        };
        let store = desk.store();
        let similar =
            store.similar(&found.signature, &cause_text(&found), Some(&row.listed.id), ALIKE).await?;
        let known = store.signature_stats(&found.signature).await?;
        let votes = store.votes(&row.listed.id).await?;
        let has_log = experiment.log.is_some();
        let place = |item: &EvidenceItem| {
            let line = item.line;
            match item.source {
                Source::Log if has_log => Some(format!("{}?line={line}#L{line}", row.href())),
                Source::Code => Some(format!("{}#C{line}", row.href())),
                _ => None,
            }
        };
        let quotes =
            found.evidence.iter().map(|item| Quote { href: place(item), item: item.clone() }).collect();
        let verdict = &found.verdict;
        let differ = found.opinion.as_ref().is_some_and(|opinion| {
            (opinion.category, opinion.severity, opinion.origin)
                != (verdict.category, verdict.severity, verdict.origin)
                || opinion.root_cause != verdict.cause
        });
        let by_model = matches!(found.provenance.source, Said::Model | Said::Cache);
        let frame = Frame::of(desk, "Experiments", caller).await?;
        Ok(Self { frame, row, quotes, similar, known, votes, differ, by_model, found, now: Timestamp::now() })
    }

    /// The experiment's address for programs, which forms are sent to as well: by its id, attempt included.
    fn endpoint(&self, what: &str) -> String {
        let id = &self.row.listed.id;
        format!("/api/v1/experiments/{}{what}", encoded(&format!("{}~{}", id.name(), id.attempt())))
    }

    /// The page of the analysis alone.
    fn place(&self) -> String {
        format!("{}/analysis", self.row.href())
    }

    fn sure(&self) -> u64 {
        (self.found.confidence.clamp(0.0, 1.0) * 100.0).round() as u64
    }

    fn alike(&self, like: &SimilarFailure) -> String {
        figures::percent((like.score * 1000.0) as u64, 1000)
    }

    fn whose(&self) -> &'static str {
        match self.found.origin {
            Origin::Candidate => "its own code or settings",
            Origin::Policy => "a rule of ours refused it",
            Origin::Harness => "evaluator, sandbox or loop",
            Origin::Infrastructure => "machine, network, disk, quota",
            Origin::Provider => "a remote service",
        }
    }

    fn said_by(&self) -> String {
        let provenance = &self.found.provenance;
        let model = provenance.model.as_deref().unwrap_or("a model");
        let prompt =
            provenance.prompt_version.as_deref().map(|v| format!(", prompt {v}")).unwrap_or_default();
        match provenance.source {
            Said::Rule => "A rule of ours".to_owned(),
            Said::Model => format!("Model {model}{prompt}"),
            Said::Cache => format!("Model {model}{prompt}, asked before"),
            Said::Human => "A person".to_owned(),
        }
    }

    fn masked(&self) -> String {
        let kinds =
            self.found.redactions.iter().map(|(kind, count)| format!("{count} × {}", kind.replace('_', " ")));
        kinds.collect::<Vec<_>>().join(", ")
    }
}

/// Answers `/experiments/{id}/analysis`.
pub(super) async fn analysis(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    sent: Option<Extension<Sent>>,
) -> Answer<Response> {
    let experiment = experiment_at(&desk, &id).await?;
    let mut page = Analysis::of(&desk, caller, experiment).await?;
    page.frame = page.frame.after(sent);
    whole(&page)
}
