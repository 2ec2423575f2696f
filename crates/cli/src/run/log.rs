//! The log of a run: both streams as they came, the first and the last of it where there is too much.

mod recent;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use recent::Recent;

/// Of a log that is too long this much of the end is kept, or half of the limit if that is less: what killed a run
/// stands at its end.
const TAIL: u64 = 8 << 20;

/// Writes to `to`, but not more than a limit.
pub(super) struct Capped<W> {
    to: W,
    /// What may still be written at once.
    head: u64,
    tail: VecDeque<u8>,
    tail_limit: usize,
    limit: u64,
    facts: LogFacts,
    recent: Recent,
}

/// What became of the log.
#[derive(Debug, Default)]
pub(crate) struct LogFacts {
    /// Everything that the command printed.
    pub(crate) bytes: u64,
    /// Of which this much was left out, between the first and the last of it.
    pub(crate) left_out: u64,
    /// It could not be kept from some point on.
    pub(crate) failed: Option<io::Error>,
    /// Its last byte: what we say next begins on a line of its own.
    pub(crate) last: Option<u8>,
}

impl<W: Write> Capped<W> {
    pub(super) fn new(to: W, limit: u64) -> Self {
        let tail = TAIL.min(limit / 2);
        Self {
            to,
            head: limit - tail,
            tail: VecDeque::new(),
            tail_limit: usize::try_from(tail).unwrap_or(0),
            limit,
            facts: LogFacts::default(),
            recent: Recent::default(),
        }
    }

    /// Keeps `bytes`. A log that can't be written is a fact about the log, not about the run: the rest goes on.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.facts.bytes += bytes.len() as u64;
        self.facts.last = bytes.last().copied().or(self.facts.last);
        let now = bytes.len().min(usize::try_from(self.head).unwrap_or(usize::MAX));
        let (now, later) = bytes.split_at(now);
        self.head -= now.len() as u64;
        self.write(now);
        let over = (self.tail.len() + later.len()).saturating_sub(self.tail_limit);
        let from_tail = over.min(self.tail.len());
        self.tail.drain(..from_tail);
        self.tail.extend(&later[over - from_tail..]);
        self.facts.left_out += over as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.recent.add(bytes);
        if self.facts.failed.is_none()
            && let Err(error) = self.to.write_all(bytes)
        {
            self.facts.failed = Some(error);
        }
    }

    /// Writes the last of it, behind a line that says how much is missing.
    pub(super) fn finish(mut self) -> (W, LogFacts, Recent) {
        let tail: Vec<u8> = std::mem::take(&mut self.tail).into();
        let mut tail = tail.as_slice();
        if self.facts.left_out > 0 {
            // a torn line would read as something that was never printed
            if let Some(end) = tail.iter().position(|b| *b == b'\n').filter(|end| *end < 64 << 10) {
                self.facts.left_out += end as u64 + 1;
                tail = &tail[end + 1..];
            }
            let left_out = crate::quantities::thousands(self.facts.left_out);
            let limit = coroner_diagnosis::bytes(self.limit);
            self.write(
                format!("\n[coroner: {left_out} bytes are left out here; run.log_limit is {limit}]\n")
                    .as_bytes(),
            );
        }
        self.write(tail);
        if self.facts.failed.is_none()
            && let Err(error) = self.to.flush()
        {
            self.facts.failed = Some(error);
        }
        (self.to, self.facts, self.recent)
    }
}

/// A log that several threads write to, until it is taken away from them.
pub(super) struct Shared<W>(Arc<Mutex<Option<Capped<W>>>>);

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write> Shared<W> {
    pub(super) fn new(log: Capped<W>) -> Self {
        Self(Arc::new(Mutex::new(Some(log))))
    }

    pub(super) fn add(&self, bytes: &[u8]) {
        if let Some(log) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            log.add(bytes);
        }
    }

    pub(super) fn take(&self) -> Option<Capped<W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: &[&[u8]], limit: u64) -> (Vec<u8>, LogFacts) {
        let mut log = Capped::new(Vec::new(), limit);
        for piece in pieces {
            log.add(piece);
        }
        let (to, facts, recent) = log.finish();
        assert!(recent.is_whole() && recent.bytes() == to, "what is read later is what was kept");
        (to, facts)
    }

    #[test]
    fn what_fits_is_kept_byte_for_byte() {
        let (log, facts) = kept(&[b"a\n\xff\0b", b"", b"\r\nlast"], 100);
        assert_eq!(log, b"a\n\xff\0b\r\nlast");
        assert_eq!((facts.bytes, facts.left_out), (11, 0));
        let exact = vec![b'x'; 64];
        for cut in 0..64 {
            let (log, facts) = kept(&[&exact[..cut], &exact[cut..]], 64);
            assert_eq!((log, facts.left_out), (exact.clone(), 0));
        }
    }

    #[test]
    fn of_too_much_the_first_and_the_last_are_kept() {
        let lines: Vec<String> = (0..1000).map(|i| format!("line {i:04}\n")).collect();
        let all = lines.concat();
        for chunk in [1, 7, 100, 1000, all.len()] {
            let (log, facts) = kept(&all.as_bytes().chunks(chunk).collect::<Vec<_>>(), 1000);
            let text = String::from_utf8(log).unwrap();
            assert!(text.starts_with("line 0000\nline 0001\n"), "{text}");
            assert!(text.ends_with("line 0998\nline 0999\n"), "{text}");
            let marker = format!(
                "\n[coroner: {} bytes are left out here; run.log_limit is 1000 B]\n",
                crate::quantities::thousands(facts.left_out)
            );
            assert_eq!(text.matches(&marker).count(), 1, "{text}");
            assert_eq!(facts.bytes, all.len() as u64);
            assert_eq!(text.len() - marker.len() + facts.left_out as usize, all.len());
            let behind = text.split(&marker).nth(1).unwrap();
            assert!(behind.starts_with("line "), "a torn line: {behind}");
        }
    }

    #[test]
    fn a_full_disk_is_a_fact_and_no_failure() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let n = bytes.len().min(self.0);
                self.0 -= n;
                if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = Capped::new(Full(5), 100);
        log.add(b"1234567");
        log.add(b"89");
        let (_, facts, _) = log.finish();
        assert_eq!(facts.bytes, 9);
        assert_eq!(facts.failed.unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
