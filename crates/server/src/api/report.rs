//! Reports: a finished failure in one request, with everything that can be said of one. A run as it starts, lives and ends
//! is in `runs`.
//!
//! What was answered is durable. The same report twice counts once; the same id with another content is a further
//! attempt, so that a job that runs again under its id loses nothing.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use coroner_diagnosis::{Confined, Exit};
use coroner_store::{CommandLine, ExperimentId, SavedFailure, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::{Body, Params, media_type};
use crate::Desk;
use crate::autopsy::{Autopsy, Ended};
use crate::failure::{Answer, Failure};
use crate::ingest;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(failure))
}

/// What became of a report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reported {
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
    pub(super) notes: Vec<String>,
    /// Of a failure: why, as the rules see it. A model's word, where one is asked, comes later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub(super) diagnosis: Option<coroner_diagnosis::Diagnosis>,
}

impl Reported {
    pub(super) fn new(id: &ExperimentId, status: Status, known: bool) -> Self {
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

    pub(super) fn answer(self) -> Response {
        let status = if self.known { StatusCode::OK } else { StatusCode::CREATED };
        (status, Json(self)).into_response()
    }
}

/// A failure that has happened. With a body of text or bytes, the body is the log and these stand in the address.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    /// Yours; a new one is made if it is left out.
    experiment_id: Option<String>,
    /// Your name for the kind of run.
    pub(super) experiment_type: Option<String>,
    pub(super) error_message: Option<String>,
    logs: Option<String>,
    /// The code that failed. It is kept, without secrets.
    #[serde(alias = "code")]
    code_snippet: Option<String>,
    /// What ran, as one line.
    command: Option<String>,
    /// When it failed (RFC 3339); now, if left out.
    #[schema(value_type = Option<String>)]
    pub(super) at: Option<Timestamp>,
    exit_code: Option<i32>,
    /// The number of the signal that ended it.
    signal: Option<i32>,
    /// Ended by a time limit of so many seconds.
    timed_out_after: Option<f64>,
    oom_killed: Option<bool>,
    pub(super) duration_seconds: Option<f64>,
    peak_memory_bytes: Option<u64>,
    /// How it ended, in the form in which `coroner run` knows it and `/api/v1/experiments/{id}` shows it; counts over the
    /// six fields before. In an address it is written as JSON.
    #[serde(default, deserialize_with = "json_or_text")]
    #[schema(value_type = Option<Object>)]
    exit: Option<Exit>,
    /// What a sandbox around it did, in the form in which a diagnosis shows it.
    #[serde(default, deserialize_with = "json_or_text")]
    #[schema(value_type = Option<Object>)]
    sandbox: Option<Confined>,
    /// A word on its end that is no error message: "interrupted from the terminal".
    reason: Option<String>,
    /// Of a run, what became of it, where how it ended does not say so: `passed`, `failed`, or `lost` if nobody saw its end.
    pub(super) became: Option<Became>,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Became {
    Passed,
    Failed,
    Lost,
}

/// In a body it is an object; an address has only text, in which the object is written.
fn json_or_text<'de, D: serde::Deserializer<'de>, T: serde::de::DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let value = match Option::<serde_json::Value>::deserialize(from)? {
        None | Some(serde_json::Value::Null) => return Ok(None),
        Some(serde_json::Value::String(text)) => {
            serde_json::from_str(&text).map_err(serde::de::Error::custom)?
        }
        Some(value) => value,
    };
    serde_json::from_value(value).map(Some).map_err(serde::de::Error::custom)
}

/// No run takes longer than thirty years.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

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

    pub(super) fn autopsy(&mut self, log: Option<ingest::Taken>) -> Answer<Autopsy> {
        let mut exit = self.ended()?.exit();
        if let Some(seen) = self.exit.take() {
            if seen.wall > LONGEST || seen.cpu.is_some_and(|cpu| cpu > LONGEST * 100) {
                return Err(Failure::invalid("exit: not a time that a run takes"));
            }
            exit = Some(seen);
        }
        let (kept, log) =
            log.map_or((None, coroner_diagnosis::Log::default()), |taken| (taken.kept, taken.log));
        Ok(Autopsy {
            experiment_type: self.experiment_type.take().unwrap_or_default(),
            command: words(self.command.take()),
            error: self.error_message.take(),
            word: self.reason.take(),
            code: self.code_snippet.take(),
            exit,
            sandbox: self.sandbox.take(),
            fault: None,
            kept,
            log,
        })
    }
}

/// A command as it was typed, in words: near enough to be told apart from another.
pub(super) fn words(line: Option<String>) -> CommandLine {
    line.unwrap_or_default().split_whitespace().collect()
}

/// A report with its log, from whichever body it has.
pub(super) async fn read(desk: &Desk, request: Request) -> Answer<(Report, Option<ingest::Taken>)> {
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
        && report.exit.is_none()
    {
        return Err(Failure::invalid(
            "a failure has at least one of logs, error_message, exit_code, signal, exit",
        ));
    }
    let (at, notes) = not_in_the_future(report.at)?;
    let id = report.experiment_id.take();
    let autopsy = report.autopsy(log)?;
    let known = said_before(&desk, id.as_deref(), &autopsy).await;
    let found = autopsy.examine(&desk, id.clone(), known.as_ref()).await?;
    let saved = desk
        .store()
        .save_diagnoses(vec![SavedFailure {
            id,
            experiment_type: found.autopsy.experiment_type.clone(),
            at,
            command: found.autopsy.command.clone(),
            exit: found.autopsy.exit.clone(),
            reason: found.autopsy.reason(),
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

/// The newest attempt of an id, if it looks as if this were the same failure, said again.
async fn said_before(desk: &Desk, id: Option<&str>, autopsy: &Autopsy) -> Option<ExperimentId> {
    let newest = desk.store().get(id?).await.ok()?;
    let log = autopsy.kept.as_ref().and_then(|log| log.facts()).map(|facts| facts.id);
    (newest.listed.log == log && newest.reason == autopsy.reason()).then_some(newest.listed.id)
}

/// A clock that is ahead must not put an experiment above all that come after it.
pub(super) fn not_in_the_future(at: Option<Timestamp>) -> Answer<(Timestamp, Vec<String>)> {
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
