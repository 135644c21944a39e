//! weir about itself: log lines on stderr, and spans of its own requests, kept in itself.
//!
//! No loop: only requests for answers and admin work make spans; what ships them makes none. Nor does what was refused: nobody who may
//! nothing makes weir store anything.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Span as _, SpanKind as OtelKind, Status, Tracer, TracerProvider as _};
use opentelemetry::{KeyValue, Value as OtelValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tokio::sync::mpsc;
use weir_access::{Denied, RouteNeeds};
use weir_collector::ship::Shipper;
use weir_model::id::{SpanId, TraceId};
use weir_model::span::{Attributes, Origin, Span, SpanBatch, SpanKind, StatusCode, Value};
use weir_model::wire::{Mark, Section, SectionHeader};

/// Batches of spans that may wait for the bus; more are dropped, because weir's own spans must never hold weir up.
const WAITING_BATCHES: usize = 16;

/// A batch that the bus does not take within this is dropped.
const SHIP_PATIENCE: Duration = Duration::from_secs(10);

/// Characters of a path that a span keeps: what weir's own routes and their ids need, many times.
const PATH_CHARS_MAX: usize = 1_024;

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

    /// Runs a request, and makes a span named by its route of it, where a route has let it in. The span begins when the request did and
    /// is made after the answer: one that is begun is exported even where it is dropped.
    async fn trace(&self, mut request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
        if !is_question(request.uri().path()) {
            return next.run(request).await;
        }
        let path: String = request.uri().path().chars().take(PATH_CHARS_MAX).collect();
        let method = request.method().to_string();
        let needs = request.extensions_mut().get_or_insert_default::<RouteNeeds>().clone();
        let began = SystemTime::now();
        let response = next.run(request).await;
        if needs.get().is_none() || response.extensions().get::<Denied>().is_some() {
            return response;
        }
        let builder =
            self.0.span_builder(format!("{method} {}", route(&path))).with_kind(OtelKind::Server).with_start_time(began);
        let mut span = builder
            .with_attributes([KeyValue::new("http.request.method", method), KeyValue::new("url.path", path)])
            .start(&self.0);
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
    Section::new(header, SpanBatch::new(origin.clone(), &spans))
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;
    use weir_access::{Access, Authorizer, Needs, Principal, Routes, Telemetry, Verb};

    use super::*;

    #[tokio::test]
    async fn refused_requests_make_no_spans_and_paths_are_clipped() {
        let (tx, mut rx) = mpsc::channel(WAITING_BATCHES);
        let provider = SdkTracerProvider::builder().with_simple_exporter(Exporter(tx)).build();
        let needs = Needs::Tenant(Verb::Read, Telemetry::Logs);
        let routes = Routes::new().get("/loki/{*path}", needs, async || StatusCode::IM_A_TEAPOT).into_router();
        let router = Requests(provider.tracer("weir")).around(true, routes);
        let authorizer = Arc::new(Authorizer::allow("default"));
        let ask = async |path: String, principal: Option<Principal>| {
            let access = Access::new(principal.map(Arc::new), Vec::new(), Arc::clone(&authorizer));
            let request = Request::get(path).extension(access).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap().status().as_u16()
        };
        let long = format!("/loki/{}", "a/".repeat(5_000));
        assert_eq!(ask(long.clone(), None).await, 401);
        assert_eq!(ask("/api/no/such/route".into(), None).await, 404);
        assert!(rx.try_recv().is_err(), "nobody's request made a span");
        let before = SystemTime::now();
        assert_eq!(ask(long.clone(), Some(Principal::anonymous())).await, 418);
        let span = rx.try_recv().unwrap().remove(0);
        assert!(span.start_time >= before && span.end_time >= span.start_time);
        assert_eq!(span.name, format!("GET {}", &long[..PATH_CHARS_MAX]));
        let value = |key: &str| span.attributes.iter().find(|pair| pair.key.as_str() == key).unwrap().value.to_string();
        assert_eq!(value("url.path"), long[..PATH_CHARS_MAX]);
        assert_eq!(value("http.response.status_code"), "418");
        assert!(rx.try_recv().is_err(), "one request is one span");
    }
}
