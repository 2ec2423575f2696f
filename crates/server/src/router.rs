//! All routes, and what stands around them.

use axum::Router;
use axum::middleware::from_fn_with_state;
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::{Desk, api, guard};

/// Everything that the desk answers.
pub fn router(desk: Desk) -> Router {
    let (routes, _document) = OpenApiRouter::new().merge(api::routes()).split_for_parts();
    routes
        .layer(CompressionLayer::new().gzip(true))
        .layer(from_fn_with_state(desk.clone(), guard::guard))
        .with_state(desk)
}
