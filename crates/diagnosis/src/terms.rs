//! The words of the contract: category, severity, origin, role, source. One table each gives every spelling.

/// A fieldless enum whose variants are spelt in one place: `Display`, `FromStr`, serde and `ALL` follow from it.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The spelling used in JSON, on the command line and in the store.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.as_str()) }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { text: text.to_owned(), expected: &[$($word),+] }),
                }
            }
        }
    };
}

/// A word that the contract does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is none of {}", .expected.join(", "))]
pub struct UnknownWord {
    /// What was given.
    pub text: String,
    /// What would have been understood.
    pub expected: &'static [&'static str],
}

words! {
    /// What kind of failure it was.
    Category {
        /// The source can't be parsed or compiled as text.
        SyntaxError = "syntax_error",
        /// A module, package, symbol or shared library can't be found or loaded at import or link time.
        ImportError = "import_error",
        /// Refused by a check before running.
        ValidationError = "validation_error",
        /// An exception or crash while executing that none of the others covers.
        RuntimeError = "runtime_error",
        /// A time limit exceeded, or hung until killed.
        Timeout = "timeout",
        /// Memory, disk, handles, quota or network exhausted or unavailable.
        ResourceError = "resource_error",
        /// Ran to its end, but the result is wrong or not good enough.
        LogicError = "logic_error",
    }
}

words! {
    /// How bad it is. The order is from the worst.
    Severity {
        /// The whole run, loop or infrastructure can't go on, or data is lost.
        Critical = "critical",
        /// This experiment can't succeed without a change.
        High = "high",
        /// Likely transient or partial.
        Medium = "medium",
        /// Ran fine but was not good enough, or cosmetic.
        Low = "low",
    }
}

words! {
    /// Whose fault it was.
    Origin {
        /// The experiment's own code or configuration.
        Candidate = "candidate",
        /// A rule of ours refused something legitimate.
        Policy = "policy",
        /// Evaluator, sandbox or loop.
        Harness = "harness",
        /// Machine, network, disk, quota.
        Infrastructure = "infrastructure",
        /// The language model's API or another remote service.
        Provider = "provider",
    }
}

words! {
    /// What a cited line is to the failure.
    Role {
        /// It says what went wrong.
        Cause = "cause",
        /// It is a consequence.
        Symptom = "symptom",
        /// It helps to read the others.
        Context = "context",
    }
}

words! {
    /// Where a cited line stands. A log is not code is not an error message.
    Source {
        /// The log.
        Log = "log",
        /// The error message that the caller gave.
        Error = "error",
        /// The candidate's code.
        Code = "code",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for c in Category::ALL {
            assert_eq!(c.as_str().parse::<Category>().unwrap(), *c);
            assert_eq!(serde_json::to_string(c).unwrap(), format!("\"{c}\""));
        }
        assert!(Severity::ALL.iter().all(|s| s.to_string().parse() == Ok(*s)));
        assert!(Origin::ALL.iter().all(|s| s.to_string().parse() == Ok(*s)));
        let wrong = "Timeout".parse::<Category>().unwrap_err();
        assert!(wrong.to_string().contains("`Timeout` is none of syntax_error, "), "{wrong}");
    }
}
