//! A trace as Jaeger's v1 JSON. Times are microseconds; each distinct origin is a process.

use serde_json::{Value as Json, json};
use weir_model::select::Trace;
use weir_model::span::{Attributes, Origin, Span, SpanKind, StatusCode, Value, base64};

use super::super::values::to_json;

/// One element of `data`.
pub(super) fn trace(trace: &Trace) -> Json {
    let mut spans = Vec::new();
    let mut processes = serde_json::Map::new();
    let mut known: Vec<(&Attributes, String)> = Vec::new();
    for batch in &trace.batches {
        let resource = &batch.origin.resource;
        let id = match known.iter().find(|(other, _)| *other == resource) {
            Some((_, id)) => id.clone(),
            None => {
                let id = format!("p{}", known.len() + 1);
                let others = resource.iter().filter(|(name, _)| name != "service.name");
                let tags: Vec<Json> = others.map(|(name, value)| tag(name, value)).collect();
                processes.insert(id.clone(), json!({"serviceName": batch.origin.service(), "tags": tags}));
                known.push((resource, id.clone()));
                id
            }
        };
        spans.extend(batch.spans.iter().map(|one| span(&batch.origin, one, &id)));
    }
    json!({"traceID": trace.id, "spans": spans, "processes": processes, "warnings": null})
}

fn span(origin: &Origin, span: &Span, process: &str) -> Json {
    let reference = |kind: &str, trace_id, span_id| json!({"refType": kind, "traceID": trace_id, "spanID": span_id});
    let mut references = Vec::new();
    if !span.parent_id.is_none() {
        references.push(reference("CHILD_OF", span.trace_id.to_string(), span.parent_id.to_string()));
    }
    references
        .extend(span.links.iter().map(|link| reference("FOLLOWS_FROM", link.trace_id.to_string(), link.span_id.to_string())));
    let logs: Vec<Json> = span
        .events
        .iter()
        .map(|event| {
            let name = (!event.name.is_empty()).then(|| tag("event", &Value::String(event.name.clone())));
            let fields: Vec<Json> =
                name.into_iter().chain(event.attributes.iter().map(|(name, value)| tag(name, value))).collect();
            json!({"timestamp": event.timestamp.div_euclid(1000), "fields": fields})
        })
        .collect();
    json!({
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "operationName": span.name,
        "references": references,
        "startTime": span.start.div_euclid(1000),
        "duration": span.end.saturating_sub(span.start).max(0) / 1000,
        "tags": tags(origin, span),
        "logs": logs,
        "processID": process,
        "warnings": warnings(span),
    })
}

/// The span's attributes and what Jaeger knows as tags: kind, status, scope, trace state.
fn tags(origin: &Origin, span: &Span) -> Vec<Json> {
    let mut tags: Vec<Json> = span.attributes.iter().map(|(name, value)| tag(name, value)).collect();
    let mut more = |name: &str, text: &str| {
        if !text.is_empty() {
            tags.push(tag(name, &Value::String(text.into())));
        }
    };
    more("span.kind", kind_name(span.kind));
    more("otel.scope.name", &origin.scope_name);
    more("otel.scope.version", &origin.scope_version);
    more("w3c.tracestate", &span.trace_state);
    more("otel.status_description", &span.status_message);
    match span.status {
        StatusCode::Unset => {}
        StatusCode::Ok => more("otel.status_code", "OK"),
        StatusCode::Error => {
            more("otel.status_code", "ERROR");
            tags.push(tag("error", &Value::Bool(true)));
        }
    }
    tags
}

fn warnings(span: &Span) -> Json {
    if span.end < span.start { json!(["the span ends before it starts: its sender's clock jumped"]) } else { Json::Null }
}

/// Jaeger's word for a kind; "" for an unspecified one.
pub(super) fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

fn tag(name: &str, value: &Value) -> Json {
    let (kind, value) = match value {
        Value::String(_) => ("string", to_json(value)),
        Value::Bool(_) => ("bool", to_json(value)),
        Value::Int(_) => ("int64", to_json(value)),
        Value::Double(_) => ("float64", to_json(value)),
        Value::Json(nested) => ("string", nested.to_string().into()),
        Value::Bytes(bytes) => ("binary", base64(bytes).into()),
    };
    json!({"key": name, "type": kind, "value": value})
}
