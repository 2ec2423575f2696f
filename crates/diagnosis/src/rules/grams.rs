//! Finds which of thousands of literals stand in a line. An Aho-Corasick automaton of them takes longer to build than
//! a whole diagnosis takes otherwise (docs/benchmarks.md); this index is built in about a millisecond: each literal is
//! filed under its rarest four bytes, and a line is looked up four bytes at a time.

use std::borrow::Cow;

use super::Start;

/// Bits of a bucket's number.
const BITS: u32 = 16;

/// Literals, each with the pattern that it starts.
#[derive(Debug)]
pub(crate) struct Grams {
    /// bucket `b` holds the entries `bounds[b]..bounds[b + 1]`
    bounds: Vec<u32>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// in lower case
    text: Cow<'static, str>,
    /// where in `text` its filed four bytes begin
    at: u32,
    start: Start,
}

fn bucket(gram: u32) -> usize {
    // Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4)
    (gram.wrapping_mul(0x9e37_79b1) >> (32 - BITS)) as usize
}

/// The four bytes at each place of `text`, in lower case.
fn grams(text: &[u8]) -> impl Iterator<Item = u32> {
    text.windows(4).map(|w| w.iter().fold(0, |gram, b| gram << 8 | u32::from(b.to_ascii_lowercase())))
}

impl Grams {
    /// Literals shorter than four bytes are never found; the loading of rules refuses them.
    pub(crate) fn new(literals: Vec<(Cow<'static, str>, Start)>) -> Self {
        let mut common = vec![0_u32; 1 << BITS];
        for (text, _) in &literals {
            grams(text.as_bytes()).for_each(|g| common[bucket(g)] += 1);
        }
        let mut filed: Vec<(usize, Entry)> = Vec::with_capacity(literals.len());
        for (text, start) in literals {
            let rarest = grams(text.as_bytes()).map(bucket).enumerate().min_by_key(|(_, b)| common[*b]);
            if let Some((at, bucket)) = rarest {
                filed.push((bucket, Entry { text, at: at as u32, start }));
            }
        }
        filed.sort_by_key(|(bucket, _)| *bucket);
        let mut bounds = vec![0_u32; (1 << BITS) + 1];
        for (bucket, _) in &filed {
            bounds[bucket + 1] += 1;
        }
        for b in 1..bounds.len() {
            bounds[b] += bounds[b - 1];
        }
        Self { bounds, entries: filed.into_iter().map(|(_, entry)| entry).collect() }
    }

    /// The patterns of which a literal stands in `line`, in any case, into `out`; some perhaps twice.
    pub(crate) fn find(&self, line: &str, out: &mut Vec<Start>) {
        let line = line.as_bytes();
        for (place, gram) in grams(line).enumerate() {
            let b = bucket(gram);
            for entry in &self.entries[self.bounds[b] as usize..self.bounds[b + 1] as usize] {
                let from = place.checked_sub(entry.at as usize);
                let here = from.and_then(|from| line.get(from..from + entry.text.len()));
                if here.is_some_and(|here| here.eq_ignore_ascii_case(entry.text.as_bytes())) {
                    out.push(entry.start);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_contains_finds(literals in prop::collection::vec("[abé ]{4,7}", 1..40), line in "[abAéB ]{0,60}") {
            let start = |i: usize| Start { rule: i as u32, pattern: 0 };
            let index = Grams::new(literals.iter().enumerate().map(|(i, l)| (Cow::Owned(l.clone()), start(i))).collect());
            let mut found = Vec::new();
            index.find(&line, &mut found);
            found.sort();
            found.dedup();
            let lower = line.to_ascii_lowercase();
            let want: Vec<Start> = (0..literals.len()).filter(|i| lower.contains(&literals[*i])).map(start).collect();
            prop_assert_eq!(found, want);
        }
    }
}
