//! `coroner test`: one candidate of a task, from its file to an evolution result, whatever happens on the way.

mod keep;
mod page;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::Context as _;
use coroner_diagnosis::{HarnessFault, HarnessKind};
use coroner_lab::attempt::{EvolutionResult, Progress, Standing, Tested, Tester};
use coroner_lab::sandbox::{Sandbox, Stop};
use coroner_lab::screen::CodeHash;
use coroner_lab::task::{Machine, Task};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::analyst::{Analyst, runtime};
use crate::args::{Format, TestArgs};
use crate::check;
use crate::context::{Context, DONE, Failed, REPORTED};
use keep::Keeper;

/// What a shell takes for a program that was ended with Ctrl-C.
const INTERRUPTED: u8 = 130;

/// The result in the contract's shape, and what else is known.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    experiment_id: &'a str,
    task: &'a str,
    code_hash: &'a str,
    #[serde(flatten)]
    result: &'a EvolutionResult,
    score: Option<f64>,
    wall_seconds: f64,
    /// How the candidate's process ended, if it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a coroner_lab::sandbox::Report>,
}

pub(crate) fn test(args: &TestArgs, context: &Context) -> Result<u8, Failed> {
    let task = Task::load(&args.task).map_err(anyhow::Error::from)?;
    let (name, code) = check::read(&args.candidate)?;
    let runtime = runtime()?;
    let keeper = Keeper::begin(args, context, &task, &code, &runtime)?;
    let stop = Stop::new();
    watch_signals(&stop)?;
    let bar = context.progress(None, "{spinner} {msg}");
    let (tested, standing) = attempt(args, context, &task, &code, keeper.as_ref(), &stop, &bar);
    bar.finish_and_clear();
    if tested.stopped {
        if let Some(keeper) = &keeper {
            keeper.interrupted(&tested, &runtime)?;
        }
        context.note("interrupted: the candidate was ended, and nothing is concluded from that");
        return Ok(INTERRUPTED);
    }
    let id = keeper.as_ref().map(Keeper::id).or_else(|| args.id.clone()).unwrap_or_default();
    let store = keeper.as_ref().map(Keeper::store);
    let analyst = Analyst::new(context, args.offline, store, Arc::clone(&runtime))?;
    let capture = tested.capture(&id, &task.name, &code);
    // the row gets its end before anything that takes time; what a model adds comes after
    let by_rules = capture
        .as_ref()
        .map(|capture| coroner_diagnosis::conclude(analyst.examine(capture), None, &crate::analyst::now()));
    let mut kept = keeper.as_ref().map(|keeper| keeper.finish(&tested, by_rules.as_ref(), &runtime));
    let mut diagnosis = match &capture {
        Some(capture) if analyst.asks() => Some(analyst.diagnose(capture)),
        _ => by_rules,
    };
    let alike = match (&keeper, &mut diagnosis) {
        (Some(keeper), Some(diagnosis)) => keeper.look_up(diagnosis, analyst.asks(), &runtime),
        _ => None,
    };
    if let Some(keeper) = &keeper {
        let files = keeper.write_versions(&tested, diagnosis.as_ref(), &code);
        kept = kept.map(|kept| kept.and(files));
    }
    let result = tested.result(diagnosis);
    show(context, &tested, &result, &standing, &task, &id, &name, keeper.as_ref(), alike)?;
    match kept {
        Some(Err(failed)) => Err(failed),
        _ => Ok(if result.adopted { DONE } else { REPORTED }),
    }
}

/// Never fails: what goes wrong on our side is a result too.
fn attempt(
    args: &TestArgs,
    context: &Context,
    task: &Task,
    code: &[u8],
    keeper: Option<&Keeper<'_>>,
    stop: &Stop,
    bar: &ProgressBar,
) -> (Tested, Standing) {
    let of_harness = |fault| (Tested::of_harness(CodeHash::of_bytes(code), fault), Standing::default());
    let sandbox = match std::env::current_exe() {
        Ok(helper) => Sandbox::probe(&helper),
        Err(error) => return of_harness(internal(&format!("coroner does not find its own binary: {error}"))),
    };
    let cache = context.env.cache_home().unwrap_or_else(std::env::temp_dir).join("coroner");
    let machine = Machine {
        path: context.env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin".as_ref()),
        cache: &cache,
        offline: args.offline,
        progress: &|text| {
            bar.set_message(text.to_owned());
            // a bar that nobody sees says nothing
            if bar.is_hidden() {
                context.note(text);
            }
        },
    };
    let tester = match Tester::new(task.clone(), sandbox, &machine) {
        Ok(tester) => tester,
        Err(fault) => return of_harness(fault),
    };
    let standing = match keeper.map(|keeper| keeper.standing(&tester.code_hash(code))) {
        None => Standing::default(),
        Some(Ok(standing)) => standing,
        Some(Err(error)) => {
            return of_harness(HarnessFault {
                kind: HarnessKind::Cache,
                what: format!("what the candidate is compared with can't be read: {error}"),
                advice: "Mend or remove that file of the versions folder".to_owned(),
            });
        }
    };
    let shown = |progress| match progress {
        Progress::Screening => bar.set_message("screening"),
        Progress::Evaluating { done, total, held_out } => {
            let on = if held_out { " on the held-out inputs" } else { "" };
            bar.set_message(if total > 0.0 {
                format!("measuring{on}: {done} of {total}")
            } else {
                format!("measuring{on}")
            });
        }
    };
    let tested =
        catch_unwind(AssertUnwindSafe(|| tester.test(code, &standing, &BTreeMap::new(), stop, &shown)));
    match tested {
        Ok(tested) => (tested, standing),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said =
                said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason was given");
            of_harness(internal(&format!("coroner itself failed: {said}")))
        }
    }
}

fn internal(what: &str) -> HarnessFault {
    HarnessFault {
        kind: HarnessKind::Internal,
        what: what.to_owned(),
        advice: "Report it with the task, the candidate and the output of coroner doctor".to_owned(),
    }
}

/// The first Ctrl-C ends the candidate, the second us.
fn watch_signals(stop: &Stop) -> Result<(), Failed> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("can't take signals")?;
    let stop = stop.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if stop.is_stopped() {
                _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            stop.stop();
        }
    });
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "everything that is known is shown")]
fn show(
    context: &Context,
    tested: &Tested,
    result: &EvolutionResult,
    standing: &Standing,
    task: &Task,
    id: &str,
    name: &str,
    keeper: Option<&Keeper<'_>>,
    alike: Option<u64>,
) -> Result<(), Failed> {
    match context.format {
        Format::Json => context.print_json(&Answer {
            experiment_id: id,
            task: &task.name,
            code_hash: tested.code_hash.as_str(),
            result,
            score: tested.score,
            wall_seconds: tested.wall.as_secs_f64(),
            report: tested.report.as_ref(),
        }),
        Format::Text => {
            let page = page::Page {
                face: context.out(),
                task,
                tested,
                result,
                standing,
                subject: name,
                label: keeper.map(Keeper::label).or_else(|| Some(id.to_owned()).filter(|id| !id.is_empty())),
                number: keeper.map(Keeper::number),
                alike,
                folder: keeper.map(Keeper::folder),
            };
            context.print(&page.write())
        }
    }
}
