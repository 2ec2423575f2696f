//! The places of a large log that are worth keeping, found in one pass over the bytes in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// Bytes scanned at a time.
const BUFFER: usize = 1 << 20;
/// Bytes kept before the scanned ones, so that a hit at their start has something before it, and after, likewise.
const MARGIN: usize = 8 << 10;
/// The head of the log, kept in any case.
const HEAD: u64 = 64 << 10;
/// What is kept around a word of trouble: lines and bytes before, lines and bytes after.
const BEFORE: (usize, usize) = (12, 2 << 10);
const AFTER: (usize, usize) = (40, 6 << 10);
/// The first places are kept up to this many bytes, the latest up to that many.
const EARLY: usize = 2 << 20;
const LATE: usize = 4 << 20;
/// A line of which so many alike were seen is noise.
const ALIKE: u32 = 8;
/// Kinds of lines counted at most.
const KINDS: usize = 1 << 16;

/// Words of which one must stand in or near a line of a large log for it to be looked at, unless it is in the head or
/// the tail. Nine of ten of the rules' examples hold one; a word more costs time on every large log.
const TROUBLE: &[&str] = &[
    "error",
    "fail",
    "exception",
    "traceback",
    "fatal",
    "panic",
    "abort",
    "killed",
    "memory",
    "signal",
    "segmentation",
    "core dumped",
    "timed out",
    "timeout",
    "time limit",
    "exceeded",
    "denied",
    "refused",
    "cannot",
    "can't",
    "can not",
    "could not",
    "couldn't",
    "not found",
    "no such",
    "undefined",
    "unresolved",
    "missing",
    "invalid",
    "unable to",
    "unexpected",
    "assert",
    "no space",
    "cancel",
    "terminat",
    "not ok",
    "exit code",
    "exit status",
    "exited with",
    "stalled",
    "unhealthy",
    "quota",
    "corrupt",
    "mismatch",
    "conflict",
    "forbidden",
    "rejected",
    "overflow",
    "diverge",
    "warning: unused",
    "unsupported",
    "not allowed",
    "unauthorized",
    "unavailable",
    " nan",
    "=nan",
    "deadlock",
    "interrupt",
    "out of",
    "not better",
    "unknown",
    "rolled back",
    "evicted",
    "preempt",
    "not a ",
    "not in ",
    "too many",
    "too long",
    "malformed",
    "no longer",
    "read-only",
    "broken",
    "already in use",
    "unbound",
    "not set",
    "recognized",
    "illegal",
    "syntax",
    "not permitted",
    "not authorized",
    "unreachable",
    "no route",
    "busy",
    "blocked for",
    "no valid",
    "handshake",
    "host key",
    "unmatched",
    "refusing",
    "required",
    "not specified",
    "closed by",
    "oom",
    "worse than",
    "no improvement",
    "stuck",
    "hung",
    "expected",
    "differ",
    "violat",
    "offense",
    "dubious",
    "unclosed",
    "uncaught",
    "panicked",
    "crash",
    "duplicate",
    "multiple definition",
    "no rule to make",
    "lost",
    "gave up",
    "giving up",
    "diverg",
    "did not",
    "does not",
    "doesn't",
    "is not",
    "was not",
    "has no",
    "no module",
    "incompatib",
    "expired",
    "wrong",
    "severe",
    "halted",
    "no match",
    "not enough",
    "exceeds",
    "below threshold",
    "exhausted",
    "loss spike",
];

/// Finds the words of trouble, in any case.
pub(crate) fn trouble() -> &'static AhoCorasick {
    static FINDER: LazyLock<AhoCorasick> = LazyLock::new(|| {
        let mut builder = AhoCorasick::builder();
        builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard).kind(Some(AhoCorasickKind::DFA));
        // the words are ours: they can't be too many for an automaton
        builder.build(TROUBLE).unwrap_or_else(|e| unreachable!("the words of trouble: {e}"))
    });
    &FINDER
}

/// A contiguous part of the log. It may begin and end within a line only where a line is very long.
#[derive(Debug)]
pub(crate) struct Block {
    start: u64,
    pub(crate) first_line: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// The state of the pass.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    /// bytes from `offset` on; those before `scanned` have been scanned already
    buffer: Vec<u8>,
    offset: u64,
    scanned: usize,
    /// the number of the line in which `buffer[0]` stands
    line: u64,
    /// the buffer before this one: the tail of the log is at hand whenever it ends
    previous: Option<Block>,
    early: Vec<Block>,
    early_bytes: usize,
    late: VecDeque<Block>,
    late_bytes: usize,
    alike: HashMap<u64, u32>,
}

impl Sparse {
    pub(crate) fn push(&mut self, mut chunk: &[u8]) {
        if self.line == 0 {
            self.line = 1;
        }
        while !chunk.is_empty() {
            let room = (BUFFER + 2 * MARGIN).saturating_sub(self.buffer.len());
            let (now, later) = chunk.split_at(room.min(chunk.len()));
            self.buffer.extend_from_slice(now);
            chunk = later;
            if self.buffer.len() >= BUFFER + 2 * MARGIN {
                self.scan(self.buffer.len() - MARGIN);
                self.turn();
            }
        }
    }

    /// The number of lines and the kept blocks, in order and without overlap.
    pub(crate) fn finish(mut self) -> (u64, Vec<Block>) {
        self.scan(self.buffer.len());
        let lines =
            self.line + count(&self.buffer) - u64::from(self.buffer.last().is_none_or(|b| *b == b'\n'));
        let mut blocks = std::mem::take(&mut self.early);
        blocks.extend(std::mem::take(&mut self.late));
        blocks.extend(self.previous.take());
        blocks.push(Block {
            start: self.offset,
            first_line: self.line,
            bytes: std::mem::take(&mut self.buffer),
        });
        blocks.sort_by_key(|b| b.start);
        let mut kept: Vec<Block> = Vec::with_capacity(blocks.len());
        for mut block in blocks {
            if let Some(last) = kept.last() {
                let overlap = last.end().saturating_sub(block.start) as usize;
                if overlap >= block.bytes.len() {
                    continue;
                }
                if overlap > 0 {
                    block.first_line += count(&block.bytes[..overlap]);
                    block.bytes.drain(..overlap);
                    block.start += overlap as u64;
                }
            }
            match kept.last_mut() {
                Some(last) if last.end() == block.start => last.bytes.extend_from_slice(&block.bytes),
                _ => kept.push(block),
            }
        }
        (lines, kept)
    }

    /// Makes room: what was scanned becomes `previous`, but for the margin.
    fn turn(&mut self) {
        let keep_from = self.scanned.saturating_sub(MARGIN);
        let rest = self.buffer[keep_from..].to_vec();
        let line = self.line + count(&self.buffer[..keep_from]);
        let done = std::mem::replace(&mut self.buffer, rest);
        // the tail begins at a line, unless one line fills the buffer
        let cut = memchr::memchr(b'\n', &done).map_or_else(|| boundary(&done, 0), |i| i + 1);
        self.previous = Some(Block {
            start: self.offset + cut as u64,
            first_line: self.line + count(&done[..cut]),
            bytes: done[cut..].to_vec(),
        });
        self.offset += keep_from as u64;
        self.line = line;
        self.scanned -= keep_from;
        self.buffer.reserve(BUFFER + 2 * MARGIN - self.buffer.len());
    }

    fn scan(&mut self, to: usize) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut from = self.scanned;
        let mut counted = (0, self.line);
        let mut open: Option<(usize, usize)> = None;
        if self.offset + (from as u64) < HEAD {
            let end = buffer.len().min((HEAD - self.offset) as usize);
            open = Some((
                0,
                memchr::memrchr(b'\n', &buffer[..end]).map_or_else(|| boundary(&buffer, end), |i| i + 1),
            ));
        }
        while from < to {
            let Some(hit) = trouble().find(aho_corasick::Input::new(&buffer).span(from..buffer.len())) else {
                break;
            };
            if hit.start() >= to {
                break;
            }
            let line_end =
                memchr::memchr(b'\n', &buffer[hit.end()..]).map_or(buffer.len(), |i| hit.end() + i + 1);
            from = line_end.min(hit.end() + MARGIN);
            let line_start = memchr::memrchr(b'\n', &buffer[..hit.start()]).map_or(0, |i| i + 1);
            if self.is_noise(
                &buffer[line_start..line_end.min(line_start + 200)],
                &buffer[hit.start()..hit.end()],
            ) {
                continue;
            }
            let start = back(&buffer, line_start.max(hit.start().saturating_sub(BEFORE.1)));
            let end = forth(&buffer, line_end.min(hit.end() + AFTER.1));
            open = match open {
                Some((a, b)) if start <= b => Some((a, b.max(end))),
                Some(done) => {
                    counted = self.keep(&buffer, done, counted);
                    Some((start, end))
                }
                None => Some((start, end)),
            };
        }
        if let Some(done) = open {
            self.keep(&buffer, done, counted);
        }
        self.scanned = to.max(from.min(buffer.len()));
        self.buffer = buffer;
    }

    /// Counts lines alike (digits apart): the ninth and later ones are noise wherever they stand.
    fn is_noise(&mut self, line: &[u8], word: &[u8]) -> bool {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut digit = false;
        for b in line.iter().chain(word) {
            let d = b.is_ascii_digit();
            if !(d && digit) {
                // FNV-1a, a digit run as one zero
                hash = (hash ^ u64::from(if d { b'0' } else { *b })).wrapping_mul(0x0100_0000_01b3);
            }
            digit = d;
        }
        if self.alike.len() >= KINDS && !self.alike.contains_key(&hash) {
            return false;
        }
        let seen = self.alike.entry(hash).or_default();
        *seen += 1;
        *seen > ALIKE
    }

    fn keep(&mut self, buffer: &[u8], (start, end): (usize, usize), counted: (usize, u64)) -> (usize, u64) {
        let first_line = counted.1 + count(&buffer[counted.0..start]);
        let bytes = buffer[start..end].to_vec();
        let size = bytes.len();
        let block = Block { start: self.offset + start as u64, first_line, bytes };
        if self.early_bytes < EARLY {
            self.early_bytes += size;
            self.early.push(block);
        } else {
            self.late_bytes += size;
            self.late.push_back(block);
            while self.late_bytes > LATE {
                let Some(dropped) = self.late.pop_front() else { break };
                self.late_bytes -= dropped.bytes.len();
            }
        }
        (start, first_line)
    }
}

fn count(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Up to `BEFORE` lines back from `at`.
fn back(buffer: &[u8], at: usize) -> usize {
    let floor = at.saturating_sub(BEFORE.1);
    let mut start = at;
    for _ in 0..BEFORE.0 {
        if start <= floor {
            break;
        }
        match memchr::memrchr(b'\n', &buffer[floor..start - 1]) {
            Some(i) => start = floor + i + 1,
            None => break,
        }
    }
    boundary(buffer, start)
}

/// Up to `AFTER` lines on from `at`.
fn forth(buffer: &[u8], at: usize) -> usize {
    let ceiling = (at + AFTER.1).min(buffer.len());
    let mut end = at;
    for _ in 0..AFTER.0 {
        match memchr::memchr(b'\n', &buffer[end..ceiling]) {
            Some(i) => end += i + 1,
            None => break,
        }
    }
    boundary(buffer, end)
}

/// `at`, or a little after it where that would cut a UTF-8 character.
fn boundary(buffer: &[u8], at: usize) -> usize {
    (at..buffer.len().min(at + 4)).find(|i| buffer[*i] & 0xc0 != 0x80).unwrap_or(at.min(buffer.len()))
}
