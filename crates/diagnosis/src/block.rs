//! The lines that belong together with one that matters: a traceback, a test's section, a compiler's message with
//! its snippet, an exception with its stack. Anything else is a paragraph.

use crate::log::Log;
use crate::pattern::{Pattern, pattern};

/// A block is never longer than this.
const MOST: usize = 80;

/// A run of lines and, in it, those that say most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) start: usize,
    /// exclusive
    pub(crate) end: usize,
    /// The line that names the test or the unit that failed.
    pub(crate) header: Option<usize>,
    /// The line that says what went wrong.
    pub(crate) message: usize,
    /// `file:line` and function of the innermost frame that is not a library's.
    pub(crate) frame: Option<Frame>,
}

/// Where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The line of the log that says so.
    pub(crate) piece: usize,
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) function: Option<String>,
}

pattern!(PYTEST_HEADER, r"^_{2,} .+ _{2,}$");
pattern!(SECTION, r"^(?:={8,}|-{8,}|_{8,}|\*{8,})");
pattern!(UNITTEST_HEADER, r"^(?:FAIL|ERROR): \S");
pattern!(
    JAVA_FRAME,
    r"^\s*(?:\[\w+\]\s*)?(?:at [\w$.<>/@-]+\(|\.{3} \d+ (?:more|common frames))|^\s*(?:\[\w+\]\s*)?Caused by: "
);
pattern!(
    TEST_HEADER,
    r"^\s*(?:\[ERROR\] .*<<< (?:FAILURE|ERROR)!|\S.* FAILED$|.*<<< (?:FAILURE|ERROR)!|(?:\[junit\] )?Testcase: .*|--- FAIL: .*|● .*|\d+\) .*|not ok \d+.*)$"
);
pattern!(PY_FRAME, r#"^\s*(?:\|\s*)?File "([^"]+)", line (\d+)(?:, in (.+))?"#);
pattern!(JS_FRAME, r"^\s+at (?:\S+ )?\(?(?:file://)?(/?[^():]+):(\d+):\d+\)?$");
pattern!(PYTEST_FRAME, r"^(\S+\.py):(\d+): (?:in (\w+)|\w*)");
pattern!(COMPILER, r"^\s*(?:\[\w+\]\s*)?(?:--> )?([\w./\\+-]+\.\w{1,5})[:(](\d+)(?:[:,]\d+)?\)?:?(?:\s|$)");

/// The block around line `piece`.
pub(crate) fn block(log: &Log, piece: usize) -> Block {
    python(log, piece)
        .or_else(|| pytest(log, piece))
        .or_else(|| unittest(log, piece))
        .or_else(|| java(log, piece))
        .unwrap_or_else(|| paragraph(log, piece))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_traceback(line: &str) -> bool {
    line.contains("Traceback (most recent call last)")
}

/// A Python traceback, chained ones included; `piece` is any of its lines, its exception mostly.
fn python(log: &Log, piece: usize) -> Option<Block> {
    // upwards over frames, code and the words between chained tracebacks
    let mut first = None;
    let mut at = piece;
    let mut frames = 0;
    for i in (piece.saturating_sub(120)..=piece).rev() {
        let line = log.clean(i);
        if is_traceback(line) {
            first = Some(i);
            at = i;
            // a chained one stands above: "..." and a blank line between
            let above = (i.saturating_sub(4)..i).rev().find(|j| {
                let l = log.clean(*j);
                l.contains("During handling of the above exception") || l.contains("was the direct cause of")
            });
            if above.is_none() {
                break;
            }
            continue;
        }
        if first.is_some() && frames_end(log, i, at) {
            break;
        }
        if first.is_none() && i != piece {
            let inside = indent(line) > 0 || line.starts_with('|') || PY_FRAME.is_match(line);
            if inside {
                frames += 1;
            } else if !line.is_empty() || piece - i > 12 {
                // the message of an exception may run over several lines
                if piece - i > 25 || frames > 0 {
                    return None;
                }
            }
        }
    }
    let start = first?;
    let base = indent(log.clean(piece.min(at)));
    let mut frame = None;
    let mut message = None;
    let mut end = start;
    let mut i = at;
    while i < log.len() && i < at + MOST {
        let line = log.clean(i);
        if i > at && is_traceback(line) && message.is_some() {
            break;
        }
        if let Some([_, Some(file), Some(number), function, ..]) = PY_FRAME.groups(line).as_deref() {
            let own = !["site-packages", "dist-packages", "/lib/python", "<frozen", "importlib"]
                .iter()
                .any(|l| file.contains(l));
            if own || frame.is_none() {
                frame = Some(Frame {
                    piece: i,
                    file: (*file).to_owned(),
                    line: number.parse().unwrap_or(0),
                    function: function.map(|f| f.trim().to_owned()),
                });
            }
        } else if i > at && !line.is_empty() && indent(line) <= base && !is_traceback(line) {
            message = Some(i);
            end = i + 1;
            // the rest of a message of several lines
            while end < log.len()
                && end < i + 12
                && !log.clean(end).is_empty()
                && !is_new_record(log.clean(end))
            {
                end += 1;
            }
            break;
        }
        i += 1;
        end = i;
    }
    if piece >= end {
        return None;
    }
    // the exception's own line; a SyntaxError's file and caret stand above it
    let message = message.unwrap_or(piece);
    Some(Block { start, end: end.max(piece + 1), header: None, message, frame })
}

/// Above a traceback, what is not part of the chain ends it.
fn frames_end(log: &Log, i: usize, at: usize) -> bool {
    let line = log.clean(i);
    let chain = line.contains("above exception") || line.contains("direct cause");
    !(chain || line.is_empty() || indent(line) > 0 || at - i <= 4 || PY_FRAME.is_match(line)) && at - i > 8
}

/// A line that begins something else: a logger's, a shell's, a section's.
fn is_new_record(line: &str) -> bool {
    SECTION.is_match(line)
        || line.starts_with("##[")
        || line.starts_with("$ ")
        || line.starts_with("make:")
        || line.starts_with("make[")
}

/// A pytest section: from `____ test ____` to the next one.
fn pytest(log: &Log, piece: usize) -> Option<Block> {
    let line = log.clean(piece);
    let header = if PYTEST_HEADER.is_match(line) {
        piece
    } else if line.starts_with("E  ") || PYTEST_FRAME.is_match(line) || line.starts_with('>') {
        (piece.saturating_sub(400)..piece).rev().find(|i| PYTEST_HEADER.is_match(log.clean(*i)))?
    } else {
        return None;
    };
    let stop = |l: &str| PYTEST_HEADER.is_match(l) || l.starts_with("=====") || l.starts_with("-----");
    let mut end = header + 1;
    while end < log.len() && end < header + 400 && !stop(log.clean(end)) {
        end += 1;
    }
    if piece >= end {
        return None;
    }
    let message = (header + 1..end).find(|i| log.clean(*i).starts_with("E  ")).unwrap_or(piece);
    let frame = (header + 1..end).rev().find_map(|i| frame_of(&PYTEST_FRAME, log, i));
    // of a long section the part about the failure
    let start = if end - header > MOST { header.max(message.saturating_sub(30)) } else { header };
    let end = if end - start > MOST { end.min(message + 30) } else { end };
    Some(Block { start, end: end.max(piece + 1), header: Some(header), message, frame })
}

/// A unittest section: `FAIL: test (module)` between rulers.
fn unittest(log: &Log, piece: usize) -> Option<Block> {
    let header =
        (piece.saturating_sub(60)..=piece).rev().find(|i| UNITTEST_HEADER.is_match(log.clean(*i)))?;
    if !(header > 0 && SECTION.is_match(log.clean(header - 1))) {
        return None;
    }
    let mut end = header + 2;
    while end < log.len()
        && end < header + MOST
        && !log.clean(end).starts_with("=====")
        && !log.clean(end).starts_with("-----")
    {
        end += 1;
    }
    if piece >= end {
        return None;
    }
    let message = (header + 1..end)
        .rev()
        .find(|i| {
            let l = log.clean(*i);
            !l.is_empty() && indent(l) == 0 && !SECTION.is_match(l) && l.contains(':')
        })
        .unwrap_or(piece);
    let frame = (header + 1..end).rev().find_map(|i| frame_of(&PY_FRAME, log, i));
    Some(Block { start: header, end, header: Some(header), message, frame })
}

/// File, line and function, from a pattern whose first three groups are these.
fn frame_of(pattern: &Pattern, log: &Log, piece: usize) -> Option<Frame> {
    let groups = pattern.groups(log.clean(piece))?;
    let group = |i: usize| groups.get(i).copied().flatten().map(str::trim);
    Some(Frame {
        piece,
        file: group(1)?.to_owned(),
        line: group(2)?.parse().ok()?,
        function: group(3).filter(|f| !f.is_empty()).map(str::to_owned),
    })
}

/// An exception with a stack of `at ...` lines, with the line above that names the test.
fn java(log: &Log, piece: usize) -> Option<Block> {
    let is_frame = |i: usize| i < log.len() && JAVA_FRAME.is_match(log.clean(i));
    let mut top = piece;
    while is_frame(top) && top > 0 && piece - top < MOST {
        top -= 1;
    }
    let header_here = TEST_HEADER.is_match(log.clean(top));
    if !(is_frame(top + 1) || is_frame(top + 2) || header_here && top + 1 < log.len()) {
        return None;
    }
    let (header, message) = if header_here {
        (
            Some(top),
            (top + 1..(top + 4).min(log.len())).find(|i| !log.clean(*i).trim().is_empty()).unwrap_or(top),
        )
    } else {
        let above = (top.saturating_sub(3)..top).rev().find(|i| TEST_HEADER.is_match(log.clean(*i)));
        (above, top)
    };
    let start = header.unwrap_or(message).min(message);
    let mut end = message + 1;
    let mut quiet = 0;
    while end < log.len() && end < message + 40 {
        let line = log.clean(end);
        if is_frame(end) || indent(line) > 0 {
            quiet = 0;
        } else {
            quiet += 1;
            if quiet > 2
                || line.is_empty()
                    && !(is_frame(end + 1) || end + 1 < log.len() && indent(log.clean(end + 1)) > 2)
            {
                break;
            }
            if TEST_HEADER.is_match(line) {
                break;
            }
        }
        end += 1;
    }
    let frame = (message + 1..end).find_map(|i| {
        frame_of(&JS_FRAME, log, i).filter(|f| !f.file.contains("node_modules") && !f.file.contains("node:"))
    });
    Some(Block { start, end: end.max(piece + 1), header, message, frame })
}

/// The lines about `piece` up to a blank one, and on while they are indented deeper.
fn paragraph(log: &Log, piece: usize) -> Block {
    let base = indent(log.clean(piece));
    let mut start = piece;
    while start > 0
        && piece - start < 3
        && !log.clean(start - 1).trim().is_empty()
        && !is_new_record(log.clean(start - 1))
    {
        start -= 1;
    }
    let base = base.min(indent(log.clean(start)));
    let mut end = piece + 1;
    while end < log.len() && end < piece + 40 {
        let line = log.clean(end);
        if line.trim().is_empty() {
            let next = if end + 1 < log.len() { log.clean(end + 1) } else { "" };
            if next.trim().is_empty() || indent(next) <= base {
                break;
            }
        } else if is_new_record(line) || end - piece > 12 && indent(line) <= base {
            break;
        }
        end += 1;
    }
    let frame = (piece..end.min(piece + 4)).find_map(|i| frame_of(&COMPILER, log, i));
    Block { start, end, header: None, message: piece, frame }
}
