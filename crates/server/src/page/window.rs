//! A stretch of a log's lines, read from its stream in bounded memory, however long log and lines are.

use std::collections::VecDeque;
use std::io::{self, Read};

/// More of one line is not kept, only counted.
const LINE: usize = 64 * 1024;
/// So much is read beyond the window to learn how many lines there are.
const SCAN: u64 = 512 << 20;

/// Which lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `count` from this one on (1-based).
    From { line: u64, count: usize },
    /// The last ones.
    Last { count: usize },
}

/// A line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) lines: Vec<Line>,
    /// How many lines the log has.
    pub(super) total: u64,
    /// It has more: it is so long that counting was given up.
    pub(super) at_least: bool,
}

/// Reads these lines.
pub(super) fn read(log: impl Read, place: Place) -> io::Result<Window> {
    let mut kept: VecDeque<Line> = VecDeque::new();
    let mut bytes: Vec<u8> = Vec::new();
    let wanted = |number: u64| match place {
        Place::From { line, count } => number >= line && number - line < count as u64,
        Place::Last { .. } => true,
    };
    let (total, at_least) = each_piece(log, |number, piece, ends| {
        if !wanted(number) {
            return;
        }
        let room = LINE.saturating_sub(bytes.len());
        bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        if ends {
            kept.push_back(Line { number, text: as_text(&bytes) });
            bytes.clear();
            if let Place::Last { count } = place {
                while kept.len() > count {
                    kept.pop_front();
                }
            }
        }
    })?;
    Ok(Window { lines: kept.into(), total, at_least })
}

/// Where a text occurs, upper and lower case alike.
pub(super) struct Found {
    /// The first of them.
    pub(super) lines: Vec<Line>,
    /// How many lines have it.
    pub(super) count: u64,
    /// The log is so long that looking was given up.
    pub(super) at_least: bool,
}

pub(super) fn find(log: impl Read, text: &str, most: usize) -> io::Result<Found> {
    let needle = text.to_lowercase();
    let (mut bytes, mut lines, mut count) = (Vec::new(), Vec::new(), 0);
    let (_, at_least) = each_piece(log, |number, piece, ends| {
        let room = LINE.saturating_sub(bytes.len());
        bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        if ends {
            let line = as_text(&bytes);
            if line.to_lowercase().contains(&needle) {
                count += 1;
                if lines.len() < most {
                    lines.push(Line { number, text: line });
                }
            }
            bytes.clear();
        }
    })?;
    Ok(Found { lines, count, at_least })
}

/// Gives every line in pieces: its number, the piece, whether the line ends with it. How many lines there are, and
/// whether there are more.
fn each_piece(mut log: impl Read, mut take: impl FnMut(u64, &[u8], bool)) -> io::Result<(u64, bool)> {
    let mut buffer = vec![0; 128 * 1024];
    let (mut number, mut open, mut seen) = (1, false, 0);
    loop {
        let n = match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        seen += n as u64;
        let mut rest = &buffer[..n];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            take(number, &rest[..end], true);
            number += 1;
            open = false;
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            take(number, rest, false);
            open = true;
        }
        if seen > SCAN {
            return Ok((number, true));
        }
    }
    if open {
        take(number, b"", true);
    }
    Ok((if open { number } else { number - 1 }, false))
}

fn as_text(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(window: &Window) -> Vec<u64> {
        window.lines.iter().map(|line| line.number).collect()
    }

    #[test]
    fn windows() {
        let log: String = (1..=1000).map(|n| format!("line {n}\r\n")).collect();
        let middle = read(log.as_bytes(), Place::From { line: 500, count: 3 }).unwrap();
        assert_eq!((numbers(&middle), middle.total), (vec![500, 501, 502], 1000));
        assert_eq!(middle.lines[0].text, "line 500");
        let last = read(log.as_bytes(), Place::Last { count: 2 }).unwrap();
        assert_eq!(numbers(&last), [999, 1000]);
        let beyond = read(log.as_bytes(), Place::From { line: 5000, count: 3 }).unwrap();
        assert_eq!((beyond.lines.len(), beyond.total), (0, 1000));
    }

    #[test]
    fn ends_of_logs() {
        let of = |log: &[u8]| read(log, Place::From { line: 1, count: 9 }).unwrap();
        assert_eq!((of(b"").total, of(b"a").total, of(b"a\n").total, of(b"\n\n").total), (0, 1, 1, 2));
        let broken = of(b"\xff\xfe");
        assert_eq!(broken.lines[0].text, "\u{fffd}\u{fffd}");
        let long = vec![b'x'; 1 << 20];
        assert_eq!(of(&long).lines[0].text.len(), LINE);
    }

    #[test]
    fn finding() {
        let log = b"one\nTWO\nthree two\n";
        let found = find(&log[..], "two", 1).unwrap();
        assert_eq!((found.count, found.lines[0].number), (2, 2));
    }
}
