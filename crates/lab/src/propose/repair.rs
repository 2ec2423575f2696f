//! Mends a program that failed: the change that did it is taken back or softened, the others stay.

use super::edit::{Deed, Edit, Piece, apply, written};
use super::lessons::{Memory, SOFTENED, UNDONE, has_word, missing_names};
use super::{Mending, Told};

/// A program that is better than the one that failed, as far as can be told.
pub(super) struct Mended {
    pub(super) code: String,
    pub(super) change: String,
    pub(super) edits: Vec<Edit>,
}

/// Every way that comes to mind, the most promising first; none where nothing may be known of the failure.
pub(super) fn mend(parent: &str, failure: &Mending, memory: &Memory) -> Vec<Mended> {
    let Some(clues) = Clues::of(&failure.told, memory) else { return Vec::new() };
    let guilty = guilty(parent, failure, &clues);
    let rest: Vec<Edit> = failure
        .edits
        .iter()
        .enumerate()
        .filter(|(i, _)| !guilty.contains(i))
        .map(|(_, e)| e.clone())
        .collect();
    let undone = (!rest.is_empty()).then(|| finish(parent, failure, UNDONE, &guilty, rest));
    let softened = if clues.ran { None } else { soften(parent, failure, &guilty) };
    let ways = if clues.soften { [softened, undone] } else { [undone, softened] };
    ways.into_iter().flatten().collect()
}

/// What can be known of the failure.
struct Clues {
    line: Option<usize>,
    names: Vec<String>,
    /// It took too long or too much.
    too_much: bool,
    soften: bool,
    /// It ran to its end, and the result is wrong or the same as before: half of the step makes that no better.
    ran: bool,
}

impl Clues {
    fn of(told: &Told, memory: &Memory) -> Option<Self> {
        match told {
            Told::Nothing => None,
            Told::Raw(text) => {
                let too_much =
                    ["timed out", "time limit", "TimeoutError", "MemoryError", "Killed", "memory limit"]
                        .iter()
                        .any(|words| text.contains(words));
                let frames = text.match_indices("line ").filter_map(|(at, word)| {
                    let digits = &text[at + word.len()..];
                    digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse().ok()
                });
                let (line, names) = (frames.last(), missing_names(text));
                // without a word that says anything there is nothing to go by
                let any = line.is_some() || !names.is_empty() || too_much;
                any.then_some(Self { line, names, too_much, soften: too_much, ran: false })
            }
            Told::Lesson(lesson) => {
                use coroner_diagnosis::Category::{LogicError, ResourceError, Timeout};
                Some(Self {
                    line: lesson.line.and_then(|line| line.try_into().ok()),
                    names: lesson.names.clone(),
                    too_much: matches!(lesson.category, Timeout | ResourceError),
                    soften: memory.softens(lesson),
                    ran: lesson.category == LogicError,
                })
            }
        }
    }
}

/// Which edits did it; all of them if nothing tells.
fn guilty(parent: &str, failure: &Mending, clues: &Clues) -> Vec<usize> {
    let edits = &failure.edits;
    let which = |test: &dyn Fn(usize, &Edit) -> bool| -> Vec<usize> {
        edits.iter().enumerate().filter(|(i, edit)| test(*i, edit)).map(|(i, _)| i).collect()
    };
    let brought = which(&|_, edit| {
        clues.names.iter().any(|name| edit.pieces.iter().any(|piece| has_word(&piece.text, name)))
    });
    if !brought.is_empty() {
        return brought;
    }
    if clues.too_much {
        let grown = which(&|_, edit| edit.numbers.iter().any(|(_, before, after)| before != after));
        if !grown.is_empty() {
            return grown;
        }
    }
    let (_, lines) = apply(parent, edits);
    if let Some(line) = clues.line {
        let there = which(&|i, _| lines[i].iter().any(|range| range.contains(&line)));
        if !there.is_empty() {
            return there;
        }
        // the nearest change above it: what it computed is what the line trips over
        let above = lines
            .iter()
            .enumerate()
            .filter_map(|(i, ranges)| {
                ranges.iter().map(|r| *r.end()).filter(|end| *end <= line).max().map(|end| (end, i))
            })
            .max();
        if let Some((_, nearest)) = above {
            return vec![nearest];
        }
    }
    // nothing tells: the last one, so that a second round has the others left
    edits.len().checked_sub(1).into_iter().collect()
}

fn finish(parent: &str, failure: &Mending, way: &str, guilty: &[usize], edits: Vec<Edit>) -> Mended {
    let culprits: Vec<Deed> =
        guilty.iter().filter_map(|i| failure.edits.get(*i)).map(|e| e.deed.clone()).collect();
    let culprits: String = Deed::line(&culprits).replace(" | ", " ").chars().take(120).collect();
    let deeds: Vec<Deed> = edits.iter().map(|edit| edit.deed.clone()).collect();
    let change = format!("repair of exp {}: {way} {culprits} | {}", failure.number, Deed::line(&deeds));
    Mended { code: apply(parent, &edits).0, change, edits }
}

/// Numbers go back half of the way.
fn soften(parent: &str, failure: &Mending, guilty: &[usize]) -> Option<Mended> {
    let mut changed = false;
    let edits: Vec<Edit> = failure
        .edits
        .iter()
        .enumerate()
        .map(|(i, edit)| {
            let mut edit = edit.clone();
            if guilty.contains(&i) && edit.numbers.len() == edit.pieces.len() {
                let mut said = Vec::new();
                for (piece, (name, before, after)) in edit.pieces.iter_mut().zip(&mut edit.numbers) {
                    let between = halfway(*before, *after);
                    let whole =
                        before.fract() == 0.0 && after.fract() == 0.0 && !piece.text.contains(['.', 'e']);
                    let text = written(between, whole);
                    let text = if text.starts_with('-') && piece.text.starts_with('(') {
                        format!("({text})")
                    } else {
                        text
                    };
                    if text != piece.text && parent.get(piece.start..piece.end) != Some(&text) {
                        *piece = Piece { text, ..piece.clone() };
                        *after = between;
                        changed = true;
                    }
                    said.push(format!("{name} {before} -> {after}"));
                }
                edit.deed = Deed::new(edit.deed.operator, &edit.deed.place, &said.join(", "));
            }
            edit
        })
        .collect();
    changed.then(|| finish(parent, failure, SOFTENED, guilty, edits))
}

/// Between two values of the same sign by their ratio, otherwise by their distance.
fn halfway(before: f64, after: f64) -> f64 {
    if before * after > 0.0 { (before * after).sqrt().copysign(before) } else { f64::midpoint(before, after) }
}
