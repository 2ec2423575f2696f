//! `--store dynamodb:TABLE`: what can't be used is told with what to do, and what can be is used.

use std::process::{Command, Output};

use serde_json::Value;

use crate::rig::{Home, text};
use crate::serve::Serving;

/// The binary, with the AWS configuration of nobody but these variables.
pub(crate) fn coroner(home: &Home, variables: &[(&str, &str)], words: &[&str]) -> Command {
    let mut command = home.coroner(words);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    // no role of this machine either
    command.env("AWS_EC2_METADATA_DISABLED", "true").envs(variables.iter().copied());
    command
}

pub(crate) const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

fn answer(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_is_missing_is_told() {
    let home = Home::new();
    let region = ("AWS_REGION", "eu-central-1");
    let nowhere = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let profiles = "[profile half]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = gone\n[profile bare]\nregion = eu-central-1\n";
    let profiles = home.file("aws", profiles);
    let profiles = ("AWS_CONFIG_FILE", profiles.as_str());
    for (variables, advice) in [
        (vec![region], "(none are set, and no role of this machine answers); set AWS_PROFILE"),
        (vec![region, KEYS[0]], "(AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not)"),
        (vec![region, ("AWS_PROFILE", "gone")], "the profile `gone` of AWS_PROFILE is not there"),
        (vec![region, profiles, ("AWS_PROFILE", "gone")], "profile `gone` was not defined"),
        (
            vec![region, profiles, ("AWS_PROFILE", "bare")],
            "the profile `bare` of AWS_PROFILE is not there, or holds none",
        ),
        (vec![region, profiles, ("AWS_PROFILE", "half")], "`gone`"),
        (vec![KEYS[0], KEYS[1], region, ("AWS_ENDPOINT_URL", "127.0.0.1:9")], "AWS_ENDPOINT_URL"),
        (vec![KEYS[0], KEYS[1]], "set AWS_REGION"),
        (vec![KEYS[0], KEYS[1], region, nowhere], "AWS_ENDPOINT_URL"),
    ] {
        for words in [&["list", "--store", "dynamodb:lab"][..], &["store", "init", "--store", "dynamodb:lab"]]
        {
            let (status, _, stderr) = answer(&coroner(&home, &variables, words).output().unwrap());
            assert_eq!(status, Some(3), "{variables:?} {stderr}");
            assert!(stderr.contains("`lab`") && stderr.contains(advice), "{variables:?} {stderr}");
            // none of the insides of the SDK
            assert!(!stderr.contains(" { ") && stderr.len() < 400, "{variables:?} {stderr}");
        }
    }
    let (status, _, stderr) = answer(&home.output(&["list", "--store", "dynamodb:a table"]));
    assert!(status == Some(2) && stderr.contains("a table's name"), "{stderr}");
}

#[test]
fn a_command_does_not_wait_for_a_network_that_says_nothing() {
    let home = Home::new();
    // connections are taken and never answered
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let variables =
        [KEYS[0], KEYS[1], ("AWS_REGION", "eu-central-1"), ("AWS_ENDPOINT_URL", endpoint.as_str())];
    let words = ["--store", "dynamodb:lab", "run", "--", "sh", "-c", "echo begun; exit 3"];
    let (status, stdout, stderr) = answer(&coroner(&home, &variables, &words).output().unwrap());
    assert_eq!((status, stdout.as_str()), (Some(3), "begun\n"), "{stderr}");
    assert!(stderr.contains("does not answer yet; the command waits 5 s for it"), "{stderr}");
    assert!(stderr.contains("this run is not kept") && stderr.contains("no answer within 5 s"), "{stderr}");
}

#[test]
fn a_file_is_made_once() {
    let home = Home::new();
    let store = format!("sqlite:{}", home.path().join("lab.db").display());
    let init = || answer(&home.output(&["--store", &store, "store", "init"]));
    assert_eq!(init(), (Some(0), format!("made {store}\n"), String::new()));
    assert_eq!(init(), (Some(0), format!("{store} is there already: nothing was changed\n"), String::new()));
}

#[test]
fn a_failure_is_kept_in_a_table_and_found_again() {
    let Some(endpoint) = std::env::var("CORONER_TEST_DYNAMODB").ok().filter(|it| !it.is_empty()) else {
        println!(
            "skipped: dynamodb::a_failure_is_kept_in_a_table_and_found_again: CORONER_TEST_DYNAMODB is not set: scripts/test starts an emulator"
        );
        return;
    };
    let home = Home::new();
    let store =
        format!("dynamodb:cli-{}-{}", std::process::id(), home.path().file_name().unwrap().to_str().unwrap());
    let store = store.replace("-.", "-");
    let variables = [KEYS[0], KEYS[1], ("AWS_REGION", "eu-central-1"), ("AWS_ENDPOINT_URL", &endpoint)];
    let run = |words: &[&str]| {
        answer(&coroner(&home, &variables, &[&["--store", &store], words].concat()).output().unwrap())
    };
    let (status, _, stderr) = run(&["list"]);
    assert!(status == Some(3) && stderr.contains(&format!("coroner --store {store} store init")), "{stderr}");
    // the run itself is not lost with its record
    let (status, stdout, stderr) = run(&["run", "--", "sh", "-c", "echo out; exit 4"]);
    assert!(status == Some(4) && stdout == "out\n" && stderr.contains("this run is not kept"), "{stderr}");

    assert_eq!(run(&["store", "init"]), (Some(0), format!("made {store}\n"), String::new()));
    let again = format!("{store} is there already: nothing was changed\n");
    assert_eq!(run(&["store", "init"]), (Some(0), again, String::new()));
    let script = "echo \"ModuleNotFoundError: No module named 'yaml'\" >&2; exit 1";
    let (status, _, stderr) = run(&["run", "--id", "nightly", "--type", "train", "--", "sh", "-c", script]);
    assert!(status == Some(1) && stderr.contains("import_error"), "{stderr}");
    let (status, stdout, stderr) = run(&["list", "--format", "json"]);
    assert_eq!(status, Some(0), "{stderr}");
    let page: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (page["total_count"].as_u64(), page["running_commands"].as_u64()),
        (Some(1), Some(0)),
        "{page}"
    );
    assert_eq!(page["experiments"][0]["failure_analysis"]["category"], "import_error");
    let (status, stdout, stderr) = run(&["show", "nightly"]);
    assert!(status == Some(0) && stdout.contains("yaml"), "{stdout}{stderr}");
    let (status, stdout, stderr) = run(&["doctor"]);
    assert!(stdout.contains(&store) && stdout.contains("1 experiment"), "{status:?} {stdout}{stderr}");
    // and the desk over it
    assert!(run(&["user", "list"]).0 == Some(0));
    let desk = Serving::start_with(&home, &["--store", &store, "--listen", "127.0.0.1:0"], &variables);
    let json = "content-type: application/json\r\n";
    let body = "{\"experiment_id\": \"far\", \"logs\": \"MemoryError\\n\"}";
    let told = desk.ask("POST /api/v1/failures", json, body);
    assert!(told.starts_with("HTTP/1.1 201") && told.contains("resource_error"), "{told}");
    for (page, shows) in
        [("/", "yaml"), ("/experiments", "far"), ("/groups", "yaml"), ("/statistics", "import_error")]
    {
        let shown = desk.ask(&format!("GET {page}"), "", "");
        assert!(shown.starts_with("HTTP/1.1 200") && shown.contains(shows), "{page}: {shown}");
    }
    assert_eq!(desk.end(), 0);
    assert!(run(&["show", "far"]).1.contains("resource_error"));
}
