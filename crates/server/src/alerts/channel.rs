//! Channels: where messages go, and what is needed to send one there. Secrets stay in here.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::mail::Mail;
use super::outgoing::Outgoing;
use super::slack;
use super::web::Hook;

/// A way to people or programs.
#[derive(Debug, Clone)]
pub struct Channel {
    pub(super) name: String,
    /// How to send, or why that can't be known.
    pub(super) way: Result<Way, String>,
    kind: &'static str,
}

#[derive(Debug, Clone)]
pub(super) enum Way {
    Mail(Mail),
    Slack(Hook),
    Web(Hook),
}

/// How a connection to a mail server is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// It begins in the clear and must change over before anything is said.
    Starttls,
    /// From the first byte.
    Tls,
    /// Not at all.
    None,
}

/// What sending mail takes.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// `HOST` or `HOST:PORT`.
    pub server: String,
    /// How the connection is kept from others.
    pub tls: Tls,
    /// Who we are to the server, with the password, if it asks.
    pub login: Option<(String, SecretString)>,
    /// `Coroner <coroner@example.org>`.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SendError {
    /// It may work later.
    #[error("{why}")]
    Later { why: String, after: Option<Duration> },
    /// The receiver does not want it as it is.
    #[error("{why}")]
    Refused { why: String },
}

impl SendError {
    pub(super) fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None }
    }
}

impl Channel {
    /// Mail by SMTP.
    #[must_use]
    pub fn mail(name: &str, settings: &MailSettings) -> Self {
        Self { name: name.to_owned(), way: Mail::new(settings).map(Way::Mail), kind: "email" }
    }

    /// Slack's incoming webhooks, and what speaks like them.
    #[must_use]
    pub fn slack(name: &str, url: &SecretString) -> Self {
        Self { name: name.to_owned(), way: Hook::new(url, None).map(Way::Slack), kind: "slack" }
    }

    /// A webhook of any program, signed if there is a secret.
    #[must_use]
    pub fn webhook(name: &str, url: &SecretString, secret: Option<&SecretString>) -> Self {
        Self { name: name.to_owned(), way: Hook::new(url, secret).map(Way::Web), kind: "webhook" }
    }

    /// One that nothing can be sent to, and why: its messages wait.
    #[must_use]
    pub fn unusable(name: &str, kind: &'static str, why: String) -> Self {
        Self { name: name.to_owned(), way: Err(why), kind }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// email, slack, webhook.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Where it goes, as far as that is no secret.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.way {
            Ok(Way::Mail(mail)) => mail.place(),
            Ok(Way::Slack(hook) | Way::Web(hook)) => hook.place().to_owned(),
            Err(_) => "nowhere".to_owned(),
        }
    }

    /// Why nothing can be sent there.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.way.as_ref().err().map(String::as_str)
    }

    /// What works, and deserves to be known.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        match self.way.as_ref().ok()? {
            Way::Mail(mail) => mail.warning(),
            Way::Slack(hook) => hook.warning(),
            Way::Web(hook) if !hook.is_signed() => Some("it is not signed: give it a secret (secret_env)"),
            Way::Web(hook) => hook.warning(),
        }
    }

    /// Sends a message, once.
    pub(super) async fn send(&self, message: &Outgoing<'_>) -> Result<(), SendError> {
        match &self.way {
            Err(why) => Err(SendError::later(why.clone())),
            Ok(Way::Mail(mail)) => mail.send(message).await,
            Ok(Way::Slack(hook)) => hook.post(message, &slack::body(message)).await,
            Ok(Way::Web(hook)) => hook.post(message, &message.json()).await,
        }
    }

    /// What must not turn up anywhere else.
    pub(super) fn secrets(&self) -> Vec<String> {
        match &self.way {
            Ok(Way::Mail(mail)) => {
                mail.secret().into_iter().map(|it| it.expose_secret().to_owned()).collect()
            }
            Ok(Way::Slack(hook) | Way::Web(hook)) => hook.secrets(),
            Err(_) => Vec::new(),
        }
    }
}
