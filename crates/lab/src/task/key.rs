//! Where a key of a TOML file stands, and which one was probably meant.

use toml::de::{DeTable, DeValue};

/// The byte where the key begins; that of the nearest section around it if it is not there. Parts that are numbers count
/// the entries of an array.
pub(super) fn place(text: &str, key: &str) -> usize {
    let Ok(table) = DeTable::parse(text) else { return 0 };
    let mut at = 0;
    let mut value: Option<&DeValue<'_>> = None;
    let mut first = true;
    for part in key.split('.') {
        let found = match value {
            None if first => table.get_ref().iter().find(|(name, _)| name.get_ref() == part),
            Some(DeValue::Table(inner)) => inner.iter().find(|(name, _)| name.get_ref() == part),
            Some(DeValue::Array(items)) => {
                let Some(item) = part.parse::<usize>().ok().and_then(|i| items.get(i)) else { break };
                at = item.span().start;
                value = Some(item.get_ref());
                continue;
            }
            _ => break,
        };
        first = false;
        let Some((name, inner)) = found else { break };
        at = name.span().start;
        value = Some(inner.get_ref());
    }
    at
}

/// The 1-based line of a byte.
pub(super) fn line(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The known key that looks most like `key`, if one does.
pub(super) fn nearest(key: &str, known: &[String]) -> Option<String> {
    known
        .iter()
        .map(|name| (name, strsim::normalized_damerau_levenshtein(key, name)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|(_, score)| *score >= 0.5)
        .map(|(name, _)| name.clone())
}

/// What stands between backticks in a message of serde's.
pub(super) fn quoted(message: &str) -> Vec<String> {
    message.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
