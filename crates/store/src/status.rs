//! How far an experiment has come: one table of words.

use coroner_diagnosis::UnknownWord;
use serde::{Deserialize, Serialize};

/// The state of an experiment. May be stored; the words never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has begun and has no end yet.
    Running,
    /// It ran and succeeded.
    Passed,
    /// It ran, or could not start, and failed.
    Failed,
    /// A candidate of the loop that failed its test.
    TestFailed,
    /// A candidate of the loop that ran but was not taken over.
    Rejected,
    /// A candidate of the loop that was taken over.
    Adopted,
    /// Its end was not seen: the process that watched it is gone.
    Lost,
}

/// The one table of spellings.
const WORDS: [(Status, &str); 7] = [
    (Status::Running, "running"),
    (Status::Passed, "passed"),
    (Status::Failed, "failed"),
    (Status::TestFailed, "test_failed"),
    (Status::Rejected, "rejected"),
    (Status::Adopted, "adopted"),
    (Status::Lost, "lost"),
];

const SPELLINGS: [&str; WORDS.len()] = {
    let mut all = [""; WORDS.len()];
    let mut i = 0;
    while i < WORDS.len() {
        all[i] = WORDS[i].1;
        i += 1;
    }
    all
};

impl Status {
    /// Every status.
    pub fn all() -> impl Iterator<Item = Self> {
        WORDS.iter().map(|(status, _)| *status)
    }

    /// The spelling in JSON, on the command line and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        WORDS[self as usize].1
    }

    /// Did it fail, or was its end not seen? What was only not good enough did not.
    #[must_use]
    pub fn failed(self) -> bool {
        matches!(self, Self::Failed | Self::TestFailed | Self::Lost)
    }

    /// Did it succeed? Such runs are what failures are compared with.
    #[must_use]
    pub fn succeeded(self) -> bool {
        matches!(self, Self::Passed | Self::Adopted)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Status {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let known = WORDS.iter().find(|(_, word)| *word == text).map(|(status, _)| *status);
        known.ok_or_else(|| UnknownWord { text: text.to_owned(), expected: &SPELLINGS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for status in Status::all() {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        }
        assert_eq!(Status::all().count(), 7);
        let wrong = "Passed".parse::<Status>().unwrap_err();
        assert!(wrong.to_string().contains("running, passed, failed, test_failed"), "{wrong}");
    }
}
