//! What a command prints: passed on while it is little, its first and its last while it is much, and too much is the end.

use std::collections::VecDeque;
use std::io::{self, Write};

use coroner_diagnosis::bytes;

/// Counts and cuts. What comes first is written at once; of the rest the end is held until there is no more.
pub(super) struct Output<'a> {
    to: &'a mut (dyn Write + Send),
    /// What may still be written at once.
    head: u64,
    tail: VecDeque<u8>,
    tail_limit: usize,
    limit: u64,
    pub(super) total: u64,
    pub(super) dropped: u64,
    /// Nobody takes it any more.
    pub(super) failed: Option<io::Error>,
}

impl<'a> Output<'a> {
    /// Keeps `kept` bytes; more than `limit` is too much.
    pub(super) fn new(to: &'a mut (dyn Write + Send), kept: u64, limit: u64) -> Self {
        // where everything may be kept there is nothing to hold back
        let tail = if kept >= limit { 0 } else { kept / 2 };
        Self {
            to,
            head: kept - tail,
            tail: VecDeque::new(),
            tail_limit: usize::try_from(tail).unwrap_or(0),
            limit,
            total: 0,
            dropped: 0,
            failed: None,
        }
    }

    /// True as long as it is not too much.
    pub(super) fn add(&mut self, bytes: &[u8]) -> bool {
        self.total += bytes.len() as u64;
        let now = bytes.len().min(usize::try_from(self.head).unwrap_or(usize::MAX));
        let (now, later) = bytes.split_at(now);
        self.head -= now.len() as u64;
        self.write(now);
        let over = (self.tail.len() + later.len()).saturating_sub(self.tail_limit);
        let from_tail = over.min(self.tail.len());
        self.tail.drain(..from_tail);
        self.tail.extend(&later[over - from_tail..]);
        self.dropped += over as u64;
        self.total <= self.limit
    }

    /// How much is too much.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_none()
            && let Err(error) = self.to.write_all(bytes)
        {
            self.failed = Some(error);
        }
    }

    /// Writes the last of it, behind a line that says how much is missing.
    pub(super) fn finish(&mut self) {
        let tail: Vec<u8> = std::mem::take(&mut self.tail).into();
        let mut tail = tail.as_slice();
        if self.dropped > 0 {
            // a torn line would read as something that was never printed
            if let Some(end) = tail.iter().position(|byte| *byte == b'\n').filter(|end| *end < 64 << 10) {
                self.dropped += end as u64 + 1;
                tail = &tail[end + 1..];
            }
            let said = format!("\n[coroner: {} of output are left out here]\n", bytes(self.dropped));
            self.write(said.as_bytes());
        }
        self.write(tail);
        if self.failed.is_none() {
            self.failed = self.to.flush().err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: &[&[u8]], kept: u64, limit: u64) -> (String, u64, u64, bool) {
        let mut to = Vec::new();
        let mut output = Output::new(&mut to, kept, limit);
        let fits = pieces.iter().all(|piece| output.add(piece));
        output.finish();
        let (total, dropped) = (output.total, output.dropped);
        (String::from_utf8(to).unwrap(), total, dropped, fits)
    }

    #[test]
    fn little_is_passed_on_and_much_is_cut() {
        assert_eq!(kept(&[b"a\n", b"b"], 10, 100), ("a\nb".to_owned(), 3, 0, true));
        let lines: Vec<String> = (0..1000).map(|i| format!("line {i:04}\n")).collect();
        let all = lines.concat();
        for chunk in [1, 7, 1000, all.len()] {
            let pieces: Vec<&[u8]> = all.as_bytes().chunks(chunk).collect();
            let (text, total, dropped, fits) = kept(&pieces, 1000, 1 << 20);
            assert!(text.starts_with("line 0000\n") && text.ends_with("line 0999\n") && fits, "{text}");
            let said = format!("\n[coroner: {} of output are left out here]\n", bytes(dropped));
            assert!(text.split(&said).nth(1).unwrap().starts_with("line "), "{text}");
            assert_eq!(total, all.len() as u64);
            assert_eq!(text.len() as u64 - said.len() as u64 + dropped, total);
        }
    }

    #[test]
    fn too_much_is_said_and_what_may_be_kept_is_kept() {
        let (text, total, dropped, fits) = kept(&[b"12345", b"67890"], 100, 8);
        assert_eq!((text.as_str(), total, dropped, fits), ("1234567890", 10, 0, false));
    }
}
