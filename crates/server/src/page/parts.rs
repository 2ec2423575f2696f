//! The small pieces that all pages share: icons, badges, chips, moments. Markup is made of a closed set of words.
//!
//! Templates pass what they have, by value or by reference: hence `impl Borrow`.

use std::borrow::Borrow;
use std::fmt;

use askama::filters::HtmlSafe;
use coroner_diagnosis::{Category, Origin, Severity};
use coroner_store::{ExperimentId, Listed, Status};
use jiff::Timestamp;

use super::{assets, figures};

/// Markup of ours: whatever came from outside has been escaped.
#[derive(Debug, Clone, Default)]
pub(super) struct Markup(pub(super) String);

impl HtmlSafe for Markup {}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text as markup, for attributes too.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// A sentence as it is told to people: what stands between backticks is code.
pub(super) fn prose(text: &str) -> Markup {
    let pieces: Vec<&str> = text.split('`').collect();
    // an odd number of backticks is nobody's code
    if pieces.len().is_multiple_of(2) {
        return Markup(escaped(text));
    }
    let pieces = pieces.iter().enumerate().map(|(i, piece)| match i % 2 {
        1 => format!("<code>{}</code>", escaped(piece)),
        _ => escaped(piece),
    });
    Markup(pieces.collect())
}

pub(super) fn icon(name: &str) -> Markup {
    drawn("icon", name)
}

fn drawn(class: &str, name: &str) -> Markup {
    let sheet = assets::address("icons.svg");
    Markup(format!(r#"<svg class="{class}" aria-hidden="true"><use href="{sheet}#{name}"></use></svg>"#))
}

/// The icon of a category: `runtime_error` is drawn as `runtime`.
fn drawing_of(category: Category) -> &'static str {
    match category {
        Category::SyntaxError => "syntax",
        Category::ImportError => "import",
        Category::ValidationError => "validation",
        Category::RuntimeError => "runtime",
        Category::Timeout => "timeout",
        Category::ResourceError => "resource",
        Category::LogicError => "logic",
    }
}

/// `Runtime error`.
pub(super) fn spelt(category: impl Borrow<Category>) -> &'static str {
    let category = *category.borrow();
    match category {
        Category::SyntaxError => "Syntax error",
        Category::ImportError => "Import error",
        Category::ValidationError => "Validation error",
        Category::RuntimeError => "Runtime error",
        Category::Timeout => "Timeout",
        Category::ResourceError => "Resource error",
        Category::LogicError => "Logic error",
    }
}

pub(super) fn category_icon(category: impl Borrow<Category>) -> Markup {
    let category = *category.borrow();
    icon(drawing_of(category))
}

/// Icon and name.
pub(super) fn category(category: impl Borrow<Category>) -> Markup {
    let category = *category.borrow();
    Markup(format!(r#"<span class="cat">{}<span>{}</span></span>"#, category_icon(category), spelt(category)))
}

/// Word, shape and colour.
pub(super) fn severity(severity: impl Borrow<Severity>) -> Markup {
    let severity = *severity.borrow();
    let word = severity.as_str();
    Markup(format!(r#"<span class="sev sev-{word}">{}{}</span>"#, drawn("shape", word), word.to_uppercase()))
}

pub(super) fn origin(origin: impl Borrow<Origin>) -> Markup {
    let origin = *origin.borrow();
    Markup(format!(r#"<span class="chip">{origin}</span>"#))
}

pub(super) fn status(status: impl Borrow<Status>) -> Markup {
    let status = *status.borrow();
    let words = status.as_str().replace('_', " ");
    Markup(format!(r#"<span class="status status-{status}"><i></i>{words}</span>"#))
}

/// A moment: relative, exact on hover.
pub(super) fn when(at: impl Borrow<Timestamp>, now: impl Borrow<Timestamp>) -> Markup {
    let (at, now) = (*at.borrow(), *now.borrow());
    Markup(format!(
        r#"<time datetime="{}" title="{}">{}</time>"#,
        at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        figures::exact(at),
        figures::ago(at, now)
    ))
}

/// The address of an experiment's page. By its number: names need not be unique, and may look like numbers.
pub(super) fn link(id: &ExperimentId) -> String {
    format!("/experiments/{}", id.number())
}

/// What a person calls an experiment: the name that they gave it, or else what it ran.
pub(super) fn title(listed: &Listed) -> String {
    let made = uuid_like(listed.id.name());
    match (made, listed.command.0.is_empty()) {
        (false, _) => listed.id.to_string(),
        (true, false) => command(&listed.command.0),
        (true, true) => "failure reported from outside".to_owned(),
    }
}

/// A command as it would be typed, without folders before the program.
pub(super) fn command(words: &[String]) -> String {
    let mut shown: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(program) = shown.first_mut() {
        *program = program.rsplit('/').next().unwrap_or(program);
    }
    let quoted = shown.iter().map(|word| match word.is_empty() || word.contains(char::is_whitespace) {
        true => format!("'{word}'"),
        false => (*word).to_owned(),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn uuid_like(name: &str) -> bool {
    name.len() == 36 && name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        assert_eq!(prose("run `a<b` & c").0, "run <code>a&lt;b</code> &amp; c");
        assert_eq!(prose("it's a ` only").0, "it&#39;s a ` only");
        assert_eq!(escaped(r#"<a href="x" b='y'>&"#), "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;");
        assert_eq!(command(&["/usr/bin/python3".into(), "a b.py".into()]), "python3 'a b.py'");
    }
}
