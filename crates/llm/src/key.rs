//! The key: where it comes from, and a value that nothing can print.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use crate::quote;

/// A key file that is longer than this is not a key.
const LONGEST_KEY: u64 = 16 * 1024;

/// A keyring that is locked asks the user; who is not there can't answer.
const KEYRING_PATIENCE: Duration = Duration::from_secs(10);

/// A key that may be sent in a header. `Debug` hides it.
#[derive(Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// Takes `text` without the white space around it. `place` is for the error: where it was found.
    pub fn new(text: &str, place: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty { place: place.to_owned() });
        }
        // printable ASCII without spaces: what is valid in a header, and what every provider issues
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(KeyError::NotAKey { place: place.to_owned() });
        }
        Ok(Self(SecretString::from(text)))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// Where a key may come from that is read once. One that is fetched again and again is a [`RenewedKey`].
#[derive(Clone)]
pub enum KeySource {
    /// An environment variable. Only the command line reads the environment, so the value is handed in.
    Env {
        /// Its name, for messages.
        name: String,
        /// Its value.
        value: Option<SecretString>,
    },
    /// A file that holds the key and nothing else.
    File(PathBuf),
    /// The system's keyring: the Secret Service by `secret-tool`, the keychain of macOS by `security`.
    Keyring {
        /// The service under which it is kept.
        service: String,
        /// The account under which it is kept.
        user: String,
    },
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySource({self})")
    }
}

impl std::fmt::Display for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env { name, .. } => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Keyring { service, user } => write!(f, "keyring entry {service}/{user}"),
        }
    }
}

/// A key and what there is to say about where it lay.
#[derive(Debug, Clone)]
pub struct LoadedKey {
    /// The key.
    pub key: ApiKey,
    /// Such as a file that others can read.
    pub warning: Option<String>,
}

/// What a provider is given to identify itself with.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A key.
    Key(ApiKey),
    /// None is needed: a model on this machine.
    NotNeeded,
    /// A key that may be another one later.
    Renewed(Arc<RenewedKey>),
    /// No key: each request is signed for AWS.
    #[cfg(feature = "aws")]
    Signed(Arc<crate::aws::Signer>),
    /// One is needed and can't be had; asking fails with this.
    Missing(KeyError),
}

/// Where a key is fetched from, each time anew.
#[async_trait]
pub trait FetchKey: Send + Sync {
    /// Fetches it.
    async fn fetch(&self) -> Result<ApiKey, KeyError>;
}

/// A key that is fetched when it is first needed, kept for a while, and fetched anew when the provider refuses it.
pub struct RenewedKey {
    from: Box<dyn FetchKey>,
    keep: Duration,
    kept: Mutex<Option<(ApiKey, Instant)>>,
}

impl std::fmt::Debug for RenewedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RenewedKey").field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl RenewedKey {
    /// Kept for five minutes: whoever changes it is not waited for longer.
    #[must_use]
    pub fn new(from: impl FetchKey + 'static) -> Self {
        Self::kept_for(from, Duration::from_secs(300))
    }

    /// Kept for so long.
    #[must_use]
    pub fn kept_for(from: impl FetchKey + 'static, keep: Duration) -> Self {
        Self { from: Box::new(from), keep, kept: Mutex::default() }
    }

    /// The key. If it can't be fetched anew, the one that was good so far.
    pub(crate) async fn get(&self) -> Result<ApiKey, KeyError> {
        let mut kept = self.kept.lock().await;
        if let Some((key, since)) = &*kept
            && since.elapsed() < self.keep
        {
            return Ok(key.clone());
        }
        match (self.from.fetch().await, &mut *kept) {
            (Ok(key), kept) => Ok(kept.insert((key, Instant::now())).0.clone()),
            (Err(_), Some((key, since))) => {
                *since = Instant::now();
                Ok(key.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Another key than the one that was refused, if there is one now.
    pub(crate) async fn instead_of(&self, refused: &ApiKey) -> Option<ApiKey> {
        let mut kept = self.kept.lock().await;
        // somebody else may have fetched it meanwhile
        if let Some((key, _)) = &*kept
            && key.expose() != refused.expose()
        {
            return Some(key.clone());
        }
        let key = self.from.fetch().await.ok()?;
        let other = (key.expose() != refused.expose()).then(|| key.clone());
        *kept = Some((key, Instant::now()));
        other
    }
}

impl From<Result<LoadedKey, KeyError>> for Credential {
    fn from(loaded: Result<LoadedKey, KeyError>) -> Self {
        match loaded {
            Ok(loaded) => Self::Key(loaded.key),
            Err(error) => Self::Missing(error),
        }
    }
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The variable is not set.
    #[error("no key for the model: environment variable {name} is not set")]
    NotSet {
        /// Which one.
        name: String,
    },
    /// There, but nothing in it.
    #[error("no key for the model: {place} is empty")]
    Empty {
        /// Where.
        place: String,
    },
    /// There, but it can't be one.
    #[error(
        "no key for the model: what {place} holds is not a key (spaces, line breaks or special characters in it)"
    )]
    NotAKey {
        /// Where.
        place: String,
    },
    /// The file can't be read.
    #[error("no key for the model: key file {} can't be read ({why})", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// The keyring has none, or there is no keyring.
    #[error("no key for the model: {place} can't be read ({why})")]
    Keyring {
        /// Which entry.
        place: String,
        /// What was found out.
        why: String,
    },
    /// AWS Secrets Manager gives none.
    #[cfg(feature = "aws")]
    #[error("no key for the model from the secret {secret}: {why}")]
    Secret {
        /// Which secret.
        secret: String,
        /// Why not.
        why: crate::secret::SecretTrouble,
    },
    /// AWS would not know us.
    #[cfg(feature = "aws")]
    #[error("Amazon Bedrock can't be asked: {0}")]
    Aws(#[from] crate::aws::AwsTrouble),
}

impl KeySource {
    /// Fetches the key.
    pub async fn load(&self) -> Result<LoadedKey, KeyError> {
        match self {
            Self::Env { name, value } => {
                let value = value.as_ref().ok_or_else(|| KeyError::NotSet { name: name.clone() })?;
                let key = ApiKey::new(value.expose_secret(), &self.to_string())?;
                Ok(LoadedKey { key, warning: None })
            }
            Self::File(path) => load_file(path, &self.to_string()).await,
            Self::Keyring { service, user } => {
                let (tool, args) = keyring_command(service, user);
                let key = ask_keyring(tool.as_ref(), &args, &self.to_string()).await?;
                Ok(LoadedKey { key, warning: None })
            }
        }
    }
}

async fn load_file(path: &Path, place: &str) -> Result<LoadedKey, KeyError> {
    let unreadable = |why: String| KeyError::Unreadable { path: path.to_owned(), why };
    let meta = tokio::fs::metadata(path).await.map_err(|e| unreadable(e.to_string()))?;
    if !meta.is_file() {
        return Err(unreadable("it is not a file".to_owned()));
    }
    if meta.len() > LONGEST_KEY {
        return Err(unreadable(format!("it has {} bytes, which no key has", meta.len())));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|e| unreadable(e.to_string()))?;
    Ok(LoadedKey { key: ApiKey::new(&text, place)?, warning: readable_by_others(path, &meta) })
}

#[cfg(unix)]
fn readable_by_others(path: &Path, meta: &std::fs::Metadata) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = meta.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!("key file {path} can be read by others (mode {mode:03o}): run chmod 600 {path}")
    })
}

#[cfg(not(unix))]
fn readable_by_others(_: &Path, _: &std::fs::Metadata) -> Option<String> {
    None
}

/// The system's own tool, not the `keyring` crate: that one brings D-Bus (a system library, or some fifty
/// crates of zbus) into every build for something that one command does where a keyring exists at all. The
/// attributes are those of Python's `keyring`, so a key stored with `keyring set SERVICE USER` is found.
fn keyring_command<'a>(service: &'a str, user: &'a str) -> (&'static str, Vec<&'a str>) {
    if cfg!(target_os = "macos") {
        ("security", vec!["find-generic-password", "-s", service, "-a", user, "-w"])
    } else {
        ("secret-tool", vec!["lookup", "service", service, "username", user])
    }
}

async fn ask_keyring(tool: &std::ffi::OsStr, args: &[&str], place: &str) -> Result<ApiKey, KeyError> {
    let failed = |why: String| KeyError::Keyring { place: place.to_owned(), why };
    let mut command = tokio::process::Command::new(tool);
    command.args(args).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(KEYRING_PATIENCE, command.output()).await {
        Err(_) => return Err(failed("the keyring did not answer; is it locked?".to_owned())),
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(failed(format!("the program {} is not installed", tool.display())));
        }
        Ok(Err(e)) => return Err(failed(e.to_string())),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let said = quote::short(&String::from_utf8_lossy(&output.stderr), None);
        let why = if said.is_empty() { "there is no such entry".to_owned() } else { said };
        return Err(failed(why));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| KeyError::NotAKey { place: place.to_owned() })?;
    ApiKey::new(&text, place)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    /// A stand-in for `secret-tool`, a real program that is really run.
    fn tool(dir: &Path, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join("tool");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    #[tokio::test]
    async fn the_keyring_is_asked_by_its_own_tool() {
        let dir = tempfile::tempdir().unwrap();
        let (_, args) = keyring_command("coroner", "anthropic");
        let asked = tool(dir.path(), r#"printf 'k-%s' "$*" | tr ' ' '-'"#);
        let key = ask_keyring(asked.as_ref(), &args, "keyring").await.unwrap();
        assert_eq!(key.expose(), format!("k-{}", args.join("-")));

        for (script, why) in [
            ("exit 1", "there is no such entry"),
            ("echo 'Cannot autolaunch D-Bus' >&2; exit 1", "Cannot autolaunch D-Bus"),
            ("true", "is empty"),
            (r"printf '\377'", "not a key"),
        ] {
            let tool = tool(dir.path(), script);
            let error = ask_keyring(tool.as_ref(), &args, "keyring").await.unwrap_err();
            assert!(error.to_string().contains(why), "{script}: {error}");
        }
        let none = ask_keyring("/nowhere/secret-tool".as_ref(), &args, "keyring").await.unwrap_err();
        assert!(none.to_string().contains("is not installed"), "{none}");
    }
}
