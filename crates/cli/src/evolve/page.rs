//! The report at the end of a run: the best and where it came from, what failed and whose fault it was, what that took, and
//! what to do.

use std::fmt::Write as _;
use std::path::Path;

use coroner_diagnosis::seconds;
use coroner_lab::evolve::{Over, Summary};
use coroner_lab::task::Task;
use serde::Serialize;

use crate::card::wrap::{fit, wrap};
use crate::printable::printable;
use crate::quantities::counted;
use crate::terminal::Face;

/// So many ancestors of the best are shown.
const ANCESTORS: usize = 6;
/// The width of the words at the left.
const LABEL: usize = 10;

/// The same for programs.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    task: &'a str,
    /// `done`, `stopped`, `over_budget`, `broken`, `baseline_failed` or `exhausted`.
    ended: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    versions: String,
    share_failed: f64,
    #[serde(flatten)]
    summary: &'a Summary,
}

impl<'a> Answer<'a> {
    pub(super) fn new(task: &'a Task, over: &Over, summary: &'a Summary, versions: &Path) -> Self {
        let (ended, why) = match over {
            Over::Done => ("done", None),
            Over::Asked => ("stopped", None),
            Over::OverBudget(why) => ("over_budget", Some(why.clone())),
            Over::Broken(trip) => ("broken", Some(format!("{}: {}", trip.origin, trip.root_cause))),
            Over::Baseline(why) => ("baseline_failed", Some(why.clone())),
            Over::Exhausted(why) => ("exhausted", Some(why.clone())),
        };
        let versions = versions.display().to_string();
        Self { task: &task.name, ended, why, versions, share_failed: summary.share_failed(), summary }
    }
}

/// The report for people.
pub(super) struct Page<'a> {
    pub(super) face: Face,
    pub(super) task: &'a Task,
    pub(super) file: &'a Path,
    pub(super) over: &'a Over,
    pub(super) summary: &'a Summary,
}

impl Page<'_> {
    pub(super) fn write(&self, versions: &Path) -> String {
        let s = self.summary;
        let mut out = format!(
            "run {} of {}: {}, {} taken over, {} failed ({:.0} %)\n\n",
            s.run,
            self.task.name,
            counted(s.candidates, "candidate", "candidates"),
            s.adopted,
            s.failed,
            s.share_failed() * 100.0
        );
        self.best(&mut out);
        self.failures(&mut out);
        if s.repairs > 0 {
            let word = format!(
                "{} tried, {} of them ran through",
                counted(s.repairs, "repair", "repairs"),
                s.mended
            );
            self.row(&mut out, "Repairs", &word);
        }
        let costs = &s.costs;
        let money = if costs.total.dollars > 0.0 {
            format!(", ${:.2} of ${:.2}", costs.lost.dollars, costs.total.dollars)
        } else {
            String::new()
        };
        let time = format!(
            "{} of {} on the clock, {} of {} of processor time{money}",
            seconds(costs.lost.wall),
            seconds(costs.total.wall),
            seconds(costs.lost.cpu),
            seconds(costs.total.cpu)
        );
        self.row(&mut out, "Lost", &time);
        if !s.lineage.is_empty() {
            self.row(&mut out, "Programs", &versions.display().to_string());
        }
        self.row(&mut out, "Next", &self.next());
        out
    }

    fn row(&self, out: &mut String, label: &str, text: &str) {
        let width = self.face.width.saturating_sub(LABEL + 2).max(20);
        // what programs have printed stands in causes and changes
        let text = printable(&text.replace('\n', " "), self.face.unicode);
        for (at, line) in wrap(&text, width).iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            let _ = writeln!(out, "  {label:<LABEL$}{line}");
        }
    }

    fn best(&self, out: &mut String) {
        let s = self.summary;
        let (Some(best), Some(first)) = (s.lineage.first(), s.baseline) else { return };
        let metric = &self.task.adoption.metric;
        if let Some(score) = best.score.filter(|_| s.lineage.len() > 1) {
            let change = if first == 0.0 { 0.0 } else { (score - first) / first.abs() * 100.0 };
            let words = format!("{metric} {score:.6}, was {first:.6} ({change:+.1} %): exp {}", best.number);
            self.row(out, "Best", &words);
        } else {
            self.row(out, "Best", &format!("{metric} {first:.6}: still the baseline"));
        }
        let width = self.face.width.saturating_sub(LABEL + 2).max(20);
        let hidden = s.lineage.len().saturating_sub(ANCESTORS);
        for (at, it) in s.lineage.iter().enumerate() {
            // the latest, and where it all began
            let last = at + 1 == s.lineage.len();
            if at + 1 >= ANCESTORS && hidden > 0 && !last {
                if at + 1 == ANCESTORS {
                    self.row(out, "", &format!("... {}", counted(hidden as u64, "step", "steps")));
                }
                continue;
            }
            let label = if at == 0 { "Lineage" } else { "" };
            let score = it.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.6}"));
            let line = format!("exp {:<5} {score}  {}", it.number, it.change);
            let line = printable(&line.replace('\n', " "), self.face.unicode);
            let cut = self.face.sign("…", "...");
            let _ = writeln!(out, "  {label:<LABEL$}{}", fit(&line, width, cut));
        }
    }

    fn failures(&self, out: &mut String) {
        let s = self.summary;
        if s.failed == 0 {
            return;
        }
        let list = |counts: Vec<(String, u64)>| {
            let mut counts = counts;
            counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
            counts.iter().map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
        };
        let kinds = list(s.by_category.iter().map(|(word, n)| (word.to_string(), *n)).collect());
        let faults = list(s.by_origin.iter().map(|(word, n)| (word.to_string(), *n)).collect());
        self.row(out, "Failed", &format!("{kinds}; fault of: {faults}; {} seen before", s.repeated));
        for (at, cause) in s.causes.iter().enumerate() {
            let fixed = cause.fixed_by.as_ref().map_or_else(String::new, |fixed| format!("; {}", fixed.how));
            let words = format!("{}x {}{fixed}", cause.taken.experiments, cause.root_cause);
            self.row(out, if at == 0 { "Causes" } else { "" }, &words);
        }
    }

    fn next(&self) -> String {
        let again = format!("coroner evolve {}", self.file.display());
        match self.over {
            Over::Broken(trip) => format!(
                "it is the fault of: {} ({}). {}. When that is mended, `{again} --rerun` tests exp {} again and goes on",
                trip.origin,
                trip.root_cause,
                trip.fix.trim_end_matches('.'),
                trip.experiments.iter().map(|id| id.number().to_string()).collect::<Vec<_>>().join(", ")
            ),
            Over::Baseline(why) => format!(
                "the first candidate failed, to which all others are compared: {}. Mend it or the task, then `{again}`",
                why.trim_end_matches('.')
            ),
            Over::Asked => format!("`{again}` goes on where it stopped"),
            Over::OverBudget(why) => format!("{why}; `{again} --budget-dollars N` goes on with more"),
            Over::Exhausted(why) => {
                format!("{why}: give it building blocks or a model, or another --seed with --new")
            }
            Over::Done if !self.summary.marked.is_empty() => {
                format!("`{again} --rerun` tests those that are marked again")
            }
            Over::Done => {
                format!("`{again} --new` begins another run, `coroner stats` says what failures cost")
            }
        }
    }
}
