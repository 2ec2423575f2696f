//! Runs of the lab's loop and their candidates: each code begun once, by a condition on the code's own item.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::client::{Ask, Item, Key, Refused, key_in, n, number, s, text};
use super::commit::With;
use super::plan::{Plan, When, alone, bounded, key};
use super::row::{Named, Row, Tested, key_of, name_key, nanodollars};
use super::{Dynamo, costs};
use crate::backend::LabBackend;
use crate::{
    Candidate, CandidateBegun, CandidateOutcome, CandidateRecord, Costs, Error, ExperimentId, NewCandidate,
    NewExperiment, NewRun, Owner, PolicyRefusals, Run, RunEnd, RunId, RunState, SignatureCost, Status,
    TableTrouble, TopQuery, Within,
};

/// Texts are small, and written once: rather small than fast.
const LEVEL: i32 = 6;
/// A code that is larger, compressed, stands in several items.
const PART: usize = 256 * 1024;
/// So many of its parts go in one step, which takes 4 MB.
pub(super) const AT_ONCE: usize = 8;
/// So many children of a candidate are named.
const CHILDREN: usize = 20;
/// Others may begin the same code at the same moment.
const TRIES: u32 = 30;

fn run_key(id: RunId) -> Key {
    key("U", format!("{:020}", id.0))
}

fn run_item(run: &Run) -> Result<Item, Error> {
    let mut item = Item::from([
        ("task".to_owned(), s(&run.task)),
        ("settings".to_owned(), s(json(&run.settings, run.id)?)),
        ("seed".to_owned(), s(run.seed.to_string())),
        ("owner".to_owned(), s(json(&run.owner, run.id)?)),
        ("started".to_owned(), n(run.started_at.as_millisecond())),
        ("state".to_owned(), s(run.state.as_str())),
    ]);
    item.extend(run.ended_at.map(|at| ("ended".to_owned(), n(at.as_millisecond()))));
    item.extend(run.reason.as_ref().map(|reason| ("reason".to_owned(), s(reason))));
    Ok(item)
}

/// Where one stands, and what leads to it.
pub(super) fn places(run: &Run) -> Result<[(Key, Item); 2], Error> {
    let leads = key(format!("U#{}", bounded(&run.task)), run_key(run.id).1);
    Ok([(run_key(run.id), run_item(run)?), (leads, Item::new())])
}

fn json(value: &impl serde::Serialize, of: RunId) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::record(format!("of run {of}"), e))
}

fn run_of(item: &Item) -> Result<Run, Error> {
    let id = RunId(text(item, "sk").and_then(|sk| sk.parse().ok()).unwrap_or_default());
    let unreadable = |e| Error::record(format!("of run {id}"), e);
    let moment =
        |name| number::<i64>(item, name).map(|ms| Timestamp::from_millisecond(ms).unwrap_or_default());
    Ok(Run {
        id,
        task: text(item, "task").unwrap_or_default().to_owned(),
        settings: serde_json::from_str(text(item, "settings").unwrap_or_default()).map_err(unreadable)?,
        seed: text(item, "seed").and_then(|seed| seed.parse().ok()).unwrap_or_default(),
        owner: serde_json::from_str(text(item, "owner").unwrap_or_default()).map_err(unreadable)?,
        started_at: moment("started").unwrap_or_default(),
        // a word of a later release: it has an end of some kind
        state: text(item, "state").and_then(|word| word.parse().ok()).unwrap_or(RunState::Stopped),
        ended_at: moment("ended"),
        reason: text(item, "reason").map(str::to_owned),
    })
}

/// The parts of a code as items.
fn code_parts(number: u64, code: &[u8]) -> Result<Vec<Item>, Error> {
    let packed = zstd::encode_all(code, LEVEL)
        .map_err(|e| Error::Code { id: number.to_string(), detail: e.to_string() })?;
    let parts = packed.chunks(PART).enumerate().map(|(part, bytes)| {
        Item::from([
            ("pk".to_owned(), s(code_partition(number))),
            ("sk".to_owned(), s(format!("{part:04}"))),
            ("data".to_owned(), AttributeValue::B(bytes.to_vec().into())),
        ])
    });
    Ok(parts.collect())
}

/// A code from all its parts.
pub(super) fn unpacked(parts: &[Item]) -> std::io::Result<Vec<u8>> {
    let data = parts.iter().filter_map(|part| part.get("data")?.as_b().ok());
    let packed: Vec<u8> = data.flat_map(|blob| blob.as_ref().to_vec()).collect();
    zstd::decode_all(&packed[..])
}

/// The candidate's part of an experiment's end. One whose end nobody saw is to be tested again.
pub(super) fn end(
    row: &mut Row,
    id: &ExperimentId,
    lost: bool,
    outcome: Option<&CandidateOutcome>,
) -> Result<(), Error> {
    let Some(it) = &mut row.tested else {
        return match outcome {
            Some(_) => Err(Error::NotACandidate { id: id.to_string() }),
            None => Ok(()),
        };
    };
    it.rerun = lost && it.newest;
    if let Some(outcome) = outcome {
        let finite = outcome.metrics.iter().filter(|(_, value)| value.is_finite());
        it.metrics = finite.map(|(name, value)| (name.clone(), *value)).collect();
        it.score = outcome.score.filter(|score| score.is_finite());
        it.result = Some(outcome.result.clone());
        let rules: BTreeSet<_> = outcome.refused_by.iter().cloned().collect();
        it.refused_by = rules.into_iter().collect();
    }
    Ok(())
}

/// Where a candidate's code stands.
pub(super) fn code_partition(number: u64) -> String {
    format!("D#{number}")
}

pub(super) fn code_key(run: u64, hash: &str) -> Key {
    key(format!("H#{run}"), alone(hash))
}

/// The rules that have refused a candidate become known as such.
pub(super) fn refused(plan: &mut Plan, tested: &Tested) {
    for rule in &tested.refused_by {
        plan.put(key("R", alone(rule)), Item::from([("rule".to_owned(), s(rule))]), When::Always);
    }
}

/// What a candidate has beyond its experiment goes with it.
pub(super) fn forget(plan: &mut Plan, row: &Row) {
    if let Some(it) = row.tested.as_ref().filter(|it| it.newest) {
        plan.delete(code_key(it.run, &it.hash), When::Always);
    }
}

impl Dynamo {
    async fn found_run(&self, id: RunId) -> Result<Run, Error> {
        let key = run_key(id);
        let item = self.table.get(key.0, key.1).await?.ok_or(Error::NoRun { id })?;
        run_of(&item)
    }

    /// Writes a run as it is now, unless somebody has changed it since.
    async fn change_run(&self, before: &Run, after: &Run) -> Result<bool, Error> {
        let (key, item) = (run_key(after.id), run_item(after)?);
        let owner = run_item(before)?.remove("owner").unwrap_or_else(|| s(""));
        let mut plan = Plan::default();
        plan.put(key, item, When::Is("owner", owner));
        if after.state == RunState::Broken && before.state != RunState::Broken && self.wants_alerts().await? {
            super::alerts::notice(&mut plan, self.next("event").await?, "stopped", after.id.0);
        }
        self.write(plan).await
    }

    /// Runs that somebody may still be at, or come back to after he was killed: nothing of them is removed.
    pub(super) async fn held_runs(&self) -> Result<BTreeSet<u64>, Error> {
        let mut held = BTreeSet::new();
        for item in self.table.query(Ask::table("U")).await? {
            let run = run_of(&item)?;
            if run.state == RunState::Running && run.owner.liveness() != crate::Liveness::Gone {
                held.insert(run.id.0);
            }
        }
        Ok(held)
    }

    /// Runs of the loop of which no candidate is left.
    pub(super) async fn remove_empty_runs(&self, before: Timestamp) -> Result<(), Error> {
        let held = self.held_runs().await?;
        for item in self.table.query(Ask::table("U")).await? {
            let run = run_of(&item)?;
            let candidates = Ask::table(format!("Q#{}", run.id)).first(1);
            if run.started_at < before
                && !held.contains(&run.id.0)
                && self.table.query(candidates).await?.is_empty()
            {
                let key = run_key(run.id);
                self.table.delete(key.0, key.1).await?;
                self.table.delete(format!("U#{}", bounded(&run.task)), format!("{:020}", run.id.0)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn keep_code(&self, number: u64, code: &[u8]) -> Result<(), Error> {
        for item in code_parts(number, code)? {
            self.table.put(item).await?;
        }
        Ok(())
    }

    /// Puts a code in the place of one that is there, which may have more parts: in one step, unless it is very large.
    pub(super) async fn replace_code(&self, number: u64, code: &[u8]) -> Result<(), Error> {
        let parts = code_parts(number, code)?;
        let before = self.table.query(Ask::table(code_partition(number))).await?;
        let mut surplus: Vec<_> = before.iter().filter_map(key_in).skip(parts.len()).collect();
        if parts.len() > AT_ONCE {
            for part in parts {
                self.table.put(part).await?;
            }
        } else {
            let mut plan = Plan::default();
            for part in parts {
                let key = key_in(&part).unwrap_or_default();
                plan.put(key, part, When::Always);
            }
            surplus.drain(..surplus.len().min(AT_ONCE)).for_each(|key| plan.delete(key, When::Always));
            self.write(plan).await?;
        }
        self.table.write_all(Vec::new(), surplus).await
    }

    pub(super) async fn forget_code(&self, number: u64) -> Result<(), Error> {
        let parts = self.table.query(Ask::table(code_partition(number))).await?;
        self.table.write_all(Vec::new(), parts.iter().filter_map(key_in).collect()).await
    }

    /// Without parents that are not kept any more.
    async fn with_parents(&self, rows: &[Row]) -> Result<Vec<Candidate>, Error> {
        let parents: BTreeSet<Named> = rows
            .iter()
            .filter_map(|row| row.tested.as_ref())
            .flat_map(Tested::all_parents)
            .cloned()
            .collect();
        let names: Vec<_> = parents.iter().map(|(name, attempt, _)| name_key(name, *attempt)).collect();
        let kept = self.table.get_all(&names).await?;
        let is_kept = |id: &ExperimentId| kept.contains_key(&name_key(id.name(), id.attempt()));
        let candidates = rows.iter().filter_map(Row::candidate).map(|mut it| {
            it.parents.retain(is_kept);
            it.repair_of = it.repair_of.filter(is_kept);
            it
        });
        Ok(candidates.collect())
    }

    async fn parent(&self, id: &ExperimentId) -> Result<Named, Error> {
        Ok(self.row_of(id).await?.0.named())
    }

    async fn begun_candidate(
        &self,
        mut new: NewExperiment,
        candidate: &NewCandidate,
    ) -> Result<CandidateBegun, Error> {
        let run = self.found_run(candidate.run).await?;
        // a task's name is the type of its candidates
        new.experiment_type = run.task;
        let mut parents = Vec::new();
        for parent in &candidate.parents {
            parents.push(self.parent(parent).await?);
        }
        let repair_of = match &candidate.repair_of {
            Some(id) => Some(self.parent(id).await?),
            None => None,
        };
        ExperimentId::name_for(new.id.clone())?;
        let code = code_key(candidate.run.0, &candidate.code_hash);
        for _ in 0..TRIES {
            let known = self.table.get(&code.0, &code.1).await?;
            let known_number = known.as_ref().and_then(|item| number::<u64>(item, "number"));
            let mut earlier = None;
            if let Some(number) = known_number {
                let Some(row) = self.row(number).await? else { continue };
                if !row.0.tested.as_ref().is_some_and(|it| it.rerun) {
                    return Ok(CandidateBegun::Known(row.0.id()));
                }
                earlier = Some(row);
            }
            let (number, mut turn) = self.next_number().await?;
            self.keep_code(number, &candidate.code).await?;
            // another attempt of the same experiment
            let (name, attempt) = match &earlier {
                Some((row, _)) => (row.name.clone(), self.attempt(&row.name).await?),
                None => {
                    let name = ExperimentId::name_for(new.id.clone())?;
                    let attempt = self.attempt(&name).await?;
                    (name, attempt)
                }
            };
            let mut row = Row::new(number, name, attempt, new.clone());
            row.tested = Some(Tested {
                run: candidate.run.0,
                hash: candidate.code_hash.clone(),
                code_bytes: candidate.code.len() as u64,
                tries: earlier.as_ref().and_then(|(row, _)| row.tested.as_ref()).map_or(0, |it| it.tries) + 1,
                newest: true,
                rerun: false,
                generation: candidate.generation,
                parents: parents.clone(),
                repair_of: repair_of.clone(),
                proposer: candidate.proposer.clone(),
                change: candidate.change.clone(),
                feedback: candidate.feedback,
                nanodollars: nanodollars(candidate.proposal_cost.dollars),
                input_tokens: candidate.proposal_cost.input_tokens,
                output_tokens: candidate.proposal_cost.output_tokens,
                metrics: std::collections::BTreeMap::new(),
                score: None,
                result: None,
                refused_by: Vec::new(),
            });
            let mut plan = Plan::default();
            let item = Item::from([("number".to_owned(), n(number))]);
            plan.put(
                code.clone(),
                item,
                match known_number {
                    Some(number) => When::Is("number", n(number)),
                    None => When::Absent,
                },
            );
            if let Some(before) = &earlier {
                let mut replaced = before.0.clone();
                if let Some(it) = &mut replaced.tested {
                    (it.newest, it.rerun) = (false, false);
                }
                super::plan::change(&mut plan, &self.table.name, Some(before), Some(&replaced), self.shard)?;
            }
            let id = row.id();
            let begun = self.commit(None, Some(row), With { plan, log: None }, &mut turn).await;
            self.pass(turn).await;
            match begun {
                Ok(_) => return Ok(CandidateBegun::Begun(id)),
                // another was quicker, with the same code or the same name
                Err(Refused::Condition) => self.forget_code(number).await?,
                Err(Refused::Told(error)) => {
                    // a code too many does less harm than a candidate without one
                    if let Ok(None) = self.row(number).await {
                        self.forget_code(number).await?;
                    }
                    return Err(error);
                }
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }
}

#[async_trait]
impl LabBackend for Dynamo {
    async fn start_run(&self, new: NewRun) -> Result<RunId, Error> {
        let id = RunId(self.next("run").await?);
        let run = new.begun(id);
        let mut plan = Plan::default();
        plan.put(run_key(id), run_item(&run)?, When::Absent);
        plan.put(key(format!("U#{}", bounded(&run.task)), run_key(id).1), Item::new(), When::Absent);
        match self.write(plan).await? {
            true => Ok(id),
            false => Err(self.failed(TableTrouble::Throttled)),
        }
    }

    async fn resume_run(&self, id: RunId, owner: Owner, by_force: bool) -> Result<Run, Error> {
        loop {
            let before = self.found_run(id).await?;
            if !by_force && before.is_held_by_another(&owner) {
                return Err(Error::RunIsHeld { id, host: before.owner.host, pid: before.owner.pid });
            }
            let state = RunState::Running;
            let after = Run { owner: owner.clone(), state, ended_at: None, reason: None, ..before.clone() };
            if self.change_run(&before, &after).await? {
                return Ok(after);
            }
        }
    }

    async fn end_run(&self, id: RunId, end: RunEnd) -> Result<(), Error> {
        loop {
            let before = self.found_run(id).await?;
            let (ended_at, reason) = (Some(end.at), Some(end.reason.clone()));
            let after = Run { state: end.state, ended_at, reason, ..before.clone() };
            if self.change_run(&before, &after).await? {
                return Ok(());
            }
        }
    }

    async fn run(&self, id: RunId) -> Result<Run, Error> {
        self.found_run(id).await
    }

    async fn runs(&self, task: Option<&str>, limit: usize) -> Result<Vec<Run>, Error> {
        let items = match task {
            None => self.table.query(Ask::table("U").newest(limit)).await?,
            Some(task) => {
                let ids = self.table.query(Ask::table(format!("U#{}", bounded(task))).newest(limit)).await?;
                let keys: Vec<_> = ids.iter().filter_map(|id| Some(key("U", text(id, "sk")?))).collect();
                self.table.get_all(&keys).await?.into_values().rev().collect()
            }
        };
        items.iter().map(run_of).collect()
    }

    async fn begin_candidate(
        &self,
        new: NewExperiment,
        candidate: NewCandidate,
    ) -> Result<CandidateBegun, Error> {
        self.begun_candidate(new, &candidate).await
    }

    async fn mark_for_rerun(&self, ids: &[ExperimentId]) -> Result<u64, Error> {
        let mut marked = 0;
        for id in ids {
            let can =
                |row: &Row| row.status != Status::Running && row.tested.as_ref().is_some_and(|it| it.newest);
            if !can(&self.row_of(id).await?.0) {
                continue;
            }
            let to = |row: &Row| {
                let mut row = row.clone();
                let may = can(&row);
                if let Some(it) = row.tested.as_mut().filter(|_| may) {
                    it.rerun = true;
                }
                Ok(row)
            };
            let (_, after) = self.mutate(id, to, |_, _| With::default(), None).await?;
            marked += u64::from(after.tested.is_some_and(|it| it.rerun));
        }
        Ok(marked)
    }

    async fn candidates(&self, run: RunId, only_to_rerun: bool) -> Result<Vec<Candidate>, Error> {
        self.found_run(run).await?;
        let all = self.table.query(Ask::table(format!("Q#{run}"))).await?;
        let keys: Vec<_> = all.iter().filter_map(|item| number(item, "number")).map(key_of).collect();
        let mut rows = self.rows(&keys).await?;
        rows.retain(|row| !only_to_rerun || row.tested.as_ref().is_some_and(|it| it.rerun));
        rows.sort_by_key(|row| row.number);
        self.with_parents(&rows).await
    }

    async fn candidate(&self, id: &ExperimentId) -> Result<Option<CandidateRecord>, Error> {
        let (row, _) = self.row_of(id).await?;
        let Some(it) = row.tested.clone() else { return Ok(None) };
        let Some(candidate) = self.with_parents(std::slice::from_ref(&row)).await?.pop() else {
            return Ok(None);
        };
        let children = self.children(row.number, CHILDREN).await?;
        Ok(Some(CandidateRecord {
            candidate,
            result: it.result,
            code_bytes: it.code_bytes,
            children: children.iter().map(Row::id).collect(),
        }))
    }

    async fn candidate_code(&self, id: &ExperimentId) -> Result<Vec<u8>, Error> {
        let (row, _) = self.row_of(id).await?;
        let parts = self.table.query(Ask::table(code_partition(row.number))).await?;
        if parts.is_empty() {
            return Err(Error::NotACandidate { id: id.to_string() });
        }
        unpacked(&parts).map_err(|e| Error::Code { id: id.to_string(), detail: e.to_string() })
    }

    async fn costs(&self, within: Within) -> Result<Costs, Error> {
        costs::costs(self, &within).await
    }

    async fn top_signatures(&self, query: TopQuery) -> Result<Vec<SignatureCost>, Error> {
        costs::top(self, &query).await
    }

    async fn policy_refusals(&self, since: Option<Timestamp>) -> Result<Vec<PolicyRefusals>, Error> {
        costs::refusals(self, since).await
    }
}
