//! The version of Python that a candidate is written for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version of Python: what syntax there is depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PythonVersion {
    /// 3.
    pub major: u8,
    /// 11 of 3.11.
    pub minor: u8,
}

impl Default for PythonVersion {
    /// What is assumed where no interpreter says otherwise.
    fn default() -> Self {
        Self { major: 3, minor: 11 }
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Not a version of Python 3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version of Python 3: write it like 3.11")]
pub struct NoVersion(String);

impl FromStr for PythonVersion {
    type Err = NoVersion;

    /// "3.11", "3.11.4", "Python 3.11.4".
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let number = text.trim().strip_prefix("Python ").unwrap_or(text.trim());
        let mut parts = number.split('.');
        let major = parts.next().and_then(|part| part.parse().ok());
        let minor = parts.next().and_then(|part| {
            // "3.15rc1"
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        match (major, minor) {
            (Some(3), Some(minor)) => Ok(Self { major: 3, minor }),
            _ => Err(NoVersion(text.trim().to_owned())),
        }
    }
}

impl TryFrom<String> for PythonVersion {
    type Error = NoVersion;

    fn try_from(text: String) -> Result<Self, NoVersion> {
        text.parse()
    }
}

impl From<PythonVersion> for String {
    fn from(version: PythonVersion) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_written() {
        for (text, expected) in [
            ("3.11", Some((3, 11))),
            ("Python 3.13.5\n", Some((3, 13))),
            ("3.15.0rc1", Some((3, 15))),
            ("3.15rc1", Some((3, 15))),
            ("2.7", None),
            ("3", None),
            ("", None),
        ] {
            let got = text.parse::<PythonVersion>().ok().map(|v| (v.major, v.minor));
            assert_eq!(got, expected, "{text}");
        }
    }
}
