//! What a run has come to: the best and where it came from, what failed and whose fault it was, what that took.

use std::collections::{BTreeMap, HashMap, HashSet};

use coroner_diagnosis::{Category, Origin};
use coroner_store::{
    Candidate, Costs, RunId, Scope, SignatureCost, Status, Store, TopOrder, TopQuery, Within,
};
use serde::Serialize;

use super::resume::TASK;

/// So many causes are named.
const CAUSES: usize = 5;

/// A run in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Its number.
    pub run: u64,
    /// Candidates that have ended, the baseline included; those that were tested again count once.
    pub candidates: u64,
    /// Those that were taken over, the baseline included.
    pub adopted: u64,
    /// Those that ran but were not.
    pub rejected: u64,
    /// Those that failed.
    pub failed: u64,
    /// Of those, by kind.
    pub by_category: BTreeMap<Category, u64>,
    /// Of those, by fault.
    pub by_origin: BTreeMap<Origin, u64>,
    /// Failures whose signature had been seen in this run before.
    pub repeated: u64,
    /// Failures that were mended and then measured.
    pub mended: u64,
    /// Repairs that were tried.
    pub repairs: u64,
    /// Marked to be tested again.
    pub marked: Vec<u64>,
    /// The score of the baseline.
    pub baseline: Option<f64>,
    /// The best, with all that it came from, the latest first.
    pub lineage: Vec<Ancestor>,
    /// What failed most.
    pub causes: Vec<SignatureCost>,
    /// What everything took.
    pub costs: Costs,
}

/// One of the ancestors of the best.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ancestor {
    /// The experiment's short number.
    pub number: u64,
    /// By what it is compared.
    pub score: Option<f64>,
    /// What was changed.
    pub change: String,
    /// It was taken over.
    pub adopted: bool,
}

impl Summary {
    /// Of a run, as the store has it.
    pub async fn of(store: &Store, run: RunId) -> Result<Self, coroner_store::Error> {
        let candidates = store.candidates(run).await?;
        let within = Within { scope: Scope::Run(run), since: None, until: None };
        let query = TopQuery {
            within: within.clone(),
            origin: None,
            failures_only: true,
            order: TopOrder::Count,
            limit: CAUSES,
        };
        let causes = store.top_signatures(query).await?;
        let costs = store.costs(within).await?;
        Ok(Self::over(run.number(), &candidates, causes, costs))
    }

    fn over(run: u64, all: &[Candidate], causes: Vec<SignatureCost>, costs: Costs) -> Self {
        let current: Vec<&Candidate> = all.iter().filter(|c| !c.replaced).collect();
        let count = |status: Status| current.iter().filter(|c| c.status == status).count() as u64;
        let failures: Vec<&&Candidate> = current.iter().filter(|c| c.status == Status::TestFailed).collect();
        let mut by_category = BTreeMap::new();
        let mut by_origin = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut repeated = 0;
        for failure in failures.iter().filter_map(|c| c.failure.as_ref()) {
            *by_category.entry(failure.category).or_insert(0) += 1;
            *by_origin.entry(failure.origin).or_insert(0) += 1;
            repeated += u64::from(!seen.insert(&failure.signature));
        }
        let repairs: Vec<&&Candidate> = current.iter().filter(|c| c.repair_of.is_some()).collect();
        let measured = |c: &Candidate| matches!(c.status, Status::Adopted | Status::Rejected);
        Self {
            run,
            candidates: current.iter().filter(|c| c.status != Status::Running).count() as u64,
            adopted: count(Status::Adopted),
            rejected: count(Status::Rejected),
            failed: failures.len() as u64,
            by_category,
            by_origin,
            repeated,
            mended: repairs.iter().filter(|c| measured(c)).count() as u64,
            repairs: repairs.len() as u64,
            marked: current.iter().filter(|c| c.rerun).map(|c| c.number).collect(),
            baseline: current.iter().find(|c| c.proposer == TASK).and_then(|c| c.score),
            lineage: lineage(&current),
            causes,
            costs,
        }
    }

    /// Failed ones among those that have ended.
    #[must_use]
    pub fn share_failed(&self) -> f64 {
        if self.candidates == 0 { 0.0 } else { self.failed as f64 / self.candidates as f64 }
    }
}

/// From the one that was taken over last back to the baseline.
fn lineage(current: &[&Candidate]) -> Vec<Ancestor> {
    let by_number: HashMap<u64, &&Candidate> = current.iter().map(|c| (c.number, c)).collect();
    let mut next = current.iter().filter(|c| c.status == Status::Adopted).max_by_key(|c| c.number);
    let mut line: Vec<Ancestor> = Vec::new();
    while let Some(it) = next.filter(|c| line.iter().all(|a| a.number != c.number)) {
        line.push(Ancestor {
            number: it.number,
            score: it.score,
            change: it.change.clone(),
            adopted: it.status == Status::Adopted,
        });
        next = it.parents.first().and_then(|parent| by_number.get(&parent.number()).copied());
    }
    line
}
