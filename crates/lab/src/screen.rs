//! Looks at a candidate before it runs: can it be parsed, and does it keep to the policy. Advice for the diagnosis; what
//! protects the machine is the sandbox.

use serde::{Deserialize, Serialize};

/// Something that the screening found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule of the policy that refused it, or `syntax`.
    pub rule: String,
    /// As the original said it: "Forbidden import: os", "Syntax error on line 3: ...".
    pub message: String,
    /// Why the rule is there.
    pub why: String,
    /// 1-based.
    pub line: u64,
    /// 1-based, in characters.
    pub column: u64,
    /// The offending text.
    pub text: String,
    /// Why this looks like a fault of the policy and not of the candidate, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<String>,
}
