//! Experiments: the list with everything in it, one with all that is kept of it, its diagnosis and its code.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use coroner_store::Experiment;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answered;
use super::parameters::{Form, Params, Place, Which};
use crate::Desk;
use crate::auth::Caller;
use crate::failure::{Answer, Failure};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(experiments))
        .routes(routes!(experiment))
        .routes(routes!(diagnosis))
        .routes(routes!(code))
        .routes(routes!(vote))
}

/// Experiments, the newest first: filters and search as in `/admin/experiments`.
#[utoipa::path(get, path = "/api/v1/experiments", tag = "experiments", params(Which), responses((status = 200, body = Value)))]
async fn experiments(State(desk): State<Desk>, Params(which): Params<Which>) -> Answer<Response> {
    Ok(Json(desk.store().list(which.query()?).await?).into_response())
}

/// Everything that is kept of one. `id` is its id (the newest attempt), `ID~2`, or its number.
#[utoipa::path(get, path = "/api/v1/experiments/{id}", tag = "experiments", params(("id" = String, Path)),
    responses((status = 200, body = Value), (status = 404, description = "there is none")))]
async fn experiment(State(desk): State<Desk>, Place(id): Place<String>) -> Answer<Json<Value>> {
    let experiment = desk.store().get(&id).await?;
    let votes = desk.store().votes(&experiment.listed.id).await?;
    let mut whole = whole(&experiment);
    whole["votes"] = json!(votes);
    Ok(Json(whole))
}

pub(super) fn whole(it: &Experiment) -> Value {
    let mut object = json!(it.listed);
    object["attempt"] = json!(it.listed.id.attempt());
    object["command"] = json!(it.listed.command);
    object["cwd"] = json!(it.cwd);
    object["exit"] = json!(it.exit.as_ref().map(|exit| exit.end.to_string()));
    object["exit_facts"] = json!(it.exit);
    object["peak_memory_bytes"] = json!(it.listed.peak_memory);
    object["reason"] = json!(it.reason);
    object["log"] = json!(it.log);
    object["log_note"] = json!(it.log_note);
    object["diagnosis"] = json!(it.diagnosis);
    object
}

/// The diagnosis as contract.md, section 1, has it.
#[utoipa::path(get, path = "/api/v1/experiments/{id}/diagnosis", tag = "experiments", params(("id" = String, Path)),
    responses((status = 200, body = Value), (status = 404, description = "there is none")))]
async fn diagnosis(State(desk): State<Desk>, Place(id): Place<String>) -> Answer<Response> {
    let experiment = desk.store().get(&id).await?;
    match experiment.diagnosis {
        Some(diagnosis) => Ok(Json(diagnosis).into_response()),
        None => {
            let status = experiment.listed.status;
            Err(Failure::not_found(format!(
                "experiment {} has no diagnosis ({status})",
                experiment.listed.id
            )))
        }
    }
}

/// The code: a candidate's as it was tested, or a failure's as it was reported, without secrets.
#[utoipa::path(get, path = "/api/v1/experiments/{id}/code", tag = "experiments", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/plain"), (status = 404, description = "no code is kept of it")))]
async fn code(State(desk): State<Desk>, Place(id): Place<String>) -> Answer<Response> {
    let experiment = desk.store().get(&id).await?;
    let code = desk.store().candidate_code(&experiment.listed.id).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], code).into_response())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Vote {
    /// Was the diagnosis helpful? Left out: the vote is withdrawn.
    helpful: Option<bool>,
}

/// Says whether a diagnosis was helpful. One vote for each caller; the last counts.
#[utoipa::path(post, path = "/api/v1/experiments/{id}/vote", tag = "experiments", params(("id" = String, Path)),
    request_body = Vote, responses((status = 200, body = Value)))]
async fn vote(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Place(id): Place<String>,
    vote: Form<Vote>,
) -> Answer<Response> {
    let experiment = desk.store().get(&id).await?;
    if experiment.diagnosis.is_none() {
        return Err(Failure::conflict(format!("experiment {} has no diagnosis", experiment.listed.id)));
    }
    let id = &experiment.listed.id;
    let votes = desk.store().vote(id, &caller.name, vote.it.helpful, Timestamp::now()).await?;
    Ok(answered(vote.back, &votes))
}
