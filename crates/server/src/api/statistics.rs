//! Counts over time, and what failures cost.

use axum::Json;
use axum::extract::State;
use coroner_store::{By, Step, Within};
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::{Params, given, short};
use crate::Desk;
use crate::failure::{Answer, Failure};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(statistics)).routes(routes!(costs))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Window {
    /// RFC 3339; the last 14 days if left out.
    from: Option<String>,
    /// RFC 3339; now if left out.
    to: Option<String>,
    /// category (if left out), severity, origin, status or type.
    by: Option<String>,
    /// day (UTC, if left out) or hour.
    step: Option<String>,
}

impl Window {
    fn bounds(&self) -> Answer<(Timestamp, Timestamp)> {
        let time = |name: &str, text: &Option<String>| {
            given(text.clone())
                .map(|text| {
                    text.parse::<Timestamp>().map_err(|_| {
                        let text = short(&text);
                        Failure::invalid(format!("{name}: `{text}` is no time such as 2026-11-28T00:00:00Z"))
                    })
                })
                .transpose()
        };
        let to = time("to", &self.to)?.unwrap_or_else(Timestamp::now);
        let before = to.checked_sub((14 * 24).hours()).unwrap_or(to);
        let from = time("from", &self.from)?.unwrap_or(before);
        if from > to {
            return Err(Failure::invalid("from: later than to"));
        }
        Ok((from, to))
    }
}

/// How many experiments there were, over time and by one word.
#[utoipa::path(get, path = "/api/v1/statistics", tag = "statistics", params(Window), responses((status = 200, body = Value)))]
async fn statistics(State(desk): State<Desk>, Params(window): Params<Window>) -> Answer<Json<Value>> {
    let (from, to) = window.bounds()?;
    let by = match given(window.by).as_deref() {
        None | Some("category") => By::Category,
        Some("severity") => By::Severity,
        Some("origin") => By::Origin,
        Some("status") => By::Status,
        Some("type") => By::Type,
        Some(other) => {
            let text = format!("by: `{}` is none of category, severity, origin, status, type", short(other));
            return Err(Failure::invalid(text));
        }
    };
    let (step, most) = match given(window.step).as_deref() {
        None | Some("day") => (Step::Day, 3000 * 24),
        Some("hour") => (Step::Hour, 3000),
        Some(other) => {
            return Err(Failure::invalid(format!("step: `{}` is neither day nor hour", short(other))));
        }
    };
    if (to.as_second() - from.as_second()) / 3600 > most {
        return Err(Failure::invalid("more than 3,000 steps").hint("take a shorter window, or step=day"));
    }
    let series = desk.store().series(from, to, by, step).await?;
    let summary = desk.store().summary(from, to).await?;
    Ok(Json(json!({"series": series, "summary": summary})))
}

/// What experiments took in time and money, and how much of it was lost, by cause, kind and fault.
#[utoipa::path(get, path = "/api/v1/costs", tag = "statistics", params(Window), responses((status = 200, body = Value)))]
async fn costs(State(desk): State<Desk>, Params(window): Params<Window>) -> Answer<Json<Value>> {
    let (since, until) = window.bounds()?;
    let within = Within { since: Some(since), until: Some(until), ..Within::default() };
    Ok(Json(json!(desk.store().costs(within).await?)))
}
