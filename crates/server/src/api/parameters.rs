//! What a request says in its address and body, read with errors that name what is wrong.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use coroner_diagnosis::{Category, Origin, Severity};
use coroner_store::{Query, Sort, Status};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::Desk;
use crate::auth::Caller;
use crate::failure::Failure;
use crate::unpack::Packed;

/// No form of ours is longer.
pub(crate) const FORM: usize = 256 << 10;

/// The query of an address.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|rejection| {
            let text = rejection.to_string();
            let reason = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            Failure::invalid(format!("the query can't be used: {reason}"))
        })
    }
}

/// The placeholders of an address.
pub(crate) struct Place<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Place<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let place = axum::extract::Path::from_request_parts(parts, state).await;
        place.map(|place| Self(place.0)).map_err(|_| Failure::invalid("the address is not valid UTF-8"))
    }
}

/// A body of JSON, packed or not, up to the limit; or the form of a page, which says the same in other letters.
pub(crate) struct Body<T>(pub(crate) T);

/// The same, with the place that a form wants to go back to.
pub(crate) struct Form<T> {
    pub(crate) it: T,
    pub(crate) back: Option<String>,
}

impl<T: DeserializeOwned> FromRequest<Desk> for Form<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, desk: &Desk) -> Result<Self, Failure> {
        if is_form(request.headers()) {
            return Self::of_form(request).await;
        }
        Body::read(request, desk).await.map(|Body(it)| Self { it, back: None })
    }
}

impl<T: DeserializeOwned> FromRequest<Desk> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, desk: &Desk) -> Result<Self, Failure> {
        Self::read(request, desk).await
    }
}

impl<T: DeserializeOwned> Body<T> {
    pub(crate) async fn read(request: Request, desk: &Desk) -> Result<Self, Failure> {
        let kind = media_type(request.headers());
        if kind == "application/x-www-form-urlencoded" {
            return Form::of_form(request).await.map(|form| Self(form.it));
        }
        if kind != "application/json" && !kind.ends_with("+json") {
            return Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media_type",
                "a JSON body is expected",
            )
            .hint("send the header content-type: application/json"));
        }
        let packed = Packed::of(request.headers())?;
        let (limit, idle) = (desk.settings().limits.json, desk.settings().limits.idle);
        let bytes = tokio::time::timeout(idle, axum::body::to_bytes(request.into_body(), limit))
            .await
            .map_err(|_| Failure::of_status(StatusCode::REQUEST_TIMEOUT))?
            .map_err(|e| body_failure(&e, limit as u64))?;
        let bytes = match packed {
            Packed::Plain => bytes,
            packed => tokio::task::spawn_blocking(move || packed.unpack(&bytes, limit))
                .await
                .map_err(|_| Failure::internal())??
                .into(),
        };
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|e| Failure::invalid(format!("the body can't be used: {e}")))
    }
}

impl<T: DeserializeOwned> Form<T> {
    async fn of_form(request: Request) -> Result<Self, Failure> {
        let expected =
            request.extensions().get::<Caller>().map_or(String::new(), |caller| caller.csrf.clone());
        let bytes = axum::body::to_bytes(request.into_body(), FORM)
            .await
            .map_err(|e| body_failure(&e, FORM as u64))?;
        let mut object = serde_json::Map::new();
        let (mut csrf, mut back) = (String::new(), None);
        for (name, value) in fields(&bytes) {
            match (name.as_str(), value.as_str()) {
                ("csrf", _) => csrf = value,
                ("back", _) => back = Some(value).filter(|place| is_ours(place)),
                (_, "true") => _ = object.insert(name, true.into()),
                (_, "false") => _ = object.insert(name, false.into()),
                // an empty field is one that was left out
                (_, "") => {}
                _ => _ = object.insert(name, value.into()),
            }
        }
        if !bool::from(subtle::ConstantTimeEq::ct_eq(csrf.as_bytes(), expected.as_bytes())) {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                "stale_form",
                "this form is not of your session",
            )
            .hint("load the page again"));
        }
        serde_json::from_value(object.into())
            .map(|it| Self { it, back })
            .map_err(|e| Failure::invalid(format!("the form can't be used: {e}")))
    }
}

/// What stands in the fields of a form.
pub(crate) fn fields(form: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(form).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

/// Is this the address of a page of ours, to go to afterwards?
pub(crate) fn is_ours(place: &str) -> bool {
    place.starts_with('/') && !place.starts_with("//") && !place.contains('\\')
}

/// Is the body a form of a page?
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers) == "application/x-www-form-urlencoded"
}

/// What the header says that the body is, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

fn body_failure(error: &axum::Error, limit: u64) -> Failure {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    if text.contains("length limit") {
        return Failure::too_large(format!("the body is larger than {}", coroner_diagnosis::bytes(limit)));
    }
    Failure::invalid("the body broke off")
}

/// Which experiments, as everything that lists them takes it. A filter that is there but empty is none, for a form
/// sends it so.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// How many at once, 500 at most.
    #[param(value_type = Option<u16>, default = 50)]
    pub(crate) limit: Option<String>,
    /// started, severity, category, duration or cost; with a minus before it the largest, newest or worst first. The newest
    /// first if left out. A search, and what has a signature, is sorted by duration and cost among its newest 1,000
    /// (`sorted_among`).
    pub(crate) sort: Option<String>,
    /// `next_cursor` of the page before, in the same order.
    pub(crate) cursor: Option<String>,
    /// running, passed, failed, test_failed, rejected, adopted, lost.
    pub(crate) status: Option<String>,
    /// One of the seven categories.
    pub(crate) category: Option<String>,
    /// critical, high, medium, low.
    pub(crate) severity: Option<String>,
    /// candidate, policy, harness, infrastructure, provider.
    pub(crate) origin: Option<String>,
    /// Failures with this cause.
    pub(crate) signature: Option<String>,
    /// Words that all occur in id, type, command or root cause.
    pub(crate) q: Option<String>,
}

impl Which {
    /// The question to the store.
    pub(crate) fn query(self) -> Result<Query, Failure> {
        let limit = match given(self.limit) {
            None => None,
            Some(text) => match text.parse::<usize>() {
                Ok(limit @ 1..=500) => Some(limit),
                _ => {
                    return Err(Failure::invalid(format!(
                        "limit: `{}` is not a number from 1 to 500",
                        short(&text)
                    )));
                }
            },
        };
        Ok(Query {
            limit,
            sort: word::<Sort>("sort", self.sort)?.unwrap_or_default(),
            cursor: given(self.cursor),
            status: word::<Status>("status", self.status)?,
            category: word::<Category>("category", self.category)?,
            severity: word::<Severity>("severity", self.severity)?,
            origin: word::<Origin>("origin", self.origin)?,
            signature: given(self.signature),
            q: given(self.q),
        })
    }
}

pub(crate) fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// One of the contract's words.
pub(crate) fn word<T: std::str::FromStr<Err = coroner_diagnosis::UnknownWord>>(
    name: &str,
    text: Option<String>,
) -> Result<Option<T>, Failure> {
    given(text).map(|text| text.parse().map_err(|e| Failure::invalid(format!("{name}: {e}")))).transpose()
}

/// What is repeated in an error of what was sent.
pub(crate) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}
