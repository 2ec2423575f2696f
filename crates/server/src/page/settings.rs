//! What is configured, who may look and report, how the store is, and what asking a model has cost today.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use coroner_store::{ChannelDeliveries, Health, Spent, Token, User};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::experiments::encoded;
use super::form::Sent;
use super::{Frame, assets, figures, parts, whole};
use crate::Desk;
use crate::alerts::Channel;
use crate::auth::Caller;
use crate::desk::Section;
use crate::failure::Answer;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    now: Timestamp,
    auth: bool,
    public_url: Option<String>,
    up_since: Timestamp,
    health: Health,
    today: Spent,
    month: Spent,
    users: Vec<User>,
    tokens: Vec<Token>,
    sections: Vec<Section>,
    /// Who is told of failures, and how deliveries stand.
    channels: Vec<(Channel, ChannelDeliveries)>,
}

impl SettingsPage {
    fn of_user(&self, name: &str, what: &str) -> String {
        format!("/api/v1/users/{}{what}", encoded(name))
    }

    fn of_token(&self, name: &str, what: &str) -> String {
        format!("/api/v1/tokens/{}{what}", encoded(name))
    }

    /// Did one of the forms that change this person fail? Then they stay open.
    fn opened(&self, name: &str) -> bool {
        ["", "/password", "/remove"].iter().any(|what| self.frame.failed(self.of_user(name, what)))
    }
}

/// Answers `/settings`.
pub(super) async fn settings(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    sent: Option<Extension<Sent>>,
) -> Answer<Response> {
    let (store, now) = (desk.store(), Timestamp::now());
    let channels = match &desk.settings().alerts {
        Some(alerts) => alerts.channels().iter().cloned().zip(alerts.deliveries().await?).collect(),
        None => Vec::new(),
    };
    let today = now.to_zoned(TimeZone::UTC).date();
    whole(&SettingsPage {
        frame: Frame::of(&desk, "Settings", caller).await?.after(sent),
        now,
        auth: desk.settings().auth,
        public_url: desk.settings().public_url.clone(),
        up_since: desk.started_at(),
        health: store.health(false).await?,
        today: store.spent(today).await?,
        month: store.spent_within(today.first_of_month(), today).await?,
        users: store.users().await?,
        tokens: store.tokens().await?,
        sections: desk.settings().sections.clone(),
        channels,
    })
}
