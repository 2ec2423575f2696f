//! Everything that a filter fits, written out as it is read: JSON lines, CSV, JUnit XML.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use coroner_store::{Error, Listed, Query, Status};
use futures_util::stream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::parameters::{Params, Place, Which, short};
use crate::Desk;
use crate::failure::{Answer, Failure};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(export))
}

#[derive(Clone, Copy)]
enum Kind {
    Lines,
    Csv,
    JUnit,
}

/// All experiments that the filters fit, the newest first: `export.jsonl`, `export.csv` or `export.xml` (JUnit).
#[utoipa::path(get, path = "/api/v1/export.{kind}", tag = "experiments", params(("kind" = String, Path), Which),
    responses((status = 200, description = "JSON lines, CSV or JUnit XML")))]
async fn export(
    State(desk): State<Desk>,
    Place(kind): Place<String>,
    Params(which): Params<Which>,
) -> Answer<Response> {
    let (kind, media) = match kind.as_str() {
        "jsonl" => (Kind::Lines, "application/x-ndjson"),
        "csv" => (Kind::Csv, "text/csv; charset=utf-8"),
        "xml" => (Kind::JUnit, "application/xml"),
        other => {
            let text = format!("`{}` is none of jsonl, csv, xml", short(other));
            return Err(Failure::not_found(text));
        }
    };
    let mut query = which.query()?;
    query.limit = Some(500);
    // what is wrong with the question is said before anything is sent
    desk.store().list(Query { limit: Some(1), ..query.clone() }).await?;
    let place = desk.download()?;
    let parts = stream::unfold(Next::Head(query), move |next| {
        let _held = &place;
        part(desk.clone(), kind, next)
    });
    let name = match kind {
        Kind::Lines => "attachment; filename=\"experiments.jsonl\"",
        Kind::Csv => "attachment; filename=\"experiments.csv\"",
        Kind::JUnit => "attachment; filename=\"experiments.xml\"",
    };
    let headers = [(header::CONTENT_TYPE, media), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(parts)).into_response())
}

enum Next {
    Head(Query),
    Page(Query),
    Foot,
    Nothing,
}

async fn part(desk: Desk, kind: Kind, next: Next) -> Option<(Result<Bytes, Error>, Next)> {
    match next {
        Next::Nothing => None,
        Next::Head(query) => {
            let head = match kind {
                Kind::Lines => "",
                Kind::Csv => {
                    "id,number,started_at,status,experiment_type,duration_seconds,category,severity,origin,\
                     confidence,signature,root_cause,fix_suggestion\r\n"
                }
                Kind::JUnit => {
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"coroner\">\n\
                     <testsuite name=\"experiments\">\n"
                }
            };
            Some((Ok(Bytes::from_static(head.as_bytes())), Next::Page(query)))
        }
        Next::Page(query) => match desk.store().list(query.clone()).await {
            Err(e) => Some((Err(e), Next::Nothing)),
            Ok(page) => {
                let mut text = String::new();
                for listed in &page.experiments {
                    match kind {
                        Kind::Lines => {
                            text.push_str(&serde_json::to_string(listed).unwrap_or_default());
                            text.push('\n');
                        }
                        Kind::Csv => csv(&mut text, listed),
                        Kind::JUnit => junit(&mut text, listed),
                    }
                }
                let next = match page.next_cursor {
                    Some(cursor) => Next::Page(Query { cursor: Some(cursor), ..query }),
                    None => Next::Foot,
                };
                Some((Ok(text.into()), next))
            }
        },
        Next::Foot => {
            let foot = match kind {
                Kind::Lines | Kind::Csv => "",
                Kind::JUnit => "</testsuite>\n</testsuites>\n",
            };
            Some((Ok(Bytes::from_static(foot.as_bytes())), Next::Nothing))
        }
    }
}

fn csv(to: &mut String, listed: &Listed) {
    let analysis = listed.analysis.as_ref();
    let of = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let cells = [
        listed.id.to_string(),
        listed.id.number().to_string(),
        listed.started_at.to_string(),
        listed.status.to_string(),
        listed.experiment_type.clone(),
        listed.duration.map(|d| d.as_secs_f64().to_string()).unwrap_or_default(),
        of(analysis.map(|it| it.category.as_str())),
        of(analysis.map(|it| it.severity.as_str())),
        of(analysis.map(|it| it.origin.as_str())),
        analysis.map(|it| it.confidence.to_string()).unwrap_or_default(),
        of(analysis.map(|it| it.signature.as_str())),
        of(analysis.map(|it| it.root_cause.as_str())),
        of(analysis.map(|it| it.fix_suggestion.as_str())),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    to.push_str(&cells.join(","));
    to.push_str("\r\n");
}

/// As RFC 4180 has it; and what a spreadsheet would take for a formula is kept text.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{cell}") } else { cell.to_owned() };
    match text.contains([',', '"', '\n', '\r', '\'']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

fn junit(to: &mut String, listed: &Listed) {
    let kind = match listed.experiment_type.as_str() {
        "" => "experiment",
        kind => kind,
    };
    let seconds = listed.duration.map_or(0.0, |d| d.as_secs_f64());
    to.push_str(&format!(
        "<testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\" timestamp=\"{}\">",
        escaped(kind),
        escaped(&listed.id.to_string()),
        listed.started_at
    ));
    match &listed.analysis {
        Some(it) => to.push_str(&format!(
            "<failure type=\"{}\" message=\"{}\">{} ({}, {})\nFix: {}</failure>",
            it.category,
            escaped(&it.root_cause),
            escaped(&it.root_cause),
            it.severity,
            it.origin,
            escaped(&it.fix_suggestion)
        )),
        None if listed.status == Status::Running => to.push_str("<skipped message=\"running\"/>"),
        None if !listed.status.succeeded() => {
            to.push_str(&format!("<failure type=\"{}\"/>", listed.status));
        }
        None => {}
    }
    to.push_str("</testcase>\n");
}

/// What has a meaning in XML, and what may not stand in it at all.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_control() || ('\u{FFFE}'..='\u{FFFF}').contains(&c) => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_syntax() {
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(escaped("<a href='x'>&\u{1}\n"), "&lt;a href=&#39;x&#39;&gt;&amp;\u{FFFD}&#10;");
    }
}
