//! Status and verdict of an experiment in four letters: the names of counters and the partitions of indexes. Letters are
//! stored, and never change.

use coroner_diagnosis::{Category, Diagnosis, Origin, Severity};

use crate::{Query, Status};

/// Nothing was judged.
const NONE: char = '-';

const STATUSES: [(Status, char); 7] = [
    (Status::Running, 'r'),
    (Status::Passed, 'p'),
    (Status::Failed, 'f'),
    (Status::TestFailed, 't'),
    (Status::Rejected, 'j'),
    (Status::Adopted, 'a'),
    (Status::Lost, 'l'),
];
const CATEGORIES: [(Category, char); 7] = [
    (Category::SyntaxError, 's'),
    (Category::ImportError, 'i'),
    (Category::ValidationError, 'v'),
    (Category::RuntimeError, 'x'),
    (Category::Timeout, 't'),
    (Category::ResourceError, 'r'),
    (Category::LogicError, 'l'),
];
const SEVERITIES: [(Severity, char); 4] =
    [(Severity::Critical, 'c'), (Severity::High, 'h'), (Severity::Medium, 'm'), (Severity::Low, 'l')];
const ORIGINS: [(Origin, char); 5] = [
    (Origin::Candidate, 'c'),
    (Origin::Policy, 'p'),
    (Origin::Harness, 'h'),
    (Origin::Infrastructure, 'i'),
    (Origin::Provider, 'm'),
];

fn letter<T: PartialEq>(table: &[(T, char)], word: &T) -> char {
    table.iter().find(|(it, _)| it == word).map_or(NONE, |(_, letter)| *letter)
}

fn word<T: Copy>(table: &[(T, char)], letter: Option<char>) -> Option<T> {
    table.iter().find(|(_, it)| Some(*it) == letter).map(|(word, _)| *word)
}

/// One combination of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Words {
    pub(super) status: Status,
    pub(super) verdict: Option<(Category, Severity, Origin)>,
}

impl Words {
    pub(super) fn of(status: Status, diagnosis: Option<&Diagnosis>) -> Self {
        Self { status, verdict: diagnosis.map(|d| (d.failure_category, d.severity, d.origin)) }
    }

    pub(super) fn code(self) -> String {
        let mut code = String::with_capacity(4);
        code.push(letter(&STATUSES, &self.status));
        match &self.verdict {
            Some((category, severity, origin)) => code.extend([
                letter(&CATEGORIES, category),
                letter(&SEVERITIES, severity),
                letter(&ORIGINS, origin),
            ]),
            None => code.extend([NONE; 3]),
        }
        code
    }

    /// `None` for letters of a later release.
    pub(super) fn parse(code: &str) -> Option<Self> {
        let mut letters = code.chars();
        let status = word(&STATUSES, letters.next())?;
        let rest = [letters.next(), letters.next(), letters.next()];
        let verdict = match rest {
            [Some(NONE), ..] => None,
            [category, severity, origin] => {
                Some((word(&CATEGORIES, category)?, word(&SEVERITIES, severity)?, word(&ORIGINS, origin)?))
            }
        };
        Some(Self { status, verdict })
    }

    pub(super) fn fits(self, query: &Query) -> bool {
        query.status.is_none_or(|it| it == self.status)
            && query.category.is_none_or(|it| self.verdict.is_some_and(|(category, ..)| category == it))
            && query.severity.is_none_or(|it| self.verdict.is_some_and(|(_, severity, _)| severity == it))
            && query.origin.is_none_or(|it| self.verdict.is_some_and(|(.., origin)| origin == it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_reads_back() {
        let mut seen = std::collections::BTreeSet::new();
        for status in Status::all() {
            let mut verdicts = vec![None];
            for category in Category::ALL {
                for severity in Severity::ALL {
                    verdicts.extend(Origin::ALL.iter().map(|origin| Some((*category, *severity, *origin))));
                }
            }
            for verdict in verdicts {
                let words = Words { status, verdict };
                assert_eq!(Words::parse(&words.code()), Some(words));
                assert!(seen.insert(words.code()), "{words:?}");
            }
        }
        assert_eq!(seen.len(), 7 * (1 + 7 * 4 * 5));
        for unknown in ["", "f", "ft", "?---", "fzzz"] {
            assert_eq!(Words::parse(unknown), None, "{unknown}");
        }
    }
}
