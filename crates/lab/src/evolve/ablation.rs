//! What feedback is worth: the same search with nothing, with the raw error and with the diagnosis, side by side, a step of
//! each in turn, with the same seeds and the same number of candidates.

use std::time::{Duration, Instant};

use coroner_diagnosis::Origin;
use coroner_store::{Feedback, Status};
use serde::Serialize;

use super::resume::TASK;
use super::run::{Evolution, Step};
use super::{EvolveError, Over};

/// One search with one kind of feedback and one seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lane {
    /// What was told of failures.
    pub feedback: Feedback,
    /// Where random numbers began.
    pub seed: u64,
    /// Candidates that were tested, without the baseline.
    pub candidates: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that failed by their own fault.
    pub own_fault: u64,
    /// Failures whose signature had been seen in this lane before.
    pub repeated: u64,
    /// Repairs that were tried, and those of them that were measured.
    pub repairs: u64,
    /// See `repairs`.
    pub mended: u64,
    /// Candidates until the first that did not fail, that one included.
    pub first_success: Option<u64>,
    /// Candidates until the first that was better than the baseline.
    pub first_improvement: Option<u64>,
    /// Seconds until then, of this lane's own.
    pub seconds_to_improvement: Option<f64>,
    /// Seconds in all, of this lane's own.
    pub seconds: f64,
    /// The score of the baseline.
    pub baseline: Option<f64>,
    /// The score of the last that was taken over.
    pub best: Option<f64>,
    /// Why it ended, if not because all were tested.
    pub ended: Option<String>,
    /// It was asked to end.
    pub asked: bool,
}

/// The middle and both ends of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Of how many.
    pub of: usize,
}

impl Spread {
    /// Of these; none of none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        (count > 0).then(|| Self {
            mean: values.iter().sum::<f64>() / count as f64,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            of: count,
        })
    }
}

/// All lanes, and what they come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ablation {
    /// The task's name.
    pub task: String,
    /// Candidates of each lane.
    pub generations: u64,
    /// Every lane.
    pub lanes: Vec<Lane>,
    /// A line for each kind of feedback.
    pub modes: Vec<Mode>,
}

/// What one kind of feedback comes to over all seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mode {
    /// Which.
    pub feedback: Feedback,
    /// The share of candidates that failed.
    pub failed: Option<Spread>,
    /// Failures that had been seen before, as a share of the candidates.
    pub repeated: Option<Spread>,
    /// Candidates until the first that did not fail.
    pub first_success: Option<Spread>,
    /// Candidates until the first that was better than the baseline.
    pub first_improvement: Option<Spread>,
    /// Seconds until then.
    pub seconds_to_improvement: Option<Spread>,
    /// The best score.
    pub best: Option<Spread>,
    /// Seconds in all.
    pub seconds: Option<Spread>,
}

impl Ablation {
    /// Sums up.
    #[must_use]
    pub fn over(task: &str, generations: u64, lanes: Vec<Lane>) -> Self {
        let modes = Feedback::ALL
            .into_iter()
            .map(|feedback| {
                let of = |value: &dyn Fn(&Lane) -> Option<f64>| {
                    let values: Vec<f64> =
                        lanes.iter().filter(|lane| lane.feedback == feedback).filter_map(value).collect();
                    Spread::of(&values)
                };
                let share = |part: u64, lane: &Lane| {
                    (lane.candidates > 0).then(|| part as f64 / lane.candidates as f64)
                };
                Mode {
                    feedback,
                    failed: of(&|lane| share(lane.failed, lane)),
                    repeated: of(&|lane| share(lane.repeated, lane)),
                    first_success: of(&|lane| lane.first_success.map(|n| n as f64)),
                    first_improvement: of(&|lane| lane.first_improvement.map(|n| n as f64)),
                    seconds_to_improvement: of(&|lane| lane.seconds_to_improvement),
                    best: of(&|lane| lane.best),
                    seconds: of(&|lane| Some(lane.seconds)),
                }
            })
            .collect();
        Self { task: task.to_owned(), generations, lanes, modes }
    }
}

/// Takes a step of each run in turn until all are over. `done` hears how many candidates have been tested in all.
pub fn ablate(runs: &[Evolution<'_>], done: &dyn Fn(u64)) -> Result<Vec<Lane>, EvolveError> {
    let mut clocks: Vec<Clock> = runs.iter().map(|_| Clock::default()).collect();
    let mut open = runs.len();
    let mut all = 0;
    while open > 0 {
        open = 0;
        for (run, clock) in runs.iter().zip(&mut clocks) {
            if clock.over {
                continue;
            }
            let begun = Instant::now();
            let step = run.step()?;
            clock.spent += begun.elapsed();
            clock.over = step == Step::Over;
            let (tested, best) = {
                let state = run.state();
                (state.tested, state.best.as_ref().map(|best| best.number))
            };
            if clock.baseline.is_none() {
                clock.baseline = best;
            } else if clock.improved.is_none() && best != clock.baseline {
                clock.improved = Some((tested, clock.spent));
            }
            open += usize::from(!clock.over);
            all += tested - clock.tested;
            clock.tested = tested;
            done(all);
        }
    }
    runs.iter().zip(clocks).map(|(run, clock)| lane(run, &clock)).collect()
}

#[derive(Debug, Default)]
struct Clock {
    spent: Duration,
    over: bool,
    tested: u64,
    baseline: Option<u64>,
    improved: Option<(u64, Duration)>,
}

fn lane(run: &Evolution<'_>, clock: &Clock) -> Result<Lane, EvolveError> {
    let over = run.end()?;
    let candidates = run.ground.runtime.block_on(run.ground.store.candidates(run.run))?;
    let settings = run.settings();
    let tested: Vec<_> = candidates.iter().filter(|c| c.proposer != TASK && !c.replaced).collect();
    let failed = |origin: Option<Origin>| {
        let failures = tested.iter().filter(|c| c.status == Status::TestFailed);
        failures.filter(|c| origin.is_none_or(|o| c.failure.as_ref().is_some_and(|f| f.origin == o))).count()
            as u64
    };
    let mut seen = std::collections::HashSet::new();
    let repeated = tested
        .iter()
        .filter(|c| c.status == Status::TestFailed)
        .filter_map(|c| c.failure.as_ref())
        .filter(|failure| !seen.insert(failure.signature.clone()))
        .count() as u64;
    let measured = |status: Status| matches!(status, Status::Adopted | Status::Rejected);
    let repairs: Vec<_> = tested.iter().filter(|c| c.repair_of.is_some()).collect();
    let state = run.state();
    Ok(Lane {
        feedback: settings.feedback,
        seed: settings.seed,
        candidates: tested.len() as u64,
        failed: failed(None),
        own_fault: failed(Some(Origin::Candidate)),
        repeated,
        repairs: repairs.len() as u64,
        mended: repairs.iter().filter(|c| measured(c.status)).count() as u64,
        first_success: tested.iter().position(|c| measured(c.status)).map(|at| at as u64 + 1),
        first_improvement: clock.improved.map(|(tested, _)| tested),
        seconds_to_improvement: clock.improved.map(|(_, spent)| spent.as_secs_f64()),
        seconds: clock.spent.as_secs_f64(),
        baseline: candidates.iter().find(|c| c.proposer == TASK).and_then(|c| c.score),
        best: state.best_score,
        asked: over == Over::Asked,
        ended: match over {
            Over::Done => None,
            Over::Asked => Some("stopped".to_owned()),
            Over::OverBudget(why) | Over::Exhausted(why) | Over::Baseline(why) => Some(why),
            Over::Broken(trip) => Some(format!("{}: {}", trip.origin, trip.root_cause)),
        },
    })
}
