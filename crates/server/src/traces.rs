//! Traces, where somebody wants them: a span for each request, and within it one for each diagnosis of a reported failure.
//! Names are those of OpenTelemetry's conventions. Of what was sent to us nothing is in them: no path, query, header or log.

use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, StatusCode, header};
use coroner_diagnosis::Diagnosis;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HttpClient;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::Desk;

/// Begins spans. Where they go is decided by whoever starts the desk.
#[derive(Debug, Clone)]
pub struct Traces(SdkTracer);

impl Traces {
    /// With this tracer.
    #[must_use]
    pub fn new(tracer: SdkTracer) -> Self {
        Self(tracer)
    }

    /// What sends them to a collector: it follows no redirect, for what a collector is sent may hold a key; nothing on this
    /// machine is reached by a proxy.
    pub fn client(
        secure: bool,
        local: bool,
        patience: Duration,
    ) -> Result<impl HttpClient + 'static, String> {
        // fails only if somebody has installed a provider already, which is as good
        _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::blocking::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(patience)
            .user_agent(concat!("coroner/", env!("CARGO_PKG_VERSION")));
        if !secure {
            builder = builder.tls_certs_only([]);
        }
        if local {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|e| e.to_string())
    }

    /// Begins the span of a request, under the span of whoever asks, if they name it.
    pub(crate) fn request(&self, request: &Request, id: &str) -> Context {
        let method = match request.method().as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE"
            | "PATCH") => known,
            _ => "_OTHER",
        };
        let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let called = if method == "_OTHER" { "HTTP" } else { method };
        let name = route.as_ref().map_or_else(|| called.to_owned(), |route| format!("{called} {route}"));
        let mut attributes = vec![
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("coroner.request.id", id.to_owned()),
        ];
        attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
        if let Some((host, port)) = host(request.headers()) {
            attributes.push(KeyValue::new("server.address", host.to_owned()));
            attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
        }
        let asker =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(request.headers()));
        let span = self.0.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
        let span = span.start_with_context(&self.0, &asker);
        asker.with_span(span)
    }
}

/// Ends the span of a request.
pub(crate) fn answered(request: &Context, status: StatusCode) {
    let span = request.span();
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    // what a client does wrong is no error of the server's
    if status.is_server_error() {
        span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
        span.set_status(Status::error(""));
    }
    span.end();
}

/// A diagnosis that is being made.
pub(crate) struct Diagnosing(Option<Span>);

impl Diagnosing {
    /// Begins, under the request that is being answered.
    pub(crate) fn begin(desk: &Desk, name: &'static str) -> Self {
        Self(
            desk.settings()
                .traces
                .as_ref()
                .map(|traces| traces.0.start_with_context(name, &Context::current())),
        )
    }

    /// What came of it: words of the contract, and names of ours.
    pub(crate) fn end(self, diagnosis: &Diagnosis) {
        let Some(mut span) = self.0 else { return };
        let provenance = &diagnosis.provenance;
        span.set_attributes([
            KeyValue::new("coroner.failure.category", diagnosis.failure_category.as_str()),
            KeyValue::new("coroner.failure.severity", diagnosis.severity.as_str()),
            KeyValue::new("coroner.failure.origin", diagnosis.origin.as_str()),
            KeyValue::new("coroner.failure.signature", diagnosis.signature.clone()),
            KeyValue::new("coroner.diagnosis.confidence", diagnosis.confidence),
        ]);
        let named =
            [("coroner.diagnosis.rule", &provenance.rule), ("gen_ai.response.model", &provenance.model)];
        for (name, value) in named {
            if let Some(value) = value {
                span.set_attribute(KeyValue::new(name, value.clone()));
            }
        }
        if let Some(failure) = &provenance.model_failure {
            // as it is spelt everywhere else
            let kind = serde_json::to_value(failure.kind).ok();
            let kind = kind.and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
            span.set_attribute(KeyValue::new("error.type", kind));
        }
        span.end();
    }
}

/// The host that was asked for, if it can be one, and its port.
fn host(headers: &HeaderMap) -> Option<(&str, Option<u16>)> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let known = host.len() <= 255 && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    let split = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
    known.then(|| split.map_or((host, None), |(name, port)| (name, Some(port))))
}

/// Headers, as the propagator reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}
