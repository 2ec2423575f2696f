//! Shows experiments: the admin API, `/api/v1`, the dashboard, live events.
//!
//! [`Desk`] is everything that a request needs; [`router`] makes the routes over it, [`serve`] listens. What a page or
//! an API answers comes from the store; nothing is kept here that a restart would lose.
#![warn(missing_docs)]

pub mod alerts;
mod answers;
mod api;
mod auth;
mod autopsy;
mod baselines;
mod desk;
mod failure;
mod guard;
mod ingest;
mod judges;
mod lambda;
mod live;
mod metrics;
mod pack;
mod page;
mod patience;
mod reference;
mod remembered;
pub mod reporter;
mod router;
mod serve;
mod traces;
mod unpack;

pub use auth::{hash as token_hash, hash_password, new_token, new_totp_secret, totp_uri};
pub use desk::{Analyst, Desk, Limits, Section, Settings};
pub use lambda::{RuntimeError, serve_lambda};
pub use router::router;
pub use serve::serve;
pub use traces::Traces;
