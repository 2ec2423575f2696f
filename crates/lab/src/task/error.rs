//! What is wrong with a task file: where it stands, what it is, what to do.

use std::path::PathBuf;

/// A task that can't be used. Whoever wrote the task has to act; no candidate is to blame.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// There is no such file, or it can't be read.
    #[error("can't read {}: {source}", .path.display())]
    Unreadable {
        /// The task file, or its policy.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The policy can't be used.
    #[error(transparent)]
    Policy(#[from] crate::screen::PolicyError),
    /// No TOML.
    #[error("{}:{line}: {message}", .path.display())]
    Syntax {
        /// The task file.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A key that there is not.
    #[error("{}:{line}: unknown key `{key}`{}", .path.display(), suggestion(.nearest.as_deref(), .known))]
    UnknownKey {
        /// The task file.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// As it was written.
        key: String,
        /// The one that was probably meant.
        nearest: Option<String>,
        /// What there is in its place.
        known: Vec<String>,
    },
    /// A key that must be there.
    #[error("{}:{line}: `{key}` is missing: {advice}", .path.display())]
    Missing {
        /// The task file.
        path: PathBuf,
        /// 1-based; of the section that it belongs to.
        line: usize,
        /// With its section.
        key: String,
        /// What to write.
        advice: String,
    },
    /// A value that can't be.
    #[error("{}:{line}: `{key}`: {reason}", .path.display())]
    Value {
        /// The task file.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// With its section.
        key: String,
        /// What is wrong with it, and what to write instead.
        reason: String,
    },
}

fn suggestion(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(key) => format!("; did you mean `{key}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; there are {}", known.join(", ")),
    }
}
