//! Amazon Bedrock: what goes over the wire and how it is signed, what comes back, and each refusal with what to do about it.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::SdkConfig;
use aws_types::region::Region;
use coroner_diagnosis::FailureKind::{
    self, NoKey, OverBudget, Overloaded, RateLimited, Unauthorized, Unreachable, Unreadable,
};
use coroner_llm::{ApiKey, Asker, Bedrock, Credential, KeyState, Limits};
use ring::{digest, hmac};
use serde_json::{Value, json};

use crate::server::{Act, Request, Server};
use crate::{Dialect, KEY, asker, question};

const MODEL: &str = "eu.anthropic.claude-sonnet-5-5";
const SECRET: &str = "hush-hush";

fn aws() -> SdkConfig {
    let credentials = Credentials::new("AKIDTEST", SECRET, Some("a-session".to_owned()), None, "the test");
    SdkConfig::builder()
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

fn bedrock(server: &Server, model: &str) -> Asker {
    asker(Bedrock::new(Some(&server.url), model, aws(), None), Limits::default())
}

fn answering(text: &str) -> Act {
    Act::ok(Dialect::Anthropic.answer(text))
}

/// As AWS refuses: its word in a header, which may go on with an address, and the rest in the body.
fn refusing(status: u16, code: &str, message: &str) -> Act {
    let header =
        format!("x-amzn-errortype: {code}:http://internal.amazon.com/coral/\r\nretry-after-ms: 1\r\n");
    Act::Answer(status, header.leak(), json!({"message": message}).to_string())
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature that AWS would compute of what has arrived, by its description of Signature Version 4.
fn signature(request: &Request, secret: &str) -> (String, String) {
    let sent = request.header("authorization").unwrap();
    let field = |name: &str| sent.split_once(name).unwrap().1.split(',').next().unwrap();
    let scope = field("Credential=").split_once('/').unwrap().1;
    // what is encoded already is encoded again, as everywhere but in S3
    let path: String = request
        .path
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let names = field("SignedHeaders=");
    let headers: String =
        names.split(';').map(|name| format!("{name}:{}\n", request.header(name).unwrap())).collect();
    let body = hex(digest::digest(&digest::SHA256, request.body.as_bytes()));
    let canonical = format!("{}\n{path}\n\n{headers}\n{names}\n{body}", request.method);
    let told = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        request.header("x-amz-date").unwrap(),
        hex(digest::digest(&digest::SHA256, canonical.as_bytes()))
    );
    let mac = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let key = scope
        .split('/')
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part).as_ref().to_vec());
    (field("Signature=").to_owned(), hex(mac(&key, &told)))
}

#[tokio::test]
async fn a_question_is_anthropics_with_a_signature() {
    for (model, path, max_tokens, effort) in [
        (MODEL, "eu.anthropic.claude-sonnet-5-5", 16_384, Some("low")),
        (
            "global.anthropic.claude-haiku-4-5-20251001-v1:0",
            "global.anthropic.claude-haiku-4-5-20251001-v1%3A0",
            1_024,
            None,
        ),
        (
            "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1 b/2",
            "arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Aapplication-inference-profile%2Fa1%20b%2F2",
            16_384,
            Some("low"),
        ),
    ] {
        let server = Server::playing([answering("{}")]).await;
        let reply = bedrock(&server, model).ask(&question("v1:1")).await.unwrap();
        assert_eq!((reply.text.as_str(), reply.input_tokens, reply.output_tokens), ("{}", 1_000, 200));
        assert_eq!(reply.model, model, "who was asked, and not what that calls itself elsewhere");
        let [request] = &server.seen()[..] else { panic!("one request") };
        assert_eq!(
            (request.method.as_str(), request.path.clone()),
            ("POST", format!("/model/{path}/invoke"))
        );
        let sent = request.header("authorization").unwrap();
        assert!(sent.starts_with("AWS4-HMAC-SHA256 Credential=AKIDTEST/"), "{sent}");
        assert!(sent.contains("/eu-central-1/bedrock/aws4_request, SignedHeaders=host;"), "{sent}");
        assert_eq!(request.header("x-amz-security-token"), Some("a-session"));
        let (arrived, right) = signature(request, SECRET);
        assert_eq!(arrived, right, "{request:?}");
        assert_ne!(arrived, signature(request, "another").1);
        assert!(!format!("{request:?}").contains(SECRET) && request.header("x-api-key").is_none());

        // Anthropic's body to the letter, but for who is asked
        let direct = Server::playing([answering("{}")]).await;
        let key = || Credential::Key(ApiKey::new(KEY, "the test").unwrap());
        let there = Dialect::Anthropic.named(&direct.url, model, key());
        asker(there, Limits::default()).ask(&question("v1:1")).await.unwrap();
        let mut expected = direct.seen()[0].json();
        expected.as_object_mut().unwrap().remove("model");
        expected["anthropic_version"] = "bedrock-2023-05-31".into();
        let body = request.json();
        assert_eq!(body, expected);
        assert_eq!(body["max_tokens"], max_tokens);
        assert_eq!(body["output_config"].get("effort").and_then(Value::as_str), effort);
        assert_eq!(body["output_config"]["format"]["schema"], question("").schema);
    }
}

#[tokio::test]
async fn a_key_of_bedrock_goes_in_a_header_and_needs_no_region() {
    let server = Server::playing([answering("{}")]).await;
    let key = Credential::Key(ApiKey::new(KEY, "the test").unwrap());
    let model = Bedrock::new(Some(&server.url), MODEL, SdkConfig::builder().build(), Some(key));
    let reply = asker(model, Limits::default()).ask(&question("v1:1")).await.unwrap();
    // 1,000 and 200 tokens, and a tenth more because it stays in Europe
    assert_eq!(reply.cost_usd.map(|c| format!("{c:.4}")).as_deref(), Some("0.0044"));
    let [request] = &server.seen()[..] else { panic!("one request") };
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert!(request.header("x-amz-date").is_none());

    let refused = Server::playing([refusing(403, "AccessDeniedException", "no such key")]).await;
    let key = Credential::Key(ApiKey::new(KEY, "the test").unwrap());
    let model = Bedrock::new(Some(&refused.url), MODEL, aws(), Some(key));
    let failure = asker(model, Limits::default()).ask(&question("v1:1")).await.unwrap_err();
    assert_eq!(failure.kind, Unauthorized);
    assert!(failure.detail.contains("refused the key (HTTP 403)"), "{failure:?}");
}

#[tokio::test]
async fn a_model_that_takes_no_schema_is_told_of_it_in_words_from_then_on() {
    let server = Server::deciding(|request, _| match request.json().get("output_config") {
        Some(_) => {
            refusing(400, "ValidationException", "output_config.format: Extra inputs are not permitted")
        }
        None => answering("{}"),
    })
    .await;
    let asker = bedrock(&server, "anthropic.claude-3-haiku-20240307-v1:0");
    for signature in ["v1:1", "v1:2"] {
        asker.ask(&question(signature)).await.unwrap();
    }
    let bodies: Vec<Value> = server.seen().iter().map(Request::json).collect();
    let [first, second, third] = &bodies[..] else { panic!("three requests: {bodies:?}") };
    assert!(first.get("output_config").is_some());
    for body in [second, third] {
        let told = body["system"].as_str().unwrap();
        assert!(body.get("output_config").is_none() && told.starts_with(&question("").system), "{body}");
        assert!(told.ends_with(&question("").schema.to_string()), "{body}");
    }
    // a text of its own has no schema to be told of
    let mut free = question("program 1");
    free.schema = Value::Null;
    asker.ask(&free).await.unwrap();
    assert_eq!(server.seen()[3].json()["system"], json!(free.system));
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    let role =
        "User: arn:aws:sts::123456789012:assumed-role/lab is not authorized to perform: bedrock:InvokeModel";
    let cases: Vec<(Act, FailureKind, &str, usize)> = vec![
        (
            refusing(403, "AccessDeniedException", role),
            Unauthorized,
            "allow bedrock:InvokeModel on `eu.anthropic",
            1,
        ),
        (refusing(404, "FTUFormNotFilled", "use case"), Unauthorized, "Bedrock's console", 1),
        (refusing(403, "ExpiredTokenException", "x"), Unauthorized, "have expired; renew them", 1),
        (refusing(403, "UnrecognizedClientException", "x"), Unauthorized, "set AWS_PROFILE", 1),
        (refusing(403, "InvalidSignatureException", "x"), Unauthorized, "(InvalidSignatureException)", 1),
        (
            refusing(
                403,
                "InvalidSignatureException",
                "Signature expired: 20261129T010000Z is now earlier than",
            ),
            Unauthorized,
            "this machine's clock",
            1,
        ),
        (refusing(400, "RequestExpired", "x"), Unauthorized, "this machine's clock", 1),
        (refusing(429, "ThrottlingException", "Too many tokens"), RateLimited, "(HTTP 429)", 3),
        (
            refusing(400, "ServiceQuotaExceededException", "quota"),
            RateLimited,
            "raise the limit with the provider",
            1,
        ),
        (
            refusing(429, "ModelNotReadyException", "not ready"),
            Overloaded,
            "ask again later; it said “not ready”",
            3,
        ),
        (refusing(408, "ModelTimeoutException", "too long"), Overloaded, "“too long”", 3),
        (refusing(424, "ModelErrorException", "oops"), Overloaded, "“oops”", 3),
        (refusing(500, "InternalServerException", "oops"), Overloaded, "HTTP 500", 3),
        (refusing(503, "ServiceUnavailableException", "oops"), Overloaded, "HTTP 503", 3),
        // once more without what it may not have understood
        (
            refusing(
                400,
                "ValidationException",
                "Invocation of this model with on-demand throughput isn't supported",
            ),
            Unreadable,
            "HTTP 400); it said “Invocation of this model",
            2,
        ),
        (
            refusing(404, "ResourceNotFoundException", "Model not found"),
            Unreachable,
            "has no model `eu.anthropic.claude-sonnet-5-5`: set another one; it said “Model not found”",
            1,
        ),
        // its word may stand in the body too
        (
            Act::Answer(
                403,
                "",
                json!({"__type": "com.amazon#ExpiredTokenException", "Message": "x"}).to_string(),
            ),
            Unauthorized,
            "renew them",
            1,
        ),
        (refusing(404, "UnknownOperationException", ""), Unreachable, "check the base URL", 1),
        (Act::Answer(404, "", "<html>".to_owned()), Unreachable, "check the base URL", 1),
        (Act::Answer(403, "", "<html>".to_owned()), Unauthorized, "HTTP 403", 1),
        (Act::status(413, ""), OverBudget, "context", 1),
        (Act::ok("{\"outputs\": []}"), Unreadable, "JSON that is no message", 1),
    ];
    for (act, kind, words, requests) in cases {
        let server = Server::playing([act.clone()]).await;
        let asker = bedrock(&server, MODEL);
        let failure = asker.ask(&question("v1:1")).await.map(|reply| reply.text).unwrap_err();
        let told = format!("{act:?}: {failure:?}");
        assert_eq!(failure.kind, kind, "{told}");
        assert!(failure.detail.contains(words), "{told}");
        assert_eq!(server.seen().len(), requests, "{told}");
        let shown = format!("{} {asker:?}", failure.detail);
        assert!(
            !shown.contains(SECRET) && !shown.contains("a-session") && !shown.contains("123456789012"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn without_credentials_or_a_region_it_is_said_what_is_missing() {
    let server = Server::playing([answering("{}")]).await;
    let nobody = SdkConfig::builder().region(Region::new("eu-central-1")).build();
    for (config, words) in [(nobody, "set AWS_PROFILE"), (SdkConfig::builder().build(), "set AWS_REGION")] {
        let asker = asker(Bedrock::new(Some(&server.url), MODEL, config, None), Limits::default());
        let failure = asker.ask(&question("v1:1")).await.unwrap_err();
        assert_eq!(failure.kind, NoKey, "{failure:?}");
        assert!(
            failure.detail.contains("Bedrock can't be asked") && failure.detail.contains(words),
            "{failure:?}"
        );
        let probe = asker.probe().await;
        assert_eq!((probe.key, probe.reachable), (KeyState::Missing, false), "{probe:?}");
    }
    assert!(server.seen().is_empty());
    // where it is, the region says
    for (region, host) in [
        ("eu-central-1", "bedrock-runtime.eu-central-1.amazonaws.com"),
        ("cn-north-1", "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
    ] {
        let config = SdkConfig::builder().region(Region::new(region)).build();
        let model = coroner_llm::Model::from(Bedrock::new(None, MODEL, config, None));
        assert_eq!((model.endpoint(), model.provider(), model.name()), (host, "bedrock", MODEL));
    }
}

#[tokio::test]
async fn credentials_that_end_are_kept_until_shortly_before() {
    #[derive(Debug, Default)]
    struct Giving(std::sync::atomic::AtomicU64, u64);
    impl aws_credential_types::provider::ProvideCredentials for Giving {
        fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let n = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let end = SystemTime::now() + Duration::from_secs(self.1);
            let given = Credentials::new(format!("AKID{n}"), SECRET, None, Some(end), "the test");
            aws_credential_types::provider::future::ProvideCredentials::ready(Ok(given))
        }
    }
    for (seconds, names) in [(3_600, ["AKID0", "AKID0"]), (30, ["AKID0", "AKID1"])] {
        let server = Server::playing([answering("{}")]).await;
        let config = SdkConfig::builder()
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(Giving(Default::default(), seconds)))
            .build();
        let asker = asker(Bedrock::new(Some(&server.url), MODEL, config, None), Limits::default());
        for signature in ["v1:1", "v1:2"] {
            asker.ask(&question(signature)).await.unwrap();
        }
        for (request, name) in server.seen().iter().zip(names) {
            let sent = request.header("authorization").unwrap();
            assert!(sent.contains(&format!("Credential={name}/")), "{seconds}: {sent}");
        }
    }
}

#[tokio::test]
async fn a_probe_looks_who_is_there_and_says_what_it_could_not_see() {
    let nowhere = "no such operation";
    for (act, state, kind) in [
        (refusing(404, "UnknownOperationException", nowhere), KeyState::Unchecked, None),
        (Act::Answer(200, "", "<html>".to_owned()), KeyState::Unchecked, None),
        (refusing(403, "ExpiredTokenException", "x"), KeyState::Refused, Some(Unauthorized)),
    ] {
        let server = Server::playing([act]).await;
        let probe = bedrock(&server, MODEL).probe().await;
        let told = format!("{probe:?}");
        assert_eq!((probe.provider, probe.key, probe.reachable), ("bedrock", state, true), "{told}");
        assert_eq!(probe.failure.map(|failure| failure.kind), kind, "{told}");
        let warned = probe.warnings.iter().any(|warning| warning.contains("with the first question"));
        assert_eq!(warned, kind.is_none(), "{told}");
        assert_eq!(probe.price.map(|price| format!("{:.1}", price.input)).as_deref(), Some("2.2"));
        assert!(server.seen().iter().all(|request| request.method == "GET"), "a probe must cost nothing");
    }
    let probe =
        asker(Bedrock::new(Some("http://127.0.0.1:1"), MODEL, aws(), None), Limits::default()).probe().await;
    assert_eq!((probe.reachable, probe.failure.map(|failure| failure.kind)), (false, Some(Unreachable)));
}
