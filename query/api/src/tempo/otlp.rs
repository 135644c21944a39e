//! Our traces as OTLP's protobuf messages, in Tempo's envelopes.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status};
use serde_json::Value as Json;
use weir_model::id::SpanId;
use weir_model::select::Trace;
use weir_model::span::{self, Attributes, Span, Value};

/// Tempo's `tempopb.Trace`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TempoTrace {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_spans: Vec<ResourceSpans>,
}

/// Tempo's `tempopb.TraceByIDResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) trace: Option<TempoTrace>,
    #[prost(message, optional, tag = "2")]
    pub(super) metrics: Option<TraceByIdMetrics>,
    /// 0 is complete, 1 partial.
    #[prost(int32, tag = "3")]
    pub(super) status: i32,
    #[prost(string, tag = "4")]
    pub(super) message: String,
}

/// Tempo's `tempopb.TraceByIDMetrics`; weir counts no inspected bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TraceByIdMetrics {}

/// The trace alone, for the first version of the API.
pub(super) fn trace(trace: &Trace) -> TempoTrace {
    TempoTrace { resource_spans: trace.batches.iter().map(batch).collect() }
}

/// The trace in its envelope; `missing` says what it lacks, "" when nothing.
pub(super) fn trace_by_id(one: &Trace, missing: &str) -> TraceByIdResponse {
    TraceByIdResponse {
        trace: Some(trace(one)),
        metrics: Some(TraceByIdMetrics {}),
        status: i32::from(!missing.is_empty()),
        message: missing.to_owned(),
    }
}

fn batch(batch: &span::ScopeSpans) -> ResourceSpans {
    let origin = &batch.origin;
    ResourceSpans {
        resource: Some(Resource { attributes: attributes(&origin.resource), ..Resource::default() }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: origin.scope_name.clone(),
                version: origin.scope_version.clone(),
                attributes: attributes(&origin.scope_attributes),
                ..InstrumentationScope::default()
            }),
            spans: batch.spans.iter().map(span).collect(),
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

/// OTLP's times are unsigned; ours before 1970 come from broken clocks.
fn unsigned(at: i64) -> u64 {
    u64::try_from(at).unwrap_or(0)
}

fn span(span: &Span) -> OtlpSpan {
    OtlpSpan {
        trace_id: span.trace_id.0.to_vec(),
        span_id: span.span_id.0.to_vec(),
        trace_state: span.trace_state.clone(),
        parent_span_id: parent(span.parent_id),
        name: span.name.clone(),
        kind: span.kind as i32,
        start_time_unix_nano: unsigned(span.start),
        end_time_unix_nano: unsigned(span.end),
        attributes: attributes(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| Event {
                time_unix_nano: unsigned(event.timestamp),
                name: event.name.clone(),
                attributes: attributes(&event.attributes),
                ..Event::default()
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| Link {
                trace_id: link.trace_id.0.to_vec(),
                span_id: link.span_id.0.to_vec(),
                trace_state: link.trace_state.clone(),
                attributes: attributes(&link.attributes),
                ..Link::default()
            })
            .collect(),
        status: Some(Status { message: span.status_message.clone(), code: span.status as i32 }),
        ..OtlpSpan::default()
    }
}

/// Empty for a root, as OTLP has it.
fn parent(id: SpanId) -> Vec<u8> {
    if id.is_none() { Vec::new() } else { id.0.to_vec() }
}

fn attributes(attributes: &Attributes) -> Vec<KeyValue> {
    attributes.iter().map(|(name, value)| key_value(name, any(value))).collect()
}

fn key_value(name: &str, value: Any) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn any(value: &Value) -> Any {
    match value {
        Value::String(text) => Any::StringValue(text.clone()),
        Value::Bool(flag) => Any::BoolValue(*flag),
        Value::Int(number) => Any::IntValue(*number),
        Value::Double(number) => Any::DoubleValue(*number),
        Value::Bytes(bytes) => Any::BytesValue(bytes.clone()),
        Value::Json(nested) => any_of_json(nested).unwrap_or_else(|| Any::StringValue(String::new())),
    }
}

/// Depth is bounded by the decoder that made the JSON.
fn any_of_json(json: &Json) -> Option<Any> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(flag) => Any::BoolValue(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Any::IntValue(whole),
            None => Any::DoubleValue(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Any::StringValue(text.clone()),
        Json::Array(items) => {
            Any::ArrayValue(ArrayValue { values: items.iter().map(|item| AnyValue { value: any_of_json(item) }).collect() })
        }
        Json::Object(members) => {
            let values = members.iter().map(|(name, member)| KeyValue {
                key: name.clone(),
                value: Some(AnyValue { value: any_of_json(member) }),
                ..KeyValue::default()
            });
            Any::KvlistValue(KeyValueList { values: values.collect() })
        }
    })
}
