//! What the search has learnt from what it tried: which operators pay, and, as far as it is told, what to keep away from.

use std::collections::BTreeMap;

use coroner_diagnosis::{Category, Origin};
use fastrand::Rng;

use super::edit::{Deed, Edit, Operator};
use super::{Became, Lesson, Told, Tried, quoted};

/// Only so many of the last attempts count: what pays changes in the course of a search.
const WINDOW: usize = 300;
/// How sure it is that a number which took too long will do so again: the rest of the program has changed since.
const LIMITS_HOLD: f64 = 0.85;

/// Built anew from the history for every proposal, so that a resumed run goes on as it would have.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pays: BTreeMap<Operator, Pay>,
    places: BTreeMap<(Operator, String), Toll>,
    /// Names that were not there, or not allowed, and how often.
    names: BTreeMap<String, f64>,
    /// From this value on a number took too long or too much: upwards, downwards.
    too_high: BTreeMap<String, f64>,
    too_low: BTreeMap<String, f64>,
    /// How mending went, by signature and by way.
    mended: BTreeMap<(String, bool), Toll>,
}

#[derive(Debug, Default)]
struct Pay {
    tried: f64,
    gained: f64,
}

#[derive(Debug, Default)]
struct Toll {
    failed: f64,
    worked: f64,
}

/// The two ways of mending, as they begin a line of changes.
pub(super) const UNDONE: &str = "undone";
pub(super) const SOFTENED: &str = "softened";

impl Memory {
    pub(super) fn of(history: &[Tried]) -> Self {
        let mut memory = Self::default();
        let recent = &history[history.len().saturating_sub(WINDOW)..];
        let last = recent.len().saturating_sub(1);
        let mut failures: BTreeMap<u64, &Lesson> = BTreeMap::new();
        for (at, tried) in recent.iter().enumerate() {
            let deeds = Deed::read_all(&tried.change);
            match &tried.result {
                Became::NotItsFault => continue,
                Became::Measured { better, .. } => memory.worked(&deeds, *better),
                Became::Failed(told) => {
                    memory.paid(&deeds, 0.0);
                    match told {
                        Told::Lesson(lesson) if lesson.origin == Origin::Candidate => {
                            failures.insert(tried.number, lesson);
                            memory.learn(&deeds, lesson);
                        }
                        // no more of it than one error message, the last one
                        Told::Raw(text) if at == last => memory.missing(&missing_names(text)),
                        _ => {}
                    }
                }
            }
            if let Some(lesson) = tried.repair_of.and_then(|number| failures.get(&number)) {
                let softened = tried.change.contains(SOFTENED);
                let toll = memory.mended.entry((lesson.signature.clone(), softened)).or_default();
                match &tried.result {
                    Became::Measured { .. } => toll.worked += 1.0,
                    _ => toll.failed += 1.0,
                }
            }
        }
        memory
    }

    fn paid(&mut self, deeds: &[Deed], gain: f64) {
        for deed in deeds {
            let pay = self.pays.entry(deed.operator).or_default();
            pay.tried += 1.0;
            pay.gained += gain;
        }
    }

    fn worked(&mut self, deeds: &[Deed], better: bool) {
        self.paid(deeds, if better { 1.0 } else { 0.1 });
        for deed in deeds {
            self.places.entry((deed.operator, deed.place.clone())).or_default().worked += 1.0;
        }
    }

    fn learn(&mut self, deeds: &[Deed], lesson: &Lesson) {
        // the deed that brought what the diagnosis names has done it; otherwise all of them may have
        let named: Vec<&Deed> =
            deeds.iter().filter(|deed| lesson.names.iter().any(|name| has_word(&deed.what, name))).collect();
        let guilty: Vec<&Deed> = if named.is_empty() { deeds.iter().collect() } else { named };
        for deed in &guilty {
            let toll = self.places.entry((deed.operator, deed.place.clone())).or_default();
            toll.failed += 1.0 / guilty.len() as f64;
        }
        match lesson.category {
            Category::Timeout | Category::ResourceError => {
                let numbers: Vec<(String, f64, f64)> =
                    guilty.iter().flat_map(|d| numbers_of(&d.what)).collect();
                for (name, before, after) in numbers {
                    if after.abs() > before.abs() {
                        let least = self.too_high.entry(name).or_insert(f64::INFINITY);
                        *least = least.min(after.abs());
                    } else {
                        let most = self.too_low.entry(name).or_insert(0.0);
                        *most = most.max(after.abs());
                    }
                }
            }
            _ if missing(&lesson.root_cause) => self.missing(&lesson.names),
            _ => {}
        }
    }

    fn missing(&mut self, names: &[String]) {
        for name in names {
            *self.names.entry(name.clone()).or_default() += 1.0;
        }
    }

    /// How much an operator is worth trying, never nothing.
    pub(super) fn weight(&self, operator: Operator) -> f64 {
        let pay = self.pays.get(&operator);
        let (tried, gained) = pay.map_or((0.0, 0.0), |pay| (pay.tried, pay.gained));
        0.05 + (1.0 + gained) / (3.0 + tried)
    }

    /// Is this edit worth a test, going by what failures have taught? Never a final no: programs change.
    pub(super) fn advises(&self, edit: &Edit, parent: &str, rng: &mut Rng) -> bool {
        if let Some(toll) = self.places.get(&(edit.deed.operator, edit.deed.place.clone())) {
            // what failed twice as often as it worked is tried one time in three
            let share = (toll.failed - 0.5).max(0.0) / (toll.failed + toll.worked + 0.5);
            if rng.f64() < share * 0.9 {
                return false;
            }
        }
        for (name, count) in &self.names {
            let brought = edit.pieces.iter().any(|piece| has_word(&piece.text, name));
            if brought && !has_word(parent, name) && rng.f64() < count / (count + 0.3) {
                return false;
            }
        }
        for (name, before, after) in &edit.numbers {
            let (grows, after) = (after.abs() > before.abs(), after.abs());
            let over = grows && self.too_high.get(name).is_some_and(|limit| after >= *limit);
            let under = !grows && self.too_low.get(name).is_some_and(|limit| after <= *limit);
            if !name.is_empty() && (over || under) && rng.f64() < LIMITS_HOLD {
                return false;
            }
        }
        true
    }

    /// Has softening mended this better than taking back, so far as is known?
    pub(super) fn softens(&self, lesson: &Lesson) -> bool {
        let worth = |softened: bool| {
            let toll = self.mended.get(&(lesson.signature.clone(), softened));
            toll.map_or(0.5, |toll| (1.0 + toll.worked) / (2.0 + toll.worked + toll.failed))
        };
        let (soft, hard) = (worth(true), worth(false));
        if soft == hard {
            matches!(lesson.category, Category::Timeout | Category::ResourceError)
        } else {
            soft > hard
        }
    }
}

/// Does a sentence say that something is not there or not allowed?
fn missing(text: &str) -> bool {
    ["not defined", "Forbidden", "No module", "no attribute", "cannot import", "unbound", "not associated"]
        .iter()
        .any(|phrase| text.contains(phrase))
}

/// The names that a raw error message says are not there.
pub(super) fn missing_names(text: &str) -> Vec<String> {
    text.lines().rev().find(|line| missing(line)).map(quoted).unwrap_or_default()
}

/// Does a word stand in the text on its own?
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            !part(text[..at].chars().next_back()) && !part(text[at + word.len()..].chars().next())
        })
}

/// "NAME 1 -> 2, OTHER 0.5 -> 0.25" as numbers.
fn numbers_of(what: &str) -> Vec<(String, f64, f64)> {
    what.split(", ")
        .filter_map(|part| {
            let (head, after) = part.split_once(" -> ")?;
            let (name, before) = head.rsplit_once(' ')?;
            Some((name.to_owned(), before.parse().ok()?, after.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propose::Piece;

    fn lesson(category: Category, root_cause: &str) -> Lesson {
        Lesson {
            signature: "v1:1".to_owned(),
            category,
            origin: Origin::Candidate,
            root_cause: root_cause.to_owned(),
            fix: String::new(),
            line: None,
            names: quoted(root_cause),
            repeated: None,
        }
    }

    fn tried(number: u64, change: &str, result: Became) -> Tried {
        Tried { number, change: change.to_owned(), repair_of: None, result }
    }

    fn failed(number: u64, change: &str, lesson: Lesson) -> Tried {
        tried(number, change, Became::Failed(Told::Lesson(Box::new(lesson))))
    }

    fn edit(operator: Operator, place: &str, text: &str, numbers: &[(&str, f64, f64)]) -> Edit {
        Edit {
            deed: Deed::new(operator, place, "x"),
            pieces: vec![Piece { start: 0, end: 0, text: text.to_owned() }],
            numbers: numbers.iter().map(|(n, a, b)| ((*n).to_owned(), *a, *b)).collect(),
        }
    }

    /// How many of 1,000 such edits it would let through.
    fn let_through(memory: &Memory, edit: &Edit) -> usize {
        let mut rng = Rng::with_seed(7);
        (0..1000).filter(|_| memory.advises(edit, "def f(): pass", &mut rng)).count()
    }

    #[test]
    fn what_failed_is_kept_away_from_but_never_for_ever() {
        let slow = lesson(Category::Timeout, "stopped by our time limit");
        let unknown = lesson(Category::RuntimeError, "NameError: name 'helper' is not defined");
        let history = [
            failed(1, "constant in module: STEPS 100 -> 900", slow),
            failed(2, "expression in f: line 3: x -> helper(x) (from exp 1)", unknown),
        ];
        let memory = Memory::of(&history);
        let growing = |to| edit(Operator::Constants, "g", "", &[("STEPS", 100.0, to)]);
        assert!(let_through(&memory, &growing(1000.0)) < 250);
        assert_eq!(let_through(&memory, &growing(200.0)), 1000);
        let naming = edit(Operator::Insert, "g", "y = helper(2)", &[]);
        assert!((1..400).contains(&let_through(&memory, &naming)));
        assert_eq!(let_through(&memory, &edit(Operator::Insert, "g", "y = helpers(2)", &[])), 1000);
        let same_place = edit(Operator::Expression, "f", "z", &[]);
        assert!((500..900).contains(&let_through(&memory, &same_place)));
    }

    #[test]
    fn what_is_not_its_fault_teaches_nothing() {
        let mut harness = lesson(Category::Timeout, "the evaluator crashed");
        harness.origin = Origin::Harness;
        let history = [
            tried(1, "constant in module: STEPS 100 -> 900", Became::NotItsFault),
            failed(2, "constant in module: STEPS 100 -> 900", harness),
        ];
        let memory = Memory::of(&history);
        assert_eq!(
            let_through(&memory, &edit(Operator::Constant, "module", "", &[("STEPS", 1.0, 1e4)])),
            1000
        );
        assert_eq!(
            Memory::of(&history[..1]).weight(Operator::Constant),
            Memory::default().weight(Operator::Constant)
        );
    }

    #[test]
    fn without_diagnoses_only_the_last_message_is_known() {
        let raw = |text: &str| Became::Failed(Told::Raw(text.to_owned()));
        let text = "Traceback\nNameError: name 'helper' is not defined";
        let naming = edit(Operator::Insert, "g", "y = helper(2)", &[]);
        let last = [tried(1, "insert in f: x", raw(text))];
        assert!(let_through(&Memory::of(&last), &naming) < 400);
        let earlier = [last[0].clone(), tried(2, "insert in f: x", raw("ValueError: 3"))];
        assert_eq!(let_through(&Memory::of(&earlier), &naming), 1000);
        let nothing = [tried(1, "insert in g: x", Became::Failed(Told::Nothing))];
        assert_eq!(let_through(&Memory::of(&nothing), &naming), 1000);
    }

    #[test]
    fn operators_that_pay_are_tried_more() {
        let good = Became::Measured { rank: 1.0, better: true };
        let history: Vec<Tried> = (0..10)
            .flat_map(|i| {
                [
                    tried(2 * i, "constant in module: A 1 -> 2", good.clone()),
                    tried(2 * i + 1, "delete in f: line 3", Became::Failed(Told::Nothing)),
                ]
            })
            .collect();
        let memory = Memory::of(&history);
        assert!(memory.weight(Operator::Constant) > 5.0 * memory.weight(Operator::Delete));
        assert!(memory.weight(Operator::Delete) > 0.05);
    }
}
