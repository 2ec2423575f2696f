//! Shows experiments: the admin API, `/api/v1`, the dashboard, live events.
//!
//! [`Desk`] is everything that a request needs; [`router`] makes the routes over it, [`serve`] listens. What a page or
//! an API answers comes from the store; nothing is kept here that a restart would lose.
#![warn(missing_docs)]

mod api;
mod desk;
mod failure;
mod guard;
mod router;
mod serve;

pub use desk::{Analyst, Desk, Limits, Settings};
pub use router::router;
pub use serve::serve;
