//! Which failures are worth a message, and to which channels.

use std::time::Duration;

use coroner_diagnosis::{Category, Origin, Severity};

use super::event::Failure;

/// What is worth a message. Every condition that is given must hold; an empty list holds always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// What messages call it.
    pub name: String,
    /// How bad.
    pub severity: Vec<Severity>,
    /// What kind of failure.
    pub category: Vec<Category>,
    /// Whose fault.
    pub origin: Vec<Origin>,
    /// The caller's names for the kind of run.
    pub types: Vec<String>,
    /// Only the first of a group that was ever seen, and the first after it was resolved.
    pub new: bool,
    /// Only once so many have come within so long.
    pub rate: Option<(u32, Duration)>,
    /// Failures of the loop's candidates that are the candidates' own fault, too: failing is what most of them are for.
    pub candidates: bool,
    /// Not failures, but runs of the loop that something else than the candidates has stopped.
    pub loop_stopped: bool,
    /// To whom, by name; to all if empty.
    pub channels: Vec<String>,
}

impl Rule {
    /// What holds where somebody has named a channel and no rule.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        let named = |name: &str| Self { name: name.to_owned(), ..Self::default() };
        vec![
            Self { severity: vec![Severity::Critical], ..named("critical") },
            Self { severity: vec![Severity::High], new: true, ..named("new") },
            Self { loop_stopped: true, ..named("loop stopped") },
        ]
    }

    pub(super) fn speaks_to(&self, channel: &str) -> bool {
        self.channels.is_empty() || self.channels.iter().any(|name| name == channel)
    }

    /// Does it hold of this failure, whatever the rate?
    pub(super) fn fits(&self, it: &Failure) -> bool {
        fn holds<T: PartialEq>(any: &[T], of: &T) -> bool {
            any.is_empty() || any.contains(of)
        }
        !self.loop_stopped
            && holds(&self.severity, &it.severity)
            && holds(&self.category, &it.category)
            && holds(&self.origin, &it.origin)
            && holds(&self.types, &it.kind)
            && (!self.new || it.is_new || it.reopened)
            && (self.candidates || !(it.of_loop && it.origin == Origin::Candidate))
    }
}
