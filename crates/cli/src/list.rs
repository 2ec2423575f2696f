//! `coroner list`: experiments, the newest first, each on one line.

use anstyle::{Effects, Style};
use coroner_diagnosis::seconds;
use coroner_store::{Listed, Page, Query, Status};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

use crate::args::{Format, ListArgs};
use crate::card::style_of;
use crate::card::wrap::fit;
use crate::context::{Context, DONE, Failed};
use crate::kept;
use crate::printable::printable;
use crate::quantities::{counted, thousands};
use crate::terminal::Face;

const DIM: Style = Style::new().effects(Effects::DIMMED);

pub(crate) fn list(args: &ListArgs, context: &Context) -> Result<u8, Failed> {
    let runtime = crate::analyst::runtime()?;
    let page = match kept::open(context, &runtime)? {
        Some(store) => runtime.block_on(store.list(query(args)))?,
        None => Page {
            total_count: 0,
            total_is_at_least: false,
            sorted_among: None,
            running_commands: 0,
            next_cursor: None,
            experiments: Vec::new(),
        },
    };
    match context.format {
        Format::Json => context.print_json(&page)?,
        Format::Text => {
            context.print(&table(&page.experiments, context.out(), Timestamp::now(), &TimeZone::system()))?;
            context.note(&foot(&page, args));
        }
    }
    Ok(DONE)
}

fn query(args: &ListArgs) -> Query {
    Query {
        limit: Some(usize::from(args.limit)),
        sort: args.sort.unwrap_or_default(),
        cursor: args.cursor.clone(),
        status: args.status,
        category: args.category,
        severity: args.severity,
        origin: args.origin,
        signature: args.signature.clone(),
        q: Some(args.words.join(" ")).filter(|words| !words.is_empty()),
    }
}

/// How many there are, and how to go on.
fn foot(page: &Page, args: &ListArgs) -> String {
    if page.total_count == 0 {
        let nothing = *args == ListArgs { limit: args.limit, ..ListArgs::default() };
        return if nothing { "nothing is kept yet; try: coroner run -- false" } else { "none fits" }
            .to_owned();
    }
    let at_least = if page.total_is_at_least { "at least " } else { "" };
    let total = counted(page.total_count, "experiment", "experiments");
    let shown = thousands(page.experiments.len() as u64);
    let more =
        page.next_cursor.as_ref().map(|cursor| format!("; go on with --cursor {cursor}")).unwrap_or_default();
    format!("{shown} of {at_least}{total}{more}")
}

/// Columns as wide as their widest cell; the last takes what is left.
fn table(experiments: &[Listed], face: Face, now: Timestamp, zone: &TimeZone) -> String {
    let rows: Vec<[String; 6]> = experiments.iter().map(|listed| cells(listed, face, now, zone)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let before: usize = widths.iter().map(|width| width + 2).sum();
    let ellipsis = face.sign("…", "...");
    let mut text = String::new();
    for (row, listed) in rows.iter().zip(experiments) {
        for (column, cell) in row[..5].iter().enumerate() {
            let blank = " ".repeat(widths[column] - cell.width());
            // numbers end under one another, words begin so
            let padded = if column == 0 { format!("{blank}{cell}") } else { format!("{cell}{blank}") };
            let style = match (column, &listed.analysis) {
                (3, Some(analysis)) => style_of(analysis.severity),
                (0 | 1, _) => DIM,
                _ => Style::new(),
            };
            text.push_str(&face.paint(style, &padded));
            text.push_str("  ");
        }
        let room = face.width.saturating_sub(before).max(24);
        text.push_str(&fit(&row[5], room, ellipsis));
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn cells(listed: &Listed, face: Face, now: Timestamp, zone: &TimeZone) -> [String; 6] {
    let clean = |text: &str| printable(text, face.unicode);
    let failure =
        listed.analysis.as_ref().map(|analysis| format!("{} {}", analysis.category, analysis.severity));
    let running = now.duration_since(listed.started_at);
    let took = match (listed.duration, listed.status) {
        (Some(duration), _) => seconds(duration),
        (None, Status::Running) => running.try_into().map(seconds).unwrap_or_default(),
        (None, _) => String::new(),
    };
    let what = match (listed.experiment_type.as_str(), listed.command.0.as_slice()) {
        ("", []) => listed.id.to_string(),
        ("", command) => command.join(" "),
        (kind, _) => kind.to_owned(),
    };
    let cause = listed.analysis.as_ref().map_or(what.as_str(), |analysis| analysis.root_cause.as_str());
    [
        listed.id.number().to_string(),
        kept::ago(listed.started_at, now, zone),
        listed.status.to_string(),
        failure.unwrap_or_default(),
        took,
        clean(cause),
    ]
}
