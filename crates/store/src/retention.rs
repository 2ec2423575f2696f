//! What is kept and for how long, and what a clean-up removed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What `prune` keeps. Nothing is removed by default. What runs is never touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Experiments that started earlier are removed with their diagnoses and logs.
    pub max_age: Option<Duration>,
    /// Logs of experiments that started earlier are removed; the experiments stay.
    pub max_log_age: Option<Duration>,
    /// While the logs take more bytes on disk than this, the oldest are removed.
    pub max_log_bytes: Option<u64>,
    /// Which logs of runs that succeeded are kept.
    pub passed_logs: PassedLogs,
    /// Kept replies of models are removed after this.
    pub max_reply_age: Option<Duration>,
}

/// Which logs of runs that succeeded are kept. They are what failures are compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassedLogs {
    /// All.
    #[default]
    All,
    /// The newest of each command.
    Newest,
    /// None.
    None,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Experiments.
    pub experiments: u64,
    /// Logs.
    pub logs: u64,
    /// What those logs took on disk.
    pub log_bytes: u64,
    /// Kept replies of models.
    pub replies: u64,
    /// Files of ours that nothing referred to: left behind by a crash.
    pub stray_files: u64,
    /// What could not be removed, and why.
    pub problems: Vec<String>,
}
