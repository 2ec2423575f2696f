//! Forms of the pages. They are sent to the addresses that programs use; what goes wrong, and what is told once, stands on the
//! page that the form came from, with what was typed still in its fields.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tower::ServiceExt;

use super::Frame;
use super::parts::{Markup, escaped};
use crate::api::Told;
use crate::api::parameters::{FORM, fields, is_form, is_ours};
use crate::failure::Failure;

/// A form that was sent, and what came of it.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// Where it was sent to.
    action: String,
    /// The page that it came from.
    pub(super) back: String,
    typed: BTreeMap<String, String>,
    /// What went wrong.
    wrong: Option<String>,
    /// What is told once.
    told: Option<String>,
}

/// Stands before the handlers: has a form that fails shown again where it was filled in.
pub(crate) async fn in_place(State(pages): State<Router>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !is_form(request.headers()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    // one that is longer than any of ours is refused by whoever reads it
    let Ok(bytes) = axum::body::to_bytes(body, FORM).await else {
        let long = Failure::too_large("the form is longer than any of ours");
        return axum::response::IntoResponse::into_response(long);
    };
    let mut typed: BTreeMap<String, String> = fields(&bytes).collect();
    let back = typed.remove("back").filter(|place| is_ours(place));
    let again = back.clone().map(|back| page_request(&parts, &back));
    let action = parts.uri.path().to_owned();
    let mut response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    let (Some(back), Some(Some(again))) = (back, again) else { return response };
    let failure = response.extensions().get::<Failure>().filter(|it| it.status.is_client_error()).cloned();
    let told = response.extensions_mut().remove::<Told>().map(|told| told.0);
    if failure.is_none() && told.is_none() {
        return response;
    }
    for secret in ["csrf", "password"] {
        typed.remove(secret);
    }
    let wrong = failure.as_ref().map(|failure| match &failure.hint {
        Some(hint) => format!("{}; {hint}", failure.message),
        None => failure.message.to_string(),
    });
    let status = failure.map_or(StatusCode::OK, |failure| failure.status);
    let mut again = again;
    again.extensions_mut().insert(Sent { action, back, typed, wrong, told });
    // routes never fail
    let Ok(mut page) = pages.oneshot(again).await;
    if page.status() != StatusCode::OK {
        return response;
    }
    *page.status_mut() = status;
    page.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}

/// The request of the page that a form came from, by the same caller.
fn page_request(parts: &Parts, back: &str) -> Option<Request> {
    let mut request = Request::get(back).body(Body::empty()).ok()?;
    for name in [header::COOKIE, header::HOST, header::AUTHORIZATION, header::ACCEPT] {
        if let Some(value) = parts.headers.get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    Some(request)
}

impl Frame {
    pub(super) fn after(mut self, sent: Option<axum::Extension<Sent>>) -> Self {
        self.sent = sent.map(|sent| sent.0);
        self
    }

    fn of_form(&self, action: impl AsRef<str>) -> Option<&Sent> {
        self.sent.as_ref().filter(|sent| sent.action == action.as_ref())
    }

    /// Did the form that is sent there fail?
    pub(super) fn failed(&self, action: impl AsRef<str>) -> bool {
        self.of_form(action).is_some_and(|sent| sent.wrong.is_some())
    }

    /// Why it did.
    pub(super) fn wrong(&self, action: impl AsRef<str>) -> Markup {
        let wrong = self.of_form(action).and_then(|sent| sent.wrong.as_deref());
        wrong.map_or_else(Markup::default, |text| {
            let text = escaped(text);
            Markup::from(format!(
                r#"<p class="note wrong" role="alert"><strong>That was not done.</strong> {text}.</p>"#
            ))
        })
    }

    /// What was typed into one of its fields, or what stands there at first.
    pub(super) fn typed(&self, action: impl AsRef<str>, name: &str, first: &str) -> String {
        let typed = self.of_form(action).and_then(|sent| sent.typed.get(name));
        typed.map_or(first, |text| text).to_owned()
    }

    /// ` selected`, for the choice that was made.
    pub(super) fn chosen(
        &self,
        action: impl AsRef<str>,
        name: &str,
        word: &str,
        first: &str,
    ) -> &'static str {
        if self.typed(action, name, first) == word { " selected" } else { "" }
    }

    /// What it is answered, once.
    pub(super) fn told(&self, action: impl AsRef<str>) -> Option<&str> {
        self.of_form(action)?.told.as_deref()
    }

    /// What every form of ours begins with: the mark of the session, and the way back.
    pub(super) fn hidden(&self, back: impl AsRef<str>) -> Markup {
        let (csrf, back) = (escaped(&self.caller.csrf), escaped(back.as_ref()));
        Markup::from(format!(
            r#"<input type="hidden" name="csrf" value="{csrf}"><input type="hidden" name="back" value="{back}">"#
        ))
    }
}
