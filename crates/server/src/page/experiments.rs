//! The table of experiments: filters in the address, pages by cursor, the newest first.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use coroner_diagnosis::{Category, Origin, Severity};
use coroner_store::{Listed, Page, Status};
use jiff::Timestamp;

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

    /// The address of the page of these filters that begins at this cursor.
    fn address(&self, cursor: &str) -> String {
        let parts: Vec<_> = self
            .filters()
            .into_iter()
            .chain([("cursor", cursor)])
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

#[derive(Template)]
#[template(path = "experiments.html")]
struct Experiments {
    frame: Frame,
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
            (_, false) => format!("{} experiments are kept, the newest first.", self.total()),
            (1, true) => "One experiment fits the filter.".to_owned(),
            (_, true) => format!("{} experiments fit the filter.", self.total()),
        }
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
    let Page { total_count, total_is_at_least, running_commands, next_cursor, experiments } =
        desk.store().list(which.query()?).await?;
    whole(&Experiments {
        frame: Frame { here: "Experiments", running: running_commands, caller },
        asked,
        rows: experiments.into_iter().map(Row::from).collect(),
        now: Timestamp::now(),
        total: total_count,
        at_least: total_is_at_least,
        next: next_cursor,
        caption: "Experiments, the newest first",
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
    }
}
