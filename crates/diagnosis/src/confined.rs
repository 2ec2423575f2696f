//! What a sandbox did around a run: what protected the machine, and what it refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::Verdict;
use crate::terms::{Category, Origin, Severity};
use crate::verdict::Placed;

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
    /// It was ended because we were asked to: then the signal that it ended with is not its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
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

/// A kind of refusal: its calls, and what a program prints whose call was refused.
struct Kind {
    rule: &'static str,
    calls: &'static [&'static str],
    words: &'static [&'static str],
    cause: &'static str,
    fix: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        rule: "sandbox.network",
        calls: &["socket", "connect", "bind"],
        words: &[
            "operation not permitted",
            "permissionerror",
            "permission denied",
            "network is unreachable",
            "name resolution",
            "name or service not known",
            "could not resolve",
            "couldn't resolve",
            "connection refused",
            "connection error",
            "connectionerror",
            "urlopen error",
            "max retries exceeded",
            "failed to establish",
            "failed to connect",
            "could not connect",
        ],
        cause: "It wanted to use the network, which the sandbox forbids",
        fix: "Give it the data in files that it can read, or, if it is to be trusted, run it without the sandbox.",
    },
    Kind {
        rule: "sandbox.processes",
        calls: &["fork", "vfork", "clone"],
        words: &[
            "operation not permitted",
            "permissionerror",
            "can't fork",
            "cannot fork",
            "failed to fork",
            "resource temporarily",
        ],
        cause: "It wanted to start a process of its own, which the sandbox forbids",
        fix: "Do the work in the same process, with threads if need be (num_workers=0, n_jobs=1).",
    },
    Kind {
        rule: "sandbox.system-call",
        calls: &[],
        words: &["operation not permitted", "permissionerror", "function not implemented"],
        cause: "It wanted something of the system that the sandbox forbids",
        fix: "Do without it, or, if the program is to be trusted, run it without the sandbox.",
    },
];

impl Confined {
    /// Could nothing from outside have sent it a signal? Where processes are out of its sight it is out of theirs, but for
    /// the machine's administrator.
    pub(crate) fn kept_signals_out(&self) -> bool {
        !self.stopped && matches!(self.level.as_str(), "A" | "B" | "C")
    }

    /// The verdict, if a refused call is what the weightiest fault is about. A refusal alone proves nothing: programs try
    /// things and go on.
    pub(crate) fn verdict(&self, faults: &[Placed<'_>]) -> Option<Verdict> {
        let fault = faults.first()?;
        let text = fault.text().to_ascii_lowercase();
        let of = |kind: &Kind| {
            // sockets of the machine itself are asked for in passing, for a log or a name
            let by_kind = |denied: &&Denied| {
                kind.calls.contains(&denied.call.as_str())
                    && !denied.detail.starts_with(['/', '@'])
                    && !denied.detail.starts_with("AF_UNIX")
            };
            let any = |denied: &&Denied| KINDS.iter().all(|kind| !kind.calls.contains(&denied.call.as_str()));
            let mut denied = self.denied.iter();
            if kind.calls.is_empty() { denied.find(any) } else { denied.find(by_kind) }
        };
        let (kind, denied) = KINDS
            .iter()
            .filter(|kind| kind.words.iter().any(|word| text.contains(word)))
            .find_map(|kind| Some((kind, of(kind)?)))?;
        let (origin, whose) = if self.rules_were_known {
            (Origin::Candidate, "; it had been told so")
        } else {
            (Origin::Policy, "")
        };
        let about = if denied.detail.is_empty() { String::new() } else { format!(" {}", denied.detail) };
        Some(Verdict {
            rule: kind.rule.to_owned(),
            category: if kind.rule == "sandbox.network" {
                Category::ResourceError
            } else {
                Category::RuntimeError
            },
            severity: Severity::High,
            origin,
            retryable: false,
            confidence: 0.9,
            cause: format!("{} ({}{about}){}{whose}.", kind.cause, denied.call, fault.at()),
            fix: kind.fix.to_owned(),
            line: (!fault.in_error).then(|| fault.line()),
        })
    }
}
