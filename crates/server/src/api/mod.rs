//! What programs ask: each file is about one thing and says its routes.

mod admin;
mod corrections;
mod experiments;
mod export;
mod groups;
mod health;
mod logs;
pub(crate) mod parameters;
mod report;
mod statistics;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use crate::Desk;

pub(crate) use parameters::short;

pub(crate) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .merge(admin::routes())
        .merge(corrections::routes())
        .merge(experiments::routes())
        .merge(export::routes())
        .merge(groups::routes())
        .merge(health::routes())
        .merge(logs::routes())
        .merge(report::routes())
        .merge(statistics::routes())
}

/// It was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    success: bool,
}

pub(crate) fn done(status: StatusCode) -> Response {
    (status, Json(Done { success: true })).into_response()
}

/// The answer to a program; or, to a form, the way back to its page.
pub(crate) fn answered(back: Option<String>, value: &impl Serialize) -> Response {
    match back {
        Some(place) => Redirect::to(&place).into_response(),
        None => Json(value).into_response(),
    }
}
