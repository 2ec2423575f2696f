//! Starts a run, or takes one up where it stopped: everything that the loop knows is read back from the store.

use std::collections::HashMap;
use std::sync::Arc;

use coroner_diagnosis::{Diagnosis, Origin};
use coroner_store::{Candidate, NewRun, Owner, Run, Status};
use jiff::Timestamp;

use super::afar::is_in_a_queue;
use super::population::SIZE;
use super::run::{Evolution, Ground};
use super::state::{Baseline, Seen, State};
use super::{Event, EvolveError, Settings, Standing};
use crate::attempt::EvolutionResult;
use crate::propose::{Became, Member, Told, Tried};

/// Who proposed the first candidate.
pub(super) const TASK: &str = "task";
/// Of how many failures the whole diagnosis is read again: what came before teaches a proposer nothing any more.
const RECENT: usize = 300;

impl<'a> Evolution<'a> {
    /// A new run.
    pub fn start(ground: Ground<'a>, settings: Settings) -> Result<Self, EvolveError> {
        let run = ground.runtime.block_on(ground.store.start_run(NewRun {
            task: ground.errand.task.clone(),
            settings: serde_json::to_value(&settings).unwrap_or_default(),
            seed: settings.seed,
            owner: Owner::this_process(),
            started_at: Timestamp::now(),
        }))?;
        Ok(Self::with(ground, run, State::new(settings)))
    }

    /// Goes on with a run. Candidates that are marked are tested again if `rerun` says so, and otherwise left alone;
    /// the baseline always is, for nothing can go on without it.
    pub fn resume(
        ground: Ground<'a>,
        run: &Run,
        settings: Settings,
        rerun: bool,
    ) -> Result<Self, EvolveError> {
        let run = run.id;
        ground.runtime.block_on(ground.store.resume_run(run, Owner::this_process(), false))?;
        let evolution = Self::with(ground, run, State::new(settings));
        let candidates = evolution.ground.runtime.block_on(evolution.ground.store.candidates(run))?;
        evolution.read_back(&candidates, rerun)?;
        evolution.missing_versions(&candidates)?;
        let (tested, marked) = (evolution.state().tested, marked(&candidates));
        (evolution.ground.tell)(&Event::Resumed { run, tested, marked });
        Ok(evolution)
    }

    fn read_back(&self, candidates: &[Candidate], rerun: bool) -> Result<(), EvolveError> {
        let mut state = self.state();
        let bench = self.ground.bench;
        state.ordinal = candidates.len() as u64;
        let ranks: HashMap<u64, f64> =
            candidates.iter().filter_map(|c| Some((c.number, bench.rank(measured(c)?)))).collect();
        let current: Vec<&Candidate> = candidates.iter().filter(|c| !c.replaced).collect();
        let skipped = current.len().saturating_sub(RECENT);
        for (at, it) in current.iter().enumerate() {
            state.ids.insert(it.number, (it.id.clone(), it.generation));
            Arc::make_mut(&mut state.known).insert(it.code_hash.clone());
            state.dollars += it.proposal_cost.dollars;
            let is_baseline = it.proposer == TASK;
            if it.status == Status::Running && self.is_elsewhere(it)? {
                if is_baseline {
                    state.baseline = Baseline::UnderWay;
                }
                state.awaited.push_back(it.id.clone());
            } else if is_baseline {
                state.baseline = if measured(it).is_some() { Baseline::There } else { Baseline::Wanted };
                if state.baseline == Baseline::Wanted && !it.rerun {
                    let ids = std::slice::from_ref(&it.id);
                    self.ground.runtime.block_on(self.ground.store.mark_for_rerun(ids))?;
                }
            } else if it.rerun {
                if rerun {
                    state.again.push_back(it.id.clone());
                }
            } else if it.status != Status::Running {
                state.tested += 1;
            }
            let Some(result) = self.became(&state, it, &ranks, at >= skipped)? else { continue };
            if let Some(failure) = it.failure.as_ref().filter(|_| matches!(result, Became::Failed(_))) {
                let seen = Seen { first: it.number, fixed: None };
                state.seen.entry(failure.signature.clone()).or_insert(seen);
            }
            if let (Some(mended), Became::Measured { .. }) = (&it.repair_of, &result) {
                let failure =
                    current.iter().find(|c| c.number == mended.number()).and_then(|c| c.failure.as_ref());
                if let Some(seen) = failure.and_then(|failure| state.seen.get_mut(&failure.signature)) {
                    seen.fixed.get_or_insert((it.number, it.change.clone()));
                }
            }
            Arc::make_mut(&mut state.history).push(Tried {
                number: it.number,
                change: it.change.clone(),
                repair_of: it.repair_of.as_ref().map(coroner_store::ExperimentId::number),
                result,
            });
        }
        self.best_of(&mut state, &current, &ranks)
    }

    /// Is it tested by a worker on another host, or waits for one?
    fn is_elsewhere(&self, it: &Candidate) -> Result<bool, EvolveError> {
        let experiment = self.ground.runtime.block_on(self.ground.store.numbered(it.number))?;
        Ok(experiment.owner.as_ref().is_some_and(is_in_a_queue))
    }

    /// What came of it; nothing if it has no end that says anything.
    fn became(
        &self,
        state: &State,
        it: &Candidate,
        ranks: &HashMap<u64, f64>,
        whole: bool,
    ) -> Result<Option<Became>, EvolveError> {
        if let (Some(rank), Some(_)) = (ranks.get(&it.number), measured(it)) {
            let parent = it.parents.first().and_then(|parent| ranks.get(&parent.number()));
            return Ok(Some(Became::Measured {
                rank: *rank,
                better: parent.is_some_and(|parent| rank > parent),
            }));
        }
        let Some(failure) = it.failure.as_ref().filter(|_| it.status == Status::TestFailed) else {
            return Ok(None);
        };
        if failure.origin != Origin::Candidate {
            return Ok(Some(Became::NotItsFault));
        }
        let told = match self.diagnosis(it, whole)? {
            Some(diagnosis) => {
                let raw: Vec<&str> = diagnosis.evidence.iter().map(|item| item.text.as_str()).collect();
                state.told(Some(&diagnosis), &raw.join("\n"), self.ground.bench.code_name())
            }
            None => Told::Nothing,
        };
        Ok(Some(Became::Failed(told)))
    }

    fn diagnosis(&self, it: &Candidate, wanted: bool) -> Result<Option<Diagnosis>, EvolveError> {
        if !wanted {
            return Ok(None);
        }
        Ok(self.result(it)?.and_then(|result| result.failure_analysis))
    }

    fn result(&self, it: &Candidate) -> Result<Option<EvolutionResult>, EvolveError> {
        let record = self.ground.runtime.block_on(self.ground.store.candidate(&it.id))?;
        let result = record.and_then(|record| record.result);
        Ok(result.and_then(|result| serde_json::from_value(result).ok()))
    }

    /// The population and the best, with their code.
    fn best_of(
        &self,
        state: &mut State,
        current: &[&Candidate],
        ranks: &HashMap<u64, f64>,
    ) -> Result<(), EvolveError> {
        let mut good: Vec<(&&Candidate, f64)> =
            current.iter().filter_map(|c| Some((c, *ranks.get(&c.number)?))).collect();
        good.sort_by(|a, b| b.1.total_cmp(&a.1));
        let adopted = good.iter().find(|(it, _)| it.status == Status::Adopted);
        if let Some((it, rank)) = adopted {
            let held_out = self.result(it)?.map(|result| result.held_out).unwrap_or_default();
            let metrics = it.metrics.clone();
            state.best = Some(Standing { number: it.number, metrics, held_out, rank: *rank });
            state.best_score = it.score;
        }
        // in the order in which they came, as they were added the first time
        good.truncate(SIZE * 2);
        good.sort_by_key(|(it, _)| it.number);
        for (it, rank) in good {
            let code = self.ground.runtime.block_on(self.ground.store.candidate_code(&it.id))?;
            state.population.add(Member {
                number: it.number,
                code: String::from_utf8_lossy(&code).into_owned(),
                metrics: it.metrics.clone(),
                rank,
                remark: it.failure.as_ref().map(|failure| failure.root_cause.clone()),
            });
        }
        Ok(())
    }

    /// A program that was adopted just before we were killed may have no file yet.
    fn missing_versions(&self, candidates: &[Candidate]) -> Result<(), EvolveError> {
        let Some(versions) = &self.ground.versions else { return Ok(()) };
        let there = versions.all()?;
        for it in candidates.iter().filter(|c| c.status == Status::Adopted) {
            if there.iter().any(|v| (v.run, v.experiment) == (self.run.number(), it.number)) {
                continue;
            }
            let code = self.ground.runtime.block_on(self.ground.store.candidate_code(&it.id))?;
            let parents = it.parents.first().map(coroner_store::ExperimentId::number).into_iter().collect();
            let code = String::from_utf8_lossy(&code).into_owned();
            self.version(&it.id, parents, &it.change, it.score, &it.metrics, &code)?;
        }
        Ok(())
    }
}

/// The score of one that was measured and is no failure.
fn measured(it: &Candidate) -> Option<f64> {
    it.score.filter(|_| matches!(it.status, Status::Adopted | Status::Rejected))
}

fn marked(candidates: &[Candidate]) -> Vec<u64> {
    candidates.iter().filter(|c| c.rerun && !c.replaced).map(|c| c.number).collect()
}

/// The settings that a run was started with, if they can be read.
#[must_use]
pub fn settings_of(run: &Run) -> Option<Settings> {
    serde_json::from_value(run.settings.clone()).ok()
}
