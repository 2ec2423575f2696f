//! The part of the configuration that says who is told of failures, and of which.

use std::path::PathBuf;
use std::time::Duration;

use coroner_diagnosis::{Category, Origin, Severity};
use serde::Deserialize;

use super::{duration, some_duration};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alerts {
    pub(crate) channels: Vec<Channel>,
    pub(crate) rules: Vec<Rule>,
    #[serde(deserialize_with = "duration")]
    pub(crate) quiet: Duration,
    #[serde(deserialize_with = "duration")]
    pub(crate) recovered: Duration,
    #[serde(deserialize_with = "duration")]
    pub(crate) outage: Duration,
    pub(crate) most_per_hour: usize,
}

/// To whom.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Channel {
    Email {
        name: String,
        smtp: String,
        #[serde(default)]
        tls: Tls,
        user: Option<String>,
        password_env: Option<String>,
        password_file: Option<PathBuf>,
        from: String,
        to: Vec<String>,
    },
    Slack {
        name: String,
        url: Option<String>,
        url_env: Option<String>,
        url_file: Option<PathBuf>,
    },
    Webhook {
        name: String,
        url: Option<String>,
        url_env: Option<String>,
        url_file: Option<PathBuf>,
        secret_env: Option<String>,
        secret_file: Option<PathBuf>,
    },
}

impl Channel {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Email { name, .. } | Self::Slack { name, .. } | Self::Webhook { name, .. } => name,
        }
    }

    /// The variables that it names: whatever they are called, they are meant.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        let named = match self {
            Self::Email { password_env, .. } => [password_env, &None],
            Self::Slack { url_env, .. } => [url_env, &None],
            Self::Webhook { url_env, secret_env, .. } => [url_env, secret_env],
        };
        named.into_iter().filter_map(|name| name.as_deref())
    }
}

/// How a connection to a mail server is kept from others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tls {
    #[default]
    Starttls,
    /// From the first byte.
    #[serde(rename = "tls")]
    Direct,
    None,
}

/// Of what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) severity: Vec<Severity>,
    #[serde(default)]
    pub(crate) category: Vec<Category>,
    #[serde(default)]
    pub(crate) origin: Vec<Origin>,
    #[serde(default)]
    pub(crate) types: Vec<String>,
    #[serde(default)]
    pub(crate) new: bool,
    pub(crate) at_least: Option<u32>,
    #[serde(default, deserialize_with = "some_duration")]
    pub(crate) within: Option<Duration>,
    #[serde(default)]
    pub(crate) candidates: bool,
    #[serde(default)]
    pub(crate) loop_stopped: bool,
    #[serde(default)]
    pub(crate) channels: Vec<String>,
}
