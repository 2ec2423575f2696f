//! What the desk needs beside: rules that are switched off. The rest is not in DynamoDB yet, and says so.

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

use super::Dynamo;
use super::client::{Ask, n, number, s, text};
use super::plan::{bounded, key};
use crate::backend::DeskBackend;
use crate::{
    By, Correction, Credentials, Decision, Error, ExperimentId, Group, GroupPage, GroupQuery, Happening,
    Overview, OverviewQuery, Replay, Role, Ruling, Silenced, Spent, Step, Stretch, Token, TokenHash,
    TokenScope, User, UserChange, Votes,
};

#[async_trait]
impl DeskBackend for Dynamo {
    async fn version(&self) -> Result<i64, Error> {
        Err(Error::NotHere { what: "watching for changes" })
    }
    async fn overview(&self, _: OverviewQuery, _: Timestamp) -> Result<Overview, Error> {
        Err(Error::NotHere { what: "the overview" })
    }
    async fn groups(&self, _: GroupQuery, _: Timestamp) -> Result<GroupPage, Error> {
        Err(Error::NotHere { what: "groups of failures" })
    }
    async fn group(&self, _: &str, _: Timestamp) -> Result<Option<Group>, Error> {
        Err(Error::NotHere { what: "groups of failures" })
    }
    async fn decide(&self, _: &str, _: Decision, _: &str, _: Timestamp) -> Result<(), Error> {
        Err(Error::NotHere { what: "decisions about groups" })
    }
    async fn join_groups(&self, _: &str, _: &str) -> Result<(), Error> {
        Err(Error::NotHere { what: "joining groups" })
    }
    async fn part_group(&self, _: &str) -> Result<(), Error> {
        Err(Error::NotHere { what: "parting groups" })
    }
    async fn correct(
        &self,
        _: &str,
        _: Ruling,
        _: &str,
        _: Timestamp,
        _: Option<&ExperimentId>,
    ) -> Result<Correction, Error> {
        Err(Error::NotHere { what: "corrections" })
    }
    async fn corrections(&self, _: Option<&str>) -> Result<Vec<Correction>, Error> {
        Err(Error::NotHere { what: "corrections" })
    }
    async fn vote(&self, _: &ExperimentId, _: &str, _: Option<bool>, _: Timestamp) -> Result<Votes, Error> {
        Err(Error::NotHere { what: "votes" })
    }
    async fn votes(&self, _: &ExperimentId) -> Result<Votes, Error> {
        Err(Error::NotHere { what: "votes" })
    }
    async fn beat(&self, _: &ExperimentId, _: Timestamp, _: std::time::Duration) -> Result<(), Error> {
        Err(Error::NotHere { what: "reports from elsewhere" })
    }
    async fn unheard(&self, _: Timestamp) -> Result<Vec<ExperimentId>, Error> {
        Err(Error::NotHere { what: "reports from elsewhere" })
    }
    async fn latest_happening(&self) -> Result<i64, Error> {
        Err(Error::NotHere { what: "watching for changes" })
    }
    async fn happenings(&self, _: i64, _: usize) -> Result<Vec<Happening>, Error> {
        Err(Error::NotHere { what: "watching for changes" })
    }
    async fn series(&self, _: Timestamp, _: Timestamp, _: By, _: Step) -> Result<Vec<Stretch>, Error> {
        Err(Error::NotHere { what: "counts over time" })
    }
    async fn add_user(&self, _: &str, _: Role, _: &str, _: Timestamp) -> Result<bool, Error> {
        Err(Error::NotHere { what: "users" })
    }
    async fn users(&self) -> Result<Vec<User>, Error> {
        Err(Error::NotHere { what: "users" })
    }
    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Error> {
        Err(Error::NotHere { what: "users" })
    }
    async fn change_user(
        &self,
        _: &str,
        _: Option<Role>,
        _: Option<bool>,
        _: Timestamp,
    ) -> Result<UserChange, Error> {
        Err(Error::NotHere { what: "users" })
    }
    async fn silence(&self, rule: &str, by: Option<&str>, now: Timestamp) -> Result<bool, Error> {
        let place = key("Z", bounded(rule));
        let was = self.table.get(&place.0, &place.1).await?.is_some();
        match by {
            Some(_) if was => {}
            Some(by) => {
                let item = [
                    ("pk", s(&place.0)),
                    ("sk", s(&place.1)),
                    ("rule", s(rule)),
                    ("by", s(by)),
                    ("at", n(now.as_millisecond())),
                ];
                self.table
                    .put(item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                    .await?;
            }
            None => self.table.delete(place.0, place.1).await?,
        }
        Ok(was != by.is_some())
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
    async fn keep_source(&self, _: &ExperimentId, _: &[u8]) -> Result<(), Error> {
        Err(Error::NotHere { what: "code of reported failures" })
    }
    async fn spent_within(&self, _: Date, _: Date) -> Result<Spent, Error> {
        Err(Error::NotHere { what: "spending over several days" })
    }
    async fn remove_user(&self, _: &str) -> Result<bool, Error> {
        Err(Error::NotHere { what: "users" })
    }
    async fn set_password(&self, _: &str, _: &str) -> Result<bool, Error> {
        Err(Error::NotHere { what: "users" })
    }
    async fn set_totp(&self, _: &str, _: Option<Vec<u8>>) -> Result<bool, Error> {
        Err(Error::NotHere { what: "users" })
    }
    async fn use_totp(&self, _: &str, _: i64) -> Result<bool, Error> {
        Err(Error::NotHere { what: "users" })
    }
    async fn begin_session(&self, _: TokenHash, _: &str, _: Timestamp, _: Timestamp) -> Result<(), Error> {
        Err(Error::NotHere { what: "sessions" })
    }
    async fn session(&self, _: TokenHash, _: Timestamp) -> Result<Option<(String, Role)>, Error> {
        Err(Error::NotHere { what: "sessions" })
    }
    async fn end_session(&self, _: TokenHash) -> Result<(), Error> {
        Err(Error::NotHere { what: "sessions" })
    }
    async fn add_token(
        &self,
        _: &str,
        _: TokenScope,
        _: TokenHash,
        _: &str,
        _: Timestamp,
    ) -> Result<Option<Token>, Error> {
        Err(Error::NotHere { what: "tokens" })
    }
    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        Err(Error::NotHere { what: "tokens" })
    }
    async fn token(&self, _: TokenHash) -> Result<Option<Token>, Error> {
        Err(Error::NotHere { what: "tokens" })
    }
    async fn token_used(&self, _: i64, _: Timestamp) -> Result<(), Error> {
        Err(Error::NotHere { what: "tokens" })
    }
    async fn revoke_token(&self, _: &str, _: Timestamp) -> Result<bool, Error> {
        Err(Error::NotHere { what: "tokens" })
    }
    async fn split_group(&self, _: &str, _: &str, _: &str, _: Timestamp) -> Result<String, Error> {
        Err(Error::NotHere { what: "splitting groups" })
    }
    async fn split_some(&self, _: &str) -> Result<bool, Error> {
        Err(Error::NotHere { what: "splitting groups" })
    }
    async fn replay_some(&self, _: i64, _: bool, _: i64) -> Result<(Replay, Option<i64>), Error> {
        Err(Error::NotHere { what: "corrections" })
    }
    async fn take_back(&self, _: i64, _: &str, _: Timestamp) -> Result<bool, Error> {
        Err(Error::NotHere { what: "corrections" })
    }
    async fn restore_some(&self, _: i64) -> Result<bool, Error> {
        Err(Error::NotHere { what: "corrections" })
    }
}
