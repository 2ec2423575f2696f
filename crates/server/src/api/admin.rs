//! The original's admin API, in its own shapes: what its clients send is taken and what they read is answered.

use axum::Json;
use axum::extract::State;
use coroner_diagnosis::{Category, Origin, Severity};
use coroner_store::{Candidate, Listed, Liveness, Run, RunState, Status};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::{Params, Which};
use crate::Desk;
use crate::failure::Answer;

/// So many of the newest runs of the loop are looked at.
const RUNS: usize = 5;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(experiments, experiments_by_post))
        .routes(routes!(status, status_by_post))
}

/// A page of experiments, the newest first.
#[derive(Debug, Serialize, ToSchema)]
struct Experiments {
    success: bool,
    /// How many the filters fit, on all pages.
    total_count: u64,
    /// There are more than `total_count`: searches by words are counted up to 1,000. Absent where it is exact.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    total_is_at_least: bool,
    /// How many experiments run now, whatever the filters.
    running_commands: u64,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
    experiments: Vec<Row>,
}

/// An experiment, as the original's table shows it.
#[derive(Debug, Serialize, ToSchema)]
struct Row {
    id: String,
    /// Seconds since 1970, of its start.
    timestamp: i64,
    #[schema(value_type = String)]
    status: Status,
    experiment_type: String,
    /// Null while it runs, or if nobody saw it end.
    duration_seconds: Option<f64>,
    /// Of every experiment that failed or was rejected; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_analysis: Option<FailureAnalysis>,
}

#[derive(Debug, Serialize, ToSchema)]
struct FailureAnalysis {
    #[schema(value_type = String)]
    category: Category,
    root_cause: String,
    fix_suggestion: String,
    #[schema(value_type = String)]
    severity: Severity,
    #[schema(value_type = String)]
    origin: Origin,
    confidence: f64,
    signature: String,
}

impl From<Listed> for Row {
    fn from(listed: Listed) -> Self {
        Self {
            id: listed.id.to_string(),
            timestamp: listed.started_at.as_second(),
            status: listed.status,
            experiment_type: listed.experiment_type,
            duration_seconds: listed.duration.map(|d| d.as_secs_f64()),
            failure_analysis: listed.analysis.map(|it| FailureAnalysis {
                category: it.category,
                root_cause: it.root_cause,
                fix_suggestion: it.fix_suggestion,
                severity: it.severity,
                origin: it.origin,
                confidence: it.confidence,
                signature: it.signature,
            }),
        }
    }
}

/// Experiments, the newest first, fifty at a time.
#[utoipa::path(get, path = "/admin/experiments", tag = "admin", params(Which), responses((status = 200, body = Experiments)))]
async fn experiments(State(desk): State<Desk>, Params(which): Params<Which>) -> Answer<Json<Experiments>> {
    let page = desk.store().list(which.query()?).await?;
    Ok(Json(Experiments {
        success: true,
        total_count: page.total_count,
        total_is_at_least: page.total_is_at_least,
        running_commands: page.running_commands,
        next_cursor: page.next_cursor,
        experiments: page.experiments.into_iter().map(Row::from).collect(),
    }))
}

/// The same: the original took any method.
#[utoipa::path(post, path = "/admin/experiments", tag = "admin", params(Which), responses((status = 200, body = Experiments)))]
async fn experiments_by_post(desk: State<Desk>, which: Params<Which>) -> Answer<Json<Experiments>> {
    experiments(desk, which).await
}

/// The original's figures.
#[derive(Debug, Serialize, ToSchema)]
struct Overview {
    total_experiments: u64,
    running_now: u64,
    /// Megabits a second, of the candidate that was adopted last and has such a metric (`bitrate`, `bitrate_mbps`); null
    /// where none has.
    best_bitrate: Option<f64>,
    /// Per cent of all experiments that have ended.
    success_rate: f64,
    /// Does a loop (`coroner evolve`) run over this store at the moment?
    autonomous_enabled: bool,
    /// ISO 8601, UTC.
    last_updated: String,
}

/// How it stands.
#[utoipa::path(get, path = "/admin/status", tag = "admin", responses((status = 200, body = Overview)))]
async fn status(State(desk): State<Desk>) -> Answer<Json<Overview>> {
    let totals = desk.store().totals().await?;
    let of = |status| totals.by_status.get(&status).copied().unwrap_or(0);
    let (running, succeeded) = (of(Status::Running), of(Status::Passed) + of(Status::Adopted));
    let ended = totals.total.saturating_sub(running);
    let runs = desk.store().runs(None, RUNS).await?;
    let alive = |run: &Run| run.state == RunState::Running && run.owner.liveness() != Liveness::Gone;
    Ok(Json(Overview {
        total_experiments: totals.total,
        running_now: running,
        best_bitrate: best_bitrate(&desk, &runs).await?,
        success_rate: if ended == 0 { 0.0 } else { succeeded as f64 / ended as f64 * 100.0 },
        autonomous_enabled: runs.iter().any(alive),
        last_updated: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
    }))
}

async fn best_bitrate(desk: &Desk, runs: &[Run]) -> Answer<Option<f64>> {
    for run in runs {
        let candidates = desk.store().candidates(run.id).await?;
        let adopted = candidates.iter().rev().filter(|it| it.status == Status::Adopted);
        let bitrate = |it: &Candidate| {
            let metric = |name: &str| it.metrics.get(name).copied();
            metric("bitrate_mbps").or_else(|| metric("bitrate")).filter(|figure| figure.is_finite())
        };
        if let Some(found) = adopted.filter_map(bitrate).next() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The same: the original took any method.
#[utoipa::path(post, path = "/admin/status", tag = "admin", responses((status = 200, body = Overview)))]
async fn status_by_post(desk: State<Desk>) -> Answer<Json<Overview>> {
    status(desk).await
}
