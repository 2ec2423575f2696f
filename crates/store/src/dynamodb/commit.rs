//! One change of one experiment: what people said of its cause is laid over its diagnosis, and everything that it moves is
//! written as one transaction.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::cause::{Cause, Decided, cause_key};
use super::client::{Item, Key, Refused, number, s};
use super::logs::NotKept;
use super::plan::{self, Plan, When, key};
use super::row::{Over, Row, key_of, moment};
use super::{Dynamo, alerts, happenings, logs};
use crate::logs::Kept;
use crate::similarity;
use crate::{Error, Status, What};

/// A group that is larger than this, and had a failure within so many milliseconds, keeps its place in the orders: causes that
/// fail many times a second would have everybody write the same item.
const LARGE: i64 = 100;
const AT_ONCE: i64 = 1000;

/// What goes with a change of an experiment.
#[derive(Default)]
pub(super) struct With<'a> {
    /// A log that it did not have before, and when it was written.
    pub(super) log: Option<(&'a Kept, Timestamp)>,
    /// What else is written in the same step.
    pub(super) plan: Plan,
}

/// What a step takes once, however often it is tried.
#[derive(Default)]
pub(super) struct Turn {
    /// The number of what it makes happen, used by the try that succeeds.
    happened: Option<i64>,
    /// The object that its log was made. One that no try uses is a stray of the bucket, which a clean-up removes.
    object: Option<Result<String, NotKept>>,
    /// The bytes of the log that it removed, if it took it from the last that had it.
    pub(super) freed: Option<u64>,
}

/// How a diagnosis joins its cause.
struct Joined {
    signature: String,
    /// It made the cause, which so has its place already; or the place need not change.
    in_place: bool,
}

impl Dynamo {
    /// Writes one change of one experiment; answers what it is after that.
    pub(super) async fn commit(
        &self,
        before: Option<&(Row, u64)>,
        mut after: Option<Row>,
        with: With<'_>,
        turn: &mut Turn,
    ) -> Result<Option<Row>, Refused> {
        let old = before.map(|(row, _)| row);
        let mut plan = with.plan;
        let had = old.and_then(|row| row.log.as_ref());
        let changed_log = after.as_ref().and_then(|row| row.log.clone());
        let mut changed_log = changed_log.filter(|has| had.is_none_or(|had| had.id != has.id));
        let has = after.as_ref().and_then(|row| row.log.as_ref());
        let lost_log = had.filter(|had| has.is_none_or(|has| has.id != had.id));
        let lost_log = lost_log.map(|log| (log.id.as_str(), key(format!("B#{}", log.id), "-")));

        let mut wanted: Vec<Key> = Vec::new();
        let given = after.as_ref().and_then(|row| {
            let new = |signature: &&str| row.is_given || old.and_then(Row::signature) != Some(*signature);
            row.signature().filter(new).map(cause_key)
        });
        if let Some(place) = &given {
            wanted.extend([place.clone(), alerts::memory_key()]);
        }
        wanted.extend(changed_log.as_ref().map(|log| key(format!("B#{}", log.id), "-")));
        wanted.extend(lost_log.iter().map(|(_, place)| place.clone()));
        let found = self.table.get_all(&wanted).await?;

        if let (Some(log), Some((kept, _)), Some(row)) = (&changed_log, with.log, &mut after) {
            let known = found.get(&key(format!("B#{}", log.id), "-"));
            if turn.object.is_none() {
                turn.object = self.keep_object(kept, known).await;
            }
            if let Some(Err(not_kept)) = &turn.object {
                row.log_note = Some(match row.log_note.take() {
                    Some(note) => format!("{note}; {}", not_kept.note),
                    None => not_kept.note.clone(),
                });
                // the experiment does without
                if !not_kept.is_here {
                    (row.log, changed_log) = (None, None);
                }
            }
        }
        let mut joined = None;
        if let (Some(row), Some(place)) = (&mut after, &given) {
            let cause = self.settle(row, found.get(place).and_then(Cause::parse)).await?;
            if old.and_then(Row::signature) != row.signature() {
                joined = self.join(&mut plan, cause, row).await?;
            }
        }
        plan::change(&mut plan, &self.table.name, before, after.as_ref(), self.shard)?;
        if let (Some(log), Some((kept, at))) = (&changed_log, with.log) {
            let place = key(format!("B#{}", log.id), "-");
            let object = turn.object.as_ref().and_then(|it| it.as_deref().ok());
            logs::refer(&mut plan, found.get(&place), place, kept, at, self.shard, object);
        }
        let mut gone_log = None;
        if let Some((id, place)) = lost_log
            && let Some(known) = found.get(&place)
            && logs::release(&mut plan, known, place, self.shard)
        {
            gone_log = Some((id, known));
        }
        let what = after.as_ref().and_then(|row| happened(old, row));
        if let (Some(what), Some(row)) = (what, &after) {
            let id = match turn.happened {
                Some(id) => id,
                None => self.next_happening().await?,
            };
            turn.happened = Some(id);
            happenings::tell(&mut plan, id, what, row.number);
            if what != What::Started && row.diagnosis.is_some() && found.contains_key(&alerts::memory_key()) {
                alerts::notice(&mut plan, self.next("event").await?, what.as_str(), row.number);
            }
        }
        if let Some(row) = &after {
            self.add_words(old, row).await?;
        }
        match self.table.transact(plan.items(&self.table.name)?).await {
            Err(Refused::Told(_)) if self.was_written(before, after.as_ref()).await => {}
            done => done?,
        }
        // from here on it is written, whatever else fails
        if what.is_some() {
            turn.happened = None;
        }
        if let Some((id, known)) = gone_log {
            turn.freed = Some(logs::stored(known));
            self.drop_large(id, known).await;
        }
        if let Some(old) = old {
            // one too many does no harm
            _ = self.remove_words(old, after.as_ref()).await;
        }
        if let Some(row) = after.as_ref().filter(|row| given.is_some() && row.over.is_some()) {
            _ = self.look_again(row).await;
        }
        self.place_again(old, after.as_ref(), joined).await;
        Ok(after)
    }

    /// A transaction of which no answer came may have been made all the same: then the experiment is what it was to be.
    async fn was_written(&self, before: Option<&(Row, u64)>, after: Option<&Row>) -> bool {
        let Some(row) = after.or(before.map(|(row, _)| row)) else { return false };
        let (place, version) = (key_of(row.number), before.map_or(0, |(_, version)| *version) + 1);
        let Ok(found) = self.table.get(place.0, place.1).await else { return false };
        match (found, after) {
            (found, None) => found.is_none(),
            (Some(found), Some(row)) => {
                row.item(&self.table.name, version).is_ok_and(|wanted| wanted == found)
            }
            (None, Some(_)) => false,
        }
    }

    /// A correction that was taken back between reading it and writing this is taken from this too: whoever took it back has
    /// not seen this.
    async fn look_again(&self, row: &Row) -> Result<(), Error> {
        let cause = match row.original() {
            Some(diagnosis) => self.cause(&diagnosis.signature).await?,
            None => return Ok(()),
        };
        let in_force = cause.and_then(|cause| cause.decided.in_force).map(|it| it.id);
        if in_force != row.over.as_ref().map(|over| over.correction) {
            Box::pin(self.judged_again(row)).await?;
        }
        Ok(())
    }

    /// Groups that a change moves stand where they belong again. Whoever dies before that leaves a group a little out of its
    /// order until its next failure: its figures are right all the same.
    async fn place_again(&self, old: Option<&Row>, after: Option<&Row>, joined: Option<Joined>) {
        let (was, is) = (old.and_then(Row::signature), after.and_then(Row::signature));
        if was == is {
            return;
        }
        if let (Some(joined), Some(row)) = (joined.filter(|it| !it.in_place), after) {
            _ = self.place(&joined.signature, Some((row.key, row.number))).await;
        }
        if let Some(was) = was {
            _ = self.place(was, None).await;
        }
    }

    /// What people said of the signature counts over what is given. Answers the cause that it has then, if it is known.
    async fn settle(&self, row: &mut Row, known: Option<Cause>) -> Result<Option<Cause>, Error> {
        let (Some(diagnosis), true) = (&mut row.diagnosis, row.is_given) else { return Ok(known) };
        let mut cause = known;
        if let Some(part) = cause.as_ref().and_then(|cause| cause.part_of(&diagnosis.root_cause)) {
            diagnosis.signature = part.to_owned();
            cause = self.cause(&diagnosis.signature).await?;
        }
        row.over = None;
        if let Some(it) = cause.as_ref().and_then(|cause| cause.decided.in_force.as_ref()) {
            row.over = Some(Over { correction: it.id, diagnosis: diagnosis.clone() });
            *diagnosis = it.ruling.over(diagnosis.clone());
        }
        row.is_given = false;
        Ok(cause)
    }

    /// A cause that was never seen is kept with its words; one that was seen later is known to be older; a group that was
    /// resolved opens.
    async fn join(&self, plan: &mut Plan, cause: Option<Cause>, row: &Row) -> Result<Option<Joined>, Error> {
        let Some(diagnosis) = &row.diagnosis else { return Ok(None) };
        let (began, signature) = (moment(row.key).as_millisecond(), diagnosis.signature.clone());
        let Some(mut cause) = cause else {
            let words = similarity::words(&similarity::cause_text(diagnosis));
            // before the cause itself: what nobody refers to is passed over
            try_join_all(words.iter().map(|word| self.keep_word(word, &signature))).await?;
            let cause = Cause {
                signature: signature.clone(),
                id: i64::try_from(self.next("signature").await?).unwrap_or(i64::MAX),
                first: began,
                words: words.into_iter().collect::<Vec<_>>().join(" "),
                decided: Decided::default(),
                group_first: began,
                last: row.key,
                last_number: row.number,
                size: 1,
                version: 0,
            };
            cause.put(plan);
            return Ok(Some(Joined { signature, in_place: true }));
        };
        let in_place = cause.decided.lead.is_none()
            && cause.size >= LARGE
            && (moment(cause.last).as_millisecond() - began).abs() < AT_ONCE;
        let older = began < cause.first;
        cause.first = cause.first.min(began);
        if cause.decided.lead.is_none() {
            if cause.reopen(began) || older {
                cause.put(plan);
            }
        } else {
            if older {
                cause.put(plan);
            }
            let mut lead = self.lead_of(cause).await?;
            if lead.reopen(began) {
                lead.put(plan);
            }
        }
        Ok(Some(Joined { signature, in_place }))
    }

    pub(super) async fn keep_word(&self, word: &str, signature: &str) -> Result<(), Error> {
        let mut plan = Plan::default();
        let partition = format!("K#{word}");
        let item = Item::from([("s".to_owned(), s(signature))]);
        plan.put(key(&partition, format!("s{}", plan::bounded(signature))), item, When::Absent);
        plan.add(key(&partition, "#"), "count", 1);
        match self.table.transact(plan.items(&self.table.name)?).await {
            // it has it already
            Ok(()) | Err(Refused::Condition) => Ok(()),
            Err(Refused::Told(error)) => Err(error),
        }
    }

    /// Writes what is no change of an experiment. False if somebody else was quicker.
    pub(super) async fn write(&self, mut plan: Plan) -> Result<bool, Error> {
        plan.touch(self.shard);
        match self.table.transact(plan.items(&self.table.name)?).await {
            Ok(()) => Ok(true),
            Err(Refused::Condition) => Ok(false),
            Err(Refused::Told(error)) => Err(error),
        }
    }

    /// Changes with every change of an experiment and with whatever people say.
    pub(super) async fn all_versions(&self) -> Result<i64, Error> {
        let items = self.sums_of_all_time("").await?;
        Ok(items.iter().filter_map(|item| number::<i64>(item, "v")).sum())
    }

    /// The next of these numbers: they grow, and none is given twice.
    pub(super) async fn next(&self, what: &str) -> Result<u64, Error> {
        let now = self.table.add(&key("#", what), &[("value", 1)]).await?;
        Ok(number(&now, "value").unwrap_or_default())
    }

    async fn next_happening(&self) -> Result<i64, Error> {
        let now = self.table.add(&key("#", "number"), &[("happened", 1)]).await?;
        Ok(number(&now, "happened").unwrap_or_default())
    }

    /// The number of an experiment, and that of its beginning among what happens.
    pub(super) async fn next_number(&self) -> Result<(u64, Turn), Error> {
        let now = self.table.add(&key("#", "number"), &[("value", 1), ("happened", 1)]).await?;
        Ok((
            number(&now, "value").unwrap_or_default(),
            Turn { happened: number(&now, "happened"), ..Turn::default() },
        ))
    }

    /// A number that was taken and is not needed: nobody is to wait for it.
    pub(super) async fn pass(&self, turn: Turn) {
        if let Some(id) = turn.happened {
            _ = self.table.put(happenings::nothing(id)).await;
        }
    }
}

/// What a change of an experiment is to those who look on.
fn happened(before: Option<&Row>, after: &Row) -> Option<What> {
    let verdict = |row: &Row| {
        row.diagnosis.as_ref().map(|d| (d.failure_category, d.severity, d.origin, d.signature.clone()))
    };
    let Some(before) = before else {
        return match after.status {
            Status::Running => after.owner.is_some().then_some(What::Started),
            _ => Some(What::Ended),
        };
    };
    if after.status == Status::Running {
        return None;
    }
    match (verdict(before), verdict(after)) {
        _ if before.status != after.status => {
            matches!(before.status, Status::Running | Status::Lost).then_some(What::Ended)
        }
        (None, Some(_)) => Some(What::Ended),
        (Some(then), now) if now.as_ref() != Some(&then) => Some(What::Diagnosed),
        _ => None,
    }
}

/// Of several items those that are numbers by day.
pub(super) fn by_day<'a>(items: impl Iterator<Item = &'a Item>) -> BTreeMap<i64, i64> {
    let mut days = BTreeMap::new();
    for (name, value) in items.flatten() {
        let day = name.strip_prefix('d').and_then(|day| day.parse().ok());
        let count = value.as_n().ok().and_then(|n| n.parse::<i64>().ok());
        if let (Some(day), Some(count)) = (day, count) {
            *days.entry(day).or_default() += count;
        }
    }
    days
}
