//! What programs ask: each file is about one thing and says its routes.

mod admin;
mod health;
mod parameters;

use utoipa_axum::router::OpenApiRouter;

use crate::Desk;

pub(crate) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().merge(admin::routes()).merge(health::routes())
}
