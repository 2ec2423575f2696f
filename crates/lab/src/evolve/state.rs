//! What the loop knows at a moment, and what it does next: no store, no clock, no threads.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use coroner_diagnosis::{Diagnosis, Origin};
use coroner_store::{ExperimentId, Feedback, Status};
use fastrand::Rng;

use super::breaker::{Breaker, Trip};
use super::population::Population;
use super::{Over, Settings, Standing};
use crate::propose::{Became, Brief, Edit, Errand, Lesson, Member, Mending, Told, Tried, mix};

/// Other programs in a brief.
const OTHERS: usize = 12;
/// Proposals in a row that came to nothing before the search is given up.
const PATIENCE: u32 = 60;

/// Everything that is shared between the workers.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) population: Population,
    pub(super) history: Arc<Vec<Tried>>,
    pub(super) known: Arc<HashSet<String>>,
    /// Failures that are to be mended, with what they came from.
    pub(super) repairs: VecDeque<Repair>,
    /// Candidates that are to be tested again.
    pub(super) again: VecDeque<ExperimentId>,
    /// Candidates that are tested elsewhere since before this process began.
    pub(super) awaited: VecDeque<ExperimentId>,
    pub(super) breaker: Breaker,
    /// Experiments by their number, with their steps from the first.
    pub(super) ids: HashMap<u64, (ExperimentId, u32)>,
    /// When each failure was seen first, and what got past it.
    pub(super) seen: HashMap<String, Seen>,
    pub(super) baseline: Baseline,
    pub(super) best: Option<Standing>,
    pub(super) best_score: Option<f64>,
    /// Candidates that have ended, the baseline not counted.
    pub(super) tested: u64,
    pub(super) under_way: u64,
    pub(super) ordinal: u64,
    pub(super) dollars: f64,
    pub(super) in_vain: u32,
    pub(super) over: Option<Over>,
}

/// How far the first candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Baseline {
    Wanted,
    UnderWay,
    There,
}

/// A failure that is to be mended.
#[derive(Debug, Clone)]
pub(super) struct Repair {
    pub(super) mending: Mending,
    pub(super) parent: Arc<Member>,
}

/// A signature's story in this run.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) first: u64,
    pub(super) fixed: Option<(u64, String)>,
}

/// What a worker is to do.
pub(super) enum Job {
    Baseline,
    Again(ExperimentId),
    Await(ExperimentId),
    Propose(Box<Brief>),
}

/// What there is for a worker.
pub(super) enum Next {
    Do(Job),
    /// Nothing until something changes.
    Wait,
    Over,
}

/// A candidate that has ended, as far as learning goes.
pub(super) struct Ended<'a> {
    pub(super) id: &'a ExperimentId,
    pub(super) hash: &'a str,
    pub(super) code: &'a str,
    pub(super) change: &'a str,
    pub(super) edits: &'a [Edit],
    pub(super) parent: Option<&'a Arc<Member>>,
    pub(super) repair: Option<&'a Mending>,
    /// It is one of those that were asked for, and not the baseline.
    pub(super) counts: bool,
    pub(super) status: Status,
    pub(super) metrics: &'a std::collections::BTreeMap<String, f64>,
    pub(super) held_out: &'a std::collections::BTreeMap<String, f64>,
    pub(super) rank: Option<f64>,
    pub(super) score: Option<f64>,
    pub(super) diagnosis: Option<&'a Diagnosis>,
    pub(super) raw: &'a str,
    pub(super) code_name: &'a str,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            breaker: Breaker::new(settings.breaker),
            settings,
            population: Population::default(),
            history: Arc::default(),
            known: Arc::default(),
            repairs: VecDeque::new(),
            again: VecDeque::new(),
            awaited: VecDeque::new(),
            ids: HashMap::new(),
            seen: HashMap::new(),
            baseline: Baseline::Wanted,
            best: None,
            best_score: None,
            tested: 0,
            under_way: 0,
            ordinal: 0,
            dollars: 0.0,
            in_vain: 0,
            over: None,
        }
    }

    /// What a worker is to do now. Whatever it is given it must bring back with [`Self::back`].
    pub(super) fn next(&mut self, errand: &Arc<Errand>, advice: &dyn Fn() -> String) -> Next {
        if self.over.is_some() {
            return Next::Over;
        }
        if let Some(id) = self.awaited.pop_front() {
            self.under_way += 1;
            return Next::Do(Job::Await(id));
        }
        match self.baseline {
            Baseline::Wanted => {
                self.baseline = Baseline::UnderWay;
                return Next::Do(Job::Baseline);
            }
            Baseline::UnderWay => return Next::Wait,
            Baseline::There => {}
        }
        if let Some(limit) = self.settings.dollars.filter(|limit| self.dollars >= *limit) {
            self.over = Some(Over::OverBudget(format!("${:.2} of ${limit:.2} are spent", self.dollars)));
            return Next::Over;
        }
        if let Some(id) = self.again.pop_front() {
            return Next::Do(Job::Again(id));
        }
        if self.tested + self.under_way >= self.settings.generations {
            if self.under_way > 0 {
                return Next::Wait;
            }
            self.over = Some(Over::Done);
            return Next::Over;
        }
        if self.in_vain >= PATIENCE {
            self.over = Some(Over::Exhausted(format!("{PATIENCE} proposals in a row were nothing new")));
            return Next::Over;
        }
        let Some(brief) = self.brief(errand, advice) else {
            self.over = Some(Over::Baseline("there is no program to go on from".to_owned()));
            return Next::Over;
        };
        self.under_way += 1;
        Next::Do(Job::Propose(Box::new(brief)))
    }

    /// The worker has brought back what it was given.
    pub(super) fn back(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    fn brief(&mut self, errand: &Arc<Errand>, advice: &dyn Fn() -> String) -> Option<Brief> {
        self.ordinal += 1;
        let mut rng = Rng::with_seed(mix(self.settings.seed ^ 0x5eed, self.ordinal));
        let repair = self.repairs.pop_front();
        let parent = match &repair {
            Some(repair) => Arc::clone(&repair.parent),
            None => Arc::clone(self.population.choose(&mut rng)?),
        };
        let told = self.settings.feedback == Feedback::Diagnosis;
        Some(Brief {
            errand: Arc::clone(errand),
            seed: self.settings.seed,
            ordinal: self.ordinal,
            feedback: self.settings.feedback,
            others: self.population.others(parent.number, OTHERS, &mut rng),
            parent,
            repair: repair.map(|repair| Arc::new(repair.mending)),
            history: Arc::clone(&self.history),
            known: Arc::clone(&self.known),
            advice: if told { advice() } else { String::new() },
        })
    }

    /// What a failure is told as.
    pub(super) fn told(&self, diagnosis: Option<&Diagnosis>, raw: &str, code_name: &str) -> Told {
        match (self.settings.feedback, diagnosis) {
            (Feedback::None, _) | (_, None) => Told::Nothing,
            (Feedback::Raw, _) => Told::Raw(raw.to_owned()),
            (Feedback::Diagnosis, Some(diagnosis)) => {
                Told::Lesson(Box::new(Lesson::of(diagnosis, code_name)))
            }
        }
    }

    /// "same as exp 42, fixed in exp 57 by ..."
    fn repeated(&self, signature: &str, number: u64) -> Option<String> {
        let seen = self.seen.get(signature).filter(|seen| seen.first != number)?;
        Some(match &seen.fixed {
            Some((fixed, change)) => format!("same as exp {}, fixed in exp {fixed} by {change}", seen.first),
            None => format!("same as exp {}, which nothing has fixed yet", seen.first),
        })
    }

    /// Learns from a candidate that has ended. Says if the failure was one too often, and whether it was there before.
    pub(super) fn learn(&mut self, it: &Ended<'_>) -> (Option<Trip>, Option<String>) {
        let number = it.id.number();
        let generation =
            it.parent.and_then(|p| self.ids.get(&p.number)).map_or(0, |(_, generation)| generation + 1);
        self.ids.insert(number, (it.id.clone(), generation));
        Arc::make_mut(&mut self.known).insert(it.hash.to_owned());
        self.tested += u64::from(it.counts);
        let trip =
            self.breaker.note(it.hash, it.id, it.diagnosis.filter(|_| it.status == Status::TestFailed));
        let mut repeated = None;
        let result = match (it.status, it.rank) {
            (Status::Adopted | Status::Rejected, Some(rank)) => {
                self.measured(it, rank);
                Became::Measured { rank, better: it.parent.is_some_and(|parent| rank > parent.rank) }
            }
            _ if it.diagnosis.is_some_and(|diagnosis| diagnosis.origin != Origin::Candidate) => {
                Became::NotItsFault
            }
            _ => {
                let mut told = self.told(it.diagnosis, it.raw, it.code_name);
                if let Some(diagnosis) = it.diagnosis {
                    repeated = self.repeated(&diagnosis.signature, number);
                    self.seen
                        .entry(diagnosis.signature.clone())
                        .or_insert(Seen { first: number, fixed: None });
                }
                if let Told::Lesson(lesson) = &mut told {
                    lesson.repeated.clone_from(&repeated);
                }
                self.plan_repair(it, told.clone());
                Became::Failed(told)
            }
        };
        if matches!(result, Became::Measured { .. }) {
            self.fixed(it, number);
        }
        Arc::make_mut(&mut self.history).push(Tried {
            number,
            change: it.change.to_owned(),
            repair_of: it.repair.map(|mending| mending.number),
            result,
        });
        (trip, repeated)
    }

    fn measured(&mut self, it: &Ended<'_>, rank: f64) {
        let number = it.id.number();
        self.population.add(Member {
            number,
            code: it.code.to_owned(),
            metrics: it.metrics.clone(),
            rank,
            remark: it.diagnosis.map(|diagnosis| diagnosis.root_cause.clone()),
        });
        // of two that were better at the same moment, on two hosts, the better one is the best
        if it.status == Status::Adopted && self.best.as_ref().is_none_or(|best| rank > best.rank) {
            self.best =
                Some(Standing { number, metrics: it.metrics.clone(), held_out: it.held_out.clone(), rank });
            self.best_score = it.score;
        }
    }

    /// What a repair got past is known to be mended by it.
    fn fixed(&mut self, it: &Ended<'_>, number: u64) {
        let Some(mending) = it.repair else { return };
        if let Told::Lesson(lesson) = &mending.told
            && let Some(seen) = self.seen.get_mut(&lesson.signature)
            && seen.fixed.is_none()
        {
            seen.fixed = Some((number, it.change.to_owned()));
        }
    }

    /// A failure is mended as long as its rounds last; without feedback nobody knows what there is to mend.
    fn plan_repair(&mut self, it: &Ended<'_>, told: Told) {
        let round = it.repair.map_or(1, |mending| mending.round + 1);
        let (Some(parent), false) = (it.parent, told == Told::Nothing) else { return };
        if round > self.settings.repairs {
            return;
        }
        self.repairs.push_back(Repair {
            parent: Arc::clone(parent),
            mending: Mending {
                number: it.id.number(),
                code: it.code.to_owned(),
                edits: it.edits.to_vec(),
                round,
                told,
            },
        });
    }
}
