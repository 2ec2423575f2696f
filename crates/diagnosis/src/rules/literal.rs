//! What every match of a pattern must contain: found by one literal scan before any pattern is tried.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Shorter literals would start the pattern on every other line.
pub(crate) const SHORTEST: usize = 4;

/// Lower-case literals of which each match contains at least one (in any case), or `None` if there are none.
pub(crate) fn required(hir: &Hir) -> Option<Vec<String>> {
    best(hir).filter(|set| weight(set) >= SHORTEST)
}

/// The worst literal decides: a set is as selective as its shortest member.
fn weight(set: &[String]) -> usize {
    set.iter().map(String::len).min().unwrap_or(0)
}

fn better(a: Option<Vec<String>>, b: Option<Vec<String>>) -> Option<Vec<String>> {
    match (a, b) {
        (Some(a), Some(b)) => {
            // length first; among about equally long ones the smaller set
            let key = |s: &[String]| (weight(s).min(12), usize::MAX - s.len());
            if key(&b) > key(&a) { Some(b) } else { Some(a) }
        }
        (a, b) => a.or(b),
    }
}

fn best(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(_) | HirKind::Class(_) => exact(hir).map(|s| vec![s]),
        HirKind::Capture(c) => best(&c.sub),
        HirKind::Repetition(r) if r.min >= 1 => best(&r.sub),
        HirKind::Concat(parts) => {
            let mut found = None;
            let mut run = String::new();
            for part in flat(parts) {
                if let Some(text) = exact(part) {
                    run.push_str(&text);
                    continue;
                }
                if matches!(part.kind(), HirKind::Look(_)) {
                    continue;
                }
                found = better(found, Some(vec![std::mem::take(&mut run)]).filter(|r| weight(r) > 0));
                found = better(found, best(part));
            }
            better(found, Some(vec![run]).filter(|r| weight(r) > 0))
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(best(part)?);
            }
            all.sort();
            all.dedup();
            Some(all)
        }
        _ => None,
    }
}

/// The parts, those of groups among them in their place: a literal may run across a group's edge.
fn flat(parts: &[Hir]) -> Vec<&Hir> {
    let mut all = Vec::new();
    for part in parts {
        match part.kind() {
            HirKind::Capture(c) => all.extend(flat(std::slice::from_ref(&c.sub))),
            HirKind::Concat(inner) => all.extend(flat(inner)),
            _ => all.push(part),
        }
    }
    all
}

/// The text that `hir` matches and nothing else, ASCII case apart.
fn exact(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(l) => std::str::from_utf8(&l.0).ok().map(str::to_ascii_lowercase),
        HirKind::Class(Class::Unicode(class)) => {
            let mut only = None;
            for range in class.ranges() {
                for c in range.start()..=range.end() {
                    let c = match c {
                        // (?i) folds k and s to these too; a text with them is no loss
                        '\u{212a}' | '\u{17f}' => continue,
                        c => c.to_ascii_lowercase(),
                    };
                    if only.is_some_and(|o| o != c) {
                        return None;
                    }
                    only = Some(c);
                }
            }
            only.map(String::from)
        }
        HirKind::Capture(c) => exact(&c.sub),
        HirKind::Concat(parts) => parts.iter().map(exact).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_must_be_there() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            (
                r"^(?:\w+\.)*ModuleNotFoundError: No module named '(?P<m>[^']+)'",
                Some(&["modulenotfounderror: no module named '"]),
            ),
            ("(?i)cuda out of memory", Some(&["cuda out of memory"])),
            (r"(?:No space|Disk quota) (?:left|exceeded)", Some(&["disk quota", "no space"])),
            (r"error: (?:\d+ x|y+)", Some(&["error: "])),
            (r"^e: (?P<f>\S+\.kt): x\d", Some(&[".kt: x"])),
            (r"\w+Error|x", None),
            (r"(?:fatal){2,}", Some(&["fatal"])),
            (r"\d+", None),
        ];
        for (pattern, want) in cases {
            let got = required(&regex_syntax::parse(pattern).unwrap());
            let want = want.map(|w| w.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(got, want, "{pattern}");
        }
    }
}
