//! Changes of a program's shape: operators, statements, expressions.

use fastrand::Rng;

use super::edit::{Deed, Edit, Operator, Piece};
use super::graft::Donor;
use super::program::{Kind, Program, Statement, line_start};

/// Operators that may stand for each other.
const FAMILIES: [&[&str]; 4] = [
    &["+", "-", "*", "/", "//", "%", "**"],
    &["<", "<=", ">", ">=", "==", "!="],
    &["and", "or"],
    &["+=", "-=", "*=", "/="],
];
/// What is put in twice or from elsewhere should be no larger than this.
const LARGEST: usize = 800;

fn one(deed: Deed, piece: Piece) -> Edit {
    Edit { deed, pieces: vec![piece], numbers: Vec::new() }
}

pub(super) fn operator(program: &Program, rng: &mut Rng) -> Option<Edit> {
    let it = rng.choice(&program.operators)?;
    let family = FAMILIES.iter().find(|family| family.contains(&it.text.as_str()))?;
    let others: Vec<&&str> = family.iter().filter(|other| **other != it.text).collect();
    let new = rng.choice(&others)?;
    let line = program.line(it.at.start);
    Some(one(
        Deed::new(Operator::Operator, &it.function, &format!("line {line}: `{}` -> `{new}`", it.text)),
        Piece { start: it.at.start, end: it.at.end, text: (**new).to_owned() },
    ))
}

/// A statement's lines, from the beginning of the first to after the end of the last.
fn lines(program: &Program, it: &Statement) -> (usize, usize) {
    let text = &program.text;
    let end = text[it.at.end..].find('\n').map_or(text.len(), |at| it.at.end + at + 1);
    (line_start(text, it.at.start), end)
}

/// Any statement of a function, or of the module where there is no function.
fn choose<'a>(program: &'a Program, rng: &mut Rng) -> Option<&'a Statement> {
    let inside: Vec<&Statement> = program.statements.iter().filter(|s| !s.function.is_empty()).collect();
    if inside.is_empty() {
        return rng.choice(&program.statements);
    }
    rng.choice(&inside).copied()
}

fn said(program: &Program, it: &Statement) -> String {
    format!(
        "line {}: {}",
        program.line(it.at.start),
        program.text[it.at.clone()].lines().next().unwrap_or("")
    )
}

pub(super) fn delete(program: &Program, rng: &mut Rng) -> Option<Edit> {
    let it = choose(program, rng)?;
    let deed = Deed::new(Operator::Delete, &it.function, &said(program, it));
    if it.alone {
        return Some(one(deed, Piece { start: it.at.start, end: it.at.end, text: "pass".to_owned() }));
    }
    let (start, end) = lines(program, it);
    Some(one(deed, Piece { start, end, text: String::new() }))
}

pub(super) fn duplicate(program: &Program, rng: &mut Rng) -> Option<Edit> {
    let it = choose(program, rng)?;
    let (start, end) = lines(program, it);
    let text = &program.text[start..end];
    if text.len() > LARGEST || it.returns {
        return None;
    }
    let deed = Deed::new(Operator::Duplicate, &it.function, &said(program, it));
    let text = if text.ends_with('\n') { text.to_owned() } else { format!("\n{text}") };
    Some(one(deed, Piece { start: end, end, text }))
}

pub(super) fn swap(program: &Program, rng: &mut Rng) -> Option<Edit> {
    let it = choose(program, rng)?;
    let row: Vec<&Statement> =
        program.statements.iter().filter(|s| s.suite == it.suite && s.at != it.at && !s.returns).collect();
    let other = rng.choice(&row)?;
    if it.returns || it.at.end > other.at.start && other.at.end > it.at.start {
        return None;
    }
    let (a, b) = if it.at.start < other.at.start { (it, *other) } else { (*other, it) };
    let text = |s: &Statement| program.text[s.at.clone()].to_owned();
    let pieces = vec![
        Piece { start: a.at.start, end: a.at.end, text: text(b) },
        Piece { start: b.at.start, end: b.at.end, text: text(a) },
    ];
    let (first, second) = (program.line(a.at.start), program.line(b.at.start));
    let deed = Deed::new(Operator::Swap, &it.function, &format!("lines {first} and {second}"));
    Some(Edit { deed, pieces, numbers: Vec::new() })
}

/// Puts a statement of another program before one of ours.
pub(super) fn insert(program: &Program, donor: &Donor, rng: &mut Rng) -> Option<Edit> {
    let before = choose(program, rng)?;
    let it = choose(&donor.program, rng)?;
    let text = &donor.program.text[it.at.clone()];
    if text.len() > LARGEST || it.returns {
        return None;
    }
    // as deep as where it goes; what is inside of it stays as much deeper
    let text: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(i, line)| match line.strip_prefix(it.indent.as_str()) {
            Some(rest) if i > 0 => format!("{}{rest}", before.indent),
            _ => line.to_owned(),
        })
        .collect();
    let text = format!("{}\n{}", text.join("\n"), before.indent);
    let deed = Deed::new(
        Operator::Insert,
        &before.function,
        &format!(
            "line {}, from {}: {}",
            program.line(before.at.start),
            donor.name,
            text.lines().next().unwrap_or("")
        ),
    );
    Some(one(deed, Piece { start: before.at.start, end: before.at.start, text }))
}

/// Replaces an expression by one of the same kind, from another program or from elsewhere in this one.
pub(super) fn expression(program: &Program, donor: &Donor, rng: &mut Rng) -> Option<Edit> {
    let it = rng.choice(&program.expressions)?;
    let old = &program.text[it.at.clone()];
    let source = &donor.program;
    let alike: Vec<&str> = source
        .expressions
        .iter()
        .filter(|e| e.kind == it.kind)
        .map(|e| &source.text[e.at.clone()])
        .filter(|text| *text != old && text.len() <= LARGEST)
        .collect();
    let new = rng.choice(&alike)?;
    let needs_brackets =
        it.nested && matches!(it.kind, Kind::Binary | Kind::Comparison | Kind::Logic | Kind::Choice);
    // several lines are fine inside brackets only
    let text = if needs_brackets || new.contains('\n') { format!("({new})") } else { (*new).to_owned() };
    let what = format!("line {}: {old} -> {new} (from {})", program.line(it.at.start), donor.name);
    Some(one(
        Deed::new(Operator::Expression, &it.function, &what),
        Piece { start: it.at.start, end: it.at.end, text },
    ))
}
