//! How a morning's table looks, wide and narrow, with colours and without Unicode.

use std::collections::BTreeMap;

use super::*;
use coroner_diagnosis::{Category, Origin};

const NOW: &str = "2026-11-28T07:30:00Z";

fn taken(experiments: u64, wall: u64, cpu: u64, dollars: f64) -> Taken {
    Taken { experiments, wall: Duration::from_secs(wall), cpu: Duration::from_secs(cpu), dollars }
}

fn args(by: By) -> StatsArgs {
    StatsArgs { since: Some(Since::All), by, kind: Some("codec".to_owned()), run: None, top: 10 }
}

fn stats() -> Stats {
    let costs = Costs {
        total: taken(1234, 11_520, 10_000, 3.5),
        lost: taken(412, 7_321, 6_000, 1.234_56),
        rejected: taken(88, 1200, 900, 0.4),
        by_category: BTreeMap::from([
            (Category::Timeout, taken(12, 7_000, 5_990, 0.0)),
            (Category::ImportError, taken(390, 321, 10, 1.2)),
        ]),
        by_origin: BTreeMap::from([
            (Origin::Candidate, taken(400, 7_300, 6_000, 1.2)),
            (Origin::Harness, taken(2, 21, 0, 0.00001)),
        ]),
        signatures: 14,
        ..Costs::default()
    };
    Stats { kind: Some("codec".to_owned()), run: None, costs, top_signatures: Vec::new() }
}

#[test]
fn sums_are_shown_the_worst_first_and_fit() {
    let face = Face { width: 80, unicode: true, colour: false };
    let now = NOW.parse().unwrap();
    let text = [By::Category, By::Origin].map(|by| stats().in_text(&args(by), face, now)).join("\n");
    insta::assert_snapshot!(text);
    assert!(text.lines().all(|line| line.width() <= 80), "{text}");
    let nothing = Stats { costs: Costs { total: taken(3, 60, 0, 0.0), ..Costs::default() }, ..stats() };
    assert!(nothing.in_text(&args(By::Signature), face, now).ends_with("\n  nothing has failed\n"));
}

#[test]
fn rows_wrap_and_colour_only_where_it_is_wanted() {
    let row = |below: &[&str]| Row {
        what: "import_error · high · candidate".to_owned(),
        style: style_of(coroner_diagnosis::Severity::High),
        below: below.iter().map(|line| (*line).to_owned()).collect(),
        ..Row::of(&taken(7, 90, 0, 0.5))
    };
    let cause = "No module named 'torchvision' \x1b]0;owned\x07 ".repeat(12);
    let rows = [row(&[&cause, "exp 57 passed with: zlib → lzma", "last exp 99, 3 min ago"])];
    for (width, unicode) in [(80, true), (40, true), (80, false)] {
        let text = table(&[], &rows, Face { width, unicode, colour: false });
        let body: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(body.len(), 5, "{text}");
        assert!(body[1..].iter().all(|line| line.width() <= width), "{text}");
        assert!(!text.contains("owned") && !text.contains('\x1b'), "{text}");
        assert_eq!(body[3].contains("zlib → lzma"), unicode, "{text}");
    }
    assert!(table(&[], &rows, Face { width: 80, unicode: true, colour: true }).contains('\x1b'));
}

#[test]
fn money_is_told_to_where_it_matters() {
    for (sum, text) in [
        (0.0, "-"),
        (0.000_001, "<$0.0001"),
        (0.0042, "$0.0042"),
        (0.25, "$0.25"),
        (9.999, "$10.00"),
        (1234.5, "$1,234.50"),
    ] {
        assert_eq!(dollars(sum), text);
    }
}
