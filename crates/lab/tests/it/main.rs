//! The lab from outside: one binary for all integration tests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod advice;
mod screen;
mod screen_any;
