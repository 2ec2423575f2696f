//! How alike two failures are, by the words in which they say what went wrong.

use std::collections::BTreeSet;

use coroner_diagnosis::{Diagnosis, Role};

/// More words than this are not looked at.
const MOST_WORDS: usize = 64;

/// Less than this in common is chance.
pub(crate) const ALIKE: f64 = 0.3;

/// In what words a failure says what went wrong: its root cause and the lines that prove it.
#[must_use]
pub fn cause_text(diagnosis: &Diagnosis) -> String {
    let lines =
        diagnosis.evidence.iter().filter(|item| item.role == Role::Cause).map(|item| item.text.as_str());
    std::iter::once(diagnosis.root_cause.as_str()).chain(lines).collect::<Vec<_>>().join("\n")
}

/// The words that count: without numbers, addresses and folders, which differ from run to run.
pub(crate) fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace()
        // of a path the last part says what it is
        .map(|word| word.trim_end_matches('/').rsplit('/').next().unwrap_or(word))
        .flat_map(|word| word.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .flat_map(|word| word.split('_'))
        .filter(|word| word.chars().count() > 1 && !word.chars().any(|c| c.is_numeric()))
        .take(MOST_WORDS)
        .map(str::to_lowercase)
        .collect()
}

/// Which part of all their words two failures share, below 1: the whole is kept for the same signature.
pub(crate) fn score(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let common = a.intersection(b).count();
    match a.len() + b.len() {
        0 => 0.0,
        // counted twice in the sum; two hundredths less than whole even if every word is the same
        sum => 0.98 * (2 * common) as f64 / sum as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_does_not_count() {
        let a =
            words("CUDA out of memory in /home/a/run_17/train.py:212. Tried to allocate 2.50 GiB at 0x7f3a");
        let b = words("CUDA out of memory in /data/b/train.py:9. Tried to allocate 512.00 GiB at 0xdead00");
        assert_eq!(a, b);
        assert!(a.contains("cuda") && !a.contains("home"), "{a:?}");
        assert!((score(&a, &b) - 0.98).abs() < 1e-9);
        let c = words("ModuleNotFoundError: No module named 'yaml'");
        assert!(score(&a, &c) < ALIKE);
        let d = words("CUDA out of memory on GPU 3");
        assert!((ALIKE..0.98).contains(&score(&a, &d)), "{}", score(&a, &d));
    }
}
