//! The layers of the configuration, and that the manual of it is whole.

use std::collections::BTreeSet;

use super::keys::{KEYS, Kind};
use super::*;

/// Loads `text` as the file at the usual place, with `variables` set.
fn with(text: &str, variables: &[(&str, &str)], store: Option<&str>) -> Result<Loaded, String> {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/coroner");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), text).unwrap();
    let home = home.path().to_str().unwrap();
    let mut env = vec![("HOME", home)];
    env.extend(variables);
    load(&Environment::from_pairs(&env), None, store).map_err(|error| error.to_string().replace(home, "HOME"))
}

fn keys_of(table: &toml::Table, prefix: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(inner) if key != "model.prices" => {
                keys.extend(keys_of(inner, &format!("{key}.")));
            }
            _ => _ = keys.insert(key),
        }
    }
    keys
}

#[test]
fn the_manual_names_every_key_and_parses_with_all_of_them_set() {
    let known: BTreeSet<String> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    let assignment = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ")
            && name.chars().all(|c| c.is_ascii_lowercase() || "_\"".contains(c) || "qwen3:8b".contains(c))
    };
    let uncommented: Vec<&str> = DEFAULTS
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| assignment(rest)).unwrap_or(line))
        .collect();
    let all: toml::Table = uncommented.join("\n").parse().unwrap();
    assert_eq!(keys_of(&all, ""), known);
    let config = Config::deserialize(all).unwrap();
    assert_eq!(config.model.prices.len(), 1);
    assert_eq!(config.model.key_keyring, Some("coroner/anthropic".to_owned().try_into().unwrap()));
    assert_eq!(config.run.memory, Some(64 << 30));
}

#[test]
fn the_later_layer_counts() {
    let file = "[model]\ntimeout = \"10s\"\nconcurrency = 2\nask = \"never\"\n[run]\nmemory = \"2G\"";
    let loaded = with(
        file,
        &[
            ("CORONER_MODEL_TIMEOUT", "20s"),
            ("CORONER_MODEL_CONCURRENCY", "8"),
            ("CORONER_MODEL_CALLS_PER_DAY", "inf"),
            ("CORONER_STORE", "sqlite:variable.db"),
            ("CORONER_RULES_PATHS", "a.toml:~/b.toml"),
            ("CORONER_MODEL_NAME", "1234"),
            ("CORONER_TYPO", "x"),
        ],
        Some("sqlite:flag.db"),
    )
    .unwrap();
    let config = loaded.config;
    assert_eq!(config.model.timeout, Duration::from_secs(20));
    assert_eq!(config.model.concurrency.get(), 8);
    assert_eq!(config.model.calls_per_day, Calls(None));
    assert_eq!(config.model.name.as_deref(), Some("1234"), "a name may look like a number");
    assert_eq!(config.model.ask, Ask::Never);
    assert_eq!(config.model.provider, Provider::Anthropic);
    assert_eq!(config.store.as_deref(), Some("sqlite:flag.db"));
    assert_eq!(config.rules.paths[0], Path::new("a.toml"));
    assert!(config.rules.paths[1].is_absolute() && config.rules.paths[1].ends_with("b.toml"));
    assert_eq!(config.run.memory, Some(2 << 30));
    assert_eq!(config.run.timeout, None);
    assert_eq!(config.evidence.budget, 3000);
    assert!(loaded.file.unwrap().ends_with(".config/coroner/config.toml"));
    assert_eq!(loaded.variables.len(), 6);
    assert_eq!(loaded.notes, ["the environment variable CORONER_TYPO is no setting of coroner's"]);
}

#[test]
fn paths_start_from_the_folder_of_their_file() {
    let loaded =
        with("[rules]\npaths = [\"mine.toml\", \"/etc/r.toml\"]\n[model]\nkey_file = \"~/key\"", &[], None)
            .unwrap();
    let folder = loaded.file.unwrap();
    let folder = folder.parent().unwrap();
    assert_eq!(loaded.config.rules.paths, [folder.join("mine.toml"), "/etc/r.toml".into()]);
    let home = folder.parent().unwrap().parent().unwrap();
    assert_eq!(loaded.config.model.key_file, Some(home.join("key")));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let cases: &[Case] = &[
        (
            "[model]\n\ntimout = \"3s\"",
            &[],
            "HOME/.config/coroner/config.toml:3: unknown key `model.timout`; did you mean `model.timeout`?",
        ),
        ("concurency = 3", &[], "config.toml:1: unknown key `concurency`; did you mean `model.concurrency`?"),
        ("zzz = 3", &[], "config.toml:1: unknown key `zzz`; `coroner doctor --defaults` prints them all"),
        ("[modle]\nname = \"x\"", &[], "config.toml:2: unknown key `modle.name`; did you mean `model.name`?"),
        ("[model]\napi_key = \"sk-secret\"", &[], "config.toml:2: unknown key `model.api_key`"),
        ("[model]\ntimeout = \"soon\"", &[], "config.toml:2: model.timeout: `soon` is not a duration"),
        ("model = 3", &[], "config.toml:1: unknown key `model`"),
        (
            "logs = \"/var/logs\"",
            &[],
            "config.toml:1: logs: `/var/logs` is no place for logs: only s3:// is known",
        ),
        (
            "",
            &[("CORONER_LOGS", "s3://")],
            "environment variable CORONER_LOGS: logs: `s3://` is no place for logs",
        ),
        (
            "[model]\nprovider = \"azure\"",
            &[],
            "config.toml:2: model.provider: unknown variant `azure`, expected one of `anthropic`, `openai`, `bedrock`, `none`",
        ),
        ("[model]\nconcurrency = 0", &[], "config.toml:2: model.concurrency: "),
        ("[model.prices]\nx = { input = -1, output = 2 }", &[], "config.toml:1: model.prices: "),
        ("[evidence\nbudget = 1", &[], "config.toml:1: "),
        ("a = 1\na = 2", &[], "config.toml:2: "),
        (
            "",
            &[("CORONER_MODEL_DOLLARS_PER_DAY", "much")],
            "environment variable CORONER_MODEL_DOLLARS_PER_DAY: model.dollars_per_day: ",
        ),
        (
            "",
            &[("CORONER_MODEL_CALLS_PER_DAY", "-4")],
            "CORONER_MODEL_CALLS_PER_DAY: model.calls_per_day: expected a number of calls, or inf",
        ),
    ];
    for (text, variables, expected) in cases {
        let error = with(text, variables, None).unwrap_err();
        assert!(error.contains(expected), "{text}\n{error}");
        assert!(!error.contains("sk-secret"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_named_file_must_be_there_and_the_usual_one_need_not() {
    let env = Environment::from_pairs(&[("HOME", "/nonexistent")]);
    let loaded = load(&env, None, None).unwrap();
    assert_eq!((loaded.file, loaded.config.store), (None, None));
    let error = load(&env, Some(Path::new("/nonexistent/c.toml")), None).unwrap_err().to_string();
    assert!(error.starts_with("can't read the configuration file /nonexistent/c.toml: "), "{error}");
    let env = Environment::from_pairs(&[("CORONER_CONFIG", "/nonexistent/d.toml")]);
    assert!(load(&env, None, None).unwrap_err().to_string().contains("/nonexistent/d.toml"));
}

#[test]
fn tables_have_no_variable() {
    assert_eq!(KEYS.iter().filter(|(_, kind)| *kind == Kind::Table).count(), 1);
}
