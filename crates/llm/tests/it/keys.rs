//! Where keys come from, and that they stay where they are.

use std::path::PathBuf;

use coroner_diagnosis::FailureKind;
use coroner_llm::{ApiKey, Credential, KeyError, KeySource, Limits, SecretString};

use crate::server::{Act, Server};
use crate::{Dialect, KEY, asker, question};

fn env(value: Option<&str>) -> KeySource {
    KeySource::Env { name: "ANTHROPIC_API_KEY".to_owned(), value: value.map(SecretString::from) }
}

#[tokio::test]
async fn a_key_is_found_or_it_is_said_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        KeySource::File(path)
    };
    for (source, why) in [
        (env(Some(KEY)), None),
        (env(Some(&format!("  {KEY}\n"))), None),
        (env(None), Some("ANTHROPIC_API_KEY is not set")),
        (env(Some(" ")), Some("is empty")),
        (env(Some(&format!("{KEY} {KEY}"))), Some("is not a key")),
        (env(Some("clé")), Some("is not a key")),
        (file("good", format!("{KEY}\r\n").as_bytes()), None),
        (file("empty", b"\n"), Some("is empty")),
        (file("two-lines", format!("{KEY}\nx: {KEY}").as_bytes()), Some("is not a key")),
        (file("binary", b"\xff\xfe"), Some("can't be read")),
        (file("big", &[b'k'; 100_000]), Some("100000 bytes")),
        (KeySource::File(dir.path().to_owned()), Some("not a file")),
        (KeySource::File(PathBuf::from("/no/such/key")), Some("/no/such/key can't be read")),
    ] {
        let loaded = source.load().await;
        let told = format!("{source:?} {loaded:?}");
        assert!(!told.contains(KEY), "{told}");
        match (loaded, why) {
            (Ok(_), None) => {}
            (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{told}"),
            _ => panic!("{told}"),
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_file_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, KEY).unwrap();
    for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let warning = KeySource::File(path.clone()).load().await.unwrap().warning;
        assert_eq!(warning.is_some_and(|w| w.contains("chmod 600")), warned, "{mode:o}");
    }
}

#[tokio::test]
async fn without_a_key_nobody_is_asked() {
    let server = Server::playing([Act::ok("{}")]).await;
    for dialect in Dialect::BOTH {
        let credential = Credential::from(env(None).load().await);
        let failure = asker(dialect.named(&server.url, "m", credential), Limits::default())
            .ask(&question("v1:1"))
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::NoKey);
        assert!(failure.detail.contains("ANTHROPIC_API_KEY is not set"), "{failure:?}");
    }
    assert!(server.seen().is_empty());
}

#[test]
fn nothing_prints_a_key() {
    let key = ApiKey::new(KEY, "the test").unwrap();
    let credential = Credential::Key(key.clone());
    let model = Dialect::Anthropic.named("https://example.com", "m", credential.clone());
    let source = env(Some(KEY));
    let error = ApiKey::new(&format!("{KEY}\n{KEY}"), "file /k").unwrap_err();
    for shown in [
        format!("{key:?}"),
        format!("{credential:?}"),
        format!("{model:?}"),
        format!("{source:?} {source}"),
        format!("{error:?} {error}"),
    ] {
        assert!(!shown.contains("sk-ant"), "{shown}");
    }
    assert_eq!(error, KeyError::NotAKey { place: "file /k".to_owned() });
}
