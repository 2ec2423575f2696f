//! The table of experiments: filters in the address, pages by cursor, the newest first.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use coroner_diagnosis::{Category, Origin, Severity};
use coroner_store::{Listed, Sort, SortBy, Status};
use jiff::Timestamp;

use super::parts::Markup;
use super::{Frame, assets, figures, parts, whole};
use crate::Desk;
use crate::api::parameters::{Params, Which};
use crate::auth::Caller;
use crate::failure::Answer;

/// A row as templates show it.
pub(super) struct Row {
    pub(super) listed: Listed,
    pub(super) title: String,
}

impl Row {
    pub(super) fn href(&self) -> String {
        parts::link(&self.listed.id)
    }

    pub(super) fn cost(&self) -> String {
        if self.listed.dollars > 0.0 { figures::dollars(self.listed.dollars) } else { String::new() }
    }

    pub(super) fn took(&self) -> String {
        self.listed.duration.map(figures::took).unwrap_or_default()
    }
}

impl From<Listed> for Row {
    fn from(listed: Listed) -> Self {
        Self { title: parts::title(&listed), listed }
    }
}

/// What was asked for, as it goes back into the form.
#[derive(Default)]
struct Asked {
    q: String,
    status: String,
    category: String,
    severity: String,
    origin: String,
    signature: String,
    sort: String,
    cursor: String,
}

impl Asked {
    fn of(which: &Which) -> Self {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Self {
            q: text(&which.q),
            status: text(&which.status),
            category: text(&which.category),
            severity: text(&which.severity),
            origin: text(&which.origin),
            signature: text(&which.signature),
            sort: text(&which.sort),
            cursor: text(&which.cursor),
        }
    }

    fn filters(&self) -> [(&'static str, &str); 6] {
        [
            ("q", &self.q),
            ("status", &self.status),
            ("category", &self.category),
            ("severity", &self.severity),
            ("origin", &self.origin),
            ("signature", &self.signature),
        ]
    }

    fn any(&self) -> bool {
        self.filters().iter().any(|(_, value)| !value.is_empty())
    }

    fn first_page(&self) -> bool {
        self.cursor.is_empty()
    }

    /// The address of the page of these filters, in their order, that begins at this cursor.
    fn address(&self, cursor: &str) -> String {
        self.in_order(&self.sort, cursor)
    }

    /// The same in another order.
    fn in_order(&self, sort: &str, cursor: &str) -> String {
        let parts: Vec<_> = self
            .filters()
            .into_iter()
            .chain([("sort", sort), ("cursor", cursor)])
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        match parts.is_empty() {
            true => "/experiments".to_owned(),
            false => format!("/experiments?{}", parts.join("&")),
        }
    }
}

/// For a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A filter with its words.
struct Choice<'a> {
    name: &'static str,
    label: &'static str,
    set: &'a String,
    words: Vec<&'static str>,
}

/// A column's way to sort by it.
pub(super) struct SortLink {
    label: &'static str,
    href: String,
    /// Of the column that is sorted by now.
    arrow: &'static str,
    says: &'static str,
}

/// How the columns of a table are sorted, and by which they can be: none of a table that stands in another page.
#[derive(Default)]
pub(super) struct Sorting {
    started: Vec<SortLink>,
    analysis: Vec<SortLink>,
    took: Vec<SortLink>,
    /// What was paid stands where the time is.
    pub(super) by_cost: bool,
}

impl Sorting {
    fn of(asked: &Asked, sort: Sort) -> Self {
        let link = |label, by, descending_first| {
            let current = sort.by == by;
            let descending = if current { !sort.descending } else { descending_first };
            let (arrow, says) = match (current, sort.descending) {
                (false, _) => ("", ""),
                (_, true) => ("↓", "descending"),
                (_, false) => ("↑", "ascending"),
            };
            let order = Sort { by, descending };
            let word = if order == Sort::default() { String::new() } else { order.to_string() };
            SortLink { label, href: asked.in_order(&word, ""), arrow, says }
        };
        let by_cost = sort.by == SortBy::Cost;
        Self {
            started: vec![link("Started", SortBy::Started, true)],
            analysis: vec![
                link("Severity", SortBy::Severity, true),
                link("Category", SortBy::Category, false),
            ],
            took: vec![match by_cost {
                true => link("Cost", SortBy::Cost, true),
                false => link("Took", SortBy::Duration, true),
            }],
            by_cost,
        }
    }

    /// `aria-sort` of a column.
    fn says(links: &[SortLink]) -> &'static str {
        links.iter().map(|link| link.says).find(|says| !says.is_empty()).unwrap_or_default()
    }

    fn aria(links: &[SortLink]) -> Markup {
        let says = Self::says(links);
        if says.is_empty() { Markup::default() } else { format!(r#" aria-sort="{says}""#).into() }
    }

    /// The head of a column: what sorts by it, or its name alone.
    fn head(links: &[SortLink], name: &str) -> Markup {
        if links.is_empty() {
            return parts::escaped(name).into();
        }
        let link = |it: &SortLink| {
            let arrow = match it.arrow {
                "" => String::new(),
                arrow => format!(r#" <span aria-hidden="true">{arrow}</span>"#),
            };
            format!(r#"<a class="sort" href="{}">{}{arrow}</a>"#, parts::escaped(&it.href), it.label)
        };
        links.iter().map(link).collect::<Vec<_>>().join(" ").into()
    }

    pub(super) fn analysis(&self) -> Markup {
        Self::head(&self.analysis, "Analysis")
    }

    pub(super) fn aria_analysis(&self) -> Markup {
        Self::aria(&self.analysis)
    }

    pub(super) fn took(&self) -> Markup {
        Self::head(&self.took, "Took")
    }

    pub(super) fn aria_took(&self) -> Markup {
        Self::aria(&self.took)
    }

    pub(super) fn started(&self) -> Markup {
        Self::head(&self.started, "Started")
    }

    pub(super) fn aria_started(&self) -> Markup {
        Self::aria(&self.started)
    }
}

/// Orders of the list as the form offers them.
const ORDERS: [(&str, &str); 10] = [
    ("", "Newest first"),
    ("started", "Oldest first"),
    ("-severity", "Worst first"),
    ("severity", "Mildest first"),
    ("category", "By category"),
    ("-category", "By category, backwards"),
    ("-duration", "Longest first"),
    ("duration", "Shortest first"),
    ("-cost", "Dearest first"),
    ("cost", "Cheapest first"),
];

#[derive(Template)]
#[template(path = "experiments.html")]
struct Experiments {
    frame: Frame,
    sorting: Sorting,
    sort: Sort,
    sorted_among: Option<u64>,
    asked: Asked,
    rows: Vec<Row>,
    now: Timestamp,
    total: u64,
    at_least: bool,
    next: Option<String>,
    caption: &'static str,
}

impl Experiments {
    fn choices(&self) -> [Choice<'_>; 4] {
        [
            Choice {
                name: "severity",
                label: "Any severity",
                set: &self.asked.severity,
                words: Severity::ALL.iter().map(|word| word.as_str()).collect(),
            },
            Choice {
                name: "category",
                label: "Any category",
                set: &self.asked.category,
                words: Category::ALL.iter().map(|word| word.as_str()).collect(),
            },
            Choice {
                name: "origin",
                label: "Any origin",
                set: &self.asked.origin,
                words: Origin::ALL.iter().map(|word| word.as_str()).collect(),
            },
            Choice {
                name: "status",
                label: "Any status",
                set: &self.asked.status,
                words: Status::all().map(Status::as_str).collect(),
            },
        ]
    }

    fn total(&self) -> String {
        let number = figures::thousands(self.total);
        if self.at_least { format!("more than {number}") } else { number }
    }

    fn summary(&self) -> String {
        match (self.total, self.asked.any()) {
            (1, false) => "One experiment is kept.".to_owned(),
            (_, false) => format!("{} experiments are kept, {}.", self.total(), self.order()),
            (1, true) => "One experiment fits the filter.".to_owned(),
            (_, true) => format!("{} experiments fit the filter, {}.", self.total(), self.order()),
        }
    }

    /// `the newest first`
    fn order(&self) -> String {
        let first = match (self.sort.by, self.sort.descending) {
            (SortBy::Started, true) => "the newest first",
            (SortBy::Started, false) => "the oldest first",
            (SortBy::Severity, true) => "the worst first",
            (SortBy::Severity, false) => "the least bad first",
            (SortBy::Category, _) => "by category",
            (SortBy::Duration, true) => "the longest first",
            (SortBy::Duration, false) => "the shortest first",
            (SortBy::Cost, true) => "the dearest first",
            (SortBy::Cost, false) => "the cheapest first",
        };
        match self.sorted_among {
            Some(newest) => format!("{first} among the newest {}", figures::thousands(newest)),
            None => first.to_owned(),
        }
    }

    fn orders(&self) -> [(&'static str, &'static str, bool); ORDERS.len()] {
        ORDERS.map(|(word, label)| (word, label, word.parse::<Sort>().unwrap_or_default() == self.sort))
    }

    fn shown(&self) -> String {
        match self.rows.len() {
            0 => String::new(),
            shown => format!("{shown} of {}", self.total()),
        }
    }

    fn newest(&self) -> String {
        self.asked.address("")
    }

    fn older(&self) -> Option<String> {
        self.next.as_deref().map(|cursor| self.asked.address(cursor))
    }
}

/// Answers `/experiments`.
pub(super) async fn experiments(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Which>,
) -> Answer<Response> {
    let asked = Asked::of(&which);
    let query = which.query()?;
    let sort = query.sort;
    let page = desk.pages().list(desk.store(), query).await?;
    whole(&Experiments {
        frame: Frame { here: "Experiments", running: page.running_commands, caller, sent: None },
        sorting: Sorting::of(&asked, sort),
        sort,
        sorted_among: page.sorted_among,
        asked,
        rows: page.experiments.iter().cloned().map(Row::from).collect(),
        now: Timestamp::now(),
        total: page.total_count,
        at_least: page.total_is_at_least,
        next: page.next_cursor.clone(),
        caption: "Experiments",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_stay_in_the_address() {
        let asked = Asked { q: "a&b=é".into(), severity: "high".into(), ..Asked::default() };
        assert_eq!(asked.address("c1.ff"), "/experiments?q=a%26b%3D%C3%A9&severity=high&cursor=c1.ff");
        assert_eq!(Asked::default().address(""), "/experiments");
        let sorting = Sorting::of(&asked, Sort { by: SortBy::Duration, descending: true });
        assert_eq!(sorting.took[0].href, "/experiments?q=a%26b%3D%C3%A9&severity=high&sort=duration");
        assert_eq!((Sorting::says(&sorting.took), Sorting::says(&sorting.started)), ("descending", ""));
        assert_eq!(sorting.started[0].href, "/experiments?q=a%26b%3D%C3%A9&severity=high");
    }
}
