//! A policy in the words in which a planner is told of it.

use super::Policy;

/// So many names of a rule are told.
const SHOWN: usize = 12;

impl Policy {
    /// What is forbidden and why, a line for each rule.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let list =
            |words: &[String]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let mut lines = Vec::new();
        if self.allow_modules.contains("*") {
            lines.push("any module may be imported that no rule below names".to_owned());
        } else {
            let allowed: Vec<String> = self.allow_modules.iter().cloned().collect();
            lines.push(format!("only these modules may be imported: {}", list(&allowed)));
        }
        if let Some(builtins) = &self.allow_builtins {
            let allowed: Vec<String> = builtins.iter().cloned().collect();
            lines.push(format!("only these built-ins may be used: {}", list(&allowed)));
        }
        if !self.allow_async {
            lines.push("no `async` and no `await`".to_owned());
        }
        for rule in &self.rules {
            let mut refused = rule.names.clone();
            refused.extend(rule.modules.iter().cloned());
            refused.extend(rule.attributes.iter().map(|name| format!(".{name}")));
            refused.extend(rule.calls.iter().map(|call| format!("{}()", call.path())));
            if !refused.is_empty() {
                let shown = refused.len().min(SHOWN);
                let more = if refused.len() > shown { " and the like" } else { "" };
                lines.push(format!("not {}{more}: {}", list(&refused[..shown]), rule.why));
            }
        }
        lines
    }
}
