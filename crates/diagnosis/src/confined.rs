//! What a sandbox did around a run: what protected the machine, and what it refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What protected the machine from a run, and what came of that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confined {
    /// How much: A to D, A is the most (docs/sandbox.md).
    pub level: String,
    /// Each layer and what is known of it.
    #[serde(default)]
    pub layers: BTreeMap<String, String>,
    /// What was not protected, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unprotected: Vec<String>,
    /// System calls that were refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Denied>,
    /// Bytes of output that were not kept.
    #[serde(default)]
    pub output_dropped: u64,
    /// Processes that were left behind, and killed.
    #[serde(default)]
    pub survivors: u32,
    /// Whoever wrote the program had been told what it must not do: then trying it is the program's fault and not the
    /// policy's.
    #[serde(default)]
    pub rules_were_known: bool,
}

/// A system call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// Its name ("socket").
    pub call: String,
    /// What it was about, where that can be told ("AF_INET"); as the process claimed.
    pub detail: String,
    /// How often.
    pub count: u64,
}
