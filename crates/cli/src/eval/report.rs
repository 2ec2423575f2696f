//! The figures of an evaluation as tables: rates, confusion, calibration and the worst cases.

use std::fmt::Write as _;

use coroner_diagnosis::{Category, Severity};
use serde::Serialize;

use super::score::{BUDGETS, LabelScore, Scores};

/// A share of a number of cases.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Share {
    pub(crate) hits: usize,
    pub(crate) of: usize,
}

impl Share {
    fn of<'a, T: 'a>(cases: impl Iterator<Item = &'a T>, hit: impl Fn(&T) -> bool) -> Self {
        cases.fold(Self::default(), |s, c| Self { hits: s.hits + usize::from(hit(c)), of: s.of + 1 })
    }

    /// 0..100; 0 of none is 0.
    pub(crate) fn percent(self) -> f64 {
        if self.of == 0 { 0.0 } else { 100.0 * self.hits as f64 / self.of as f64 }
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:5.1} %  ({} of {})", self.percent(), self.hits, self.of))
    }
}

/// A row of the reliability table.
#[derive(Debug, Serialize)]
pub(crate) struct Bin {
    pub(crate) from: f64,
    pub(crate) cases: usize,
    pub(crate) said: f64,
    pub(crate) right: f64,
}

/// Every figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) category_strict: Share,
    pub(crate) category_macro_percent: f64,
    pub(crate) category_lenient: Share,
    pub(crate) severity_exact: Share,
    pub(crate) severity_within_one: Share,
    pub(crate) abstained: Share,
    pub(crate) seed_accepted: Share,
    pub(crate) seed_exact: Share,
    pub(crate) seed_severity: Share,
    pub(crate) seed_origin: Share,
    pub(crate) cited_tier_a: Share,
    pub(crate) cited_tier_b: Share,
    pub(crate) cited_acceptable: Share,
    pub(crate) first_cited: Share,
    pub(crate) cited_right_percent: f64,
    /// budget, share of the logs with the truth in the excerpt, and in as many last characters
    pub(crate) recall: Vec<(usize, Share, Share)>,
    pub(crate) calibration_error: f64,
    pub(crate) reliability: Vec<Bin>,
    /// rows wanted, columns given, in the order of `Category::ALL`; the unambiguous labels
    pub(crate) confusion: Vec<Vec<usize>>,
}

impl Figures {
    pub(crate) fn new(scores: &Scores) -> Self {
        let labels = || scores.labels.iter().filter(|l| !l.seed);
        let plain = || labels().filter(|l| !l.ambiguous);
        let seeds = || scores.labels.iter().filter(|l| l.seed);
        let narrow = || scores.lines.iter().filter(|l| !l.wide);
        let per_category: Vec<f64> = Category::ALL
            .iter()
            .map(|c| Share::of(plain().filter(|l| l.want == *c), |l| l.got == *c))
            .filter(|s| s.of > 0)
            .map(Share::percent)
            .collect();
        let mean = |v: &[f64]| if v.is_empty() { 0.0 } else { v.iter().sum::<f64>() / v.len() as f64 };
        let right: Vec<f64> = narrow().map(|l| 100.0 * l.right).collect();
        let (calibration_error, reliability) = calibration(&scores.labels);
        Self {
            category_strict: Share::of(plain(), |l| l.got == l.want),
            category_macro_percent: mean(&per_category),
            category_lenient: Share::of(labels(), |l| l.accepted),
            severity_exact: Share::of(labels(), |l| l.got_severity == l.want_severity),
            severity_within_one: Share::of(labels(), |l| {
                level(l.got_severity).abs_diff(level(l.want_severity)) <= 1
            }),
            abstained: Share::of(labels(), |l| l.rule.starts_with("fallback.")),
            seed_accepted: Share::of(seeds(), |l| l.accepted),
            seed_exact: Share::of(seeds(), |l| l.got == l.want),
            seed_severity: Share::of(seeds(), |l| l.got_severity == l.want_severity),
            seed_origin: Share::of(seeds(), |l| Some(l.got_origin) == l.want_origin),
            cited_tier_a: Share::of(narrow().filter(|l| l.tier == "A"), |l| l.hit),
            cited_tier_b: Share::of(narrow().filter(|l| l.tier == "B"), |l| l.hit),
            cited_acceptable: Share::of(narrow(), |l| l.acceptable),
            first_cited: Share::of(narrow(), |l| l.first_hit),
            cited_right_percent: mean(&right),
            recall: BUDGETS
                .iter()
                .enumerate()
                .map(|(i, b)| {
                    (
                        *b,
                        Share::of(scores.lines.iter(), |l| l.recall[i].0),
                        Share::of(scores.lines.iter(), |l| l.recall[i].1),
                    )
                })
                .collect(),
            calibration_error,
            reliability,
            confusion: Category::ALL
                .iter()
                .map(|w| {
                    Category::ALL
                        .iter()
                        .map(|g| plain().filter(|l| l.want == *w && l.got == *g).count())
                        .collect()
                })
                .collect(),
        }
    }

    /// The tables.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mut row = |what: &str, share: &dyn std::fmt::Display| {
            // writing to a String can't fail
            let _ = writeln!(out, "{what:<56} {share}");
        };
        row(
            "category, unambiguous, mean over the categories",
            &format!("{:5.1} %", self.category_macro_percent),
        );
        row("category, unambiguous", &self.category_strict);
        row("category, all, acceptable ones count", &self.category_lenient);
        row("severity, exact", &self.severity_exact);
        row("severity, within one level", &self.severity_within_one);
        row("no rule spoke", &self.abstained);
        row("seed cases: category acceptable", &self.seed_accepted);
        row("seed cases: category exact", &self.seed_exact);
        row("seed cases: severity exact", &self.seed_severity);
        row("seed cases: origin", &self.seed_origin);
        row("a cited line (of at most 5) in the truth, tier A", &self.cited_tier_a);
        row("a cited line (of at most 5) in the truth, tier B", &self.cited_tier_b);
        row("a cited line in the truth or acceptable", &self.cited_acceptable);
        row("the first cited line in the truth", &self.first_cited);
        row("cited lines that are right", &format!("{:5.1} %", self.cited_right_percent));
        for (budget, ours, tail) in &self.recall {
            row(&format!("truth in the excerpt of {budget} characters"), ours);
            row(&format!("  in the last {budget} characters of the log"), tail);
        }
        row("calibration error of confidence (ECE, ten bins)", &format!("{:5.3}", self.calibration_error));
        out.push_str("\nreliability: said     right    cases\n");
        for bin in &self.reliability {
            let _ = writeln!(out, "             {:5.2}    {:5.2}    {:5}", bin.said, bin.right, bin.cases);
        }
        out.push_str("\nwanted \\ given    ");
        for c in Category::ALL {
            let _ = write!(out, "{:>11}", c.as_str().trim_end_matches("_error"));
        }
        out.push('\n');
        for (c, counts) in Category::ALL.iter().zip(&self.confusion) {
            let _ = write!(out, "{:<18}", c.as_str());
            for n in counts {
                let _ = write!(out, "{:>11}", if *n == 0 { "·".to_owned() } else { n.to_string() });
            }
            out.push('\n');
        }
        out
    }
}

fn level(s: Severity) -> usize {
    Severity::ALL.iter().position(|x| *x == s).unwrap_or(0)
}

/// Expected calibration error over ten bins, and the table. A category counts as right when it is acceptable.
fn calibration(labels: &[LabelScore]) -> (f64, Vec<Bin>) {
    let mut bins = Vec::new();
    let mut error = 0.0;
    for i in 0..10 {
        let from = f64::from(i) / 10.0;
        let inside: Vec<&LabelScore> =
            labels.iter().filter(|l| l.confidence >= from && (l.confidence < from + 0.1 || i == 9)).collect();
        if inside.is_empty() {
            continue;
        }
        let n = inside.len() as f64;
        let said = inside.iter().map(|l| l.confidence).sum::<f64>() / n;
        let right = inside.iter().filter(|l| l.accepted).count() as f64 / n;
        error += (said - right).abs() * n / labels.len() as f64;
        bins.push(Bin { from, cases: inside.len(), said, right });
    }
    (error, bins)
}

/// The cases that went wrong, one line each.
pub(crate) fn worst(scores: &Scores, most: usize) -> String {
    let mut out = String::new();
    let wrong = scores.labels.iter().filter(|l| !l.accepted || !l.ambiguous && l.got != l.want);
    let _ = writeln!(out, "\nwrong categories, the surest first:");
    let mut wrong: Vec<_> = wrong.collect();
    wrong.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    for l in wrong.iter().take(most) {
        let text: String = l.text.replace('\n', " ⏎ ").chars().take(230).collect();
        let _ = writeln!(
            out,
            "  {} wanted {} got {} ({} {:.2}): {}",
            l.id, l.want, l.got, l.rule, l.confidence, text
        );
    }
    let _ = writeln!(out, "\nno cited line in the truth:");
    for l in scores.lines.iter().filter(|l| !l.hit && !l.wide).take(most) {
        let _ = writeln!(
            out,
            "  {} {} cited {:?}, the truth begins at {} ({})",
            l.tier, l.id, l.cited, l.first_truth, l.rule
        );
    }
    out
}
