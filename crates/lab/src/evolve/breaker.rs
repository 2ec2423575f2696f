//! Notices that it is not the candidates that fail.

use std::collections::VecDeque;

use coroner_diagnosis::{Diagnosis, Origin};
use coroner_store::ExperimentId;

/// It looks back over so many candidates for each that it takes: a fault that hits everybody is there at once, and one that
/// strikes three in a thousand is no reason to stop.
const LOOKS_BACK: usize = 10;

/// The same failure of several candidates, and the fault of none.
#[derive(Debug, Clone, PartialEq)]
pub struct Trip {
    /// The same for all of them.
    pub signature: String,
    /// Whose fault it is.
    pub origin: Origin,
    /// Why.
    pub root_cause: String,
    /// What to do.
    pub fix: String,
    /// Those that failed so; they are marked to be tested again.
    pub experiments: Vec<ExperimentId>,
}

/// Counts.
#[derive(Debug)]
pub(super) struct Breaker {
    after: usize,
    recent: VecDeque<(String, ExperimentId, Option<String>)>,
}

impl Breaker {
    pub(super) fn new(after: usize) -> Self {
        Self { after: after.max(1), recent: VecDeque::new() }
    }

    /// A candidate has ended. Says so if that was once too often.
    pub(super) fn note(
        &mut self,
        hash: &str,
        id: &ExperimentId,
        diagnosis: Option<&Diagnosis>,
    ) -> Option<Trip> {
        let outside = diagnosis.filter(|diagnosis| diagnosis.origin != Origin::Candidate);
        self.recent.push_back((hash.to_owned(), id.clone(), outside.map(|d| d.signature.clone())));
        if self.recent.len() > self.after * LOOKS_BACK {
            self.recent.pop_front();
        }
        let diagnosis = outside?;
        let mut alike: Vec<(&String, &ExperimentId)> = Vec::new();
        for (hash, id, signature) in &self.recent {
            if signature.as_ref() == Some(&diagnosis.signature)
                && !alike.iter().any(|(other, _)| *other == hash)
            {
                alike.push((hash, id));
            }
        }
        (alike.len() >= self.after).then(|| Trip {
            signature: diagnosis.signature.clone(),
            origin: diagnosis.origin,
            root_cause: diagnosis.root_cause.clone(),
            fix: diagnosis.fix_suggestion.clone(),
            experiments: alike.into_iter().map(|(_, id)| id.clone()).collect(),
        })
    }
}
