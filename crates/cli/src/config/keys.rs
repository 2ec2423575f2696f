//! Every key of the configuration, what kind of value it takes, and the one that was probably meant.

/// What a value is, as far as reading it from an environment variable goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, a number or a word.
    Plain,
    /// A path.
    Path,
    /// Paths, separated by `:` in a variable.
    Paths,
    /// A table whose keys are the user's own; it has no variable.
    Table,
    /// Tables, in which names that end in `_file` are paths; they have no variable.
    Tables,
}

pub(super) const KEYS: &[(&str, Kind)] = &[
    ("store", Kind::Plain),
    ("logs", Kind::Plain),
    ("report", Kind::Plain),
    ("report_token_file", Kind::Path),
    ("report_spool", Kind::Path),
    ("report_spool_limit", Kind::Plain),
    ("report_wait", Kind::Plain),
    ("model.provider", Kind::Plain),
    ("model.name", Kind::Plain),
    ("model.base_url", Kind::Plain),
    ("model.key_env", Kind::Plain),
    ("model.key_file", Kind::Path),
    ("model.key_keyring", Kind::Plain),
    ("model.key_secret", Kind::Plain),
    ("model.ask", Kind::Plain),
    ("model.timeout", Kind::Plain),
    ("model.calls_per_day", Kind::Plain),
    ("model.dollars_per_day", Kind::Plain),
    ("model.concurrency", Kind::Plain),
    ("model.prices", Kind::Table),
    ("evidence.budget", Kind::Plain),
    ("rules.paths", Kind::Paths),
    ("retention.logs", Kind::Plain),
    ("retention.experiments", Kind::Plain),
    ("retention.log_bytes", Kind::Plain),
    ("run.timeout", Kind::Plain),
    ("run.memory", Kind::Plain),
    ("run.grace", Kind::Plain),
    ("run.log_limit", Kind::Plain),
    ("sandbox.level", Kind::Plain),
    ("sandbox.wall", Kind::Plain),
    ("sandbox.cpu", Kind::Plain),
    ("sandbox.memory", Kind::Plain),
    ("sandbox.processes", Kind::Plain),
    ("sandbox.file_size", Kind::Plain),
    ("sandbox.open_files", Kind::Plain),
    ("sandbox.work_space", Kind::Plain),
    ("sandbox.output", Kind::Plain),
    ("serve.listen", Kind::Plain),
    ("serve.public_url", Kind::Plain),
    ("serve.auth", Kind::Plain),
    ("alerts.channels", Kind::Tables),
    ("alerts.rules", Kind::Tables),
    ("alerts.quiet", Kind::Plain),
    ("alerts.recovered", Kind::Plain),
    ("alerts.outage", Kind::Plain),
    ("alerts.most_per_hour", Kind::Plain),
    ("telemetry.endpoint", Kind::Plain),
];

impl Kind {
    /// Can it be said in a variable?
    pub(super) fn has_variable(self) -> bool {
        !matches!(self, Self::Table | Self::Tables)
    }
}

pub(super) fn kind(key: &str) -> Option<Kind> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, kind)| *kind)
}

/// Is `key` the name of a section?
pub(super) fn is_section(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

/// The variable of a key: `model.base_url` is `CORONER_MODEL_BASE_URL`.
pub(super) fn variable(key: &str) -> String {
    format!("CORONER_{}", key.to_ascii_uppercase().replace('.', "_"))
}

/// The known key that looks most like `key`, if one does: spelt nearly the same, or right but in another section.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let score = |known: &str| {
        let whole = strsim::normalized_damerau_levenshtein(key, known);
        let word = strsim::normalized_damerau_levenshtein(&last(key), &last(known));
        whole.max(word)
    };
    KEYS.iter()
        .map(|(known, _)| (*known, score(known)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|(_, score)| *score >= 0.5)
        .map(|(known, _)| known)
}
