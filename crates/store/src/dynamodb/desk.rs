//! What the desk asks of a table of DynamoDB, handed on; what needs but a few lines is here.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{try_join_all, try_join4, try_join5};
use jiff::Timestamp;
use jiff::civil::Date;

use super::client::{Ask, Item, Key, Range, n, number, s, text};
use super::plan::{Plan, When, alone, key};
use super::row::NANO;
use super::{Dynamo, costs, lookup};
use crate::backend::DeskBackend;
use crate::overview::Questions;
use crate::{
    By, Correction, Credentials, Decision, Error, ExperimentId, Group, GroupPage, GroupQuery, Happening,
    Overview, OverviewQuery, Replay, Role, Ruling, Silenced, Spent, Step, Stretch, Token, TokenHash,
    TokenScope, User, UserChange, Votes,
};

/// A rule that is switched off, and where that stands.
pub(super) fn place_of_silenced(it: &Silenced) -> (Key, Item) {
    let item = Item::from([
        ("rule".to_owned(), s(&it.rule)),
        ("by".to_owned(), s(&it.by)),
        ("at".to_owned(), n(it.at.as_millisecond())),
    ]);
    (key("Z", alone(&it.rule)), item)
}

#[async_trait]
impl DeskBackend for Dynamo {
    async fn version(&self) -> Result<i64, Error> {
        self.all_versions().await
    }

    /// Indexes follow their table, as a rule within a second.
    fn settles(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn overview(&self, query: OverviewQuery, now: Timestamp) -> Result<Overview, Error> {
        let asked = Questions::of(query, now);
        let top = async {
            let top = costs::top(self, &asked.top).await?;
            let trends = try_join_all(top.iter().map(|cost| self.trend(&cost.signature, now))).await?;
            Ok::<_, Error>(top.into_iter().zip(trends).collect())
        };
        let (day, before, newest, days) = try_join4(
            self.sum(asked.day.0, asked.day.1),
            self.sum(asked.before.0, asked.before.1),
            self.group_page(&asked.newest, now),
            self.counts_over_time(asked.days.0, asked.days.1, By::Category, Step::Day),
        )
        .await?;
        let (day_costs, week_costs, running, all, top) = try_join5(
            costs::amounts(self, &asked.day_costs),
            costs::amounts(self, &asked.week_costs),
            self.page(&asked.running),
            self.combinations(),
            top,
        )
        .await?;
        let newest = newest.groups;
        Ok(Overview { day, before, newest, days, day_costs, week_costs, top, running, empty: all.is_empty() })
    }

    async fn groups(&self, query: GroupQuery, now: Timestamp) -> Result<GroupPage, Error> {
        self.group_page(&query, now).await
    }

    async fn group(&self, signature: &str, now: Timestamp) -> Result<Option<Group>, Error> {
        self.one_group(signature, now).await
    }

    async fn decide(
        &self,
        signature: &str,
        decision: Decision,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.decided(signature, &decision, by, now).await
    }

    async fn join_groups(&self, signature: &str, lead: &str) -> Result<(), Error> {
        self.joined(signature, lead).await
    }

    async fn part_group(&self, signature: &str) -> Result<(), Error> {
        self.parted(signature).await
    }

    async fn split_group(
        &self,
        signature: &str,
        words: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<String, Error> {
        self.split(signature, words, by, now).await
    }

    async fn split_some(&self, signature: &str) -> Result<bool, Error> {
        self.split_all(signature).await?;
        Ok(false)
    }

    async fn correct(
        &self,
        signature: &str,
        ruling: Ruling,
        by: &str,
        now: Timestamp,
        experiment: Option<&ExperimentId>,
    ) -> Result<Correction, Error> {
        self.corrected(signature, &ruling, by, now, experiment).await
    }

    async fn corrections(&self, signature: Option<&str>) -> Result<Vec<Correction>, Error> {
        self.all_corrections(signature).await
    }

    async fn replay_some(
        &self,
        correction: i64,
        apply: bool,
        before: i64,
    ) -> Result<(Replay, Option<i64>), Error> {
        self.replayed(correction, apply, before).await
    }

    async fn take_back(&self, correction: i64, by: &str, now: Timestamp) -> Result<bool, Error> {
        self.taken_back(correction, by, now).await
    }

    async fn restore_some(&self, correction: i64) -> Result<bool, Error> {
        self.restored(correction).await
    }

    async fn vote(
        &self,
        id: &ExperimentId,
        by: &str,
        helpful: Option<bool>,
        now: Timestamp,
    ) -> Result<Votes, Error> {
        self.voted(id, by, helpful, now).await
    }

    async fn votes(&self, id: &ExperimentId) -> Result<Votes, Error> {
        self.votes_on(id).await
    }

    async fn beat(&self, id: &ExperimentId, now: Timestamp, patience: Duration) -> Result<(), Error> {
        self.heard(id, now, patience).await
    }

    async fn unheard(&self, now: Timestamp, listening: Timestamp) -> Result<Vec<ExperimentId>, Error> {
        self.not_heard_of(now, listening).await
    }

    async fn latest_happening(&self) -> Result<i64, Error> {
        self.latest().await
    }

    async fn happenings(&self, since: i64, limit: usize) -> Result<Vec<Happening>, Error> {
        self.happened_since(since, limit).await
    }

    async fn series(
        &self,
        from: Timestamp,
        to: Timestamp,
        by: By,
        step: Step,
    ) -> Result<Vec<Stretch>, Error> {
        self.counts_over_time(from, to, by, step).await
    }

    async fn add_user(&self, name: &str, role: Role, password: &str, now: Timestamp) -> Result<bool, Error> {
        self.user_added(name, role, password, now).await
    }

    async fn users(&self) -> Result<Vec<User>, Error> {
        self.all_users().await
    }

    async fn credentials(&self, name: &str) -> Result<Option<Credentials>, Error> {
        self.word_of(name).await
    }

    async fn change_user(
        &self,
        name: &str,
        role: Option<Role>,
        disabled: Option<bool>,
        now: Timestamp,
    ) -> Result<UserChange, Error> {
        self.user_changed(name, role, disabled, now).await
    }

    async fn silence(&self, rule: &str, by: Option<&str>, now: Timestamp) -> Result<bool, Error> {
        let it = Silenced { rule: rule.to_owned(), by: by.unwrap_or_default().to_owned(), at: now };
        let ((place, item), mut plan) = (place_of_silenced(&it), Plan::default());
        match by {
            Some(_) => plan.put(place, item, When::Absent),
            None => plan.delete(place, When::Present),
        }
        self.write(plan).await
    }

    async fn silenced(&self) -> Result<Vec<Silenced>, Error> {
        let items = self.table.query(Ask::table("Z")).await?;
        let silenced = items.iter().filter_map(|item| {
            Some(Silenced {
                rule: text(item, "rule")?.to_owned(),
                by: text(item, "by")?.to_owned(),
                at: Timestamp::from_millisecond(number(item, "at")?).ok()?,
            })
        });
        Ok(silenced.collect())
    }

    async fn keep_source(&self, id: &ExperimentId, code: &[u8]) -> Result<(), Error> {
        let number = self.row_of(id).await?.0.number;
        self.replace_code(number, code).await
    }

    async fn spent_within(&self, from: Date, to: Date) -> Result<Spent, Error> {
        let range = Range::Between(lookup::spending_key(from).1, lookup::spending_key(to).1);
        let mut sum = Spent::default();
        let mut nanodollars = 0;
        for day in self.table.query(Ask::table(lookup::spending_key(from).0).range(range)).await? {
            sum.calls += number::<u64>(&day, "calls").unwrap_or_default();
            nanodollars += number::<i64>(&day, "nanodollars").unwrap_or_default();
        }
        sum.dollars = nanodollars as f64 / NANO;
        Ok(sum)
    }

    async fn remove_user(&self, name: &str) -> Result<bool, Error> {
        self.user_removed(name).await
    }

    async fn set_password(&self, name: &str, password: &str) -> Result<bool, Error> {
        self.password_set(name, password).await
    }

    async fn set_totp(&self, name: &str, secret: Option<Vec<u8>>) -> Result<bool, Error> {
        self.totp_set(name, secret).await
    }

    async fn use_totp(&self, name: &str, step: i64) -> Result<bool, Error> {
        self.totp_used(name, step).await
    }

    async fn begin_session(
        &self,
        hash: TokenHash,
        user: &str,
        _: Timestamp,
        ends: Timestamp,
    ) -> Result<(), Error> {
        // old ones are removed by the table itself
        self.session_begun(&hash, user, ends).await
    }

    async fn session(&self, hash: TokenHash, now: Timestamp) -> Result<Option<(String, Role)>, Error> {
        self.session_of(&hash, now).await
    }

    async fn end_session(&self, hash: TokenHash) -> Result<(), Error> {
        self.session_ended(&hash).await
    }

    async fn add_token(
        &self,
        name: &str,
        scope: TokenScope,
        hash: TokenHash,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<Token>, Error> {
        self.token_added(name, scope, &hash, by, now).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.all_tokens().await
    }

    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, Error> {
        self.token_of(&hash).await
    }

    async fn token_used(&self, id: i64, now: Timestamp) -> Result<(), Error> {
        self.token_noted(id, now).await
    }

    async fn revoke_token(&self, name: &str, now: Timestamp) -> Result<bool, Error> {
        self.token_revoked(name, now).await
    }
}
