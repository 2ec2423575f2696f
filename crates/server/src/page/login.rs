//! The door: who are you?

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::{assets, whole};
use crate::api::parameters::Params;
use crate::failure::Answer;

#[derive(Deserialize)]
pub(super) struct Asked {
    /// What was wrong the last time: credentials, code, throttled.
    #[serde(default)]
    error: String,
    /// Where to go afterwards.
    #[serde(default)]
    next: String,
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    asked: Asked,
}

impl Login {
    fn wrong(&self) -> Option<&'static str> {
        match self.asked.error.as_str() {
            "credentials" => Some("Name and password don't belong together."),
            "code" => Some("The code of the second factor is missing, wrong, or was used before."),
            "throttled" => Some("Too many wrong passwords. Wait a minute, then try again."),
            _ => None,
        }
    }
}

/// Answers `/login`.
pub(super) async fn login(Params(asked): Params<Asked>) -> Answer<Response> {
    whole(&Login { asked })
}
