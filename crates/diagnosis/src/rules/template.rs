//! Sentences with holes: the cause and the fix of a rule, filled with what its patterns captured.

use std::collections::BTreeSet;

/// A sentence with `{name}` holes.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Hole(String),
}

impl Template {
    /// `{name}` is a hole where `name` is a word; any other brace is text.
    pub(crate) fn new(source: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(open) = rest.find('{') {
            let name = rest[open + 1..].split('}').next().unwrap_or("");
            let closed = rest[open + 1 + name.len()..].starts_with('}');
            let word = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
            if closed && word {
                text.push_str(&rest[..open]);
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Hole(name.to_owned()));
                rest = &rest[open + 2 + name.len()..];
            } else {
                text.push_str(&rest[..=open]);
                rest = &rest[open + 1..];
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Self { parts }
    }

    pub(crate) fn holes(&self) -> BTreeSet<&str> {
        self.parts
            .iter()
            .filter_map(|p| if let Part::Hole(h) = p { Some(h.as_str()) } else { None })
            .collect()
    }

    /// The sentence, or `None` if a hole has nothing to fill it.
    pub(crate) fn fill<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                // a capture may bring the full stop that ends the sentence
                Part::Text(t) => {
                    out.push_str(t.strip_prefix('.').filter(|_| out.ends_with('.')).unwrap_or(t));
                }
                Part::Hole(h) => {
                    let v = value(h)?;
                    if v.trim().is_empty() && h != "at" {
                        return None;
                    }
                    push_short(&mut out, v);
                }
            }
        }
        Some(out)
    }
}

/// A capture in a sentence: at most 200 characters, no line breaks.
fn push_short(out: &mut String, value: &str) {
    const MOST: usize = 200;
    let value = if value.starts_with(' ') { value } else { value.trim() };
    for (i, c) in value.chars().enumerate() {
        if i == MOST {
            out.push('…');
            return;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_or_declines() {
        let t = Template::new("Found no {module}{at}: use {} or {a b}.");
        assert_eq!(t.holes().into_iter().collect::<Vec<_>>(), ["at", "module"]);
        let fill =
            |m: &'static str| t.fill(|h| if h == "at" { Some("") } else { Some(m).filter(|m| *m != "?") });
        assert_eq!(fill("x\ny").as_deref(), Some("Found no x y: use {} or {a b}."));
        assert_eq!(Template::new("It said {x}.").fill(|_| Some("no.")).as_deref(), Some("It said no."));
        assert_eq!(fill("?"), None);
        assert_eq!(fill(" "), None);
    }
}
