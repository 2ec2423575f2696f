//! Every way in which a provider can fail, for both of them: the kind, the words, how often it was asked, and
//! that the key is nowhere to be seen.

use std::time::Duration;

use coroner_diagnosis::FailureKind::{
    self, OverBudget, Overloaded, RateLimited, Refused, Timeout, Unauthorized, Unreachable, Unreadable,
};
use coroner_llm::Limits;
use tokio::task::JoinSet;

use crate::server::{Act, Server};
use crate::{Dialect, KEY, asker, question};

/// What a failing provider does, what the diagnosis is told, and how many requests it took.
struct Case {
    name: &'static str,
    act: Act,
    kind: FailureKind,
    words: &'static str,
    requests: usize,
}

fn cases(dialect: Dialect) -> Vec<Case> {
    let case = |name, act, kind, words, requests| Case { name, act, kind, words, requests };
    let echo = format!("the key {KEY} and its beginning sk-ant-test-01234567… are bad");
    let whole = dialect.answer("{\"category\": \"timeout\"}");
    let head = |length: usize| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
    };
    let half = &whole[..whole.len() / 2];
    vec![
        case(
            "401",
            Act::status(401, dialect.error("authentication_error", "", &echo)),
            Unauthorized,
            "refused the key (HTTP 401)",
            1,
        ),
        case(
            "403",
            Act::status(403, dialect.error("permission_error", "", &echo)),
            Unauthorized,
            "HTTP 403",
            1,
        ),
        case(
            "400 that echoes the key",
            Act::status(400, dialect.error("invalid_request_error", "", &echo)),
            Unreadable,
            "rejected the request (HTTP 400); it said “the key [key] and its beginning [key] are bad”",
            1,
        ),
        case(
            "404 model",
            Act::status(404, dialect.error("not_found_error", "", "model: claude-sonnet-5-5")),
            Unreachable,
            "no model `claude-sonnet-5-5`",
            2,
        ),
        case(
            "404 page",
            Act::Answer(404, "content-type: text/html\r\n", "<html>404</html>".into()),
            Unreachable,
            "check the base URL",
            1,
        ),
        case(
            "429",
            Act::status(429, dialect.error("rate_limit_error", "ramp_limit_exceeded", "slow down")),
            RateLimited,
            "“slow down”",
            3,
        ),
        case("429 without words", Act::status(429, ""), RateLimited, "HTTP 429", 3),
        case(
            "429 with a spent budget",
            Act::status(429, dialect.error("rate_limit_error", "enforced_spend_limit_reached", "x")),
            OverBudget,
            "enforced_spend_limit_reached",
            1,
        ),
        case(
            "429 with a spent contract",
            Act::status(429, dialect.error("rate_limit_error", "contract_spend_limit_reached", "x")),
            OverBudget,
            "spending limit",
            1,
        ),
        case(
            "429 without quota",
            Act::status(429, dialect.error("insufficient_quota", "insufficient_quota", "x")),
            OverBudget,
            "spending limit",
            1,
        ),
        case("402", Act::status(402, dialect.error("billing_error", "", "pay")), OverBudget, "HTTP 402", 1),
        case("413", Act::status(413, ""), OverBudget, "context", 1),
        case(
            "400 context",
            Act::status(400, dialect.error("exceed_context_size_error", "", "x")),
            OverBudget,
            "context",
            1,
        ),
        case(
            "500",
            Act::status(500, dialect.error("api_error", "", "boom")),
            Overloaded,
            "HTTP 500): ask again later; it said “boom” (tried 3 times)",
            3,
        ),
        case(
            "502 page",
            Act::Answer(
                502,
                "content-type: text/html\r\nretry-after-ms: 1\r\n",
                "<html>secret page</html>".into(),
            ),
            Overloaded,
            "HTTP 502): ask again later (tried",
            3,
        ),
        case(
            "529",
            Act::status(529, dialect.error("overloaded_error", "", "Overloaded")),
            Overloaded,
            "HTTP 529",
            3,
        ),
        case(
            "503 that should not be retried",
            Act::Answer(503, "x-should-retry: false\r\n", String::new()),
            Overloaded,
            "HTTP 503",
            1,
        ),
        case(
            "429 that asks for an hour",
            Act::Answer(429, "retry-after: 3600\r\n", String::new()),
            RateLimited,
            "asks to wait 3600 s",
            1,
        ),
        case("cut-off JSON", Act::ok(half), Unreadable, "JSON that is cut off", 1),
        case(
            "connection broken in the body",
            Act::Raw(format!("{}{half}", head(whole.len())).into()),
            Unreadable,
            "broke in the middle",
            3,
        ),
        case("no answer at all", Act::Raw(Vec::new()), Unreachable, "can't be reached", 3),
        case("not HTTP", Act::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), Unreachable, "can't be reached", 3),
        case(
            "HTML",
            Act::Answer(200, "content-type: text/html; charset=utf-8\r\n", "<!doctype html>".into()),
            Unreadable,
            "an HTML page",
            1,
        ),
        case(
            "text",
            Act::Answer(200, "content-type: text/plain\r\n", "hello".into()),
            Unreadable,
            "not JSON",
            1,
        ),
        case("empty body", Act::ok(""), Unreadable, "nothing at all", 1),
        case("other JSON", Act::ok("{\"hello\": 1}"), Unreadable, "JSON that is no", 1),
        case("JSON too deep", Act::ok("[".repeat(100_000)), Unreadable, "instead of an answer", 1),
        case(
            "10 MB",
            Act::Flood("HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n"),
            Unreadable,
            "more than 1048576 bytes",
            1,
        ),
        case("without end", Act::Flood("HTTP/1.1 200 OK\r\n\r\n"), Unreadable, "more than 1048576 bytes", 1),
        case(
            "500 without end",
            Act::Flood("HTTP/1.1 500 X\r\nretry-after-ms: 1\r\n\r\n"),
            Overloaded,
            "HTTP 500",
            3,
        ),
        case("empty answer", Act::ok(dialect.answer(" \n")), Unreadable, "is empty", 1),
        case(
            "cut off by the cap",
            Act::ok(dialect.ended("{\"cat", "max_tokens", "length")),
            Unreadable,
            "was cut off at",
            1,
        ),
        case(
            "refusal",
            Act::ok(dialect.ended("", "refusal", "content_filter")),
            Refused,
            "declined to answer (category",
            1,
        ),
    ]
}

#[tokio::test]
async fn every_failure_has_its_kind_and_tells_no_secret() {
    let mut running = JoinSet::new();
    for dialect in Dialect::BOTH {
        for case in cases(dialect) {
            running.spawn(async move { ends_as_it_should(dialect, case).await });
        }
    }
    running.join_all().await;
}

async fn ends_as_it_should(dialect: Dialect, case: Case) {
    let server = Server::playing([case.act]).await;
    let asker = asker(dialect.model(&server.url), Limits::default());
    let failure = asker.ask(&question("v1:1")).await.map(|reply| reply.text).unwrap_err();
    let told = format!("{dialect:?}, {}: {failure:?}", case.name);
    assert_eq!(failure.kind, case.kind, "{told}");
    assert!(failure.detail.contains(case.words), "{told}");
    assert_eq!(server.seen().len(), case.requests, "{told}");
    assert!(!told.contains(KEY) && !format!("{asker:?}").contains(KEY), "{told}");
    assert!(!failure.detail.contains("sk-ant") && !failure.detail.contains("secret page"), "{told}");
    assert!(failure.detail.chars().count() < 400, "{told}");
}

#[tokio::test]
async fn anthropic_says_when_the_context_is_full() {
    let dialect = Dialect::Anthropic;
    let server = Server::playing([Act::ok(dialect.ended("{", "model_context_window_exceeded", ""))]).await;
    let failure =
        asker(dialect.model(&server.url), Limits::default()).ask(&question("v1:1")).await.unwrap_err();
    assert_eq!(failure.kind, OverBudget);
}

#[tokio::test]
async fn a_refusal_in_words_of_its_own_is_one() {
    let body = r#"{"model": "m", "choices": [{"finish_reason": "stop", "message": {"content": null, "refusal": "I can't"}}]}"#;
    let server = Server::playing([Act::ok(body)]).await;
    let asker = asker(Dialect::OpenAi.model(&server.url), Limits::default());
    assert_eq!(asker.ask(&question("v1:1")).await.unwrap_err().kind, Refused);
}

#[tokio::test]
async fn a_provider_that_says_nothing_or_stops_in_the_middle_runs_out_of_time() {
    let limits = Limits { total: Duration::from_secs(6), ..Limits::default() };
    let body = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\": \"msg_1\", ".to_vec();
    let out_of_time = async |dialect: Dialect, act: Act| {
        let server = Server::playing([act]).await;
        let failure =
            asker(dialect.model(&server.url), limits.clone()).ask(&question("v1:1")).await.unwrap_err();
        assert_eq!(failure.kind, Timeout, "{dialect:?}");
        failure.detail
    };
    let (a, b, c, d) = tokio::join!(
        out_of_time(Dialect::Anthropic, Act::Stall(Vec::new())),
        out_of_time(Dialect::OpenAi, Act::Stall(Vec::new())),
        out_of_time(Dialect::Anthropic, Act::Stall(body.clone())),
        out_of_time(Dialect::OpenAi, Act::Stall(body.clone())),
    );
    for detail in [a, b] {
        assert_eq!(detail, "no whole answer in 6 s: the model had said nothing yet");
    }
    for detail in [c, d] {
        assert_eq!(detail, "no whole answer in 6 s: it had come as far as 16 bytes");
    }
}

#[tokio::test]
async fn nobody_there_is_told_as_such() {
    // a port that nobody is given while we have it, and where nobody listens
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = held.local_addr().unwrap().port();
    let limits = Limits { retries: 0, ..Limits::default() };
    for dialect in Dialect::BOTH {
        for (base, words) in [
            (format!("http://127.0.0.1:{port}"), "refused"),
            ("http://no-such-host.invalid".to_owned(), "no-such-host.invalid can't be reached"),
            ("not a url".to_owned(), "should look like https://host"),
            ("ftp://127.0.0.1".to_owned(), "begin with https://"),
            (format!("http://user:{KEY}@127.0.0.1:{port}"), "give the key apart"),
        ] {
            let asker = asker(dialect.model(&base), limits.clone());
            let failure = asker.ask(&question("v1:1")).await.unwrap_err();
            assert_eq!(failure.kind, Unreachable, "{base}: {failure:?}");
            assert!(failure.detail.contains(words) && !failure.detail.contains(KEY), "{base}: {failure:?}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    for dialect in Dialect::BOTH {
        for status in [301, 302, 303, 307, 308] {
            let thief = Server::playing([Act::ok(dialect.answer("{}"))]).await;
            let location: &'static str = format!("location: {}/v1/messages\r\n", thief.url).leak();
            let server = Server::playing([Act::Answer(status, location, String::new())]).await;
            let asker = asker(dialect.model(&server.url), Limits::default());
            let failure = asker.ask(&question("v1:1")).await.unwrap_err();
            assert_eq!(failure.kind, Unreachable, "{failure:?}");
            assert!(failure.detail.contains("redirects"), "{failure:?}");
            assert_eq!((server.seen().len(), thief.seen().len()), (1, 0));
        }
    }
}

#[tokio::test]
async fn what_fails_at_first_and_works_then_is_an_answer() {
    for dialect in Dialect::BOTH {
        let server = Server::playing([
            Act::status(529, dialect.error("overloaded_error", "", "Overloaded")),
            Act::Raw(Vec::new()),
            Act::ok(dialect.answer("{\"category\": \"timeout\"}")),
        ])
        .await;
        let reply =
            asker(dialect.model(&server.url), Limits::default()).ask(&question("v1:1")).await.unwrap();
        assert_eq!(reply.text, "{\"category\": \"timeout\"}");
        assert_eq!(server.seen().len(), 3);
    }
}
