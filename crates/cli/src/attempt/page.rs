//! What a person sees of a test: the card of a failure or a line of success, then the figures.

use std::path::Path;

use anstyle::{AnsiColor, Effects, Style};
use coroner_lab::attempt::{EvolutionResult, Standing, Tested};
use coroner_lab::task::{Bounds, Direction, Task};
use unicode_width::UnicodeWidthStr;

use crate::card::{Facts, card};
use crate::printable::printable;
use crate::terminal::Face;

const DIM: Style = Style::new().effects(Effects::DIMMED);

pub(super) struct Page<'a> {
    pub(super) face: Face,
    pub(super) task: &'a Task,
    pub(super) tested: &'a Tested,
    pub(super) result: &'a EvolutionResult,
    pub(super) standing: &'a Standing,
    pub(super) subject: &'a str,
    pub(super) label: Option<String>,
    pub(super) number: Option<u64>,
    pub(super) alike: Option<u64>,
    pub(super) folder: Option<&'a Path>,
}

impl Page<'_> {
    pub(super) fn write(&self) -> String {
        let mut out = match &self.result.failure_analysis {
            Some(diagnosis) => {
                let more: Vec<String> =
                    self.number.map(|number| format!("coroner show {number}")).into_iter().collect();
                let exit = self.tested.exit();
                let facts = Facts {
                    name: self.label.as_deref(),
                    subject: Some(self.subject),
                    exit: exit.as_ref(),
                    log_lines: exit.as_ref().map(|_| lines(&self.tested.log)),
                    alike: self.alike,
                    more: &more,
                    whole: false,
                };
                card(diagnosis, &facts, self.face)
            }
            None => self.success(),
        };
        out.push_str(&self.figures());
        for remark in &self.tested.remarks {
            out.push_str(&self.labelled("Note", remark));
        }
        if let (true, Some(folder)) = (self.result.adopted, self.folder) {
            out.push_str(&self.labelled("Kept", &folder.display().to_string()));
        }
        out
    }

    fn success(&self) -> String {
        let face = self.face;
        let dot = face.sign(" · ", " | ");
        let good = AnsiColor::Green.on_default().bold();
        let what = format!("{} adopted", face.sign("✔", "+"));
        let seconds = format!("{:.1} s", self.tested.wall.as_secs_f64());
        let right: Vec<&str> =
            self.label.as_deref().into_iter().chain([self.subject, seconds.as_str()]).collect();
        format!(
            "{}{dot}{}     {}\n",
            face.paint(good, &what),
            printable(&self.result.reason, face.unicode),
            face.paint(DIM, &printable(&right.join(dot), face.unicode))
        )
    }

    fn labelled(&self, label: &str, text: &str) -> String {
        format!("  {}{}\n", self.face.paint(DIM, &format!("{label:<8}")), printable(text, self.face.unicode))
    }

    /// Name, value, what was there before, what was asked for.
    fn figures(&self) -> String {
        let metrics = &self.result.metrics;
        if metrics.is_empty() {
            return String::new();
        }
        let rows: Vec<[String; 4]> = metrics
            .iter()
            .map(|(name, value)| {
                let held_out = self.result.held_out.get(name).map(|v| format!("held-out {}", figure(*v)));
                let best = self.standing.best.as_ref().and_then(|best| best.get(name));
                let best = best.map(|v| format!("best {}", figure(*v)));
                let wanted = self.task.metrics.get(name).map(|metric| {
                    let better = match metric.direction {
                        Direction::Higher => "higher is better",
                        Direction::Lower => "lower is better",
                    };
                    [Some(better.to_owned()), required(&metric.require)]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join(", ")
                });
                let before = [best, held_out].into_iter().flatten().collect::<Vec<_>>().join(", ");
                [printable(name, self.face.unicode), figure(*value), before, wanted.unwrap_or_default()]
            })
            .collect();
        let width = |i: usize| rows.iter().map(|row| row[i].width()).max().unwrap_or(0);
        let (name, value, before) = (width(0), width(1), width(2));
        let mut out = String::new();
        for row in &rows {
            let gap = if before == 0 { String::new() } else { format!("  {:<before$}", row[2]) };
            let plain = format!("  {:<name$}  {:>value$}{}", row[0], row[1], self.face.paint(DIM, &gap));
            let tail = if row[3].is_empty() {
                String::new()
            } else {
                self.face.paint(DIM, &format!("  {}", row[3]))
            };
            out.push_str(format!("{plain}{tail}").trim_end());
            out.push('\n');
        }
        out
    }
}

fn required(bounds: &Bounds) -> Option<String> {
    match (bounds.min, bounds.max) {
        (Some(min), Some(max)) => Some(format!("{min} to {max} required")),
        (Some(min), None) => Some(format!("at least {min} required")),
        (None, Some(max)) => Some(format!("at most {max} required")),
        (None, None) => None,
    }
}

fn lines(log: &[u8]) -> u64 {
    let ends = log.iter().filter(|byte| **byte == b'\n').count() as u64;
    ends + u64::from(log.last().is_some_and(|byte| *byte != b'\n'))
}

/// Six significant digits do for people; all of them stand in the JSON.
fn figure(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    let digits = 5 - value.abs().log10().floor() as i32;
    if !(0..=9).contains(&digits) {
        return if digits < 0 { format!("{value:.0}") } else { format!("{value:.5e}") };
    }
    let text = format!("{value:.*}", digits.unsigned_abs() as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_six_digits_and_no_more() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.123_456_789, "0.123457"),
            (12.5, "12.5"),
            (1_234_567.8, "1234568"),
            (1e-9, "1.00000e-9"),
            (-3.25, "-3.25"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(lines(b"a\nb"), 2);
        assert_eq!(lines(b""), 0);
    }
}
