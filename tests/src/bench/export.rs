//! OTLP export requests of Nezha's pods: a resource a pod, as SDKs and collectors send them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use crate::nezha::SpanRow;

/// A pod's, as its SDK and the cluster name it.
pub fn resource(pod: &str) -> Resource {
    let attributes = vec![
        text("service.name", service(pod)),
        text("k8s.namespace.name", "nezha"),
        text("k8s.pod.name", pod),
        text("telemetry.sdk.language", "java"),
        text("telemetry.sdk.version", "1.22.0"),
    ];
    Resource { attributes, ..Resource::default() }
}

/// Whose records they are within a pod.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "nezha".into(), ..InstrumentationScope::default() }
}

/// A pod's workload.
pub fn service(pod: &str) -> &str {
    pod.rsplitn(3, '-').last().unwrap_or(pod)
}

/// A request of these spans.
pub fn spans(rows: &[SpanRow], span: impl Fn(&SpanRow) -> Span) -> ExportTraceServiceRequest {
    let mut by_pod: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for row in rows {
        by_pod.entry(&row.pod).or_default().push(span(row));
    }
    let resource_spans = by_pod.into_iter().map(|(pod, spans)| ResourceSpans {
        resource: Some(resource(pod)),
        scope_spans: vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

/// A server's span without attributes.
pub fn span(row: &SpanRow) -> Span {
    Span {
        trace_id: hex::decode(&row.trace_id).expect("hex"),
        span_id: hex::decode(&row.span_id).expect("hex"),
        parent_span_id: hex::decode(&row.parent_id).expect("hex"),
        name: row.name.clone(),
        kind: 2,
        start_time_unix_nano: row.start,
        end_time_unix_nano: row.end,
        ..Span::default()
    }
}

/// An attribute that is a text.
pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// An attribute that is a whole number.
pub fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
