//! What the desk keeps here: groups and what people decided, who may look, and what happens.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::{
    By, Correction, Credentials, Decision, Error, ExperimentId, Group, GroupPage, GroupQuery, Happening,
    Overview, OverviewQuery, Replay, Role, Ruling, Silenced, Spent, Step, Store, Stretch, Token, TokenHash,
    TokenScope, User, UserChange, Votes,
};

impl Store {
    // ---- what pages show ----

    /// Another number whenever anything may have been written since, by whichever process: what was made of the answers
    /// before holds as long as it stays the same.
    pub async fn version(&self) -> Result<i64, Error> {
        self.backend.version().await
    }

    /// How long after a write, which a single experiment shows at once, lists and counts may still be without it: nothing where
    /// all is read from one state.
    #[must_use]
    pub fn settles(&self) -> std::time::Duration {
        self.backend.settles()
    }

    /// What the morning's page shows.
    pub async fn overview(&self, query: OverviewQuery, now: Timestamp) -> Result<Overview, Error> {
        self.backend.overview(query, now).await
    }

    // ---- groups ----

    /// One page of groups.
    pub async fn groups(&self, query: GroupQuery, now: Timestamp) -> Result<GroupPage, Error> {
        self.backend.groups(query, now).await
    }

    /// The group that this signature belongs to.
    pub async fn group(&self, signature: &str, now: Timestamp) -> Result<Option<Group>, Error> {
        self.backend.group(signature, now).await
    }

    /// Records what somebody decided about the group of this signature.
    pub async fn decide(
        &self,
        signature: &str,
        decision: Decision,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.backend.decide(signature, decision, by, now).await
    }

    /// From now on failures of `signature`, and those so far, belong to the group of `lead`.
    pub async fn join_groups(&self, signature: &str, lead: &str) -> Result<(), Error> {
        self.backend.join_groups(signature, lead).await
    }

    /// Failures of `signature` are a group of their own again.
    pub async fn part_group(&self, signature: &str) -> Result<(), Error> {
        self.backend.part_group(signature).await
    }

    /// From now on failures of `signature` whose cause holds these words are of another signature, which is answered;
    /// those so far as well.
    pub async fn split_group(
        &self,
        signature: &str,
        words: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<String, Error> {
        let part = self.backend.split_group(signature, words, by, now).await?;
        while self.backend.split_some(signature).await? {}
        Ok(part)
    }

    // ---- what people say ----

    /// A person's word on a signature; it takes the place of an earlier one. It decides from now on, and at once for
    /// `experiment`, if one is named.
    pub async fn correct(
        &self,
        signature: &str,
        ruling: Ruling,
        by: &str,
        now: Timestamp,
        experiment: Option<&ExperimentId>,
    ) -> Result<Correction, Error> {
        self.backend.correct(signature, ruling, by, now, experiment).await
    }

    /// All corrections, the newest first, up to a thousand; or those of one signature.
    pub async fn corrections(&self, signature: Option<&str>) -> Result<Vec<Correction>, Error> {
        self.backend.corrections(signature).await
    }

    /// Holds a correction against the failures so far: what it would change or, with `apply`, what it has changed.
    pub async fn replay(&self, correction: i64, apply: bool) -> Result<Replay, Error> {
        let (mut whole, mut before) = (Replay::default(), i64::MAX);
        loop {
            let (part, next) = self.backend.replay_some(correction, apply, before).await?;
            whole.looked_at += part.looked_at;
            whole.changed += part.changed;
            whole.changes.extend(part.changes);
            whole.changes.truncate(50);
            match next {
                Some(next) => before = next,
                None => return Ok(whole),
            }
        }
    }

    /// Takes a correction back: every diagnosis that it changed is again what it was. False if there is none with this
    /// number.
    pub async fn take_back(&self, correction: i64, by: &str, now: Timestamp) -> Result<bool, Error> {
        if !self.backend.take_back(correction, by, now).await? {
            return Ok(false);
        }
        while self.backend.restore_some(correction).await? {}
        Ok(true)
    }

    /// Somebody found a diagnosis helpful, or not, or withdraws what they said.
    pub async fn vote(
        &self,
        id: &ExperimentId,
        by: &str,
        helpful: Option<bool>,
        now: Timestamp,
    ) -> Result<Votes, Error> {
        self.backend.vote(id, by, helpful, now).await
    }

    /// What people found of a diagnosis.
    pub async fn votes(&self, id: &ExperimentId) -> Result<Votes, Error> {
        self.backend.votes(id).await
    }

    // ---- those who report from elsewhere ----

    /// Somebody says that an experiment runs, and will say so again within `patience`.
    pub async fn beat(
        &self,
        id: &ExperimentId,
        now: Timestamp,
        patience: std::time::Duration,
    ) -> Result<(), Error> {
        self.backend.beat(id, now, patience).await
    }

    /// Experiments of which nothing was heard for longer than was said. Who listens only since `listening` has heard nothing of
    /// anybody before, and waits as long from then on, up to an hour.
    pub async fn unheard(&self, now: Timestamp, listening: Timestamp) -> Result<Vec<ExperimentId>, Error> {
        self.backend.unheard(now, listening).await
    }

    // ---- what happens ----

    /// The number of the latest happening.
    pub async fn latest_happening(&self) -> Result<i64, Error> {
        self.backend.latest_happening().await
    }

    /// What has happened since, in its order, up to so much of it.
    pub async fn happenings(&self, since: i64, limit: usize) -> Result<Vec<Happening>, Error> {
        self.backend.happenings(since, limit).await
    }

    /// Counts over time, from the stretch that holds `from` to the one that holds `to`.
    pub async fn series(
        &self,
        from: Timestamp,
        to: Timestamp,
        by: By,
        step: Step,
    ) -> Result<Vec<Stretch>, Error> {
        self.backend.series(from, to, by, step).await
    }

    // ---- who may look ----

    /// Adds somebody. False if the name is taken.
    pub async fn add_user(
        &self,
        name: &str,
        role: Role,
        password: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.backend.add_user(name, role, password, now).await
    }

    /// Everybody, by name.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        self.backend.users().await
    }

    /// What somebody's word is held against.
    pub async fn credentials(&self, name: &str) -> Result<Option<Credentials>, Error> {
        self.backend.credentials(name).await
    }

    /// Another role, or whether they may sign in at all; what is absent stays. Whoever may not has no session any more.
    pub async fn change_user(
        &self,
        name: &str,
        role: Option<Role>,
        disabled: Option<bool>,
        now: Timestamp,
    ) -> Result<UserChange, Error> {
        self.backend.change_user(name, role, disabled, now).await
    }

    // ---- what does not speak ----

    /// Somebody switches a rule off, or (by nobody) on again. False if it was so already.
    pub async fn silence(&self, rule: &str, by: Option<&str>, now: Timestamp) -> Result<bool, Error> {
        self.backend.silence(rule, by, now).await
    }

    /// The rules that are switched off, by id.
    pub async fn silenced(&self) -> Result<Vec<Silenced>, Error> {
        self.backend.silenced().await
    }

    // ---- what else is shown ----

    /// Keeps the code of a failure that others ran; [`Store::candidate_code`] gives it back.
    pub async fn keep_source(&self, id: &ExperimentId, code: &[u8]) -> Result<(), Error> {
        self.backend.keep_source(id, code).await
    }

    /// What was spent on models from one UTC day to another, both included.
    pub async fn spent_within(&self, from: Date, to: Date) -> Result<Spent, Error> {
        self.backend.spent_within(from, to).await
    }

    /// Removes somebody, their sessions included. False if there is nobody of that name.
    pub async fn remove_user(&self, name: &str) -> Result<bool, Error> {
        self.backend.remove_user(name).await
    }

    /// Another password; ends all sessions. False if there is nobody of that name.
    pub async fn set_password(&self, name: &str, password: &str) -> Result<bool, Error> {
        self.backend.set_password(name, password).await
    }

    /// Another second factor, or none. False if there is nobody of that name.
    pub async fn set_totp(&self, name: &str, secret: Option<Vec<u8>>) -> Result<bool, Error> {
        self.backend.set_totp(name, secret).await
    }

    /// Marks a code of the second factor as used. False if it, or a later one, was used before.
    pub async fn use_totp(&self, name: &str, step: i64) -> Result<bool, Error> {
        self.backend.use_totp(name, step).await
    }

    /// Keeps a session, and forgets those that have ended.
    pub async fn begin_session(
        &self,
        hash: TokenHash,
        user: &str,
        now: Timestamp,
        ends: Timestamp,
    ) -> Result<(), Error> {
        self.backend.begin_session(hash, user, now, ends).await
    }

    /// Whose session this is, if it has not ended.
    pub async fn session(&self, hash: TokenHash, now: Timestamp) -> Result<Option<(String, Role)>, Error> {
        self.backend.session(hash, now).await
    }

    /// Ends a session.
    pub async fn end_session(&self, hash: TokenHash) -> Result<(), Error> {
        self.backend.end_session(hash).await
    }

    /// Adds a token. `None` if the name is taken.
    pub async fn add_token(
        &self,
        name: &str,
        scope: TokenScope,
        hash: TokenHash,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<Token>, Error> {
        self.backend.add_token(name, scope, hash, by, now).await
    }

    /// All tokens, the revoked included.
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.backend.tokens().await
    }

    /// The token with this hash, unless it was revoked.
    pub async fn token(&self, hash: TokenHash) -> Result<Option<Token>, Error> {
        self.backend.token(hash).await
    }

    /// Notes that a token was used.
    pub async fn token_used(&self, id: i64, now: Timestamp) -> Result<(), Error> {
        self.backend.token_used(id, now).await
    }

    /// Revokes a token by its name. False if none that is valid has it.
    pub async fn revoke_token(&self, name: &str, now: Timestamp) -> Result<bool, Error> {
        self.backend.revoke_token(name, now).await
    }
}
