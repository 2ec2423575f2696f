//! The desk over real sockets and a real store.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't do its work has failed, helper functions included"
)]
#![expect(clippy::print_stdout, reason = "what is skipped says so")]

mod admin;
mod alerts;
mod auth;
mod bad_input;
mod browser;
mod dashboard;
mod forms;
mod fuzz;
mod groups;
mod limits;
mod live;
mod on_dynamodb;
mod page;
mod report;
mod rig;
