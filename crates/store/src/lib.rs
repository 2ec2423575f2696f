//! Keeps experiments, diagnoses and logs: SQLite here, DynamoDB when one machine is not enough.
//!
//! An experiment has a durable row before it starts ([`Store::begin`]) and an end on every path ([`Store::finish`],
//! or [`Store::close_orphans`] at the next start). Its log is written as it prints ([`Store::log_writer`]) and never
//! rewritten. Lists, totals and comparisons are answered by indexes, however much is kept.
#![warn(missing_docs)]

mod alert;
mod aws_trouble;
mod backend;
mod candidate;
#[cfg(test)]
mod conformance;
mod copy;
mod cost;
mod desk;
#[cfg(feature = "aws")]
pub mod dynamodb;
mod error;
mod experiment;
mod group;
mod happening;
mod lab;
mod location;
mod log_place;
mod logs;
mod object_trouble;
mod order;
mod overview;
mod owner;
mod people;
mod query;
mod record;
mod retention;
mod run;
mod similarity;
mod sqlite;
mod status;
mod store;
mod table_trouble;

pub use alert::{
    AlertCause, AlertEvent, AlertFailure, AlertRound, AlertStep, ChannelDeliveries, MessageState, NewMessage,
    OutboxMessage, Tried,
};
pub use aws_trouble::AwsTrouble;
pub use candidate::{
    Candidate, CandidateBegun, CandidateFailure, CandidateOutcome, CandidateRecord, Cost, Feedback,
    NewCandidate,
};
pub use copy::{Both, Copied, CopyProgress, CopyStep};
pub use cost::{Costs, FixedBy, PolicyRefusals, Scope, SignatureCost, Taken, TopOrder, TopQuery, Within};
pub use error::Error;
pub use experiment::{
    CommandLine, Experiment, ExperimentId, LogFacts, NewExperiment, Orphan, Outcome, Running, SavedAs,
    SavedFailure,
};
pub use group::{
    Change, Correction, Decision, Group, GroupOrder, GroupPage, GroupQuery, GroupState, Replay, Ruling, Said,
    TREND_DAYS, Votes,
};
pub use happening::{By, Happening, Step, Stretch, What};
pub use location::Location;
pub use log_place::LogPlace;
pub use logs::{Log, LogId, LogReader, LogWriter};
pub use object_trouble::ObjectTrouble;
pub use order::{Sort, SortBy};
pub use overview::{Overview, OverviewQuery};
pub use owner::{Liveness, Owner};
pub use people::{Credentials, Role, Silenced, Token, TokenHash, TokenScope, User, UserChange};
pub use query::{
    Analysis, COUNTED, Health, Listed, Occurrence, Page, PassedAfter, Query, SORTED, SignatureStats,
    SimilarFailure, Spent, Summary,
};
pub use retention::{PassedLogs, Pruned, Retention};
pub use run::{NewRun, Run, RunEnd, RunId, RunState};
pub use similarity::cause_text;
pub use sqlite::{SCHEMA, schema_of};
pub use status::Status;
pub use store::{Begun, LOCK_WAIT, Store};
pub use table_trouble::TableTrouble;
