//! The configuration: defaults, then the configuration file, then `CORONER_*` variables, then flags.

pub(crate) mod alerts;
mod keys;
mod layers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coroner_lab::sandbox::{Level, Limits};
use serde::{Deserialize, Deserializer};

use crate::environment::Environment;
use crate::quantities::{parse_duration, parse_size};

/// The manual of the configuration, and its defaults.
pub(crate) const DEFAULTS: &str = include_str!("default-config.toml");

/// What is in force. The keys are those of default-config.toml.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) store: Option<String>,
    #[serde(default, deserialize_with = "log_place")]
    pub(crate) logs: Option<coroner_store::LogPlace>,
    pub(crate) report: Option<String>,
    pub(crate) report_token_file: Option<PathBuf>,
    pub(crate) report_spool: Option<PathBuf>,
    #[serde(deserialize_with = "size")]
    pub(crate) report_spool_limit: u64,
    #[serde(deserialize_with = "duration")]
    pub(crate) report_wait: Duration,
    pub(crate) model: Model,
    pub(crate) evidence: Evidence,
    pub(crate) rules: Rules,
    pub(crate) retention: Retention,
    pub(crate) run: Run,
    pub(crate) sandbox: Sandbox,
    pub(crate) serve: Serve,
    pub(crate) alerts: alerts::Alerts,
    pub(crate) telemetry: Telemetry,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub(crate) provider: Provider,
    pub(crate) name: Option<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) key_env: Option<String>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) key_keyring: Option<Keyring>,
    pub(crate) key_secret: Option<String>,
    pub(crate) ask: Ask,
    #[serde(deserialize_with = "duration")]
    pub(crate) timeout: Duration,
    pub(crate) calls_per_day: Calls,
    #[serde(deserialize_with = "dollars")]
    pub(crate) dollars_per_day: f64,
    pub(crate) concurrency: std::num::NonZeroUsize,
    pub(crate) prices: BTreeMap<String, Price>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Provider {
    Anthropic,
    Openai,
    Bedrock,
    None,
}

/// When a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Always,
    Unexplained,
    Never,
}

/// Calls in a day; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Calls(pub(crate) Option<u64>);

/// An entry of the system's keyring, written `service/account`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Keyring {
    pub(crate) service: String,
    pub(crate) account: String,
}

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    #[serde(deserialize_with = "dollars")]
    pub(crate) input: f64,
    #[serde(deserialize_with = "dollars")]
    pub(crate) output: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evidence {
    pub(crate) budget: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retention {
    #[serde(deserialize_with = "duration")]
    pub(crate) logs: Duration,
    #[serde(deserialize_with = "duration")]
    pub(crate) experiments: Duration,
    #[serde(deserialize_with = "size")]
    pub(crate) log_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    #[serde(default, deserialize_with = "some_duration")]
    pub(crate) timeout: Option<Duration>,
    #[serde(default, deserialize_with = "some_size")]
    pub(crate) memory: Option<u64>,
    #[serde(deserialize_with = "duration")]
    pub(crate) grace: Duration,
    #[serde(deserialize_with = "size")]
    pub(crate) log_limit: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Serve {
    pub(crate) listen: String,
    pub(crate) public_url: Option<String>,
    pub(crate) auth: Auth,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Telemetry {
    pub(crate) endpoint: Option<crate::traces::Endpoint>,
}

/// Whether whoever asks the desk must say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Auth {
    /// If it can be reached from beyond this machine.
    Auto,
    On,
    Off,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sandbox {
    #[serde(deserialize_with = "level")]
    pub(crate) level: Level,
    #[serde(deserialize_with = "duration")]
    pub(crate) wall: Duration,
    #[serde(deserialize_with = "duration")]
    pub(crate) cpu: Duration,
    #[serde(deserialize_with = "size")]
    pub(crate) memory: u64,
    pub(crate) processes: u32,
    #[serde(deserialize_with = "size")]
    pub(crate) file_size: u64,
    pub(crate) open_files: u32,
    #[serde(deserialize_with = "size")]
    pub(crate) work_space: u64,
    #[serde(deserialize_with = "size")]
    pub(crate) output: u64,
}

impl Sandbox {
    /// As the sandbox wants them. Of the output everything is passed on, up to the limit that ends the command.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            wall: self.wall,
            cpu: self.cpu,
            memory: self.memory,
            processes: self.processes,
            file_size: self.file_size,
            open_files: self.open_files,
            work_space: self.work_space,
            output_kept: self.output,
            output: self.output,
        }
    }
}

fn log_place<'de, D: Deserializer<'de>>(from: D) -> Result<Option<coroner_store::LogPlace>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(serde::de::Error::custom)
}

fn level<'de, D: Deserializer<'de>>(from: D) -> Result<Level, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// A configuration and where it came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// The configuration file that was read.
    pub(crate) file: Option<PathBuf>,
    /// The variables that count.
    pub(crate) variables: Vec<String>,
    /// Such as a variable that looks like ours and is not.
    pub(crate) notes: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("can't read the configuration file {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {message}", .path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
    #[error("{}:{line}: unknown key `{key}`{}", .path.display(), suggestion(.nearest.as_deref()))]
    UnknownKey { path: PathBuf, line: usize, key: String, nearest: Option<String> },
    #[error("{place}: {key}: {reason}")]
    WrongValue { place: Place, key: String, reason: String },
}

fn suggestion(key: Option<&str>) -> String {
    key.map_or_else(
        || "; `coroner doctor --defaults` prints them all".to_owned(),
        |key| format!("; did you mean `{key}`?"),
    )
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag(&'static str),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Reads what is in force. `file` and `store` are the flags `--config` and `--store`.
pub(crate) fn load(
    env: &Environment,
    file: Option<&Path>,
    store: Option<&str>,
) -> Result<Loaded, ConfigError> {
    let mut layers = layers::Layers::new();
    let named = file.map(Path::to_owned).or_else(|| env.get("CORONER_CONFIG").map(PathBuf::from));
    let usual = env.config_home().map(|home| home.join("coroner/config.toml"));
    let read = match (&named, &usual) {
        (Some(path), _) => Some((path, read(path)?)),
        (None, Some(path)) => match read(path) {
            Ok(text) => Some((path, text)),
            Err(ConfigError::Unreadable { source, .. }) if is_absent(&source) => None,
            Err(error) => return Err(error),
        },
        (None, None) => None,
    };
    if let Some((path, text)) = &read {
        layers.add_file(path, text, env)?;
    }
    let notes = layers.add_variables(env)?;
    if let Some(url) = store {
        layers.add_flag("--store", "store", url)?;
    }
    let file = read.map(|(path, _)| path.clone());
    let (config, variables) = layers.finish();
    Ok(Loaded { config, file, variables, notes })
}

/// The defaults alone.
pub(crate) fn defaults() -> Loaded {
    let (config, variables) = layers::Layers::new().finish();
    Loaded { config, file: None, variables, notes: Vec::new() }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

impl TryFrom<String> for Keyring {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('/') {
            Some((service, account)) if !service.is_empty() && !account.is_empty() => {
                Ok(Self { service: service.to_owned(), account: account.to_owned() })
            }
            _ => Err("expected service/account".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for Calls {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::Integer(n) if n >= 0 => Ok(Self(Some(n.cast_unsigned()))),
            toml::Value::Float(n) if n == f64::INFINITY => Ok(Self(None)),
            _ => Err(serde::de::Error::custom("expected a number of calls, or inf")),
        }
    }
}

fn dollars<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    match f64::deserialize(from)? {
        amount if amount >= 0.0 => Ok(amount),
        amount => Err(serde::de::Error::custom(format!("expected an amount of dollars, not {amount}"))),
    }
}

/// A quantity with a unit is a string; one without may be a number.
fn quantity<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    let text = match toml::Value::deserialize(from)? {
        toml::Value::String(text) => text,
        toml::Value::Integer(number) => number.to_string(),
        other => other.to_string(),
    };
    parse(&text).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    quantity(from, parse_duration)
}

fn some_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    quantity(from, parse_duration).map(Some)
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    quantity(from, parse_size)
}

fn some_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    quantity(from, parse_size).map(Some)
}

#[cfg(test)]
mod tests;
