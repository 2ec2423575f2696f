//! The API, to be read.

use std::sync::Arc;

use askama::Template;
use axum::response::Response;

use super::{Frame, assets, figures, parts, whole};
use crate::Desk;
use crate::auth::Caller;
use crate::failure::Answer;
use crate::reference::Chapter;

#[derive(Template)]
#[template(path = "reference.html")]
struct Reference {
    frame: Frame,
    chapters: Arc<[Chapter]>,
}

/// Answers `/docs`.
pub(crate) async fn reference(desk: &Desk, caller: Caller, chapters: Arc<[Chapter]>) -> Answer<Response> {
    whole(&Reference { frame: Frame::of(desk, "API", caller).await?, chapters })
}
