//! The dashboard. Every page is whole without a script; ours only adds to it (live rows, keys, dialogs).

mod analysis;
mod ansi;
mod assets;
mod chart;
mod experiment;
mod experiments;
mod figures;
mod form;
mod group;
mod groups;
mod log;
mod login;
mod overview;
mod parts;
mod reference;
mod rules;
mod settings;
mod statistics;
mod text;
mod window;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use coroner_store::{Error, Experiment, Group, GroupQuery, Page, Query, Status, Store};
use jiff::Timestamp;

use crate::Desk;
use crate::api::parameters::is_form;
use crate::auth::{Caller, May};
use crate::failure::{Answer, Failure};
use crate::remembered::Remembered;

pub(crate) use form::in_place;
pub(crate) use reference::reference;
pub(crate) use text::made_visible;

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/", get(overview::overview))
        .route("/groups", get(groups::groups))
        .route("/groups/{signature}", get(group::group))
        .route("/statistics", get(statistics::statistics))
        .route("/rules", get(rules::rules))
        .route("/rules/{id}", get(rules::rule))
        .route("/settings", get(settings::settings))
        .route("/login", get(login::login))
        .route("/experiments", get(experiments::experiments))
        .route("/experiments/{id}", get(experiment::experiment))
        .route("/experiments/{id}/analysis", get(analysis::analysis))
        .route("/experiments/{id}/log", get(log::log))
        .route("/assets/{hash}/{name}", get(assets::asset))
}

/// What pages show to everybody alike, until anything is written.
pub(crate) struct Kept {
    /// By the hour.
    overview: Remembered<i64, overview::Drawn>,
    /// By the number of days and the hour.
    statistics: Remembered<(i64, i64), statistics::Counted>,
    totals: Remembered<(), coroner_store::Summary>,
    groups: Remembered<(GroupQuery, i64), groups::Drawn>,
    group: Remembered<(String, i64), Option<Group>>,
    lists: Remembered<Query, Page>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            overview: Remembered::of_at_most(2),
            statistics: Remembered::of_at_most(8),
            totals: Remembered::of_at_most(1),
            groups: Remembered::of_at_most(8),
            group: Remembered::of_at_most(64),
            lists: Remembered::of_at_most(64),
        }
    }
}

impl Kept {
    /// A page of groups; their trends move with the hour.
    async fn groups(
        &self,
        store: &Store,
        query: GroupQuery,
        now: Timestamp,
    ) -> Result<Arc<groups::Drawn>, Error> {
        let ask = async { store.groups(query.clone(), now).await.map(groups::Drawn::of) };
        self.groups.get(store, (query.clone(), hour(now)), ask).await
    }

    /// The group that a signature belongs to.
    async fn group(&self, store: &Store, signature: &str, now: Timestamp) -> Result<Option<Group>, Error> {
        let question = (signature.to_owned(), hour(now));
        Ok((*self.group.get(store, question, store.group(signature, now)).await?).clone())
    }

    /// A page of the table.
    async fn list(&self, store: &Store, query: Query) -> Result<Arc<Page>, Error> {
        self.lists.get(store, query.clone(), store.list(query)).await
    }
}

/// Windows of time move with the hour.
fn hour(now: Timestamp) -> i64 {
    now.as_second().div_euclid(3600)
}

/// What stands around every page.
pub(crate) struct Frame {
    /// The page's place in the navigation.
    here: &'static str,
    /// How many experiments run.
    running: u64,
    /// Who looks.
    caller: Caller,
    /// A form that was just sent, where it is shown again.
    sent: Option<form::Sent>,
}

/// A place of the navigation: name, address, icon.
type Place = (&'static str, &'static str, &'static str);

impl Frame {
    async fn of(desk: &Desk, here: &'static str, caller: Caller) -> Answer<Self> {
        let totals = desk.pages().totals.get(desk.store(), (), desk.store().totals()).await?;
        let running = totals.by_status.get(&Status::Running).copied().unwrap_or(0);
        Ok(Self { here, running, caller, sent: None })
    }

    /// May whoever looks change anything?
    fn may_change(&self) -> bool {
        self.caller.may == May::Admin
    }

    fn places(&self) -> [Place; 6] {
        [
            ("Overview", "/", "overview"),
            ("Experiments", "/experiments", "experiments"),
            ("Groups", "/groups", "groups"),
            ("Statistics", "/statistics", "statistics"),
            ("Rules", "/rules", "rules"),
            ("Settings", "/settings", "settings"),
        ]
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// The experiment that an address names: by its number first, which is what our links hold.
async fn experiment_at(desk: &Desk, text: &str) -> Answer<Experiment> {
    if let Ok(number) = text.parse() {
        match desk.store().numbered(number).await {
            Err(Error::NotFound { .. }) => {}
            found => return Ok(found?),
        }
    }
    Ok(desk.store().get(text).await?)
}

/// Does whoever sent this read pages?
pub(crate) fn is_wanted(path: &str, headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let of_programs = ["/api/", "/admin/", "/assets/"].iter().any(|beginning| path.starts_with(beginning));
    // a form of a page is sent to the address that programs use
    accepts.contains("text/html") && (!of_programs || is_form(headers))
}

#[derive(Template)]
#[template(path = "sorry.html")]
struct Sorry<'a> {
    failure: &'a Failure,
    request_id: &'a str,
}

impl Sorry<'_> {
    fn title(&self) -> &'static str {
        match self.failure.status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::UNAUTHORIZED => "Please sign in",
            StatusCode::FORBIDDEN => "Not allowed",
            status if status.is_server_error() => "That did not work",
            _ => "That can't be shown",
        }
    }
}

/// A failure as a page.
pub(crate) fn sorry(failure: &Failure, request_id: &str) -> Option<Response> {
    let text = Sorry { failure, request_id }.render().ok()?;
    let mut response = (failure.status, Html(text::made_visible(text))).into_response();
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    Some(response)
}

/// A page that is ready to be sent.
fn whole(page: &impl Template) -> Answer<Response> {
    // most pages fit: a text that grows is copied each time
    let mut text = String::with_capacity(96 << 10);
    page.render_into(&mut text).map_err(|e| {
        crate::guard::complain(&format!("a page can't be made: {e}"));
        Failure::internal()
    })?;
    let mut response = Html(text::made_visible(text)).into_response();
    // of whoever is signed in, and new the next moment
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, header::HeaderValue::from_static("private, no-cache"));
    Ok(response)
}
