//! The OpenAPI document held against the running desk by schemathesis, which makes up requests, right and wrong ones.

use std::path::Path;
use std::process::Command;

use coroner_server::Settings;
use coroner_store::TokenScope;
use jiff::Timestamp;
use serde_json::json;

use crate::rig::Rig;

/// Requests made up for each operation, besides those that each limit and each kind of a field ask for.
const EXAMPLES: &str = "3";

/// What must hold: no failure of ours, and nothing answered that the document does not say.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method,\
                      missing_required_header,ignored_auth";

#[tokio::test]
pub(crate) async fn what_is_described_is_what_is_answered() {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../schemathesis/bin/schemathesis");
    if !program.exists() {
        println!(
            "skipped: what_is_described_is_what_is_answered: schemathesis is not installed; scripts/test fetches it from PyPI"
        );
        return;
    }
    let rig = Rig::with(Settings { auth: true, ..Settings::default() }).await;
    let token = coroner_server::new_token().unwrap();
    let hash = coroner_server::token_hash(&token);
    rig.store.add_token("fuzzer", TokenScope::Admin, hash, "test", Timestamp::now()).await.unwrap();
    let authorization = format!("Authorization: Bearer {token}");
    // something to be found
    for (id, error) in [("0", "CUDA out of memory"), ("a", "KeyError: 'lr'")] {
        let report = json!({"experiment_id": id, "error_message": error, "logs": "step 1\nboom\n"});
        let headers = format!("{authorization}\r\ncontent-type: application/json\r\n");
        let answer = rig.call("POST", "/api/v1/failures", &headers, report.to_string().as_bytes()).await;
        assert_eq!(answer.status, 201, "{answer}");
    }
    let document = format!("http://{}/openapi.json", rig.address);
    let folder = tempfile::tempdir().unwrap();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(program)
            .current_dir(folder.path())
            .env("NO_COLOR", "1")
            .args([
                "run",
                &document,
                "--header",
                &authorization,
                "--phases",
                "examples,coverage,fuzzing",
                "--checks",
                CHECKS,
            ])
            .args(["--max-examples", EXAMPLES, "--seed", "7", "--continue-on-failure", "--no-shrink"])
            .args(["--warnings", "off", "--request-timeout", "20"])
            // it never ends
            .args(["--exclude-path", "/api/v1/events"])
            .output()
    });
    let output = output.await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    // a run that tested nothing is none
    let tested = told.lines().find_map(|line| line.trim().strip_prefix("Tested: "));
    assert!(tested.and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count >= 45), "{told}");
    assert_eq!(rig.get("/healthz").await.status, 200);
    rig.end().await;
}
