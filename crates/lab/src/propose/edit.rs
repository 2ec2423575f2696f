//! Changes of a program's text that leave everything else in it as it is, and that can be taken back one by one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the search does to a program. The words stand in the store and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Another value for one number.
    Constant,
    /// Small steps of several numbers at once.
    Constants,
    /// The way that two good programs differ in their numbers, gone once more.
    Difference,
    /// Numbers of another good program under the same names.
    Parameters,
    /// Another operator between two values.
    Operator,
    /// A statement less.
    Delete,
    /// A statement twice.
    Duplicate,
    /// Two statements in the other order.
    Swap,
    /// A statement of another good program.
    Insert,
    /// An expression of the same kind from a good program.
    Expression,
    /// A function of another good program.
    Function,
    /// A building block of the task.
    Block,
}

impl Operator {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::Constant,
        Self::Constants,
        Self::Difference,
        Self::Parameters,
        Self::Operator,
        Self::Delete,
        Self::Duplicate,
        Self::Swap,
        Self::Insert,
        Self::Expression,
        Self::Function,
        Self::Block,
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Constants => "constants",
            Self::Difference => "difference",
            Self::Parameters => "parameters",
            Self::Operator => "operator",
            Self::Delete => "delete",
            Self::Duplicate => "duplicate",
            Self::Swap => "swap",
            Self::Insert => "insert",
            Self::Expression => "expression",
            Self::Function => "function",
            Self::Block => "block",
        }
    }
}

impl std::str::FromStr for Operator {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|operator| operator.as_str() == word).ok_or(())
    }
}

/// Where an edit is made and by what: what a lesson is about. Shown in one line, and read back from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Deed {
    /// What was done.
    pub operator: Operator,
    /// In which function, or with which block; `module` outside of all functions.
    pub place: String,
    /// What exactly.
    pub what: String,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.operator.as_str(), self.place, self.what)
    }
}

/// What separates deeds in a line; no deed holds it.
const BETWEEN: &str = "; ";

impl Deed {
    /// Keeps it to one line of a bounded length.
    pub(super) fn new(operator: Operator, place: &str, what: &str) -> Self {
        let place = if place.is_empty() { "module" } else { place };
        let mut short: String = what.split_whitespace().collect::<Vec<_>>().join(" ").replace(BETWEEN, ", ");
        if short.chars().count() > 70 {
            short = short.chars().take(69).chain(['…']).collect();
        }
        Self { operator, place: place.to_owned(), what: short }
    }

    /// Reads the line of changes that a candidate carries; what is no deed of ours is left out.
    #[must_use]
    pub fn read_all(line: &str) -> Vec<Self> {
        let line = line.split_once(" | ").map_or(line, |(_, deeds)| deeds);
        line.split(BETWEEN)
            .filter_map(|deed| {
                let (head, what) = deed.split_once(": ")?;
                let (operator, place) = head.split_once(" in ")?;
                let operator = operator.parse().ok()?;
                Some(Self { operator, place: place.to_owned(), what: what.to_owned() })
            })
            .collect()
    }

    /// All of them in a line.
    #[must_use]
    pub fn line(deeds: &[Self]) -> String {
        deeds.iter().map(ToString::to_string).collect::<Vec<_>>().join(BETWEEN)
    }
}

/// A piece of text that takes another one's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// From this byte of the old text,
    pub start: usize,
    /// to before this one.
    pub end: usize,
    /// What stands there instead.
    pub text: String,
}

/// A change that makes sense as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// What and where.
    pub deed: Deed,
    /// In the order of the text, not overlapping.
    pub pieces: Vec<Piece>,
    /// Numbers that it changes: name, before and after.
    pub numbers: Vec<(String, f64, f64)>,
}

impl Edit {
    /// Do both change the same text?
    fn overlaps(&self, other: &Self) -> bool {
        // touching counts: what is put in at one place twice would depend on the order
        self.pieces.iter().any(|a| other.pieces.iter().any(|b| a.start <= b.end && b.start <= a.end))
    }
}

/// Can it be made beside the others?
pub(super) fn fits(edit: &Edit, others: &[Edit]) -> bool {
    !others.iter().any(|other| other.overlaps(edit))
}

/// The text after all edits, and for each edit which lines of it (1-based) are its own.
pub(super) fn apply(text: &str, edits: &[Edit]) -> (String, Vec<Vec<std::ops::RangeInclusive<usize>>>) {
    let mut pieces: Vec<(usize, &Piece)> = edits
        .iter()
        .enumerate()
        .flat_map(|(i, edit)| edit.pieces.iter().map(move |piece| (i, piece)))
        .collect();
    pieces.sort_by_key(|(_, piece)| (piece.start, piece.end));
    let mut out = String::with_capacity(text.len() + 256);
    let mut lines = vec![Vec::new(); edits.len()];
    let (mut at, mut line) = (0, 1);
    let newlines = |s: &str| s.bytes().filter(|b| *b == b'\n').count();
    for (edit, piece) in pieces {
        let Some(kept) = text.get(at..piece.start) else { continue };
        out.push_str(kept);
        line += newlines(kept);
        let first = line;
        out.push_str(&piece.text);
        line += newlines(&piece.text);
        lines[edit].push(first..=line);
        at = piece.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    (out, lines)
}

/// A number as Python reads it.
pub(super) fn written(value: f64, whole: bool) -> String {
    if whole && value.abs() < 1e15 {
        return format!("{}", value.round() as i64);
    }
    let digits = format!("{value:.5e}").parse::<f64>().unwrap_or(value);
    let text = if digits != 0.0 && !(1e-4..1e9).contains(&digits.abs()) {
        format!("{digits:e}")
    } else {
        format!("{digits}")
    };
    if text.contains(['.', 'e', 'n', 'i']) { text } else { text + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(pieces: &[(usize, usize, &str)]) -> Edit {
        Edit {
            deed: Deed::new(Operator::Constant, "", "x"),
            pieces: pieces
                .iter()
                .map(|(start, end, text)| Piece { start: *start, end: *end, text: (*text).to_owned() })
                .collect(),
            numbers: Vec::new(),
        }
    }

    #[test]
    fn edits_are_made_together_and_their_lines_are_known() {
        let text = "a\nb\nc\nd\n";
        let (one, two) = (edit(&[(2, 3, "x\ny")]), edit(&[(0, 1, "A"), (6, 7, "D")]));
        assert!(fits(&one, std::slice::from_ref(&two)));
        let (out, lines) = apply(text, &[one, two]);
        assert_eq!(out, "A\nx\ny\nc\nD\n");
        assert_eq!(lines, [vec![2..=3], vec![1..=1, 5..=5]]);
        assert!(!fits(&edit(&[(3, 3, "z")]), &[edit(&[(2, 3, "")])]));
    }

    #[test]
    fn deeds_read_back() {
        let deeds = [
            Deed::new(Operator::Constant, "", "STEP 0.5 -> 0.25"),
            Deed::new(Operator::Insert, "main", "for x in y:\n    a; b"),
        ];
        let line = Deed::line(&deeds);
        assert_eq!(line, "constant in module: STEP 0.5 -> 0.25; insert in main: for x in y: a, b");
        assert_eq!(Deed::read_all(&line), deeds);
        assert_eq!(Deed::read_all(&format!("repair 1 of exp 7 | {line}")), deeds);
        assert!(Deed::read_all("a sentence of a model: with colons; and more").is_empty());
        for operator in Operator::ALL {
            assert_eq!(operator.as_str().parse(), Ok(operator));
        }
    }

    #[test]
    fn numbers_are_python() {
        for (value, whole, text) in [
            (3.0, true, "3"),
            (-2.4, true, "-2"),
            (3.0, false, "3.0"),
            (0.1234567, false, "0.123457"),
            (1.5e-12, false, "1.5e-12"),
            (4e20, false, "4e20"),
            (-0.5, false, "-0.5"),
        ] {
            assert_eq!(written(value, whole), text);
        }
    }
}
