//! Live events: what happens in the store, whoever does it, told to everybody who looks on.
//!
//! One task asks the store for what is new, twice a second while anybody listens. Whoever falls behind, or comes back and
//! says what it saw last, is given what it missed out of the store, as fast as it reads; whoever reads nothing any more
//! is let go, as everywhere here.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
/// So many events wait for a reader before it is behind.
const BUFFER: usize = 1024;
/// So many are asked for at once.
const PAGE: usize = 200;

pub(crate) struct Live {
    events: broadcast::Sender<Arc<Happening>>,
    clients: Arc<Semaphore>,
    most: usize,
    asking: AtomicBool,
    /// Up to where everything was told; nothing while nobody listens.
    told: Mutex<Option<i64>>,
}

impl Live {
    pub(crate) fn new(most: usize) -> Self {
        let (events, _) = broadcast::channel(BUFFER);
        Self {
            events,
            clients: Arc::new(Semaphore::new(most)),
            most,
            asking: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    /// How many listen.
    pub(crate) fn clients(&self) -> usize {
        self.most - self.clients.available_permits()
    }

    /// From now on; `now` is the last that has happened.
    fn listen(&self, now: i64) -> broadcast::Receiver<Arc<Happening>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
        self.events.subscribe()
    }

    /// From where on somebody is to be told.
    fn wanted(&self) -> Option<i64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if self.events.receiver_count() == 0 {
            *told = None;
        }
        *told
    }

    fn tell(&self, happening: Happening) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(happening.id);
        // nobody may listen any more
        _ = self.events.send(Arc::new(happening));
    }
}

/// Asks the store until the desk closes.
async fn ask(desk: Desk) {
    let mut ending = desk.ending();
    loop {
        let live = desk.live();
        if let Some(since) = live.wanted() {
            // a store that can't be read for a moment costs nothing: the same is asked again
            let new = desk.store().happenings(since, PAGE).await.unwrap_or_default();
            let more = new.len() == PAGE;
            new.into_iter().for_each(|happening| live.tell(happening));
            if more {
                continue;
            }
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
    if live.most == 0 {
        let text = "there are no live events here: load the page again, or ask for what is new";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "no_live_events", text));
    }
    let permit = Arc::clone(&live.clients).try_acquire_owned().map_err(|_| {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_clients", "too many look on already")
            .again_after(30)
    })?;
    let now = desk.store().latest_happening().await?;
    let receiver = live.listen(now);
    if !live.asking.swap(true, Ordering::Relaxed) {
        tokio::spawn(ask(desk.clone()));
    }
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let since = header.and_then(|value| value.parse().ok()).or(since);
    let follower = Follower {
        desk: desk.clone(),
        receiver,
        seen: since.map_or(now, |since| since.min(now)),
        missed: VecDeque::new(),
        behind: true,
    };
    let events = follower.follow().map(|happening| Ok::<_, Infallible>(event(&happening)));
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

/// One who looks on, wherever it stands.
struct Follower {
    desk: Desk,
    receiver: broadcast::Receiver<Arc<Happening>>,
    seen: i64,
    missed: VecDeque<Happening>,
    /// Has more happened than it was told?
    behind: bool,
}

impl Follower {
    /// What it has not seen, in its order.
    fn follow(self) -> impl Stream<Item = Arc<Happening>> {
        stream::unfold(self, |mut it| async move {
            let next = it.next().await?;
            it.seen = next.id;
            Some((next, it))
        })
    }

    async fn next(&mut self) -> Option<Arc<Happening>> {
        loop {
            if let Some(missed) = self.missed.pop_front() {
                return Some(Arc::new(missed));
            }
            if self.behind {
                // a browser whose stream ends comes back by itself
                self.missed = self.desk.store().happenings(self.seen, PAGE).await.ok()?.into();
                self.behind = !self.missed.is_empty();
                continue;
            }
            match self.receiver.recv().await {
                Ok(happening) if happening.id <= self.seen => {}
                Ok(happening) => return Some(happening),
                Err(broadcast::error::RecvError::Lagged(_)) => self.behind = true,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

fn event(happening: &Happening) -> Event {
    let event = Event::default().id(happening.id.to_string()).event(happening.what.as_str());
    let data = serde_json::to_string(&happening.experiment).unwrap_or_default();
    event.data(data)
}
