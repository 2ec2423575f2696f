//! A log of any size as numbered lines: the whole of a small one, of a large one the head, the tail and every place
//! that looks like trouble. What is left out is counted, and the numbers are those of the untouched log.

use crate::clean::clean;
use crate::sparse::Sparse;

/// Up to this many bytes a log is held whole.
const WHOLE: usize = 4 << 20;
/// A line longer than this is held as its head, its tail and the windows around words of trouble.
const LONG_LINE: usize = 8 << 10;
/// How much of a long line stands on each side of such a word.
const WINDOW: usize = 1 << 10;

/// What a run printed: its lines with their numbers, read once.
#[derive(Debug, Default)]
pub struct Log {
    raw: String,
    /// cleaned text of the lines whose cleaned form is not a piece of `raw`
    cleaned: String,
    pieces: Vec<Piece>,
    lines: u64,
    bytes: u64,
    skipped: u64,
}

/// A line, or a part of one that is too long or was redrawn with bare carriage returns.
#[derive(Debug, Clone, Copy)]
struct Piece {
    number: u64,
    raw: (u32, u32),
    clean: (u32, u32),
    /// `clean` points into `Log::cleaned`, not into `Log::raw`
    owned: bool,
}

impl Log {
    /// Reads a log that is in memory.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut reader = LogReader::new();
        reader.push(bytes);
        reader.finish()
    }

    /// How many lines the log has ("\n" ends one; a last one without it counts).
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// How many bytes the log has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many lines of a large log were not kept, because nothing in or around them looked like trouble.
    #[must_use]
    pub fn skipped_lines(&self) -> u64 {
        self.skipped
    }

    /// Does a run that says it succeeded end in a traceback, or with a result that is not a number? A cheap look at the
    /// last lines, for runs that exited with 0.
    #[must_use]
    pub fn ends_in_trouble(&self) -> bool {
        const LAST: usize = 40;
        let from = self.pieces.len().saturating_sub(LAST);
        let last: Vec<&str> =
            (from..self.pieces.len()).map(|i| self.clean(i)).filter(|l| !l.trim().is_empty()).collect();
        let traceback = last.iter().rposition(|l| l.contains("Traceback (most recent call last)"));
        // an exception that was caught and logged has something after it
        let unhandled = traceback.is_some_and(|at| {
            let after = &last[at + 1..];
            let end = after.iter().position(|l| !l.starts_with([' ', '\t']));
            end.is_some_and(|e| e + 2 >= after.len())
        });
        let not_a_number = |l: &str| {
            l.split(|c: char| c.is_whitespace() || "=:,()[]{}\"'|".contains(c))
                .any(|w| w.eq_ignore_ascii_case("nan"))
        };
        unhandled || last.iter().rev().take(3).any(|l| not_a_number(l))
    }

    /// Number of kept pieces; they are addressed by index.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The 1-based line that piece `i` belongs to.
    pub(crate) fn number(&self, i: usize) -> u64 {
        self.pieces[i].number
    }

    /// Piece `i` as it stands in the log (undecodable bytes shown as U+FFFD).
    pub(crate) fn raw(&self, i: usize) -> &str {
        let (a, b) = self.pieces[i].raw;
        &self.raw[a as usize..b as usize]
    }

    /// Piece `i` without escape codes, time stamps and rank prefixes.
    pub(crate) fn clean(&self, i: usize) -> &str {
        let p = &self.pieces[i];
        let (a, b) = (p.clean.0 as usize, p.clean.1 as usize);
        if p.owned { &self.cleaned[a..b] } else { &self.raw[a..b] }
    }

    /// The first kept piece of line `number` or after it.
    pub(crate) fn index_of(&self, number: u64) -> usize {
        self.pieces.partition_point(|p| p.number < number)
    }

    fn add_block(&mut self, first_line: u64, bytes: &[u8]) {
        let from = self.raw.len();
        match std::str::from_utf8(bytes) {
            Ok(text) => self.raw.push_str(text),
            Err(_) => self.raw.push_str(&String::from_utf8_lossy(bytes)),
        }
        let mut number = first_line;
        let mut start = from;
        while start < self.raw.len() {
            let end =
                memchr::memchr(b'\n', &self.raw.as_bytes()[start..]).map_or(self.raw.len(), |i| start + i);
            self.add_line(number, start, end);
            number += 1;
            start = end + 1;
        }
    }

    fn add_line(&mut self, number: u64, start: usize, end: usize) {
        if end - start > LONG_LINE {
            for (a, b) in windows(&self.raw[start..end]) {
                self.add_piece(number, start + a, start + b);
            }
            return;
        }
        let line = &self.raw[start..end];
        let line = line.strip_suffix('\r').unwrap_or(line);
        let end = start + line.len();
        if memchr::memchr(b'\r', line.as_bytes()).is_none() {
            self.add_piece(number, start, end);
            return;
        }
        // a redrawn line: each drawing is a piece; of the ones alike (a progress bar) the last is enough
        let mut at = start;
        let mut drawings: Vec<(usize, usize)> = Vec::new();
        let mut shape = None;
        for part in self.raw[start..end].split('\r') {
            let range = (at, at + part.len());
            at += part.len() + 1;
            if part.trim().is_empty() {
                continue;
            }
            let this: String = part.chars().filter(|c| c.is_alphabetic()).take(24).collect();
            if shape.as_ref() == Some(&this) {
                drawings.pop();
            }
            shape = Some(this);
            drawings.push(range);
        }
        for (a, b) in drawings {
            self.add_piece(number, a, b);
        }
    }

    fn add_piece(&mut self, number: u64, start: usize, end: usize) {
        let raw = &self.raw[start..end];
        let (clean, owned) = match clean(raw) {
            std::borrow::Cow::Borrowed(text) => {
                let offset = start + (text.as_ptr() as usize - raw.as_ptr() as usize);
                ((offset, offset + text.len()), false)
            }
            std::borrow::Cow::Owned(text) => {
                let offset = self.cleaned.len();
                self.cleaned.push_str(&text);
                ((offset, self.cleaned.len()), true)
            }
        };
        // `WHOLE` and the sparse reader's caps keep everything far below 4 GiB
        let narrow = |(a, b): (usize, usize)| (a as u32, b as u32);
        self.pieces.push(Piece { number, raw: narrow((start, end)), clean: narrow(clean), owned });
    }
}

/// The parts of a long line that are worth keeping: byte ranges on character boundaries, in order, not touching.
fn windows(line: &str) -> Vec<(usize, usize)> {
    const MOST: usize = 8;
    let mut found = vec![(0, 2 * WINDOW)];
    let mut last = 0;
    for hit in crate::sparse::trouble().find_iter(line) {
        if hit.start() < last {
            continue;
        }
        last = hit.end() + WINDOW;
        found.push((hit.start().saturating_sub(WINDOW), hit.end() + WINDOW));
        if found.len() > MOST {
            break;
        }
    }
    found.push((line.len().saturating_sub(2 * WINDOW), line.len()));
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (a, b) in found {
        let a = line.ceil_char_boundary(a);
        let b = line.floor_char_boundary(b.min(line.len()));
        match merged.last_mut() {
            Some(m) if a <= m.1 => m.1 = m.1.max(b),
            _ => merged.push((a, b)),
        }
    }
    merged
}

/// Reads a log piece by piece as its bytes come, in bounded memory (about 16 MiB whatever the log's size).
#[derive(Debug, Default)]
pub struct LogReader {
    whole: Vec<u8>,
    sparse: Option<Box<Sparse>>,
    bytes: u64,
}

impl LogReader {
    /// An empty reader.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes of the log.
    pub fn push(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        if let Some(sparse) = &mut self.sparse {
            sparse.push(chunk);
        } else if self.whole.len() + chunk.len() <= WHOLE {
            self.whole.extend_from_slice(chunk);
        } else {
            let mut sparse = Box::<Sparse>::default();
            sparse.push(&std::mem::take(&mut self.whole));
            sparse.push(chunk);
            self.sparse = Some(sparse);
        }
    }

    /// The log has ended.
    #[must_use]
    pub fn finish(self) -> Log {
        let mut log = Log { bytes: self.bytes, ..Log::default() };
        let Some(sparse) = self.sparse else {
            log.lines = count_lines(&self.whole);
            log.add_block(1, &self.whole);
            return log;
        };
        let (lines, blocks) = sparse.finish();
        let mut kept = 0;
        for block in blocks {
            kept += count_lines(&block.bytes);
            log.add_block(block.first_line, &block.bytes);
        }
        log.lines = lines;
        log.skipped = lines.saturating_sub(kept);
        log
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    let ends = memchr::memchr_iter(b'\n', bytes).count() as u64;
    ends + u64::from(!bytes.is_empty() && !bytes.ends_with(b"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(log: &Log) -> Vec<(u64, String)> {
        (0..log.len()).map(|i| (log.number(i), log.raw(i).to_owned())).collect()
    }

    #[test]
    fn counts_and_cuts() {
        let log = Log::new(b"a\r\n\nb 10%\rb 20%\rb 30%\nlast");
        assert_eq!(log.lines(), 4);
        assert_eq!(
            pieces(&log),
            [(1, "a".into()), (2, String::new()), (3, "b 30%".into()), (4, "last".into())]
        );
        assert_eq!(Log::new(b"").lines(), 0);
        assert_eq!(Log::new(b"\xff\x00x").raw(0), "\u{fffd}\0x");
    }

    #[test]
    fn a_long_line_keeps_its_trouble() {
        let mut line = "é".repeat(3_000_000);
        line.insert_str(1_000_000, " fatal error: here ");
        let log = Log::new(line.as_bytes());
        assert_eq!(log.lines(), 1);
        assert!((0..log.len()).any(|i| log.raw(i).contains("fatal error: here")));
        assert!((0..log.len()).all(|i| log.number(i) == 1 && line.contains(log.raw(i))));
        assert!((0..log.len()).map(|i| log.raw(i).len()).sum::<usize>() < 40_000);
    }

    #[test]
    fn a_large_log_keeps_head_tail_and_trouble_with_their_numbers() {
        let mut text = String::new();
        for i in 1..=400_000u32 {
            match i {
                200_000 => text.push_str("Traceback (most recent call last):\n"),
                200_001 => text.push_str("ValueError: the one\n"),
                i if i % 3 == 0 => text.push_str("step ok with 0 errors so far\n"),
                i => text.push_str(&format!("step {i} went as it should have\n")),
            }
        }
        let mut reader = LogReader::new();
        // odd chunk sizes, so that lines and words are cut everywhere
        for chunk in text.as_bytes().chunks(70_001) {
            reader.push(chunk);
        }
        let log = reader.finish();
        assert_eq!((log.lines(), log.bytes()), (400_000, text.len() as u64));
        let lines: Vec<&str> = text.lines().collect();
        for i in 0..log.len() {
            assert_eq!(lines[log.number(i) as usize - 1], log.raw(i));
        }
        let at = log.index_of(200_001);
        assert_eq!(log.raw(at), "ValueError: the one");
        assert_eq!(log.number(log.len() - 1), 400_000);
        assert!(log.skipped_lines() > 300_000);
        assert_eq!(log.skipped_lines() + log.len() as u64, 400_000);
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_raw_log(text in "([a-z\u{1b}\\[é]{0,6}[\n\r ]){0,40}", cut in 1usize..50) {
            let mut reader = LogReader::new();
            for chunk in text.as_bytes().chunks(cut) { reader.push(chunk); }
            let log = reader.finish();
            let lines: Vec<&str> = text.lines().collect();
            prop_assert_eq!(log.lines(), lines.len() as u64);
            for (number, piece) in pieces(&log) {
                prop_assert!(lines[number as usize - 1].contains(&piece));
            }
        }
    }
}
