//! Logs: the bytes as they were printed, whole or a range of them; or lines with their numbers, the cited ones marked.

use std::io::{self, BufRead, BufReader, Read};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use coroner_diagnosis::{Diagnosis, Redactor, Role, Source};
use coroner_store::{Experiment, LogReader};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::{Params, Place};
use crate::Desk;
use crate::failure::{Answer, Failure};

/// Lines at once.
const LINES: u64 = 2000;
/// Of one line no more is shown; the bytes are there for whoever wants them.
const LONGEST: usize = 8 << 10;
/// Bytes on their way to a reader.
const CHUNK: usize = 64 << 10;
/// A log that is not larger is read at once.
const SMALL: u64 = 256 << 10;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(log)).routes(routes!(lines))
}

async fn open(desk: &Desk, id: &str) -> Answer<(Experiment, LogReader)> {
    let experiment = desk.store().get(id).await?;
    let Some(facts) = &experiment.log else {
        let why = experiment.log_note.clone().unwrap_or_else(|| "nothing was printed".to_owned());
        return Err(Failure::not_found(format!("no log of experiment {}: {why}", experiment.listed.id)));
    };
    let reader = desk.store().read_log(facts.id).await?;
    Ok((experiment, reader))
}

/// A log as it was printed. Takes `range: bytes=FROM-TO`.
#[utoipa::path(get, path = "/api/v1/experiments/{id}/log", tag = "experiments", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/plain"), (status = 206, content_type = "text/plain"),
        (status = 404, description = "no log is kept of it"), (status = 416, description = "beyond its end")))]
async fn log(State(desk): State<Desk>, Place(id): Place<String>, headers: HeaderMap) -> Answer<Response> {
    let (_, reader) = open(&desk, &id).await?;
    let all = reader.remaining();
    let asked =
        headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(|text| range(text, all));
    let (status, from, to) = match asked {
        None => (StatusCode::OK, 0, all),
        Some(Some((from, to))) => (StatusCode::PARTIAL_CONTENT, from, to),
        Some(None) => {
            let text = format!("the log has {all} bytes");
            return Err(Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", text));
        }
    };
    let body = match all {
        ..=SMALL => Body::from(read_range(reader, from, to).await?),
        _ => Body::from_stream(sent(reader, from, to, desk.download()?)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = HeaderValue::from_str(&format!("bytes {from}-{}/{all}", to - 1))
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// One range of a header: `None` if it is none that we know (all is sent then), inside it `None` if there is nothing.
fn range(text: &str, all: u64) -> Option<Option<(u64, u64)>> {
    let (from, to) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let span = match (from.trim(), to.trim()) {
        ("", "") => return None,
        ("", last) => (all.saturating_sub(last.parse().ok()?), all),
        (from, "") => (from.parse().ok()?, all),
        (from, to) => (from.parse().ok()?, to.parse::<u64>().ok()?.saturating_add(1).min(all)),
    };
    Some(Some(span).filter(|(from, to)| from < to))
}

/// A piece of a log that is no larger than what a large one is sent in.
async fn read_range(mut reader: LogReader, from: u64, to: u64) -> Answer<Vec<u8>> {
    let read = move || -> io::Result<Vec<u8>> {
        io::copy(&mut reader.by_ref().take(from), &mut io::sink())?;
        let mut bytes = Vec::with_capacity((to - from) as usize);
        reader.take(to - from).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|_| Failure::internal())?;
    read.map_err(|e| {
        crate::guard::complain(&format!("a log can't be read: {e}"));
        Failure::internal()
    })
}

/// The bytes of a log, read when they are asked for: while a slow reader thinks, it holds no thread of ours.
fn sent(
    reader: LogReader,
    from: u64,
    to: u64,
    place: OwnedSemaphorePermit,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((reader, from, to - from, place), async |(mut reader, skip, left, place)| {
        if left == 0 {
            return Ok(None);
        }
        let read = move || -> io::Result<_> {
            io::copy(&mut reader.by_ref().take(skip), &mut io::sink())?;
            let mut bytes = Vec::with_capacity(CHUNK);
            reader.by_ref().take(left.min(CHUNK as u64)).read_to_end(&mut bytes)?;
            Ok((bytes, reader))
        };
        let (bytes, reader) = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        match bytes.len() as u64 {
            0 => Ok(None),
            read => Ok(Some((Bytes::from(bytes), (reader, 0, left - read, place)))),
        }
    })
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Window {
    /// The first line, counted from 1. Left out: a little before the cause, or else 1.
    from: Option<u64>,
    /// How many lines, 2,000 at most.
    #[param(default = 200)]
    count: Option<u64>,
}

/// Lines of a log.
#[derive(Debug, Serialize, ToSchema)]
struct Lines {
    /// Secrets in them are masked.
    lines: Vec<Line>,
    /// Is there more behind them?
    more: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Line {
    line: u64,
    text: String,
    /// There is more of it than is shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    /// What it is to the failure, where the diagnosis cites it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
}

/// Lines of a log with their numbers, those that the diagnosis cites marked.
#[utoipa::path(get, path = "/api/v1/experiments/{id}/log/lines", tag = "experiments",
    params(("id" = String, Path), Window),
    responses((status = 200, body = Lines), (status = 404, description = "no log is kept of it")))]
async fn lines(
    State(desk): State<Desk>,
    Place(id): Place<String>,
    Params(window): Params<Window>,
) -> Answer<Json<Lines>> {
    let (experiment, reader) = open(&desk, &id).await?;
    let count = window.count.unwrap_or(200);
    if !(1..=LINES).contains(&count) || window.from == Some(0) {
        return Err(Failure::invalid("from: 1 or more; count: 1 to 2000"));
    }
    let cited = |role: Option<Role>| {
        let evidence = experiment.diagnosis.iter().flat_map(|diagnosis| &diagnosis.evidence);
        evidence
            .filter(|item| item.source == Source::Log && role.is_none_or(|role| item.role == role))
            .map(|item| item.line)
            .next()
    };
    let from = window.from.or_else(|| {
        let cause = cited(Some(Role::Cause)).or_else(|| cited(None))?;
        Some(cause.saturating_sub(count / 3).max(1))
    });
    let diagnosis = experiment.diagnosis;
    let read = move || read_lines(reader, from.unwrap_or(1), count, diagnosis.as_ref());
    let lines = tokio::task::spawn_blocking(read).await.map_err(|_| Failure::internal())?;
    lines.map(Json).map_err(|e| {
        crate::guard::complain(&format!("a log can't be read: {e}"));
        Failure::internal()
    })
}

fn read_lines(reader: LogReader, from: u64, count: u64, diagnosis: Option<&Diagnosis>) -> io::Result<Lines> {
    let mut reader = BufReader::with_capacity(256 << 10, reader);
    let redactor = Redactor::default();
    let mut counts = coroner_diagnosis::Counts::default();
    let mut lines = Vec::new();
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        // a line may be as long as the log: what is not shown is not held
        let mut cut = false;
        loop {
            let part = reader.fill_buf()?;
            let (taken, ends) = match part.iter().position(|b| *b == b'\n') {
                Some(end) => (end + 1, true),
                None => (part.len(), part.is_empty()),
            };
            if number + 1 >= from {
                let room = LONGEST.saturating_sub(line.len());
                let text = &part[..taken];
                cut |= text.len() > room;
                line.extend_from_slice(&text[..text.len().min(room)]);
            }
            let at_end = part.is_empty();
            reader.consume(taken);
            if at_end && line.is_empty() && !cut {
                return Ok(Lines { lines, more: false });
            }
            if ends {
                break;
            }
        }
        number += 1;
        if number < from {
            continue;
        }
        if lines.len() as u64 == count {
            return Ok(Lines { lines, more: true });
        }
        let text = String::from_utf8_lossy(&line);
        let text = redactor.redact(text.trim_end_matches(['\n', '\r']), &mut counts);
        let role = diagnosis.and_then(|diagnosis| {
            let cited = diagnosis.evidence.iter().find(|it| it.source == Source::Log && it.line == number);
            cited.map(|it| it.role)
        });
        lines.push(Line { line: number, text, cut, role });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_browsers_send_them() {
        assert_eq!(range("bytes=0-9", 100), Some(Some((0, 10))));
        assert_eq!(range("bytes=90-", 100), Some(Some((90, 100))));
        assert_eq!(range("bytes=-5", 100), Some(Some((95, 100))));
        assert_eq!(range("bytes=90-900", 100), Some(Some((90, 100))));
        assert_eq!(range("bytes=100-", 100), Some(None));
        assert_eq!(range("bytes=5-2", 100), Some(None));
        assert_eq!(range("lines=1-2", 100), None);
        assert_eq!(range("bytes=x-2", 100), None);
    }
}
