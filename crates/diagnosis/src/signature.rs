//! The same cause, the same signature: whatever the run, path, process, address, number, time or temporary folder.
//! Another cause, another signature: error codes, names of modules, symbols and exceptions stay.

use sha2::{Digest, Sha256};

/// The version of the recipe; part of every signature. A change of recipe is a new version.
const VERSION: &str = "v1";

/// A signature and what went into it, so that a grouping can be explained.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Signature {
    /// `v1:` and 16 hexadecimal digits.
    pub id: String,
    /// What was hashed, in order: the rule, the masked message, the place.
    pub parts: Vec<String>,
}

impl Signature {
    /// From the rule that spoke, the line it stands on (or none) and the innermost frame of the candidate.
    pub(crate) fn new(rule: &str, message: &str, place: Option<(&str, Option<&str>)>) -> Self {
        let mut parts = vec![rule.to_owned(), mask(message)];
        if let Some((file, function)) = place {
            let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
            parts.push(match function {
                // line numbers move with every edit, functions rarely
                Some(f) => format!("{} in {}", mask(file), mask(f)),
                None => mask(file),
            });
        }
        let mut hash = Sha256::new();
        for part in &parts {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let hex: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
        Self { id: format!("{VERSION}:{hex}"), parts }
    }
}

/// The message with everything that varies from run to run taken out.
#[must_use]
pub(crate) fn mask(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for word in words(message) {
        if word.trim().is_empty() {
            if !out.ends_with(' ') && !out.is_empty() {
                out.push(' ');
            }
            continue;
        }
        mask_word(word, &mut out);
        if out.len() > 400 {
            break;
        }
    }
    out.trim_end().to_owned()
}

/// Words, separators kept: white space and the brackets and quotes that stand around names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_break = |c: char| c.is_whitespace() || "\"'`‘’“”()[]{}<>,;=|".contains(c);
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let mut end = rest.find(is_break).unwrap_or(rest.len());
        if is_break(first) {
            end = first.len_utf8();
        } else if rest[..end].contains("://") {
            // a URL may hold what breaks other words
            end = rest.find(|c: char| c.is_whitespace() || "\"'`<>".contains(c)).unwrap_or(rest.len());
        }
        let (word, tail) = rest.split_at(end);
        rest = tail;
        Some(word)
    })
}

fn mask_word(word: &str, out: &mut String) {
    // a URL: the host is the cause, the rest varies
    if let Some((scheme, rest)) = word.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or("");
        let host = host.rsplit('@').next().unwrap_or(host);
        out.push_str(scheme);
        out.push_str("://");
        mask_plain(host, out);
        if host.len() < rest.len() {
            out.push_str("/…");
        }
        return;
    }
    // a path: its last part, unless that is a temporary name
    if (word.contains('/') || word.contains('\\')) && word.len() > 2 {
        let trimmed = word.trim_end_matches([':', '.', '/', '\\']);
        let last = trimmed.rsplit(['/', '\\']).next().unwrap_or(trimmed);
        out.push_str("…/");
        if !is_random(last) {
            mask_plain(last, out);
        }
        return;
    }
    mask_plain(word, out);
}

/// Numbers, hexadecimal ids and random names become marks; codes such as E0308, C2143, TS2345 and utf8 stay.
fn mask_plain(word: &str, out: &mut String) {
    let end = word.trim_end_matches([':', '.', '!', '?']);
    mask_name(end, out);
    out.push_str(&word[end.len()..]);
}

fn mask_name(word: &str, out: &mut String) {
    let hex = word
        .strip_prefix("0x")
        .or_else(|| word.strip_prefix("0X"))
        .is_some_and(|h| h.len() >= 2 && h.bytes().all(|b| b.is_ascii_hexdigit()));
    if hex || is_uuid(word) {
        out.push('#');
        return;
    }
    if word.len() >= 7
        && word.bytes().all(|b| b.is_ascii_hexdigit())
        && word.bytes().any(|b| b.is_ascii_digit())
    {
        out.push('#');
        return;
    }
    let chars: Vec<char> = word.chars().collect();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c.is_ascii_digit() {
            // part of a name or code that begins with a letter and holds few digits: kept
            let start = (0..i).rev().find(|j| !chars[*j].is_ascii_alphanumeric()).map_or(0, |j| j + 1);
            let end = (i..chars.len()).find(|j| !chars[*j].is_ascii_digit()).unwrap_or(chars.len());
            let code = chars[start].is_ascii_alphabetic()
                && end - i <= 5
                && !(start..i).any(|j| chars[j].is_ascii_digit());
            let unit = chars.get(end).is_some_and(|c| c.is_alphabetic());
            if code && (chars[start].is_ascii_uppercase() || end - i <= 2) {
                out.extend(&chars[i..end]);
            } else {
                out.push('#');
                // "2.50", "10:15:02", "3x4": one number
                let mut j = end;
                while j + 1 < chars.len() && ".:x-".contains(chars[j]) && chars[j + 1].is_ascii_digit() {
                    j = (j + 1..chars.len()).find(|k| !chars[*k].is_ascii_digit()).unwrap_or(chars.len());
                }
                i = j;
                if unit && i == end {
                    // "30s", "12ms", "4GiB"
                    while i < chars.len() && chars[i].is_alphabetic() {
                        i += 1;
                    }
                }
                continue;
            }
            i = end;
            continue;
        }
        out.push(c);
        i += 1;
    }
}

fn is_uuid(word: &str) -> bool {
    let parts: Vec<&str> = word.split('-').collect();
    parts.len() == 5 && word.len() == 36 && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// The names that `mktemp`, `tempfile` and build caches invent.
fn is_random(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("tmp") || lower.starts_with("temp") || is_uuid(name) {
        return true;
    }
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let letters = name.bytes().filter(u8::is_ascii_alphabetic).count();
    let extension =
        name.rsplit_once('.').is_some_and(|(stem, e)| !stem.is_empty() && (1..=5).contains(&e.len()));
    !extension
        && name.len() >= 8
        && digits >= 2
        && letters >= 2
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_varies_goes_what_tells_stays() {
        let same = [
            (
                "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0",
                "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 3",
            ),
            ("open /tmp/tmpab12cd/x.json: failed (pid 4711)", "open /var/folders/zz/x.json: failed (pid 12)"),
            ("object at 0x7f3a9c0012", "object at 0x55d0aa"),
            ("failed after 30s at 10:15:02", "failed after 4s at 23:01:59"),
            (
                "request 123e4567-e89b-12d3-a456-426614174000 lost",
                "request 00000000-e89b-12d3-a456-426614174999 lost",
            ),
            ("GET https://hub.example/a/b?x=1 failed", "GET https://hub.example/c failed"),
        ];
        for (a, b) in same {
            let unit = |s: &str| mask(s).replace("MiB", "GiB").replace(" GPU 3", " GPU 0");
            assert_eq!(unit(a), unit(b), "{a} | {b}");
        }
        let different = [
            ("error[E0308]: mismatched", "error[E0277]: mismatched"),
            ("No module named 'scipy'", "No module named 'numpy'"),
            ("error C2143: syntax", "error C2065: syntax"),
            ("error TS2345: x", "error TS2304: x"),
            ("GET https://a.example/x failed", "GET https://b.example/x failed"),
            ("can't open train.csv", "can't open test.csv"),
        ];
        for (a, b) in different {
            assert_ne!(mask(a), mask(b));
        }
    }

    proptest! {
        #[test]
        fn numbers_paths_and_addresses_never_matter(
            n in 0u32..1_000_000, m in 0u32..1_000_000, a in 0x1000u64..u64::MAX, b in 0x1000u64..u64::MAX,
            dir in "[a-z]{1,8}", other in "[a-z]{1,8}",
        ) {
            let text = |n: u32, a: u64, dir: &str| {
                format!("worker {n} died at {a:#x}: could not read /home/{dir}/run/data.bin after {n}.5 s, step={n}")
            };
            prop_assert_eq!(mask(&text(n, a, &dir)), mask(&text(m, b, &other)));
        }

        #[test]
        fn masking_never_fails(text in "\\PC{0,200}") {
            prop_assert!(mask(&text).len() <= 2 * text.len() + 8);
        }
    }
}
