//! All routes, and what stands around them.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::{Desk, answers, api, auth, guard, live, metrics, pack, page, reference};

/// Everything that the desk answers.
pub fn router(desk: Desk) -> Router {
    let routes = OpenApiRouter::new()
        .merge(api::routes())
        .merge(auth::routes())
        .merge(live::routes())
        .merge(metrics::routes());
    let authenticate = || from_fn_with_state(desk.clone(), auth::authenticate);
    // the pages once more, to be shown in answer to a form of theirs
    let pages = page::routes().layer(authenticate()).with_state(desk.clone());
    reference::with_reference(routes)
        .merge(page::routes())
        .layer(from_fn_with_state(pages, page::in_place))
        .layer(from_fn(pack::pack))
        .layer(from_fn_with_state(desk.clone(), answers::answer))
        .layer(authenticate())
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest))
        .layer(from_fn_with_state(desk.clone(), guard::guard))
        .with_state(desk)
}
