//! What the process was started with: environment variables, read once and handed down, and the folders they name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The environment variables of this process. Only the command line reads them.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    pub(crate) fn of_this_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The variable's value, if it is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The variable's value, if it is set, not empty and Unicode.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str()
    }

    /// The names of all variables that begin with `prefix`.
    pub(crate) fn names_with(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|name| name.to_str()).filter(move |name| name.starts_with(prefix))
    }

    /// The values of variables whose names say that they are secret, for masking them wherever they turn up.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = String> {
        let secret = |name: &OsString| name.to_str().is_some_and(coroner_diagnosis::Redactor::is_secret_name);
        self.0
            .iter()
            .filter(move |(name, _)| secret(name))
            .map(|(_, value)| value.to_string_lossy().into_owned())
    }

    pub(crate) fn home(&self) -> Option<&Path> {
        self.get("HOME").map(Path::new).filter(|path| path.is_absolute())
    }

    /// The folder for configuration files of all programs.
    pub(crate) fn config_home(&self) -> Option<PathBuf> {
        self.folder("XDG_CONFIG_HOME", ".config")
    }

    /// The folder for data of all programs.
    pub(crate) fn data_home(&self) -> Option<PathBuf> {
        self.folder("XDG_DATA_HOME", ".local/share")
    }

    /// The folder for what can be made again.
    pub(crate) fn cache_home(&self) -> Option<PathBuf> {
        self.folder("XDG_CACHE_HOME", ".cache")
    }

    /// The XDG rules say that a relative path is to be ignored.
    fn folder(&self, variable: &str, under_home: &str) -> Option<PathBuf> {
        let named = self.get(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| Some(self.home()?.join(under_home)))
    }
}

// values may be secrets
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
impl Environment {
    pub(crate) fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_follow_the_xdg_rules() {
        let env = Environment::from_pairs(&[
            ("HOME", "/home/ada"),
            ("XDG_DATA_HOME", "/data"),
            ("XDG_CONFIG_HOME", "here"),
        ]);
        assert_eq!(env.data_home(), Some("/data".into()));
        assert_eq!(env.config_home(), Some("/home/ada/.config".into()), "relative paths don't count");
        assert_eq!(Environment::default().data_home(), None);
    }

    #[test]
    fn values_are_not_shown() {
        let shown = format!("{:?}", Environment::from_pairs(&[("OPENAI_API_KEY", "sk-secret")]));
        assert!(shown.contains("OPENAI_API_KEY") && !shown.contains("secret"), "{shown}");
    }
}
