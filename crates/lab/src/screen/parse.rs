//! Turns source text into a tree without being hurt by it: what Python itself would call nested too deeply is refused
//! before the parser sees it, and the parser runs on a stack of its own.

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::{ModModule, PythonVersion as Target};
use ruff_python_parser::{Mode, ParseOptions, Parsed, lexer, parse_unchecked};
use ruff_text_size::Ranged;

use super::refusal::{self, Source};
use super::{Finding, PythonVersion, semantic};

/// Python's own limits (Parser/tokenizer.h, Parser/lexer/state.h): MAXLEVEL, MAXINDENT, MAXFSTRINGLEVEL.
const BRACKETS: usize = 200;
const INDENTS: usize = 100;
const FORMATTED: usize = 150;
/// Operators, calls, attributes and the like that hang on each other without a comma between them. Python's compiler
/// fails at some thousands of them (RecursionError), depending on the version.
const CHAIN: usize = 2000;
/// Enough for a tree of that depth in an unoptimised build, several times over; only what is used is ever touched.
const STACK: usize = 128 << 20;

/// Runs `work` on a thread with a deep stack; `None` if it panicked or there was no thread.
pub(super) fn on_a_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("screen".into()).stack_size(STACK).spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}

/// Parses a module. The tree may have errors; `Err` is a source that is not parsed at all.
pub(super) fn parse(source: &Source<'_>, python: PythonVersion) -> Result<Parsed<ModModule>, Box<Finding>> {
    let text = source.text;
    if let Some(reason) = too_deep(text) {
        // the lexer keeps its position to itself: the shortest beginning that is too deep ends there
        let (mut fine, mut deep) = (0, text.len());
        while deep - fine > 1 {
            let middle = text.floor_char_boundary(fine + (deep - fine) / 2);
            if middle <= fine {
                break;
            }
            if too_deep(&text[..middle]).is_some() { deep = middle } else { fine = middle }
        }
        return Err(Box::new(refusal::syntax(source, reason, fine, deep)));
    }
    let target = Target { major: python.major, minor: python.minor };
    let parsed = parse_unchecked(text, ParseOptions::from(Mode::Module).with_target_version(target));
    parsed
        .try_into_module()
        .ok_or_else(|| Box::new(refusal::syntax(source, "it is no module", 0, text.len())))
}

/// Why Python would refuse to parse this for its depth, if it would. Linear in the text, whatever it holds.
fn too_deep(text: &str) -> Option<&'static str> {
    let mut lexer = lexer::lex(text, Mode::Module);
    // what hangs together at each level of brackets
    let mut chains: Vec<usize> = vec![0];
    let mut hanging = 0;
    let mut indents = 0_usize;
    let mut formatted = 0_usize;
    loop {
        let kind = lexer.next_token();
        let mut step = 1;
        match kind {
            TokenKind::EndOfFile => return None,
            TokenKind::Lpar | TokenKind::Lsqb | TokenKind::Lbrace => {
                if chains.len() > BRACKETS {
                    return Some("too many nested parentheses");
                }
                bump(&mut chains, &mut hanging);
                chains.push(0);
                step = 0;
            }
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => {
                if chains.len() > 1 {
                    hanging -= chains.pop().unwrap_or(0);
                }
                step = 0;
            }
            TokenKind::FStringStart | TokenKind::TStringStart => {
                formatted += 1;
                if formatted > FORMATTED {
                    return Some("too many nested f-strings or t-strings");
                }
            }
            TokenKind::FStringEnd | TokenKind::TStringEnd => formatted = formatted.saturating_sub(1),
            TokenKind::Indent => {
                indents += 1;
                if indents > INDENTS {
                    return Some("too many levels of indentation");
                }
            }
            TokenKind::Dedent => indents = indents.saturating_sub(1),
            TokenKind::Comma | TokenKind::Newline | TokenKind::Semi => {
                if let Some(last) = chains.last_mut() {
                    hanging -= *last;
                    *last = 0;
                }
                step = 0;
            }
            // what stands beside each other does not hang on each other
            TokenKind::Name
            | TokenKind::Int
            | TokenKind::Float
            | TokenKind::Complex
            | TokenKind::String
            | TokenKind::FStringMiddle
            | TokenKind::TStringMiddle
            | TokenKind::Comment
            | TokenKind::NonLogicalNewline
            | TokenKind::Colon => step = 0,
            _ => {}
        }
        if step == 1 {
            bump(&mut chains, &mut hanging);
        }
        if hanging > CHAIN {
            return Some("expression nested too deeply");
        }
    }
}

fn bump(chains: &mut [usize], hanging: &mut usize) {
    if let Some(last) = chains.last_mut() {
        *last += 1;
        *hanging += 1;
    }
}

/// Is there nothing but comments?
pub(super) fn is_empty(parsed: &Parsed<ModModule>) -> bool {
    parsed.syntax().body.is_empty()
}

/// What makes it no Python, or none of that version, in the order of the source.
pub(super) fn syntax_errors(
    source: &Source<'_>,
    parsed: &Parsed<ModModule>,
    python: PythonVersion,
) -> Vec<Finding> {
    let mut found: Vec<(usize, usize, String)> = Vec::new();
    for error in parsed.errors() {
        found.push((error.start().to_usize(), error.end().to_usize(), error.error.to_string()));
    }
    for error in parsed.unsupported_syntax_errors() {
        found.push((error.start().to_usize(), error.end().to_usize(), error.to_string()));
    }
    // half a tree would have errors of its own
    if found.is_empty() {
        found = semantic::errors(parsed.syntax(), source, python);
    }
    found.sort_by_key(|(start, ..)| *start);
    // one on a line: what follows on it is mostly the parser finding its way back
    found.dedup_by_key(|(start, ..)| source.place(*start).line);
    found.iter().map(|(start, end, message)| refusal::syntax(source, message, *start, *end)).collect()
}
