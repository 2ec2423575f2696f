//! From a person's words to an expression of the word search, in which nothing that they typed is syntax.

use coroner_diagnosis::{Category, Diagnosis, Origin, Severity};

use crate::order::{category_rank, severity_rank};
use crate::{SortBy, Status, query};

/// More words than this narrow nothing down any more.
const MOST_WORDS: usize = 32;

/// The columns that people search in; the others hold words of ours.
const SEARCHED: &str = "{name type command cause}";

/// Status and verdict of an experiment, or those asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) status: Option<Status>,
    pub(super) category: Option<Category>,
    pub(super) severity: Option<Severity>,
    pub(super) origin: Option<Origin>,
    pub(super) signature: Option<String>,
    /// Words of ours that must not be there.
    pub(super) without: Vec<String>,
}

impl Words {
    /// Those of an experiment.
    pub(super) fn of(status: Status, diagnosis: Option<&Diagnosis>) -> Self {
        Self {
            status: Some(status),
            category: diagnosis.map(|d| d.failure_category),
            severity: diagnosis.map(|d| d.severity),
            origin: diagnosis.map(|d| d.origin),
            signature: diagnosis.map(|d| d.signature.clone()),
            without: Vec::new(),
        }
    }

    /// Each as one word of letters and digits that no text of a person's can be taken for.
    pub(super) fn tokens(&self) -> Vec<String> {
        let token = |kind: &str, word: &str| {
            kind.chars().chain(word.chars()).filter(char::is_ascii_alphanumeric).collect::<String>()
        };
        [
            self.status.map(|s| token("status", s.as_str())),
            self.category.map(|c| token("category", c.as_str())),
            self.severity.map(|s| token("severity", s.as_str())),
            self.origin.map(|o| token("origin", o.as_str())),
            self.signature.as_ref().map(|s| token("signature", s)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Words {
    /// These, and the word that a list is sorted by; `None` if that contradicts what is asked for.
    pub(super) fn with(&self, by: SortBy, value: Option<i64>) -> Option<Self> {
        let mut words = self.clone();
        match (by, value) {
            (SortBy::Severity, Some(rank)) => {
                let found = Severity::ALL.iter().copied().find(|word| severity_rank(*word) == rank)?;
                (words.severity.is_none_or(|asked| asked == found)).then(|| words.severity = Some(found))?;
            }
            (SortBy::Category, Some(rank)) => {
                let found = Category::ALL.iter().copied().find(|word| category_rank(*word) == rank)?;
                (words.category.is_none_or(|asked| asked == found)).then(|| words.category = Some(found))?;
            }
            // a verdict has all three
            _ => {
                let verdict = words.severity.is_some() || words.category.is_some() || words.origin.is_some();
                let of = |severity: &Severity| Self { severity: Some(*severity), ..Self::default() }.tokens();
                (!verdict).then(|| words.without = Severity::ALL.iter().flat_map(of).collect())?;
            }
        }
        Some(words)
    }
}

/// The expression for all of these words, or for words that begin like them; `None` if there is nothing in `typed` that
/// could occur.
pub(super) fn expression(typed: &str, as_beginnings: bool, words: &Words) -> Option<String> {
    let quoted: Vec<_> = query::words(typed)
        .take(MOST_WORDS)
        .map(|word| {
            let beginning = if as_beginnings && query::is_beginning(word) { " *" } else { "" };
            format!("\"{}\"{beginning}", word.replace('"', "\"\""))
        })
        .collect();
    if quoted.is_empty() {
        return None;
    }
    let mut expression = format!("{SEARCHED} : ({})", quoted.join(" AND "));
    for token in words.tokens() {
        expression.push_str(&format!(" AND words : {token}"));
    }
    if !words.without.is_empty() {
        expression = format!("({expression}) NOT words : ({})", words.without.join(" OR "));
    }
    Some(expression)
}

/// The expression for any of these words.
pub(super) fn any_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = words.into_iter().map(|word| format!("\"{}\"", word.replace('"', "\"\""))).collect();
    quoted.join(" OR ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_typed_is_syntax() {
        let none = Words::default();
        for (typed, expected) in [
            ("cuda", Some(r#""cuda""#)),
            ("CUDA out", Some(r#""CUDA" AND "out""#)),
            ("a OR b", Some(r#""a" AND "OR" AND "b""#)),
            (r#"say "hi" NEAR(x)"#, Some(r#""say" AND """hi""" AND "NEAR(x)""#)),
            ("name:x* ^y -z", Some(r#""name:x*" AND "^y" AND "-z""#)),
            ("a\0b", Some(r#""a" AND "b""#)),
            ("", None),
            (" -- * \" ", None),
        ] {
            let expected = expected.map(|e| format!("{SEARCHED} : ({e})"));
            assert_eq!(expression(typed, false, &none), expected, "{typed:?}");
        }
        let failed = Words {
            status: Some(Status::TestFailed),
            category: Some(Category::ImportError),
            signature: Some("v1:00ff".into()),
            ..none
        };
        let expected = "{name type command cause} : (\"x\" AND \"tor\" *) AND words : statustestfailed AND words : \
                        categoryimporterror AND words : signaturev100ff";
        assert_eq!(expression("x tor", true, &failed).as_deref(), Some(expected));
    }
}
