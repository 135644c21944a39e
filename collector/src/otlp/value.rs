//! OTLP's attributes and bodies as ours. Pure.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use serde_json::Value as Json;
use weir_model::span::base64;

/// A name or value of an attribute may be this long: longer ones belong into a body.
pub(super) const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// Memory of a name and its value beside their texts: two pointers with lengths, two allocations.
pub(super) const PAIR_BYTES: usize = 64;

/// A map or an array, as JSON; anything else likewise.
pub(super) fn nested(any: AnyValue) -> Json {
    any.value.map_or(Json::Null, json)
}

/// As text: what a label or a log line shows. Maps and arrays as compact JSON, bytes as base64.
pub(super) fn text(any: Option<AnyValue>) -> String {
    match any.and_then(|any| any.value) {
        Some(Any::StringValue(text)) => text,
        Some(Any::BoolValue(flag)) => flag.to_string(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::DoubleValue(number)) => number.to_string(),
        Some(Any::BytesValue(bytes)) => base64(&bytes),
        Some(Any::StringValueStrindex(_)) | None => String::new(),
        Some(nested) => json(nested).to_string(),
    }
}

/// A log body: text as it is, bytes as they are.
pub(super) fn body(any: Option<AnyValue>) -> Vec<u8> {
    match any {
        Some(AnyValue { value: Some(Any::BytesValue(bytes)) }) => bytes,
        other => text(other).into_bytes(),
    }
}

/// Nesting is bounded by the decoders (100 levels of protobuf, 128 of JSON).
fn json(value: Any) -> Json {
    match value {
        Any::StringValue(text) => Json::String(text),
        Any::BoolValue(flag) => Json::Bool(flag),
        Any::IntValue(number) => number.into(),
        // JSON has no NaN and no infinity; their names are kept.
        Any::DoubleValue(number) => {
            serde_json::Number::from_f64(number).map_or_else(|| Json::String(number.to_string()), Json::Number)
        }
        Any::BytesValue(bytes) => Json::String(base64(&bytes)),
        Any::StringValueStrindex(_) => Json::Null,
        Any::ArrayValue(list) => list.values.into_iter().map(|any| any.value.map_or(Json::Null, json)).collect::<Vec<_>>().into(),
        Any::KvlistValue(list) => {
            let pair = |pair: KeyValue| (pair.key, pair.value.and_then(|any| any.value).map_or(Json::Null, json));
            Json::Object(list.values.into_iter().map(pair).collect())
        }
    }
}

/// Bytes of a value as text; numbers, which are short, as none.
fn length(pair: &KeyValue) -> usize {
    match pair.value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Any::StringValue(text)) => text.len(),
        Some(Any::BytesValue(bytes)) => bytes.len() * 4 / 3,
        Some(Any::ArrayValue(_) | Any::KvlistValue(_)) => prost::Message::encoded_len(pair) * 2,
        _ => 0,
    }
}

/// Memory of a list as labels or attributes, with its texts.
pub(super) fn memory(list: &[KeyValue]) -> usize {
    list.iter().map(|pair| PAIR_BYTES + pair.key.len() + length(pair)).sum()
}

/// Whether every name and every text is short enough to be kept.
pub(super) fn fits(list: &[KeyValue], count_max: usize) -> Result<(), String> {
    if list.len() > count_max {
        return Err(format!("{} attributes (limit push.labels_max is {count_max})", list.len()));
    }
    match list.iter().find(|pair| pair.key.len() > ATTRIBUTE_BYTES_MAX || length(pair) > ATTRIBUTE_BYTES_MAX) {
        Some(pair) => {
            let name: String = pair.key.chars().take(64).collect();
            Err(format!("attribute {name:?} is longer than {ATTRIBUTE_BYTES_MAX} bytes"))
        }
        None => Ok(()),
    }
}
