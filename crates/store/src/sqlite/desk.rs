//! What the desk asks of SQLite, handed to the writer or to a reader.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::Connection;

use super::diagnoses::set_diagnosis;
use super::{
    Sqlite, Trouble, candidates, corrections, costs, groups, happenings, ledger, list, people, related,
};
use crate::backend::DeskBackend;
use crate::overview::Questions;
use crate::{
    By, Correction, Credentials, Decision, Error, ExperimentId, Group, GroupPage, GroupQuery, Happening,
    Overview, OverviewQuery, Replay, Role, Ruling, Silenced, Spent, Status, Step, Stretch, Token, TokenHash,
    TokenScope, User, UserChange, Votes,
};

#[async_trait]
impl DeskBackend for Sqlite {
    async fn version(&self) -> Result<i64, Error> {
        self.readers.version(&self.place)
    }

    async fn overview(&self, query: OverviewQuery, now: Timestamp) -> Result<Overview, Error> {
        self.read(move |conn| overview(conn, query, now)).await
    }

    async fn groups(&self, query: GroupQuery, now: Timestamp) -> Result<GroupPage, Error> {
        self.read(move |conn| groups::page(conn, &query, now)).await
    }

    async fn group(&self, signature: &str, now: Timestamp) -> Result<Option<Group>, Error> {
        let signature = signature.to_owned();
        self.read(move |conn| groups::find(conn, &signature, now)).await
    }

    async fn decide(
        &self,
        signature: &str,
        decision: Decision,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (signature, by) = (signature.to_owned(), by.to_owned());
        self.write(move |conn| groups::decide(conn, &signature, &decision, &by, now)).await
    }

    async fn join_groups(&self, signature: &str, lead: &str) -> Result<(), Error> {
        let (signature, lead) = (signature.to_owned(), lead.to_owned());
        self.write(move |conn| groups::join(conn, &signature, &lead)).await
    }

    async fn part_group(&self, signature: &str) -> Result<(), Error> {
        let signature = signature.to_owned();
        self.write(move |conn| groups::part(conn, &signature)).await
    }

    async fn split_group(
        &self,
        signature: &str,
        words: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<String, Error> {
        let (signature, words, by) = (signature.to_owned(), words.to_owned(), by.to_owned());
        self.write(move |conn| groups::split(conn, &signature, &words, &by, now)).await
    }

    async fn split_some(&self, signature: &str) -> Result<bool, Error> {
        let signature = signature.to_owned();
        self.write(move |conn| {
            let keys = groups::to_split(conn, &signature)?;
            let mut moved = false;
            for key in &keys {
                let sql = "SELECT status FROM experiments WHERE key = ?1";
                let status: String = conn.prepare_cached(sql)?.query_row([key], |row| row.get(0))?;
                // one that this release can't read stays where it is, and so does one that only a correction words so
                let Some(diagnosis) = corrections::original(conn, *key)? else { continue };
                moved |= groups::part_of(conn, &diagnosis.signature, &diagnosis.root_cause)?.is_some();
                set_diagnosis(conn, *key, status.parse().unwrap_or(Status::Failed), Some(&diagnosis))?;
            }
            Ok(moved)
        })
        .await
    }

    async fn correct(
        &self,
        signature: &str,
        ruling: Ruling,
        by: &str,
        now: Timestamp,
        experiment: Option<&ExperimentId>,
    ) -> Result<Correction, Error> {
        let (signature, by, experiment) = (signature.to_owned(), by.to_owned(), experiment.cloned());
        self.write(move |conn| corrections::correct(conn, &signature, &ruling, &by, now, experiment.as_ref()))
            .await
    }

    async fn corrections(&self, signature: Option<&str>) -> Result<Vec<Correction>, Error> {
        let signature = signature.map(str::to_owned);
        self.read(move |conn| corrections::all(conn, signature.as_deref())).await
    }

    async fn replay_some(
        &self,
        correction: i64,
        apply: bool,
        before: i64,
    ) -> Result<(Replay, Option<i64>), Error> {
        match apply {
            true => self.write(move |conn| corrections::replay(conn, correction, true, before)).await,
            false => self.read(move |conn| corrections::replay(conn, correction, false, before)).await,
        }
    }

    async fn take_back(&self, correction: i64, by: &str, now: Timestamp) -> Result<bool, Error> {
        let by = by.to_owned();
        self.write(move |conn| corrections::take_back(conn, correction, &by, now)).await
    }

    async fn restore_some(&self, correction: i64) -> Result<bool, Error> {
        self.write(move |conn| corrections::restore(conn, correction)).await
    }

    async fn vote(
        &self,
        id: &ExperimentId,
        by: &str,
        helpful: Option<bool>,
        now: Timestamp,
    ) -> Result<Votes, Error> {
        let (id, by) = (id.clone(), by.to_owned());
        self.write(move |conn| corrections::vote(conn, &id, &by, helpful, now)).await
    }

    async fn votes(&self, id: &ExperimentId) -> Result<Votes, Error> {
        let id = id.clone();
        self.read(move |conn| corrections::votes(conn, &id)).await
    }

    async fn beat(&self, id: &ExperimentId, now: Timestamp, patience: Duration) -> Result<(), Error> {
        let id = id.clone();
        self.write(move |conn| happenings::beat(conn, &id, now, patience)).await
    }

    async fn unheard(&self, now: Timestamp, listening: Timestamp) -> Result<Vec<ExperimentId>, Error> {
        self.read(move |conn| happenings::unheard(conn, now, listening)).await
    }

    async fn latest_happening(&self) -> Result<i64, Error> {
        self.read(happenings::latest).await
    }

    async fn happenings(&self, since: i64, limit: usize) -> Result<Vec<Happening>, Error> {
        self.read(move |conn| happenings::since(conn, since, limit)).await
    }

    async fn series(
        &self,
        from: Timestamp,
        to: Timestamp,
        by: By,
        step: Step,
    ) -> Result<Vec<Stretch>, Error> {
        self.read(move |conn| happenings::series(conn, from, to, by, step)).await
    }

    async fn add_user(&self, name: &str, role: Role, password: &str, now: Timestamp) -> Result<bool, Error> {
        let (name, password) = (name.to_owned(), password.to_owned());
        self.write(move |conn| people::add(conn, &name, role, &password, now)).await
    }

    async fn users(&self) -> Result<Vec<User>, Error> {
        self.read(people::all).await
    }

    async fn credentials(&self, name: &str) -> Result<Option<Credentials>, Error> {
        let name = name.to_owned();
        self.read(move |conn| people::credentials(conn, &name)).await
    }

    async fn change_user(
        &self,
        name: &str,
        role: Option<Role>,
        disabled: Option<bool>,
        now: Timestamp,
    ) -> Result<UserChange, Error> {
        let name = name.to_owned();
        self.write(move |conn| people::change(conn, &name, role, disabled, now)).await
    }

    async fn silence(&self, rule: &str, by: Option<&str>, now: Timestamp) -> Result<bool, Error> {
        let (rule, by) = (rule.to_owned(), by.map(str::to_owned));
        self.write(move |conn| people::silence(conn, &rule, by.as_deref(), now)).await
    }

    async fn silenced(&self) -> Result<Vec<Silenced>, Error> {
        self.read(people::silenced).await
    }

    async fn keep_source(&self, id: &ExperimentId, code: &[u8]) -> Result<(), Error> {
        let (id, code) = (id.clone(), candidates::pack(code));
        let code = code.map_err(|e| Error::Code { id: id.to_string(), detail: e.to_string() })?;
        self.write(move |conn| candidates::keep_source(conn, &id, &code)).await
    }

    async fn spent_within(&self, from: Date, to: Date) -> Result<Spent, Error> {
        self.read(move |conn| ledger::spent_within(conn, from, to)).await
    }

    async fn remove_user(&self, name: &str) -> Result<bool, Error> {
        let name = name.to_owned();
        self.write(move |conn| people::remove(conn, &name)).await
    }

    async fn set_password(&self, name: &str, password: &str) -> Result<bool, Error> {
        let (name, password) = (name.to_owned(), password.to_owned());
        self.write(move |conn| people::set_password(conn, &name, &password)).await
    }

    async fn set_totp(&self, name: &str, secret: Option<Vec<u8>>) -> Result<bool, Error> {
        let name = name.to_owned();
        self.write(move |conn| people::set_totp(conn, &name, secret.as_deref())).await
    }

    async fn use_totp(&self, name: &str, step: i64) -> Result<bool, Error> {
        let name = name.to_owned();
        self.write(move |conn| people::use_totp(conn, &name, step)).await
    }

    async fn begin_session(
        &self,
        hash: TokenHash,
        user: &str,
        now: Timestamp,
        ends: Timestamp,
    ) -> Result<(), Error> {
        let user = user.to_owned();
        self.write(move |conn| people::begin_session(conn, &hash, &user, now, ends)).await
    }

    async fn session(&self, hash: TokenHash, now: Timestamp) -> Result<Option<(String, Role)>, Error> {
        self.read(move |conn| people::session(conn, &hash, now)).await
    }

    async fn end_session(&self, hash: TokenHash) -> Result<(), Error> {
        self.write(move |conn| people::end_session(conn, &hash)).await
    }

    async fn add_token(
        &self,
        name: &str,
        scope: TokenScope,
        hash: TokenHash,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<Token>, Error> {
        let (name, by) = (name.to_owned(), by.to_owned());
        self.write(move |conn| people::add_token(conn, &name, scope, &hash, &by, now)).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.read(people::tokens).await
    }

    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, Error> {
        self.read(move |conn| people::token(conn, &hash)).await
    }

    async fn token_used(&self, id: i64, now: Timestamp) -> Result<(), Error> {
        self.write(move |conn| people::token_used(conn, id, now)).await
    }

    async fn revoke_token(&self, name: &str, now: Timestamp) -> Result<bool, Error> {
        let name = name.to_owned();
        self.write(move |conn| people::revoke(conn, &name, now)).await
    }
}

fn overview(conn: &Connection, query: OverviewQuery, now: Timestamp) -> Result<Overview, Trouble> {
    let asked = Questions::of(query, now);
    let summary = |(from, to)| related::summary(conn, from, to);
    let top = costs::top(conn, &asked.top)?.into_iter().map(|cost| {
        let trend = groups::trend_of(conn, &cost.signature, now)?;
        Ok((cost, trend))
    });
    Ok(Overview {
        top: top.collect::<Result<_, Trouble>>()?,
        day: summary(asked.day)?,
        before: summary(asked.before)?,
        newest: groups::page(conn, &asked.newest, now)?.groups,
        days: happenings::series(conn, asked.days.0, asked.days.1, By::Category, Step::Day)?,
        day_costs: costs::amounts(conn, &asked.day_costs)?,
        week_costs: costs::amounts(conn, &asked.week_costs)?,
        running: list::page(conn, &asked.running)?,
        empty: list::facets(conn)?.is_empty(),
    })
}
