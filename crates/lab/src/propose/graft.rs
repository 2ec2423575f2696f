//! Whole functions and building blocks out of other programs, with what they need.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::edit::{Deed, Edit, Operator, Piece};
use super::program::{Binding, Program};

/// A program that gives parts away.
#[derive(Debug)]
pub(super) struct Donor {
    /// Its experiment, if it is not a block of the task.
    pub(super) number: Option<u64>,
    /// As it is named in a line.
    pub(super) name: String,
    pub(super) program: Program,
}

/// Text of the module that takes its namesakes' places, and what is added because nothing there has its name.
struct Taking<'a> {
    program: &'a Program,
    donor: &'a Program,
    pieces: Vec<Piece>,
    added: Vec<&'a Binding>,
    taken: BTreeSet<String>,
}

impl<'a> Taking<'a> {
    fn new(program: &'a Program, donor: &'a Program) -> Self {
        Self { program, donor, pieces: Vec::new(), added: Vec::new(), taken: BTreeSet::new() }
    }

    /// Takes one statement of the donor's module, and then whatever it needs and the program lacks.
    fn take(&mut self, binding: &'a Binding, replace: bool) {
        if binding.names.iter().all(|name| self.taken.contains(name)) {
            return;
        }
        self.taken.extend(binding.names.iter().cloned());
        let old = self.program.bindings.iter().find(|b| b.names == binding.names);
        let text = &self.donor.text[binding.at.clone()];
        match old {
            Some(old) if replace && self.program.text[old.at.clone()] != *text => {
                self.pieces.push(Piece { start: old.at.start, end: old.at.end, text: text.to_owned() });
            }
            Some(_) => {}
            None if binding.names.iter().all(|name| self.program.binds(name)) => {}
            None => self.added.push(binding),
        }
        for name in &binding.loads {
            let needed = self.donor.bindings.iter().find(|b| b.names.contains(name));
            if let Some(needed) = needed.filter(|_| !self.program.binds(name)) {
                self.take(needed, false);
            }
        }
    }

    fn into_pieces(mut self) -> Option<Vec<Piece>> {
        let text: String = {
            self.added.sort_by_key(|binding| (!binding.import, binding.at.start));
            let donor = &self.donor.text;
            self.added
                .iter()
                .map(|b| {
                    let lines = if donor[b.at.clone()].contains('\n') { "\n\n\n" } else { "\n" };
                    format!("{}{lines}", &donor[b.at.clone()])
                })
                .collect()
        };
        if !text.is_empty() {
            let at = self.program.before_code;
            self.pieces.push(Piece { start: at, end: at, text });
        }
        self.pieces.sort_by_key(|piece| (piece.start, piece.end));
        let apart = self.pieces.windows(2).all(|pair| pair[0].end <= pair[1].start);
        (apart && !self.pieces.is_empty()).then_some(self.pieces)
    }
}

/// Replaces a function by its namesake.
pub(super) fn function(program: &Program, donor: &Donor, rng: &mut Rng) -> Option<Edit> {
    let differs = |name: &str, at: &std::ops::Range<usize>| {
        program
            .function(name)
            .is_some_and(|ours| program.text[ours.at.clone()] != donor.program.text[at.clone()])
    };
    let theirs: Vec<_> = donor.program.functions.iter().filter(|f| differs(&f.name, &f.at)).collect();
    let it = rng.choice(&theirs)?;
    let mut taking = Taking::new(program, &donor.program);
    taking.take(donor.program.bindings.iter().find(|b| b.at == it.at)?, true);
    let what = format!("the one of {}", donor.name);
    Some(Edit {
        deed: Deed::new(Operator::Function, &it.name, &what),
        pieces: taking.into_pieces()?,
        numbers: Vec::new(),
    })
}

/// Takes a block over: its functions and parameters replace their namesakes, the others are added. One that has only
/// functions that the program never calls changes nothing; then calls of one function go to it.
pub(super) fn block(program: &Program, donor: &Donor, rng: &mut Rng) -> Option<Edit> {
    let mut taking = Taking::new(program, &donor.program);
    for binding in &donor.program.bindings {
        taking.take(binding, !binding.import);
    }
    let used = donor.program.functions.iter().any(|f| {
        program.function(&f.name).is_some() || program.functions.iter().any(|p| p.loads.contains(&f.name))
    });
    let mut what = "taken over".to_owned();
    if !used {
        let call = call(program, donor, rng)?;
        what = call.1;
        taking.pieces.push(call.0);
    }
    Some(Edit {
        deed: Deed::new(Operator::Block, &donor.name, &what),
        pieces: taking.into_pieces()?,
        numbers: Vec::new(),
    })
}

/// Puts a function of the block around a value of the program; parameters whose names are known where it is called get
/// those, the first other one gets the value.
fn call(program: &Program, donor: &Donor, rng: &mut Rng) -> Option<(Piece, String)> {
    let it = rng.choice(&donor.program.functions)?;
    let value = rng.choice(&program.expressions)?;
    let scope = program.function(&value.function);
    let old = &program.text[value.at.clone()];
    let mut given = Vec::new();
    let mut used = false;
    for parameter in it.parameters.iter().filter(|p| !p.optional) {
        if scope.is_some_and(|scope| scope.names.contains(&parameter.name))
            && !(value.loads.contains(&parameter.name))
        {
            given.push(format!("{0}={0}", parameter.name));
        } else if used {
            return None;
        } else {
            used = true;
            given.push(format!("{}={old}", parameter.name));
        }
    }
    let what = format!("{} around line {}: {old}", it.name, program.line(value.at.start));
    let text = format!("{}({})", it.name, given.join(", "));
    (used && !old.contains('\n')).then_some((Piece { start: value.at.start, end: value.at.end, text }, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propose::edit::apply;

    fn donor(name: &str, text: &str) -> Donor {
        Donor { number: None, name: name.to_owned(), program: Program::parse(text).unwrap() }
    }

    fn after(program: &Program, edit: &Edit) -> String {
        apply(&program.text, std::slice::from_ref(edit)).0
    }

    const SEED: &str = "\"\"\"Doc.\"\"\"\nimport math\n\nA = 1\n\n\ndef f(x):\n    return x + A\n\n\ndef g(x):\n    return f(x)\n";

    #[test]
    fn a_block_brings_what_it_needs_and_replaces_its_namesakes() {
        let program = Program::parse(SEED).unwrap();
        let block = donor(
            "f_b",
            "import random\nimport math\n\nA = 2\nB = 3\n\n\ndef f(x):\n    return random.random() * B * h(x)\n\n\ndef h(x):\n    return A\n",
        );
        let edit = super::block(&program, &block, &mut Rng::with_seed(1)).unwrap();
        let text = after(&program, &edit);
        assert!(Program::parse(&text).is_some(), "{text}");
        assert!(
            text.starts_with(
                "\"\"\"Doc.\"\"\"\nimport random\nB = 3\ndef h(x):\n    return A\n\n\nimport math\n\nA = 2\n"
            ),
            "{text}"
        );
        assert!(text.contains("return random.random() * B * h(x)") && !text.contains("x + A"), "{text}");
        assert_eq!(edit.deed.to_string(), "block in f_b: taken over");
    }

    #[test]
    fn a_function_that_nobody_calls_is_put_around_a_value() {
        let program = Program::parse(SEED).unwrap();
        let block = donor("twice", "def twice(value, by=2):\n    return value * by\n");
        let mut rng = Rng::with_seed(3);
        let edit = (0..20).find_map(|_| super::block(&program, &block, &mut rng)).unwrap();
        let text = after(&program, &edit);
        assert!(text.contains("twice(value=") && Program::parse(&text).is_some(), "{text}");
    }

    #[test]
    fn a_function_of_another_program_comes_with_its_helpers() {
        let program = Program::parse(SEED).unwrap();
        let other = donor(
            "exp 7",
            "import math\nC = 9\n\n\ndef k(x):\n    return C\n\n\ndef f(x):\n    return k(x)\n",
        );
        let edit = function(&program, &other, &mut Rng::with_seed(1)).unwrap();
        let text = after(&program, &edit);
        assert!(
            text.contains("C = 9") && text.contains("def k(x)") && text.contains("return k(x)"),
            "{text}"
        );
        assert_eq!(edit.deed.to_string(), "function in f: the one of exp 7");
    }
}
