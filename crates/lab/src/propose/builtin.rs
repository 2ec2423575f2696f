//! The search that needs no model: it changes and recombines numbers, statements, functions and building blocks of the best
//! programs, more often in the ways that have paid, and keeps away from what it is told has failed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use coroner_store::{Cost, Feedback};
use fastrand::Rng;

use super::edit::{Deed, Edit, Operator, apply, fits};
use super::graft::{self, Donor};
use super::lessons::Memory;
use super::program::Program;
use super::{Brief, Member, Mending, Proposal, Proposer, ProposerError, numbers, repair, shapes};

/// How often a program that is new is looked for.
const TRIES: u32 = 200;
/// How many other programs give parts.
const DONORS: usize = 8;

/// Tells whether two programs are the same but for what does not matter.
pub type Hash = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// The search.
pub struct Builtin {
    blocks: Vec<Donor>,
    hash: Hash,
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builtin").field("blocks", &self.blocks.len()).finish_non_exhaustive()
    }
}

/// Why the building blocks can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BlocksError {
    /// A file or the folder.
    #[error("can't read {path}, which [proposer] blocks of the task names: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no Python.
    #[error("the building block {0} is no valid Python: mend it, or take it out of the folder")]
    Python(PathBuf),
}

impl Builtin {
    /// With the building blocks of this folder: every `*.py` in it, in the order of their names.
    pub fn new(blocks: Option<&Path>, hash: Hash) -> Result<Self, BlocksError> {
        let mut found = Vec::new();
        if let Some(folder) = blocks {
            let unread = |source| BlocksError::Read { path: folder.to_owned(), source };
            let mut paths = Vec::new();
            for entry in std::fs::read_dir(folder).map_err(unread)? {
                let path = entry.map_err(unread)?.path();
                if path.extension().is_some_and(|end| end == "py") {
                    paths.push(path);
                }
            }
            paths.sort();
            for path in paths {
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| BlocksError::Read { path: path.clone(), source })?;
                let program = Program::parse(&text).ok_or_else(|| BlocksError::Python(path.clone()))?;
                let name =
                    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                found.push(Donor { number: None, name, program });
            }
        }
        Ok(Self { blocks: found, hash })
    }

    /// A repair, or why there is none.
    fn mend(&self, brief: &Brief, failure: &Mending) -> Result<Proposal, ProposerError> {
        let memory = Memory::of(&brief.history);
        for mended in repair::mend(&brief.parent.code, failure, &memory) {
            let known = brief.known.contains(&(self.hash)(&mended.code));
            if !known && Program::parse(&mended.code).is_some() {
                return Ok(Proposal {
                    code: mended.code,
                    change: mended.change,
                    from: Vec::new(),
                    edits: mended.edits,
                    cost: Cost::default(),
                });
            }
        }
        Err(ProposerError::NothingToMend(failure.number))
    }

    fn search(&self, brief: &Brief) -> Result<Proposal, ProposerError> {
        let mut rng = Rng::with_seed(mix(brief.seed, brief.ordinal));
        let exhausted = |tries| ProposerError::Exhausted { parent: brief.parent.number, tries };
        let Some(program) = Program::parse(&brief.parent.code) else { return Err(exhausted(0)) };
        let memory = Memory::of(&brief.history);
        let donors: Vec<Donor> = brief.others.iter().filter_map(|m| donor(m)).take(DONORS).collect();
        let scene = Scene { program: &program, donors: &donors, blocks: &self.blocks };
        for _ in 0..TRIES {
            let wanted = match rng.u8(..10) {
                0..6 => 1,
                6..9 => 2,
                _ => 3,
            };
            let mut edits: Vec<Edit> = Vec::new();
            let mut from = Vec::new();
            for _ in 0..wanted * 4 {
                let operator = scene.draw(&memory, &mut rng);
                let Some((edit, donors)) = scene.edit(operator, &mut rng) else { continue };
                let told = brief.feedback != Feedback::None;
                if !fits(&edit, &edits) || told && !memory.advises(&edit, &program.text, &mut rng) {
                    continue;
                }
                edits.push(edit);
                from.extend(donors);
                if edits.len() == wanted {
                    break;
                }
            }
            if edits.is_empty() {
                continue;
            }
            let (code, _) = apply(&program.text, &edits);
            if Program::parse(&code).is_none() || brief.known.contains(&(self.hash)(&code)) {
                continue;
            }
            let deeds: Vec<Deed> = edits.iter().map(|edit| edit.deed.clone()).collect();
            from.sort_unstable();
            from.dedup();
            return Ok(Proposal { code, change: Deed::line(&deeds), from, edits, cost: Cost::default() });
        }
        Err(exhausted(TRIES))
    }
}

#[async_trait]
impl Proposer for Builtin {
    fn name(&self) -> String {
        "builtin".to_owned()
    }

    async fn propose(&self, brief: &Brief) -> Result<Proposal, ProposerError> {
        match &brief.repair {
            Some(failure) => self.mend(brief, failure),
            None => self.search(brief),
        }
    }
}

fn donor(member: &Member) -> Option<Donor> {
    let name = format!("exp {}", member.number);
    Some(Donor { number: Some(member.number), name, program: Program::parse(&member.code)? })
}

/// A seed for this one proposal: the finaliser of splitmix64.
pub(crate) fn mix(seed: u64, ordinal: u64) -> u64 {
    let mut z = seed.wrapping_add(ordinal.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What there is to work with.
struct Scene<'a> {
    program: &'a Program,
    donors: &'a [Donor],
    blocks: &'a [Donor],
}

impl Scene<'_> {
    fn draw(&self, memory: &Memory, rng: &mut Rng) -> Operator {
        let weight = |operator: Operator| {
            let base = match operator {
                Operator::Constant => 3.0,
                Operator::Block if self.blocks.is_empty() => 0.0,
                Operator::Block => 2.5,
                Operator::Difference if self.donors.len() < 2 => 0.0,
                Operator::Parameters | Operator::Function if self.donors.is_empty() => 0.0,
                Operator::Delete | Operator::Duplicate | Operator::Swap | Operator::Insert => 0.4,
                Operator::Expression | Operator::Operator => 0.6,
                _ => 1.0,
            };
            base * memory.weight(operator)
        };
        let total: f64 = Operator::ALL.into_iter().map(weight).sum();
        let mut at = rng.f64() * total;
        for operator in Operator::ALL {
            at -= weight(operator);
            if at < 0.0 {
                return operator;
            }
        }
        Operator::Constant
    }

    /// Another program, a block, or now and then the program itself.
    fn source<'b>(&'b self, own: &'b Donor, rng: &mut Rng) -> &'b Donor {
        let pool: Vec<&Donor> = self.donors.iter().chain(self.blocks).chain([own]).collect();
        rng.choice(pool).unwrap_or(own)
    }

    /// An edit of this kind, and whose parts went into it.
    fn edit(&self, operator: Operator, rng: &mut Rng) -> Option<(Edit, Option<u64>)> {
        let program = self.program;
        let own;
        let (edit, donor) = match operator {
            Operator::Constant => (numbers::constant(program, rng), None),
            Operator::Constants => (numbers::constants(program, rng), None),
            Operator::Operator => (shapes::operator(program, rng), None),
            Operator::Delete => (shapes::delete(program, rng), None),
            Operator::Duplicate => (shapes::duplicate(program, rng), None),
            Operator::Swap => (shapes::swap(program, rng), None),
            Operator::Difference => {
                let (from, to) = (rng.choice(self.donors)?, rng.choice(self.donors)?);
                (numbers::difference(program, from, to, rng), to.number)
            }
            Operator::Parameters => {
                let donor = rng.choice(self.donors)?;
                (numbers::parameters(program, donor, rng), donor.number)
            }
            Operator::Function => {
                let donor = rng.choice(self.donors)?;
                (graft::function(program, donor, rng), donor.number)
            }
            Operator::Block => (graft::block(program, rng.choice(self.blocks)?, rng), None),
            Operator::Insert | Operator::Expression => {
                own = Donor {
                    number: None,
                    name: "itself".to_owned(),
                    program: Program::parse(&program.text)?,
                };
                let donor = self.source(&own, rng);
                let edit = if operator == Operator::Insert {
                    shapes::insert(program, donor, rng)
                } else {
                    shapes::expression(program, donor, rng)
                };
                (edit, donor.number)
            }
        };
        edit.map(|edit| (edit, donor))
    }
}
