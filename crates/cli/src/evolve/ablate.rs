//! `coroner evolve --ablate`: what feedback is worth, measured.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use coroner_lab::evolve::{Ablation, Evolution, Ground, Mode, Settings, Spread, ablate as run_lanes};
use coroner_lab::propose::Errand;
use coroner_lab::sandbox::Stop;
use coroner_lab::task::Task;
use coroner_store::{Feedback, Store};
use tokio::runtime::Runtime;

use super::voice::Voice;
use super::{ENDING, INTERRUPTED, bench, builtin, hash, of_loop, tester, with_signals};
use crate::analyst::Analyst;
use crate::args::{EvolveArgs, Format, Who};
use crate::context::{Context, DONE, Failed};

pub(super) fn ablate(
    args: &EvolveArgs,
    context: &Context,
    task: Task,
    baseline: &str,
    runtime: &Arc<Runtime>,
    voice: &Voice<'_>,
) -> Result<u8, Failed> {
    if args.proposer == Who::Model {
        let why =
            "an ablation compares what the built-in search makes of feedback: leave out --proposer model";
        return Err(Failed::Input(anyhow::anyhow!(why)));
    }
    let tester = tester(args.offline, context, task, voice)?;
    // rules alone: a model would be asked in one lane and have its answer kept for the next
    let analyst = Analyst::new(context, true, None, Arc::clone(runtime))?;
    let folder = tempfile::tempdir().context("can't make a temporary folder")?;
    let errand = Arc::new(Errand::of(tester.task(), tester.policy()));
    let proposer = builtin(&tester)?;
    let generations = args.generations.unwrap_or(Settings::default().generations);
    let wanted: Vec<(u64, Feedback)> = args
        .seeds
        .clone()
        .flat_map(|seed| Feedback::ALL.into_iter().map(move |feedback| (seed, feedback)))
        .collect();
    let stop = Stop::new();
    let diagnose = |capture: &_, _: &_| analyst.diagnose(capture);
    // each lane its own store: what one learns is nothing to another
    let mut stores = Vec::new();
    for (seed, feedback) in &wanted {
        let path = folder.path().join(format!("{feedback}-{seed}.db"));
        stores.push(runtime.block_on(Store::open(&format!("sqlite:{}", path.display())))?);
    }
    let benches: Vec<_> =
        stores.iter().map(|store| bench(&tester, store, runtime, &stop, &diagnose)).collect();
    let quiet = |_: &_| {};
    let mut runs = Vec::new();
    for (((seed, feedback), store), bench) in wanted.iter().zip(&stores).zip(&benches) {
        let ground = Ground {
            store: store.clone(),
            runtime: runtime.handle().clone(),
            errand: Arc::clone(&errand),
            baseline: baseline.to_owned(),
            proposer: &proposer,
            bench,
            hash: hash(&tester),
            versions: None,
            advice: &|_| String::new(),
            tell: &quiet,
            adopted: &|_, _, _| {},
        };
        let settings = Settings { generations, seed: *seed, feedback: *feedback, ..Settings::default() };
        runs.push(Evolution::start(ground, settings).map_err(of_loop)?);
    }
    let all = runs.len() as u64 * generations;
    voice.begin(all);
    let asked = || {
        runs.iter().for_each(Evolution::stop);
        voice.note(ENDING);
    };
    let steps = |done: u64| voice.far(&format!("{done} of {all} tested, in {} searches", runs.len()));
    let go = || {
        let each = format!("searches of {generations} candidates each, a step of each in turn");
        voice.note(&format!("{} {each}", runs.len()));
        run_lanes(&runs, &steps)
    };
    let lanes = with_signals(&stop, &asked, go)?.map_err(of_loop)?;
    voice.end();
    let asked = lanes.iter().any(|lane| lane.asked);
    let ablation = Ablation::over(&tester.task().name, generations, lanes);
    match context.format {
        Format::Json => context.print_json(&ablation)?,
        Format::Text => context.print(&table(&ablation))?,
    }
    Ok(if asked { INTERRUPTED } else { DONE })
}

fn table(it: &Ablation) -> String {
    let seeds = it.lanes.len() / Feedback::ALL.len();
    let mut out = format!(
        "{}: {} candidates after the baseline, {seeds} seeds; the mean, and from the smallest to the largest\n\n",
        it.task, it.generations
    );
    let percent = |spread: Spread| {
        format!("{:.0} % ({:.0}..{:.0})", spread.mean * 100.0, spread.min * 100.0, spread.max * 100.0)
    };
    let count = |spread: Spread| {
        let missing =
            if spread.of < seeds { format!(", {} never", seeds - spread.of) } else { String::new() };
        format!("{:.1} ({:.0}..{:.0}{missing})", spread.mean, spread.min, spread.max)
    };
    let time = |spread: Spread| format!("{:.1} s ({:.1}..{:.1})", spread.mean, spread.min, spread.max);
    let score = |spread: Spread| format!("{:.5} ({:.5}..{:.5})", spread.mean, spread.min, spread.max);
    type Row<'a> = (&'a str, &'a dyn Fn(&Mode) -> Option<String>);
    let rows: [Row<'_>; 7] = [
        ("failed", &|m| m.failed.map(percent)),
        ("failed as before", &|m| m.repeated.map(percent)),
        ("first that ran", &|m| m.first_success.map(count)),
        ("first improvement", &|m| m.first_improvement.map(count)),
        ("time to it", &|m| m.seconds_to_improvement.map(time)),
        ("best score", &|m| m.best.map(score)),
        ("time in all", &|m| m.seconds.map(time)),
    ];
    let _ = write!(out, "{:<20}", "feedback");
    for mode in &it.modes {
        let _ = write!(out, "{:<30}", mode.feedback.as_str());
    }
    out = out.trim_end().to_owned() + "\n";
    for (label, value) in rows {
        let mut line = format!("{label:<20}");
        for mode in &it.modes {
            let _ = write!(line, "{:<30}", value(mode).unwrap_or_else(|| "never".to_owned()));
        }
        out += line.trim_end();
        out.push('\n');
    }
    for lane in it.lanes.iter().filter_map(|lane| Some((lane, lane.ended.as_ref()?))) {
        let (lane, why) = lane;
        let _ = writeln!(
            out,
            "\nseed {} with {} ended after {}: {why}",
            lane.seed, lane.feedback, lane.candidates
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use coroner_lab::evolve::Lane;

    use super::*;

    #[test]
    fn the_table_says_what_was_measured() {
        let lane = |feedback, seed, failed, improved: Option<u64>| Lane {
            feedback,
            seed,
            candidates: 50,
            failed,
            own_fault: failed,
            repeated: failed / 2,
            repairs: 0,
            mended: 0,
            first_success: Some(2),
            first_improvement: improved,
            seconds_to_improvement: improved.map(|n| n as f64 / 4.0),
            seconds: 12.5,
            baseline: Some(0.7),
            best: Some(0.8 + seed as f64 / 100.0),
            ended: None,
            asked: false,
        };
        let lanes = vec![
            lane(Feedback::None, 1, 20, Some(9)),
            lane(Feedback::Raw, 1, 18, Some(9)),
            lane(Feedback::Diagnosis, 1, 10, Some(5)),
            lane(Feedback::None, 2, 24, None),
            lane(Feedback::Raw, 2, 18, Some(11)),
            lane(Feedback::Diagnosis, 2, 12, Some(7)),
        ];
        insta::assert_snapshot!(table(&Ablation::over("toy", 50, lanes)));
    }
}
