//! The rules: what there is, and which of them are not to speak.

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use coroner_diagnosis::{Category, Rule, RuleSet};
use coroner_store::Silenced;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::{Form, Params, Place, word};
use super::{Nothing, answered, short};
use crate::Desk;
use crate::auth::Caller;
use crate::failure::{Answer, Failure, Problem};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(rules)).routes(routes!(disable)).routes(routes!(enable))
}

#[derive(serde::Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// One of the seven categories.
    category: Option<String>,
}

/// A rule.
#[derive(Serialize, ToSchema)]
struct Shown {
    id: String,
    category: String,
    severity: String,
    origin: String,
    /// exact, typed, hint: how precisely it names what happened.
    strength: String,
    /// Of the configured files, not built in.
    own: bool,
    /// May it speak?
    enabled: bool,
    /// Who switched it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_by: Option<String>,
    /// When (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_at: Option<String>,
}

impl Shown {
    fn of(rule: &Rule, rules: &RuleSet, silenced: &[Silenced]) -> Self {
        let off = silenced.iter().find(|it| it.rule == rule.id);
        Self {
            id: rule.id.to_string(),
            category: rule.category.to_string(),
            severity: rule.severity.to_string(),
            origin: rule.origin.to_string(),
            strength: format!("{:?}", rule.strength).to_lowercase(),
            own: rule.own,
            enabled: rules.speaks(&rule.id),
            disabled_by: off.map(|it| it.by.clone()),
            disabled_at: off.map(|it| it.at.to_string()),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct Rules {
    rules: Vec<Shown>,
}

/// All rules, those that are switched off included.
#[utoipa::path(get, path = "/api/v1/rules", tag = "rules", params(Which), responses((status = 200, body = Rules),
    (status = 400, body = Problem)))]
async fn rules(State(desk): State<Desk>, Params(which): Params<Which>) -> Answer<Json<Rules>> {
    let category = word::<Category>("category", which.category)?;
    let (rules, silenced) = (desk.analyst().rules(), desk.store().silenced().await?);
    let fitting = rules.rules().iter().filter(|rule| category.is_none_or(|it| rule.category == it));
    Ok(Json(Rules { rules: fitting.map(|rule| Shown::of(rule, &rules, &silenced)).collect() }))
}

/// Switches a rule off: it does not speak any more, here and in every command that uses this store.
#[utoipa::path(post, path = "/api/v1/rules/{id}/disable", tag = "rules", params(("id" = String, Path)), request_body = Nothing,
    responses((status = 200, body = serde_json::Value), (status = 404, body = Problem, description = "there is no such rule")))]
async fn disable(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Place(id): Place<String>,
    form: Form<Nothing>,
) -> Answer<Response> {
    switch(&desk, &id, Some(&caller.name), form.back).await
}

/// Switches it on again.
#[utoipa::path(post, path = "/api/v1/rules/{id}/enable", tag = "rules", params(("id" = String, Path)), request_body = Nothing,
    responses((status = 200, body = serde_json::Value), (status = 404, body = Problem, description = "there is no such rule")))]
async fn enable(State(desk): State<Desk>, Place(id): Place<String>, form: Form<Nothing>) -> Answer<Response> {
    switch(&desk, &id, None, form.back).await
}

async fn switch(desk: &Desk, id: &str, by: Option<&str>, back: Option<String>) -> Answer<Response> {
    if desk.analyst().rules().get(id).is_none() {
        return Err(Failure::not_found(format!("there is no rule `{}`", short(id))));
    }
    desk.store().silence(id, by, Timestamp::now()).await?;
    desk.heed_silence().await?;
    Ok(answered(back, &json!({"id": id, "enabled": by.is_none()})))
}
