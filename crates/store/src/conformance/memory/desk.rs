//! The memory store keeps nothing for the desk: its cases run on SQLite alone.

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

use super::Memory;
use crate::backend::DeskBackend;
use crate::{
    By, Correction, Credentials, Decision, Error, ExperimentId, Group, GroupPage, GroupQuery, Happening,
    Overview, OverviewQuery, Replay, Role, Ruling, Silenced, Spent, Step, Stretch, Token, TokenHash,
    TokenScope, User, UserChange, Votes,
};

#[async_trait]
impl DeskBackend for Memory {
    async fn version(&self) -> Result<i64, Error> {
        Err(Error::Closed)
    }
    async fn overview(&self, _: OverviewQuery, _: Timestamp) -> Result<Overview, Error> {
        Err(Error::Closed)
    }
    async fn groups(&self, _: GroupQuery, _: Timestamp) -> Result<GroupPage, Error> {
        Err(Error::Closed)
    }
    async fn group(&self, _: &str, _: Timestamp) -> Result<Option<Group>, Error> {
        Err(Error::Closed)
    }
    async fn decide(&self, _: &str, _: Decision, _: &str, _: Timestamp) -> Result<(), Error> {
        Err(Error::Closed)
    }
    async fn join_groups(&self, _: &str, _: &str) -> Result<(), Error> {
        Err(Error::Closed)
    }
    async fn part_group(&self, _: &str) -> Result<(), Error> {
        Err(Error::Closed)
    }
    async fn correct(
        &self,
        _: &str,
        _: Ruling,
        _: &str,
        _: Timestamp,
        _: Option<&ExperimentId>,
    ) -> Result<Correction, Error> {
        Err(Error::Closed)
    }
    async fn corrections(&self, _: Option<&str>) -> Result<Vec<Correction>, Error> {
        Err(Error::Closed)
    }
    async fn vote(&self, _: &ExperimentId, _: &str, _: Option<bool>, _: Timestamp) -> Result<Votes, Error> {
        Err(Error::Closed)
    }
    async fn votes(&self, _: &ExperimentId) -> Result<Votes, Error> {
        Err(Error::Closed)
    }
    async fn beat(&self, _: &ExperimentId, _: Timestamp, _: std::time::Duration) -> Result<(), Error> {
        Err(Error::Closed)
    }
    async fn unheard(&self, _: Timestamp, _: Timestamp) -> Result<Vec<ExperimentId>, Error> {
        Err(Error::Closed)
    }
    async fn latest_happening(&self) -> Result<i64, Error> {
        Err(Error::Closed)
    }
    async fn happenings(&self, _: i64, _: usize) -> Result<Vec<Happening>, Error> {
        Err(Error::Closed)
    }
    async fn series(&self, _: Timestamp, _: Timestamp, _: By, _: Step) -> Result<Vec<Stretch>, Error> {
        Err(Error::Closed)
    }
    async fn add_user(&self, _: &str, _: Role, _: &str, _: Timestamp) -> Result<bool, Error> {
        Err(Error::Closed)
    }
    async fn users(&self) -> Result<Vec<User>, Error> {
        Err(Error::Closed)
    }
    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Error> {
        Err(Error::Closed)
    }
    async fn change_user(
        &self,
        _: &str,
        _: Option<Role>,
        _: Option<bool>,
        _: Timestamp,
    ) -> Result<UserChange, Error> {
        Err(Error::Closed)
    }
    async fn silence(&self, _: &str, _: Option<&str>, _: Timestamp) -> Result<bool, Error> {
        Err(Error::Closed)
    }
    async fn silenced(&self) -> Result<Vec<Silenced>, Error> {
        Err(Error::Closed)
    }
    async fn keep_source(&self, _: &ExperimentId, _: &[u8]) -> Result<(), Error> {
        Err(Error::Closed)
    }
    async fn spent_within(&self, _: Date, _: Date) -> Result<Spent, Error> {
        Err(Error::Closed)
    }
    async fn remove_user(&self, _: &str) -> Result<bool, Error> {
        Err(Error::Closed)
    }
    async fn set_password(&self, _: &str, _: &str) -> Result<bool, Error> {
        Err(Error::Closed)
    }
    async fn set_totp(&self, _: &str, _: Option<Vec<u8>>) -> Result<bool, Error> {
        Err(Error::Closed)
    }
    async fn use_totp(&self, _: &str, _: i64) -> Result<bool, Error> {
        Err(Error::Closed)
    }
    async fn begin_session(&self, _: TokenHash, _: &str, _: Timestamp, _: Timestamp) -> Result<(), Error> {
        Err(Error::Closed)
    }
    async fn session(&self, _: TokenHash, _: Timestamp) -> Result<Option<(String, Role)>, Error> {
        Err(Error::Closed)
    }
    async fn end_session(&self, _: TokenHash) -> Result<(), Error> {
        Err(Error::Closed)
    }
    async fn add_token(
        &self,
        _: &str,
        _: TokenScope,
        _: TokenHash,
        _: &str,
        _: Timestamp,
    ) -> Result<Option<Token>, Error> {
        Err(Error::Closed)
    }
    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        Err(Error::Closed)
    }
    async fn token(&self, _: TokenHash) -> Result<Option<Token>, Error> {
        Err(Error::Closed)
    }
    async fn token_used(&self, _: i64, _: Timestamp) -> Result<(), Error> {
        Err(Error::Closed)
    }
    async fn revoke_token(&self, _: &str, _: Timestamp) -> Result<bool, Error> {
        Err(Error::Closed)
    }
    async fn split_group(&self, _: &str, _: &str, _: &str, _: Timestamp) -> Result<String, Error> {
        Err(Error::Closed)
    }
    async fn split_some(&self, _: &str) -> Result<bool, Error> {
        Err(Error::Closed)
    }
    async fn replay_some(&self, _: i64, _: bool, _: i64) -> Result<(Replay, Option<i64>), Error> {
        Err(Error::Closed)
    }
    async fn take_back(&self, _: i64, _: &str, _: Timestamp) -> Result<bool, Error> {
        Err(Error::Closed)
    }
    async fn restore_some(&self, _: i64) -> Result<bool, Error> {
        Err(Error::Closed)
    }
}
