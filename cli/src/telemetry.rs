//! weir about itself: log lines on stderr, and spans of its own requests, kept in itself.
//!
//! No loop: only requests for answers and admin work make spans; what ships them makes none.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Span as _, SpanKind as OtelKind, Status, Tracer, TracerProvider as _};
use opentelemetry::{KeyValue, Value as OtelValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tokio::sync::mpsc;
use weir_collector::ship::Shipper;
use weir_model::id::{SpanId, TraceId};
use weir_model::span::{Attributes, Origin, Span, SpanBatch, SpanKind, StatusCode, Value};
use weir_model::wire::{Mark, Section, SectionHeader};

/// Batches of spans that may wait for the bus; more are dropped, because weir's own spans must never hold weir up.
const WAITING_BATCHES: usize = 16;

/// A batch that the bus does not take within this is dropped.
const SHIP_PATIENCE: Duration = Duration::from_secs(10);

/// Log lines go to stderr: `WEIR_LOG` filters (`info` by default), `WEIR_LOG_FORMAT=json` for machines.
pub(crate) fn init_logging() {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| "info,librdkafka=warn,tantivy=warn".into());
    // A line that cannot be written is dropped: reported, it would go to stderr as well, and a failing print panics the
    // task that logged, which a full disk under stderr must never do.
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    if is_json() {
        format.json().init();
    } else {
        format.with_ansi(false).init();
    }
}

/// Whether stderr is read by machines.
pub(crate) fn is_json() -> bool {
    std::env::var("WEIR_LOG_FORMAT").is_ok_and(|format| format == "json")
}

/// Makes spans of requests; cheap to clone.
#[derive(Clone)]
pub(crate) struct Requests(SdkTracer);

impl Requests {
    /// A router whose requests make spans, when that is wanted.
    pub fn around(self, wanted: bool, router: axum::Router) -> axum::Router {
        if !wanted {
            return router;
        }
        router.layer(axum::middleware::from_fn(move |request, next| {
            let requests = self.clone();
            async move { requests.trace(request, next).await }
        }))
    }

    /// Runs a request inside a span named by its route.
    async fn trace(&self, request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
        let path = request.uri().path().to_owned();
        if !is_question(&path) {
            return next.run(request).await;
        }
        let method = request.method().to_string();
        let builder = self.0.span_builder(format!("{method} {}", route(&path))).with_kind(OtelKind::Server);
        let mut span = builder
            .with_attributes([KeyValue::new("http.request.method", method), KeyValue::new("url.path", path)])
            .start(&self.0);
        let response = next.run(request).await;
        let status = response.status();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_status(Status::error(status.to_string()));
        }
        span.end();
        response
    }
}

fn is_question(path: &str) -> bool {
    ["/api/", "/loki/", "/tempo/", "/jaeger/"].iter().any(|prefix| path.starts_with(prefix))
        && !path.ends_with("/push")
        && !path.ends_with("/tail")
}

/// The path without what differs between requests of one kind: ids, names.
fn route(path: &str) -> String {
    let part = |part: &str| {
        if part.len() >= 16 || part.contains(|letter: char| letter.is_ascii_digit()) && !part.starts_with('v') {
            "{id}".to_owned()
        } else {
            part.to_owned()
        }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Starts the tracer. Dropping or shutting down the provider flushes what is left.
pub(crate) fn start(shipper: Shipper, tenant: String, node: String) -> (SdkTracerProvider, Requests) {
    let (tx, mut rx) = mpsc::channel::<Vec<SpanData>>(WAITING_BATCHES);
    tokio::spawn(async move {
        let origin = Arc::new(origin(&node));
        while let Some(batch) = rx.recv().await {
            let sections = vec![section(&tenant, &origin, batch)];
            if let Err(error) = shipper.send_and_wait(sections, SHIP_PATIENCE).await {
                tracing::debug!(%error, "spans of weir's own were dropped");
            }
        }
    });
    let provider = SdkTracerProvider::builder().with_span_processor(BatchSpanProcessor::builder(Exporter(tx)).build()).build();
    let tracer = provider.tracer("weir");
    (provider, Requests(tracer))
}

#[derive(Debug)]
struct Exporter(mpsc::Sender<Vec<SpanData>>);

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        // Full or closed: weir is too busy, or stopping. Its own spans are the first thing to go without.
        let _dropped = self.0.try_send(batch);
        Ok(())
    }
}

fn origin(node: &str) -> Origin {
    let text = |key: &str, value: &str| (key.to_owned(), Value::String(value.to_owned()));
    Origin {
        resource: vec![text("service.name", "weir"), text("service.version", env!("CARGO_PKG_VERSION")), text("host.name", node)],
        scope_name: "weir".into(),
        ..Origin::default()
    }
}

fn section(tenant: &str, origin: &Origin, batch: Vec<SpanData>) -> Section<SpanBatch> {
    let spans: Vec<Span> = batch.into_iter().map(span).collect();
    // Unique by itself: no two batches hold the same span.
    let digest = spans.first().map_or([0; 16], |first| {
        let mut digest = first.trace_id.0;
        digest.iter_mut().zip(first.span_id.0).for_each(|(byte, other)| *byte ^= other);
        digest
    });
    let header = SectionHeader {
        tenant: tenant.into(),
        source: "weir".into(),
        mark: Mark::Digest(digest),
        records: u32::try_from(spans.len()).unwrap_or(u32::MAX),
    };
    Section::new(header, SpanBatch { origin: origin.clone(), spans })
}

fn span(data: SpanData) -> Span {
    let (status, status_message) = match data.status {
        Status::Unset => (StatusCode::Unset, String::new()),
        Status::Ok => (StatusCode::Ok, String::new()),
        Status::Error { description } => (StatusCode::Error, description.into_owned()),
    };
    Span {
        trace_id: TraceId(data.span_context.trace_id().to_bytes()),
        span_id: SpanId(data.span_context.span_id().to_bytes()),
        parent_id: SpanId(data.parent_span_id.to_bytes()),
        name: data.name.into_owned(),
        kind: SpanKind::Server,
        start: nanos(data.start_time),
        end: nanos(data.end_time),
        status,
        status_message,
        attributes: attributes(data.attributes),
        ..Span::default()
    }
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    let value = |value: OtelValue| match value {
        OtelValue::Bool(value) => Value::Bool(value),
        OtelValue::I64(value) => Value::Int(value),
        OtelValue::F64(value) => Value::Double(value),
        other => Value::String(other.as_str().into_owned()),
    };
    pairs.into_iter().map(|pair| (pair.key.to_string(), value(pair.value))).collect()
}

fn nanos(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
