//! Text in columns: wrapped at words or cut to a width, and never through the place in the code that it names.

use std::sync::LazyLock;

use regex::Regex;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A place in the code: `File "train.py", line 212`, `src/main.rs:4:5`, `Main.java:10`, `main.cpp(12,3)`.
static PLACE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?x) File\ "[^"]+",\ line\ \d+
          | [^\s"'()\[\]<>,;=]*\.[A-Za-z]\w*:\d+(?::\d+)?
          | [^\s"'()\[\]<>,;=]*/[^\s"'()\[\]<>,;=:]+:\d+(?::\d+)?
          | [\w./\\-]+\.\w+\(\d+(?:,\d+)?\)"#,
    )
    .ok()
});

fn places(text: &str) -> Vec<std::ops::Range<usize>> {
    PLACE.as_ref().map(|place| place.find_iter(text).map(|m| m.range()).collect()).unwrap_or_default()
}

/// Splits at spaces, but not inside a place.
fn words(text: &str) -> Vec<&str> {
    let places = places(text);
    let mut words = Vec::new();
    let mut start = 0;
    for (i, _) in text.match_indices(' ') {
        if places.iter().any(|place| place.contains(&i)) {
            continue;
        }
        words.push(&text[start..i]);
        start = i + 1;
    }
    words.push(&text[start..]);
    words.retain(|word| !word.is_empty());
    words
}

/// Rows of at most `width` columns. A word that is wider than a row stands alone if it names a place or a file, and is
/// broken if it does not.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    let mut row = String::new();
    for word in words(text) {
        let mut word = word;
        if !row.is_empty() && row.width() + 1 + word.width() > width {
            rows.push(std::mem::take(&mut row));
        }
        while row.is_empty() && word.width() > width && !word.contains('/') && places(word).is_empty() {
            let at = prefix(word, width);
            rows.push(word[..at].to_owned());
            word = &word[at..];
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    if !row.is_empty() {
        rows.push(row);
    }
    rows
}

/// The first `most` rows; what is left out is marked.
pub(crate) fn at_most(mut rows: Vec<String>, most: usize, ellipsis: &str) -> Vec<String> {
    if rows.len() > most {
        rows.truncate(most);
        if let Some(last) = rows.last_mut() {
            last.push_str(ellipsis);
        }
    }
    rows
}

/// One row of `text` in at most `width` columns, cut where that loses least: at its end, or around the first place
/// that it names. Only a place that is itself wider makes it wider.
pub(crate) fn fit(text: &str, width: usize, ellipsis: &str) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(ellipsis.width());
    let Some(place) = places(text).into_iter().next() else {
        return format!("{}{ellipsis}", text[..prefix(text, room)].trim_end());
    };
    if text[..place.end].width() <= room {
        return format!("{}{ellipsis}", text[..prefix(text, room).max(place.end)].trim_end());
    }
    let tail = if place.end == text.len() { "" } else { ellipsis };
    let room = room.saturating_sub(tail.width());
    // the place at the right end, and before it as much as there is room for
    let before = room.saturating_sub(text[place.clone()].width());
    let start = place.start - suffix(&text[..place.start], before);
    format!("{ellipsis}{}{tail}", &text[start..place.end])
}

/// The bytes of `text` that fit into `width` columns; at least one character, so that breaking always gets on.
fn prefix(text: &str, width: usize) -> usize {
    let mut used = 0;
    for (i, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width && i > 0 {
            return i;
        }
    }
    text.len()
}

/// The bytes at the end of `text` that fit into `width` columns.
fn suffix(text: &str, width: usize) -> usize {
    let mut used = 0;
    let mut bytes = 0;
    for c in text.chars().rev() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        bytes += c.len_utf8();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_to_the_width_and_to_whole_places() {
        let text = "The call in File \"my models/train net.py\", line 212 failed; see src/deep/down/the/tree/module.py:1432:17 for it.";
        for width in 10..130 {
            let rows = wrap(text, width);
            assert_eq!(rows.join(" "), text, "{width}");
            for row in &rows {
                let alone = words(row).len() == 1;
                assert!(row.width() <= width || alone, "{width}: {row}");
            }
            for place in
                ["File \"my models/train net.py\", line 212", "src/deep/down/the/tree/module.py:1432:17"]
            {
                assert!(rows.iter().any(|row| row.contains(place)), "{width}: {rows:?}");
            }
        }
    }

    #[test]
    fn words_without_end_are_broken() {
        let rows = wrap(&format!("see {} now", "x".repeat(95)), 40);
        assert_eq!(rows.iter().map(|row| row.width()).collect::<Vec<_>>(), [3, 40, 40, 19]);
        assert_eq!(wrap("日本語日本語", 5), ["日本", "語日", "本語"]);
        assert!(wrap("", 10).is_empty());
    }

    #[test]
    fn a_cut_row_still_names_its_place() {
        for (text, width, expected) in [
            ("short", 10, "short"),
            ("a line that is rather long", 12, "a line that…"),
            (
                "  File \"train.py\", line 212, in step with more behind it",
                40,
                "  File \"train.py\", line 212, in step wi…",
            ),
            (
                "thread 'main' panicked with a long story at src/main.rs:4:5",
                30,
                "…long story at src/main.rs:4:5",
            ),
            ("thread 'main' panicked at src/main.rs:4:5: then some", 24, "…ked at src/main.rs:4:5…"),
            (
                "at a/very/long/path/to/the/module/of/interest.py:10",
                20,
                "…a/very/long/path/to/the/module/of/interest.py:10",
            ),
        ] {
            let got = fit(text, width, "…");
            let place_is_wider = places(text).first().is_some_and(|p| text[p.clone()].width() + 2 > width);
            assert!(got.width() <= width || place_is_wider, "{got} is {} wide", got.width());
            assert_eq!(got, expected);
        }
    }
}
