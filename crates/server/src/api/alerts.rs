//! Who is told of failures, what they were told, and whether messages arrive.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use coroner_store::{MessageState, OutboxMessage};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answered;
use super::parameters::{Form, Params, given, short, word};
use crate::Desk;
use crate::alerts::{Channel, Tested};
use crate::failure::{Answer, Failure};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(alerts)).routes(routes!(test))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// waiting, sent, failed.
    state: Option<String>,
    /// How many messages, 500 at most.
    #[param(value_type = Option<u16>, default = 50)]
    limit: Option<String>,
}

/// The channels, how deliveries to each stand, and messages, the newest first.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(Which), responses((status = 200, body = Value)))]
async fn alerts(State(desk): State<Desk>, Params(which): Params<Which>) -> Answer<Json<Value>> {
    let limit = match given(which.limit) {
        None => 50,
        Some(text) => match text.parse::<usize>() {
            Ok(limit @ 1..=500) => limit,
            _ => {
                let text = format!("limit: `{}` is not a number from 1 to 500", short(&text));
                return Err(Failure::invalid(text));
            }
        },
    };
    let state = word::<MessageState>("state", which.state)?;
    let messages = desk.store().outbox(state, limit).await?;
    let messages: Vec<Value> = messages.iter().map(message).collect();
    let mut channels = Vec::new();
    if let Some(alerts) = &desk.settings().alerts {
        for (channel, deliveries) in alerts.channels().iter().zip(alerts.deliveries().await?) {
            channels.push(shown(channel, &json!(deliveries)));
        }
    }
    Ok(Json(json!({"channels": channels, "messages": messages})))
}

fn shown(channel: &Channel, deliveries: &Value) -> Value {
    let mut object = deliveries.clone();
    object["kind"] = json!(channel.kind());
    object["place"] = json!(channel.place());
    object["problem"] = json!(channel.problem());
    object["warning"] = json!(channel.warning());
    object
}

fn message(it: &OutboxMessage) -> Value {
    let mut object = json!(it);
    // ours, or of a later release: shown as it is kept
    object["message"] = serde_json::from_str(&it.content).unwrap_or_default();
    object
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Test {
    /// Which channel; left out, all.
    channel: Option<String>,
}

#[derive(serde::Serialize, ToSchema)]
struct Results {
    results: Vec<Tested>,
}

/// Sends a test message, and says whether it arrived.
#[utoipa::path(post, path = "/api/v1/alerts/test", tag = "alerts", request_body = Test,
    responses((status = 200, body = Results), (status = 404, description = "there is no such channel"),
    (status = 409, description = "no channel is configured")))]
async fn test(State(desk): State<Desk>, test: Form<Test>) -> Answer<Response> {
    let Some(alerts) = &desk.settings().alerts else {
        let hint = "add an [[alerts.channels]] to the configuration file, and start the desk again";
        return Err(Failure::conflict("no channel is configured").hint(hint));
    };
    let results = alerts.test(test.it.channel.as_deref()).await;
    if results.is_empty() {
        let name = test.it.channel.unwrap_or_default();
        return Err(Failure::not_found(format!("there is no channel `{}`", short(&name))));
    }
    Ok(answered(test.back, &Results { results }))
}
