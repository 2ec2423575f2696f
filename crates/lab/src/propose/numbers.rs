//! Steps in numbers: one, several at once, or the way that good programs differ.

use fastrand::Rng;

use super::edit::{Deed, Edit, Operator, Piece, written};
use super::graft::Donor;
use super::program::{Numeral, Program};

/// The text of another value for this number, if it is another one.
pub(super) fn piece(program: &Program, number: &Numeral, value: f64) -> Option<Piece> {
    if !value.is_finite() || value.abs() > 1e12 {
        return None;
    }
    let text = written(value, number.whole);
    let old = &program.text[number.at.clone()];
    if text == old || text.parse::<f64>().ok() == old.parse::<f64>().ok() {
        return None;
    }
    // `x ** -2` is fine, `x -2` and `a.-2` are not
    let text = if text.starts_with('-') && !old.starts_with('-') { format!("({text})") } else { text };
    Some(Piece { start: number.at.start, end: number.at.end, text })
}

/// One edit out of new values.
pub(super) fn edit(program: &Program, operator: Operator, values: &[(&Numeral, f64)]) -> Option<Edit> {
    let mut pieces = Vec::new();
    let mut numbers = Vec::new();
    let mut said = Vec::new();
    for (number, value) in values {
        let Some(piece) = piece(program, number, *value) else { continue };
        let name = if number.name.is_empty() {
            format!("line {}:", program.line(number.at.start))
        } else {
            number.name.clone()
        };
        said.push(format!(
            "{name} {} -> {}",
            &program.text[number.at.clone()],
            piece.text.trim_matches(['(', ')'])
        ));
        numbers.push((number.name.clone(), number.value, *value));
        pieces.push(piece);
    }
    let (first, _) = values.first()?;
    if pieces.is_empty() {
        return None;
    }
    pieces.sort_by_key(|piece| piece.start);
    Some(Edit { deed: Deed::new(operator, &first.function, &said.join(", ")), pieces, numbers })
}

/// Normally distributed: the sum of twelve even ones, less six.
fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

/// A number of the program; one that has a name of its own is a parameter and three times as likely.
pub(super) fn choose<'a>(program: &'a Program, rng: &mut Rng) -> Option<&'a Numeral> {
    let weight = |n: &Numeral| if is_parameter(n) { 3 } else { 1 };
    let total: usize = program.numbers.iter().map(weight).sum();
    let mut at = if total == 0 { return None } else { rng.usize(..total) };
    program.numbers.iter().find(|n| {
        let here = at < weight(n);
        at = at.saturating_sub(weight(n));
        here
    })
}

fn is_parameter(number: &Numeral) -> bool {
    !number.name.is_empty() && (number.function.is_empty() || number.name.chars().any(char::is_uppercase))
}

/// Another value, near by or far off.
fn step(number: &Numeral, rng: &mut Rng) -> f64 {
    let v = number.value;
    if number.whole {
        return match rng.u8(..8) {
            0 | 1 => v + if rng.bool() { 1.0 } else { -1.0 },
            2 => v + (normal(rng) * (v.abs() / 10.0).max(1.0)).round(),
            3 => (v * (normal(rng) * 0.5).exp()).round(),
            4 => v * 2.0,
            5 => (v / 2.0).round(),
            6 => 2_f64.powf((v.abs().max(1.0).log2() + normal(rng)).round()),
            _ => *[0.0, 1.0, -v, v * 10.0].get(rng.usize(..4)).unwrap_or(&v),
        };
    }
    match rng.u8(..8) {
        0 | 1 => v * (normal(rng) * 0.02).exp(),
        2 | 3 => v * (normal(rng) * 0.2).exp(),
        4 => v * (normal(rng) * 0.8).exp(),
        5 => v + normal(rng) * v.abs().max(1e-3) * 0.5,
        6 => v + normal(rng),
        _ => *[0.0, 1.0, -v, v * 10.0, v / 10.0].get(rng.usize(..5)).unwrap_or(&v),
    }
}

pub(super) fn constant(program: &Program, rng: &mut Rng) -> Option<Edit> {
    let number = choose(program, rng)?;
    edit(program, Operator::Constant, &[(number, step(number, rng))])
}

/// Small steps of all parameters of the module, or of all numbers of one function.
pub(super) fn constants(program: &Program, rng: &mut Rng) -> Option<Edit> {
    let one = choose(program, rng)?;
    let (share, size) = (0.3 + 0.7 * rng.f64(), [0.01, 0.05, 0.2][rng.usize(..3)]);
    let mut values = Vec::new();
    for number in program.numbers.iter().filter(|n| n.function == one.function) {
        if rng.f64() < share {
            let by = normal(rng) * size;
            let value = if number.whole {
                number.value + (by * number.value.abs().max(2.0)).round()
            } else {
                number.value + by * number.value.abs().max(0.05)
            };
            values.push((number, value));
        }
    }
    edit(program, Operator::Constants, &values)
}

/// Pairs of numbers that mean the same in both programs: the same name, or the same place in the same function.
fn alike<'a>(program: &'a Program, other: &'a Program) -> Vec<(&'a Numeral, &'a Numeral)> {
    fn of<'p>(program: &'p Program, like: &Numeral) -> Vec<&'p Numeral> {
        program.numbers.iter().filter(|n| n.function == like.function && n.name == like.name).collect()
    }
    let mut pairs = Vec::new();
    for (at, number) in program.numbers.iter().enumerate() {
        let place = program.numbers[..at]
            .iter()
            .filter(|n| n.function == number.function && n.name == number.name)
            .count();
        let (here, there) = (of(program, number), of(other, number));
        if here.len() == there.len()
            && let Some(twin) = there.get(place)
            && twin.whole == number.whole
        {
            pairs.push((number, *twin));
        }
    }
    pairs
}

/// Takes over some numbers of another program.
pub(super) fn parameters(program: &Program, donor: &Donor, rng: &mut Rng) -> Option<Edit> {
    let share = [0.3, 0.6, 1.0][rng.usize(..3)];
    let mut values = Vec::new();
    for (number, twin) in alike(program, &donor.program) {
        if number.value != twin.value && rng.f64() < share {
            // all the way, or some of it
            let part = if number.whole || rng.bool() { 1.0 } else { rng.f64() };
            values.push((number, number.value + part * (twin.value - number.value)));
        }
    }
    edit(program, Operator::Parameters, &values)
}

/// Goes the way from one program to another one from here, as differential evolution does.
pub(super) fn difference(program: &Program, from: &Donor, to: &Donor, rng: &mut Rng) -> Option<Edit> {
    let factor = 0.4 + 0.6 * rng.f64();
    let (from, to) = (alike(program, &from.program), alike(program, &to.program));
    let mut values = Vec::new();
    for (number, a) in &from {
        let twin = to.iter().find(|(other, _)| other.at == number.at);
        if let Some((_, b)) = twin.filter(|(_, b)| b.value != a.value) {
            let value = number.value + factor * (b.value - a.value);
            values.push((*number, if number.whole { value.round() } else { value }));
        }
    }
    edit(program, Operator::Difference, &values)
}
