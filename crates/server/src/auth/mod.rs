//! Who asks, and what they may do. One table says what each address needs; whatever it does not name needs an admin to
//! change and a reader to see.

pub(crate) mod login;
mod password;
mod people;
mod throttle;
mod totp;

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use coroner_store::{Role, TokenHash, TokenScope};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::Desk;
use crate::failure::Failure;

pub use password::hash_password;
pub(crate) use people::routes;
pub(crate) use throttle::Throttle;
pub use totp::{new_totp_secret, totp_uri};

/// The session's cookie. A browser takes a name that begins so only for this host, and only over TLS.
const SECURE_COOKIE: &str = "__Host-coroner";
const COOKIE: &str = "coroner";

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum May {
    Report,
    Read,
    Admin,
}

impl May {
    fn allows(self, needed: Self) -> bool {
        self == Self::Admin || self == needed
    }
}

/// Whoever asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// What they are called where it is kept who did something.
    pub(crate) name: String,
    pub(crate) may: May,
    /// What a form of theirs must repeat; empty without a session.
    pub(crate) csrf: String,
}

impl Caller {
    /// Nobody asked who it is.
    fn unasked() -> Self {
        Self { name: "local".into(), may: May::Admin, csrf: String::new() }
    }
}

/// What an address needs; `None`: nothing.
fn needed(method: &Method, path: &str) -> Option<May> {
    let looks = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if path.starts_with("/assets/") || ["/healthz", "/readyz", "/login", "/favicon.ico"].contains(&path) {
        return None;
    }
    match path {
        "/admin/login" | "/admin/verify-2fa" => return None,
        "/admin/experiments" | "/admin/status" | "/logout" => return Some(May::Read),
        "/api/v1/users" | "/api/v1/tokens" | "/api/v1/alerts" | "/settings" => return Some(May::Admin),
        "/api/v1/failures" | "/api/v1/experiments" if !looks => return Some(May::Report),
        _ => {}
    }
    if looks {
        return Some(May::Read);
    }
    let of_experiment = path.strip_prefix("/api/v1/experiments/").and_then(|rest| rest.split_once('/'));
    match of_experiment.map(|(_, what)| what) {
        Some("heartbeat" | "end") => Some(May::Report),
        Some("vote") => Some(May::Read),
        _ => Some(May::Admin),
    }
}

/// Stands before every handler.
pub(crate) async fn authenticate(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admitted(&desk, &parts).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                parts.extensions.insert(caller);
            }
            next.run(Request::from_parts(parts, body)).await
        }
        // a person is asked to log in, a program is told
        Err(failure) if failure.status == StatusCode::UNAUTHORIZED && wants_page(&parts) => {
            let path = parts.uri.path_and_query().map_or("/", |it| it.as_str());
            Redirect::to(&format!("/login?next={}", encoded(path))).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

async fn admitted(desk: &Desk, parts: &Parts) -> Result<Option<Caller>, Failure> {
    let headers = &parts.headers;
    let needed = needed(&parts.method, parts.uri.path());
    let changes = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if changes {
        same_origin(desk, headers)?;
    }
    let caller = match caller(desk, headers).await? {
        Some(caller) => Some(caller),
        None if !desk.settings().auth => {
            if needed.is_some() {
                known_host(desk, headers)?;
            }
            Some(Caller::unasked())
        }
        None => None,
    };
    let Some(needed) = needed else { return Ok(caller) };
    match caller {
        None => {
            let why = match headers.contains_key(header::AUTHORIZATION) || cookie(headers).is_some() {
                true => "Unauthorized - invalid or expired token",
                false => "Unauthorized - missing or invalid token",
            };
            Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", why)
                .hint("log in, or send the header authorization: Bearer TOKEN (coroner token add)"))
        }
        Some(caller) if caller.may.allows(needed) => Ok(Some(caller)),
        Some(caller) => {
            let what = match needed {
                May::Report => "report experiments",
                May::Read => "read",
                May::Admin => "change anything here",
            };
            let text = format!("`{}` may not {what}", caller.name);
            Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", text))
        }
    }
}

/// Whoever shows a token or a session that is known.
async fn caller(desk: &Desk, headers: &HeaderMap) -> Result<Option<Caller>, Failure> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| {
        let (kind, token) = value.split_once(' ')?;
        kind.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let (shown, in_cookie) = match (bearer, cookie(headers)) {
        (Some(token), _) => (token, false),
        (None, Some(token)) => (token, true),
        (None, None) => return Ok(None),
    };
    let (hash, now) = (hash(shown), Timestamp::now());
    if let Some((name, role)) = desk.store().session(hash, now).await? {
        let may = match role {
            Role::Admin => May::Admin,
            Role::Viewer => May::Read,
        };
        let csrf = if in_cookie { csrf(shown) } else { String::new() };
        return Ok(Some(Caller { name, may, csrf }));
    }
    if in_cookie {
        return Ok(None);
    }
    let Some(token) = desk.store().token(hash).await? else { return Ok(None) };
    if token.last_used.is_none_or(|used| now.as_second() - used.as_second() >= 60) {
        desk.store().token_used(token.id, now).await?;
    }
    let may = match token.scope {
        TokenScope::Report => May::Report,
        TokenScope::Read => May::Read,
        TokenScope::Admin => May::Admin,
    };
    Ok(Some(Caller { name: format!("token {}", token.name), may, csrf: String::new() }))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == SECURE_COOKIE || name == COOKIE).then_some(value)
    })
}

/// Another site can make a browser send a request that changes something. Browsers say where it comes from.
fn same_origin(desk: &Desk, headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let refused = || {
        Failure::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "a page of another site sent this; nothing was changed",
        )
    };
    match text("sec-fetch-site") {
        Some("cross-site" | "same-site") => return Err(refused()),
        // no page can set this header: the browser's word is enough
        Some("same-origin") => return Ok(()),
        _ => {}
    }
    let Some(origin) = text("origin") else { return Ok(()) };
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    let ours = text("host").is_some_and(|ours| ours.eq_ignore_ascii_case(host));
    let public = desk.settings().public_url.as_deref().and_then(|url| url.split_once("://"));
    let public = public.is_some_and(|(_, rest)| rest.trim_end_matches('/').eq_ignore_ascii_case(host));
    if ours || public { Ok(()) } else { Err(refused()) }
}

/// Where nobody is asked who they are, a name that leads here by a trick (DNS rebinding) must not let another site read.
fn known_host(desk: &Desk, headers: &HeaderMap) -> Result<(), Failure> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let public = desk.settings().public_url.as_deref().and_then(|url| url.split_once("://"));
    let public = public.is_some_and(|(_, rest)| rest.trim_end_matches('/').eq_ignore_ascii_case(host));
    if address || public || name.eq_ignore_ascii_case("localhost") || desk.settings().any_host {
        return Ok(());
    }
    let text = format!("this desk is not known as `{}`", crate::api::short(host));
    Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, "host", text)
        .hint("ask for it by its address, or set serve.public_url"))
}

fn wants_page(parts: &Parts) -> bool {
    let accepts = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let path = parts.uri.path();
    accepts.contains("text/html") && !path.starts_with("/api/") && !path.starts_with("/admin/")
}

/// Escapes what has a meaning in a query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Where a request comes from.
pub(crate) fn from_where(extensions: &axum::http::Extensions) -> IpAddr {
    let from = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    from.unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

/// What is kept of a token.
#[must_use]
pub fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// What the forms of a session must repeat: a page of another site can't know it.
fn csrf(session: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(session.as_bytes()) else { return String::new() };
    mac.update(b"form");
    hex(&mac.finalize().into_bytes())
}

/// A new token of 256 random bits.
///
/// # Errors
/// If the system gives no random numbers.
pub fn new_token() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(format!("coroner_{}", hex(&bytes)))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_needs_an_admin_to_change_and_a_reader_to_see() {
        let cases = [
            (Method::GET, "/healthz", None),
            (Method::POST, "/login", None),
            (Method::GET, "/", Some(May::Read)),
            (Method::GET, "/anything/new", Some(May::Read)),
            (Method::DELETE, "/anything/new", Some(May::Admin)),
            (Method::POST, "/admin/experiments", Some(May::Read)),
            (Method::POST, "/api/v1/failures", Some(May::Report)),
            (Method::POST, "/api/v1/experiments", Some(May::Report)),
            (Method::GET, "/api/v1/experiments", Some(May::Read)),
            (Method::POST, "/api/v1/experiments/a%2Fb/end", Some(May::Report)),
            (Method::POST, "/api/v1/experiments/a/correction", Some(May::Admin)),
            (Method::POST, "/api/v1/experiments/a/vote", Some(May::Read)),
            (Method::GET, "/api/v1/tokens", Some(May::Admin)),
            (Method::GET, "/api/v1/alerts", Some(May::Admin)),
            (Method::POST, "/api/v1/alerts/test", Some(May::Admin)),
            (Method::GET, "/metrics", Some(May::Read)),
        ];
        for (method, path, expected) in cases {
            assert_eq!(needed(&method, path), expected, "{method} {path}");
        }
        assert!(!May::Report.allows(May::Read) && !May::Read.allows(May::Report));
        assert_eq!(encoded("/a?b=c&d"), "/a%3Fb%3Dc%26d");
    }
}
