//! A task: what candidates are for, how they are measured, in what environment, and what is good enough. A TOML file and
//! the files beside it; nothing of it is a candidate's.

mod error;
mod file;
mod ground;
mod key;
mod python;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::TaskError;
pub use ground::{Ground, Machine};
pub use python::Python;

use crate::sandbox::{Level, Limits};
use crate::screen::Policy;

/// The process of an entry point that names none.
pub const ONE_PROCESS: &str = "candidate";

/// A task as its file says, with every path resolved and every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What a candidate is to do, in words for whoever writes one.
    pub description: String,
    /// The file that it was read from.
    pub file: PathBuf,
    /// The first candidate, which is the baseline.
    pub seed: Option<PathBuf>,
    /// The functions that a candidate must have; empty for a command.
    pub entry_points: Vec<EntryPoint>,
    /// What measures a candidate.
    pub evaluator: Evaluator,
    /// What candidate and evaluator run on.
    pub environment: Environment,
    /// What the screening lets pass.
    pub policy: PolicyChoice,
    /// What each process of a candidate may use. `wall` is the time that it may take to answer, all calls together.
    pub limits: Limits,
    /// The weakest sandbox that will do.
    pub level: Level,
    /// What is measured.
    pub metrics: BTreeMap<String, Metric>,
    /// When a candidate is taken over.
    pub adoption: Adoption,
    /// A folder of building blocks for the built-in proposer.
    pub blocks: Option<PathBuf>,
}

/// A function that a candidate must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPoint {
    /// Its name.
    pub name: String,
    /// Its parameters and what it returns, for whoever writes one.
    pub signature: String,
    /// The process that it runs in; those of another process can't share memory with it.
    pub process: String,
}

/// What measures a candidate.
#[derive(Debug, Clone, PartialEq)]
pub enum Evaluator {
    /// Python that calls the candidate across a border: its figures can be trusted.
    Python(PythonEvaluator),
    /// A command that runs the candidate and prints its metrics: as trustworthy as the candidate itself.
    Command(CommandEvaluator),
}

/// An evaluator in Python.
#[derive(Debug, Clone, PartialEq)]
pub struct PythonEvaluator {
    /// The file with `evaluate(candidate, inputs)`.
    pub file: PathBuf,
    /// Further files and folders that it sees beside itself.
    pub files: Vec<PathBuf>,
    /// What it may use; `wall` is its own time, without the time that the candidate takes.
    pub limits: Limits,
    /// May it start processes?
    pub forks: bool,
    /// Bytes of one answer of the candidate.
    pub largest_answer: u64,
    /// What it finds in `task.config`.
    pub config: serde_json::Value,
    /// Its data.
    pub data: Data,
}

/// A candidate that is run as a program.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandEvaluator {
    /// Program and arguments; `{candidate}`, or the candidate's name alone, is the candidate's file, `{inputs}` its inputs.
    pub command: Vec<String>,
    /// The name of the candidate's file ("candidate.py").
    pub candidate: String,
    /// May it start processes?
    pub forks: bool,
    /// Its data.
    pub data: Data,
}

/// The data that is measured on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Data {
    /// A script that makes it, run once with the environment's Python and the folder to fill as its argument.
    pub prepare: Option<PathBuf>,
    /// A folder: of what `prepare` made, or beside the task file.
    pub inputs: Option<PathBuf>,
    /// Another, which is only measured when a candidate would be taken over.
    pub held_out: Option<PathBuf>,
}

/// What candidate and evaluator run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Versions of Python that will do.
    pub python: Requirement,
    /// Packages as pip takes them ("numpy==2.2.6").
    pub packages: Vec<String>,
}

/// What the screening lets pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyChoice {
    /// A policy of the task's own.
    pub file: Option<PathBuf>,
    /// Modules on top of it, or of the built-in one.
    pub allow_modules: Vec<String>,
}

/// A figure of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Metric {
    /// Which is better.
    pub direction: Direction,
    /// What can be at all: beyond it is no success but a fault of the measurement.
    pub possible: Bounds,
    /// What is good enough.
    pub require: Bounds,
}

/// Which figure is the better one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The smaller one.
    Lower,
    /// The larger one.
    #[default]
    Higher,
}

/// A range; both ends belong to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The smallest.
    pub min: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

impl Bounds {
    /// The bound that a value breaks, if it breaks one. One that is not a number breaks none.
    #[must_use]
    pub fn broken(&self, value: f64) -> Option<f64> {
        self.min.filter(|min| value < *min).or(self.max.filter(|max| value > *max))
    }
}

/// When a candidate is taken over.
#[derive(Debug, Clone, PartialEq)]
pub struct Adoption {
    /// The metric that is compared.
    pub metric: String,
    /// By how much it has to be better than the best so far, as a part of it; at 0 any improvement will do.
    pub improve: f64,
    /// What other code with the very same metrics is.
    pub identical: Identical,
}

/// What it means when other code gives the very same metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identical {
    /// A failure: the change changed nothing, or was never run.
    #[default]
    Fail,
    /// Worth a remark.
    Suspicious,
    /// To be expected, where metrics are coarse.
    Ok,
}

/// Versions of Python that will do: ">=3.9", ">=3.10,<3.13", "3.11".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    text: String,
    parts: Vec<(Comparison, Vec<u32>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    Above,
    AtMost,
    Below,
    Same,
    Other,
}

impl Requirement {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence that says how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` names no versions of Python; write it as \">=3.9\", \">=3.10,<3.13\" or \"3.11\""
            )
        };
        let mut parts = Vec::new();
        for part in text.split(',').map(str::trim) {
            let digits = part.find(|c: char| c.is_ascii_digit()).ok_or_else(wrong)?;
            let (sign, version) = part.split_at(digits);
            let comparison = match sign.trim() {
                ">=" => Comparison::AtLeast,
                ">" => Comparison::Above,
                "<=" => Comparison::AtMost,
                "<" => Comparison::Below,
                "" | "==" => Comparison::Same,
                "!=" => Comparison::Other,
                _ => return Err(wrong()),
            };
            let version = version.strip_suffix(".*").unwrap_or(version);
            let numbers: Option<Vec<u32>> = version.split('.').map(|n| n.parse().ok()).collect();
            parts.push((comparison, numbers.ok_or_else(wrong)?));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Will this version do? "3.11" is met by every 3.11.
    #[must_use]
    pub fn is_met_by(&self, version: [u32; 3]) -> bool {
        self.parts.iter().all(|(comparison, wanted)| {
            let same = wanted.iter().zip(version).all(|(wanted, is)| *wanted == is);
            let order = version.iter().copied().cmp(wanted.iter().copied().chain([0; 3]).take(3));
            match comparison {
                Comparison::AtLeast => order.is_ge(),
                Comparison::Above => order.is_gt() && !same,
                Comparison::AtMost => order.is_le() || same,
                Comparison::Below => order.is_lt(),
                Comparison::Same => same,
                Comparison::Other => !same,
            }
        })
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.text)
    }
}

impl Task {
    /// Reads a task file and checks it and the files that it names. Runs nothing.
    ///
    /// # Errors
    /// What is wrong with it, where, and what to do.
    pub fn load(path: &Path) -> Result<Self, TaskError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TaskError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// The same for a text that stands in `path`.
    ///
    /// # Errors
    /// What is wrong with it, where, and what to do.
    pub fn parse(text: &str, path: &Path) -> Result<Self, TaskError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        file::read(text, &path)
    }

    /// The folder that paths start from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }

    /// The processes of a candidate, in the order of their first entry point.
    #[must_use]
    pub fn processes(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for point in &self.entry_points {
            if !names.contains(&point.process.as_str()) {
                names.push(&point.process);
            }
        }
        names
    }

    /// The entry points as they are written down for whoever writes a candidate: "def name(parameters) -> result".
    #[must_use]
    pub fn signatures(&self) -> Vec<String> {
        self.entry_points.iter().map(|point| format!("def {}{}", point.name, point.signature)).collect()
    }

    /// Is a candidate Python, so that it can be screened?
    #[must_use]
    pub fn is_python(&self) -> bool {
        match &self.evaluator {
            Evaluator::Python(_) => true,
            Evaluator::Command(command) => {
                Path::new(&command.candidate).extension().is_some_and(|extension| extension == "py")
            }
        }
    }

    /// The data that is measured on.
    #[must_use]
    pub fn data(&self) -> &Data {
        match &self.evaluator {
            Evaluator::Python(evaluator) => &evaluator.data,
            Evaluator::Command(command) => &command.data,
        }
    }

    /// The longest that one test of a candidate can take, held-out inputs not counted.
    #[must_use]
    pub fn longest(&self) -> Duration {
        match &self.evaluator {
            Evaluator::Command(_) => self.limits.wall,
            Evaluator::Python(evaluator) => {
                let processes = u32::try_from(self.processes().len()).unwrap_or(u32::MAX);
                self.limits.wall.saturating_mul(processes).saturating_add(evaluator.limits.wall)
            }
        }
    }

    /// The policy that candidates are screened with.
    ///
    /// # Errors
    /// What is wrong with the policy file, and where.
    pub fn screening_policy(&self) -> Result<Policy, TaskError> {
        let mut policy = match &self.policy.file {
            None => Policy::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| TaskError::Unreadable { path: path.clone(), source })?;
                Policy::parse(&text, &path.display().to_string())?
            }
        };
        policy.allow(&self.policy.allow_modules);
        Ok(policy)
    }

    /// The value of the metric that is compared.
    #[must_use]
    pub fn score(&self, metrics: &BTreeMap<String, f64>) -> Option<f64> {
        metrics.get(&self.adoption.metric).copied()
    }
}

#[cfg(test)]
mod tests;
