//! A log on its way in: unpacked, kept and read for its diagnosis in one go, in bounded memory however long it is.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use coroner_diagnosis::LogReader;
use coroner_store::Log;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::Desk;
use crate::failure::{Answer, Failure};
use crate::unpack::{Packed, broken};

/// Pieces of a body that wait to be unpacked.
const WAITING: usize = 16;
/// A body that is not longer is taken as a whole: most logs are, and handing pieces from thread to thread takes longer than
/// keeping them.
const SMALL: u64 = 256 << 10;

/// A log that was kept, and what its diagnosis needs of it.
pub(crate) struct Taken {
    pub(crate) kept: Option<Log>,
    pub(crate) log: coroner_diagnosis::Log,
}

/// Takes a log from the body of a request.
pub(crate) async fn take(desk: &Desk, headers: &HeaderMap, body: Body) -> Answer<Taken> {
    let packed = Packed::of(headers)?;
    let limits = &desk.settings().limits;
    if packed == Packed::Plain && length(headers).is_some_and(|length| length <= SMALL.min(limits.log)) {
        return take_bytes(desk, collected(body, limits.idle).await?).await;
    }
    let (pieces, waiting) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let pump = pump(body, pieces, limits.idle);
    let from = Pieces { waiting, piece: Bytes::new() };
    let limit = limits.log;
    let keep = keep(desk, move || packed.reader(from, limit));
    let ((), taken) = tokio::join!(pump, keep);
    taken
}

/// The length that was announced; the body has no other.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A small body, as a whole.
async fn collected(body: Body, idle: Duration) -> Answer<Vec<u8>> {
    let mut stream = body.into_data_stream();
    let mut all = Vec::new();
    loop {
        match tokio::time::timeout(idle, stream.next()).await {
            Err(_) => return Err(stood_still(idle)),
            Ok(None) => return Ok(all),
            Ok(Some(Err(_))) => return Err(broke_off()),
            Ok(Some(Ok(piece))) => all.extend_from_slice(&piece),
        }
    }
}

fn stood_still(idle: Duration) -> Failure {
    let text = format!("the body stood still for {}", coroner_diagnosis::seconds(idle));
    Failure::new(StatusCode::REQUEST_TIMEOUT, "timeout", text)
}

fn broke_off() -> Failure {
    Failure::invalid("the body broke off")
}

/// Takes a log that is in memory.
pub(crate) async fn take_bytes(desk: &Desk, bytes: Vec<u8>) -> Answer<Taken> {
    // no other thread is asked for what takes less than handing it over
    if let Some(kept) = Log::small(&bytes) {
        let mut seen = LogReader::new();
        seen.push(&bytes);
        return Ok(Taken { kept: Some(kept), log: seen.finish() });
    }
    keep(desk, move || Ok(Box::new(io::Cursor::new(bytes)))).await
}

async fn keep(
    desk: &Desk,
    open: impl FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static,
) -> Answer<Taken> {
    let seen = Arc::new(Mutex::new(LogReader::new()));
    let tee = Tee { open: Some(open), inner: None, seen: Arc::clone(&seen) };
    let kept = match desk.store().keep_log(tee).await {
        Ok(kept) => kept,
        Err(e) if e.get_ref().is_some() || is_the_bodys(&e) => return Err(broken(&e)),
        Err(e) => {
            crate::guard::complain(&format!("a log can't be kept: {e}"));
            return Err(Failure::internal());
        }
    };
    let log = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner)).finish();
    Ok(Taken { kept: kept.facts().is_some().then_some(kept), log })
}

/// Decoders speak of broken input in these words; a disk does not.
fn is_the_bodys(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof | BrokenPipe)
}

/// Hands the body over as it comes; one that stands still is given up.
async fn pump(body: Body, pieces: mpsc::Sender<io::Result<Bytes>>, idle: Duration) {
    let mut stream = body.into_data_stream();
    loop {
        let piece = match tokio::time::timeout(idle, stream.next()).await {
            Err(_) => Err(io::Error::other(stood_still(idle))),
            Ok(None) => return,
            Ok(Some(Err(_))) => Err(io::Error::other(broke_off())),
            Ok(Some(Ok(piece))) => Ok(piece),
        };
        let last = piece.is_err();
        // whoever reads has given up, and says why
        if pieces.send(piece).await.is_err() || last {
            return;
        }
    }
}

/// The pieces of a body as one stream, for those that block.
struct Pieces {
    waiting: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.waiting.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

/// Shows what is read to the reader of logs too. Opened where it may block.
struct Tee<F> {
    open: Option<F>,
    inner: Option<Box<dyn Read + Send>>,
    seen: Arc<Mutex<LogReader>>,
}

impl<F: FnOnce() -> io::Result<Box<dyn Read + Send>>> Read for Tee<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(open) = self.open.take() {
            self.inner = Some(open()?);
        }
        let n = self.inner.as_mut().map_or(Ok(0), |inner| inner.read(buffer))?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..n]);
        Ok(n)
    }
}
