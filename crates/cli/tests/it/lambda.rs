//! `coroner lambda` under a runtime that hands over what it is given: each kind of event, packed and binary bodies, what goes on
//! beside requests, and what is no event of ours.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::rig::{Home, text, with_input};

/// The runtime's interface: an event is taken by whoever asks for the next, and what is posted is the answer.
struct Runtime {
    address: String,
    events: Sender<(Value, Duration)>,
    answers: Receiver<(String, Value)>,
}

impl Runtime {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (events, waiting) = channel::<(Value, Duration)>();
        let (answered, answers) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some((path, body)) = read(&stream) else { continue };
                let (head, body) = if path.ends_with("/next") {
                    let Ok((event, time)) = waiting.recv() else { return };
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
                    let head = format!(
                        "lambda-runtime-aws-request-id: r1\r\nlambda-runtime-deadline-ms: {}\r\n\
                         lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-central-1:1:function:desk\r\n",
                        (now + time).as_millis()
                    );
                    (head, event.to_string())
                } else {
                    let what = path.rsplit('/').next().unwrap().to_owned();
                    _ = answered.send((what, serde_json::from_slice(&body).unwrap()));
                    (String::new(), "{}".to_owned())
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n{head}content-length: {length}\r\n\r\n{body}"
                );
                _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, events, answers }
    }
}

fn read(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut lines: VecDeque<String> = VecDeque::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push_back(line.to_lowercase()),
        }
    }
    let path = lines.pop_front()?.split(' ').nth(1)?.to_owned();
    let length =
        lines.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, body))
}

/// A function that runs until it is dropped.
struct Function {
    runtime: Runtime,
    child: Child,
}

impl Function {
    fn start(home: &Home) -> Self {
        let runtime = Runtime::start();
        let mut command = home.coroner(&["lambda"]);
        command.env("AWS_LAMBDA_RUNTIME_API", &runtime.address);
        let complaints = std::fs::File::create(home.path().join("complaints")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(complaints).spawn().unwrap();
        Self { runtime, child }
    }

    fn within(&self, event: &Value, time: Duration) -> (String, Value) {
        self.runtime.events.send((event.clone(), time)).unwrap();
        self.runtime.answers.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    fn answer(&self, event: &Value) -> Value {
        let (what, answer) = self.within(event, Duration::from_secs(60));
        assert_eq!(what, "response", "{answer}");
        answer
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// As a function URL sends it, and an HTTP API.
fn url(method: &str, path: &str, query: &str, headers: Value, body: Option<(&str, bool)>) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": {
            "accountId": "anonymous", "apiId": "abc", "domainName": "abc.lambda-url.eu-central-1.on.aws",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "test"},
            "requestId": "1", "routeKey": "$default", "stage": "$default",
            "time": "29/Nov/2026:03:00:00 +0000", "timeEpoch": 1_795_921_200_000_u64
        },
        "body": body.map(|(text, _)| text), "isBase64Encoded": body.is_some_and(|(_, packed)| packed)
    })
}

/// As a REST API sends it, under a stage.
fn rest(method: &str, path: &str, headers: &Value, body: Option<&str>) -> Value {
    let many: serde_json::Map<_, _> =
        headers.as_object().unwrap().iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
    json!({
        "resource": "/{proxy+}", "path": path, "httpMethod": method, "headers": headers, "multiValueHeaders": many,
        "queryStringParameters": {"limit": "5"}, "multiValueQueryStringParameters": {"limit": ["5"]},
        "pathParameters": {"proxy": path}, "stageVariables": null,
        "requestContext": {
            "accountId": "1", "apiId": "abc", "httpMethod": method, "identity": {"sourceIp": "203.0.113.8"},
            "path": format!("/prod{path}"), "protocol": "HTTP/1.1", "requestId": "1", "resourcePath": "/{proxy+}",
            "stage": "prod", "requestTimeEpoch": 1_795_921_200_000_u64
        },
        "body": body, "isBase64Encoded": false
    })
}

fn body(answer: &Value) -> String {
    answer["body"].as_str().unwrap_or_default().to_owned()
}

/// What `gzip | base64` makes of it.
fn packed(text: &str) -> String {
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", "gzip -c | base64 -w0"]);
    String::from_utf8(with_input(bash, text.as_bytes()).stdout).unwrap()
}

fn unpacked(text: &str) -> String {
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", "base64 -d | gzip -dc"]);
    String::from_utf8(with_input(bash, text.as_bytes()).stdout).unwrap()
}

#[test]
fn every_kind_of_event_is_answered_by_the_same_desk() {
    let home = Home::new();
    let token = |name: &str, scope: &str| {
        let made = home.output(&["token", "add", name, "--scope", scope]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        format!("Bearer {}", text(&made.stdout).trim())
    };
    let (reports, reads) = (token("ci", "report"), token("eyes", "read"));
    let function = Function::start(&home);
    let answer = |event: Value| function.answer(&event);

    let healthy = answer(url("GET", "/healthz", "", json!({}), None));
    assert_eq!(
        (healthy["statusCode"].as_u64(), healthy["isBase64Encoded"].as_bool()),
        (Some(200), Some(false))
    );
    // everybody is asked who they are
    let refused = answer(url("GET", "/api/v1/experiments", "", json!({}), None));
    assert_eq!(refused["statusCode"], 401, "{refused}");
    let page = answer(url("GET", "/", "", json!({"accept": "text/html"}), None));
    assert_eq!(
        (&page["statusCode"], &page["headers"]["location"]),
        (&json!(303), &json!("/login?next=/")),
        "{page}"
    );

    // a log as a body, packed; the query counts, and it is kept once
    let log = "step 1\nModuleNotFoundError: No module named 'scipy'\n";
    let headers = json!({"authorization": reports, "content-type": "text/plain", "content-encoding": "gzip"});
    let report = url(
        "POST",
        "/api/v1/failures",
        "experiment_id=exp-1&exit_code=1",
        headers,
        Some((&packed(log), true)),
    );
    let told = answer(report.clone());
    assert!(body(&told).contains("import_error"), "{told}");
    assert!(body(&answer(report)).contains("\"known\":true"));
    // JSON through an API with a stage, which is no part of the path
    let headers = json!({"Authorization": reports, "Content-Type": "application/json"});
    let sent = r#"{"experiment_id": "exp-2", "error_message": "CUDA out of memory", "exit_code": 1}"#;
    let told = answer(rest("POST", "/api/v1/failures", &headers, Some(sent)));
    assert!(body(&told).contains("resource_error"), "{told}");

    let list = answer(rest("GET", "/admin/experiments", &json!({"Authorization": reads}), None));
    let list: Value = serde_json::from_str(&body(&list)).unwrap();
    assert_eq!(list["total_count"], 2, "{list}");
    // what is packed comes as base64, pages and files alike
    let reader = json!({"authorization": reads, "accept": "text/html", "accept-encoding": "gzip"});
    let page = answer(url("GET", "/", "", reader, None));
    assert_eq!(
        (&page["isBase64Encoded"], &page["headers"]["content-encoding"]),
        (&json!(true), &json!("gzip")),
        "{page}"
    );
    let markup = unpacked(&body(&page));
    let file = markup.split('"').find(|it| it.starts_with("/assets/") && it.ends_with("desk.css")).unwrap();
    let style = answer(url("GET", file, "", json!({}), None));
    assert_eq!(style["headers"]["cache-control"], "public, max-age=31536000, immutable");
    let mine = answer(url("GET", "/api/v1/experiments/exp-1/log", "", json!({"authorization": reads}), None));
    assert_eq!(body(&mine), log, "{mine}");

    // what would never end is refused, and the page does without
    let live = answer(url("GET", "/api/v1/events", "", json!({"authorization": reads}), None));
    assert!(live["statusCode"] == 503 && body(&live).contains("no_live_events"), "{live}");
    // no stage, no path: what is wrong with a request is said as everywhere
    let wrong =
        answer(url("POST", "/api/v1/failures", "", json!({"authorization": reports}), Some(("{", false))));
    assert!(wrong["statusCode"].as_u64().is_some_and(|status| (400..500).contains(&status)), "{wrong}");
    let missing = answer(url("GET", "/nowhere", "", json!({"authorization": reads}), None));
    assert_eq!(missing["statusCode"], 404);
}

#[test]
fn what_a_desk_does_all_the_time_is_done_when_a_timer_says_so() {
    let home = Home::new();
    let made = home.output(&["token", "add", "ci", "--scope", "report"]);
    let token = format!("Bearer {}", text(&made.stdout).trim());
    let function = Function::start(&home);
    let headers = json!({"authorization": token, "content-type": "application/json"});
    let begin = r#"{"experiment_id": "run-7", "command": "python train.py", "heartbeat_seconds": 5}"#;
    let begun = function.answer(&url("POST", "/api/v1/experiments", "", headers, Some((begin, false))));
    assert!(begun["statusCode"].as_u64().is_some_and(|it| it < 300), "{begun}");
    // it falls silent; nobody but the timer notices
    let closed = (0..400).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        function.answer(&json!({"coroner": "upkeep"}))["closed"] == 1
    });
    assert!(closed);
    let shown = home.output(&["show", "run-7", "--format", "json"]);
    assert!(text(&shown.stdout).contains("infrastructure"), "{}", text(&shown.stdout));
    assert_eq!(function.answer(&json!({"coroner": "prune"}))["closed"], 0);
    // what is none of ours is an error of the function, which an alarm counts
    for event in [json!({"coroner": "dance"}), json!({"Records": []}), json!(7)] {
        let (what, said) = function.within(&event, Duration::from_secs(60));
        assert!(what == "error" && said.to_string().contains("upkeep"), "{what} {said}");
    }
    // and the function goes on
    assert_eq!(function.answer(&url("GET", "/healthz", "", json!({}), None))["statusCode"], 200);
    // with no time left there is an answer all the same
    let late = function.within(&url("GET", "/healthz", "", json!({}), None), Duration::from_millis(900));
    assert!(late.0 == "response" && [200, 503].contains(&late.1["statusCode"].as_u64().unwrap()), "{late:?}");
    let complaints = std::fs::read_to_string(home.path().join("complaints")).unwrap();
    assert!(complaints.contains("coroner user add"), "{complaints}");
}

#[test]
fn elsewhere_it_says_what_to_do() {
    let home = Home::new();
    let output = home.output(&["lambda"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("AWS_LAMBDA_RUNTIME_API") && said.contains("coroner serve"), "{said}");
}
