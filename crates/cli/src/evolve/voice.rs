//! What the loop says while it works: a line for each thing that happens and, on a terminal, a line that stands below them
//! with how far it is.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use anstyle::{AnsiColor, Style};
use coroner_lab::evolve::{Event, Finished, Trip};
use coroner_store::Status;
use indicatif::ProgressBar;

use crate::card::wrap::fit;
use crate::context::Context;
use crate::printable::printable;
use crate::quantities::counted;
use crate::terminal::Face;

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();

/// Speaks on standard error.
pub(super) struct Voice<'a> {
    context: &'a Context,
    face: Face,
    bar: ProgressBar,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    wanted: u64,
    failed: u64,
    tested: u64,
    best: Option<f64>,
    last: String,
}

impl<'a> Voice<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self {
            context,
            face: context.err(),
            bar: context.progress(None, "{spinner} {msg}"),
            tally: Mutex::default(),
        }
    }

    pub(super) fn begin(&self, wanted: u64) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).wanted = wanted;
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Something on the side.
    pub(super) fn note(&self, text: &str) {
        self.line(&format!("coroner: {}", printable(text, self.face.unicode)));
    }

    fn line(&self, text: &str) {
        if self.context.is_quiet() {
            return;
        }
        if self.bar.is_hidden() {
            // nobody may be left to read it
            _ = writeln!(io::stderr(), "{text}");
        } else {
            self.bar.println(text);
        }
    }

    pub(super) fn event(&self, event: &Event) {
        match event {
            Event::Resumed { run, tested, marked } => {
                let marked = match marked.len() as u64 {
                    0 => String::new(),
                    n => format!(
                        "; {} marked to be tested again (--rerun does so)",
                        counted(n, "experiment is", "experiments are")
                    ),
                };
                let tested = counted(*tested, "candidate has", "candidates have");
                self.note(&format!("going on with run {run}: {tested} ended{marked}"));
            }
            Event::Started { number, again, .. } => {
                if *again {
                    self.note(&format!("exp {number}: tested again, what became of it was not its fault"));
                }
            }
            Event::Finished(finished) => self.finished(finished),
            Event::Known { as_experiment, .. } => {
                self.line(&self.dim(&format!(
                    "           known     the same code as exp {as_experiment}, not tested again"
                )));
            }
            Event::NoProposal(why) => self.line(&self.dim(&format!("           none      {why}"))),
            Event::Broken(trip) => self.broken(trip),
            Event::Note(text) => self.note(text),
        }
    }

    fn dim(&self, text: &str) -> String {
        self.face.paint(DIM, &printable(text, self.face.unicode))
    }

    fn finished(&self, it: &Finished) {
        let (word, style) = match it.status {
            Status::Adopted => ("adopted", GREEN),
            Status::Rejected => ("rejected", DIM),
            _ => ("failed", RED),
        };
        let score = it.score.map_or_else(String::new, |score| format!("{score:.6}  "));
        let rest = match &it.diagnosis {
            Some(diagnosis) if it.status != Status::Rejected => {
                let again = it.repeated.as_ref().map_or_else(String::new, |again| format!(" ({again})"));
                format!(
                    "{}{} · {} · {}: {}{again}",
                    score,
                    diagnosis.failure_category,
                    diagnosis.severity,
                    diagnosis.origin,
                    diagnosis.root_cause
                )
            }
            _ => format!("{score}{}", it.change),
        };
        let rest = printable(&rest, self.face.unicode).replace('\n', " ");
        let head = format!("{:>9}  ", format!("exp {}", it.number));
        // without a terminal the line is for a file, where nothing needs cutting
        let cut = self.face.sign("…", "...");
        let rest =
            if self.bar.is_hidden() { rest } else { fit(&rest, self.face.width.saturating_sub(21), cut) };
        self.line(&format!("{head}{}{rest}", self.face.paint(style, &format!("{word:<10}"))));
        let message = {
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.tested = tally.tested.max(it.tested);
            tally.failed += u64::from(it.status == Status::TestFailed);
            tally.best = it.best.or(tally.best);
            if let Some(diagnosis) = it.diagnosis.as_ref().filter(|_| it.status == Status::TestFailed) {
                tally.last = format!(" · last failure {}", diagnosis.failure_category);
            }
            let best = tally.best.map_or_else(String::new, |best| format!(" · best {best:.6}"));
            format!(
                "{} of {} tested{best} · {} failed{}",
                tally.tested, tally.wanted, tally.failed, tally.last
            )
        };
        self.far(&message);
    }

    /// How far it is, on the line that stands below.
    pub(super) fn far(&self, message: &str) {
        self.bar.set_message(fit(
            &printable(message, self.face.unicode),
            self.face.width.saturating_sub(3),
            self.face.sign("…", "..."),
        ));
    }

    fn broken(&self, trip: &Trip) {
        let numbers: Vec<String> = trip.experiments.iter().map(|id| id.number().to_string()).collect();
        self.note(&format!(
            "stopping: {} different candidates (exp {}) failed in the same way, and it is not their fault but that of: {}",
            trip.experiments.len(),
            numbers.join(", "),
            trip.origin
        ));
    }
}
