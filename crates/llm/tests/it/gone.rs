//! A model that is gone, and what `coroner doctor` is told.

use coroner_diagnosis::FailureKind;
use coroner_llm::{ApiKey, Credential, KeyError, KeyState, Lifecycle, Limits, Model, Scripted, Step};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::server::{Act, Request, Server};
use crate::{Dialect, KEY, asker, question};

const GONE: &str = "claude-sonnet-4-20250514";

fn key() -> Credential {
    Credential::Key(ApiKey::new(KEY, "the test").unwrap())
}

fn info(id: &str, line: &str, lifecycle: &str, created: &str, retires: Value) -> Value {
    json!({"type": "model", "id": id, "line": line, "display_name": id, "lifecycle": lifecycle,
        "created_at": created, "retires_at": retires, "max_input_tokens": 1_000_000,
        "capabilities": {"structured_outputs": {"supported": true}}})
}

/// Anthropic in small: answers for the models that it has, 404 for the others.
fn provider(request: &Request, alive: &[&str]) -> Act {
    let dialect = Dialect::Anthropic;
    let not_found =
        |model: &str| Act::status(404, dialect.error("not_found_error", "", &format!("model: {model}")));
    let listed = [
        info("claude-opus-5-5", "opus", "active", "2026-09-22T00:00:00Z", Value::Null),
        info("claude-sonnet-5-5", "sonnet", "active", "2026-09-28T00:00:00Z", Value::Null),
        info("claude-sonnet-5", "sonnet", "active", "2026-06-30T00:00:00Z", Value::Null),
        info(
            "claude-sonnet-4-5",
            "sonnet",
            "deprecated",
            "2025-09-29T00:00:00Z",
            json!("2026-11-30T00:00:00Z"),
        ),
    ];
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", _) => {
            let model = request.json()["model"].as_str().unwrap().to_owned();
            if alive.contains(&model.as_str()) { Act::ok(dialect.answer("{}")) } else { not_found(&model) }
        }
        (_, "/v1/models?limit=1000") => Act::ok(json!({"data": listed, "has_more": false}).to_string()),
        (_, path) => {
            let id = path.strip_prefix("/v1/models/").unwrap();
            let retired =
                info(GONE, "sonnet", "retired", "2025-05-14T00:00:00Z", json!("2026-06-15T00:00:00Z"));
            let page = listed.into_iter().chain([retired]).find(|m| m["id"] == id);
            page.map_or_else(|| not_found(id), |m| Act::ok(m.to_string()))
        }
    }
}

#[tokio::test]
async fn the_newest_active_model_of_the_line_is_used_and_that_is_said_once() {
    let server = Server::deciding(|request, _| provider(request, &["claude-sonnet-5-5"])).await;
    let asker = asker(Dialect::Anthropic.named(&server.url, GONE, key()), Limits::default());
    let first = asker.ask(&question("v1:1")).await.unwrap();
    let said = first.notice.unwrap();
    assert!(said.contains(GONE) && said.contains("using claude-sonnet-5-5"), "{said}");
    assert_eq!(first.model, "claude-sonnet-5-5");
    assert_eq!(asker.ask(&question("v1:2")).await.unwrap().notice, None);
    // asked, looked up, asked again; then the stand-in alone
    let paths: Vec<String> = server.seen().into_iter().map(|r| r.path).collect();
    assert_eq!(paths, ["/v1/messages", "/v1/models?limit=1000", "/v1/messages", "/v1/messages"]);
    // the stand-in thinks, so the cap fits it and not the one that is gone
    assert_eq!(server.seen()[3].json()["max_tokens"], 16_384);
    // the reply is found again under the model that was configured
    assert!(asker.ask(&question("v1:1")).await.unwrap().cached);
}

#[tokio::test]
async fn several_questions_find_it_out_together() {
    let server = Server::deciding(|request, _| provider(request, &["claude-sonnet-5-5"])).await;
    let asker = asker(Dialect::Anthropic.named(&server.url, GONE, key()), Limits::default());
    let (a, b, c) = (question("v1:1"), question("v1:2"), question("v1:3"));
    let (a, b, c) = tokio::join!(asker.ask(&a), asker.ask(&b), asker.ask(&c));
    let notices = [a, b, c].into_iter().filter(|reply| reply.as_ref().unwrap().notice.is_some()).count();
    assert_eq!(notices, 1);
    assert_eq!(server.seen().iter().filter(|r| r.method == "GET").count(), 1);
}

#[tokio::test]
async fn a_stand_in_that_is_gone_too_or_a_line_without_one_ends_it() {
    for (model, alive) in
        [(GONE, &[][..]), ("claude-2.1", &["claude-sonnet-5-5"][..]), ("claude-sonnet-5", &[][..])]
    {
        let server = Server::deciding(move |request, _| provider(request, alive)).await;
        let asker = asker(Dialect::Anthropic.named(&server.url, model, key()), Limits::default());
        let failure = asker.ask(&question("v1:1")).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unreachable, "{model}: {failure:?}");
        assert!(failure.detail.contains("has no model"), "{model}: {failure:?}");
        assert!(server.seen().len() <= 3, "{model}");
    }
}

#[tokio::test]
async fn other_servers_tell_what_they_have_instead() {
    let server = Server::deciding(|request, _| match request.method.as_str() {
        "POST" => Act::status(
            404,
            r#"{"error": {"message": "model 'qwen9' not found", "type": "not_found_error"}}"#,
        ),
        _ => Act::ok(r#"{"object": "list", "data": [{"id": "qwen3:8b"}, {"id": "llama4"}]}"#),
    })
    .await;
    let asker = asker(Dialect::OpenAi.named(&server.url, "qwen9", Credential::NotNeeded), Limits::default());
    let failure = asker.ask(&question("v1:1")).await.unwrap_err();
    assert!(
        failure.detail.contains("no model `qwen9`") && failure.detail.contains("it has qwen3:8b, llama4"),
        "{failure:?}"
    );
    let probe = asker.probe().await;
    assert_eq!((probe.key, probe.reachable, probe.info), (KeyState::NotNeeded, true, None));
    assert!(probe.failure.unwrap().detail.contains("it has qwen3:8b, llama4"));
}

#[tokio::test]
async fn a_probe_tells_how_it_stands_with_the_model() {
    let server = Server::deciding(|request, _| provider(request, &[])).await;
    let probe = async |model: &str| {
        asker(Dialect::Anthropic.named(&server.url, model, key()), Limits::default()).probe().await
    };

    let active = probe("claude-sonnet-5-5").await;
    assert_eq!((active.key, active.reachable, active.failure), (KeyState::Accepted, true, None));
    assert_eq!(active.info.unwrap().lifecycle, Some(Lifecycle::Active));
    assert_eq!(active.warnings, Vec::<String>::new());
    assert_eq!(active.price.unwrap().input.to_string(), "2");

    let deprecated = probe("claude-sonnet-4-5").await;
    assert!(deprecated.warnings[0].contains("deprecated and retires on 2026-11-30"), "{deprecated:?}");

    let retired = probe(GONE).await;
    assert_eq!(retired.info.as_ref().unwrap().lifecycle, Some(Lifecycle::Retired));
    assert_eq!(retired.replacement.as_deref(), Some("claude-sonnet-5-5"));
    assert_eq!(retired.failure, None, "{retired:?}");

    let unknown = probe("claude-parrot-1").await;
    assert_eq!((unknown.reachable, unknown.replacement), (true, None));
    assert!(unknown.failure.unwrap().detail.contains("it has claude-opus-5-5"));

    assert!(server.seen().iter().all(|r| r.method == "GET"), "a probe must cost nothing");
    assert!(!serde_json::to_string(&active.warnings).unwrap().contains(KEY));
}

#[tokio::test]
async fn a_probe_tells_what_is_wrong_with_key_and_address() {
    let refusing =
        Server::playing([Act::status(401, Dialect::Anthropic.error("authentication_error", "", "no"))]).await;
    let missing = Credential::Missing(KeyError::NotSet { name: "ANTHROPIC_API_KEY".to_owned() });
    let nobody = "http://127.0.0.1:1";
    for dialect in Dialect::BOTH {
        for (base, credential, state, reachable, kind) in [
            (refusing.url.as_str(), key(), KeyState::Refused, true, FailureKind::Unauthorized),
            (&refusing.url, missing.clone(), KeyState::Missing, false, FailureKind::NoKey),
            (nobody, key(), KeyState::Unchecked, false, FailureKind::Unreachable),
            (&refusing.url, Credential::NotNeeded, KeyState::Missing, true, FailureKind::Unauthorized),
        ] {
            let probe = asker(dialect.named(base, "m", credential), Limits::default()).probe().await;
            let told = format!("{dialect:?}: {probe:?}");
            assert_eq!((probe.key, probe.reachable), (state, reachable), "{told}");
            assert_eq!(probe.failure.map(|f| f.kind), Some(kind), "{told}");
        }
    }
}

#[tokio::test]
async fn a_key_in_the_clear_is_warned_of() {
    let limits = Limits { total: std::time::Duration::from_millis(1), ..Limits::default() };
    for (base, warned) in [
        ("http://192.0.2.1:8000", true),
        ("https://192.0.2.1", false),
        ("http://127.0.0.1:1", false),
        ("http://[::1]:1", false),
    ] {
        let probe = asker(Dialect::OpenAi.named(base, "m", key()), limits.clone()).probe().await;
        assert_eq!(probe.warnings.iter().any(|w| w.contains("in the clear")), warned, "{base}");
    }
}

#[tokio::test]
async fn the_scripted_model_can_be_probed_too() {
    let scripted = Arc::new(Scripted::new([Step::say("{}")]));
    let probe = asker(Model::from(scripted), Limits::default()).probe().await;
    assert_eq!((probe.provider, probe.key), ("scripted", KeyState::NotNeeded));
}
