//! What the core promises, seen from outside.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test reads its specimens, and fails where it stands"
)]

mod rules;
mod specimens;
mod whole;
