//! `/metrics`: figures of the desk in Prometheus' text, counted by ourselves in a handful of numbers.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use coroner_diagnosis::Category;
use coroner_store::Status;
use jiff::Timestamp;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Desk;
use crate::failure::Answer;

/// Upper edges of the histogram, in microseconds.
const EDGES: [u64; 8] = [1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000];

#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Answers by the first digit of their status.
    answers: [AtomicU64; 6],
    within: [AtomicU64; EDGES.len()],
    micros: AtomicU64,
    reports: AtomicU64,
}

impl Figures {
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.answers[usize::from(status / 100).min(5)].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        if let Some(bucket) = EDGES.iter().position(|edge| micros <= *edge) {
            self.within[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn reported(&self) {
        self.reports.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, content_type = "text/plain")))]
async fn metrics(State(desk): State<Desk>) -> Answer<Response> {
    let mut text = String::new();
    let mut figure = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
        _ = writeln!(text, "# HELP coroner_{name} {help}\n# TYPE coroner_{name} {kind}");
        for (labels, value) in values {
            _ = writeln!(text, "coroner_{name}{labels} {value}");
        }
    };
    let store = desk.store();
    let totals = store.totals().await?;
    let by_status: Vec<_> = Status::all()
        .map(|status| {
            let count = totals.by_status.get(&status).copied().unwrap_or(0);
            (format!("{{status=\"{status}\"}}"), count as f64)
        })
        .collect();
    figure("experiments", "gauge", "Experiments in the store by status.", &by_status);
    let by_category: Vec<_> = Category::ALL
        .iter()
        .map(|category| {
            let count = totals.by_category.get(category).copied().unwrap_or(0);
            (format!("{{category=\"{category}\"}}"), count as f64)
        })
        .collect();
    figure("failures", "gauge", "Failures in the store by category.", &by_category);
    let health = store.health(false).await?;
    let plain = |value: f64| [(String::new(), value)];
    figure("database_bytes", "gauge", "Size of the database.", &plain(health.database_bytes as f64));
    figure("log_bytes", "gauge", "Size of all logs as they are stored.", &plain(health.log_bytes as f64));
    let up = Timestamp::now().as_second() - desk.started_at().as_second();
    figure("uptime_seconds", "gauge", "Since the desk was opened.", &plain(up as f64));
    figure("live_clients", "gauge", "Clients of live events.", &plain(desk.live().clients() as f64));
    let figures = desk.figures();
    let reports = figures.reports.load(Ordering::Relaxed) as f64;
    figure("reports_total", "counter", "Runs and failures that were reported.", &plain(reports));
    let answers: Vec<_> = (1..6)
        .map(|class| {
            (format!("{{class=\"{class}xx\"}}"), figures.answers[class].load(Ordering::Relaxed) as f64)
        })
        .collect();
    figure("http_answers_total", "counter", "Answers by the class of their status.", &answers);
    let count: f64 = answers.iter().map(|(_, count)| count).sum();
    let mut sum = 0;
    let mut buckets: Vec<_> = EDGES
        .iter()
        .zip(&figures.within)
        .map(|(edge, count)| {
            sum += count.load(Ordering::Relaxed);
            (format!("_bucket{{le=\"{}\"}}", *edge as f64 / 1e6), sum as f64)
        })
        .collect();
    buckets.push(("_bucket{le=\"+Inf\"}".to_owned(), count));
    buckets.push(("_sum".to_owned(), figures.micros.load(Ordering::Relaxed) as f64 / 1e6));
    buckets.push(("_count".to_owned(), count));
    figure("http_answer_seconds", "histogram", "How long an answer took to begin.", &buckets);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
