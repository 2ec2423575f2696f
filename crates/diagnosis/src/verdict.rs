//! From faults and exit facts to a verdict: what was observed overrules what was printed, the most precise rule
//! speaks for the rest, and the last rule catches everything.

use crate::capture::{Capture, End, Exit, bytes, seconds, signal_name};
use crate::confined::Confined;
use crate::fault::Fault;
use crate::hang::hang;
use crate::log::Log;
use crate::record::Verdict;
use crate::rules::{Captures, Rule, RuleSet, Strength};
use crate::scan::neighbours;
use crate::signal::Signal;
use crate::terms::{Category, Origin, Severity};

/// Where a fault stands: in the log or in the message that the caller gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'a> {
    pub(crate) log: &'a Log,
    pub(crate) fault: &'a Fault,
    pub(crate) in_error: bool,
}

impl Placed<'_> {
    pub(crate) fn line(&self) -> u64 {
        self.log.number(self.fault.spoken)
    }

    /// What the line is a line of.
    fn place(&self) -> &'static str {
        if self.in_error { "error message" } else { "log" }
    }

    pub(crate) fn text(&self) -> &str {
        self.log.clean(self.fault.spoken).trim()
    }

    /// " at train.py:212 in step", or nothing.
    pub(crate) fn at(&self) -> String {
        let Some(frame) = &self.fault.block.frame else { return String::new() };
        // a message that names the place itself needs no second one
        if self.text().contains(&format!("{}:{}", frame.file, frame.line)) {
            return String::new();
        }
        let file = short_path(&frame.file);
        match &frame.function {
            Some(f) if !f.starts_with('<') => format!(" at {file}:{} in {f}", frame.line),
            _ => format!(" at {file}:{}", frame.line),
        }
    }
}

/// The last three parts of a long path.
fn short_path(path: &str) -> &str {
    let parts: Vec<usize> = path.match_indices('/').map(|(i, _)| i).collect();
    match parts.len().checked_sub(3) {
        Some(i) if path.len() > 40 => &path[parts[i] + 1..],
        _ => path,
    }
}

/// A verdict and the fault that it stands on.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    /// The index of the fault among those given.
    pub(crate) fault: Option<usize>,
}

/// The verdict on a capture whose faults are known, the weightiest first.
pub(crate) fn judge(capture: &Capture, faults: &[Placed<'_>], rules: &RuleSet) -> Judged {
    let spoken = choose(faults, rules);
    let text = spoken.map(|i| (i, of_rule(&faults[i], rules, capture)));
    if let Some(known) = capture.known() {
        let printed = text.as_ref().and_then(|(_, verdict)| verdict.as_ref());
        return Judged { verdict: known.verdict(printed), fault: None };
    }
    if let Some(exit) = &capture.exit
        && let Some(mut observed) =
            observed(exit, capture, faults, text.as_ref().and_then(|(_, v)| v.as_ref()))
    {
        if let Some(hang) = hang(capture) {
            // where it was says more than what it printed before
            let end = observed.cause.find(" The log's last trouble:").unwrap_or(observed.cause.len());
            observed.cause.truncate(end);
            observed.cause = format!("{} It was at {hang}.", observed.cause);
            observed.line = Some(capture.log.number(hang.piece));
        }
        return Judged { verdict: observed, fault: spoken.or((!faults.is_empty()).then_some(0)) };
    }
    if let Some(refused) = capture.sandbox.as_ref().and_then(|sandbox| sandbox.verdict(faults)) {
        return Judged { verdict: refused, fault: spoken.or((!faults.is_empty()).then_some(0)) };
    }
    match text {
        Some((i, Some(verdict))) => Judged { verdict, fault: Some(i) },
        _ => last(capture, faults),
    }
}

/// The fault whose rule speaks: the weightiest, but one without a rule gives way to one with a rule not far below.
fn choose(faults: &[Placed<'_>], rules: &RuleSet) -> Option<usize> {
    let top = faults.first()?.fault.score;
    let ruled = |f: &Placed<'_>| f.fault.rule.map(|r| rules.at(r).strength);
    let first = |least: Strength, below: f64| {
        faults.iter().position(|f| ruled(f).is_some_and(|s| s >= least) && f.fault.score > top - below)
    };
    // a hint in the caller's own message tells more than a consequence in the log
    let hinted = faults.first().filter(|f| f.in_error && ruled(f) == Some(Strength::Hint)).map(|_| 0);
    first(Strength::Generic, 40.0)
        .or(hinted)
        .or_else(|| first(Strength::Hint, 40.0))
        .or_else(|| first(Strength::Symptom, f64::MAX))
}

/// What a fault's rule says of it.
pub(crate) fn of_rule(placed: &Placed<'_>, rules: &RuleSet, capture: &Capture) -> Option<Verdict> {
    let rule = rules.at(placed.fault.rule?);
    let line = placed.log.clean(placed.fault.spoken);
    let captures = captures(placed, rule, capture);
    let (mut cause, mut fix) = rule.sentences(&captures);
    // a rule whose captures came out empty still has its line to say
    if cause.is_empty() {
        cause = quote(line);
    }
    if fix.is_empty() {
        fix = format!("Start from line {} of the {}.", placed.line(), placed.place());
    }
    let confidence = match rule.strength {
        Strength::Exact => 0.975,
        Strength::Typed => 0.87,
        Strength::Generic => 0.6,
        Strength::Hint => 0.7,
        Strength::Symptom => 0.5,
    };
    Some(Verdict {
        rule: rule.id.to_string(),
        category: rule.category,
        severity: rule.severity,
        origin: rule.origin,
        retryable: rule.retryable,
        confidence,
        cause,
        fix,
        line: (!placed.in_error).then(|| placed.line()),
    })
}

/// What the rule's patterns captured, and the holes that every template may have.
fn captures(placed: &Placed<'_>, rule: &Rule, capture: &Capture) -> Captures {
    let line = placed.log.clean(placed.fault.spoken);
    let within = rule.needs_near().unwrap_or(0);
    let mut captures = rule.captures(line, neighbours(placed.log, placed.fault.spoken, within));
    captures.set("at", placed.at());
    captures.set("error", quote(line));
    if let Some(exit) = &capture.exit {
        captures.set("exit", exit.end.to_string());
    }
    captures
}

/// A line inside a sentence.
fn quote(line: &str) -> String {
    const MOST: usize = 160;
    let line = line.trim().trim_start_matches("##[error]");
    match line.char_indices().nth(MOST) {
        Some((i, _)) => format!("{}…", line[..i].trim_end()),
        None => line.to_owned(),
    }
}

struct Facts<'a> {
    rule: &'a str,
    category: Category,
    severity: Severity,
    origin: Origin,
    retryable: bool,
    cause: String,
    fix: String,
}

/// What was observed when the process ended, where that decides.
fn observed(
    exit: &Exit,
    capture: &Capture,
    faults: &[Placed<'_>],
    text: Option<&Verdict>,
) -> Option<Verdict> {
    let end = &exit.end;
    // a candidate's limits are set where its task is written down
    let confined = capture.sandbox.is_some();
    let alone = capture.sandbox.as_ref().is_some_and(Confined::kept_signals_out);
    let doing =
        faults.first().map(|f| format!(" The log's last trouble: {}", quote(f.text()))).unwrap_or_default();
    let facts = match end {
        End::TimedOut { limit } => Facts {
            rule: "exit.timed-out",
            category: Category::Timeout,
            severity: Severity::Medium,
            origin: Origin::Candidate,
            retryable: false,
            cause: format!("It was still running when its time limit of {} was up.{doing}", seconds(*limit)),
            fix: format!(
                "Make it finish in less than {0} (fewer steps, smaller input, no endless loop), or allow it more time ({1} above {0}).",
                seconds(*limit),
                if confined { "limits.wall of its task, or --timeout," } else { "--timeout" }
            ),
        },
        End::CpuLimit { limit } => Facts {
            rule: "exit.cpu-limit",
            category: Category::Timeout,
            severity: Severity::Medium,
            origin: Origin::Candidate,
            retryable: false,
            cause: format!("It used up its {} of processor time and was not done.{doing}", seconds(*limit)),
            fix: "Make it compute less (fewer steps, smaller input, vectorised loops), or raise the limit of processor time.".into(),
        },
        End::MemoryLimit { limit } => Facts {
            rule: "exit.memory-limit",
            category: Category::ResourceError,
            severity: Severity::High,
            origin: Origin::Candidate,
            retryable: false,
            cause: format!("It needed more memory than its limit of {}.{doing}", bytes(*limit)),
            fix: format!(
                "Use less memory (smaller batches, streaming), or allow more ({} above {}).",
                if confined { "limits.memory of its task, or --memory," } else { "--memory" },
                bytes(*limit)
            ),
        },
        End::OomKilled => Facts {
            rule: "exit.oom-killed",
            category: Category::ResourceError,
            severity: Severity::High,
            origin: Origin::Candidate,
            retryable: false,
            cause: "The kernel's out-of-memory killer ended it: the machine or its control group had no memory left.".into(),
            fix: "Use less memory (smaller batches, fewer workers), or run it where there is more.".into(),
        },
        End::OutputLimit { limit } => Facts {
            rule: "exit.output-limit",
            category: Category::ResourceError,
            severity: Severity::High,
            origin: Origin::Candidate,
            retryable: false,
            cause: format!("It printed more than its limit of {}.", bytes(*limit)),
            fix: "Print less (a line a step is enough), or raise the output limit.".into(),
        },
        End::NotStarted { reason, code } => {
            let denied = *code == 126;
            Facts {
                rule: if denied { "exit.not-executable" } else { "exit.not-found" },
                category: if denied { Category::ResourceError } else { Category::ImportError },
                severity: Severity::High,
                origin: Origin::Candidate,
                retryable: false,
                cause: format!("The command could not be started: {reason}."),
                fix: if denied {
                    "Make the file executable (chmod +x), or name the interpreter in front of it.".into()
                } else {
                    "Install the command, or give its full path.".into()
                },
            }
        }
        // a precise line says more than the signal that followed it
        End::Signaled { .. } if text.is_some_and(|v| v.confidence > 0.85) => return None,
        End::Signaled { signal: signal @ (1 | 2 | 9 | 15) } if alone => Facts {
            rule: "exit.ended-itself",
            category: Category::RuntimeError,
            severity: Severity::High,
            origin: Origin::Candidate,
            retryable: false,
            cause: format!("It ended itself with {}: nothing but itself and its own processes can send it a signal in the sandbox, and it was within its limits.", signal_name(*signal)),
            fix: "Find what sends the signal (os.kill, signal.raise_signal, a watchdog, a worker's parent) and let it return or raise an exception instead.".into(),
        },
        End::Signaled { signal } => of_signal(*signal),
        End::Exited { .. } => return None,
    };
    Some(Verdict {
        rule: facts.rule.to_owned(),
        category: facts.category,
        severity: facts.severity,
        origin: facts.origin,
        retryable: facts.retryable,
        confidence: if matches!(end, End::Signaled { .. }) { 0.85 } else { 0.98 },
        cause: facts.cause,
        fix: facts.fix,
        line: faults.first().filter(|f| !f.in_error).map(Placed::line),
    })
}

fn of_signal(signal: i32) -> Facts<'static> {
    let name = signal_name(signal);
    match signal {
        9 => Facts {
            rule: "exit.killed",
            category: Category::ResourceError,
            severity: Severity::Medium,
            origin: Origin::Infrastructure,
            retryable: true,
            cause: "It was killed from outside with SIGKILL and printed no reason: mostly the kernel or a scheduler taking memory back.".into(),
            fix: "Compare its peak memory with what the machine has (dmesg names the kernel's victims) and lower it, or run it where nothing else competes.".into(),
        },
        1 | 2 | 15 => Facts {
            rule: "exit.stopped",
            category: Category::Timeout,
            severity: Severity::Medium,
            origin: Origin::Infrastructure,
            retryable: true,
            cause: format!("It was stopped from outside with {name} before it was done."),
            fix: "Run it again; if a scheduler stopped it, ask for more time or save checkpoints.".into(),
        },
        24 => Facts {
            rule: "exit.cpu-limit",
            category: Category::Timeout,
            severity: Severity::Medium,
            origin: Origin::Candidate,
            retryable: false,
            cause: "It used up its limit of processor time (SIGXCPU).".into(),
            fix: "Make it do less, or raise the limit (ulimit -t).".into(),
        },
        25 => Facts {
            rule: "exit.file-size-limit",
            category: Category::ResourceError,
            severity: Severity::High,
            origin: Origin::Candidate,
            retryable: false,
            cause: "It wrote a file beyond the allowed size (SIGXFSZ).".into(),
            fix: "Write less, or raise the limit (ulimit -f).".into(),
        },
        _ => Facts {
            rule: "exit.crashed",
            category: Category::RuntimeError,
            severity: Severity::High,
            origin: Origin::Candidate,
            retryable: false,
            cause: format!("It crashed with {name}{}.", what_signal(signal)),
            fix: "Run it under a debugger or with `python -X faulthandler` to see the frame that crashed; look first at native extensions and out-of-range memory.".into(),
        },
    }
}

fn what_signal(signal: i32) -> &'static str {
    match signal {
        4 => " (an illegal instruction: built for another processor?)",
        6 => " (it aborted itself)",
        7 => " (a bus error: a truncated mapped file or shared memory used up)",
        8 => " (an arithmetic fault such as a division by zero)",
        11 => " (a memory access out of bounds)",
        13 => " (it wrote to a pipe that nobody reads)",
        _ => "",
    }
}

/// "lm loss: 7.2E+00 | grad norm: 960", "accuracy 0.0 %"
fn is_figure(text: &str) -> bool {
    const METRICS: &[&str] = &[
        "loss",
        "accuracy",
        "psnr",
        "ssim",
        "bleu",
        "reward",
        "perplexity",
        "bitrate",
        "f1",
        "auc",
        "score",
        "grad norm",
    ];
    let lower = text.to_ascii_lowercase();
    METRICS.iter().any(|m| lower.contains(m)) && text.bytes().any(|b| b.is_ascii_digit())
}

/// Figures that don't change from one result to the next, where nothing else is said: what was measured was not what
/// was meant to be measured.
fn identical_results(capture: &Capture) -> Option<Verdict> {
    if capture.error_message.as_deref().is_some_and(|e| !e.trim().is_empty()) {
        return None;
    }
    let log = &capture.log;
    let lines: Vec<&str> =
        (0..log.len()).map(|i| log.clean(i).trim()).filter(|l| !l.is_empty()).take(50).collect();
    let measured = |line: &str| -> Vec<String> {
        let words = line.split(|c: char| c.is_whitespace() || "=,;:|()".contains(c));
        words
            .filter(|w| w.contains('.') && w.parse::<f64>().is_ok_and(|v| v != 0.0))
            .map(str::to_owned)
            .collect()
    };
    let first = measured(lines.first()?);
    let same = lines.len() >= 2 && !first.is_empty() && lines.iter().all(|l| measured(l) == first);
    same.then(|| Verdict {
        rule: "outcome.identical-results".to_owned(),
        category: Category::LogicError,
        severity: Severity::Critical,
        origin: Origin::Harness,
        retryable: false,
        confidence: 0.8,
        cause: format!(
            "{} results are the same to the last digit ({}): most likely the changed code was never run.",
            lines.len(),
            first.join(", ")
        ),
        fix: "Check that the evaluator loads the candidate and not the baseline or a cached result; vary the input and see whether the figure moves.".to_owned(),
        line: Some(1),
    })
}

/// No rule speaks: say what is known, and that it is not much.
fn last(capture: &Capture, faults: &[Placed<'_>]) -> Judged {
    if let Some(verdict) = identical_results(capture) {
        return Judged { verdict, fault: None };
    }
    let exit = capture.exit.as_ref().map(|e| format!(" ({})", e.end)).unwrap_or_default();
    let (rule, confidence, severity, cause, fix) = match faults.first() {
        Some(f) => (
            "fallback.line",
            0.45,
            Severity::Medium,
            format!("Execution failed{exit}: {}{}", quote(f.text()), f.at()),
            format!(
                "Start from {} of the {}: no rule knows it; `coroner rules` shows how to teach one.",
                format_args!("line {}", f.line()),
                f.place()
            ),
        ),
        None if capture.log.lines() == 0 && capture.error_message.is_none() => (
            "fallback.silent",
            0.5,
            Severity::Medium,
            format!("It failed{exit} without printing anything."),
            "Let it say what it does (python -u, set -x, a log line before each step), and check that its output isn't sent elsewhere.".to_owned(),
        ),
        None => (
            "fallback.unknown",
            0.3,
            Severity::Medium,
            match capture.error_message.as_deref().map(str::trim).filter(|e| !e.is_empty()) {
                Some(error) => format!("Execution failed{exit}: {}", quote(error.lines().next().unwrap_or(error))),
                None => format!(
                    "Nothing in the {} lines of the log says why{exit}; the last one is: {}",
                    capture.log.lines(),
                    (0..capture.log.len()).rev().map(|i| capture.log.clean(i)).find(|l| !l.trim().is_empty()).map(quote).unwrap_or_default()
                ),
            },
            "If it did fail, print the reason before exiting; if not, there is nothing to mend.".to_owned(),
        ),
    };
    // what was handed in is a figure and not an error: the result was not good enough
    let figure = faults.first().is_none_or(|f| f.fault.signal.is_none_or(|s| s < Signal::Strong))
        && capture.error_message.as_deref().is_some_and(is_figure);
    let verdict = Verdict {
        rule: rule.to_owned(),
        category: if figure { Category::LogicError } else { Category::RuntimeError },
        severity: if figure { Severity::Low } else { severity },
        origin: Origin::Candidate,
        retryable: false,
        confidence,
        cause,
        fix,
        line: faults.first().filter(|f| !f.in_error).map(Placed::line),
    };
    Judged { verdict, fault: (!faults.is_empty()).then_some(0) }
}
