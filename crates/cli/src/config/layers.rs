//! Values laid over one another, key by key, so that every wrong one can be named with the place where it stands.

use std::ffi::OsStr;
use std::path::Path;

use serde::Deserialize;
use toml::de::DeTable;
use toml::{Spanned, Table, Value};

use super::keys::{KEYS, Kind, is_section, kind, nearest, variable};
use super::{Config, ConfigError, DEFAULTS, Place};
use crate::environment::Environment;

/// What has been laid so far: the table, and what it means.
pub(super) struct Layers {
    /// Made when something is laid over the defaults: most runs have nothing of that kind.
    table: Option<Table>,
    config: Config,
    variables: Vec<String>,
}

impl Layers {
    /// The defaults.
    #[expect(clippy::expect_used, reason = "the defaults are compiled in, and a test reads them")]
    pub(super) fn new() -> Self {
        let config = toml::from_str(DEFAULTS).expect("the defaults are a configuration");
        Self { table: None, config, variables: Vec::new() }
    }

    #[expect(clippy::expect_used, reason = "the defaults are compiled in, and a test reads them")]
    fn table(&mut self) -> &Table {
        self.table.get_or_insert_with(|| DEFAULTS.parse().expect("the defaults are TOML"))
    }

    /// Lays what stands in the file at `path` over what there is.
    pub(super) fn add_file(&mut self, path: &Path, text: &str, env: &Environment) -> Result<(), ConfigError> {
        let line = |offset: usize| 1 + text.bytes().take(offset).filter(|b| *b == b'\n').count();
        let parsed = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line(span.start)),
            message: error.message().replace('\n', ", "),
        })?;
        let values: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line(span.start)),
            message: error.message().replace('\n', ", "),
        })?;
        let mut found = Vec::new();
        collect(parsed.get_ref(), &values, "", &mut found);
        for Found { key, offset, value } in found {
            let line = line(offset);
            let Some(kind) = kind(&key) else {
                let nearest = nearest(&key).map(str::to_owned);
                return Err(ConfigError::UnknownKey { path: path.to_owned(), line, key, nearest });
            };
            let value = resolved(kind, value, path.parent(), env);
            self.lay(&key, value, Place::File { path: path.to_owned(), line })?;
        }
        Ok(())
    }

    /// Lays the variables over what there is. Says which look like ours and are not.
    pub(super) fn add_variables(&mut self, env: &Environment) -> Result<Vec<String>, ConfigError> {
        for (key, kind) in KEYS.iter().filter(|(_, kind)| kind.has_variable()) {
            let name = variable(key);
            let Some(given) = env.get(&name) else { continue };
            let value = resolved(*kind, value_of(*kind, given), None, env);
            self.lay(key, value, Place::Variable(name.clone()))?;
            self.variables.push(name);
        }
        let unknown = env.names_with("CORONER_").filter(|name| {
            // the file, the token of a desk, and the scripted model of demonstrations
            !["CORONER_CONFIG", "CORONER_TOKEN", "CORONER_MODEL_SCRIPT"].contains(name)
                && KEYS.iter().all(|(key, kind)| !kind.has_variable() || variable(key) != *name)
                && self.config.alerts.channels.iter().all(|it| it.variables().all(|named| named != *name))
        });
        Ok(unknown
            .map(|name| format!("the environment variable {name} is no setting of coroner's"))
            .collect())
    }

    /// Lays the value of a flag over what there is.
    pub(super) fn add_flag(&mut self, flag: &'static str, key: &str, value: &str) -> Result<(), ConfigError> {
        self.lay(key, Value::String(value.to_owned()), Place::Flag(flag))
    }

    pub(super) fn finish(self) -> (Config, Vec<String>) {
        (self.config, self.variables)
    }

    fn lay(&mut self, key: &str, value: Value, place: Place) -> Result<(), ConfigError> {
        let mut table = self.table().clone();
        set(&mut table, key, value.clone());
        let wrong = match Config::deserialize(table.clone()) {
            Ok(config) => {
                (self.table, self.config) = (Some(table), config);
                return Ok(());
            }
            Err(wrong) => wrong,
        };
        // a variable is text: what is no word there may be a number
        if let (Place::Variable(_), Value::String(text)) = (&place, &value)
            && let Ok(literal) = text.parse::<Value>()
            && !literal.is_str()
        {
            return self.lay(key, literal, place);
        }
        Err(ConfigError::WrongValue { place, key: key.to_owned(), reason: reason(&wrong) })
    }
}

/// A value of the file, and where its key begins.
struct Found {
    key: String,
    offset: usize,
    value: Value,
}

/// Flattens the sections into keys. What is neither key nor section is left whole, for the caller to refuse.
fn collect(spans: &DeTable<'_>, values: &Table, prefix: &str, found: &mut Vec<Found>) {
    for (name, span) in spans {
        let Some(value) = values.get(name.get_ref().as_ref()) else { continue };
        let key = format!("{prefix}{}", name.get_ref());
        match (span.get_ref().as_table(), value) {
            (Some(spans), Value::Table(values)) if is_section(&key) && kind(&key).is_none() => {
                collect(spans, values, &format!("{key}."), found);
            }
            (Some(spans), Value::Table(values)) if kind(&key).is_none() => {
                // an unknown section: name the first key in it, which is what the user meant to set
                let inner = spans.iter().next().map(|(inner, _)| inner);
                let key = inner.map_or_else(|| key.clone(), |inner| format!("{key}.{}", inner.get_ref()));
                let offset = inner.map_or_else(|| name.span().start, |inner| Spanned::span(inner).start);
                found.push(Found { key, offset, value: Value::Table(values.clone()) });
            }
            _ => found.push(Found { key, offset: name.span().start, value: value.clone() }),
        }
    }
    found.sort_by_key(|f| f.offset);
}

fn value_of(kind: Kind, given: &OsStr) -> Value {
    let text = given.to_string_lossy().into_owned();
    match kind {
        Kind::Paths => Value::Array(
            text.split(':').filter(|p| !p.is_empty()).map(|p| Value::String(p.to_owned())).collect(),
        ),
        Kind::Plain | Kind::Path | Kind::Table | Kind::Tables => Value::String(text),
    }
}

/// Paths start from the folder of the file that they stand in; `~/` is the home folder.
fn resolved(kind: Kind, value: Value, folder: Option<&Path>, env: &Environment) -> Value {
    match (kind, value) {
        (Kind::Path | Kind::Paths, Value::String(path)) => {
            let path = match (path.strip_prefix("~/"), env.home()) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => folder.map_or_else(|| path.clone().into(), |folder| folder.join(&path)),
            };
            Value::String(path.to_string_lossy().into_owned())
        }
        (Kind::Paths, Value::Array(paths)) => {
            Value::Array(paths.into_iter().map(|path| resolved(Kind::Path, path, folder, env)).collect())
        }
        (Kind::Tables, Value::Array(tables)) => {
            Value::Array(tables.into_iter().map(|it| resolved(Kind::Tables, it, folder, env)).collect())
        }
        (Kind::Tables, Value::Table(table)) => {
            let path = |(name, value): (String, Value)| match name.ends_with("_file") {
                true => (name, resolved(Kind::Path, value, folder, env)),
                false => (name, value),
            };
            Value::Table(table.into_iter().map(path).collect())
        }
        (_, value) => value,
    }
}

fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// serde's reason without the path that we put before it anyway.
fn reason(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or("is not valid").to_owned()
}
