//! What is remembered between questions: replies, and what was spent on which day.
//!
//! The store keeps it in SQLite; the command line wires that in. What is here does for one process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use coroner_diagnosis::Reply;
use jiff::civil::Date;

/// Under what a reply is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplyKey {
    /// The failure's signature.
    pub signature: String,
    /// The version of prompt and schema.
    pub prompt_version: String,
    /// The model that was asked for, as it was configured. (If it was gone and another one answered, the reply
    /// says so in `model`; the next process finds the reply without asking for the one that is gone.)
    pub model: String,
}

impl std::fmt::Display for ReplyKey {
    /// One word for a store that keeps by text: the three, told apart by what occurs in none of them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}\n{}", self.signature, self.prompt_version, self.model)
    }
}

/// Calls and money.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// Questions put to a provider, each counted once however often it was retried.
    pub calls: u64,
    /// US dollars, as far as prices are known.
    pub dollars: f64,
}

/// The ledger could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct LedgerError {
    /// What happened, in a sentence without secrets.
    pub why: String,
}

impl LedgerError {
    /// From whatever the backend says.
    pub fn new(why: impl std::fmt::Display) -> Self {
        Self { why: why.to_string() }
    }
}

/// Keeps replies and accounts. `day` is a date in UTC; the caller says which it is.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The reply kept under `key`.
    async fn reply(&self, key: &ReplyKey) -> Result<Option<Reply>, LedgerError>;

    /// Keeps `reply` under `key`, over an earlier one.
    async fn keep_reply(&self, key: &ReplyKey, reply: &Reply) -> Result<(), LedgerError>;

    /// Forgets what is kept under `key`, if anything is.
    async fn forget_reply(&self, key: &ReplyKey) -> Result<(), LedgerError>;

    /// What was recorded for `day`.
    async fn spent(&self, day: Date) -> Result<Spent, LedgerError>;

    /// Adds to what was recorded for `day`.
    async fn record(&self, day: Date, spent: Spent) -> Result<(), LedgerError>;
}

/// A ledger that lasts as long as the process.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    replies: Mutex<HashMap<ReplyKey, Reply>>,
    days: Mutex<HashMap<Date, Spent>>,
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn reply(&self, key: &ReplyKey) -> Result<Option<Reply>, LedgerError> {
        Ok(lock(&self.replies).get(key).cloned())
    }

    async fn keep_reply(&self, key: &ReplyKey, reply: &Reply) -> Result<(), LedgerError> {
        lock(&self.replies).insert(key.clone(), reply.clone());
        Ok(())
    }

    async fn forget_reply(&self, key: &ReplyKey) -> Result<(), LedgerError> {
        lock(&self.replies).remove(key);
        Ok(())
    }

    async fn spent(&self, day: Date) -> Result<Spent, LedgerError> {
        Ok(lock(&self.days).get(&day).copied().unwrap_or_default())
    }

    async fn record(&self, day: Date, spent: Spent) -> Result<(), LedgerError> {
        let mut days = lock(&self.days);
        let entry = days.entry(day).or_default();
        entry.calls += spent.calls;
        entry.dollars += spent.dollars;
        Ok(())
    }
}

/// What these locks guard is whole after every statement, so a panic elsewhere spoils nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
