//! The seam between what is kept and where: every kind of store implements this and passes the same suite.

use async_trait::async_trait;
use coroner_diagnosis::{Diagnosis, Reply};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::logs::StoredLog;
use crate::{
    AlertRound, AlertStep, By, Candidate, CandidateBegun, CandidateOutcome, CandidateRecord,
    ChannelDeliveries, CommandLine, Correction, Costs, Credentials, Decision, Error, Experiment,
    ExperimentId, Group, GroupPage, GroupQuery, Happening, Health, LogId, MessageState, NewCandidate,
    NewExperiment, NewMessage, NewRun, OutboxMessage, Outcome, Overview, OverviewQuery, Owner, Page,
    PolicyRefusals, Pruned, Query, Replay, Retention, Role, Ruling, Run, RunEnd, RunId, Running, SavedAs,
    SavedFailure, SignatureCost, SignatureStats, Silenced, SimilarFailure, Spent, Step, Stretch, Summary,
    Token, TokenHash, TokenScope, TopQuery, Tried, User, UserChange, Votes, Within,
};

/// What [`crate::Store`] needs of a place that keeps things. What was answered with `Ok` is durable.
#[async_trait]
pub(crate) trait Backend: LabBackend + DeskBackend + AlertBackend {
    async fn begin(&self, new: NewExperiment) -> Result<ExperimentId, Error>;
    /// Takes what ended as `Lost` too: its watcher turned out to be alive.
    async fn finish(
        &self,
        id: &ExperimentId,
        outcome: Outcome,
        candidate: Option<CandidateOutcome>,
    ) -> Result<(), Error>;
    /// Begins and ends each. All or none.
    async fn record(&self, ended: Vec<(NewExperiment, Outcome)>) -> Result<Vec<ExperimentId>, Error>;
    async fn attach(&self, id: &ExperimentId, diagnosis: Diagnosis) -> Result<(), Error>;
    /// All or none.
    async fn save(&self, failures: Vec<SavedFailure>) -> Result<Vec<SavedAs>, Error>;
    /// `log_is_open` is filled in by the store, which has the files.
    async fn running(&self) -> Result<Vec<Running>, Error>;

    async fn get(&self, text: &str) -> Result<Experiment, Error>;
    async fn numbered(&self, number: u64) -> Result<Experiment, Error>;
    async fn list(&self, query: Query) -> Result<Page, Error>;
    async fn log(&self, id: LogId) -> Result<StoredLog, Error>;
    /// Removes what a commit that failed may have left of a log, if nothing refers to it.
    async fn give_up_log(&self, id: LogId) -> Result<(), Error>;
    async fn signature(&self, signature: &str) -> Result<Option<SignatureStats>, Error>;
    async fn similar(
        &self,
        signature: &str,
        cause: &str,
        except: Option<&ExperimentId>,
        limit: usize,
    ) -> Result<Vec<SimilarFailure>, Error>;
    async fn last_success(
        &self,
        experiment_type: &str,
        command: &CommandLine,
    ) -> Result<Option<LogId>, Error>;
    /// Of everything that is kept.
    async fn totals(&self) -> Result<Summary, Error>;
    async fn summary(&self, from: Timestamp, to: Timestamp) -> Result<Summary, Error>;

    async fn prune(&self, retention: Retention, now: Timestamp) -> Result<Pruned, Error>;
    async fn cached_reply(&self, key: &str) -> Result<Option<Reply>, Error>;
    async fn forget_reply(&self, key: &str) -> Result<(), Error>;
    async fn remember_reply(&self, key: &str, reply: Reply, now: Timestamp) -> Result<(), Error>;
    async fn spent(&self, day: Date) -> Result<Spent, Error>;
    async fn record_spend(&self, day: Date, spent: Spent) -> Result<(), Error>;

    async fn health(&self, thorough: bool) -> Result<Health, Error>;
    async fn close(&self) -> Result<(), Error>;
    /// What a copy asks, where there are copies of this kind of store.
    fn copying(&self) -> Option<&dyn crate::copy::CopyBackend> {
        None
    }
}

/// What the lab needs beside: runs, candidates, and what failures cost.
#[async_trait]
pub(crate) trait LabBackend: Send + Sync {
    async fn start_run(&self, new: NewRun) -> Result<RunId, Error>;
    async fn resume_run(&self, id: RunId, owner: Owner, by_force: bool) -> Result<Run, Error>;
    async fn end_run(&self, id: RunId, end: RunEnd) -> Result<(), Error>;
    async fn run(&self, id: RunId) -> Result<Run, Error>;
    /// The newest first.
    async fn runs(&self, task: Option<&str>, limit: usize) -> Result<Vec<Run>, Error>;

    async fn begin_candidate(
        &self,
        new: NewExperiment,
        candidate: NewCandidate,
    ) -> Result<CandidateBegun, Error>;
    async fn mark_for_rerun(&self, ids: &[ExperimentId]) -> Result<u64, Error>;
    /// In the order in which they began.
    async fn candidates(&self, run: RunId, only_to_rerun: bool) -> Result<Vec<Candidate>, Error>;
    async fn candidate(&self, id: &ExperimentId) -> Result<Option<CandidateRecord>, Error>;
    async fn candidate_code(&self, id: &ExperimentId) -> Result<Vec<u8>, Error>;

    async fn costs(&self, within: Within) -> Result<Costs, Error>;
    async fn top_signatures(&self, query: TopQuery) -> Result<Vec<SignatureCost>, Error>;
    async fn policy_refusals(&self, since: Option<Timestamp>) -> Result<Vec<PolicyRefusals>, Error>;
}

/// What the desk needs beside: groups and what people decided, who may look, what happens.
#[async_trait]
pub(crate) trait DeskBackend: Send + Sync {
    /// Another number whenever anything may have been written, by whichever process.
    async fn version(&self) -> Result<i64, Error>;
    /// How long after a write a list may still be without it.
    fn settles(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
    /// From one state of the store.
    async fn overview(&self, query: OverviewQuery, now: Timestamp) -> Result<Overview, Error>;
    async fn groups(&self, query: GroupQuery, now: Timestamp) -> Result<GroupPage, Error>;
    async fn group(&self, signature: &str, now: Timestamp) -> Result<Option<Group>, Error>;
    async fn decide(
        &self,
        signature: &str,
        decision: Decision,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error>;
    async fn join_groups(&self, signature: &str, lead: &str) -> Result<(), Error>;
    async fn part_group(&self, signature: &str) -> Result<(), Error>;
    async fn correct(
        &self,
        signature: &str,
        ruling: Ruling,
        by: &str,
        now: Timestamp,
        experiment: Option<&ExperimentId>,
    ) -> Result<Correction, Error>;
    async fn corrections(&self, signature: Option<&str>) -> Result<Vec<Correction>, Error>;
    async fn vote(
        &self,
        id: &ExperimentId,
        by: &str,
        helpful: Option<bool>,
        now: Timestamp,
    ) -> Result<Votes, Error>;
    async fn votes(&self, id: &ExperimentId) -> Result<Votes, Error>;
    async fn beat(
        &self,
        id: &ExperimentId,
        now: Timestamp,
        patience: std::time::Duration,
    ) -> Result<(), Error>;
    async fn unheard(&self, now: Timestamp, listening: Timestamp) -> Result<Vec<ExperimentId>, Error>;
    async fn latest_happening(&self) -> Result<i64, Error>;
    async fn happenings(&self, since: i64, limit: usize) -> Result<Vec<Happening>, Error>;
    async fn series(&self, from: Timestamp, to: Timestamp, by: By, step: Step)
    -> Result<Vec<Stretch>, Error>;
    async fn add_user(&self, name: &str, role: Role, password: &str, now: Timestamp) -> Result<bool, Error>;
    async fn users(&self) -> Result<Vec<User>, Error>;
    async fn credentials(&self, name: &str) -> Result<Option<Credentials>, Error>;
    async fn change_user(
        &self,
        name: &str,
        role: Option<Role>,
        disabled: Option<bool>,
        now: Timestamp,
    ) -> Result<UserChange, Error>;
    /// By nobody: it speaks again. Did that change anything?
    async fn silence(&self, rule: &str, by: Option<&str>, now: Timestamp) -> Result<bool, Error>;
    async fn silenced(&self) -> Result<Vec<Silenced>, Error>;
    async fn keep_source(&self, id: &ExperimentId, code: &[u8]) -> Result<(), Error>;
    async fn spent_within(&self, from: Date, to: Date) -> Result<Spent, Error>;
    async fn remove_user(&self, name: &str) -> Result<bool, Error>;
    async fn set_password(&self, name: &str, password: &str) -> Result<bool, Error>;
    async fn set_totp(&self, name: &str, secret: Option<Vec<u8>>) -> Result<bool, Error>;
    async fn use_totp(&self, name: &str, step: i64) -> Result<bool, Error>;
    async fn begin_session(
        &self,
        hash: TokenHash,
        user: &str,
        now: Timestamp,
        ends: Timestamp,
    ) -> Result<(), Error>;
    async fn session(&self, hash: TokenHash, now: Timestamp) -> Result<Option<(String, Role)>, Error>;
    async fn end_session(&self, hash: TokenHash) -> Result<(), Error>;
    async fn add_token(
        &self,
        name: &str,
        scope: TokenScope,
        hash: TokenHash,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<Token>, Error>;
    async fn tokens(&self) -> Result<Vec<Token>, Error>;
    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, Error>;
    async fn token_used(&self, id: i64, now: Timestamp) -> Result<(), Error>;
    async fn revoke_token(&self, name: &str, now: Timestamp) -> Result<bool, Error>;
    async fn split_group(
        &self,
        signature: &str,
        words: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<String, Error>;
    /// Moves some of those so far; true while there may be more.
    async fn split_some(&self, signature: &str) -> Result<bool, Error>;
    /// Of the failures before this key; where to go on, if there may be more.
    async fn replay_some(
        &self,
        correction: i64,
        apply: bool,
        before: i64,
    ) -> Result<(Replay, Option<i64>), Error>;
    async fn take_back(&self, correction: i64, by: &str, now: Timestamp) -> Result<bool, Error>;
    /// True while there may be more.
    async fn restore_some(&self, correction: i64) -> Result<bool, Error>;
}

/// What alerts need beside: what has failed, what is remembered, and the outbox.
#[async_trait]
pub(crate) trait AlertBackend: Send + Sync {
    async fn expect_alerts(&self) -> Result<(), Error>;
    async fn alert_round(&self, limit: usize) -> Result<Option<AlertRound>, Error>;
    /// All or nothing; [`Error::StepTooLarge`] where a smaller step would do.
    async fn settle_alerts(&self, step: AlertStep) -> Result<bool, Error>;
    async fn claim_message(
        &self,
        channel: &str,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<OutboxMessage>, Error>;
    async fn settle_message(&self, id: i64, by: &str, tried: Tried, now: Timestamp) -> Result<bool, Error>;
    async fn taken_messages(&self) -> Result<Vec<(i64, String)>, Error>;
    async fn keep_message(&self, message: NewMessage, error: Option<String>) -> Result<(), Error>;
    async fn outbox(&self, state: Option<MessageState>, limit: usize) -> Result<Vec<OutboxMessage>, Error>;
    async fn deliveries(&self, channels: &[String]) -> Result<Vec<ChannelDeliveries>, Error>;
    async fn retry_messages(&self, id: Option<i64>, now: Timestamp) -> Result<u64, Error>;
}
