//! `coroner evolve`: the loop over a task, with everything around it that reads the environment and speaks to people.

mod ablate;
mod git;
mod model;
mod page;
mod voice;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use coroner_diagnosis::{Capture, Diagnosis};
use coroner_lab::advice::{Advice, DEFAULT_BUDGET, Known};
use coroner_lab::attempt::Tester;
use coroner_lab::evolve::{
    Evolution, Ground, Over, QueueBench, Settings, Summary, TaskBench, Versions, settings_of,
};
use coroner_lab::propose::{Builtin, Errand, Hash, Proposer};
use coroner_lab::sandbox::{Sandbox, Stop};
use coroner_lab::task::{Machine, Task};
use coroner_store::{ExperimentId, Owner, Run, RunId, RunState, Scope, Store, Within};
use tokio::runtime::Runtime;

use crate::analyst::Analyst;
use crate::args::{EvolveArgs, Format, Who};
use crate::context::{Context, DONE, Failed, REPORTED};
use voice::Voice;
pub(crate) use worker::worker;

/// What a shell takes for a program that was ended with Ctrl-C.
const INTERRUPTED: u8 = 130;
/// What is said to the first Ctrl-C.
const ENDING: &str = "ending when what is being tested is done; Ctrl-C again to end at once";
/// So many causes are told to a model.
const CAUSES: usize = 20;

pub(crate) fn evolve(args: &EvolveArgs, context: &Context) -> Result<u8, Failed> {
    let task = Task::load(&args.task).map_err(anyhow::Error::from)?;
    let baseline = seed(&task)?;
    let runtime = runtime()?;
    let voice = Voice::new(context);
    if args.ablate {
        return ablate::ablate(args, context, task, &baseline, &runtime, &voice);
    }
    let queue = args.queue.as_ref().map(|queue| worker::open(queue, None, context, &runtime)).transpose()?;
    let store = runtime.block_on(crate::storage::open(context))?;
    crate::run::close_orphans(&store, context, &runtime).iter().for_each(|note| context.note(note));
    let telling = crate::alerts::Telling::begin(context, &store, &runtime)?;
    let earlier = earlier_run(args, &task, &store, &runtime)?;
    let settings = settings(args, earlier.as_ref());
    let tester = tester(args.offline, context, task, &voice)?;
    let analyst = Analyst::new(context, args.offline, Some(&store), Arc::clone(&runtime))?;
    let stop = Stop::new();
    let explain = |capture: &Capture, id: &ExperimentId| diagnose(&analyst, &store, &runtime, capture, id);
    let mut bench = bench(&tester, &store, &runtime, &stop, &explain);
    // a rule of the policy that has refused many is looked at itself
    let refusals = runtime.block_on(store.policy_refusals(None))?;
    bench.refused = std::sync::Mutex::new(refusals.into_iter().map(|it| (it.rule, it.candidates)).collect());
    let said = |text: &str| voice.note(text);
    let afar = queue.as_ref().map(|queue| QueueBench {
        queue: queue.as_ref(),
        task: &tester.task().name,
        store: store.clone(),
        runtime: runtime.handle().clone(),
        stop: stop.clone(),
        diagnose: &explain,
        near: &bench,
        tell: &said,
        asked: std::sync::Mutex::new(std::time::Instant::now()),
    });
    let proposer = proposer(args, context, &tester, &store, &runtime)?;
    let errand = Arc::new(Errand::of(tester.task(), tester.policy()));
    let versions = versions_folder(args, context, tester.task());
    let repository = args.git.then(|| git::Repository::of(&versions)).transpose()?;
    let advice = |_: RunId| advice(&store, &runtime, &tester.task().name);
    let adopted = |path: &Path, number: u64, change: &str| {
        if let Some(Err(error)) =
            repository.as_ref().map(|repository| repository.commit(path, number, change))
        {
            voice.note(&format!("exp {number} is not committed: {error}"));
        }
    };
    let ground = Ground {
        store: store.clone(),
        runtime: runtime.handle().clone(),
        errand,
        baseline,
        proposer: proposer.as_ref(),
        bench: match &afar {
            Some(afar) => afar,
            None => &bench,
        },
        hash: hash(&tester),
        versions: Some(Versions::new(versions.clone())),
        advice: &advice,
        tell: &|event| voice.event(event),
        adopted: &adopted,
    };
    voice.begin(settings.generations);
    let evolution = match &earlier {
        Some(run) => Evolution::resume(ground, run, settings, args.rerun),
        None => Evolution::start(ground, settings),
    };
    let evolution = evolution.map_err(of_loop)?;
    let over = work(&evolution, args.workers.get(), &stop, &voice, afar.is_some())?;
    voice.end();
    if let Some(telling) = telling {
        telling.end();
    }
    let summary = runtime.block_on(Summary::of(&store, evolution.run_id()))?;
    match context.format {
        Format::Json => context.print_json(&page::Answer::new(tester.task(), &over, &summary, &versions))?,
        Format::Text => {
            let page = page::Page {
                face: context.out(),
                task: tester.task(),
                file: &args.task,
                over: &over,
                summary: &summary,
            };
            context.print(&page.write(&versions))?;
        }
    }
    Ok(match over {
        Over::Asked => INTERRUPTED,
        Over::Broken(_) | Over::Baseline(_) => REPORTED,
        Over::Done | Over::OverBudget(_) | Over::Exhausted(_) => DONE,
    })
}

fn runtime() -> Result<Arc<Runtime>, Failed> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map(Arc::new)
        .map_err(|e| Failed::Outside(anyhow!("can't start: the system gives no event queue ({e})")))
}

/// Until it is over, with signals on the way. What is tested `afar` is not waited for: it goes on there.
fn work(
    evolution: &Evolution<'_>,
    workers: usize,
    stop: &Stop,
    voice: &Voice<'_>,
    afar: bool,
) -> Result<Over, Failed> {
    let end = || {
        evolution.stop();
        if afar {
            stop.stop();
            voice.note("ending; what is on the queue stays there, and the same command goes on with it");
        } else {
            voice.note(ENDING);
        }
    };
    with_signals(stop, &end, || evolution.go(workers))?.map_err(of_loop)
}

/// Does `go`; the first signal asks it to `end`, the second ends what is being tested, the third ends us.
fn with_signals<T>(stop: &Stop, end: &(dyn Fn() + Sync), go: impl FnOnce() -> T) -> Result<T, Failed> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("can't take signals")?;
    let handle = signals.handle();
    Ok(std::thread::scope(|scope| {
        scope.spawn(move || {
            for (count, signal) in signals.forever().enumerate() {
                match count {
                    0 => end(),
                    1 => stop.stop(),
                    _ => _ = signal_hook::low_level::emulate_default_handler(signal),
                }
            }
        });
        let done = go();
        handle.close();
        done
    }))
}

fn of_loop(error: coroner_lab::evolve::EvolveError) -> Failed {
    match error {
        coroner_lab::evolve::EvolveError::Store(error) => error.into(),
        other => Failed::Outside(other.into()),
    }
}

fn seed(task: &Task) -> Result<String, Failed> {
    let Some(path) = &task.seed else {
        return Err(Failed::Input(anyhow!(
            "task {} names no first candidate: write one and name it in {} as seed = \"seed.py\"",
            task.name,
            task.file.display()
        )));
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("can't read the seed {}", path.display()))?;
    Ok(text)
}

/// The run to go on with; none begins a new one.
fn earlier_run(
    args: &EvolveArgs,
    task: &Task,
    store: &Store,
    runtime: &Runtime,
) -> Result<Option<Run>, Failed> {
    if args.new {
        return Ok(None);
    }
    let found = match args.run {
        Some(number) => Some(runtime.block_on(store.run(number))?),
        None => {
            let newest = runtime.block_on(store.find_run(&task.name))?;
            newest.filter(|run| run.state != RunState::Finished || args.rerun)
        }
    };
    let Some(run) = found else { return Ok(None) };
    if run.task != task.name {
        return Err(Failed::Input(anyhow!(
            "run {} is one of task {}, and {} is task {}",
            run.id,
            run.task,
            args.task.display(),
            task.name
        )));
    }
    if run.is_held_by_another(&Owner::this_process()) {
        return Err(Failed::Input(anyhow!(
            "run {} of {} is being worked on by another coroner; end that one, or begin another with --new",
            run.id,
            run.task
        )));
    }
    Ok(Some(run))
}

/// What was asked for, on top of what the run was started with.
fn settings(args: &EvolveArgs, earlier: Option<&Run>) -> Settings {
    let base = earlier.and_then(settings_of).unwrap_or_default();
    Settings {
        generations: args.generations.unwrap_or(base.generations),
        seed: args.seed.unwrap_or(base.seed),
        feedback: args.feedback.unwrap_or(base.feedback),
        dollars: args.budget_dollars.or(base.dollars),
        every: args.every.or(base.every),
        ..base
    }
}

fn tester(offline: bool, context: &Context, task: Task, voice: &Voice<'_>) -> Result<Tester, Failed> {
    let helper = std::env::current_exe().context("coroner does not find its own binary")?;
    let cache = context.env.cache_home().unwrap_or_else(std::env::temp_dir).join("coroner");
    let machine = Machine {
        path: context.env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin".as_ref()),
        cache: &cache,
        offline,
        progress: &|text| voice.note(text),
    };
    Tester::new(task, Sandbox::probe(&helper), &machine)
        .map_err(|fault| Failed::Input(anyhow!("{}. {}", fault.what, fault.advice)))
}

fn bench<'a>(
    tester: &'a Tester,
    store: &Store,
    runtime: &Runtime,
    stop: &Stop,
    diagnose: &'a (dyn Fn(&Capture, &ExperimentId) -> Diagnosis + Sync),
) -> TaskBench<'a> {
    TaskBench {
        tester,
        store: store.clone(),
        runtime: runtime.handle().clone(),
        stop: stop.clone(),
        diagnose,
        refused: std::sync::Mutex::new(BTreeMap::new()),
    }
}

fn diagnose(
    analyst: &Analyst,
    store: &Store,
    runtime: &Runtime,
    capture: &Capture,
    id: &ExperimentId,
) -> Diagnosis {
    let mut diagnosis = analyst.diagnose(capture);
    crate::history::look_up(store, &mut diagnosis, Some(id), runtime);
    diagnosis
}

fn hash(tester: &Tester) -> Hash {
    let (policy, python) = (tester.policy().clone(), tester.python());
    Arc::new(move |code: &str| {
        coroner_lab::screen::screen(code.as_bytes(), &policy, python).code_hash.as_str().to_owned()
    })
}

fn proposer(
    args: &EvolveArgs,
    context: &Context,
    tester: &Tester,
    store: &Store,
    runtime: &Arc<Runtime>,
) -> Result<Box<dyn Proposer>, Failed> {
    match args.proposer {
        Who::Builtin => Ok(Box::new(builtin(tester)?)),
        Who::Model => Ok(Box::new(model::ModelProposer::new(context, store, runtime)?)),
    }
}

fn builtin(tester: &Tester) -> Result<Builtin, Failed> {
    let blocks = tester.task().blocks.as_deref();
    Ok(Builtin::new(blocks, hash(tester)).map_err(anyhow::Error::from)?)
}

fn versions_folder(args: &EvolveArgs, context: &Context, task: &Task) -> PathBuf {
    match &args.versions {
        Some(folder) => folder.clone(),
        None if args.git => task.file.parent().unwrap_or(Path::new(".")).join("versions"),
        None => {
            let data = context.env.data_home().unwrap_or_else(|| PathBuf::from("."));
            data.join("coroner/versions").join(&task.name)
        }
    }
}

/// What a model is told of earlier failures of this task. A store that can't be read costs the advice.
fn advice(store: &Store, runtime: &Runtime, task: &str) -> String {
    let within = Within { scope: Scope::Type(task.to_owned()), ..Within::default() };
    let Ok(known) = runtime.block_on(Known::gather(store, within, CAUSES, None)) else {
        return String::new();
    };
    Advice::new(&known, DEFAULT_BUDGET).text
}
