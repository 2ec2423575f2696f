//! Traces of the desk, for a collector that speaks OTLP over HTTP, where one is configured. Without one nothing is recorded.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use coroner_server::Traces;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use serde::Deserialize;
use url::Url;

use crate::context::{Context, Failed, complain};

/// How long sending a batch may take. Requests never wait for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the desk, when it ends, waits for what was recorded last.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long `coroner doctor` tries to reach the collector.
const TRIED: Duration = Duration::from_secs(2);

/// Where a collector listens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Endpoint(Url);

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = "expected an address such as http://127.0.0.1:4318";
        let url = Url::parse(text.trim()).map_err(|_| wrong)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong.to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "holds a password; what a collector asks for goes into OTEL_EXPORTER_OTLP_HEADERS".to_owned()
            );
        }
        Ok(Self(url))
    }
}

impl Endpoint {
    /// Where traces go, if nothing narrower was said: the paths of all kinds of telemetry begin with the same.
    fn of_traces(mut self) -> Self {
        let path = format!("{}/v1/traces", self.0.path().trim_end_matches('/'));
        self.0.set_path(&path);
        self
    }

    /// `host:port`: the rest of an address may be secret.
    pub(crate) fn place(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn is_local(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Does somebody listen there?
    pub(crate) fn reach(&self) -> Result<(), String> {
        let place = self.place();
        let mut addresses = place.to_socket_addrs().map_err(|e| e.to_string())?;
        let address = addresses.next().ok_or("it has no address")?;
        TcpStream::connect_timeout(&address, TRIED).map(drop).map_err(|e| e.to_string())
    }
}

/// Where traces are wanted: by our configuration, else by the variables that all programs with OpenTelemetry heed.
pub(crate) fn wanted(context: &Context) -> Result<Option<Endpoint>, String> {
    let says =
        |name: &str, word: &str| context.env.text(name).is_some_and(|text| text.eq_ignore_ascii_case(word));
    if says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    if let Some(endpoint) = context.config.telemetry.endpoint.clone() {
        return Ok(Some(endpoint.of_traces()));
    }
    let of = |name: &str| {
        let given = context.env.text(name)?.to_owned();
        Some(Endpoint::try_from(given).map_err(|why| format!("environment variable {name}: {why}")))
    };
    if let Some(whole) = of("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return whole.map(Some);
    }
    of("OTEL_EXPORTER_OTLP_ENDPOINT").transpose().map(|endpoint| endpoint.map(Endpoint::of_traces))
}

/// Records until the end, and sends in batches from a thread of its own.
pub(crate) struct Recorder(SdkTracerProvider);

impl Recorder {
    pub(crate) fn start(context: &Context, endpoint: &Endpoint) -> Result<Self, Failed> {
        let failed =
            |why: String| Failed::Outside(anyhow!("can't send traces to {}: {why}", endpoint.place()));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(
                Traces::client(endpoint.0.scheme() == "https", endpoint.is_local(), PATIENCE)
                    .map_err(failed)?,
            )
            .with_endpoint(endpoint.0.as_str())
            .with_timeout(PATIENCE)
            .build()
            .map_err(|e| failed(e.to_string()))?;
        let exporter = Telling { exporter, place: endpoint.place(), is_down: AtomicBool::new(false) };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource(context))
            .build();
        Ok(Self(provider))
    }

    /// What the desk makes its spans with.
    pub(crate) fn traces(&self) -> Traces {
        Traces::new(self.0.tracer("coroner"))
    }

    /// Sends what was recorded last. What does not arrive has been told already, or is lost.
    pub(crate) fn end(self) {
        _ = self.0.shutdown_with_timeout(FAREWELL);
    }
}

/// Who records: what we know of ourselves, under what the usual variables say.
fn resource(context: &Context) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let builder = Resource::builder_empty()
        .with_service_name("coroner")
        .with_attribute(version)
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match context.env.text("OTEL_SERVICE_NAME") {
        Some(name) => builder.with_service_name(name.to_owned()).build(),
        None => builder.build(),
    }
}

/// Says once that nobody takes the traces, and once that somebody does again.
#[derive(Debug)]
struct Telling {
    exporter: SpanExporter,
    place: String,
    is_down: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_down = self.is_down.swap(result.is_err(), Ordering::Relaxed);
        match (&result, was_down) {
            (Err(error), false) => complain(&format!(
                "traces can't be sent to {} ({error}); they are lost until it takes them, and nothing else is",
                self.place
            )),
            (Ok(()), true) => complain(&format!("{} takes traces again", self.place)),
            _ => {}
        }
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
