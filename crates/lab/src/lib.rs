//! Makes experiments happen: screens a candidate, runs it in a sandbox, judges it, learns from it.
#![warn(missing_docs)]

pub mod advice;
pub mod attempt;
pub mod evolve;
pub mod propose;
pub mod quantity;
pub mod queue;
pub mod sandbox;
pub mod screen;
pub mod task;
