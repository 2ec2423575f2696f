//! Logging in and out: the original's two steps for its clients, and a form for people.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Json};
use coroner_store::Role;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::{COOKIE, Caller, SECURE_COOKIE, cookie, encoded, from_where, hash, new_token, password, totp};
use crate::Desk;
use crate::api::parameters::{Body, is_ours};
use crate::failure::{Answer, Failure};

/// Hours that a session lasts.
const SESSION: i64 = 24;
/// How long the second step may take.
const SECOND_STEP: Duration = Duration::from_secs(600);
/// Wrong codes after one right password.
const CODES: u32 = 5;

/// Passwords being checked at once: each takes 19 MiB and a core for some milliseconds.
pub(crate) static CHECKING: Semaphore = Semaphore::const_new(4);

/// Those who gave the right password and owe the code.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<HashMap<String, (IpAddr, Instant, u32)>>);

impl Pending {
    fn begin(&self, name: &str, from: IpAddr) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, since, _)| since.elapsed() < SECOND_STEP);
        all.insert(name.to_owned(), (from, Instant::now(), CODES));
    }

    /// Has this one given the password? Each question is a try.
    fn tries(&self, name: &str, from: IpAddr) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, since, _)| since.elapsed() < SECOND_STEP);
        match all.get_mut(name) {
            Some((whence, _, left)) if *whence == from && *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    fn end(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Login {
    username: String,
    password: String,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SecondFactor {
    username: String,
    code: String,
}

/// The original's answer. A wrong password is an answer too, with status 200.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct LoginAnswer {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requires_2fa: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl LoginAnswer {
    fn refused(error: &str) -> Self {
        Self { error: Some(error.to_owned()), ..Self::default() }
    }

    fn granted(name: &str, token: String) -> Self {
        Self {
            success: true,
            token: Some(token),
            username: Some(name.to_owned()),
            message: Some("Login successful".to_owned()),
            ..Self::default()
        }
    }
}

/// Name and password in, a session's token out; or, for whoever has a second factor, the request for its code.
#[utoipa::path(post, path = "/admin/login", tag = "admin", security(()), request_body = Login,
    responses((status = 200, body = LoginAnswer), (status = 429, description = "too many wrong passwords")))]
pub(crate) async fn admin_login(State(desk): State<Desk>, request: Request) -> Answer<Json<LoginAnswer>> {
    let from = from_where(request.extensions());
    let Body(login) = Body::<Login>::read(request, &desk).await?;
    let Some(factor) = check(&desk, &login.username, &login.password, from).await? else {
        return Ok(Json(LoginAnswer::refused("Invalid credentials")));
    };
    if factor.is_some() {
        desk.pending().begin(&login.username, from);
        return Ok(Json(LoginAnswer {
            success: true,
            requires_2fa: Some(true),
            message: Some("Enter the code that your authenticator shows".to_owned()),
            username: Some(login.username),
            ..LoginAnswer::default()
        }));
    }
    let token = begin(&desk, &login.username).await?;
    let answer = LoginAnswer { requires_2fa: Some(false), ..LoginAnswer::granted(&login.username, token) };
    Ok(Json(answer))
}

/// The second step, within ten minutes of the first and from the same address.
#[utoipa::path(post, path = "/admin/verify-2fa", tag = "admin", security(()), request_body = SecondFactor,
    responses((status = 200, body = LoginAnswer)))]
pub(crate) async fn verify_2fa(State(desk): State<Desk>, request: Request) -> Answer<Json<LoginAnswer>> {
    let from = from_where(request.extensions());
    let Body(given) = Body::<SecondFactor>::read(request, &desk).await?;
    let name = given.username;
    if !desk.pending().tries(&name, from) {
        return Ok(Json(LoginAnswer::refused("2FA code expired or not found")));
    }
    let secret = desk.store().credentials(&name).await?.and_then(|it| it.totp);
    if !code_fits(&desk, &name, secret.as_deref(), &given.code).await? {
        desk.throttle().was_wrong(&name, from, Instant::now());
        return Ok(Json(LoginAnswer::refused("Invalid 2FA code")));
    }
    desk.pending().end(&name);
    let token = begin(&desk, &name).await?;
    Ok(Json(LoginAnswer::granted(&name, token)))
}

/// What the form of `/login` holds.
#[derive(Debug, Deserialize)]
struct Form {
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
}

/// Takes the form of the login page; what is wrong stands in the address that it leads back to.
pub(crate) async fn login_form(State(desk): State<Desk>, request: Request) -> Answer<Response> {
    let from = from_where(request.extensions());
    let Body(form) = Body::<Form>::read(request, &desk).await?;
    let next = if is_ours(&form.next) { form.next.as_str() } else { "/" };
    let back =
        |error: &str| Redirect::to(&format!("/login?error={error}&next={}", encoded(next))).into_response();
    let factor = match check(&desk, &form.username, &form.password, from).await {
        Ok(Some(factor)) => factor,
        Ok(None) => return Ok(back("credentials")),
        Err(failure) if failure.status == StatusCode::TOO_MANY_REQUESTS => return Ok(back("throttled")),
        Err(failure) => return Err(failure),
    };
    if let Some(secret) = factor {
        if form.code.trim().is_empty() {
            return Ok(back("code"));
        }
        if !code_fits(&desk, &form.username, Some(&secret), &form.code).await? {
            desk.throttle().was_wrong(&form.username, from, Instant::now());
            return Ok(back("code"));
        }
    }
    let token = begin(&desk, &form.username).await?;
    let mut response = Redirect::to(next).into_response();
    set_cookie(response.headers_mut(), desk.is_secure(), &token, SESSION * 3600);
    Ok(response)
}

/// Ends the session and forgets its cookie.
pub(crate) async fn logout(
    State(desk): State<Desk>,
    _: Option<Extension<Caller>>,
    headers: HeaderMap,
) -> Answer<Response> {
    if let Some(token) = cookie(&headers) {
        desk.store().end_session(hash(token)).await?;
    }
    let mut response = Redirect::to("/login").into_response();
    set_cookie(response.headers_mut(), desk.is_secure(), "", 0);
    Ok(response)
}

fn set_cookie(headers: &mut HeaderMap, secure: bool, token: &str, seconds: i64) {
    let (name, extra) = if secure { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
    let cookie = format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{extra}");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        headers.append(header::SET_COOKIE, value);
    }
}

/// `None`: wrong. Otherwise the second factor that is still owed, if there is one.
async fn check(
    desk: &Desk,
    name: &str,
    given: &str,
    from: IpAddr,
) -> Result<Option<Option<Vec<u8>>>, Failure> {
    if let Some(wait) = desk.throttle().wait(name, from, Instant::now()) {
        let seconds = wait.as_secs() + 1;
        return Err(Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            "throttled",
            format!("too many wrong passwords; try again in {seconds} s"),
        )
        .again_after(seconds));
    }
    let credentials = desk.store().credentials(name).await?;
    let kept = credentials.as_ref().map(|it| it.password.clone());
    let given = given.to_owned();
    let _permit = CHECKING.acquire().await.map_err(|_| Failure::internal())?;
    let right = tokio::task::spawn_blocking(move || password::verify(&given, kept.as_deref()))
        .await
        .map_err(|_| Failure::internal())?;
    match credentials.filter(|_| right) {
        // whoever is switched off learns it by nothing
        Some(credentials) if !credentials.disabled => {
            desk.throttle().was_right(name, from);
            Ok(Some(credentials.totp))
        }
        _ => {
            desk.throttle().was_wrong(name, from, Instant::now());
            Ok(None)
        }
    }
}

async fn code_fits(desk: &Desk, name: &str, secret: Option<&[u8]>, code: &str) -> Result<bool, Failure> {
    let step = secret.and_then(|secret| totp::step_of(secret, code, Timestamp::now().as_second()));
    match step {
        // each code counts once
        Some(step) => Ok(desk.store().use_totp(name, step).await?),
        None => Ok(false),
    }
}

/// A session's token.
async fn begin(desk: &Desk, name: &str) -> Result<String, Failure> {
    let token = new_token().map_err(|_| Failure::internal())?;
    let now = Timestamp::now();
    desk.store().begin_session(hash(&token), name, now, now + SESSION.hours()).await?;
    Ok(token)
}

/// The word of a role in a request.
pub(super) fn role(word: &str) -> Result<Role, Failure> {
    word.parse().map_err(|e| Failure::invalid(format!("role: {e}")))
}
