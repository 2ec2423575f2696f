//! Reports: a finished failure in one request, or a run as it starts, lives and ends.
//!
//! What was answered is durable. The same report twice counts once; the same id with another content is a further
//! attempt, so that a job that runs again under its id loses nothing.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use coroner_store::{CommandLine, Error, ExperimentId, NewExperiment, Outcome, Owner, SavedFailure, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::{Body, Params, Place, media_type};
use crate::Desk;
use crate::autopsy::{Autopsy, Ended};
use crate::failure::{Answer, Failure};
use crate::ingest;

/// Those who report from elsewhere are called so: their process is out of sight from here.
pub(crate) const ELSEWHERE: &str = "reported";
/// How long a run may be silent if it says nothing else.
const PATIENCE: u64 = 300;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(failure))
        .routes(routes!(start))
        .routes(routes!(heartbeat))
        .routes(routes!(end))
}

/// What became of a report.
#[derive(Debug, Serialize, ToSchema)]
struct Reported {
    /// The id; from the second attempt on `ID~2`.
    experiment_id: String,
    number: u64,
    attempt: u32,
    #[schema(value_type = String)]
    status: Status,
    /// The same was reported before; nothing was added.
    known: bool,
    /// Remarks on what was taken otherwise than it was sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// Of a failure: why, as the rules see it. A model's word, where one is asked, comes later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    diagnosis: Option<coroner_diagnosis::Diagnosis>,
}

impl Reported {
    fn new(id: &ExperimentId, status: Status, known: bool) -> Self {
        Self {
            experiment_id: id.to_string(),
            number: id.number(),
            attempt: id.attempt(),
            status,
            known,
            notes: Vec::new(),
            diagnosis: None,
        }
    }

    fn answer(self) -> Response {
        let status = if self.known { StatusCode::OK } else { StatusCode::CREATED };
        (status, Json(self)).into_response()
    }
}

/// A failure that has happened. With a body of text or bytes, the body is the log and these stand in the address.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Report {
    /// Yours; a new one is made if it is left out.
    experiment_id: Option<String>,
    /// Your name for the kind of run.
    experiment_type: Option<String>,
    error_message: Option<String>,
    logs: Option<String>,
    /// The code that failed. It is kept, without secrets.
    #[serde(alias = "code")]
    code_snippet: Option<String>,
    /// What ran, as one line.
    command: Option<String>,
    /// When it failed (RFC 3339); now, if left out.
    #[schema(value_type = Option<String>)]
    at: Option<Timestamp>,
    exit_code: Option<i32>,
    /// The number of the signal that ended it.
    signal: Option<i32>,
    /// Ended by a time limit of so many seconds.
    timed_out_after: Option<f64>,
    oom_killed: Option<bool>,
    duration_seconds: Option<f64>,
    peak_memory_bytes: Option<u64>,
}

impl Report {
    fn ended(&mut self) -> Answer<Ended> {
        Ended {
            exit_code: self.exit_code,
            signal: self.signal,
            timed_out_after: self.timed_out_after,
            oom_killed: self.oom_killed.unwrap_or(false),
            duration_seconds: self.duration_seconds,
            peak_memory_bytes: self.peak_memory_bytes,
        }
        .checked()
    }

    fn autopsy(&mut self, log: Option<ingest::Taken>) -> Answer<Autopsy> {
        let exit = self.ended()?.exit();
        let (kept, log) =
            log.map_or((None, coroner_diagnosis::Log::default()), |taken| (taken.kept, taken.log));
        Ok(Autopsy {
            experiment_type: self.experiment_type.take().unwrap_or_default(),
            command: words(self.command.take()),
            error: self.error_message.take(),
            code: self.code_snippet.take(),
            exit,
            kept,
            log,
        })
    }
}

/// A command as it was typed, in words: near enough to be told apart from another.
fn words(line: Option<String>) -> CommandLine {
    line.unwrap_or_default().split_whitespace().collect()
}

/// A report with its log, from whichever body it has.
async fn read(desk: &Desk, request: Request) -> Answer<(Report, Option<ingest::Taken>)> {
    let kind = media_type(request.headers());
    if !matches!(kind.as_str(), "text/plain" | "application/octet-stream") {
        let Body(mut report) = Body::<Report>::read(request, desk).await?;
        let log = match report.logs.take().filter(|logs| !logs.is_empty()) {
            Some(logs) => Some(ingest::take_bytes(desk, logs.into_bytes()).await?),
            None => None,
        };
        return Ok((report, log));
    }
    let _permit = desk.uploads().try_acquire().map_err(|_| {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many logs are being sent at the moment")
            .again_after(2)
    })?;
    let (mut parts, body) = request.into_parts();
    let Params(report) =
        <Params<Report> as axum::extract::FromRequestParts<()>>::from_request_parts(&mut parts, &()).await?;
    let log = ingest::take(desk, &parts.headers, body).await?;
    Ok((report, Some(log)))
}

/// Reports a failure that has happened. The body is JSON; or the log itself (text/plain or application/octet-stream, of
/// any length, gzip or zstd), and everything else stands in the address.
#[utoipa::path(post, path = "/api/v1/failures", tag = "report", request_body = Report,
    responses((status = 201, body = Reported), (status = 200, body = Reported, description = "known already"),
        (status = 400), (status = 413), (status = 415)))]
async fn failure(State(desk): State<Desk>, request: Request) -> Answer<Response> {
    let (mut report, log) = read(&desk, request).await?;
    if log.is_none()
        && report.error_message.is_none()
        && report.exit_code.is_none()
        && report.signal.is_none()
    {
        return Err(Failure::invalid("a failure has at least one of logs, error_message, exit_code, signal"));
    }
    let (at, notes) = not_in_the_future(report.at)?;
    let id = report.experiment_id.take();
    let autopsy = report.autopsy(log)?;
    let found = autopsy.examine(&desk, id.clone()).await?;
    let saved = desk
        .store()
        .save_diagnoses(vec![SavedFailure {
            id,
            experiment_type: found.autopsy.experiment_type.clone(),
            at,
            command: found.autopsy.command.clone(),
            exit: found.autopsy.exit.clone(),
            reason: found.reason(),
            diagnosis: found.diagnosis.clone(),
            log: found.autopsy.kept.clone(),
        }])
        .await?;
    let saved = saved.into_iter().next().ok_or_else(Failure::internal)?;
    found.keep_code(&desk, &saved.id).await?;
    desk.figures().reported();
    let mut answer = Reported::new(&saved.id, Status::Failed, saved.replaced);
    answer.notes = notes;
    let by_rules = found.explained_later(&desk, saved.id);
    answer.diagnosis = Some(saved.corrected.map_or(by_rules, |corrected| *corrected));
    Ok(answer.answer())
}

/// A clock that is ahead must not put an experiment above all that come after it.
fn not_in_the_future(at: Option<Timestamp>) -> Answer<(Timestamp, Vec<String>)> {
    let now = Timestamp::now();
    match at {
        None => Ok((now, Vec::new())),
        Some(at) if at.as_second() < 0 => Err(Failure::invalid("a time before 1970")),
        Some(at) if at.as_second() > now.as_second() + 300 => {
            Ok((now, vec![format!("{at} lies in the future; the desk's own time was taken")]))
        }
        Some(at) => Ok((at, Vec::new())),
    }
}

/// A run that starts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Start {
    /// Yours; a new one is made if it is left out.
    experiment_id: Option<String>,
    /// Your name for the kind of run.
    experiment_type: Option<String>,
    /// What runs, as one line.
    command: Option<String>,
    /// Where it runs.
    cwd: Option<String>,
    /// On which machine.
    host: Option<String>,
    /// When it started (RFC 3339); now, if left out.
    #[schema(value_type = Option<String>)]
    started_at: Option<Timestamp>,
    /// After so many seconds without a heartbeat it is taken for lost; 300 if left out.
    heartbeat_seconds: Option<u64>,
}

/// Reports that a run starts. If it runs already under this id, with the same type and command, it is the same run.
#[utoipa::path(post, path = "/api/v1/experiments", tag = "report", request_body = Start,
    responses((status = 201, body = Reported), (status = 200, body = Reported, description = "it runs already")))]
async fn start(State(desk): State<Desk>, Body(start): Body<Start>) -> Answer<Response> {
    let (started_at, notes) = not_in_the_future(start.started_at)?;
    let patience = patience(start.heartbeat_seconds)?;
    let (kind, command) = (start.experiment_type.unwrap_or_default(), words(start.command));
    if let Some(id) = &start.experiment_id
        && let Ok(known) = desk.store().get(id).await
        && known.listed.id.name() == id
        && known.listed.status == Status::Running
        && known.owner.as_ref().is_some_and(|owner| owner.host.starts_with(ELSEWHERE))
        && (&known.listed.experiment_type, &known.listed.command) == (&kind, &command)
        && start.started_at.is_none_or(|at| at.as_millisecond() == known.listed.started_at.as_millisecond())
    {
        desk.store().beat(&known.listed.id, Timestamp::now(), patience).await?;
        return Ok(Reported::new(&known.listed.id, Status::Running, true).answer());
    }
    let host: String = start.host.unwrap_or_default().chars().filter(|c| !c.is_control()).take(255).collect();
    let new = NewExperiment {
        id: start.experiment_id,
        experiment_type: kind,
        command,
        cwd: start.cwd.unwrap_or_default(),
        owner: Owner {
            host: format!("{ELSEWHERE}:{host}"),
            boot_id: String::new(),
            pid_namespace: String::new(),
            pid: 0,
            pid_start: None,
        },
        started_at,
    };
    let id = desk.store().begin(new).await?;
    desk.store().beat(&id, Timestamp::now(), patience).await?;
    desk.figures().reported();
    Ok(Reported { notes, ..Reported::new(&id, Status::Running, false) }.answer())
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
    let mut autopsy = report.autopsy(log)?;
    autopsy.command = experiment.listed.command.clone();
    let passed =
        autopsy.exit.as_ref().is_none_or(coroner_diagnosis::Exit::succeeded) && autopsy.error.is_none();
    let status = if passed { Status::Passed } else { Status::Failed };
    let kept = autopsy.kept.clone();
    let found = match passed {
        true => None,
        false => Some(autopsy.examine(&desk, Some(id.to_string())).await?),
    };
    let outcome = Outcome {
        status,
        exit: found.as_ref().map_or(experiment.exit.clone(), |found| found.autopsy.exit.clone()),
        ended_at: at,
        reason: found.as_ref().and_then(crate::autopsy::Found::reason),
        log: kept.clone(),
        diagnosis: found.as_ref().map(|found| found.diagnosis.clone()),
    };
    let known = match desk.store().finish(&id, outcome).await {
        Ok(()) => false,
        // a client that did not hear the answer says it again
        Err(Error::AlreadyFinished { .. }) if is_the_same(&experiment, status, kept.as_ref()) => true,
        Err(e) => return Err(e.into()),
    };
    if passed {
        desk.baselines().forget();
    }
    if let Some(found) = &found {
        found.keep_code(&desk, &id).await?;
    }
    desk.figures().reported();
    let mut answer = Reported { notes, ..Reported::new(&id, status, known) };
    answer.diagnosis = found.map(|found| found.explained_later(&desk, id));
    Ok(answer.answer())
}

fn is_the_same(known: &coroner_store::Experiment, status: Status, log: Option<&coroner_store::Log>) -> bool {
    let log = log.and_then(|log| log.facts()).map(|facts| facts.id);
    known.listed.status == status && known.listed.log == log
}
