//! The end of a log in memory: nearly always all of it, so that a failure is explained at once, whatever became of the
//! store.

use std::collections::VecDeque;

use coroner_diagnosis::{Log, LogReader};

/// As much of the end as is held.
const HELD: usize = 4 << 20;

/// The end of a log, and how many lines came before it.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    held: VecDeque<u8>,
    dropped: u64,
    dropped_lines: u64,
}

impl Recent {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let over = (self.held.len() + bytes.len()).saturating_sub(HELD);
        let from_held = over.min(self.held.len());
        let from_new = over - from_held;
        let lines = self.held.drain(..from_held).filter(|b| *b == b'\n').count();
        let lines = lines + bytes[..from_new].iter().filter(|b| **b == b'\n').count();
        self.held.extend(&bytes[from_new..]);
        self.dropped += over as u64;
        self.dropped_lines += lines as u64;
    }

    /// Is it the whole log?
    pub(crate) fn is_whole(&self) -> bool {
        self.dropped == 0
    }

    /// As a log whose lines have the numbers of the untouched one: what is not held reads as empty lines.
    pub(crate) fn log(&self) -> Log {
        let mut reader = LogReader::new();
        let blank = [b'\n'; 4096];
        let mut lines = usize::try_from(self.dropped_lines).unwrap_or(usize::MAX);
        while lines > 0 {
            let now = lines.min(blank.len());
            reader.push(&blank[..now]);
            lines -= now;
        }
        let (a, b) = self.held.as_slices();
        reader.push(a);
        reader.push(b);
        reader.finish()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.held.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers() {
        let mut recent = Recent::default();
        let line = format!("{}\n", "x".repeat(999));
        for _ in 0..10_000 {
            recent.add(line.as_bytes());
        }
        recent.add(b"the end");
        assert!(!recent.is_whole() && recent.held.len() == HELD);
        assert_eq!(recent.log().lines(), 10_001);
        let mut whole = Recent::default();
        whole.add(b"a\nb");
        assert!(whole.is_whole());
        assert_eq!(whole.log().lines(), 2);
        let mut large = Recent::default();
        large.add(&vec![b'\n'; HELD + 5]);
        assert_eq!((large.dropped, large.dropped_lines, large.log().lines()), (5, 5, (HELD + 5) as u64));
    }
}
