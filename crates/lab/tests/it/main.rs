//! The lab from outside: one binary for all integration tests.
mod screen;
