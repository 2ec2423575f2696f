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
            policy: rules(policy),
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

/// What is forbidden and why, a line for each rule.
fn rules(policy: &Policy) -> String {
    let list = |words: &[String]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let mut out = String::new();
    if policy.allow_modules.contains("*") {
        out += "- any module may be imported that no rule below names\n";
    } else {
        let allowed: Vec<String> = policy.allow_modules.iter().cloned().collect();
        out += &format!("- only these modules may be imported: {}\n", list(&allowed));
    }
    if let Some(builtins) = &policy.allow_builtins {
        let allowed: Vec<String> = builtins.iter().cloned().collect();
        out += &format!("- only these built-ins may be used: {}\n", list(&allowed));
    }
    if !policy.allow_async {
        out += "- no `async` and no `await`\n";
    }
    for rule in &policy.rules {
        let mut refused = rule.names.clone();
        refused.extend(rule.modules.iter().cloned());
        refused.extend(rule.attributes.iter().map(|name| format!(".{name}")));
        refused.extend(rule.calls.iter().map(|call| format!("{}()", call.path())));
        if !refused.is_empty() {
            let shown = refused.len().min(12);
            let more = if refused.len() > shown { " and the like" } else { "" };
            out += &format!("- not {}{more}: {}\n", list(&refused[..shown]), rule.why);
        }
    }
    out
}
