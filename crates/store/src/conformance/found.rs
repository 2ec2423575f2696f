//! Which experiments a query finds, said as plainly as can be: what an index has to agree with.

use crate::query::{is_beginning, words};
use crate::{Analysis, Listed, Query};

/// Does the query fit this experiment, its words taken whole or as beginnings?
pub(super) fn fits(e: &Listed, query: &Query, as_beginnings: bool) -> bool {
    let has = |f: &dyn Fn(&Analysis) -> bool| e.analysis.as_ref().is_some_and(f);
    query.status.is_none_or(|s| e.status == s)
        && query.category.is_none_or(|c| has(&|a| a.category == c))
        && query.severity.is_none_or(|s| has(&|a| a.severity == s))
        && query.origin.is_none_or(|o| has(&|a| a.origin == o))
        && query.signature.as_ref().is_none_or(|s| has(&|a| a.signature == *s))
        && query.typed().is_none_or(|typed| occurs(typed, as_beginnings, e))
}

fn tokens(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|t| !t.is_empty()).map(str::to_lowercase).collect()
}

/// Each word typed is a row of tokens that occurs somewhere, the last perhaps only in its beginning.
fn occurs(typed: &str, as_beginnings: bool, e: &Listed) -> bool {
    let cause = e.analysis.as_ref().map_or("", |a| &a.root_cause);
    let columns = [e.id.name(), &e.experiment_type, &e.command.0.join(" "), cause].map(tokens);
    let occurs = |word: &str| {
        let (wanted, beginning) = (tokens(word), as_beginnings && is_beginning(word));
        let fits = |window: &[String]| {
            window.iter().zip(&wanted).enumerate().all(|(n, (have, want))| {
                match beginning && n + 1 == wanted.len() {
                    true => have.starts_with(want),
                    false => have == want,
                }
            })
        };
        columns.iter().any(|column| column.windows(wanted.len()).any(fits))
    };
    words(typed).next().is_some() && words(typed).all(occurs)
}
