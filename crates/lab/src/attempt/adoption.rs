//! Whether a result counts, and whether a candidate is taken over: pure functions of figures that code of ours measured.

use std::collections::BTreeMap;

use coroner_diagnosis::{Judgement, JudgementKind};
use serde::{Deserialize, Serialize};

use crate::task::{Direction, Evaluator, Identical, Task};

/// What was measured, by name.
pub type Metrics = BTreeMap<String, f64>;

/// What a result is compared with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The metrics of other code: the parent's, or the last one's. Not to be given for the same code.
    #[serde(default)]
    pub previous: Option<Metrics>,
    /// Whose they are, for the diagnosis ("exp 42").
    #[serde(default)]
    pub previous_name: String,
    /// The metrics of the best so far.
    #[serde(default)]
    pub best: Option<Metrics>,
    /// What the best so far reached on the inputs that are held out.
    #[serde(default)]
    pub best_held_out: Option<Metrics>,
}

/// Does a result count: is it whole, finite, possible, and not the same as other code's? What is worth a remark comes back.
///
/// # Errors
/// Why it does not.
pub fn assess(task: &Task, metrics: &Metrics, standing: &Standing) -> Result<Option<String>, Judgement> {
    counts(task, metrics)?;
    if !standing.previous.as_ref().is_some_and(|previous| same(metrics, previous)) {
        return Ok(None);
    }
    let name = &standing.previous_name;
    match task.adoption.identical {
        Identical::Fail => Err(Judgement { detail: name.clone(), ..about(task, JudgementKind::Identical) }),
        Identical::Suspicious => {
            let of = if name.is_empty() { "other code" } else { name.as_str() };
            Ok(Some(format!("every metric is the same to the last digit as that of {of}")))
        }
        Identical::Ok => Ok(None),
    }
}

/// Is a result that counts to be taken over? By how much it is better comes back, as a part of the best so far; nothing for
/// the first.
///
/// # Errors
/// Why it is not.
pub fn accept(task: &Task, metrics: &Metrics, standing: &Standing) -> Result<Option<f64>, Judgement> {
    good_enough(task, metrics)?;
    better(task, metrics, standing.best.as_ref())
}

/// The same for what was measured on the inputs that are held out: as good as the task requires, and no worse than the
/// best so far was there.
///
/// # Errors
/// Why not.
pub fn accept_held_out(task: &Task, metrics: &Metrics, best: Option<&Metrics>) -> Result<(), Judgement> {
    let held_out = |judgement: Judgement| Judgement { held_out: true, ..judgement };
    counts(task, metrics).and_then(|()| good_enough(task, metrics)).map_err(held_out)?;
    let name = &task.adoption.metric;
    if let (Some(value), Some(best)) = (metrics.get(name), best.and_then(|best| best.get(name)))
        && gain(task.metrics[name].direction, *value, *best) < 0.0
    {
        return Err(held_out(figures(task, JudgementKind::NotBetter, name, *value, *best)));
    }
    Ok(())
}

/// Is everything there that the task declares, finite, and no better than can be?
///
/// # Errors
/// The first thing that is wrong, in the order of how much it says.
pub fn counts(task: &Task, metrics: &Metrics) -> Result<(), Judgement> {
    if let Some(name) = task.metrics.keys().find(|name| !metrics.contains_key(*name)) {
        let there: Vec<&str> = metrics.keys().map(String::as_str).collect();
        let detail = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
        return Err(Judgement {
            metric: Some(name.clone()),
            detail,
            ..about(task, JudgementKind::MissingMetric)
        });
    }
    // the declared ones first: what else the evaluator tells must be finite too
    let declared = task.metrics.keys().filter_map(|name| metrics.get_key_value(name));
    let others = metrics.iter().filter(|(name, _)| !task.metrics.contains_key(*name));
    if let Some((name, value)) = declared.chain(others).find(|(_, value)| !value.is_finite()) {
        let judgement = about(task, JudgementKind::NotANumber);
        return Err(Judgement { metric: Some(name.clone()), value: Some(*value), ..judgement });
    }
    for (name, metric) in &task.metrics {
        let value = metrics[name];
        // what is worse than possible is no success, so nobody has to be warned of it
        let bound = match metric.direction {
            Direction::Higher => metric.possible.max.filter(|max| value > *max),
            Direction::Lower => metric.possible.min.filter(|min| value < *min),
        };
        if let Some(bound) = bound.or_else(|| metric.possible.broken(value)) {
            return Err(figures(task, JudgementKind::Impossible, name, value, bound));
        }
    }
    Ok(())
}

/// Does it meet what the task requires?
///
/// # Errors
/// The first metric that does not.
pub fn good_enough(task: &Task, metrics: &Metrics) -> Result<(), Judgement> {
    for (name, metric) in &task.metrics {
        let Some(value) = metrics.get(name) else { continue };
        if let Some(bound) = metric.require.broken(*value) {
            return Err(figures(task, JudgementKind::BelowThreshold, name, *value, bound));
        }
    }
    Ok(())
}

/// By how much is it better than the best so far?
///
/// # Errors
/// It is not, or by less than the task asks for.
pub fn better(task: &Task, metrics: &Metrics, best: Option<&Metrics>) -> Result<Option<f64>, Judgement> {
    let name = &task.adoption.metric;
    let (Some(value), Some(best)) = (metrics.get(name), best.and_then(|best| best.get(name))) else {
        return Ok(None);
    };
    let direction = task.metrics[name].direction;
    let gain = gain(direction, *value, *best);
    if gain > 0.0 && gain >= task.adoption.improve {
        return Ok(Some(gain));
    }
    // what would have done
    let step = best.abs() * task.adoption.improve;
    let bound = match direction {
        Direction::Higher => best + step,
        Direction::Lower => best - step,
    };
    Err(figures(task, JudgementKind::NotBetter, name, *value, bound))
}

/// How much better `value` is than `best`, as a part of `best`; below 0 it is worse. Where the best is 0 any improvement is
/// a whole one.
#[must_use]
pub fn gain(direction: Direction, value: f64, best: f64) -> f64 {
    let difference = match direction {
        Direction::Higher => value - best,
        Direction::Lower => best - value,
    };
    if best == 0.0 {
        return if difference == 0.0 { 0.0 } else { difference.signum() };
    }
    difference / best.abs()
}

/// Is every metric the same to the last digit?
fn same(one: &Metrics, other: &Metrics) -> bool {
    !one.is_empty()
        && one.len() == other.len()
        && one.iter().all(|(name, value)| other.get(name).is_some_and(|v| is_same(*v, *value)))
}

/// A figure that was written as JSON and read again may differ in its last bit.
fn is_same(one: f64, other: f64) -> bool {
    one.to_bits() == other.to_bits() || (one - other).abs() <= 2.0 * f64::EPSILON * one.abs()
}

fn about(task: &Task, kind: JudgementKind) -> Judgement {
    Judgement { self_reported: matches!(task.evaluator, Evaluator::Command(_)), ..Judgement::new(kind) }
}

fn figures(task: &Task, kind: JudgementKind, name: &str, value: f64, bound: f64) -> Judgement {
    Judgement { metric: Some(name.to_owned()), value: Some(value), bound: Some(bound), ..about(task, kind) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(more: &str) -> Task {
        let text = format!(
            "name = 't'\n[evaluator]\ncommand = ['x']\n[metrics.score]\ndirection = 'higher'\npossible = {{ max = 100 }}\n\
             require = {{ min = 1 }}\n[metrics.size]\ndirection = 'lower'\npossible = {{ min = 0.5 }}\n[adoption]\nmetric = 'score'\n{more}"
        );
        Task::parse(&text, std::path::Path::new("/t/task.toml")).unwrap()
    }

    fn metrics(score: f64, size: f64) -> Metrics {
        Metrics::from([("score".to_owned(), score), ("size".to_owned(), size)])
    }

    fn judged(task: &Task, metrics: &Metrics, standing: &Standing) -> Result<Option<f64>, JudgementKind> {
        let judged = assess(task, metrics, standing).and_then(|_| accept(task, metrics, standing));
        judged.map_err(|judgement| judgement.kind)
    }

    #[test]
    fn what_does_not_count_is_no_success_however_good_it_looks() {
        let task = task("");
        let standing = Standing::default();
        for (given, expected) in [
            (metrics(5.0, 2.0), None),
            (Metrics::from([("score".to_owned(), 5.0)]), Some(JudgementKind::MissingMetric)),
            (Metrics::new(), Some(JudgementKind::MissingMetric)),
            (metrics(f64::NAN, 2.0), Some(JudgementKind::NotANumber)),
            (metrics(f64::INFINITY, 2.0), Some(JudgementKind::NotANumber)),
            (metrics(101.0, 2.0), Some(JudgementKind::Impossible)),
            (metrics(5.0, 0.0), Some(JudgementKind::Impossible)),
            (metrics(0.5, 2.0), Some(JudgementKind::BelowThreshold)),
        ] {
            assert_eq!(judged(&task, &given, &standing).err(), expected, "{given:?}");
        }
        let mut extra = metrics(5.0, 2.0);
        extra.insert("more".to_owned(), f64::NAN);
        assert_eq!(judged(&task, &extra, &standing), Err(JudgementKind::NotANumber));
    }

    #[test]
    fn other_code_with_the_same_figures_is_what_the_task_says() {
        let standing = Standing {
            previous: Some(metrics(5.0, 2.0)),
            previous_name: "exp 7".into(),
            ..Standing::default()
        };
        let judgement = assess(&task(""), &metrics(5.0, 2.0), &standing).unwrap_err();
        assert_eq!((judgement.kind, judgement.detail.as_str()), (JudgementKind::Identical, "exp 7"));
        let remark = assess(&task("identical = 'suspicious'"), &metrics(5.0, 2.0), &standing).unwrap();
        assert!(remark.unwrap().contains("exp 7"));
        assert_eq!(assess(&task("identical = 'ok'"), &metrics(5.0, 2.0), &standing), Ok(None));
        assert_eq!(assess(&task(""), &metrics(5.0, 2.000_001), &standing), Ok(None));
    }

    #[test]
    fn the_best_so_far_is_to_be_beaten_by_as_much_as_the_task_asks() {
        let standing = |score| Standing { best: Some(metrics(score, 2.0)), ..Standing::default() };
        let task = task("improve = 0.1");
        let gained = accept(&task, &metrics(11.0, 2.0), &standing(10.0)).unwrap().unwrap();
        assert!((gained - 0.1).abs() < 1e-9);
        let judgement = accept(&task, &metrics(10.9, 2.0), &standing(10.0)).unwrap_err();
        assert_eq!((judgement.kind, judgement.bound), (JudgementKind::NotBetter, Some(11.0)));
        assert_eq!(gain(Direction::Lower, 9.0, 10.0), 0.1);
        assert_eq!(gain(Direction::Lower, 0.0, 0.0), 0.0);
        assert_eq!(gain(Direction::Higher, 0.1, 0.0), 1.0);
        assert_eq!(gain(Direction::Higher, -4.0, -5.0), 0.2);
    }

    #[test]
    fn held_out_inputs_have_the_last_word() {
        let task = task("");
        let best = metrics(10.0, 2.0);
        let accepted = |score| accept_held_out(&task, &metrics(score, 2.0), Some(&best));
        assert_eq!(accepted(10.0), Ok(()));
        for (score, expected) in [
            (9.0, JudgementKind::NotBetter),
            (0.1, JudgementKind::BelowThreshold),
            (f64::NAN, JudgementKind::NotANumber),
        ] {
            let judgement = accepted(score).unwrap_err();
            assert!(judgement.held_out && judgement.kind == expected, "{judgement:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_figures_there_is_a_decision(score in any::<f64>(), size in any::<f64>(), best in any::<f64>()) {
            let task = task("improve = 0.01");
            let standing = Standing { best: Some(metrics(best, size)), ..Standing::default() };
            if let Ok(improvement) = judged(&task, &metrics(score, size), &standing) {
                prop_assert!(score.is_finite() && size.is_finite() && (1.0..=100.0).contains(&score));
                prop_assert!(improvement.is_none_or(|gain| gain > 0.0));
            }
            let _ = accept_held_out(&task, &metrics(score, size), Some(&metrics(best, size)));
        }
    }
}
