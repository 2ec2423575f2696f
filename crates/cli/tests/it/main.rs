//! The binary, run as users run it.
#![expect(clippy::unwrap_used, reason = "in a test a panic is a failure")]

mod alerts;
mod analyze;
mod attempt;
mod attempt_faults;
mod batch;
mod bench;
mod check;
mod deploy;
mod dynamodb;
mod evolve;
mod import;
mod input;
mod kept;
mod lambda;
mod large_logs;
mod lessons;
mod model;
mod on_dynamodb;
mod report;
mod rig;
mod rules;
mod run;
mod sandbox;
mod serve;
mod specimens;
mod store_copy;
mod terminal;
mod traces;
mod worker;
