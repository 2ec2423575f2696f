//! `coroner stats`: what failures have cost, the worst first.

use std::fmt::Display;
use std::time::Duration;

use anstyle::{Effects, Style};
use coroner_diagnosis::seconds;
use coroner_store::{Costs, Error, RunId, Scope, SignatureCost, Store, Taken, TopOrder, TopQuery, Within};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::advice::WINDOW;
use crate::args::{By, Format, Since, StatsArgs};
use crate::card::style_of;
use crate::card::wrap::{at_most, wrap};
use crate::context::{Context, DONE, Failed, REPORTED, complain};
use crate::kept;
use crate::printable::printable;
use crate::quantities::{counted, thousands};
use crate::terminal::Face;

const DIM: Style = Style::new().effects(Effects::DIMMED);
/// Wider than this a table is harder to read, not easier.
const WIDEST: usize = 100;
/// What the numbers are.
const HEAD: [&str; 4] = ["time", "processor", "cost", "times"];

/// What is printed.
#[derive(Debug, Serialize)]
struct Stats {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    #[serde(flatten)]
    costs: Costs,
    /// By the time that they took.
    top_signatures: Vec<SignatureCost>,
}

pub(crate) fn stats(args: &StatsArgs, context: &Context) -> Result<u8, Failed> {
    let runtime = crate::analyst::runtime()?;
    let now = Timestamp::now();
    let within = within(args, now);
    let mut stats =
        Stats { kind: args.kind.clone(), run: args.run, costs: Costs::default(), top_signatures: Vec::new() };
    let store = kept::open(context, &runtime)?;
    if let Some(store) = &store {
        match runtime.block_on(ask(store, args, within)) {
            Ok((costs, top)) => (stats.costs, stats.top_signatures) = (costs, top),
            Err(error @ Error::NoRun { .. }) => {
                complain(&error.to_string());
                return Ok(REPORTED);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match context.format {
        Format::Json => context.print_json(&stats)?,
        Format::Text if stats.costs.total.experiments == 0 => {
            context.print(&format!("no experiment has ended {}\n", period(args, &stats.costs)))?;
            context.note(match store {
                None => "nothing is kept yet; try: coroner run -- false",
                Some(_) => "`coroner list` shows what there is; --since all looks further back",
            });
        }
        Format::Text => context.print(&stats.in_text(args, context.out(), now))?,
    }
    Ok(DONE)
}

async fn ask(store: &Store, args: &StatsArgs, within: Within) -> Result<(Costs, Vec<SignatureCost>), Error> {
    if let Some(run) = args.run {
        store.run(run).await?;
    }
    let costs = store.costs(within.clone()).await?;
    let query = TopQuery {
        within,
        origin: None,
        failures_only: true,
        order: TopOrder::Time,
        limit: usize::from(args.top),
    };
    Ok((costs, store.top_signatures(query).await?))
}

fn within(args: &StatsArgs, now: Timestamp) -> Within {
    let scope = match (args.run, &args.kind) {
        (Some(run), _) => Scope::Run(run),
        (None, Some(kind)) => Scope::Type(kind.clone()),
        (None, None) => Scope::All,
    };
    let age = match (args.since, args.run) {
        (Some(Since::All), _) | (None, Some(_)) => None,
        (Some(Since::Age(age)), _) => Some(age),
        (None, None) => Some(WINDOW),
    };
    let since = age.map(|age| now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH));
    Within { scope, since, until: None }
}

/// "since 2026-11-21 14:00", "in run 3".
fn period(args: &StatsArgs, costs: &Costs) -> String {
    let mut words = Vec::new();
    if let Some(run) = args.run {
        words.push(format!("in run {run}"));
    }
    if let Some(kind) = &args.kind {
        words.push(format!("of type {kind}"));
    }
    match (costs.from, args.since) {
        (Some(from), _) => {
            let from = from.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M");
            words.push(format!("since {from}"));
        }
        (None, Some(Since::Age(age))) => words.push(format!("in the last {}", crate::advice::length(age))),
        (None, _) if args.run.is_none() => words.push("so far".to_owned()),
        (None, _) => {}
    }
    words.join(" ")
}

impl Stats {
    fn in_text(&self, args: &StatsArgs, face: Face, now: Timestamp) -> String {
        let (total, lost, rejected) = (&self.costs.total, &self.costs.lost, &self.costs.rejected);
        let ended = counted(total.experiments, "experiment", "experiments");
        let mut text = printable(&format!("{ended} {}", period(args, &self.costs)), face.unicode) + "\n";
        let mut sums = vec![Row::named("all that ended", total)];
        if lost.experiments > 0 {
            sums.push(Row::named(&format!("lost to failures{}", share(lost.wall, total.wall)), lost));
        }
        if rejected.experiments > 0 {
            sums.push(Row::named("measured, but not good enough", rejected));
        }
        let rows = match args.by {
            _ if lost.experiments == 0 => Vec::new(),
            By::Signature => self.by_signature(face, now),
            By::Category => worst_first(&self.costs.by_category),
            By::Origin => worst_first(&self.costs.by_origin),
        };
        text.push_str(&table(&sums, &rows, face));
        if lost.experiments == 0 {
            text.push_str("\n  nothing has failed\n");
            return text;
        }
        let named: u64 = rows.iter().map(|row| row.experiments).sum();
        let more = match args.by {
            By::Signature => self.costs.signatures.saturating_sub(self.top_signatures.len() as u64),
            By::Category | By::Origin => 0,
        };
        if more > 0 {
            let causes = counted(more, "cause", "causes");
            text.push_str(&format!("  and {causes} more; --top {} shows all\n", self.costs.signatures));
        } else if named < lost.experiments {
            let without = counted(lost.experiments - named, "failure has", "failures have");
            text.push_str(&format!("  {without} no diagnosis\n"));
        }
        text
    }

    fn by_signature(&self, face: Face, now: Timestamp) -> Vec<Row> {
        let dot = face.sign(" · ", " | ");
        let each = self.top_signatures.iter().map(|it| {
            let judged = [it.category.as_str(), it.severity.as_str(), it.origin.as_str()].join(dot);
            let last =
                format!("last exp {}, {}", it.last_number, kept::ago(it.last_at, now, &TimeZone::system()));
            let mut below = vec![it.root_cause.clone()];
            below.extend(it.fixed_by.as_ref().map(|fixed| fixed.how.clone()));
            below.push(last);
            Row { what: judged, style: style_of(it.severity), below, ..Row::of(&it.taken) }
        });
        each.collect()
    }
}

/// A line of the table, and lines below it.
struct Row {
    cells: [String; 4],
    what: String,
    style: Style,
    below: Vec<String>,
    wall: Duration,
    experiments: u64,
}

impl Row {
    fn named(what: &str, taken: &Taken) -> Self {
        Self { what: what.to_owned(), ..Self::of(taken) }
    }

    fn of(taken: &Taken) -> Self {
        Self {
            cells: [time(taken.wall), time(taken.cpu), dollars(taken.dollars), thousands(taken.experiments)],
            what: String::new(),
            style: Style::new(),
            below: Vec::new(),
            wall: taken.wall,
            experiments: taken.experiments,
        }
    }
}

/// The worst first.
fn worst_first<'a, K: Display + 'a>(by: impl IntoIterator<Item = (&'a K, &'a Taken)>) -> Vec<Row> {
    let mut rows: Vec<_> = by.into_iter().map(|(what, taken)| Row::named(&what.to_string(), taken)).collect();
    rows.sort_by(|a, b| b.wall.cmp(&a.wall).then(b.experiments.cmp(&a.experiments)));
    rows
}

/// Sums, and below them what they are made of. Numbers end under one another.
fn table(sums: &[Row], rows: &[Row], face: Face) -> String {
    let all = || sums.iter().chain(rows);
    let width =
        |n: usize| all().map(|row| row.cells[n].len()).chain([HEAD[n].len()]).max().unwrap_or_default();
    let widths: [usize; 4] = std::array::from_fn(width);
    let numbers = |cells: &[&str]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("  {cell:>width$}"));
        padded.collect::<String>()
    };
    let mut text = face.paint(DIM, &numbers(&HEAD)) + "\n";
    let ellipsis = face.sign("…", "...");
    for (n, row) in all().enumerate() {
        if n == sums.len() && n > 0 {
            text.push('\n');
        }
        let cells = row.cells.each_ref().map(String::as_str);
        text.push_str(&format!("{}  {}\n", numbers(&cells), face.paint(row.style, &row.what)));
        for (n, line) in row.below.iter().enumerate() {
            let room = face.width.min(WIDEST).saturating_sub(4 + ellipsis.width());
            // the cause may take two lines, the rest one each
            let lines =
                at_most(wrap(&printable(line, face.unicode), room), if n == 0 { 2 } else { 1 }, ellipsis);
            for line in lines {
                text.push_str(&format!("    {}\n", if n == 0 { line } else { face.paint(DIM, &line) }));
            }
        }
    }
    text
}

fn share(part: Duration, whole: Duration) -> String {
    if whole.is_zero() {
        return String::new();
    }
    format!(", {:.0} % of the time", 100.0 * part.as_secs_f64() / whole.as_secs_f64())
}

fn time(duration: Duration) -> String {
    if duration.is_zero() { "-".to_owned() } else { seconds(duration) }
}

/// "$1,234.50", "$0.0040"; a sum that is nothing is no sum.
fn dollars(sum: f64) -> String {
    if sum <= 0.0 {
        return "-".to_owned();
    }
    if sum < 0.00005 {
        return "<$0.0001".to_owned();
    }
    if sum < 0.1 {
        return format!("${sum:.4}");
    }
    let cents = (sum * 100.0).round();
    format!("${}.{:02}", thousands((cents / 100.0).floor() as u64), (cents % 100.0) as u64)
}

#[cfg(test)]
mod tests;
