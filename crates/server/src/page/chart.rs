//! Charts as SVG: where each bar stands. The templates draw them; nothing is drawn by a script.

use askama::Template;
use coroner_diagnosis::Category;
use coroner_store::Stretch;
use jiff::Timestamp;

use super::{figures, parts};

/// Height of the plot in pixels; across, everything is in per cent.
pub(super) const HEIGHT: f64 = 176.0;
/// Room above the highest bar.
const ROOM: f64 = 8.0;

/// Bars of days, each made of pieces.
pub(super) struct Stack {
    pub(super) days: Vec<Day>,
    pub(super) ticks: Vec<Tick>,
    /// What occurs, the most frequent first, and how often.
    pub(super) legend: Vec<(Category, u64)>,
}

pub(super) struct Day {
    /// `Sat 28 Nov`
    pub(super) name: String,
    /// `28`, or `1 Dec`; only where there is room for it.
    pub(super) label: String,
    /// Left out on small screens.
    pub(super) minor: bool,
    pub(super) total: u64,
    pub(super) counts: Vec<u64>,
    pub(super) pieces: Vec<Piece>,
    pub(super) x: String,
    pub(super) width: String,
    pub(super) middle: String,
}

pub(super) struct Piece {
    pub(super) class: &'static str,
    pub(super) title: String,
    pub(super) y: String,
    pub(super) height: String,
}

pub(super) struct Tick {
    pub(super) y: String,
    pub(super) label: String,
}

impl Stack {
    /// Failures by category over days.
    pub(super) fn of_categories(days: &[Stretch]) -> Self {
        let count =
            |day: &Stretch, category: Category| day.counts.get(category.as_str()).copied().unwrap_or(0);
        let total = |day: &Stretch| Category::ALL.iter().map(|c| count(day, *c)).sum::<u64>();
        let mut legend: Vec<_> = Category::ALL
            .iter()
            .map(|category| (*category, days.iter().map(|day| count(day, *category)).sum::<u64>()))
            .filter(|(_, sum)| *sum > 0)
            .collect();
        legend.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
        let (top, step) = scale(days.iter().map(total).max().unwrap_or(0));
        let to_the_last = |i: usize, every: usize| (days.len() - 1 - i).is_multiple_of(every);
        let drawn = days.iter().enumerate().map(|(i, day)| {
            let name = day.start.strftime("%a %-d %b").to_string();
            let slot = 100.0 / days.len() as f64;
            let mut below = 0.0;
            let pieces =
                legend.iter().filter(|(category, _)| count(day, *category) > 0).map(|(category, _)| {
                    let number = count(day, *category);
                    let height = number as f64 / top as f64 * (HEIGHT - ROOM);
                    below += height;
                    // a hair of the surface between two pieces tells them apart without colour
                    let gap = if height > 3.0 { 1.0 } else { 0.0 };
                    Piece {
                        class: category.as_str(),
                        title: format!(
                            "{name}: {} {}",
                            figures::thousands(number),
                            parts::spelt(*category).to_lowercase()
                        ),
                        y: tenths(HEIGHT - below + gap),
                        height: tenths((height - gap).max(0.5)),
                    }
                });
            let pieces = pieces.collect();
            let every = days.len().div_ceil(16);
            let (is_shown, is_minor) = (to_the_last(i, every), !to_the_last(i, every * 2));
            let day_of_month = day.start.strftime("%-d").to_string();
            // the month stands where there is room for it, even if only every second day is named
            let is_first = i < every * 2 && !is_minor;
            let label = match is_first || day_of_month == "1" {
                true => day.start.strftime("%-d %b").to_string(),
                false => day_of_month,
            };
            Day {
                label: if is_shown { label } else { String::new() },
                minor: is_minor,
                total: total(day),
                counts: legend.iter().map(|(category, _)| count(day, *category)).collect(),
                pieces,
                x: percent(slot * i as f64 + slot * 0.16),
                width: percent(slot * 0.68),
                middle: percent(slot * (i as f64 + 0.5)),
                name,
            }
        });
        let ticks = (0..=top / step).map(|n| Tick {
            y: tenths(HEIGHT - (n * step) as f64 / top as f64 * (HEIGHT - ROOM)),
            label: figures::thousands(n * step),
        });
        Self { days: drawn.collect(), ticks: ticks.collect(), legend }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.legend.is_empty()
    }

    pub(super) fn drawn(self) -> parts::Markup {
        // into memory: nothing can fail
        Plot { chart: self }.render().map(parts::Markup::from).unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "stack.html")]
struct Plot {
    chart: Stack,
}

/// Where the axis ends, and the distance of its lines: round numbers, some four of them.
fn scale(most: u64) -> (u64, u64) {
    let most = most.max(1);
    let mut power = 1;
    loop {
        for step in [1, 2, 5] {
            let step = step * power;
            if most.div_ceil(step) <= 4 {
                return (most.div_ceil(step) * step, step);
            }
        }
        power *= 10;
    }
}

/// A line of small bars, 96 x 24.
pub(super) fn sparkline(counts: &[u64], what: &str) -> parts::Markup {
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    // in tenths of a pixel: a list has some hundreds of bars, and whole numbers are written faster than fractions
    let slots = counts.len().max(1) as u64;
    let bars = counts.iter().enumerate().map(|(i, count)| {
        let height = match count {
            0 => 10,
            _ => 30 + u128::from(*count) * 210 / u128::from(most),
        };
        let height = height as u64;
        let now = if i + 1 == counts.len() { r#" class="now""# } else { "" };
        let (x, y, width) = (960 * i as u64 / slots, 240 - height, (960 / slots).saturating_sub(15));
        format!(
            r#"<rect{now} x="{}" y="{}" width="{}" height="{}"/>"#,
            Tenths(x),
            Tenths(y),
            Tenths(width),
            Tenths(height)
        )
    });
    let words = format!("{what} on each of the last {} days, today last: {}", counts.len(), joined(counts));
    parts::Markup::from(format!(
        r#"<svg class="spark" viewBox="0 0 96 24" role="img" aria-label="{words}"><title>{words}</title>{}</svg>"#,
        bars.collect::<String>()
    ))
}

fn tenths(pixels: f64) -> String {
    Tenths((pixels * 10.0).round() as u64).to_string()
}

fn percent(share: f64) -> String {
    let hundredths = (share * 100.0).round() as u64;
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// `12.3`
struct Tenths(u64);

impl std::fmt::Display for Tenths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

fn joined(counts: &[u64]) -> String {
    counts.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// Midnight, UTC, of the day so many days before this moment's.
pub(super) fn days_before(now: Timestamp, days: i64) -> Timestamp {
    let day = now.as_second().div_euclid(86_400) - days;
    Timestamp::from_second(day * 86_400).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let scales = [0, 1, 4, 5, 18, 99, 1234].map(scale);
        assert_eq!(scales, [(1, 1), (1, 1), (4, 1), (6, 2), (20, 5), (100, 50), (1500, 500)]);
    }

    #[test]
    fn bars_add_up() {
        let now: Timestamp = "2026-11-28T16:45:00Z".parse().unwrap();
        let day = |n: i64, counts: &[(Category, u64)]| Stretch {
            start: days_before(now, n),
            counts: counts.iter().map(|(c, n)| (c.to_string(), *n)).collect(),
        };
        let chart = Stack::of_categories(&[
            day(1, &[(Category::Timeout, 3)]),
            day(0, &[(Category::Timeout, 1), (Category::LogicError, 9)]),
        ]);
        assert_eq!(chart.legend, [(Category::LogicError, 9), (Category::Timeout, 4)]);
        assert_eq!((chart.days[1].total, &chart.days[1].counts[..]), (10, &[9, 1][..]));
        assert_eq!((chart.days[0].label.as_str(), chart.days[1].label.as_str()), ("27", "28 Nov"));
        assert!(Stack::of_categories(&[day(0, &[])]).is_empty());
        let spark = sparkline(&[0, 3], "failures").0;
        assert!(spark.contains("today last: 0, 3"));
        assert!(spark.contains(r#"<rect x="0.0" y="23.0" width="46.5" height="1.0"/>"#), "{spark}");
        assert!(
            spark.contains(r#"<rect class="now" x="48.0" y="0.0" width="46.5" height="24.0"/>"#),
            "{spark}"
        );
    }
}
