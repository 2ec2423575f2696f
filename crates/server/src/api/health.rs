//! Is the desk there, and can it do its work?

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Desk;
use crate::failure::Answer;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// The desk answers.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, body = Value)))]
async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The store answers too.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses((status = 200, body = Value)))]
async fn readyz(State(desk): State<Desk>) -> Answer<Json<Value>> {
    let health = desk.store().health(false).await?;
    Ok(Json(json!({"status": "ok", "schema": health.schema})))
}
