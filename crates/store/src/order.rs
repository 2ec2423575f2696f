//! In which order a list is, and the place between two of its pages.

use coroner_diagnosis::{Category, Severity, UnknownWord};

use crate::Error;

/// By what experiments are sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SortBy {
    /// When they started.
    #[default]
    Started,
    /// How bad; the newest first among those that are as bad.
    Severity,
    /// What kind of failure, by name; the newest first in each.
    Category,
    /// How long they took.
    Duration,
    /// What was paid for models.
    Cost,
}

/// An order of the list. What has no value to sort by stands at its end, whichever way round it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sort {
    /// By what.
    pub by: SortBy,
    /// The largest, newest, worst first.
    pub descending: bool,
}

/// The one table of spellings.
const WORDS: [(SortBy, &str); 5] = [
    (SortBy::Started, "started"),
    (SortBy::Severity, "severity"),
    (SortBy::Category, "category"),
    (SortBy::Duration, "duration"),
    (SortBy::Cost, "cost"),
];

impl Default for Sort {
    fn default() -> Self {
        Self { by: SortBy::Started, descending: true }
    }
}

impl std::fmt::Display for Sort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = WORDS[self.by as usize].1;
        write!(f, "{}{word}", if self.descending { "-" } else { "" })
    }
}

impl std::str::FromStr for Sort {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let (word, descending) = text.strip_prefix('-').map_or((text, false), |word| (word, true));
        let known = WORDS.iter().find(|(_, spelling)| *spelling == word);
        let unknown = || UnknownWord { text: text.to_owned(), expected: &Self::WORDS };
        known.map(|(by, _)| Self { by: *by, descending }).ok_or_else(unknown)
    }
}

impl Sort {
    /// The spelling of every order.
    pub const WORDS: [&'static str; 2 * WORDS.len()] = [
        "-started",
        "started",
        "-severity",
        "severity",
        "-category",
        "category",
        "-duration",
        "duration",
        "-cost",
        "cost",
    ];

    /// Those that sort by a word, of which there are a few.
    pub(crate) fn is_by_word(self) -> bool {
        matches!(self.by, SortBy::Severity | SortBy::Category)
    }

    /// Among those with the same value: the newest first?
    pub(crate) fn newest_first(self) -> bool {
        self.descending || self.is_by_word()
    }

    /// The values of words in their order, what has none at the end.
    pub(crate) fn words_in_order(self) -> Vec<Option<i64>> {
        let count = if self.by == SortBy::Severity { Severity::ALL.len() } else { Category::ALL.len() };
        let mut all: Vec<_> = (0..count as i64).map(Some).collect();
        if self.descending {
            all.reverse();
        }
        all.push(None);
        all
    }
}

/// The worst is the largest.
pub(crate) fn severity_rank(severity: Severity) -> i64 {
    match severity {
        Severity::Low => 0,
        Severity::Medium => 1,
        Severity::High => 2,
        Severity::Critical => 3,
    }
}

/// Its place in the alphabet.
pub(crate) fn category_rank(category: Category) -> i64 {
    Category::ALL.iter().filter(|other| other.as_str() < category.as_str()).count() as i64
}

/// The place between two pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) sort: Sort,
    /// What the last experiment before it is sorted by.
    pub(crate) value: Option<i64>,
    /// Of that experiment.
    pub(crate) key: i64,
    /// Whether the search has gone over to beginnings of words: it stays with them.
    pub(crate) as_beginnings: bool,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let b = if self.as_beginnings { "b" } else { "" };
        if self.sort == Sort::default() {
            return write!(f, "c1{b}.{:x}", self.key);
        }
        let value = self.value.map_or("x".to_owned(), |value| format!("{value:x}"));
        write!(f, "c2{b}.{}.{value}.{:x}", self.sort, self.key)
    }
}

impl Cursor {
    /// A word that we gave, for a list in this order.
    pub(crate) fn parse(text: &str, sort: Sort) -> Result<Self, Error> {
        let parse = || {
            let (kind, rest) = text.split_once('.')?;
            let (kind, as_beginnings) = kind.strip_suffix('b').map_or((kind, false), |kind| (kind, true));
            let hex = |text| i64::from_str_radix(text, 16).ok();
            if kind == "c1" {
                return Some(Self { sort: Sort::default(), value: None, key: hex(rest)?, as_beginnings });
            }
            let mut parts = rest.split('.');
            let (of, value, key) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
            let value = if value == "x" { None } else { Some(hex(value)?) };
            let whole = kind == "c2" && parts.next().is_none();
            whole.then_some(Self { sort: of, value, key: hex(key)?, as_beginnings })
        };
        // one of another order would begin anywhere
        parse()
            .filter(|cursor| cursor.sort == sort)
            .ok_or_else(|| Error::Cursor { text: text.chars().take(80).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_cursors_come_back() {
        for word in Sort::WORDS {
            let sort: Sort = word.parse().unwrap();
            assert_eq!(sort.to_string(), word);
            for (value, as_beginnings) in [(None, true), (Some(0), false), (Some(7_200_000_000), true)] {
                let value = value.filter(|_| sort.by != SortBy::Started);
                let cursor = Cursor { sort, value, key: 0x1234, as_beginnings };
                assert_eq!(Cursor::parse(&cursor.to_string(), sort).unwrap(), cursor);
                let other = Sort { descending: !sort.descending, ..sort };
                assert!(Cursor::parse(&cursor.to_string(), other).is_err(), "{cursor} of {other}");
            }
        }
        for text in ["", "-", "--cost", "Cost", "severity-"] {
            assert!(text.parse::<Sort>().is_err(), "{text}");
        }
        for text in ["c2.cost.1", "c2.cost.1.2.3", "c3.cost.1.2", "c2.price.1.2", "c2.cost.y.2"] {
            assert!(Cursor::parse(text, "cost".parse().unwrap()).is_err(), "{text}");
        }
        let names: Vec<_> = Category::ALL.iter().map(|c| (category_rank(*c), c.as_str())).collect();
        assert!(names.iter().all(|(rank, _)| (0..7).contains(rank)), "{names:?}");
    }
}
