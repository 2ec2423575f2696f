//! The verdict on a candidate that was refused before it ran: an observed fact, so no text overrules it.

use crate::capture::Refusal;
use crate::record::Verdict;
use crate::signature::Signature;
use crate::terms::{Category, Origin, Severity};

impl Refusal {
    /// The id under which the verdict goes.
    fn id(&self) -> String {
        format!("screen.{}", self.rule)
    }

    /// Did a rule of the policy refuse it, and not Python or the task?
    fn is_of_policy(&self) -> bool {
        !matches!(self.rule.as_str(), "syntax" | "source" | "entry-point")
    }

    fn policy(&self) -> String {
        if self.policy == "built-in" { "the built-in policy".to_owned() } else { self.policy.clone() }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let message = self.message.trim_end_matches('.');
        let place = format!("line {}, column {}", self.line, self.column);
        let others = match self.others.as_slice() {
            [] => String::new(),
            [other] => format!(" It was refused for one more thing: {other}."),
            [first, rest @ ..] => {
                format!(" It was refused for {} more things, first: {first}.", rest.len() + 1)
            }
        };
        let cause = match &self.suspect {
            Some(suspect) => format!(
                "The policy is at fault, not the candidate: {message} ({place}), though {}. Rule {} of {} refused it.{others}",
                suspect.trim_end_matches('.'),
                self.rule,
                self.policy()
            ),
            None if self.is_of_policy() => {
                format!(
                    "{message} ({place}), refused by rule {} of {}. {}{others}",
                    self.rule,
                    self.policy(),
                    self.why
                )
            }
            // the message names the line
            None if self.category == Category::SyntaxError => {
                format!("{message} (column {}).{others}", self.column)
            }
            None => format!("{message}. {}{others}", self.why),
        };
        Verdict {
            rule: self.id(),
            category: self.category,
            severity: Severity::High,
            origin: if self.suspect.is_some() { Origin::Policy } else { Origin::Candidate },
            retryable: false,
            confidence: 0.98,
            cause,
            fix: self.fix.clone(),
            line: None,
        }
    }

    /// The same wherever in the candidate it stands.
    pub(crate) fn signature(&self) -> Signature {
        Signature::new(&self.id(), &self.message, None)
    }
}
