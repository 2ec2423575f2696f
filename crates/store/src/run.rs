//! A run of the lab's loop: one task, from its start to whatever ended it, resumed as often as need be.

use coroner_diagnosis::UnknownWord;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Owner;

/// A run of this store: a short number, which people type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub(crate) u64);

impl RunId {
    /// The number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for RunId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A run that is about to start.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The task's name, which is the type of all its experiments.
    pub task: String,
    /// Whatever is needed to go on where it stopped.
    pub settings: serde_json::Value,
    /// Where its random numbers begin.
    pub seed: u64,
    /// Who runs it.
    pub owner: Owner,
    /// When.
    pub started_at: Timestamp,
}

impl NewRun {
    /// The run that begins with it.
    #[cfg(any(test, feature = "aws"))]
    pub(crate) fn begun(self, id: RunId) -> Run {
        Run {
            id,
            task: self.task,
            settings: self.settings,
            seed: self.seed,
            owner: self.owner,
            started_at: self.started_at,
            state: RunState::Running,
            ended_at: None,
            reason: None,
        }
    }
}

/// How far a run has come. May be stored; the words never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It runs, or whoever ran it was killed.
    Running,
    /// It did what it was asked to do.
    Finished,
    /// A person ended it; it can be resumed.
    Stopped,
    /// Something that is not the candidates' fault ended it; it can be resumed once that is mended.
    Broken,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Running, Self::Finished, Self::Stopped, Self::Broken];

    /// The spelling in JSON and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Broken => "broken",
        }
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for RunState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SPELLINGS: [&str; 4] = ["running", "finished", "stopped", "broken"];
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownWord { text: text.to_owned(), expected: &SPELLINGS })
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// Anything but `Running`.
    pub state: RunState,
    /// Why, in words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A run as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// The run.
    pub id: RunId,
    /// The task's name.
    pub task: String,
    /// What it was started with.
    pub settings: serde_json::Value,
    /// Where its random numbers began.
    pub seed: u64,
    /// Who runs it, or ran it last.
    #[serde(skip)]
    pub owner: Owner,
    /// When it was started first.
    pub started_at: Timestamp,
    /// How far it has come.
    pub state: RunState,
    /// When it ended, if it did.
    pub ended_at: Option<Timestamp>,
    /// Why it ended, in words.
    pub reason: Option<String>,
}

impl Run {
    /// Does somebody else still run it, as far as can be told from here?
    #[must_use]
    pub fn is_held_by_another(&self, than: &Owner) -> bool {
        self.state == RunState::Running
            && self.owner != *than
            && self.owner.liveness() != crate::Liveness::Gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
        assert!("Running".parse::<RunState>().unwrap_err().to_string().contains("running, finished"));
        assert_eq!("17".parse::<RunId>().map(RunId::number), Ok(17));
    }
}
