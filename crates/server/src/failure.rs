//! The one error of the desk. However a request fails, the answer has one shape:
//! `{"error": {"code", "message", "hint"?}, "request_id"}`; under `/admin/` the original's `{"error": "message"}`.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use coroner_store::{Error, ObjectTrouble, TableTrouble};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request is not answered as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    /// A word for programs; never changes.
    pub(crate) code: &'static str,
    /// What happened, to what.
    pub(crate) message: Cow<'static, str>,
    /// What to do.
    pub(crate) hint: Option<Cow<'static, str>>,
    /// After how many seconds to try again.
    pub(crate) retry_after: Option<u64>,
}

/// What is told of a failure.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    error: Reason,
    /// Our own output names it too.
    request_id: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reason {
    /// A word for programs; never changes.
    code: String,
    /// What happened, to what.
    message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// The same under `/admin/`, as the original told it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AdminProblem {
    /// What happened, to what.
    error: String,
    request_id: String,
}

/// What a handler answers.
pub(crate) type Answer<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), hint: None, retry_after: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn again_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// What was sent can't be used.
    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// It does not go with what is there.
    pub(crate) fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(crate) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// Our own fault. What exactly goes to our own output, not to whoever asks.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something failed inside the desk")
            .hint("its output names the request id and the reason")
    }

    /// For an answer with this status that nobody has put in words.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this address"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "this address does not answer to that method")
            }
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is too large"),
            StatusCode::REQUEST_TIMEOUT => ("timeout", "the request took too long to arrive"),
            _ if status.is_server_error() => return Self { status, ..Self::internal() },
            _ => ("invalid", "the request can't be understood"),
        };
        Self::new(status, code, message)
    }

    /// The answer, once it is known under which address and id.
    pub(crate) fn render(&self, path: &str, request_id: &str) -> Response {
        let request_id = request_id.to_owned();
        let mut response = if path == "/admin" || path.starts_with("/admin/") {
            (self.status, Json(AdminProblem { error: self.message.to_string(), request_id })).into_response()
        } else {
            let error = Reason {
                code: self.code.to_owned(),
                message: self.message.to_string(),
                hint: self.hint.as_ref().map(ToString::to_string),
            };
            (self.status, Json(Problem { error, request_id })).into_response()
        };
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer realm=\"coroner\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
        }
        response
    }
}

/// Without its body, which the guard writes: it knows the request's id.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::NotFound { text } => Self::not_found(format!("no experiment `{text}` in the store")),
            Error::NoLog { .. }
            | Error::Object { trouble: ObjectTrouble::Gone | ObjectTrouble::Damaged, .. }
            | Error::LogElsewhere { .. }
            | Error::NoGroup { .. }
            | Error::NoCorrection { .. }
            | Error::NotACandidate { .. } => Self::not_found(text),
            Error::Ambiguous { .. } => Self::new(StatusCode::CONFLICT, "ambiguous", text),
            Error::AlreadyFinished { .. } => Self::new(StatusCode::CONFLICT, "already_ended", text),
            Error::StillRunning { .. } => Self::new(StatusCode::CONFLICT, "still_running", text),
            Error::Cursor { .. } => Self::new(StatusCode::BAD_REQUEST, "cursor", text),
            Error::BadId { .. } => Self::invalid(text),
            Error::DiskFull { .. } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", "no space is left for the store")
                    .hint("free some, or remove old experiments and logs: coroner prune")
            }
            Error::Locked { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "locked", "the store is locked by another program")
                    .again_after(1)
            }
            Error::Table { trouble: TableTrouble::Throttled | TableTrouble::Aws(_), .. } => {
                crate::guard::complain(&text);
                let message = "the store can't be reached, or has too much to do";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", message)
                    .hint("the desk's output says what is wrong; try again later")
                    .again_after(5)
            }
            Error::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "closing", "the desk is closing"),
            _ => {
                crate::guard::complain(&text);
                Self::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use coroner_store::AwsTrouble;

    use super::*;

    #[test]
    fn a_store_that_is_away_is_not_our_fault() {
        let away = TableTrouble::Aws(AwsTrouble::Unreachable { detail: "no route".to_owned() });
        for trouble in [away, TableTrouble::Throttled] {
            let failure = Failure::from(Error::Table { table: "t".to_owned(), trouble });
            assert_eq!((failure.status, failure.code), (StatusCode::SERVICE_UNAVAILABLE, "store"));
            assert!(failure.retry_after.is_some() && !failure.message.contains("no route"));
        }
    }
}
