//! What goes over the wire: all that is needed, and nothing that the providers reject.

use std::collections::BTreeSet;

use coroner_llm::{Credential, Limits};
use serde_json::json;

use crate::server::{Act, Server};
use crate::{Dialect, KEY, asker, question};

fn keys(value: &serde_json::Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn anthropic_is_sent_what_it_documents() {
    let dialect = Dialect::Anthropic;
    for (model, max_tokens, effort) in [
        ("claude-sonnet-5-5", 16_384, Some("low")),
        ("claude-haiku-4-5-20251001", 1_024, None),
        ("claude-new-9", 16_384, Some("low")),
    ] {
        let server = Server::playing([Act::ok(dialect.answer("{}"))]).await;
        let credential = Credential::Key(coroner_llm::ApiKey::new(KEY, "the test").unwrap());
        let reply = asker(dialect.named(&server.url, model, credential), Limits::default())
            .ask(&question("v1:1"))
            .await
            .unwrap();
        assert_eq!((reply.text.as_str(), reply.input_tokens, reply.output_tokens), ("{}", 1_000, 200));
        let [request] = &server.seen()[..] else { panic!("one request") };
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/messages"));
        assert_eq!(request.header("x-api-key"), Some(KEY));
        assert_eq!(request.header("anthropic-version"), Some("2026-10-21"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("authorization"), None);
        let body = request.json();
        // no sampling parameters, no tools, no stop sequences, nothing else
        assert_eq!(
            keys(&body),
            BTreeSet::from(["model", "max_tokens", "system", "messages", "output_config"])
        );
        assert_eq!((&body["model"], &body["max_tokens"]), (&json!(model), &json!(max_tokens)));
        assert_eq!(body["output_config"].get("effort").and_then(|e| e.as_str()), effort);
        assert_eq!(
            body["output_config"]["format"],
            json!({"type": "json_schema", "schema": question("").schema})
        );
        // no prefill: the last word is the user's
        assert_eq!(body["messages"], json!([{"role": "user", "content": question("").prompt}]));
        assert_eq!(body["system"], json!(question("").system));
    }
}

#[tokio::test]
async fn others_are_sent_what_they_understand() {
    let dialect = Dialect::OpenAi;
    for (base, credential, authorization, bounds) in [
        ("", Credential::NotNeeded, None, Some((600, 5))),
        (
            "/v1/",
            Credential::Key(coroner_llm::ApiKey::new(KEY, "the test").unwrap()),
            Some(format!("Bearer {KEY}")),
            None,
        ),
    ] {
        let server = Server::playing([Act::ok(dialect.answer("{}"))]).await;
        let model = dialect.named(&format!("{}{base}", server.url), "qwen", credential);
        asker(model, Limits::default()).ask(&question("v1:1")).await.unwrap();
        let [request] = &server.seen()[..] else { panic!("one request") };
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/chat/completions"));
        assert_eq!(request.header("authorization"), authorization.as_deref());
        assert_eq!(request.header("x-api-key"), None);
        let body = request.json();
        assert_eq!(keys(&body), BTreeSet::from(["model", "max_tokens", "messages", "response_format"]));
        let format = &body["response_format"];
        assert_eq!(
            (&format["type"], &format["json_schema"]["strict"]),
            (&json!("json_schema"), &json!(true))
        );
        let fields = &format["json_schema"]["schema"]["properties"];
        let bound = |field: &serde_json::Value, word| field.get(word).and_then(serde_json::Value::as_u64);
        assert_eq!(bound(&fields["root_cause"], "maxLength"), bounds.map(|b| b.0));
        assert_eq!(bound(&fields["evidence"], "maxItems"), bounds.map(|b| b.1));
        assert_eq!(bound(&fields["evidence"]["items"], "maxLength"), bounds.map(|b| b.0));
        assert_eq!(bound(&fields["category"], "maxLength"), None, "an enum is bounded already");
        let roles: Vec<&str> =
            body["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user"]);
    }
}

#[tokio::test]
async fn a_cap_that_is_called_otherwise_is_found_out_once() {
    let server = Server::deciding(|request, _| {
        if request.json().get("max_tokens").is_some() {
            let error = json!({"error": {"message": "use the other one", "type": "invalid_request_error",
                "param": "max_tokens", "code": "unsupported_parameter"}});
            Act::status(400, error.to_string())
        } else {
            Act::ok(Dialect::OpenAi.answer("{}"))
        }
    })
    .await;
    let asker = asker(Dialect::OpenAi.model(&server.url), Limits::default());
    asker.ask(&question("v1:1")).await.unwrap();
    asker.ask(&question("v1:2")).await.unwrap();
    let caps: Vec<bool> =
        server.seen().iter().map(|r| r.json().get("max_completion_tokens").is_some()).collect();
    assert_eq!(caps, [false, true, true]);
}

#[tokio::test]
async fn replies_arrive_unharmed() {
    for dialect in Dialect::BOTH {
        for text in [
            "```json\n{\"category\": \"timeout\"}\n```\n",
            " {\"a\": \"\u{1F980} \\u00e4\"} ",
            "<think>x</think>{}",
        ] {
            let server = Server::playing([Act::ok(dialect.answer(text))]).await;
            let reply =
                asker(dialect.model(&server.url), Limits::default()).ask(&question("v1:1")).await.unwrap();
            assert_eq!(reply.text, text, "{dialect:?}");
            assert_eq!(reply.model, "claude-sonnet-5-5");
            assert_eq!(reply.cost_usd.map(|c| format!("{c:.4}")).as_deref(), Some("0.0040"));
            assert!(!reply.cached && reply.notice.is_none());
        }
    }
}

#[tokio::test]
async fn a_text_of_its_own_is_asked_for_without_a_schema_and_with_room() {
    for dialect in Dialect::BOTH {
        let server = Server::playing([Act::ok(dialect.answer("```python\npass\n```"))]).await;
        let mut free = question("program 1");
        free.schema = serde_json::Value::Null;
        let reply = asker(dialect.model(&server.url), Limits::default()).ask(&free).await.unwrap();
        assert_eq!(reply.text, "```python\npass\n```");
        let body = server.seen()[0].json();
        assert!(body.get("response_format").is_none(), "{body}");
        assert!(body.pointer("/output_config/format").is_none(), "{body}");
        let cap = body["max_tokens"].as_u64().unwrap();
        assert!(cap >= 16_384, "{body}");
    }
}
