//! A person's word: what failures of a signature are, from now on; held against the past; taken back.

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use coroner_store::{ExperimentId, Ruling};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::{Form, Place, given, word};
use super::{Nothing, answered};
use crate::Desk;
use crate::auth::Caller;
use crate::failure::{Answer, Failure};

/// No cause or fix is longer.
const LONGEST: usize = 4000;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(corrections))
        .routes(routes!(correct_experiment))
        .routes(routes!(correct_group))
        .routes(routes!(replay, apply))
        .routes(routes!(take_back))
}

/// All corrections, the newest first.
#[utoipa::path(get, path = "/api/v1/corrections", tag = "corrections", responses((status = 200, body = Value)))]
async fn corrections(State(desk): State<Desk>) -> Answer<Json<Value>> {
    Ok(Json(json!({"corrections": desk.store().corrections(None).await?})))
}

/// What is right. What is left out stays as it was judged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Right {
    category: Option<String>,
    severity: Option<String>,
    origin: Option<String>,
    root_cause: Option<String>,
    fix_suggestion: Option<String>,
}

impl Right {
    fn ruling(self) -> Answer<Ruling> {
        let ruling = Ruling {
            category: word("category", self.category)?,
            severity: word("severity", self.severity)?,
            origin: word("origin", self.origin)?,
            cause: given(self.root_cause),
            fix: given(self.fix_suggestion),
        };
        if ruling == Ruling::default() {
            return Err(Failure::invalid("a correction says at least one thing"));
        }
        if [&ruling.cause, &ruling.fix].into_iter().flatten().any(|text| text.chars().count() > LONGEST) {
            return Err(Failure::invalid("root_cause and fix_suggestion have at most 4,000 characters"));
        }
        Ok(ruling)
    }
}

/// Corrects a diagnosis: at once, and for all failures of its signature that come after.
#[utoipa::path(post, path = "/api/v1/experiments/{id}/correction", tag = "corrections", params(("id" = String, Path)),
    request_body = Right, responses((status = 200, body = Value)))]
async fn correct_experiment(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Place(id): Place<String>,
    right: Form<Right>,
) -> Answer<Response> {
    let experiment = desk.store().get(&id).await?;
    let id = &experiment.listed.id;
    let Some(diagnosis) = &experiment.diagnosis else {
        return Err(Failure::conflict(format!("experiment {id} has no diagnosis to correct")));
    };
    correct(&desk, &caller, &diagnosis.signature, right, Some(id)).await
}

/// Corrects all failures of a signature that come after.
#[utoipa::path(post, path = "/api/v1/groups/{signature}/correction", tag = "corrections", params(("signature" = String, Path)),
    request_body = Right, responses((status = 200, body = Value)))]
async fn correct_group(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Place(signature): Place<String>,
    right: Form<Right>,
) -> Answer<Response> {
    correct(&desk, &caller, &signature, right, None).await
}

async fn correct(
    desk: &Desk,
    caller: &Caller,
    signature: &str,
    right: Form<Right>,
    experiment: Option<&ExperimentId>,
) -> Answer<Response> {
    let Form { it, back } = right;
    let correction =
        desk.store().correct(signature, it.ruling()?, &caller.name, Timestamp::now(), experiment).await?;
    Ok(answered(back, &correction))
}

/// What would this correction change of the failures so far?
#[utoipa::path(get, path = "/api/v1/corrections/{id}/replay", tag = "corrections", params(("id" = i64, Path)),
    responses((status = 200, body = Value), (status = 404, description = "no correction in force has this number")))]
async fn replay(State(desk): State<Desk>, Place(id): Place<String>) -> Answer<Response> {
    Ok(answered(None, &desk.store().replay(number(&id)?, false).await?))
}

/// Corrects the failures so far too.
#[utoipa::path(post, path = "/api/v1/corrections/{id}/replay", tag = "corrections", params(("id" = i64, Path)),
    request_body = Nothing, responses((status = 200, body = Value)))]
async fn apply(State(desk): State<Desk>, Place(id): Place<String>, form: Form<Nothing>) -> Answer<Response> {
    let Nothing {} = form.it;
    Ok(answered(form.back, &desk.store().replay(number(&id)?, true).await?))
}

/// Takes a correction back: every diagnosis that it changed is again what it was.
#[utoipa::path(post, path = "/api/v1/corrections/{id}/take-back", tag = "corrections", params(("id" = i64, Path)),
    request_body = Nothing, responses((status = 200, body = Value)))]
async fn take_back(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Place(id): Place<String>,
    form: Form<Nothing>,
) -> Answer<Response> {
    let Nothing {} = form.it;
    if !desk.store().take_back(number(&id)?, &caller.name, Timestamp::now()).await? {
        return Err(Failure::not_found(format!("there is no correction {}", super::short(&id))));
    }
    Ok(answered(form.back, &json!({"success": true})))
}

fn number(text: &str) -> Answer<i64> {
    text.parse().map_err(|_| Failure::not_found(format!("there is no correction `{}`", super::short(text))))
}
