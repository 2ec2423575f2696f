//! A short, clean piece of what somebody else said, fit for an error message: no key, no control characters.

/// More than this of a provider's message is not repeated.
const LONGEST: usize = 160;

/// How keys of the common providers begin. A word that begins so is not repeated.
const KEY_PREFIXES: &[&str] =
    &["sk-", "sk_", "pk-", "gsk_", "xai-", "hf_", "key-", "AIza", "AKIA", "ghp_", "eyJ"];

/// `text` on one line, at most [`LONGEST`] characters, without `secret` or anything that looks like a key.
pub(crate) fn short(text: &str, secret: Option<&str>) -> String {
    let text = match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret, "[key]"),
        _ => text.to_owned(),
    };
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(if looks_secret(word, secret) { "[key]" } else { word });
        // enough has been read; the cut below makes it exact
        if out.len() > LONGEST * 4 {
            break;
        }
    }
    match out.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &out[..end]),
        None => out,
    }
}

/// A word that is a key, a masked key, or a piece of the one that we sent.
fn looks_secret(word: &str, secret: Option<&str>) -> bool {
    let bare = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    let ours = secret.is_some_and(|s| {
        let piece: String = s.chars().take(8).collect();
        piece.len() >= 8 && word.contains(&piece)
    });
    ours || KEY_PREFIXES.iter().any(|prefix| bare.starts_with(prefix) && bare.len() >= prefix.len() + 6)
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_message_is_repeated_short_and_without_keys() {
        let key = "sk-ant-api03-abcdefghijkl";
        for (said, shown) in [
            ("model: claude-sonnet-4-20250514", "model: claude-sonnet-4-20250514"),
            ("line\r\n\u{1b}[31mtwo\0", "line [31mtwo"),
            ("your key sk-ant-api03-abcdefghijkl is bad", "your key [key] is bad"),
            ("Incorrect API key: sk-proj-****************wxyz.", "Incorrect API key: [key]"),
            ("got 'sk-ant-api03-abc…'", "got [key]"),
            ("skipped", "skipped"),
            ("", ""),
        ] {
            assert_eq!(short(said, Some(key)), shown);
        }
        let long = short(&"ü".repeat(1_000), None);
        assert_eq!(long.chars().count(), 161);
        assert!(short("word ".repeat(10_000).as_str(), None).ends_with('…'));
    }
}
