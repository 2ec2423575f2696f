//! A person's word on a signature: over every diagnosis of it, kept beside what it was, and taken back without loss. And what
//! people found of a diagnosis.

use coroner_diagnosis::Said as Source;
use jiff::Timestamp;

use super::Dynamo;
use super::cause::InForce;
use super::client::{Ask, Item, Key, n, number, s, text};
use super::plan::{Plan, When, alone, bounded, key, overruled_partition};
use crate::copy::Vote;
use crate::{Change, Correction, Error, ExperimentId, Replay, Ruling, Said, TableTrouble, Votes};

/// So often a correction is made anew when others change the same cause.
const TRIES: u32 = 30;
/// So many failures are gone through at once.
const STEP: usize = 200;
/// So many corrections are listed.
const LISTED: usize = 1000;

fn place(id: i64) -> Key {
    key("X", format!("{id:020}"))
}

fn of_signature(signature: &str) -> String {
    format!("X#{}", bounded(signature))
}

fn item(it: &Correction) -> Item {
    let mut item = Item::from([
        ("s".to_owned(), s(&it.signature)),
        ("ruling".to_owned(), s(serde_json::to_string(&it.ruling).unwrap_or_default())),
        ("by".to_owned(), s(&it.by)),
        ("at".to_owned(), n(it.at.as_millisecond())),
    ]);
    item.extend(it.undone_by.as_ref().map(|by| ("undone_by".to_owned(), s(by))));
    item.extend(it.undone_at.map(|at| ("undone_at".to_owned(), n(at.as_millisecond()))));
    item
}

pub(super) fn correction(item: &Item) -> Option<Correction> {
    let time = |name| number::<i64>(item, name).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Some(Correction {
        id: text(item, "sk")?.parse().ok()?,
        signature: text(item, "s")?.to_owned(),
        ruling: serde_json::from_str(text(item, "ruling")?).ok()?,
        by: text(item, "by")?.to_owned(),
        at: time("at")?,
        undone_by: text(item, "undone_by").map(str::to_owned),
        undone_at: time("undone_at"),
    })
}

/// Where one stands, and what leads to it.
pub(super) fn places(it: &Correction) -> [(Key, Item); 2] {
    [(place(it.id), item(it)), (key(of_signature(&it.signature), place(it.id).1), Item::new())]
}

/// A vote on an experiment, and where it stands: one of each person.
pub(super) fn place_of_vote(number: u64, vote: &Vote) -> (Key, Item) {
    let item = Item::from([
        ("by".to_owned(), s(&vote.by)),
        ("helpful".to_owned(), n(u8::from(vote.helpful))),
        ("at".to_owned(), n(vote.at)),
    ]);
    (key(votes_partition(number), alone(&vote.by)), item)
}

pub(super) fn votes_partition(number: u64) -> String {
    format!("VO#{number}")
}

impl Dynamo {
    async fn correction(&self, id: i64) -> Result<Option<Correction>, Error> {
        let place = place(id);
        Ok(self.table.get(place.0, place.1).await?.as_ref().and_then(correction))
    }

    pub(super) async fn corrected(
        &self,
        signature: &str,
        ruling: &Ruling,
        by: &str,
        now: Timestamp,
        experiment: Option<&ExperimentId>,
    ) -> Result<Correction, Error> {
        let mut id = None;
        for _ in 0..TRIES {
            let mut cause = self.known_cause(signature).await?;
            let id = match id {
                Some(id) => id,
                None => *id.insert(i64::try_from(self.next("correction").await?).unwrap_or(i64::MAX)),
            };
            let it = Correction {
                id,
                signature: signature.to_owned(),
                ruling: ruling.clone(),
                by: by.to_owned(),
                at: now,
                undone_by: None,
                undone_at: None,
            };
            let mut plan = Plan::default();
            let earlier = cause.decided.in_force.replace(InForce { id, ruling: ruling.clone() });
            if let Some(earlier) = earlier {
                plan.set(place(earlier.id), "undone_by", s(by));
                plan.set(place(earlier.id), "undone_at", n(now.as_millisecond()));
            }
            cause.put(&mut plan);
            plan.put(place(id), item(&it), When::Absent);
            plan.put(key(of_signature(signature), place(id).1), Item::new(), When::Always);
            if self.write(plan).await? {
                if let Some(experiment) = experiment {
                    self.judged_again(&self.row_of(experiment).await?.0).await?;
                }
                return Ok(it);
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    pub(super) async fn all_corrections(&self, signature: Option<&str>) -> Result<Vec<Correction>, Error> {
        let items = match signature {
            None => self.table.query(Ask::table("X").newest(LISTED)).await?,
            Some(signature) => {
                self.known_cause(signature).await?;
                let ids = self.table.query(Ask::table(of_signature(signature)).newest(LISTED)).await?;
                let keys: Vec<_> = ids.iter().filter_map(|item| Some(key("X", text(item, "sk")?))).collect();
                self.table.get_all(&keys).await?.into_values().rev().collect()
            }
        };
        Ok(items.iter().filter_map(correction).collect())
    }

    /// Holds a correction against some failures, from the newest back; where to go on, if there may be more.
    pub(super) async fn replayed(
        &self,
        id: i64,
        apply: bool,
        before: i64,
    ) -> Result<(Replay, Option<i64>), Error> {
        let correction = self.correction(id).await?.filter(|it| it.undone_at.is_none());
        let correction = correction.ok_or(Error::NoCorrection { id })?;
        let numbers = self.newest_with(&correction.signature, |_| true, before, STEP).await?;
        let rows = self.in_order(&numbers).await?;
        let next = rows.last().filter(|_| numbers.len() == STEP).map(|row| row.key);
        let mut replay = Replay::default();
        for row in rows.iter().filter(|row| row.signature() == Some(&correction.signature)) {
            replay.looked_at += 1;
            let (Some(now), Some(original)) = (&row.diagnosis, row.original()) else { continue };
            let (from, to) = (Said::of(now), Said::of(&correction.ruling.over(original.clone())));
            if from == to && now.provenance.source == Source::Human {
                continue;
            }
            replay.changed += 1;
            replay.changes.push(Change { experiment: row.id(), from, to });
            if apply {
                self.judged_again(row).await?;
            }
        }
        Ok((replay, next))
    }

    pub(super) async fn taken_back(&self, id: i64, by: &str, now: Timestamp) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let Some(it) = self.correction(id).await? else { return Ok(false) };
            let mut cause = self.known_cause(&it.signature).await?;
            let mut plan = Plan::default();
            if it.undone_at.is_none() {
                plan.set(place(id), "undone_by", s(by));
                plan.set(place(id), "undone_at", n(now.as_millisecond()));
            }
            if cause.decided.in_force.as_ref().is_some_and(|word| word.id == id) {
                cause.decided.in_force = None;
                cause.put(&mut plan);
            }
            if self.write(plan).await? {
                return Ok(true);
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    /// Gives some of the diagnoses that a correction changed back what they said; true while there may be more.
    pub(super) async fn restored(&self, id: i64) -> Result<bool, Error> {
        let partition = overruled_partition(id);
        let items = self.table.query(Ask::table(&partition).first(STEP)).await?;
        for item in &items {
            let number = number(item, "number").unwrap_or_default();
            match self.row(number).await? {
                // this forgets that it was overruled, unless there is a newer correction
                Some((row, _)) if row.over.as_ref().is_some_and(|over| over.correction == id) => {
                    self.judged_again(&row).await?;
                }
                _ => self.table.delete(&partition, text(item, "sk").unwrap_or_default()).await?,
            }
        }
        Ok(items.len() == STEP)
    }

    pub(super) async fn voted(
        &self,
        id: &ExperimentId,
        by: &str,
        helpful: Option<bool>,
        now: Timestamp,
    ) -> Result<Votes, Error> {
        let (row, _) = self.row_of(id).await?;
        let vote = Vote { by: by.to_owned(), helpful: helpful == Some(true), at: now.as_millisecond() };
        let ((place, item), mut plan) = (place_of_vote(row.number, &vote), Plan::default());
        match helpful {
            Some(_) => plan.put(place, item, When::Always),
            None => plan.delete(place, When::Always),
        }
        self.write(plan).await?;
        self.votes_of(row.number).await
    }

    pub(super) async fn votes_on(&self, id: &ExperimentId) -> Result<Votes, Error> {
        self.votes_of(self.row_of(id).await?.0.number).await
    }

    async fn votes_of(&self, number_of: u64) -> Result<Votes, Error> {
        let mut votes = Votes::default();
        for item in self.table.query(Ask::table(votes_partition(number_of))).await? {
            match number::<u8>(&item, "helpful") {
                Some(0) => votes.unhelpful += 1,
                _ => votes.helpful += 1,
            }
        }
        Ok(votes)
    }
}
