//! A key out of AWS Secrets Manager: found, kept, fetched anew when it is refused, and every way in which there is none.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::SdkConfig;
use aws_types::region::Region;
use coroner_diagnosis::FailureKind;
use coroner_llm::{Credential, FetchKey, Limits, RenewedKey, Secret};
use serde_json::json;

use crate::server::{Act, Server};
use crate::{Dialect, KEY, asker, question};

const ID: &str = "ai-video-codec/anthropic-api-key";
const FIELD: &str = "ANTHROPIC_API_KEY";
const OTHER: &str = "sk-ant-test-another-9876543210";

fn aws(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("AKIDTEST", "hush-hush", None, None, "the test");
    SdkConfig::builder()
        .region(Region::new("eu-central-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

fn holding(text: &str) -> Act {
    Act::ok(json!({"Name": ID, "SecretString": text}).to_string())
}

fn refusing(code: &str, message: &str) -> Act {
    Act::Answer(400, "", json!({"__type": format!("com.amazonaws#{code}"), "message": message}).to_string())
}

#[tokio::test]
async fn a_key_is_fetched_with_a_signature_and_kept() {
    let secrets =
        Server::playing([holding(&json!({"ANTHROPIC_API_KEY": KEY, "other": 1}).to_string())]).await;
    let model = Server::playing([Act::ok(Dialect::Anthropic.answer("{}"))]).await;
    let key = RenewedKey::new(Secret::new(aws(&secrets.url), ID, FIELD));
    let asker = asker(
        Dialect::Anthropic.named(&model.url, "m", Credential::Renewed(Arc::new(key))),
        Limits::default(),
    );
    for signature in ["v1:1", "v1:2"] {
        asker.ask(&question(signature)).await.unwrap();
    }
    let seen = secrets.seen();
    assert_eq!(seen.len(), 1, "kept");
    assert_eq!(seen[0].header("x-amz-target"), Some("secretsmanager.GetSecretValue"));
    assert_eq!(seen[0].json(), json!({"SecretId": ID}));
    let signature = seen[0].header("authorization").unwrap();
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=AKIDTEST/"), "{signature}");
    assert!(signature.contains("/eu-central-1/secretsmanager/aws4_request, SignedHeaders="), "{signature}");
    assert!(!signature.contains("hush"), "{signature}");
    assert!(model.seen().iter().all(|it| it.header("x-api-key") == Some(KEY)));
}

#[tokio::test]
async fn a_key_that_is_refused_is_fetched_anew() {
    let secrets = Server::playing([holding(KEY), holding(OTHER)]).await;
    let model = Server::deciding(|request, _| match request.header("x-api-key") {
        Some(OTHER) => Act::ok(Dialect::Anthropic.answer("{}")),
        _ => Act::status(401, Dialect::Anthropic.error("authentication_error", "x", "invalid x-api-key")),
    })
    .await;
    let key = Arc::new(RenewedKey::new(Secret::new(aws(&secrets.url), ID, FIELD)));
    let asker = asker(Dialect::Anthropic.named(&model.url, "m", Credential::Renewed(key)), Limits::default());
    asker.ask(&question("v1:1")).await.unwrap();
    assert_eq!((secrets.seen().len(), model.seen().len()), (2, 2));
    asker.ask(&question("v1:2")).await.unwrap();
    assert_eq!((secrets.seen().len(), model.seen().len()), (2, 3), "and kept");
}

#[tokio::test]
async fn one_that_stays_the_same_is_not_tried_again() {
    let secrets = Server::playing([holding(KEY)]).await;
    let refused =
        Act::status(401, Dialect::Anthropic.error("authentication_error", "x", "invalid x-api-key"));
    let model = Server::playing([refused]).await;
    let key = Arc::new(RenewedKey::new(Secret::new(aws(&secrets.url), ID, FIELD)));
    let asker = asker(Dialect::Anthropic.named(&model.url, "m", Credential::Renewed(key)), Limits::default());
    let failure = asker.ask(&question("v1:1")).await.unwrap_err();
    assert_eq!((failure.kind, model.seen().len()), (FailureKind::Unauthorized, 1), "{failure:?}");
    assert!(!format!("{failure:?}").contains("sk-ant"), "{failure:?}");
}

#[tokio::test]
async fn what_was_good_is_used_while_nobody_answers() {
    let secrets = Server::playing([holding(KEY), refusing("InternalServiceError", "oops")]).await;
    let model = Server::playing([Act::ok(Dialect::Anthropic.answer("{}"))]).await;
    let key = RenewedKey::kept_for(Secret::new(aws(&secrets.url), ID, FIELD), Duration::ZERO);
    let asker = asker(
        Dialect::Anthropic.named(&model.url, "m", Credential::Renewed(Arc::new(key))),
        Limits::default(),
    );
    for signature in ["v1:1", "v1:2"] {
        asker.ask(&question(signature)).await.unwrap();
    }
    assert_eq!(secrets.seen().len(), 2);
}

#[tokio::test]
async fn each_way_to_have_none_says_what_to_do() {
    let told = |act: Act| async move {
        let secrets = Server::playing([act]).await;
        let error = Secret::new(aws(&secrets.url), ID, FIELD).fetch().await.unwrap_err().to_string();
        assert!(error.contains(ID) && !error.contains("sk-ant") && !error.contains("hush"), "{error}");
        error
    };
    let long = "x".repeat(300_000);
    for (act, advice) in [
        (refusing("ResourceNotFoundException", "can't find the specified secret"), "check its name"),
        (
            refusing("ResourceNotFoundException", "can't find the value for staging label: AWSCURRENT"),
            "put-secret-value",
        ),
        (refusing("AccessDeniedException", "not authorized"), "secretsmanager:GetSecretValue"),
        (refusing("ExpiredTokenException", "expired"), "renew them"),
        (refusing("UnrecognizedClientException", "token invalid"), "AWS_PROFILE"),
        (refusing("InvalidSignatureException", "Signature not yet current: 20261129T010000Z"), "clock"),
        (refusing("ThrottlingException", "slow"), "AWS answers ThrottlingException"),
        (Act::Answer(503, "", "<html>".to_owned()), "AWS answers 503"),
        (holding(&json!({"KEY": KEY}).to_string()), "put {\"ANTHROPIC_API_KEY\": \"...\"}"),
        (holding(&json!({"ANTHROPIC_API_KEY": 7}).to_string()), "the field `ANTHROPIC_API_KEY`"),
        (holding(&format!("{KEY} {KEY}")), "is not a key"),
        (holding(""), "is empty"),
        (holding(&long), "more than a secret can hold"),
        (Act::ok(json!({"Name": ID}).to_string()), "has no value"),
        (Act::ok(json!({"SecretBinary": "AAAA"}).to_string()), "it is binary"),
        (holding(&format!("{{\"ANTHROPIC_API_KEY\":\"{KEY}")), "no map of JSON"),
        (holding(&json!([KEY]).to_string()), "no map of JSON"),
        (holding(&json!(KEY).to_string()), "no map of JSON"),
        (
            refusing(
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
            ),
            "restore-secret",
        ),
    ] {
        let error = told(act.clone()).await;
        assert!(error.contains(advice) && !error.contains(KEY), "{advice}: {error}");
    }
    let nowhere = Secret::new(aws("http://127.0.0.1:9"), ID, FIELD).fetch().await.unwrap_err().to_string();
    assert!(nowhere.contains("nobody answers") && nowhere.contains("AWS_REGION"), "{nowhere}");
    let anybody = SdkConfig::builder().region(Region::new("eu-central-1")).build();
    let error = Secret::new(anybody, ID, FIELD).fetch().await.unwrap_err().to_string();
    assert!(error.contains("set AWS_PROFILE"), "{error}");
    let error = Secret::new(SdkConfig::builder().build(), ID, FIELD).fetch().await.unwrap_err().to_string();
    assert!(error.contains("set AWS_REGION"), "{error}");
}

#[tokio::test]
async fn an_emulator_gives_what_was_put_there() {
    let Some(endpoint) = std::env::var("CORONER_TEST_DYNAMODB").ok().filter(|it| !it.is_empty()) else {
        println!(
            "skipped: secret::an_emulator_gives_what_was_put_there: CORONER_TEST_DYNAMODB is not set: scripts/test starts an emulator"
        );
        return;
    };
    let id = format!("coroner-test-{}", std::process::id());
    let missing = Secret::new(aws(&endpoint), &id, FIELD).fetch().await.unwrap_err().to_string();
    assert!(missing.contains("there is no such secret in eu-central-1"), "{missing}");
    let body = json!({"Name": id, "SecretString": json!({"ANTHROPIC_API_KEY": KEY}).to_string()}).to_string();
    let host = endpoint.strip_prefix("http://").unwrap().to_owned();
    let mut stream = std::net::TcpStream::connect(&host).unwrap();
    let scope = "AWS4-HMAC-SHA256 Credential=test/20261129/eu-central-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0";
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: {host}\r\nauthorization: {scope}\r\nx-amz-target: secretsmanager.CreateSecret\r\n\
         content-type: application/x-amz-json-1.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Secret::new(aws(&endpoint), &id, FIELD).fetch().await.unwrap();
}
