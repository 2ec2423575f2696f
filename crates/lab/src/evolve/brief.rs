//! A task in the words that a proposer is given.

use crate::propose::Errand;
use crate::screen::Policy;
use crate::task::{Bounds, Direction, Task};

impl Errand {
    /// What a task says.
    #[must_use]
    pub fn of(task: &Task, policy: &Policy) -> Self {
        let mut goals = String::new();
        for (name, metric) in &task.metrics {
            let wanted = match metric.direction {
                Direction::Lower => "lower is better",
                Direction::Higher => "higher is better",
            };
            let decides = if *name == task.adoption.metric { "; this one decides" } else { "" };
            let must = range(metric.require).map_or_else(String::new, |range| format!("; must be {range}"));
            let can = range(metric.possible)
                .map_or_else(String::new, |range| format!("; anything but {range} counts as a failure"));
            goals += &format!("- {name}: {wanted}{decides}{must}{can}\n");
        }
        let limits = &task.limits;
        Self {
            task: task.name.clone(),
            description: task.description.clone(),
            entry_points: task.entry_points.iter().map(|e| (e.name.clone(), e.signature.clone())).collect(),
            policy: policy.in_words().iter().map(|line| format!("- {line}\n")).collect(),
            goals,
            limits: format!(
                "{} on the clock, {} of processor time, {} of memory, {} processes; no network, no files",
                coroner_diagnosis::seconds(limits.wall),
                coroner_diagnosis::seconds(limits.cpu),
                coroner_diagnosis::bytes(limits.memory),
                limits.processes
            ),
        }
    }
}

fn range(bounds: Bounds) -> Option<String> {
    match (bounds.min, bounds.max) {
        (Some(min), Some(max)) => Some(format!("between {min} and {max}")),
        (Some(min), None) => Some(format!("at least {min}")),
        (None, Some(max)) => Some(format!("at most {max}")),
        (None, None) => None,
    }
}
