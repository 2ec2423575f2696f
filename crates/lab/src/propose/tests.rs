//! The search as its caller sees it: the same seed gives the same programs, all of which Python can parse, and it finds
//! what chance does not.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use coroner_diagnosis::{Category, Origin};
use coroner_store::Feedback;

use super::program::Program;
use super::*;

const SEED: &str = "\
import math

A = 1.0
B = 1.0
C = 8


def shape(x, y=2.0):
    total = 0.0
    for i in range(C):
        total += A * x + B * y
    return total


def solve(n):
    out = []
    for k in range(n):
        if k > 0:
            out.append(shape(k))
    return out
";

fn hash(code: &str) -> String {
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn builtin() -> Builtin {
    Builtin::new(None, Arc::new(hash)).unwrap()
}

fn member(number: u64, code: &str, rank: f64) -> Arc<Member> {
    Arc::new(Member { number, code: code.to_owned(), metrics: BTreeMap::new(), rank, remark: None })
}

fn brief(parent: Arc<Member>, ordinal: u64) -> Brief {
    Brief {
        errand: Arc::default(),
        seed: 11,
        ordinal,
        feedback: Feedback::Diagnosis,
        parent,
        others: Vec::new(),
        repair: None,
        history: Arc::default(),
        known: Arc::default(),
        advice: String::new(),
    }
}

fn ask(proposer: &dyn Proposer, brief: &Brief) -> Result<Proposal, ProposerError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(proposer.propose(brief))
}

#[test]
fn the_same_brief_gives_the_same_program_and_every_program_parses() {
    let (one, two) = (builtin(), builtin());
    let others = vec![
        member(2, &SEED.replace("A = 1.0", "A = 3.0").replace("C = 8", "C = 4"), 2.0),
        member(3, &SEED.replace("k > 0", "k > 1 and n != 3"), 1.5),
    ];
    let mut seen = HashSet::from([hash(SEED)]);
    let mut operators = HashSet::new();
    for ordinal in 1..400 {
        let mut brief = brief(member(1, SEED, 1.0), ordinal);
        brief.others.clone_from(&others);
        brief.known = Arc::new(seen.clone());
        let proposal = ask(&one, &brief).unwrap();
        assert_eq!(ask(&two, &brief).unwrap(), proposal);
        assert!(Program::parse(&proposal.code).is_some(), "{}\n{}", proposal.change, proposal.code);
        assert!(seen.insert(hash(&proposal.code)), "known already: {}", proposal.change);
        let deeds = Deed::read_all(&proposal.change);
        assert_eq!(deeds.len(), proposal.edits.len(), "{}", proposal.change);
        assert!(!proposal.change.contains('\n') && proposal.change.len() < 500);
        operators.extend(deeds.into_iter().map(|deed| deed.operator));
    }
    // there are no blocks here
    assert_eq!(operators.len(), Operator::ALL.len() - 1, "{operators:?}");
}

/// How well `A`, `B` and `C` are chosen; 0 is best.
fn rank(code: &str) -> Option<f64> {
    let value = |name: &str| -> Option<f64> {
        let line = code.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
        line.trim_matches(['(', ')']).parse().ok()
    };
    Some(-((value("A")? - 3.7).powi(2) + (value("B")? + 12.5).powi(2) + (value("C")? - 61.0).powi(2)))
}

/// The best rank after so many candidates: from the best so far, or always from the seed.
fn best_after(candidates: u64, from_the_best: bool, seed: u64) -> f64 {
    let proposer = builtin();
    let mut members = vec![member(0, SEED, rank(SEED).unwrap())];
    let mut history = Vec::new();
    let mut known = HashSet::from([hash(SEED)]);
    for ordinal in 1..=candidates {
        let parent = if from_the_best { members[0].clone() } else { member(0, SEED, rank(SEED).unwrap()) };
        let mut brief = brief(parent.clone(), ordinal);
        brief.seed = seed;
        if from_the_best {
            brief.others = members.iter().skip(1).take(8).cloned().collect();
            brief.history = Arc::new(history.clone());
        }
        brief.known = Arc::new(known.clone());
        let Ok(proposal) = ask(&proposer, &brief) else { continue };
        known.insert(hash(&proposal.code));
        let result = match rank(&proposal.code) {
            Some(rank) => {
                members.push(member(ordinal, &proposal.code, rank));
                Became::Measured { rank, better: rank > parent.rank }
            }
            None => Became::Failed(Told::Nothing),
        };
        history.push(Tried { number: ordinal, change: proposal.change, repair_of: None, result });
        members.sort_by(|a, b| b.rank.total_cmp(&a.rank));
        members.truncate(20);
    }
    members[0].rank
}

#[test]
fn it_finds_the_optimum_of_a_toy_problem_where_chance_does_not() {
    for seed in 1..=2 {
        let (search, chance) = (best_after(700, true, seed), best_after(700, false, seed));
        assert!(search > -5.0 && search > chance / 20.0, "seed {seed}: {search} against {chance}");
    }
}

fn failed(told: Told, proposal: &Proposal) -> Mending {
    Mending { number: 9, code: proposal.code.clone(), edits: proposal.edits.clone(), round: 1, told }
}

fn lesson(category: Category, line: Option<u64>, names: &[&str]) -> Told {
    Told::Lesson(Box::new(Lesson {
        signature: "v1:1".to_owned(),
        category,
        origin: Origin::Candidate,
        root_cause: "it broke".to_owned(),
        fix: String::new(),
        line,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        repeated: None,
    }))
}

/// A program with two changes: line 5 and line 20.
fn two_edits() -> Proposal {
    let edit = |old: &str, new: &str, operator, numbers: &[(&str, f64, f64)]| {
        let start = SEED.find(old).unwrap();
        Edit {
            deed: Deed::new(operator, "f", old),
            pieces: vec![Piece { start, end: start + old.len(), text: new.to_owned() }],
            numbers: numbers.iter().map(|(n, a, b)| ((*n).to_owned(), *a, *b)).collect(),
        }
    };
    let edits = vec![
        edit("8", "800", Operator::Constant, &[("C", 8.0, 800.0)]),
        edit("out.append(shape(k))", "out.append(helper(k))", Operator::Expression, &[]),
    ];
    let (code, _) = super::edit::apply(SEED, &edits);
    Proposal { code, change: String::new(), from: Vec::new(), edits, cost: Cost::default() }
}

#[test]
fn a_repair_takes_back_what_the_diagnosis_names_and_keeps_the_rest() {
    let proposal = two_edits();
    let mended = |told: Told| {
        let mut brief = brief(member(1, SEED, 1.0), 5);
        brief.repair = Some(Arc::new(failed(told, &proposal)));
        ask(&builtin(), &brief).unwrap()
    };
    for told in [
        lesson(Category::RuntimeError, None, &["helper"]),
        lesson(Category::RuntimeError, Some(19), &[]),
        Told::Raw(
            "  File \"candidate.py\", line 19, in solve\nNameError: name 'helper' is not defined".to_owned(),
        ),
    ] {
        let it = mended(told);
        assert!(it.code.contains("C = 800") && it.code.contains("shape(k)"), "{}\n{}", it.change, it.code);
        assert!(it.change.starts_with("repair of exp 9: undone expression in f"), "{}", it.change);
        assert_eq!(Deed::read_all(&it.change).len(), 1);
    }
    let it = mended(lesson(Category::Timeout, None, &[]));
    assert!(it.code.contains("C = 80\n") && it.code.contains("helper(k)"), "{}\n{}", it.change, it.code);
    let mut brief = brief(member(1, SEED, 1.0), 5);
    brief.repair = Some(Arc::new(failed(Told::Nothing, &proposal)));
    assert_eq!(ask(&builtin(), &brief), Err(ProposerError::NothingToMend(9)));
}

#[test]
fn names_and_lines_are_read_out_of_sentences() {
    assert_eq!(quoted("name 'foo_1' is not defined, see `a.b` and 'no name'"), ["foo_1", "a.b"]);
    assert_eq!(quoted("Forbidden import: os; Forbidden attribute: eval"), ["os", "eval"]);
    assert_eq!(frame_line("  File \"/work/candidate.py\", line 12, in f", "candidate.py"), Some(12));
    assert_eq!(frame_line("ValueError at candidate.py:7", "candidate.py"), Some(7));
    assert_eq!(frame_line("elsewhere.py:7", "candidate.py"), None);
}
