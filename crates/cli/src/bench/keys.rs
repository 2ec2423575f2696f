//! `coroner bench keys`: which partitions of a table invented experiments would write, and what gives first.

use std::fmt::Write;

use coroner_store::dynamodb::{Hot, Load};
use jiff::Timestamp;
use serde::Serialize;

use super::{Judge, PROGRESS, World, fits};
use crate::analyst;
use crate::args::{FillArgs, Format, KeysArgs};
use crate::context::{Context, DONE, Failed};
use crate::quantities::thousands;

/// Write units that a partition takes in a second.
const PARTITION: f64 = 1000.0;

/// One kind of partitions.
#[derive(Debug, Serialize)]
struct Line {
    place: &'static str,
    /// What its keys begin with, where they have that in common.
    begins: String,
    partitions: usize,
    hottest: String,
    /// Write units for each experiment: of the hottest partition, and of all.
    units: f64,
    all_units: f64,
    /// So many experiments may begin and end in a second until the hottest partition has enough.
    per_second: u64,
}

#[derive(Debug, Serialize)]
struct Told {
    experiments: u64,
    /// For each experiment, logs left out.
    units: f64,
    bytes: u64,
    kinds: Vec<Line>,
}

pub(super) fn keys(args: &KeysArgs, context: &Context) -> Result<u8, Failed> {
    let KeysArgs { experiments, failures, causes, days, seed } = *args;
    let args = FillArgs { experiments, failures, causes, days, seed };
    fits(&args)?;
    // a Sunday, so that the same numbers give the same answer on any day
    let begin = Timestamp::from_second(1_793_491_200).map_err(anyhow::Error::new)?;
    let world = World::new(&args, begin).map_err(anyhow::Error::new)?;
    let judge = Judge { world, rules: analyst::rules(context)?, settings: analyst::settings(context) };
    let bar = context.progress(Some(experiments), PROGRESS);
    let mut load = Load::default();
    for index in 0..experiments {
        if let (new, Some((outcome, _))) = judge.experiment(index) {
            load.add(new, &outcome, index + 1)?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let told = Told {
        experiments: load.experiments(),
        units: load.units(),
        bytes: load.bytes(),
        kinds: load.hottest().into_iter().map(line).collect(),
    };
    match context.format {
        Format::Json => context.print_json(&told)?,
        Format::Text => context.print(&table(&told))?,
    }
    Ok(DONE)
}

fn line(hot: Hot) -> Line {
    let Hot { place, begins, partitions, hottest, units, all_units } = hot;
    Line { place, begins, partitions, hottest, units, all_units, per_second: (PARTITION / units) as u64 }
}

fn table(told: &Told) -> String {
    let mut text = format!(
        "{} experiments; {:.0} write units and {} bytes for each, logs left out\n\n\
         | where | partitions | the hottest | its units each | units of all | experiments a second |\n\
         |---|--:|---|--:|--:|--:|\n",
        thousands(told.experiments),
        told.units,
        thousands(told.bytes),
    );
    for kind in &told.kinds {
        let begins = if kind.begins.is_empty() { String::new() } else { format!(" `{}`", kind.begins) };
        _ = writeln!(
            text,
            "| {}{begins} | {} | `{}` | {:.3} | {:.2} | {} |",
            kind.place,
            thousands(kind.partitions as u64),
            kind.hottest,
            kind.units,
            kind.all_units,
            thousands(kind.per_second),
        );
    }
    text
}
