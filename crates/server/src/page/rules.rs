//! The rules in force: a list to search, each one as it is written, and what it says of failures that are kept.

use std::io::Read;
use std::time::{Duration, Instant};

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use coroner_diagnosis::{Category, Rule, RuleSet};
use coroner_store::{LogReader, Query, Silenced};
use jiff::Timestamp;
use serde::Deserialize;

use super::experiments::{Row, encoded};
use super::form::Sent;
use super::parts::Markup;
use super::{Frame, ansi, assets, figures, parts, whole};
use crate::Desk;
use crate::api::parameters::{Params, short, word};
use crate::auth::Caller;
use crate::failure::{Answer, Failure};

/// So many rules are on a page.
const PAGE: usize = 100;
/// On so many of the newest failures a rule is tried, so much of each log is read, and so long it may take.
const TRIED: usize = 200;
const READ: u64 = 2 << 20;
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    q: String,
    category: Option<String>,
    /// off: only those that don't speak.
    state: Option<String>,
    page: Option<usize>,
}

/// A rule as the list shows it.
struct Line {
    id: String,
    category: Category,
    severity: coroner_diagnosis::Severity,
    origin: coroner_diagnosis::Origin,
    cause: String,
    own: bool,
    /// It does not speak.
    off: bool,
}

#[derive(Template)]
#[template(path = "rules.html")]
struct Rules {
    frame: Frame,
    q: String,
    category: String,
    only_silent: bool,
    all: usize,
    silent: usize,
    fitting: usize,
    page: usize,
    lines: Vec<Line>,
}

impl Rules {
    fn categories(&self) -> Vec<(&'static str, &'static str, bool)> {
        let all = Category::ALL.iter().map(|c| (c.as_str(), parts::spelt(*c), c.as_str() == self.category));
        all.collect()
    }

    fn address(&self, page: usize) -> String {
        let state = if self.only_silent { "off" } else { "" };
        let parts = [("q", self.q.as_str()), ("category", &self.category), ("state", state)];
        let parts = parts.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={}&", encoded(v)));
        format!("/rules?{}page={page}", parts.collect::<String>())
    }

    fn later(&self) -> Option<String> {
        (self.page * PAGE < self.fitting).then(|| self.address(self.page + 1))
    }

    fn earlier(&self) -> Option<String> {
        (self.page > 1).then(|| self.address(self.page - 1))
    }
}

impl Line {
    fn of(rule: &Rule, rules: &RuleSet) -> Self {
        Self {
            id: rule.id.to_string(),
            category: rule.category,
            severity: rule.severity,
            origin: rule.origin,
            cause: first(rule.causes()),
            own: rule.own,
            off: !rules.speaks(&rule.id),
        }
    }
}

fn first(sentences: impl Iterator<Item = impl AsRef<str>>) -> String {
    sentences.map(|s| s.as_ref().to_owned()).next().unwrap_or_default()
}

/// Answers `/rules`.
pub(super) async fn rules(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Which>,
) -> Answer<Response> {
    let chosen = word::<Category>("category", which.category.clone())?;
    let words: Vec<String> = which.q.split_whitespace().map(str::to_lowercase).collect();
    let fits = |rule: &Rule| {
        let has = |word: &String| {
            rule.id.to_lowercase().contains(word)
                || rule.causes().chain(rule.fixes()).any(|text| text.to_lowercase().contains(word))
        };
        chosen.is_none_or(|category| rule.category == category) && words.iter().all(has)
    };
    let page = which.page.unwrap_or(1).clamp(1, 100_000);
    let all = desk.analyst().rules();
    let only_silent = which.state.as_deref() == Some("off");
    let fits = |rule: &Rule| fits(rule) && (!only_silent || !all.speaks(&rule.id));
    let fitting: Vec<&Rule> = all.rules().iter().filter(|rule| fits(rule)).collect();
    let lines = fitting.iter().skip((page - 1) * PAGE).take(PAGE).map(|rule| Line::of(rule, &all)).collect();
    let fitting = fitting.len();
    let category = which.category.unwrap_or_default();
    whole(&Rules {
        frame: Frame::of(&desk, "Rules", caller).await?,
        q: which.q,
        category,
        only_silent,
        all: all.rules().len(),
        silent: all.silent(),
        fitting,
        page,
        lines,
    })
}

/// Whether to try the rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trying {
    #[serde(default)]
    r#try: String,
}

/// A failure that the rule speaks of.
struct Spoken {
    row: Row,
    line: u64,
    text: Markup,
    /// It was this rule that decided.
    decided: bool,
}

/// What came of trying.
struct Tried {
    spoken: Vec<Spoken>,
    looked_at: usize,
    in_time: bool,
}

#[derive(Template)]
#[template(path = "rule.html")]
struct RulePage {
    frame: Frame,
    id: String,
    line: Line,
    strength: String,
    retryable: bool,
    why: String,
    file: String,
    patterns: Vec<String>,
    causes: Vec<String>,
    fixes: Vec<String>,
    examples: Vec<String>,
    counterexamples: Vec<String>,
    tried: Option<Tried>,
    /// Who switched it off, and when.
    silenced: Option<Silenced>,
    now: Timestamp,
}

impl RulePage {
    /// Where the form that switches it is sent.
    fn switch(&self) -> String {
        let what = if self.line.off { "enable" } else { "disable" };
        format!("/api/v1/rules/{}/{what}", encoded(&self.id))
    }

    fn back(&self) -> String {
        format!("/rules/{}", encoded(&self.id))
    }
}

/// Answers `/rules/{id}`.
pub(super) async fn rule(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(trying): Params<Trying>,
    sent: Option<Extension<Sent>>,
) -> Answer<Response> {
    let missing = || {
        // such as `exit.killed`: nothing that looks at text says it
        Failure::not_found(format!("no rule that looks at text is called `{}`", short(&id)))
            .hint("what was observed itself (how it ended, what refused or judged it) is named so too, and has no page")
    };
    let rules = desk.analyst().rules();
    let rule = rules.get(&id).ok_or_else(missing)?;
    let tried = if trying.r#try.is_empty() { None } else { Some(tried(&desk, &rules, &id).await?) };
    let silenced = desk.store().silenced().await?.into_iter().find(|it| it.rule == id);
    let owned = |all: &[std::borrow::Cow<'_, str>]| all.iter().map(ToString::to_string).collect();
    let page = RulePage {
        frame: Frame::of(&desk, "Rules", caller).await?.after(sent),
        line: Line::of(rule, &rules),
        silenced,
        now: Timestamp::now(),
        strength: format!("{:?}", rule.strength).to_lowercase(),
        retryable: rule.retryable,
        why: rule.why.to_string(),
        file: rule.file.to_string(),
        patterns: rule.patterns().map(str::to_owned).collect(),
        causes: rule.causes().map(str::to_owned).collect(),
        fixes: rule.fixes().map(str::to_owned).collect(),
        examples: owned(&rule.examples),
        counterexamples: owned(&rule.counterexamples),
        tried,
        id,
    };
    whole(&page)
}

/// Holds a rule against the newest failures that have a log.
async fn tried(desk: &Desk, rules: &RuleSet, id: &str) -> Answer<Tried> {
    let begun = Instant::now();
    let (mut spoken, mut looked_at, mut cursor) = (Vec::new(), 0, None);
    loop {
        let query = Query { limit: Some(TRIED), cursor: cursor.take(), ..Query::default() };
        let page = desk.store().list(query).await?;
        for listed in page.experiments {
            let (Some(log), Some(analysis)) = (listed.log, &listed.analysis) else { continue };
            if looked_at == TRIED || begun.elapsed() > PATIENCE {
                return Ok(Tried { spoken, looked_at, in_time: looked_at == TRIED });
            }
            looked_at += 1;
            let decided = analysis.rule.as_deref() == Some(id);
            let reader = desk.store().read_log(log).await?;
            let (rules, id) = (rules.clone(), id.to_owned());
            let found =
                tokio::task::spawn_blocking(move || rules.get(&id).and_then(|it| first_match(it, reader)));
            if let Some((line, text)) = found.await.map_err(|_| Failure::internal())? {
                let text = Markup::from(ansi::line(&text, 300));
                spoken.push(Spoken { row: Row::from(listed), line, text, decided });
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() || begun.elapsed() > PATIENCE {
            return Ok(Tried { spoken, looked_at, in_time: cursor.is_none() });
        }
    }
}

/// The first line of the log's first part that the rule speaks of.
fn first_match(rule: &Rule, log: LogReader) -> Option<(u64, String)> {
    let mut bytes = Vec::new();
    // of a damaged log what could be read is looked at
    _ = log.take(READ).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().zip(1..);
    lines
        .find(|(line, _)| line.len() < 20_000 && rule.matches(line))
        .map(|(line, number)| (number, line.to_owned()))
}
