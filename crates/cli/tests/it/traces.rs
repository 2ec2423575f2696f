//! Traces of the desk, sent to a collector that listens here, and to one that does not.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;

use crate::rig::{HeldPort, Home, text};
use crate::serve::Serving;

/// A request to a collector: its head, and what its body says.
type Exported = (String, ExportTraceServiceRequest);

/// A collector: it takes OTLP over HTTP, as protobuf.
struct Collector {
    address: String,
    taken: Arc<Mutex<Vec<Exported>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let taken: Arc<Mutex<Vec<Exported>>> = Arc::default();
        let log = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, log) = (stream.unwrap(), Arc::clone(&log));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(&stream);
                    while let Some((head, body)) = request(&mut reader) {
                        log.lock().unwrap().push((head, ExportTraceServiceRequest::decode(&*body).unwrap()));
                        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                        (&stream).write_all(answer.as_bytes()).unwrap();
                    }
                });
            }
        });
        Self { address, taken }
    }

    fn taken(&self) -> Vec<Exported> {
        self.taken.lock().unwrap().clone()
    }

    fn spans(&self) -> Vec<Span> {
        let resources = self.taken().into_iter().flat_map(|(_, request)| request.resource_spans);
        resources.flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
    }
}

/// Head, in small letters, and body of the next request of a connection.
fn request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn word(attributes: &[KeyValue], name: &str) -> Option<String> {
    match attributes.iter().find(|it| it.key == name)?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::DoubleValue(number) => Some(number.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

fn named(spans: &[Span], name: &str) -> Span {
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {names:?}")).clone()
}

const ANYWHERE: [&str; 2] = ["--listen", "127.0.0.1:0"];
const JSON: &str = "content-type: application/json\r\n";
const FAILURE: &str = r#"{"experiment_id": "the-id-of-it", "error_message": "ModuleNotFoundError: No module named 'hunter22'",
    "logs": "a very private line\nModuleNotFoundError: No module named 'hunter22'\n", "exit_code": 1}"#;

#[test]
fn requests_and_diagnoses_are_traced_and_nothing_of_what_was_sent() {
    let (home, collector) = (Home::new(), Collector::start());
    let endpoint = format!("http://{}", collector.address);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=abc"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab"),
    ];
    let desk = Serving::start_with(&home, &[&ANYWHERE[..], &["--offline"]].concat(), &variables);
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let asker = format!(
        "{JSON}x-request-id: mine-1\r\nauthorization: Bearer tok_sesame\r\ntraceparent: 00-{trace}-{parent}-01\r\n"
    );
    let answer = desk.ask("POST /api/v1/failures", &asker, FAILURE);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(desk.ask("GET /api/v1/experiments/the-id-of-it", "", "").starts_with("HTTP/1.1 200"));
    assert!(desk.ask("GET /experiments?q=sesame", "", "").starts_with("HTTP/1.1 200"));
    assert!(
        desk.ask("GET /nothing/sesame?x=sesame", "traceparent: 00-sesame-01\r\n", "")
            .starts_with("HTTP/1.1 404")
    );
    assert!(desk.ask("SESAME /experiments", "", "").starts_with("HTTP/1.1 405"));
    assert_eq!(desk.end(), 0, "what was recorded last is sent");

    let taken = collector.taken();
    let (head, first) = &taken[0];
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf\r\n")
            && head.contains("x-collector-key: abc\r\n"),
        "{head}"
    );
    let resource = &first.resource_spans[0].resource.as_ref().unwrap().attributes;
    assert_eq!(word(resource, "service.name").as_deref(), Some("coroner"));
    assert_eq!(word(resource, "deployment.environment.name").as_deref(), Some("lab"));

    let spans = collector.spans();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let report = named(&spans, "POST /api/v1/failures");
    assert_eq!((hex(&report.trace_id).as_str(), hex(&report.parent_span_id).as_str()), (trace, parent));
    assert_eq!(report.kind, SpanKind::Server as i32);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/failures"),
        ("http.response.status_code", "201"),
        ("server.address", "127.0.0.1"),
        ("url.scheme", "http"),
        ("coroner.request.id", "mine-1"),
    ] {
        assert_eq!(word(&report.attributes, name).as_deref(), Some(value), "{name}");
    }
    let diagnosis = named(&spans, "diagnose");
    assert_eq!((&diagnosis.trace_id, &diagnosis.parent_span_id), (&report.trace_id, &report.span_id));
    for (name, value) in [
        ("coroner.failure.category", "import_error"),
        ("coroner.failure.severity", "high"),
        ("coroner.failure.origin", "candidate"),
    ] {
        assert_eq!(word(&diagnosis.attributes, name).as_deref(), Some(value), "{name}");
    }
    assert!(
        word(&diagnosis.attributes, "coroner.diagnosis.rule").is_some_and(|rule| rule.contains("module"))
    );
    assert!(diagnosis.start_time_unix_nano >= report.start_time_unix_nano);
    assert!(diagnosis.end_time_unix_nano <= report.end_time_unix_nano);

    let read = named(&spans, "GET /api/v1/experiments/{id}");
    assert!(read.parent_span_id.is_empty() && read.trace_id != report.trace_id, "{read:?}");
    let nowhere = named(&spans, "GET");
    assert_eq!(word(&nowhere.attributes, "http.response.status_code").as_deref(), Some("404"));
    assert_eq!(word(&nowhere.attributes, "http.route"), None);
    let failed = |span: &Span| span.status.as_ref().is_some_and(|it| it.code == StatusCode::Error as i32);
    assert!(!failed(&nowhere), "what a client does wrong is no error of ours");
    let odd = named(&spans, "HTTP /experiments");
    assert_eq!(word(&odd.attributes, "http.request.method").as_deref(), Some("_OTHER"));

    let all = format!("{:?}", taken.iter().map(|(_, request)| request).collect::<Vec<_>>());
    for secret in ["the-id-of-it", "hunter22", "private", "sesame", "abc"] {
        assert!(!all.to_lowercase().contains(secret), "{secret} was recorded: {all}");
    }
}

#[test]
fn a_collector_that_is_down_is_told_once_and_costs_nothing_else() {
    let home = Home::new();
    let held = HeldPort::new();
    let place = held.address();
    home.file(
        ".config/coroner/config.toml",
        &format!("[telemetry]\nendpoint = \"http://{place}/path-sesame\"\n"),
    );
    let doctor = text(&home.output(&["doctor"]).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(doctor.contains(&format!("sends them to {place}, where nobody can be reached")), "{doctor}");
    // every tenth of a second anew
    let desk = Serving::start_with(&home, &ANYWHERE, &[("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    let settings = desk.ask("GET /settings", "", "");
    assert!(settings.contains(&format!("sent to {place}")), "{settings}");
    let complaints = || std::fs::read_to_string(home.path().join("complaints")).unwrap();
    crate::rig::until("the warning", || complaints().contains("traces can't be sent"));
    let answer = desk.ask("POST /api/v1/failures", JSON, FAILURE);
    assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("import_error"), "{answer}");
    assert_eq!(desk.end(), 0);
    let said = complaints();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(&format!("coroner: traces can't be sent to {place} (")), "{said}");
    assert!(!said.contains("sesame"), "{said}");
}

#[test]
fn an_address_that_is_none_is_named() {
    let home = Home::new();
    for (endpoint, said) in [
        ("localhost:4318", "expected an address such as http://127.0.0.1:4318"),
        ("http://ada:sesame@collector:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
    ] {
        let path = home.file("wrong.toml", &format!("[telemetry]\nendpoint = \"{endpoint}\"\n"));
        let refused = home.output(&["list", "--config", &path]);
        assert_eq!(refused.status.code(), Some(2), "{endpoint}");
        let error = text(&refused.stderr);
        assert!(error.contains("wrong.toml:2: telemetry.endpoint: ") && error.contains(said), "{error}");
        assert!(!error.contains("sesame"), "{error}");
    }
    // a variable is not ours alone: it is told, and the desk works
    let desk = Serving::start_with(&home, &ANYWHERE, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector")]);
    assert!(desk.ask("GET /healthz", "", "").starts_with("HTTP/1.1 200"));
    assert_eq!(desk.end(), 0);
    let said = std::fs::read_to_string(home.path().join("complaints")).unwrap();
    assert!(said.contains("variable OTEL_EXPORTER_OTLP_ENDPOINT: expected an address"), "{said}");
    // and switched off by the variable that switches all of it off
    let collector = Collector::start();
    let endpoint = format!("http://{}", collector.address);
    let off = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_SDK_DISABLED", "true")];
    let desk = Serving::start_with(&home, &ANYWHERE, &off);
    assert!(desk.ask("GET /healthz", "", "").starts_with("HTTP/1.1 200"));
    assert_eq!(desk.end(), 0);
    assert!(collector.taken().is_empty());
}
