//! From what was observed to whose fault it was: the candidate's, or our own.

use std::time::Duration;

use coroner_diagnosis::{End, Exit, HarnessFault, HarnessKind, Judgement, JudgementKind};

use super::across::{Crossed, Process};
use super::command;
use super::tested::Cause;
use super::told::{Place, Told};
use super::{Metrics, across};
use crate::sandbox::{Level, Report};

/// What a run gave.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<Metrics, Cause>,
    pub(super) report: Option<Report>,
    pub(super) log: Vec<u8>,
    pub(super) notes: Vec<String>,
    pub(super) stopped: bool,
}

/// Of an evaluator in Python.
pub(super) fn of_crossing(crossed: Crossed) -> Outcome {
    let Crossed { told, notes, candidates, evaluator, stopped } = crossed;
    let mut matters = None;
    let result = match told {
        Some(Ok(Told::Result(measured))) => {
            if measured.calls == 0 {
                Err(Cause::Harness(HarnessFault {
                    kind: HarnessKind::NeverCalled,
                    what: "the evaluator gave metrics without calling the candidate once".to_owned(),
                    advice: "Let evaluate.py call the candidate's functions: what it measured was something else".to_owned(),
                }))
            } else {
                Ok(measured.metrics())
            }
        }
        Some(Ok(Told::Invalid(detail))) => {
            Err(Cause::Judged(Judgement { detail, ..Judgement::new(JudgementKind::Invalid) }))
        }
        Some(Ok(Told::Raised(raised))) if raised.kind == "SystemExit" => {
            matters = position(&candidates, &raised.at);
            Err(ended_early(first_line(&raised.message), &raised.at))
        }
        Some(Ok(Told::Raised(raised))) => {
            matters = position(&candidates, &raised.at);
            let printed = matters.is_some_and(|i| contains(&candidates[i].log, &raised.message));
            // what it ended with afterwards says nothing
            Err(Cause::Died { exit: None, message: (!printed).then_some(raised.message) })
        }
        Some(Ok(Told::Gone(at))) => {
            matters = position(&candidates, &at);
            Err(gone(matters.map(|i| &candidates[i]), &at))
        }
        Some(Ok(Told::OverTime(over))) => {
            matters = position(&candidates, &over.at);
            let limit = Duration::try_from_secs_f64(over.limit).unwrap_or_default();
            let used = matters.map(|i| &candidates[i].report.exit);
            Err(Cause::Died {
                exit: Some(Exit {
                    end: End::TimedOut { limit },
                    wall: used.map_or(limit, |exit| exit.wall),
                    cpu: used.and_then(|exit| exit.cpu),
                    peak_memory: used.and_then(|exit| exit.peak_memory),
                }),
                message: None,
            })
        }
        Some(Ok(Told::Garbage(garbage))) => {
            matters = position(&candidates, &garbage.at);
            let detail = match &garbage.at.function {
                Some(function) => format!("{function} was called, and what came was {}", garbage.what),
                None => garbage.what.clone(),
            };
            Err(Cause::Judged(Judgement { detail, ..Judgement::new(JudgementKind::Garbage) }))
        }
        Some(Ok(Told::Error(raised))) => Err(Cause::Harness(HarnessFault {
            kind: HarnessKind::EvaluatorRaised,
            what: format!("the evaluator failed by itself: {}", last_line(&raised.message)),
            advice: "Correct evaluate.py (its traceback is the log); where an answer of the candidate was the reason, let it \
                     raise task.Invalid"
                .to_owned(),
        })),
        Some(Ok(Told::Progress(..) | Told::Note(_))) | None => Err(Cause::Harness(silent(&evaluator.report))),
        Some(Err(why)) => Err(Cause::Harness(HarnessFault {
            kind: HarnessKind::EvaluatorGarbage,
            what: format!("what the evaluator reported can't be read: {why}"),
            advice: "Let evaluate.py return a dict of numbers, and write nothing to descriptor 3".to_owned(),
        })),
    };
    let log =
        if matches!(result, Err(Cause::Harness(_))) { evaluator.log } else { log(&candidates, matters) };
    let report = matters.or((!candidates.is_empty()).then_some(0)).map(|i| candidates[i].report.clone());
    Outcome { result, report, log, notes, stopped }
}

/// Of a command.
pub(super) fn of_command(process: Process, stopped: bool) -> Outcome {
    let exit = &process.report.exit;
    let result = match &exit.end {
        End::Exited { code: 0 } => command::metrics(&process.log).ok_or_else(|| {
            let mut judgement = Judgement::new(JudgementKind::NoResult);
            judgement.self_reported = true;
            judgement.detail = "no line of its output is a JSON object with a number in it".to_owned();
            Cause::Judged(judgement)
        }),
        // the task names the command, so that it is not there is no candidate's fault
        End::NotStarted { reason, .. } => Err(Cause::Harness(HarnessFault {
            kind: HarnessKind::Task,
            what: format!("the task's command could not be started: {reason}"),
            advice: "Correct evaluator.command of the task, or install the program where the sandbox sees it (/usr)".to_owned(),
        })),
        _ => Err(Cause::Died { exit: Some(exit.clone()), message: None }),
    };
    Outcome {
        result,
        stopped: stopped || process.report.stopped,
        report: Some(process.report),
        log: process.log,
        notes: Vec::new(),
    }
}

fn position(candidates: &[Process], at: &Place) -> Option<usize> {
    candidates.iter().position(|process| process.name == at.process)
}

/// The candidate's process ended while it was being called, or loaded.
fn gone(process: Option<&Process>, at: &Place) -> Cause {
    let Some(process) = process else {
        return Cause::Harness(across::internal("say which process of the candidate is gone", &at.process));
    };
    let exit = &process.report.exit;
    match &exit.end {
        End::Exited { code: 0 } => ended_early("exit status 0", at),
        // nobody outside of a pid namespace of its own knows it but us, and the kernel would have counted it
        End::Signaled { signal: 9 } if process.report.layers.level <= Level::B && !process.report.stopped => {
            ended_early("SIGKILL, which it sent to itself", at)
        }
        End::NotStarted { reason, .. } => Cause::Harness(HarnessFault {
            kind: HarnessKind::Python,
            what: format!("Python could not be started in the sandbox: {reason}"),
            advice: "Run `coroner doctor`; the interpreter must lie where everybody may read it".to_owned(),
        }),
        // it closed its socket and went on: then it was ended by us, and that tells nothing
        _ if process.report.stopped => {
            let detail = "it closed the descriptor that its answers go through".to_owned();
            Cause::Judged(Judgement { detail, ..Judgement::new(JudgementKind::Garbage) })
        }
        _ => Cause::Died { exit: Some(exit.clone()), message: None },
    }
}

fn ended_early(how: &str, at: &Place) -> Cause {
    let doing = match &at.function {
        Some(function) => format!("{how} while {function} was called"),
        None => format!("{how} while it was loaded"),
    };
    Cause::Judged(Judgement { detail: doing, ..Judgement::new(JudgementKind::EndedEarly) })
}

/// The evaluator ended and reported nothing.
fn silent(report: &Report) -> HarnessFault {
    let (kind, what, advice) = match &report.exit.end {
        End::TimedOut { limit } => (
            HarnessKind::EvaluatorOverTime,
            format!("the evaluator was still running when {} were up", coroner_diagnosis::seconds(*limit)),
            "Make evaluate.py quicker, or give it more time (limits.wall of [evaluator])",
        ),
        End::MemoryLimit { .. } | End::OomKilled | End::OutputLimit { .. } => (
            HarnessKind::EvaluatorLimit,
            format!("the evaluator was ended by a limit of its own: {}", report.exit.end),
            "Let evaluate.py use less, or give it more ([evaluator] limits)",
        ),
        End::NotStarted { reason, .. } => (
            HarnessKind::Python,
            format!("Python could not be started in the sandbox: {reason}"),
            "Run `coroner doctor`; the interpreter must lie where everybody may read it",
        ),
        End::CpuLimit { limit } => (
            HarnessKind::EvaluatorOverTime,
            format!("the evaluator used up its {} of processor time", coroner_diagnosis::seconds(*limit)),
            "Make evaluate.py quicker, or give it more time (limits.cpu of [evaluator])",
        ),
        end => (
            HarnessKind::EvaluatorSilent,
            format!("the evaluator ended without a result ({end})"),
            "Let evaluate.py return its metrics, and not exit; its output is the log",
        ),
    };
    HarnessFault { kind, what, advice: advice.to_owned() }
}

/// What the candidate printed. With several processes each has its part, and the one that matters comes last.
fn log(candidates: &[Process], matters: Option<usize>) -> Vec<u8> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|i| Some(*i) == matters);
    let printed: Vec<&Process> =
        order.iter().map(|i| &candidates[*i]).filter(|process| !process.log.is_empty()).collect();
    if candidates.len() < 2 {
        return printed.first().map(|process| process.log.clone()).unwrap_or_default();
    }
    let mut log = Vec::new();
    for process in printed {
        log.extend_from_slice(format!("--- process {} ---\n", process.name).as_bytes());
        log.extend_from_slice(&process.log);
        if !process.log.ends_with(b"\n") {
            log.push(b'\n');
        }
    }
    log
}

fn contains(log: &[u8], message: &str) -> bool {
    String::from_utf8_lossy(log).contains(first_line(message))
}

/// Where Python names the exception, below the place of a syntax error.
fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(text).trim()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text).trim()
}
