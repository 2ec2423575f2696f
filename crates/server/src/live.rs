//! Live events: what happens in the store, whoever does it, told to everybody who looks on.
//!
//! One task asks the store for what is new, twice a second while anybody listens. Whoever reads too slowly to keep up is
//! let go; a browser comes back by itself and says what it saw last.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use coroner_store::Happening;
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::sync::{Semaphore, broadcast};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Desk;
use crate::api::parameters::Params;
use crate::failure::{Answer, Failure};

/// How often the store is asked.
const PERIOD: Duration = Duration::from_millis(500);
/// So many events wait for a slow reader.
const BUFFER: usize = 256;
/// So much of what was missed is made up for.
const MADE_UP: usize = 1000;

pub(crate) struct Live {
    events: broadcast::Sender<Arc<Happening>>,
    clients: Arc<Semaphore>,
    most: usize,
    asking: AtomicBool,
}

impl Live {
    pub(crate) fn new(most: usize) -> Self {
        let (events, _) = broadcast::channel(BUFFER);
        Self { events, clients: Arc::new(Semaphore::new(most)), most, asking: AtomicBool::new(false) }
    }

    /// How many listen.
    pub(crate) fn clients(&self) -> usize {
        self.most - self.clients.available_permits()
    }
}

/// Asks the store until the desk closes.
async fn ask(desk: Desk) {
    let mut ending = desk.ending();
    let mut last = None;
    loop {
        let live = desk.live();
        if live.events.receiver_count() == 0 {
            last = None;
        } else if let Some(since) = last {
            // a store that can't be read for a moment costs nothing: the same is asked again
            for happening in desk.store().happenings(since, 500).await.unwrap_or_default() {
                last = Some(happening.id);
                _ = live.events.send(Arc::new(happening));
            }
        } else {
            last = desk.store().latest_happening().await.ok();
        }
        tokio::select! {
            _ = ending.wait_for(|ending| *ending) => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Since {
    /// The id of the last event that was seen, for those that can't send the header `last-event-id`.
    since: Option<i64>,
}

/// Server-sent events: `started`, `ended` and `diagnosed`, each with the experiment as the list shows it.
#[utoipa::path(get, path = "/api/v1/events", tag = "live", params(Since),
    responses((status = 200, content_type = "text/event-stream"), (status = 503, description = "too many clients")))]
async fn events(
    State(desk): State<Desk>,
    Params(Since { since }): Params<Since>,
    headers: HeaderMap,
) -> Answer<Response> {
    let live = desk.live();
    let permit = Arc::clone(&live.clients).try_acquire_owned().map_err(|_| {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_clients", "too many look on already")
            .again_after(30)
    })?;
    let receiver = live.events.subscribe();
    if !live.asking.swap(true, Ordering::Relaxed) {
        tokio::spawn(ask(desk.clone()));
    }
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let since = header.and_then(|value| value.parse().ok()).or(since);
    let missed = match since {
        Some(since) => desk.store().happenings(since, MADE_UP).await?,
        None => Vec::new(),
    };
    let seen = missed.last().map_or(i64::MIN, |happening| happening.id);
    let missed = stream::iter(missed.into_iter().map(Arc::new));
    let events = missed.chain(after(receiver, seen)).map(|happening| Ok::<_, Infallible>(event(&happening)));
    let mut ending = desk.ending();
    let events = events.take_until(async move { _ = ending.wait_for(|ending| *ending).await });
    // the permit goes with the stream
    let events = events.map(move |event| {
        let _held = &permit;
        event
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
    // a proxy must not wait until it has a whole answer
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What comes; ends for a reader that fell behind.
fn after(receiver: broadcast::Receiver<Arc<Happening>>, seen: i64) -> impl Stream<Item = Arc<Happening>> {
    stream::unfold(receiver, move |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(happening) if happening.id <= seen => {}
                Ok(happening) => return Some((happening, receiver)),
                Err(_) => return None,
            }
        }
    })
}

fn event(happening: &Happening) -> Event {
    let event = Event::default().id(happening.id.to_string()).event(happening.what.as_str());
    let data = serde_json::to_string(&happening.experiment).unwrap_or_default();
    event.data(data)
}
