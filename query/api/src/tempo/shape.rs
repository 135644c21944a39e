//! Traces as Tempo's JSON: protobuf's JSON mapping, so ids and bytes are base64, 64-bit numbers are strings and enums are
//! names. (OTLP's own JSON has hex ids instead; Tempo's users rely on Tempo's.)

use serde_json::{Map, Value as Json, json};
use weir_model::select::Trace;
use weir_model::span::{Attributes, Span, SpanKind, StatusCode, Value, base64};

use super::super::values::to_json;

/// `resourceSpans`, called `batches` in the first version of the API.
pub(super) fn resource_spans(trace: &Trace) -> Vec<Json> {
    let batch = |batch: &weir_model::span::ScopeSpans| {
        let origin = &batch.origin;
        let mut scope = Map::new();
        put(&mut scope, "name", &origin.scope_name);
        put(&mut scope, "version", &origin.scope_version);
        if !origin.scope_attributes.is_empty() {
            scope.insert("attributes".into(), attributes(&origin.scope_attributes));
        }
        let spans: Vec<Json> = batch.spans.iter().map(span).collect();
        json!({"resource": {"attributes": attributes(&origin.resource)}, "scopeSpans": [{"scope": scope, "spans": spans}]})
    };
    trace.batches.iter().map(batch).collect()
}

fn put(object: &mut Map<String, Json>, name: &str, text: &str) {
    if !text.is_empty() {
        object.insert(name.into(), text.into());
    }
}

fn span(span: &Span) -> Json {
    let mut object = Map::new();
    object.insert("traceId".into(), base64(&span.trace_id.0).into());
    object.insert("spanId".into(), base64(&span.span_id.0).into());
    if !span.parent_id.is_none() {
        object.insert("parentSpanId".into(), base64(&span.parent_id.0).into());
    }
    put(&mut object, "traceState", &span.trace_state);
    put(&mut object, "name", &span.name);
    object.insert("kind".into(), kind(span.kind).into());
    object.insert("startTimeUnixNano".into(), span.start.to_string().into());
    object.insert("endTimeUnixNano".into(), span.end.to_string().into());
    if !span.attributes.is_empty() {
        object.insert("attributes".into(), attributes(&span.attributes));
    }
    if !span.events.is_empty() {
        let event = |event: &weir_model::span::SpanEvent| json!({"timeUnixNano": event.timestamp.to_string(), "name": event.name, "attributes": attributes(&event.attributes)});
        object.insert("events".into(), span.events.iter().map(event).collect());
    }
    if !span.links.is_empty() {
        let link = |link: &weir_model::span::SpanLink| {
            let (trace_id, span_id) = (base64(&link.trace_id.0), base64(&link.span_id.0));
            json!({"traceId": trace_id, "spanId": span_id, "traceState": link.trace_state, "attributes": attributes(&link.attributes)})
        };
        object.insert("links".into(), span.links.iter().map(link).collect());
    }
    let mut status = Map::new();
    put(&mut status, "message", &span.status_message);
    match span.status {
        StatusCode::Unset => {}
        StatusCode::Ok => put(&mut status, "code", "STATUS_CODE_OK"),
        StatusCode::Error => put(&mut status, "code", "STATUS_CODE_ERROR"),
    }
    object.insert("status".into(), status.into());
    object.into()
}

fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "SPAN_KIND_UNSPECIFIED",
        SpanKind::Internal => "SPAN_KIND_INTERNAL",
        SpanKind::Server => "SPAN_KIND_SERVER",
        SpanKind::Client => "SPAN_KIND_CLIENT",
        SpanKind::Producer => "SPAN_KIND_PRODUCER",
        SpanKind::Consumer => "SPAN_KIND_CONSUMER",
    }
}

/// `[{"key": …, "value": {"stringValue": …}}]`
pub(super) fn attributes(attributes: &Attributes) -> Json {
    attributes.iter().map(|(name, value)| json!({"key": name, "value": any(value)})).collect()
}

fn any(value: &Value) -> Json {
    match value {
        Value::String(text) => json!({"stringValue": text}),
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::Int(number) => json!({"intValue": number.to_string()}),
        Value::Double(_) => json!({"doubleValue": to_json(value)}),
        Value::Bytes(bytes) => json!({"bytesValue": base64(bytes)}),
        Value::Json(nested) => any_of_json(nested),
    }
}

fn any_of_json(json: &Json) -> Json {
    match json {
        Json::Null => json!({}),
        Json::Bool(flag) => json!({"boolValue": flag}),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => json!({"intValue": whole.to_string()}),
            None => json!({"doubleValue": number}),
        },
        Json::String(text) => json!({"stringValue": text}),
        Json::Array(items) => json!({"arrayValue": {"values": items.iter().map(any_of_json).collect::<Vec<_>>()}}),
        Json::Object(members) => {
            let values: Vec<Json> =
                members.iter().map(|(name, member)| json!({"key": name, "value": any_of_json(member)})).collect();
            json!({"kvlistValue": {"values": values}})
        }
    }
}
