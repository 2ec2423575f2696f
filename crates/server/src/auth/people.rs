//! Users and tokens over the API, for the settings page and for programs. All of it needs an admin.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json};
use coroner_store::{Token, TokenScope, User, UserChange};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Caller, hash, login, new_token, password};
use crate::Desk;
use crate::api::parameters::{Form, Place};
use crate::api::{Done, Nothing, done, told};
use crate::failure::{Answer, Failure, Problem};

pub(crate) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(login::admin_login))
        .routes(routes!(login::verify_2fa))
        .route("/login", post(login::login_form))
        .route("/logout", post(login::logout))
        .routes(routes!(users, add_user))
        .routes(routes!(change_user, remove_user))
        .routes(routes!(remove_user_by_post))
        .routes(routes!(set_password))
        .routes(routes!(tokens, add_token))
        .routes(routes!(revoke_token))
        .routes(routes!(revoke_token_by_post))
}

#[derive(Serialize, ToSchema)]
struct Users {
    #[schema(value_type = Vec<serde_json::Value>)]
    users: Vec<User>,
}

/// Everybody who may log in.
#[utoipa::path(get, path = "/api/v1/users", tag = "people", responses((status = 200, body = Users)))]
async fn users(State(desk): State<Desk>) -> Answer<Json<Users>> {
    Ok(Json(Users { users: desk.store().users().await? }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// What they log in with.
    name: String,
    /// Eight characters at least.
    password: String,
    /// admin or viewer.
    role: String,
}

/// Adds somebody.
#[utoipa::path(post, path = "/api/v1/users", tag = "people", request_body = NewUser, responses((status = 201, body = Done),
    (status = 409, body = Problem, description = "the name is taken")))]
async fn add_user(State(desk): State<Desk>, new: Form<NewUser>) -> Answer<Response> {
    let Form { it, back } = new;
    name_fits(&it.name)?;
    let hash = hashed(it.password).await?;
    if !desk.store().add_user(&it.name, login::role(&it.role)?, &hash, Timestamp::now()).await? {
        return Err(Failure::conflict(format!("there is a user `{}` already", it.name)));
    }
    Ok(done(StatusCode::CREATED, back))
}

/// What is to be otherwise; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangedUser {
    /// admin or viewer.
    role: Option<String>,
    /// May they not sign in for the time being? Their sessions end.
    disabled: Option<bool>,
}

/// Gives somebody another role, or says whether they may sign in. One admin who may always stays.
#[utoipa::path(post, path = "/api/v1/users/{name}", tag = "people", params(("name" = String, Path)), request_body = ChangedUser,
    responses((status = 200, body = Done), (status = 404, body = Problem, description = "there is nobody of that name"),
        (status = 409, body = Problem, description = "nobody else could change anything any more")))]
async fn change_user(
    State(desk): State<Desk>,
    Place(name): Place<String>,
    changed: Form<ChangedUser>,
) -> Answer<Response> {
    let Form { it, back } = changed;
    let role = it.role.as_deref().map(login::role).transpose()?;
    if role.is_none() && it.disabled.is_none() {
        return Err(Failure::invalid("role or disabled: say at least one"));
    }
    made(desk.store().change_user(&name, role, it.disabled, Timestamp::now()).await?, &name)?;
    Ok(done(StatusCode::OK, back))
}

fn made(change: UserChange, name: &str) -> Answer<()> {
    match change {
        UserChange::Done => Ok(()),
        UserChange::Nobody => Err(nobody(name)),
        UserChange::LastAdmin => {
            let name = crate::api::short(name);
            Err(Failure::conflict(format!("without `{name}` no admin could sign in; nothing was changed"))
                .hint("make another admin first"))
        }
    }
}

/// Removes somebody; their sessions end.
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "people", params(("name" = String, Path)), responses((status = 200, body = Done),
    (status = 404, body = Problem, description = "there is nobody of that name"), (status = 409, body = Problem, description = "they are the last admin")))]
async fn remove_user(State(desk): State<Desk>, Place(name): Place<String>) -> Answer<Response> {
    removed(&desk, &name, None).await
}

/// The same, for forms.
#[utoipa::path(post, path = "/api/v1/users/{name}/remove", tag = "people", params(("name" = String, Path)), request_body = Nothing,
    responses((status = 200, body = Done), (status = 404, body = Problem, description = "there is nobody of that name"),
        (status = 409, body = Problem, description = "they are the last admin")))]
async fn remove_user_by_post(
    State(desk): State<Desk>,
    Place(name): Place<String>,
    form: Form<Nothing>,
) -> Answer<Response> {
    removed(&desk, &name, form.back).await
}

async fn removed(desk: &Desk, name: &str, back: Option<String>) -> Answer<Response> {
    // whoever must stay is refused here
    made(desk.store().change_user(name, None, Some(true), Timestamp::now()).await?, name)?;
    match desk.store().remove_user(name).await? {
        true => Ok(done(StatusCode::OK, back)),
        false => Err(nobody(name)),
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// Eight characters at least.
    password: String,
}

/// Gives somebody another password; their sessions end.
#[utoipa::path(post, path = "/api/v1/users/{name}/password", tag = "people", params(("name" = String, Path)), request_body = NewPassword,
    responses((status = 200, body = Done), (status = 404, body = Problem, description = "there is nobody of that name")))]
async fn set_password(
    State(desk): State<Desk>,
    Place(name): Place<String>,
    new: Form<NewPassword>,
) -> Answer<Response> {
    let hash = hashed(new.it.password).await?;
    match desk.store().set_password(&name, &hash).await? {
        true => Ok(done(StatusCode::OK, new.back)),
        false => Err(nobody(&name)),
    }
}

fn nobody(name: &str) -> Failure {
    Failure::not_found(format!("there is no user `{}`", crate::api::short(name)))
}

async fn hashed(given: String) -> Result<String, Failure> {
    let _permit = login::CHECKING.acquire().await.map_err(|_| Failure::internal())?;
    tokio::task::spawn_blocking(move || password::hash_password(&given))
        .await
        .map_err(|_| Failure::internal())?
        .map_err(Failure::invalid)
}

/// What people and tokens may be called.
fn name_fits(name: &str) -> Result<(), Failure> {
    let plain = name.chars().all(|c| c.is_alphanumeric() || "-_.@+ ".contains(c));
    if plain && (1..=64).contains(&name.len()) && name.trim() == name {
        return Ok(());
    }
    Err(Failure::invalid("a name has 1 to 64 letters, digits or any of - _ . @ +"))
}

#[derive(Serialize, ToSchema)]
struct Tokens {
    #[schema(value_type = Vec<serde_json::Value>)]
    tokens: Vec<Token>,
}

/// All tokens, the revoked included; none of them in words.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "people", responses((status = 200, body = Tokens)))]
async fn tokens(State(desk): State<Desk>) -> Answer<Json<Tokens>> {
    Ok(Json(Tokens { tokens: desk.store().tokens().await? }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// What people call it.
    name: String,
    /// report, read or admin.
    scope: String,
}

/// Makes a token. This is the only answer that it stands in.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "people", request_body = NewToken, responses((status = 201, body = serde_json::Value),
    (status = 409, body = Problem, description = "the name is taken, or was")))]
async fn add_token(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    new: Form<NewToken>,
) -> Answer<Response> {
    let Form { it: new, back } = new;
    name_fits(&new.name)?;
    let scope: TokenScope = new.scope.parse().map_err(|e| Failure::invalid(format!("scope: {e}")))?;
    let token = new_token().map_err(|_| Failure::internal())?;
    let kept = desk.store().add_token(&new.name, scope, hash(&token), &caller.name, Timestamp::now()).await?;
    let kept = kept.ok_or_else(|| Failure::conflict(format!("there is or was a token `{}`", new.name)))?;
    if let Some(place) = back {
        return Ok(told(&place, token));
    }
    let answer = json!({"token": token, "name": kept.name, "scope": kept.scope});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Revokes a token at once.
#[utoipa::path(delete, path = "/api/v1/tokens/{name}", tag = "people", params(("name" = String, Path)),
    responses((status = 200, body = Done), (status = 404, body = Problem, description = "no valid token has this name")))]
async fn revoke_token(State(desk): State<Desk>, Place(name): Place<String>) -> Answer<Response> {
    revoked(&desk, &name, None).await
}

/// The same, for forms.
#[utoipa::path(post, path = "/api/v1/tokens/{name}/revoke", tag = "people", params(("name" = String, Path)), request_body = Nothing,
    responses((status = 200, body = Done), (status = 404, body = Problem, description = "no valid token has this name")))]
async fn revoke_token_by_post(
    State(desk): State<Desk>,
    Place(name): Place<String>,
    form: Form<Nothing>,
) -> Answer<Response> {
    revoked(&desk, &name, form.back).await
}

async fn revoked(desk: &Desk, name: &str, back: Option<String>) -> Answer<Response> {
    match desk.store().revoke_token(name, Timestamp::now()).await? {
        true => Ok(done(StatusCode::OK, back)),
        false => Err(Failure::not_found(format!("no valid token `{}`", crate::api::short(name)))),
    }
}
