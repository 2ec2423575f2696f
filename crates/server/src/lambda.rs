//! The desk as a function of AWS Lambda: requests of API Gateway and of function URLs are answered by the same routes, and a
//! timer's events stand for what a desk does all the time.
//!
//! Lambda's runtime is two addresses on this machine: one gives the next event, the other takes its answer. Its Rust library
//! would do no more here, and would change how half of the program's dependencies are built.

mod event;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tower::ServiceExt;

use crate::failure::Failure;
use crate::serve::tend;
use crate::{Desk, guard, router};
use event::{Event, Task};

/// An answer has at most 6 MB as text; what is packed is written in base64, a third longer.
const LARGEST: usize = 4 << 20;
/// An event has at most 6 MB; what comes from the runtime beyond that is none.
const EVENT: usize = 16 << 20;
/// So long before the function's time is up an answer is given.
const RESERVE: Duration = Duration::from_secs(1);
/// What stands in front waits no longer for an answer: CloudFront 30 seconds, API Gateway 29.
const PATIENCE: Duration = Duration::from_secs(28);
/// Rules that others have switched are heeded after so many seconds.
const HEEDED: i64 = 30;

/// The runtime can't be used, and so nothing can be answered.
#[derive(Debug, thiserror::Error)]
#[error("Lambda's runtime at {address} can't be used: {detail}")]
pub struct RuntimeError {
    address: String,
    detail: String,
}

/// What came of a timer's event.
#[derive(Debug, Default, Serialize)]
struct Done {
    closed: usize,
    alerts_sent: u64,
}

/// Answers the events of the runtime at `address`, one after the other, for as long as it gives any.
pub async fn serve_lambda(desk: Desk, address: &str) -> Result<(), RuntimeError> {
    let function = Function { routes: router(desk.clone()), desk, heeded: AtomicI64::new(i64::MIN) };
    let runtime = Runtime { client: Client::builder(TokioExecutor::new()).build_http(), address };
    loop {
        let (head, event) = runtime.ask(Method::GET, "next", Bytes::new()).await?;
        let text = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
        let id = text("lambda-runtime-aws-request-id").unwrap_or_default();
        let deadline = text("lambda-runtime-deadline-ms").and_then(|it| it.parse().ok()).unwrap_or_default();
        let (kind, answer) = match function.answer(&event, left(deadline)).await {
            Ok(answer) => ("response", answer),
            Err(why) => {
                guard::complain(&why);
                ("error", serde_json::json!({"errorType": "Event", "errorMessage": why}))
            }
        };
        runtime.ask(Method::POST, &format!("{id}/{kind}"), Bytes::from(answer.to_string())).await?;
    }
}

/// Until when an answer must be given, so that it comes before Lambda gives the function up.
fn left(deadline: u64) -> Duration {
    let ends = SystemTime::UNIX_EPOCH + Duration::from_millis(deadline);
    ends.duration_since(SystemTime::now()).unwrap_or_default().saturating_sub(RESERVE)
}

struct Runtime<'a> {
    client: Client<HttpConnector, Body>,
    address: &'a str,
}

impl Runtime<'_> {
    async fn ask(&self, method: Method, what: &str, body: Bytes) -> Result<(HeaderMap, Bytes), RuntimeError> {
        let failed = |detail: String| RuntimeError { address: self.address.to_owned(), detail };
        let address = format!("http://{}/2018-06-01/runtime/invocation/{what}", self.address);
        let request = Request::builder().method(method).uri(address).body(Body::from(body));
        let request = request.map_err(|e| failed(e.to_string()))?;
        let response = self.client.request(request).await.map_err(|e| failed(e.to_string()))?;
        let (head, body) = response.into_parts();
        let body = to_bytes(Body::new(body), EVENT).await.map_err(|e| failed(e.to_string()))?;
        match head.status.is_success() {
            true => Ok((head.headers, body)),
            false => Err(failed(format!("{what}: it answers {}", head.status))),
        }
    }
}

struct Function {
    desk: Desk,
    routes: Router,
    /// When rules that are switched off were last asked for.
    heeded: AtomicI64,
}

impl Function {
    async fn answer(&self, event: &[u8], left: Duration) -> Result<Value, String> {
        match Event::read(event)? {
            Event::Timer(task) => {
                let done = self.timed(task, left).await?;
                serde_json::to_value(done).map_err(|e| e.to_string())
            }
            Event::Request(mut event) => {
                self.heed().await;
                let request = event.request()?;
                let (head, body) = self.respond(request, left.min(PATIENCE)).await.into_parts();
                // it was put together in memory
                let body = to_bytes(body, usize::MAX).await.map_err(|e| e.to_string())?;
                Ok(event.answer(&head, &body))
            }
        }
    }

    /// Another instance of the function is told of a rule that is switched, not this one.
    async fn heed(&self) {
        let now = Timestamp::now().as_second();
        if now.saturating_sub(self.heeded.load(Ordering::Relaxed)) < HEEDED {
            return;
        }
        match self.desk.heed_silence().await {
            Ok(()) => self.heeded.store(now, Ordering::Relaxed),
            Err(e) => guard::complain(&format!("rules that are switched off can't be read: {e}")),
        }
    }

    async fn respond(&self, request: Request<Body>, left: Duration) -> Response {
        let path = request.uri().path().to_owned();
        let begun = tokio::time::Instant::now();
        let routed = async {
            let response = match self.routes.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let (head, body) = response.into_parts();
            match to_bytes(body, LARGEST).await {
                Ok(bytes) => Response::from_parts(head, Body::from(bytes)),
                Err(_) => too_large().render(&path, "-"),
            }
        };
        let response = match tokio::time::timeout(left, routed).await {
            Ok(response) => response,
            Err(_) => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the answer took too long")
                .again_after(5)
                .render(&path, "-"),
        };
        // after the answer nothing goes on here: whoever has reported waits for what a model says
        self.desk.settled(left.saturating_sub(begun.elapsed())).await;
        response
    }

    async fn timed(&self, task: Task, left: Duration) -> Result<Done, String> {
        let mut done = Done::default();
        match task {
            Task::Upkeep => {
                done.closed = tend(&self.desk, Timestamp::UNIX_EPOCH).await;
                if let Some(alerts) = &self.desk.settings().alerts {
                    alerts.expect().await.map_err(|e| e.to_string())?;
                    let told = alerts.tell(left).await.map_err(|e| e.to_string())?;
                    done.alerts_sent = told.sent;
                    told.failures.iter().for_each(|why| guard::complain(why));
                }
            }
            Task::Prune => match tokio::time::timeout(left, self.desk.forget()).await {
                Ok(forgotten) => forgotten.map_err(|e| e.to_string())?,
                Err(_) => {
                    return Err(
                        "there was no time to forget all that is old; the next run goes on".to_owned()
                    );
                }
            },
        }
        Ok(done)
    }
}

fn too_large() -> Failure {
    let text = "the answer is larger than a function of Lambda can give (4 MiB)";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_large", text)
        .hint("ask for a part of a log with the header range, or for less; `coroner show` on a machine gives all of it")
}
