//! What stands around every handler: a request id, limits, security headers, and one shape for whatever fails.

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use opentelemetry::trace::FutureExt as _;

use crate::failure::Failure;
use crate::{Desk, page, traces};

/// Nothing of others is loaded, nothing inline runs, nobody frames us.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id that an answer and our own output name a request by.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// The outermost layer.
pub(crate) async fn guard(State(desk): State<Desk>, mut request: Request, next: Next) -> Response {
    let id = RequestId(given_id(&request).unwrap_or_else(new_id));
    let path = request.uri().path().to_owned();
    let begun = Instant::now();
    let reads_pages = page::is_wanted(&path, request.headers());
    request.extensions_mut().insert(id.clone());
    let span = desk.settings().traces.as_ref().map(|traces| traces.request(&request, &id.0));
    let handled = async {
        let handled = limited(&desk, request, next);
        match &span {
            Some(span) => handled.with_context(span.clone()).await,
            None => handled.await,
        }
    };
    let handled = AssertUnwindSafe(handled).catch_unwind().await;
    let response = handled.unwrap_or_else(|_| {
        complain(&format!("request {}: {path}: a handler panicked", id.0));
        Failure::internal().into_response()
    });
    let mut response = in_words(response, &path, &id.0, reads_pages);
    let took = begun.elapsed();
    desk.figures().answered(response.status().as_u16(), took);
    if let Some(span) = span {
        traces::answered(&span, response.status());
    }
    if response.status().is_server_error() {
        complain(&format!("request {}: {path}: answered {}", id.0, response.status()));
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // with `no-referrer` a browser sends our own forms with `origin: null`, which then look like another site's
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // how long the answer took to begin, for whoever measures
    if let Ok(timing) = HeaderValue::from_str(&format!("desk;dur={:.3}", took.as_secs_f64() * 1000.0)) {
        headers.insert("server-timing", timing);
    }
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Not more requests at once than is allowed, and an answer in time.
async fn limited(desk: &Desk, request: Request, next: Next) -> Response {
    let Ok(permit) = Arc::clone(desk.busy()).try_acquire_owned() else {
        return Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many requests are being answered at the moment",
        )
        .again_after(1)
        .into_response();
    };
    // a log may be long in coming; what it must not do is stand still, and whoever reads it sees to that
    let in_time = !has_long_body(&request);
    let handled = async move {
        let is_safe = request.method().is_safe();
        let work = async move {
            // who works holds his place, whoever waits for it
            let _permit = permit;
            next.run(request).await
        };
        if is_safe {
            return work.await;
        }
        // what changes something is done to its end, even if whoever asked has gone: half a change is worse than none
        let whole = tokio::spawn(work.with_context(opentelemetry::Context::current()));
        whole.await.unwrap_or_else(|e| match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Failure::internal().into_response(),
        })
    };
    if !in_time {
        return handled.await;
    }
    match tokio::time::timeout(desk.settings().limits.answer, handled).await {
        Ok(response) => response,
        Err(_) => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the answer took too long")
            .again_after(5)
            .into_response(),
    }
}

fn has_long_body(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    request.method() == axum::http::Method::POST
        && (kind.starts_with("text/plain") || kind.starts_with("application/octet-stream"))
}

/// Gives a failure its body: one of ours says what it is, one of the framework's is put in our words.
fn in_words(mut response: Response, path: &str, id: &str, reads_pages: bool) -> Response {
    let render = |failure: &Failure| {
        let page = if reads_pages { page::sorry(failure, id) } else { None };
        page.unwrap_or_else(|| failure.render(path, id))
    };
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        let headers = std::mem::take(response.headers_mut());
        let mut rendered = render(&failure);
        // such as a cookie that is taken back
        for (name, value) in headers.iter().filter(|(name, _)| *name == header::SET_COOKIE) {
            rendered.headers_mut().append(name.clone(), value.clone());
        }
        return rendered;
    }
    let status = response.status();
    let is_text =
        response.headers().get(header::CONTENT_TYPE).is_none_or(|v| v.as_bytes().starts_with(b"text/plain"));
    if (status.is_client_error() || status.is_server_error()) && is_text {
        let allow = response.headers_mut().remove(header::ALLOW);
        let mut rendered = render(&Failure::of_status(status));
        if let Some(allow) = allow {
            rendered.headers_mut().insert(header::ALLOW, allow);
        }
        return rendered;
    }
    response
}

/// The caller's id for the request, if it is one that can be repeated without harm.
fn given_id(request: &Request) -> Option<String> {
    let given = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let plain = given.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (plain && (1..=64).contains(&given.len())).then(|| given.to_owned())
}

/// Unique in this process and, with the time in it, in the output of a day.
fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    format!("{:x}-{:x}", now, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A line to whoever runs the desk. If nobody reads it, nobody is to be told.
pub(crate) fn complain(text: &str) {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    _ = writeln!(std::io::stderr(), "coroner serve: {clean}");
}
