//! What programs ask: each file is about one thing and says its routes.

mod admin;
mod alerts;
mod corrections;
mod experiments;
mod export;
mod groups;
mod health;
mod logs;
pub(crate) mod parameters;
mod report;
mod rules;
pub(crate) mod runs;
mod statistics;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use crate::Desk;

pub(crate) use parameters::short;

pub(crate) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .merge(admin::routes())
        .merge(alerts::routes())
        .merge(corrections::routes())
        .merge(experiments::routes())
        .merge(export::routes())
        .merge(groups::routes())
        .merge(health::routes())
        .merge(logs::routes())
        .merge(report::routes())
        .merge(rules::routes())
        .merge(runs::routes())
        .merge(statistics::routes())
}

/// It was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    success: bool,
}

pub(crate) fn done(status: StatusCode, back: Option<String>) -> Response {
    match back {
        Some(place) => Redirect::to(&place).into_response(),
        None => (status, Json(Done { success: true })).into_response(),
    }
}

/// A body that says nothing more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// What a person is told once, on the page that they come back to; it stands nowhere else.
#[derive(Debug, Clone)]
pub(crate) struct Told(pub(crate) String);

/// The way back, with that.
pub(crate) fn told(place: &str, text: String) -> Response {
    let mut response = Redirect::to(place).into_response();
    response.extensions_mut().insert(Told(text));
    response
}

/// The answer to a program; or, to a form, the way back to its page.
pub(crate) fn answered(back: Option<String>, value: &impl Serialize) -> Response {
    match back {
        Some(place) => Redirect::to(&place).into_response(),
        None => Json(value).into_response(),
    }
}
