//! Groups of failures with one cause, and what people decide about them.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use coroner_store::{Decision, Group, GroupOrder, GroupQuery, GroupState};
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::{Form, Params, Place, given, short, word};
use super::{Nothing, answered};
use crate::Desk;
use crate::auth::Caller;
use crate::failure::{Answer, Failure};

/// A group is new for so many hours after its first failure.
const NEW: i64 = 24;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(groups))
        .routes(routes!(group))
        .routes(routes!(decide))
        .routes(routes!(join))
        .routes(routes!(part))
        .routes(routes!(split))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// How many at once, 200 at most.
    #[param(value_type = Option<u16>, default = 50)]
    limit: Option<String>,
    /// `next_cursor` of the page before, with the same state and order.
    cursor: Option<String>,
    /// open, muted, resolved.
    state: Option<String>,
    /// latest (seen last), largest (most experiments), newest (first seen last).
    order: Option<String>,
}

/// Groups, a page at a time.
#[utoipa::path(get, path = "/api/v1/groups", tag = "groups", params(Which), responses((status = 200, body = Value)))]
async fn groups(State(desk): State<Desk>, Params(which): Params<Which>) -> Answer<Json<Value>> {
    let limit = match given(which.limit) {
        None => None,
        Some(text) => match text.parse::<usize>() {
            Ok(limit @ 1..=200) => Some(limit),
            _ => {
                return Err(Failure::invalid(format!(
                    "limit: `{}` is not a number from 1 to 200",
                    short(&text)
                )));
            }
        },
    };
    let query = GroupQuery {
        limit,
        cursor: given(which.cursor),
        state: word::<GroupState>("state", which.state)?,
        order: word::<GroupOrder>("order", which.order)?.unwrap_or_default(),
    };
    let now = Timestamp::now();
    let page = desk.store().groups(query, now).await?;
    let groups: Vec<Value> = page.groups.iter().map(|group| shown(group, now)).collect();
    Ok(Json(json!({"groups": groups, "next_cursor": page.next_cursor})))
}

fn shown(group: &Group, now: Timestamp) -> Value {
    let mut object = json!(group);
    object["is_new"] = json!(group.first_seen >= now - NEW.hours());
    object["fixed_by"] = json!(group.passed_after.as_ref().map(coroner_store::PassedAfter::in_words));
    object
}

/// One group, with why its failures are one and what people said of it.
#[utoipa::path(get, path = "/api/v1/groups/{signature}", tag = "groups", params(("signature" = String, Path)),
    responses((status = 200, body = Value), (status = 404, description = "no failure has this signature")))]
async fn group(State(desk): State<Desk>, Place(signature): Place<String>) -> Answer<Json<Value>> {
    let now = Timestamp::now();
    let group = found(&desk, &signature).await?;
    let mut object = shown(&group, now);
    object["why"] = json!(why(&desk, &group).await?);
    object["corrections"] = json!(desk.store().corrections(Some(&group.signature)).await?);
    Ok(Json(object))
}

async fn found(desk: &Desk, signature: &str) -> Answer<Group> {
    let group = desk.store().group(signature, Timestamp::now()).await?;
    group.ok_or_else(|| {
        Failure::not_found(format!("no failure of signature `{}` was ever seen", short(signature)))
    })
}

/// What all of its failures have in common: what the signature is made of.
async fn why(desk: &Desk, group: &Group) -> Answer<Value> {
    let mut why = json!({
        "sentence": "the same rule spoke, of the same message without numbers, paths, addresses and times, in the same place",
    });
    if let Some(latest) = &group.latest {
        let experiment = desk.store().get(&latest.id.to_string()).await?;
        if let Some(diagnosis) = experiment.diagnosis {
            let cause = diagnosis.evidence.iter().find(|item| item.role == coroner_diagnosis::Role::Cause);
            why["rule"] = json!(diagnosis.verdict.rule);
            why["line"] = json!(cause.map(|item| &item.text));
        }
        // looked at again, since the parts are not kept; those that still make this signature are its parts
        let capture = crate::autopsy::capture_again(desk, latest).await;
        let parts = desk.judged(move |analyst| analyst.signature_parts(&capture)).await;
        let parts =
            parts.ok().filter(|(id, _)| *id == latest.analysis.as_ref().map_or("", |it| &it.signature));
        why["parts"] = json!(parts.map(|(_, parts)| parts));
    }
    if !group.members.is_empty() {
        why["joined"] = json!("people joined further signatures to it");
    }
    Ok(why)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Said {
    /// mute, unmute, resolve, reopen, assign.
    #[serde(rename = "do")]
    what: String,
    /// Of `mute`: until then (RFC 3339); left out, until somebody says otherwise.
    #[schema(value_type = Option<String>)]
    until: Option<Timestamp>,
    /// Of `assign`: who looks after it; left out, nobody.
    assignee: Option<String>,
}

/// Mutes, resolves, reopens or assigns a group. One that is resolved opens by itself when it recurs.
#[utoipa::path(post, path = "/api/v1/groups/{signature}", tag = "groups", params(("signature" = String, Path)),
    request_body = Said, responses((status = 200, body = Value)))]
async fn decide(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Place(signature): Place<String>,
    said: Form<Said>,
) -> Answer<Response> {
    let decision = match said.it.what.as_str() {
        "mute" => Decision::Mute(said.it.until),
        "unmute" | "reopen" => Decision::Open,
        "resolve" => Decision::Resolve,
        "assign" => {
            if said.it.assignee.as_ref().is_some_and(|name| name.chars().count() > 100) {
                return Err(Failure::invalid("assignee: longer than 100 characters"));
            }
            Decision::Assign(said.it.assignee)
        }
        other => {
            let text = format!("do: `{}` is none of mute, unmute, resolve, reopen, assign", short(other));
            return Err(Failure::invalid(text));
        }
    };
    let now = Timestamp::now();
    desk.store().decide(&signature, decision, &caller.name, now).await?;
    Ok(answered(said.back, &shown(&found(&desk, &signature).await?, now)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Join {
    /// A signature of the group that it is to belong to.
    into: String,
}

/// Joins a group to another: its failures so far, and those that come, count there.
#[utoipa::path(post, path = "/api/v1/groups/{signature}/join", tag = "groups", params(("signature" = String, Path)),
    request_body = Join, responses((status = 200, body = Value)))]
async fn join(
    State(desk): State<Desk>,
    Place(signature): Place<String>,
    join: Form<Join>,
) -> Answer<Response> {
    desk.store().join_groups(&signature, &join.it.into).await?;
    Ok(answered(join.back, &shown(&found(&desk, &signature).await?, Timestamp::now())))
}

/// Takes a signature out of the group that it was joined to.
#[utoipa::path(post, path = "/api/v1/groups/{signature}/part", tag = "groups", params(("signature" = String, Path)),
    request_body = Nothing, responses((status = 200, body = Value)))]
async fn part(
    State(desk): State<Desk>,
    Place(signature): Place<String>,
    form: Form<Nothing>,
) -> Answer<Response> {
    let Nothing {} = form.it;
    desk.store().part_group(&signature).await?;
    Ok(answered(form.back, &shown(&found(&desk, &signature).await?, Timestamp::now())))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Split {
    /// What stands in the root cause of those that are another group.
    words: String,
}

/// Splits a group: failures whose root cause holds these words, so far and from now on, are a group of their own.
#[utoipa::path(post, path = "/api/v1/groups/{signature}/split", tag = "groups", params(("signature" = String, Path)),
    request_body = Split, responses((status = 200, body = Value)))]
async fn split(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Place(signature): Place<String>,
    split: Form<Split>,
) -> Answer<Response> {
    let words = split.it.words.trim();
    if !(3..=200).contains(&words.chars().count()) {
        return Err(Failure::invalid("words: 3 to 200 characters"));
    }
    let part = desk.store().split_group(&signature, words, &caller.name, Timestamp::now()).await?;
    Ok(answered(split.back, &json!({"signature": part})).into_response())
}
