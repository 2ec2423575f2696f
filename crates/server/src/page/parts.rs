//! The small pieces that all pages share: icons, badges, chips, moments. Markup is made of a closed set of words.
//!
//! Templates pass what they have, by value or by reference: hence `impl Borrow`.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::LazyLock;

use askama::filters::HtmlSafe;
use coroner_diagnosis::{Category, Origin, Severity};
use coroner_store::{ExperimentId, Listed, Status};
use jiff::Timestamp;

use super::{assets, figures};

/// Markup of ours: whatever came from outside has been escaped.
#[derive(Debug, Clone, Default)]
pub(super) struct Markup(pub(super) Cow<'static, str>);

impl From<String> for Markup {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl HtmlSafe for Markup {}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text as markup, for attributes too.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    escape_into(&mut out, text);
    out
}

fn escape_into(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        out.push_str(match special.as_bytes().first() {
            Some(b'&') => "&amp;",
            Some(b'<') => "&lt;",
            Some(b'>') => "&gt;",
            Some(b'"') => "&quot;",
            _ => "&#39;",
        });
        rest = special.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// A sentence as it is told to people: what stands between backticks is code.
pub(super) fn prose(text: &str) -> Markup {
    // an odd number of backticks is nobody's code
    if !text.bytes().filter(|byte| *byte == b'`').count().is_multiple_of(2) {
        return escaped(text).into();
    }
    let mut out = String::with_capacity(text.len() + 32);
    for (i, piece) in text.split('`').enumerate() {
        let is_code = i % 2 == 1;
        out.push_str(if is_code { "<code>" } else { "" });
        escape_into(&mut out, piece);
        out.push_str(if is_code { "</code>" } else { "" });
    }
    out.into()
}

pub(super) fn icon(name: &str) -> Markup {
    drawn("icon", name)
}

fn drawn(class: &str, name: &str) -> Markup {
    let sheet = assets::address("icons.svg");
    format!(r#"<svg class="{class}" aria-hidden="true"><use href="{sheet}#{name}"></use></svg>"#).into()
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

/// Badges of a closed set of words, each made once: a table has hundreds.
struct Badges<T>(LazyLock<Vec<(T, String)>>);

impl<T: PartialEq> Badges<T> {
    const fn new(make: fn() -> Vec<(T, String)>) -> Self {
        Self(LazyLock::new(make))
    }

    fn of(&'static self, word: &T) -> Markup {
        let found = self.0.iter().find(|(it, _)| it == word);
        Markup(Cow::Borrowed(found.map_or("", |(_, badge)| badge)))
    }
}

fn each<T: Copy>(words: impl IntoIterator<Item = T>, badge: impl Fn(T) -> String) -> Vec<(T, String)> {
    words.into_iter().map(|word| (word, badge(word))).collect()
}

/// Icon and name.
pub(super) fn category(category: impl Borrow<Category>) -> Markup {
    static BADGES: Badges<Category> = Badges::new(|| {
        each(Category::ALL.iter().copied(), |it| {
            format!(r#"<span class="cat">{}<span>{}</span></span>"#, category_icon(it), spelt(it))
        })
    });
    BADGES.of(category.borrow())
}

/// Word, shape and colour.
pub(super) fn severity(severity: impl Borrow<Severity>) -> Markup {
    static BADGES: Badges<Severity> = Badges::new(|| {
        each(Severity::ALL.iter().copied(), |it| {
            let word = it.as_str();
            format!(r#"<span class="sev sev-{word}">{}{}</span>"#, drawn("shape", word), word.to_uppercase())
        })
    });
    BADGES.of(severity.borrow())
}

pub(super) fn origin(origin: impl Borrow<Origin>) -> Markup {
    static BADGES: Badges<Origin> =
        Badges::new(|| each(Origin::ALL.iter().copied(), |it| format!(r#"<span class="chip">{it}</span>"#)));
    BADGES.of(origin.borrow())
}

pub(super) fn status(status: impl Borrow<Status>) -> Markup {
    static BADGES: Badges<Status> = Badges::new(|| {
        each(Status::all(), |it| {
            let words = it.as_str().replace('_', " ");
            format!(r#"<span class="status status-{it}"><i></i>{words}</span>"#)
        })
    });
    BADGES.of(status.borrow())
}

/// A moment: relative, exact on hover.
pub(super) fn when(at: impl Borrow<Timestamp>, now: impl Borrow<Timestamp>) -> Markup {
    let (at, now) = (*at.borrow(), *now.borrow());
    let (exact, ago) = (figures::exact(at), figures::ago(at, now));
    // to the second
    let second = Timestamp::from_second(at.as_second()).unwrap_or(at);
    format!(r#"<time datetime="{second}" title="{exact}">{ago}</time>"#).into()
}

/// The words that a person may choose from, and their names.
pub(super) fn categories() -> Vec<(&'static str, &'static str)> {
    Category::ALL.iter().map(|it| (it.as_str(), spelt(*it))).collect()
}

pub(super) fn severities() -> Vec<&'static str> {
    Severity::ALL.iter().map(|it| it.as_str()).collect()
}

pub(super) fn origins() -> Vec<&'static str> {
    Origin::ALL.iter().map(|it| it.as_str()).collect()
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
