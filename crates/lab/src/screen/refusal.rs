//! The sentences of what is refused before any rule of the policy is asked, and where in the source it stands.

use coroner_diagnosis::{Category, bytes};

use super::{Finding, LARGEST_SOURCE};

/// The text of a candidate, with the places where its lines begin.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    starts: Vec<usize>,
}

/// A place in the source as people count, from 1; columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { text, starts }
    }

    /// Lines, the last one too if nothing ends it.
    pub(super) fn lines(&self) -> u64 {
        let open = self.starts.last().is_some_and(|start| *start < self.text.len());
        self.starts.len() as u64 - 1 + u64::from(open)
    }

    /// Of the byte at `offset`, which may lie one behind the last.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        let index = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let before = &self.text[self.starts[index]..offset];
        // the byte order mark of the file is no column
        let mark = u64::from(index == 0 && before.starts_with('\u{feff}'));
        let column = before.chars().count() as u64 + 1 - mark;
        Place { line: index as u64 + 1, column }
    }

    /// The text between two offsets, its first line if it has several, at most 120 characters of it.
    pub(super) fn piece(&self, start: usize, end: usize) -> String {
        const MOST: usize = 120;
        let start = self.text.floor_char_boundary(start);
        let end = self.text.floor_char_boundary(end).max(start);
        let text = &self.text[start..end];
        let text = if start == 0 { text.trim_start_matches('\u{feff}') } else { text };
        let line = text.lines().next().unwrap_or("").trim_end();
        let cut = line.char_indices().nth(MOST).map_or(line.len(), |(i, _)| i);
        line[..cut].to_owned()
    }
}

pub(super) fn syntax(source: &Source<'_>, message: &str, start: usize, end: usize) -> Finding {
    let text = source.text;
    let mut start = start.min(text.len());
    // what is missing at the end is missing on the last line that has something
    if text[text.floor_char_boundary(start)..].trim().is_empty() {
        start = start.min(text.trim_end().len());
    }
    let place = source.place(start);
    Finding {
        rule: "syntax".to_owned(),
        category: Category::SyntaxError,
        message: format!("Syntax error on line {}: {}", place.line, calm(message)),
        what: String::new(),
        why: "Python can't run what it can't parse.".to_owned(),
        instead: "Correct this line; what the parser says of later lines may be a consequence of it."
            .to_owned(),
        line: place.line,
        column: place.column,
        text: source.piece(start, end),
        suspect: None,
    }
}

/// A message of the parser without the exclamation marks and line breaks that some of them have.
fn calm(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn of_source(category: Category, message: String, why: &str, instead: &str) -> Finding {
    Finding {
        rule: "source".to_owned(),
        category,
        message,
        what: String::new(),
        why: why.to_owned(),
        instead: instead.to_owned(),
        line: 1,
        column: 1,
        text: String::new(),
        suspect: None,
    }
}

pub(super) fn too_large() -> Finding {
    of_source(
        Category::ValidationError,
        format!("The candidate is too large: more than {}", bytes(LARGEST_SOURCE as u64)),
        "A program of that size is data, or a reply that went wrong.",
        "Compute the data or read it from the inputs, and keep the program small.",
    )
}

pub(super) fn empty(message: &str) -> Finding {
    of_source(
        Category::ValidationError,
        message.to_owned(),
        "There is nothing to run.",
        "Write the functions that the task asks for; if a program wrote this file, look whether its reply was cut.",
    )
}

pub(super) fn not_utf8(source: &[u8], valid: usize) -> Finding {
    let head = String::from_utf8_lossy(&source[..valid]);
    let place = Source::new(&head).place(head.len());
    Finding {
        line: place.line,
        column: place.column,
        ..of_source(
            Category::SyntaxError,
            format!(
                "Syntax error on line {}: not UTF-8: byte 0x{:02x} at column {}",
                place.line, source[valid], place.column
            ),
            "Python reads source text as UTF-8.",
            "Save the candidate as UTF-8; bytes that are data belong into a bytes literal (b\"\\xff\").",
        )
    }
}

pub(super) fn nul(text: &str, at: usize) -> Finding {
    let place = Source::new(text).place(at);
    Finding {
        line: place.line,
        column: place.column,
        ..of_source(
            Category::SyntaxError,
            format!(
                "Syntax error on line {}: source code cannot contain null bytes (column {})",
                place.line, place.column
            ),
            "Python refuses source text with a NUL byte in it.",
            "Write \"\\0\" in a string or b\"\\0\" in a bytes literal instead of the byte itself.",
        )
    }
}
