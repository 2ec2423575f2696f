//! Groups of failures: pages of them by an index for each order, what they cost, and what people decide. Figures are added up
//! from the counters of the causes that belong to a group; only its place in the orders is kept with it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::Dynamo;
use super::cause::{Cause, Split, group_place, groups_partition};
use super::client::{Ask, Item, Range, number, s, text};
use super::commit::{With, by_day};
use super::list::counted;
use super::plan::{Plan, When, key, signature_partition, trend_stretch};
use super::row::{NANO, Row, key_of, moment, unhex};
use crate::group::part_named;
use crate::{
    Decision, Error, Group, GroupOrder, GroupPage, GroupQuery, GroupState, TREND_DAYS, TableTrouble,
};

/// So often a decision is made anew when others change the same group.
const TRIES: u32 = 30;
/// So many failures are gone through at once.
const STEP: usize = 200;
/// So many groups of a page are looked up at the same time.
const AT_ONCE: usize = 16;
const DAY_MS: i64 = 86_400_000;

/// A cause with the sums over its failures, and those that were joined to it.
pub(super) struct Whole {
    pub(super) cause: Cause,
    members: Vec<String>,
    count: u64,
    wall: i64,
    nanodollars: i64,
}

/// A group: the cause that leads it, and the others.
struct Family {
    lead: Whole,
    others: Vec<Whole>,
}

impl Family {
    fn all(&self) -> impl Iterator<Item = &Whole> {
        std::iter::once(&self.lead).chain(&self.others)
    }

    fn count(&self) -> u64 {
        self.all().map(|it| it.count).sum()
    }

    fn first(&self) -> i64 {
        let first = self.all().map(|it| it.cause.first).min().unwrap_or_default();
        first.min(self.lead.cause.group_first)
    }

    fn has(&self, row: &Row) -> bool {
        self.all().any(|it| row.signature() == Some(&it.cause.signature))
    }
}

pub(super) fn member_key(lead: &str, member: &Cause) -> super::client::Key {
    key(signature_partition(lead), format!("m{:020}", member.id))
}

impl Dynamo {
    async fn whole(&self, partition: String) -> Result<Option<Whole>, Error> {
        let range = Range::Between("-".to_owned(), "m~".to_owned());
        let items = self.table.query(Ask::table(partition).range(range)).await?;
        let Some(cause) = items.iter().find_map(Cause::parse) else { return Ok(None) };
        let is_member = |item: &&Item| text(item, "sk").is_some_and(|sk| sk.starts_with('m'));
        let sum = |name| items.iter().filter_map(|item| number::<i64>(item, name)).sum();
        Ok(Some(Whole {
            cause,
            members: items
                .iter()
                .filter(is_member)
                .filter_map(|it| text(it, "s").map(str::to_owned))
                .collect(),
            count: counted(items.iter(), "").iter().map(|(_, count)| count).sum(),
            wall: sum("us"),
            nanodollars: sum("nd"),
        }))
    }

    /// The group that a cause belongs to, by its partition.
    async fn family(&self, partition: String) -> Result<Option<Family>, Error> {
        let Some(mut lead) = self.whole(partition).await? else { return Ok(None) };
        if let Some(of) = &lead.cause.decided.lead {
            let Some(other) = self.whole(signature_partition(of)).await? else { return Ok(None) };
            lead = other;
        }
        let others = try_join_all(lead.members.iter().map(|it| self.whole(signature_partition(it)))).await?;
        Ok(Some(Family { others: others.into_iter().flatten().collect(), lead }))
    }

    /// Puts the group of a cause where it belongs in the orders of groups, perhaps after one of its failures was seen.
    pub(super) async fn place(&self, signature: &str, seen: Option<(i64, u64)>) -> Result<(), Error> {
        for _ in 0..TRIES {
            let Some(family) = self.family(signature_partition(signature)).await? else { return Ok(()) };
            let mut cause = family.lead.cause.clone();
            cause.size = i64::try_from(family.count()).unwrap_or(i64::MAX);
            cause.group_first = family.first();
            if let Some((key, number)) = seen.filter(|(key, _)| *key > cause.last) {
                (cause.last, cause.last_number) = (key, number);
            }
            if cause == family.lead.cause || self.table.put_over(cause.whole_item(), cause.version).await? {
                return Ok(());
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    /// How often these signatures failed on each of the last days, today last.
    async fn trend_of(&self, signatures: &[&str], now: Timestamp) -> Result<Vec<u64>, Error> {
        let today = now.as_millisecond().div_euclid(DAY_MS);
        let first = today - (TREND_DAYS as i64 - 1);
        let asks = signatures.iter().map(|signature| {
            let range = Range::Between(trend_stretch(first), format!("{}~", trend_stretch(today)));
            self.table.query(Ask::table(signature_partition(signature)).range(range))
        });
        let items = try_join_all(asks).await?;
        let days = by_day(items.iter().flatten());
        let count = |day: i64| days.get(&day).copied().unwrap_or_default().max(0).unsigned_abs();
        Ok((first..=today).map(count).collect())
    }

    /// The same of the whole group that a signature belongs to.
    pub(super) async fn trend(&self, signature: &str, now: Timestamp) -> Result<Vec<u64>, Error> {
        match self.family(signature_partition(signature)).await? {
            Some(family) => {
                let all: Vec<_> = family.all().map(|it| &*it.cause.signature).collect();
                self.trend_of(&all, now).await
            }
            None => Ok(vec![0; TREND_DAYS]),
        }
    }

    async fn newest_of_family(&self, family: &Family) -> Result<Option<Row>, Error> {
        let asks = family.all().map(|it| self.newest_of(&it.cause.signature, 1));
        let found = try_join_all(asks).await?;
        Ok(found.into_iter().flatten().max_by_key(|row| row.key))
    }

    async fn shown(&self, family: &Family, latest: Option<Row>, now: Timestamp) -> Result<Group, Error> {
        let (lead, time) = (&family.lead.cause, |ms| Timestamp::from_millisecond(ms).unwrap_or_default());
        let signatures: Vec<_> = family.all().map(|it| &*it.cause.signature).collect();
        let sum = |of: fn(&Whole) -> i64| family.all().map(of).sum::<i64>();
        let decided = &lead.decided;
        Ok(Group {
            signature: lead.signature.clone(),
            members: family.others.iter().map(|it| it.cause.signature.clone()).collect(),
            state: decided.state,
            muted_until: decided.muted_until.map(time),
            assignee: decided.assignee.clone(),
            decided_by: decided.by.clone(),
            decided_at: decided.at.map(time),
            reopened_at: decided.reopened.map(time),
            first_seen: time(family.first()),
            last_seen: moment(lead.last.max(latest.as_ref().map_or(0, |row| row.key))),
            count: family.count(),
            wall: Duration::from_micros(sum(|it| it.wall).max(0).unsigned_abs()),
            dollars: sum(|it| it.nanodollars) as f64 / NANO,
            trend: self.trend_of(&signatures, now).await?,
            latest: latest.as_ref().map(Row::listed),
            passed_after: None,
        })
    }

    pub(super) async fn group_page(&self, query: &GroupQuery, now: Timestamp) -> Result<GroupPage, Error> {
        let ((value, id), size) = (query.after()?, query.page_size());
        let states = match &query.state {
            Some(state) => std::slice::from_ref(state),
            None => &GroupState::ALL,
        };
        let (index, sort) = match query.order {
            GroupOrder::Latest => ("words", "k"),
            GroupOrder::Largest => ("wall", "t"),
            GroupOrder::Newest => ("cost", "c"),
        };
        // each state is a stretch of one index; the first of all are among the first of each
        let asks = states.iter().map(|state| {
            let range = Range::Between(group_place(0, 0), group_place(value, (id - 1).max(0)));
            let ask = Ask::index(index, ("w", groups_partition(*state)), sort).range(range);
            self.table.query(ask.newest(size + 1))
        });
        let found = try_join_all(asks).await?;
        let mut found: Vec<(i64, i64, String)> = found
            .iter()
            .flatten()
            .filter_map(|item| {
                let place = text(item, sort)?;
                let (value, id) = (place.get(..16)?, place.get(16..)?);
                Some((unhex(value)?, unhex(id)?, text(item, "pk")?.to_owned()))
            })
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        let more = found.len() > size;
        found.truncate(size);
        let next_cursor = found.last().filter(|_| more).map(|(value, id, _)| format!("g1.{value:x}.{id:x}"));

        let mut families = Vec::new();
        for some in found.chunks(AT_ONCE) {
            let asks = some.iter().map(|(.., partition)| self.family(partition.clone()));
            families.extend(try_join_all(asks).await?.into_iter().flatten());
        }
        let keys: Vec<_> = families.iter().map(|it| key_of(it.lead.cause.last_number)).collect();
        let rows = self.rows(&keys).await?;
        let rows: BTreeMap<u64, Row> = rows.into_iter().map(|row| (row.number, row)).collect();
        let mut groups = Vec::new();
        for some in families.chunks(AT_ONCE) {
            let shown = some.iter().map(|family| async {
                let latest = rows.get(&family.lead.cause.last_number).filter(|row| family.has(row));
                let latest = match latest {
                    Some(row) => Some(row.clone()),
                    // it was removed, or is of another cause now
                    None => self.newest_of_family(family).await?,
                };
                self.shown(family, latest, now).await
            });
            groups.extend(try_join_all(shown).await?);
        }
        Ok(GroupPage { groups, next_cursor })
    }

    /// The group that this signature belongs to.
    pub(super) async fn one_group(&self, signature: &str, now: Timestamp) -> Result<Option<Group>, Error> {
        let Some(family) = self.family(signature_partition(signature)).await? else { return Ok(None) };
        let latest = self.newest_of_family(&family).await?;
        let mut group = self.shown(&family, latest, now).await?;
        group.passed_after = self.stats(&group.signature).await?.and_then(|stats| stats.passed_after);
        Ok(Some(group))
    }

    pub(super) async fn decided(
        &self,
        signature: &str,
        decision: &Decision,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let mut lead = self.lead_of(self.known_cause(signature).await?).await?;
            let it = &mut lead.decided;
            let state = match decision {
                Decision::Assign(to) => {
                    it.assignee.clone_from(to);
                    None
                }
                Decision::Mute(until) => Some((GroupState::Muted, until.map(Timestamp::as_millisecond))),
                Decision::Resolve => Some((GroupState::Resolved, None)),
                Decision::Open => Some((GroupState::Open, None)),
            };
            if let Some((state, until)) = state {
                (it.state, it.muted_until, it.reopened) = (state, until, None);
                (it.by, it.at) = (Some(by.to_owned()), Some(now.as_millisecond()));
            }
            let mut plan = Plan::default();
            lead.put(&mut plan);
            if self.write(plan).await? {
                return Ok(());
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    /// Makes a signature, and those that follow it, follow another.
    pub(super) async fn joined(&self, signature: &str, lead: &str) -> Result<(), Error> {
        for _ in 0..TRIES {
            let from = self.lead_of(self.known_cause(signature).await?).await?;
            let mut to = self.lead_of(self.known_cause(lead).await?).await?;
            if from.signature == to.signature {
                return Ok(());
            }
            let Some(family) = self.family(signature_partition(&from.signature)).await? else {
                return Ok(());
            };
            // one after the other, itself last: whoever dies between two can do the rest again
            let mut done = false;
            for member in family.others.iter().chain([&family.lead]) {
                let mut cause = member.cause.clone();
                cause.decided.lead = Some(to.signature.clone());
                let mut plan = Plan::default();
                cause.put(&mut plan);
                let item = Item::from([("s".to_owned(), s(&cause.signature))]);
                plan.put(member_key(&to.signature, &cause), item, When::Always);
                if cause.signature != from.signature {
                    plan.delete(member_key(&from.signature, &cause), When::Always);
                }
                // only while that one leads
                to.put(&mut plan);
                done = self.write(plan).await?;
                if !done {
                    break;
                }
                to.version += 1;
            }
            self.place(&to.signature, Some((from.last, from.last_number))).await?;
            if done {
                return Ok(());
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    /// Makes a signature lead itself again.
    pub(super) async fn parted(&self, signature: &str) -> Result<(), Error> {
        for _ in 0..TRIES {
            let mut cause = self.known_cause(signature).await?;
            let Some(lead) = cause.decided.lead.take() else { return Ok(()) };
            let mut plan = Plan::default();
            plan.delete(member_key(&lead, &cause), When::Always);
            cause.put(&mut plan);
            if self.write(plan).await? {
                // both were seen last when one of theirs was
                for group in [signature, &lead] {
                    self.place_anew(group).await?;
                }
                return Ok(());
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    async fn place_anew(&self, signature: &str) -> Result<(), Error> {
        let Some(family) = self.family(signature_partition(signature)).await? else { return Ok(()) };
        if let Some(latest) = self.newest_of_family(&family).await? {
            let mut cause = family.lead.cause.clone();
            (cause.last, cause.last_number) = (latest.key, latest.number);
            self.table.put_over(cause.whole_item(), cause.version).await?;
        }
        self.place(signature, None).await
    }

    /// Says that failures of a signature whose cause holds these words are of another.
    pub(super) async fn split(
        &self,
        signature: &str,
        words: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<String, Error> {
        let words = words.to_lowercase();
        let part = part_named(signature, &words);
        for _ in 0..TRIES {
            let mut cause = self.known_cause(signature).await?;
            if cause.decided.splits.iter().any(|it| it.words == words) {
                return Ok(part);
            }
            let (by, at) = (by.to_owned(), now.as_millisecond());
            cause.decided.splits.push(Split { words: words.clone(), part: part.clone(), by, at });
            let mut plan = Plan::default();
            cause.put(&mut plan);
            if self.write(plan).await? {
                return Ok(part);
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    /// Moves those so far.
    pub(super) async fn split_all(&self, signature: &str) -> Result<(), Error> {
        let cause = self.known_cause(signature).await?;
        let mut before = i64::MAX;
        loop {
            let numbers = self.newest_with(signature, |_| true, before, STEP).await?;
            let rows = self.in_order(&numbers).await?;
            for row in &rows {
                let moves = row.original().is_some_and(|d| cause.part_of(&d.root_cause).is_some());
                if moves && row.signature() == Some(signature) {
                    self.judged_again(row).await?;
                }
            }
            match rows.last().filter(|_| numbers.len() == STEP) {
                Some(last) => before = last.key,
                None => return Ok(()),
            }
        }
    }

    /// Gives an experiment its original diagnosis again, with what people have said since laid over it.
    pub(super) async fn judged_again(&self, row: &Row) -> Result<(), Error> {
        let to = |row: &Row| {
            let mut row = row.clone();
            let original = row.original().cloned();
            row.judge(original);
            Ok(row)
        };
        match self.mutate(&row.id(), to, |_, _| With::default(), None).await {
            // removed meanwhile
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What alerts want to know of the group of a failure.
pub(super) struct Standing {
    pub(super) signature: String,
    pub(super) first: i64,
    pub(super) state: GroupState,
    pub(super) reopened: Option<i64>,
}

impl Dynamo {
    pub(super) async fn standing(&self, signature: &str) -> Result<Option<Standing>, Error> {
        let Some(cause) = self.cause(signature).await? else { return Ok(None) };
        let lead = self.lead_of(cause).await?;
        let (state, reopened) = (lead.decided.state, lead.decided.reopened);
        Ok(Some(Standing { signature: lead.signature, first: lead.group_first, state, reopened }))
    }
}
