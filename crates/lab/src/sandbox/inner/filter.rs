//! A list of system calls as the program that the kernel runs at each of them.
//!
//! Instructions and data are those of `linux/filter.h` and `linux/seccomp.h`. Numbers are searched by halves, not one after
//! the other: when a filter is installed, the kernel runs it for every call that it has, and with a chain of three hundred
//! comparisons that took a millisecond of each start.

use std::collections::BTreeMap;

use libc::{c_int, c_long, sock_filter};

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Allow,
    /// The kernel asks us.
    Ask,
    /// It fails with this number.
    Fail(c_int),
    /// Allowed if all conditions of one of these hold; otherwise the kernel asks us.
    When(Vec<Vec<Condition>>),
}

/// What the lower 32 bits of an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    /// These bits of it ...
    pub(super) mask: u32,
    /// ... are this, ...
    pub(super) value: u32,
    /// ... or must not be.
    pub(super) equal: bool,
}

// BPF_LD | BPF_W | BPF_ABS, BPF_ALU | BPF_AND | BPF_K, BPF_JMP with BPF_JA, BPF_JEQ | BPF_K and BPF_JGE | BPF_K, BPF_RET | BPF_K
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

// SECCOMP_RET_*
const KILL: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;
const ASK: u32 = 0x7fc0_0000;
const FAIL: u32 = 0x0005_0000;

/// Where `struct seccomp_data` has the call's number, the kind of processor, and the arguments.
const NUMBER: u32 = 0;
const KIND: u32 = 4;
const ARGUMENTS: u32 = 16;

/// AUDIT_ARCH_*: how this processor's calls are numbered.
#[cfg(target_arch = "x86_64")]
const HERE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const HERE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const HERE: u32 = 0xc000_00f3;

/// The program. A call that is not listed is asked about; one in another processor's numbers is death.
pub(super) fn program(calls: &BTreeMap<c_long, Answer>) -> Vec<sock_filter> {
    // from each of these numbers to the next, the answer is the same
    let mut steps: Vec<(u32, &Answer)> = vec![(0, &Answer::Ask)];
    let mut add = |from: u32, answer| {
        steps.pop_if(|(last, _)| *last == from);
        if steps.last().is_none_or(|(_, last)| *last != answer) {
            steps.push((from, answer));
        }
    };
    for (call, answer) in calls {
        let Ok(number) = u32::try_from(*call) else { continue };
        add(number, answer);
        add(number + 1, &Answer::Ask);
    }
    let mut program = vec![
        step(LOAD, KIND),
        // on to the number, or not
        sock_filter { code: IF_EQUAL, jt: 1, jf: 0, k: HERE },
        step(RETURN, KILL),
        step(LOAD, NUMBER),
    ];
    program.extend(search(&steps));
    program
}

fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn search(steps: &[(u32, &Answer)]) -> Vec<sock_filter> {
    if let [(_, only)] = steps {
        return answer(only);
    }
    let (below, above) = steps.split_at(steps.len() / 2);
    let (Some((from, _)), low) = (above.first(), search(below)) else { return Vec::new() };
    // a conditional jump reaches 255 steps, the other one any number
    let over = u32::try_from(low.len()).unwrap_or(u32::MAX);
    let mut program = vec![sock_filter { code: IF_AT_LEAST, jt: 0, jf: 1, k: *from }, step(JUMP, over)];
    program.extend(low);
    program.extend(search(above));
    program
}

fn answer(answer: &Answer) -> Vec<sock_filter> {
    match answer {
        Answer::Allow => vec![step(RETURN, ALLOW)],
        Answer::Ask => vec![step(RETURN, ASK)],
        Answer::Fail(errno) => vec![step(RETURN, FAIL | (errno.unsigned_abs() & 0xffff))],
        Answer::When(ways) => {
            let mut program: Vec<sock_filter> = ways.iter().flat_map(|way| when(way)).collect();
            program.push(step(RETURN, ASK));
            program
        }
    }
}

/// Returns if all of them hold, and otherwise goes on behind itself.
fn when(conditions: &[Condition]) -> Vec<sock_filter> {
    let low = if cfg!(target_endian = "big") { 4 } else { 0 };
    let mut program = Vec::new();
    for (at, it) in conditions.iter().enumerate() {
        // three steps for each one that follows, and the return: there are six arguments at most
        let out = u8::try_from(3 * (conditions.len() - 1 - at) + 1).unwrap_or(u8::MAX);
        let (jt, jf) = if it.equal { (0, out) } else { (out, 0) };
        program.push(step(LOAD, ARGUMENTS + 8 * u32::from(it.argument) + low));
        program.push(step(AND, it.mask));
        program.push(sock_filter { code: IF_EQUAL, jt, jf, k: it.value });
    }
    program.push(step(RETURN, ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };

    use super::*;

    /// What the kernel does with a program; both kinds of instruction have the same fields.
    fn run(program: &[(u16, u8, u8, u32)], kind: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [number.to_ne_bytes(), kind.to_ne_bytes()].concat();
        data.extend([0; 8]);
        arguments.iter().for_each(|argument| data.extend(argument.to_ne_bytes()));
        let (mut at, mut value) = (0, 0_u32);
        loop {
            let (code, jt, jf, k) = program[at];
            at += 1;
            let mut branch = |yes: bool| at += usize::from(if yes { jt } else { jf });
            match code {
                LOAD => value = u32::from_ne_bytes(*data[k as usize..].first_chunk().unwrap()),
                AND => value &= k,
                JUMP => at += k as usize,
                IF_EQUAL => branch(value == k),
                IF_AT_LEAST => branch(value >= k),
                // the other side's
                0x25 => branch(value > k),
                RETURN => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn ours(calls: &BTreeMap<c_long, Answer>) -> Vec<(u16, u8, u8, u32)> {
        program(calls).iter().map(|it| (it.code, it.jt, it.jf, it.k)).collect()
    }

    /// The same list by a library that asks for one call after the other.
    fn theirs(calls: &BTreeMap<c_long, Answer>) -> Vec<(u16, u8, u8, u32)> {
        let mut rules = BTreeMap::new();
        for (call, answer) in calls {
            let ways = match answer {
                Answer::When(ways) => ways.clone(),
                _ => Vec::new(),
            };
            let rule = |way: &Vec<Condition>| {
                let conditions = way.iter().map(|it| {
                    // an unequal one is of all bits
                    let how =
                        if it.equal { SeccompCmpOp::MaskedEq(it.mask.into()) } else { SeccompCmpOp::Ne };
                    SeccompCondition::new(it.argument, SeccompCmpArgLen::Dword, how, it.value.into()).unwrap()
                });
                SeccompRule::new(conditions.collect()).unwrap()
            };
            rules.insert(*call, ways.iter().map(rule).collect());
        }
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        program.iter().map(|it| (it.code, it.jt, it.jf, it.k)).collect()
    }

    /// SECCOMP_RET_TRAP, by which the library's answer is known from others.
    const TRAP: u32 = 0x0003_0000;

    fn condition() -> impl Strategy<Value = Condition> {
        (0_u8..6, prop_oneof![Just(0xf_u32), Just(u32::MAX)], 0_u32..4, any::<bool>()).prop_map(
            |(argument, mask, value, equal)| Condition {
                argument,
                mask: if equal { mask } else { u32::MAX },
                value,
                equal,
            },
        )
    }

    proptest! {
        #[test]
        fn it_answers_as_a_list_does(
            calls in prop::collection::btree_map(
                0_i64..60,
                prop_oneof![
                    2 => Just(Answer::Allow),
                    1 => prop::collection::vec(prop::collection::vec(condition(), 1..5), 1..9).prop_map(Answer::When),
                ],
                1..50,
            ),
            arguments in prop::array::uniform6(prop_oneof![0_u64..5, any::<u64>()]),
        ) {
            let calls = calls.into_iter().map(|(call, answer)| (call as c_long, answer)).collect();
            let (ours, theirs) = (ours(&calls), theirs(&calls));
            for number in (0..64).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                let want = run(&theirs, HERE, number, arguments);
                let want = if want == TRAP { ASK } else { want };
                prop_assert_eq!(run(&ours, HERE, number, arguments), want, "call {}", number);
            }
            prop_assert_eq!(run(&ours, HERE ^ 1, 0, arguments), KILL);
        }
    }

    #[test]
    fn what_fails_fails_with_its_number() {
        let calls = BTreeMap::from([(3, Answer::Fail(38)), (4, Answer::Allow)]);
        let answers = [2, 3, 4, 5].map(|number| run(&ours(&calls), HERE, number, [0; 6]));
        assert_eq!(answers, [ASK, FAIL | 38, ALLOW, ASK]);
    }
}
