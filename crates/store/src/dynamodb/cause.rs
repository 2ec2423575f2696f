//! A cause of failures as one item: when it was first seen, its words, what people decided about its group and said of its
//! failures, and where the group stands among groups. It is changed only on condition of its version.

use super::Dynamo;
use super::client::{Item, Key, n, number, s, text};
use super::plan::{Plan, When, key, signature_partition};
use super::row::hex;
pub(super) use crate::record::{Decided, InForce, Split};
use crate::{Error, GroupState};

/// Where those of one state stand, by an index for each order.
pub(super) fn groups_partition(state: GroupState) -> String {
    format!("G{}", state.as_str())
}

/// In an order of groups: by a value, and among equals by the cause's own number.
pub(super) fn group_place(value: i64, id: i64) -> String {
    format!("{}{}", hex(value), hex(id))
}

pub(super) fn cause_key(signature: &str) -> Key {
    key(signature_partition(signature), "-")
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cause {
    pub(super) signature: String,
    /// Grows with each that is seen for the first time.
    pub(super) id: i64,
    /// Milliseconds.
    pub(super) first: i64,
    /// What it is compared by.
    pub(super) words: String,
    pub(super) decided: Decided,
    /// Of the group that it leads: the first and the last that were ever seen, and how many there were when it was put into
    /// its place.
    pub(super) group_first: i64,
    pub(super) last: i64,
    pub(super) last_number: u64,
    pub(super) size: i64,
    pub(super) version: u64,
}

impl Cause {
    pub(super) fn key(&self) -> Key {
        cause_key(&self.signature)
    }

    pub(super) fn parse(item: &Item) -> Option<Self> {
        let decided = text(item, "d").map(serde_json::from_str::<Decided>);
        Some(Self {
            signature: text(item, "s")?.to_owned(),
            id: number(item, "id")?,
            first: number(item, "first")?,
            words: text(item, "words").unwrap_or_default().to_owned(),
            // what a later release says there, it says to itself
            decided: decided.and_then(Result::ok).unwrap_or_default(),
            group_first: number(item, "group")?,
            last: number(item, "last")?,
            last_number: number(item, "lastn")?,
            size: number(item, "size")?,
            version: number(item, "v")?,
        })
    }

    /// With the next version.
    fn item(&self) -> Item {
        let mut item = Item::from([
            ("s".to_owned(), s(&self.signature)),
            ("id".to_owned(), n(self.id)),
            ("first".to_owned(), n(self.first)),
            ("words".to_owned(), s(&self.words)),
            ("group".to_owned(), n(self.group_first)),
            ("last".to_owned(), n(self.last)),
            ("lastn".to_owned(), n(self.last_number)),
            ("size".to_owned(), n(self.size)),
            ("v".to_owned(), n(self.version + 1)),
        ]);
        if self.decided != Decided::default() {
            item.insert("d".to_owned(), s(serde_json::to_string(&self.decided).unwrap_or_default()));
        }
        if self.decided.lead.is_none() {
            item.insert("w".to_owned(), s(groups_partition(self.decided.state)));
            item.insert("k".to_owned(), s(group_place(self.last, self.id)));
            item.insert("t".to_owned(), s(group_place(self.size, self.id)));
            item.insert("c".to_owned(), s(group_place(self.group_first, self.id)));
        }
        item
    }

    /// The item as a whole, keys included.
    pub(super) fn whole_item(&self) -> Item {
        let (key, mut item) = (self.key(), self.item());
        item.insert("pk".to_owned(), s(key.0));
        item.insert("sk".to_owned(), s(key.1));
        item
    }

    /// Writes it: as one that was not there, or in the place of the version that was read.
    pub(super) fn put(&self, plan: &mut Plan) {
        let when = if self.version == 0 { When::Absent } else { When::Is("v", n(self.version)) };
        plan.put(self.key(), self.item(), when);
    }

    /// Opens the group if it was resolved, or muted until now, and this failure came after that.
    pub(super) fn reopen(&mut self, began: i64) -> bool {
        let it = &mut self.decided;
        match it.state {
            GroupState::Resolved if it.at.is_some_and(|at| began > at) => it.reopened = Some(began),
            GroupState::Muted if it.muted_until.is_some_and(|until| began > until) => {}
            _ => return false,
        }
        it.state = GroupState::Open;
        true
    }

    /// The signature that a failure of this cause has once splits are looked at; `None` if it stays.
    pub(super) fn part_of(&self, cause: &str) -> Option<&str> {
        if self.decided.splits.is_empty() {
            return None;
        }
        let cause = cause.to_lowercase();
        self.decided.splits.iter().find(|split| cause.contains(&split.words)).map(|split| &*split.part)
    }
}

impl Dynamo {
    pub(super) async fn cause(&self, signature: &str) -> Result<Option<Cause>, Error> {
        let key = cause_key(signature);
        Ok(self.table.get(key.0, key.1).await?.as_ref().and_then(Cause::parse))
    }

    pub(super) async fn known_cause(&self, signature: &str) -> Result<Cause, Error> {
        let unknown = || Error::NoGroup { signature: signature.chars().take(80).collect() };
        self.cause(signature).await?.ok_or_else(unknown)
    }

    /// The one that leads the group of this cause.
    pub(super) async fn lead_of(&self, cause: Cause) -> Result<Cause, Error> {
        match &cause.decided.lead {
            Some(lead) => self.known_cause(lead).await,
            None => Ok(cause),
        }
    }
}
