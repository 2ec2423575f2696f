//! Listens, takes connections up to a limit, and closes in order: what is being answered is finished first.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use coroner_diagnosis::Diagnosis;
use coroner_store::{Outcome, Owner, Status};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::patience::Patient;
use crate::{Desk, router};

/// Lines and headers of a request together.
const HEAD_BYTES: usize = 32 << 10;
const HEADERS: usize = 64;
/// How often silent runs are looked for.
const UPKEEP: Duration = Duration::from_secs(5);
/// So long after its start a desk has time for what is old.
const SETTLED: Duration = Duration::from_secs(600);
/// A clock that goes on by so much more or less than time does has been set.
const LEAP: Duration = Duration::from_secs(30);
/// How long answers may take that are being given when the desk closes.
const FAREWELL: Duration = Duration::from_secs(10);

/// Answers requests on `listener` until `shutdown` is done.
pub async fn serve(desk: Desk, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let routes = router(desk.clone());
    let limits = &desk.settings().limits;
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES);
    let connections = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let upkeep = tokio::spawn(upkeep(desk.clone()));
    let forgetting = tokio::spawn(forget(desk.clone()));
    let (alerts, ending) = (desk.settings().alerts.clone(), desk.ending());
    let telling =
        alerts.map(|alerts| tokio::spawn(async move { alerts.watch(ending, crate::guard::complain).await }));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let permit = Arc::clone(&connections).acquire_owned();
        let taken = async {
            let permit = permit.await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = &mut shutdown => break,
            taken = taken => taken,
        };
        let Ok((stream, from)) = accepted else {
            // out of file handles, or a client that is gone again: neither ends the desk
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        _ = stream.set_nodelay(true);
        let routes = routes.clone().map_request(move |mut request: axum::http::Request<_>| {
            request.extensions_mut().insert(ConnectInfo(from));
            request.map(axum::body::Body::new)
        });
        let connection = server.serve_connection(
            TokioIo::new(Patient::new(stream, limits.idle)),
            TowerToHyperService::new(routes),
        );
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            // a client that breaks off is its own affair
            _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    desk.end();
    // whoever reads slowly is not waited for
    let farewell = tokio::time::Instant::now() + FAREWELL;
    _ = tokio::time::timeout_at(farewell, graceful.shutdown()).await;
    // those who have gone don't hold a connection open, and what they began is done all the same
    _ = tokio::time::timeout_at(farewell, desk.at_rest()).await;
    upkeep.abort();
    // it goes in small steps, each of them whole
    forgetting.abort();
    if let Some(telling) = telling {
        // a message that is under way is not cut off, so that it need not be sent again
        _ = tokio::time::timeout(FAREWELL, telling).await;
    }
    Ok(())
}

async fn explained(desk: &Desk, number: u64) -> Option<Diagnosis> {
    let experiment = desk.store().numbered(number).await.ok()?;
    let host = experiment.owner.as_ref().and_then(Owner::host_elsewhere).unwrap_or_default();
    crate::autopsy::of_silence(desk, &experiment.listed, host).await.ok()
}

async fn heed(desk: &Desk) {
    if let Err(e) = desk.heed_silence().await {
        crate::guard::complain(&format!("rules that are switched off can't be read: {e}"));
    }
}

/// Removes what is kept no longer, again and again.
async fn forget(desk: Desk) {
    let every = desk.settings().forget_every;
    // a desk that is started every night forgets too
    let mut wait = every.min(SETTLED);
    loop {
        tokio::time::sleep(wait).await;
        wait = every;
        if let Err(e) = desk.forget().await {
            crate::guard::complain(&format!("what is kept no longer can't be removed: {e}"));
        }
    }
}

/// Does again and again what is to be done beside requests.
async fn upkeep(desk: Desk) {
    heed(&desk).await;
    // nobody could be heard before
    let mut listening = Timestamp::now();
    let mut last = (Instant::now(), listening);
    loop {
        tokio::time::sleep(UPKEEP).await;
        let now = (Instant::now(), Timestamp::now());
        let (passed, by_the_clock) = (now.0 - last.0, now.1.duration_since(last.1));
        // the clock was set, or the machine slept: that was not silence
        if by_the_clock.unsigned_abs().abs_diff(passed) > LEAP {
            listening = now.1;
        }
        last = now;
        tend(&desk, listening).await;
    }
}

/// Heeds rules that others have switched, and closes reported runs of which nothing is heard any more. Says how many.
/// `listening`: since when they could be heard.
pub(crate) async fn tend(desk: &Desk, listening: Timestamp) -> usize {
    heed(desk).await;
    // a store that can't be read for a moment is asked again
    let silent = || async { desk.store().unheard(Timestamp::now(), listening).await.unwrap_or_default() };
    let mut looked_at = Vec::new();
    for id in silent().await {
        // one that can't be looked at is closed all the same
        looked_at.push((explained(desk, id.number()).await, id));
    }
    if looked_at.is_empty() {
        return 0;
    }
    // who was heard of while they were looked at goes on
    let still = silent().await;
    let now = Timestamp::now();
    let mut closed = 0;
    for (diagnosis, id) in looked_at.into_iter().filter(|(_, id)| still.contains(id)) {
        let outcome = Outcome {
            status: Status::Lost,
            exit: None,
            ended_at: now,
            reason: Some("no heartbeat came any more".to_owned()),
            log: None,
            diagnosis,
        };
        match desk.store().finish(&id, outcome).await {
            Ok(()) => closed += 1,
            Err(coroner_store::Error::AlreadyFinished { .. }) => {}
            Err(e) => crate::guard::complain(&format!("experiment {id} can't be closed: {e}")),
        }
    }
    closed
}
