//! Checks on the house itself: files, crates, documents and rules keep to what design and habits say.
#![expect(
    clippy::unwrap_used,
    reason = "a check that can't read the house has failed, helper functions included"
)]

mod crates;
mod deploy;
mod documents;
mod files;
mod rules;
mod specimens;
mod tree;
