//! A run as it is reported: that it starts, that it lives, how it ended.
//!
//! Each may be said again by who did not hear the answer, or by another process that found it in a spool: with a `key` a
//! start is the same run whatever became of it in the meantime, and the same end twice counts once.

use axum::extract::{Request, State};
use axum::response::Response;
use coroner_diagnosis::{HarnessFault, HarnessKind};
use coroner_store::{CommandLine, Error, Experiment, ExperimentId, NewExperiment, Outcome, Owner, Status};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::{Body, Place};
use super::report::{Became, Report, Reported, not_in_the_future, read, words};
use crate::Desk;
use crate::failure::{Answer, Failure};

/// How long a run may be silent if it says nothing else.
const PATIENCE: u64 = 300;
/// So many attempts of an id are looked through for a key: how many may have begun between a start and its repetition.
const ATTEMPTS: u32 = 1000;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(heartbeat)).routes(routes!(end))
}

/// A run that starts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Start {
    /// Yours; if it is left out, the key, and without one a new id is made.
    experiment_id: Option<String>,
    /// Your name for the kind of run.
    experiment_type: Option<String>,
    /// What runs: as one line, or as a list of its words.
    #[schema(value_type = Option<String>)]
    command: Option<Command>,
    /// Where it runs.
    cwd: Option<String>,
    /// On which machine.
    host: Option<String>,
    /// When it started (RFC 3339); now, if left out.
    #[schema(value_type = Option<String>)]
    started_at: Option<Timestamp>,
    /// After so many seconds without a heartbeat it is taken for lost; 300 if left out.
    heartbeat_seconds: Option<u64>,
    /// Yours, and no other run's: a start that is sent again with its key is the same run, even if that has ended.
    key: Option<String>,
    /// It may have been sent before: earlier attempts of the id are looked through for the key.
    again: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Command {
    Line(String),
    Words(Vec<String>),
}

impl Command {
    fn words(self) -> CommandLine {
        match self {
            Self::Line(line) => words(Some(line)),
            Self::Words(words) => CommandLine(words),
        }
    }
}

/// Reports that a run starts. If it runs already under this id, with the same type and command, or was reported with this
/// key, it is the same run.
#[utoipa::path(post, path = "/api/v1/experiments", tag = "report", request_body = Start,
    responses((status = 201, body = Reported), (status = 200, body = Reported, description = "it runs already")))]
async fn start(State(desk): State<Desk>, Body(start): Body<Start>) -> Answer<Response> {
    let (started_at, notes) = not_in_the_future(start.started_at)?;
    let patience = patience(start.heartbeat_seconds)?;
    let kind = start.experiment_type.unwrap_or_default();
    let command = start.command.map(Command::words).unwrap_or_default();
    let key = start.key.unwrap_or_default();
    if key.len() > 64 || key.chars().any(|c| !c.is_ascii_graphic()) {
        return Err(Failure::invalid("key: at most 64 letters, digits and signs"));
    }
    // without an id it is known by its key, and by nothing else
    let id = start.experiment_id.or_else(|| Some(key.clone()).filter(|key| !key.is_empty()));
    if let Some(id) = &id
        && let Ok(newest) = desk.store().get(id).await
        && newest.listed.id.name() == id
    {
        let known = match key.is_empty() {
            true => Some(newest).filter(|it| {
                it.listed.status == Status::Running
                    && it.owner.as_ref().is_some_and(|owner| owner.host_elsewhere().is_some())
                    && (&it.listed.experiment_type, &it.listed.command) == (&kind, &command)
                    && start
                        .started_at
                        .is_none_or(|at| at.as_millisecond() == it.listed.started_at.as_millisecond())
            }),
            false => with_key(&desk, newest, &key, start.again.unwrap_or(false)).await?,
        };
        if let Some(known) = known {
            let (id, mut status) = (&known.listed.id, known.listed.status);
            if status == Status::Running {
                status = heard(&desk, id, patience).await?;
            }
            return Ok(Reported::new(id, status, true).answer());
        }
    }
    let host: String = start.host.unwrap_or_default().chars().filter(|c| !c.is_control()).take(255).collect();
    let new = NewExperiment {
        id,
        experiment_type: kind,
        command,
        cwd: start.cwd.unwrap_or_default(),
        owner: Owner::elsewhere(&host, key),
        started_at,
    };
    // if another who says the same was quicker, it is his
    let id = desk.store().begin(new).await?;
    let status = heard(&desk, &id, patience).await?;
    desk.figures().reported();
    let mut answer = Reported::new(&id, status, false);
    answer.notes = notes;
    Ok(answer.answer())
}

/// It runs; or it has been closed since it was looked at, as when others take it for lost, and whoever starts it is told that.
async fn heard(desk: &Desk, id: &ExperimentId, patience: std::time::Duration) -> Answer<Status> {
    match desk.store().beat(id, Timestamp::now(), patience).await {
        Ok(()) => Ok(Status::Running),
        Err(Error::AlreadyFinished { status, .. }) => Ok(status),
        Err(error) => Err(error.into()),
    }
}

/// The attempt that was reported with this key; of earlier ones than the newest only if it may be among them.
async fn with_key(desk: &Desk, newest: Experiment, key: &str, again: bool) -> Answer<Option<Experiment>> {
    let has_it = |it: &Experiment| it.owner.as_ref().and_then(Owner::key) == Some(key);
    if has_it(&newest) {
        return Ok(Some(newest));
    }
    let (name, attempts) = (newest.listed.id.name().to_owned(), newest.listed.id.attempt());
    let earlier = (1..attempts).rev().take(if again { ATTEMPTS as usize } else { 0 });
    for attempt in earlier {
        match desk.store().get(&format!("{name}~{attempt}")).await {
            Ok(it) if it.listed.id.name() == name && has_it(&it) => return Ok(Some(it)),
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn patience(seconds: Option<u64>) -> Answer<std::time::Duration> {
    match seconds.unwrap_or(PATIENCE) {
        seconds @ 5..=604_800 => Ok(std::time::Duration::from_secs(seconds)),
        _ => Err(Failure::invalid("heartbeat_seconds: 5 to 604,800 (a week)")),
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Beat {
    /// As at the start; 300 if left out.
    heartbeat_seconds: Option<u64>,
}

/// Says that a run still runs.
#[utoipa::path(post, path = "/api/v1/experiments/{id}/heartbeat", tag = "report", params(("id" = String, Path)),
    request_body = Beat, responses((status = 200, body = Reported), (status = 409, description = "it has ended")))]
async fn heartbeat(
    State(desk): State<Desk>,
    Place(id): Place<String>,
    Body(beat): Body<Beat>,
) -> Answer<Response> {
    let experiment = desk.store().get(&id).await?;
    let id = &experiment.listed.id;
    desk.store().beat(id, Timestamp::now(), patience(beat.heartbeat_seconds)?).await?;
    Ok(Reported::new(id, Status::Running, true).answer())
}

/// Reports that a run has ended. Without an exit code, signal, limit or error message it has passed. The body is as of
/// `/api/v1/failures`.
#[utoipa::path(post, path = "/api/v1/experiments/{id}/end", tag = "report", params(("id" = String, Path)),
    request_body = Report, responses((status = 201, body = Reported), (status = 200, body = Reported, description = "known already"),
        (status = 409, description = "it has ended otherwise")))]
async fn end(State(desk): State<Desk>, Place(id): Place<String>, request: Request) -> Answer<Response> {
    let experiment = desk.store().get(&id).await?;
    let id = experiment.listed.id.clone();
    let (mut report, log) = read(&desk, request).await?;
    let (at, notes) = not_in_the_future(report.at)?;
    if report.duration_seconds.is_none() {
        let ran = at.duration_since(experiment.listed.started_at).as_secs_f64();
        report.duration_seconds = Some(ran.max(0.0));
    }
    report.experiment_type = Some(experiment.listed.experiment_type.clone());
    let became = report.became;
    let mut autopsy = report.autopsy(log)?;
    autopsy.command = experiment.listed.command.clone();
    let passed =
        autopsy.exit.as_ref().is_none_or(coroner_diagnosis::Exit::succeeded) && autopsy.error.is_none();
    let status = match became {
        Some(Became::Passed) => Status::Passed,
        Some(Became::Failed) => Status::Failed,
        Some(Became::Lost) => Status::Lost,
        None if passed => Status::Passed,
        None => Status::Failed,
    };
    if status == Status::Lost {
        autopsy.fault = Some(watcher_gone());
    }
    let (kept, exit, reason) = (autopsy.kept.clone(), autopsy.exit.clone(), autopsy.reason());
    let found = match status {
        Status::Passed => None,
        _ => Some(autopsy.examine(&desk, Some(id.to_string()), Some(&id)).await?),
    };
    let outcome = Outcome {
        status,
        exit: exit.or(experiment.exit),
        ended_at: at,
        reason,
        log: kept.clone(),
        diagnosis: found.as_ref().map(|found| found.diagnosis.clone()),
    };
    let known = match desk.store().finish(&id, outcome).await {
        Ok(()) => false,
        // a client that did not hear the answer says it again
        Err(error @ Error::AlreadyFinished { .. }) => {
            // as it is now: what it said before may have been on its way
            let known = desk.store().numbered(id.number()).await?;
            if !is_the_same(&known, status, kept.as_ref()) {
                return Err(error.into());
            }
            true
        }
        Err(e) => return Err(e.into()),
    };
    if status == Status::Passed {
        desk.baselines().forget();
    }
    if let Some(found) = &found {
        found.keep_code(&desk, &id).await?;
    }
    desk.figures().reported();
    let mut answer = Reported::new(&id, status, known);
    answer.notes = notes;
    answer.diagnosis = found.map(|found| found.explained_later(&desk, id));
    Ok(answer.answer())
}

/// Whoever watched a run is gone, and nobody saw its end.
fn watcher_gone() -> HarnessFault {
    HarnessFault {
        kind: HarnessKind::WentSilent,
        what: "The coroner that watched it ended before it did".to_owned(),
        advice: "See what ended it: a job that is cancelled or preempted with SIGKILL, a machine that went down or ran out of \
                 memory. Nobody saw how the run itself ended; start it again"
            .to_owned(),
    }
}

fn is_the_same(known: &Experiment, status: Status, log: Option<&coroner_store::Log>) -> bool {
    let log = log.and_then(|log| log.facts()).map(|facts| facts.id);
    // a log that is gone, as its note says, can't be compared
    let is_gone = known.listed.log.is_none() && known.log_note.is_some();
    known.listed.status == status && (is_gone || known.listed.log == log)
}
