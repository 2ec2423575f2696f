//! Whole answers, for whoever asks the same again: until anything is written, and for a few seconds at most, because pages
//! say how long ago things were.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::auth::{Caller, May};
use crate::failure::Failure;
use crate::{Desk, pack};

/// Old enough to be made anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of one answer, packed as it is sent, and of all: some thousand pages of the table.
const ONE: u64 = 128 << 10;
const ALL: usize = 12 << 20;

/// Beside what an answer says: its headers, its question, its place in the map.
const AROUND: usize = 1 << 10;

/// What makes an answer another one: forms hold what only a session knows.
#[derive(PartialEq, Eq, Hash)]
struct Question {
    address: String,
    caller: String,
    csrf: String,
    may: May,
    packed: bool,
}

struct Answer {
    since: Instant,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Default)]
struct Given {
    version: i64,
    bytes: usize,
    answers: HashMap<Question, Answer>,
}

/// What was answered since the last write.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Given>);

impl Answers {
    fn find(&self, version: i64, question: &Question) -> Option<Response> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = given.answers.get(question).filter(|_| given.version == version)?;
        if known.since.elapsed() > PATIENCE {
            return None;
        }
        let mut response = Response::new(Body::from(known.body.clone()));
        *response.headers_mut() = known.headers.clone();
        Some(response)
    }

    fn keep(&self, version: i64, question: Question, answer: Answer) {
        let size = answer.body.len() + question.address.len() + AROUND;
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if given.version != version || given.bytes + size > ALL {
            *given = Given { version, ..Given::default() };
        }
        // one that was too old is counted twice, until all are forgotten
        given.bytes += size;
        given.answers.insert(question, answer);
    }
}

/// Pages and lists that hold nothing but what the store holds. An experiment's own page shows a log that grows without
/// the store.
fn is_of_the_store(path: &str) -> bool {
    match path {
        "/" | "/experiments" | "/groups" | "/statistics" => true,
        "/admin/experiments" | "/api/v1/experiments" | "/api/v1/groups" | "/api/v1/statistics" => true,
        _ => {
            let below =
                |beginning| path.strip_prefix(beginning).is_some_and(|rest: &str| !rest.contains('/'));
            below("/groups/") || below("/api/v1/groups/") || is_analysis(path)
        }
    }
}

fn is_analysis(path: &str) -> bool {
    path.strip_prefix("/experiments/").and_then(|rest| rest.strip_suffix("/analysis")).is_some()
}

/// Stands behind who asks and before what packs.
pub(crate) async fn answer(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    if *request.method() != Method::GET || !is_of_the_store(request.uri().path()) {
        return next.run(request).await;
    }
    let Some(caller) = request.extensions().get::<Caller>() else { return next.run(request).await };
    let question = Question {
        address: request.uri().path_and_query().map_or("/", |it| it.as_str()).to_owned(),
        caller: caller.name.clone(),
        csrf: caller.csrf.clone(),
        may: caller.may,
        packed: pack::takes_gzip(request.headers()),
    };
    // before the answer: what is written while it is made makes it old
    let Ok(version) = desk.store().version().await else { return next.run(request).await };
    if let Some(known) = desk.answers().find(version, &question) {
        return known;
    }
    let response = next.run(request).await;
    let length = response.body().size_hint().exact();
    let is_small = length.is_some_and(|length| length <= ONE);
    if response.status() != StatusCode::OK || !is_small || response.headers().contains_key(header::SET_COOKIE)
    {
        return response;
    }
    let (parts, body) = response.into_parts();
    // it is there already: nothing is waited for
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return Failure::internal().into_response();
    };
    let answer = Answer { since: Instant::now(), headers: parts.headers.clone(), body: body.clone() };
    desk.answers().keep(version, question, answer);
    Response::from_parts(parts, Body::from(body))
}
