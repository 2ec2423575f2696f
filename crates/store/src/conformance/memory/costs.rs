//! What failures cost, by looking at every experiment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coroner_diagnosis::Origin;
use jiff::Timestamp;

use super::State;
use crate::cost::Span;
use crate::{
    Costs, Experiment, Listed, PassedAfter, PolicyRefusals, Scope, SignatureCost, Status, Taken, TopQuery,
    Within,
};

impl State {
    fn is_within(&self, key: i64, within: &Within) -> bool {
        let e = &self.experiments[&key].listed;
        let of_scope = match &within.scope {
            Scope::All => true,
            Scope::Type(name) => e.experiment_type == *name,
            Scope::Run(id) => self.lab.candidates.get(&key).is_some_and(|it| it.new.run == *id),
        };
        of_scope && Span::of(within).is_none_or(|span| span.holds(e.started_at))
    }

    fn within<'a>(&'a self, within: &'a Within) -> impl DoubleEndedIterator<Item = (i64, &'a Experiment)> {
        let all = self.experiments.iter().map(|(key, e)| (*key, e));
        all.filter(|(key, e)| e.listed.status != Status::Running && self.is_within(*key, within))
    }

    fn taken(&self, key: i64) -> Taken {
        let e = &self.experiments[&key];
        let proposal = self.lab.candidates.get(&key).map_or(0.0, |it| it.new.proposal_cost.dollars);
        Taken {
            experiments: 1,
            wall: e.listed.duration.unwrap_or_default(),
            cpu: e.exit.as_ref().and_then(|exit| exit.cpu).unwrap_or(Duration::ZERO),
            dollars: proposal + e.diagnosis.as_ref().and_then(|d| d.cost_usd).unwrap_or(0.0),
        }
    }

    /// What got past a candidate's failure.
    pub(super) fn candidate_passed_after(&self, key: i64) -> Option<PassedAfter> {
        let failed = &self.experiments[&key].listed;
        let measured = |key: i64| {
            let outcome = self.lab.candidates[&key].outcome.as_ref();
            self.experiments[&key].listed.status == Status::Rejected
                && outcome.is_some_and(|o| !o.metrics.is_empty())
        };
        let found = |passed: &Listed, change: &str| PassedAfter {
            failed: failed.id.clone(),
            failed_command: failed.command.clone(),
            passed: passed.id.clone(),
            passed_command: passed.command.clone(),
            passed_at: passed.started_at,
            change: Some(change.to_owned()),
        };
        let again = self.lab.candidates.keys().find(|other| {
            let e = &self.experiments[other].listed;
            e.id.name() == failed.id.name()
                && e.id.attempt() > failed.id.attempt()
                && (e.status.succeeded() || measured(**other))
        });
        if let Some(again) = again {
            return Some(found(&self.experiments[again].listed, ""));
        }
        let mut parents = vec![failed.id.clone()];
        for _ in 0..3 {
            let mut children = Vec::new();
            for (key, it) in &self.lab.candidates {
                if !it.new.parents.iter().chain(&it.new.repair_of).any(|parent| parents.contains(parent)) {
                    continue;
                }
                let e = &self.experiments[key].listed;
                let signature = |e: &Listed| e.analysis.as_ref().map(|a| a.signature.clone());
                let ran = failed.status != Status::Rejected && measured(*key);
                if e.status.succeeded() || ran && signature(e) != signature(failed) {
                    return Some(found(e, &it.new.change));
                }
                children.push(e.id.clone());
            }
            parents = children;
        }
        None
    }
}

pub(super) fn costs(state: &State, within: &Within) -> Costs {
    let mut costs = Costs::over(within);
    let mut causes = BTreeSet::new();
    for (key, e) in state.within(within) {
        let analysis = e.listed.analysis.as_ref();
        let (category, origin) = (analysis.map(|a| a.category), analysis.map(|a| a.origin));
        if costs.add(e.listed.status, category, origin, &state.taken(key)) {
            causes.extend(analysis.map(|a| a.signature.clone()));
        }
    }
    costs.signatures = causes.len() as u64;
    costs
}

pub(super) fn top(state: &State, query: &TopQuery) -> Vec<SignatureCost> {
    let mut causes: BTreeMap<(usize, Origin), (Taken, Vec<i64>)> = BTreeMap::new();
    for (key, e) in state.within(&query.within).filter(|(_, e)| query.counts(e.listed.status)) {
        if let Some(a) = &e.listed.analysis
            && query.origin.is_none_or(|wanted| wanted == a.origin)
        {
            let place = state.seen.iter().position(|signature| *signature == a.signature).unwrap();
            let (taken, keys) = causes.entry((place, a.origin)).or_default();
            taken.add(&state.taken(key));
            keys.insert(0, key);
        }
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by(|((a, _), (x, _)), ((b, _), (y, _))| query.order.compare(x, y).then(b.cmp(a)));
    let named = causes.into_iter().take(query.limit).map(|(_, (taken, keys))| {
        let last = &state.experiments[&keys[0]].listed;
        let a = last.analysis.clone().unwrap();
        let passed = keys.iter().take(5).find_map(|key| state.passed_after(&state.experiments[key]));
        SignatureCost {
            signature: a.signature,
            category: a.category,
            severity: a.severity,
            origin: a.origin,
            root_cause: a.root_cause,
            fix_suggestion: a.fix_suggestion,
            last: last.id.clone(),
            last_number: last.id.number(),
            last_at: last.started_at,
            taken,
            fixed_by: passed.map(Into::into),
        }
    });
    named.collect()
}

pub(super) fn refusals(state: &State, since: Option<Timestamp>) -> Vec<PolicyRefusals> {
    let mut rules: BTreeMap<String, PolicyRefusals> = BTreeMap::new();
    for (key, it) in &state.lab.candidates {
        let at = state.experiments[key].listed.started_at;
        let refused: BTreeSet<_> = it.outcome.iter().flat_map(|o| &o.refused_by).collect();
        for rule in refused.into_iter().filter(|_| since.is_none_or(|since| at >= since)) {
            let none = PolicyRefusals { rule: rule.clone(), candidates: 0, last_at: at };
            let known = rules.entry(rule.clone()).or_insert(none);
            known.candidates += 1;
            known.last_at = known.last_at.max(at);
        }
    }
    let mut all: Vec<_> = rules.into_values().collect();
    all.sort_by(|a, b| b.candidates.cmp(&a.candidates).then_with(|| a.rule.cmp(&b.rule)));
    all
}
