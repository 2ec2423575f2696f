//! What a request says in its address and body, read with errors that name what is wrong.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use coroner_diagnosis::{Category, Origin, Severity};
use coroner_store::{Query, Status};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::failure::Failure;

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

/// Which experiments, as everything that lists them takes it. A filter that is there but empty is none, for a form
/// sends it so.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// How many at once, 500 at most.
    #[param(value_type = Option<u16>, default = 50)]
    pub(crate) limit: Option<String>,
    /// `next_cursor` of the page before.
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
