//! Attribute values of spans in the shapes of the trace APIs. Shared by Jaeger's, Tempo's and ours.

use serde_json::{Number, Value as Json};
use weir_model::span::{Attributes, Value, base64};

/// As plain JSON: bytes in base64, what JSON has no number for as text.
pub(crate) fn to_json(value: &Value) -> Json {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Double(number) => Number::from_f64(*number).map_or_else(|| number.to_string().into(), Json::Number),
        Value::Json(nested) => (**nested).clone(),
        Value::Bytes(bytes) => base64(bytes).into(),
    }
}

/// Memory that attributes take.
pub(crate) fn bytes_of(attributes: &Attributes) -> usize {
    attributes.iter().map(|(name, value)| size_of::<(String, Value)>() + name.len() + value_bytes(value)).sum()
}

/// Memory that a value takes beside itself.
pub(crate) fn value_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
        Value::Json(nested) => json_bytes(nested),
    }
}

/// Not by recursion: whoever sent it decides how deep it is.
fn json_bytes(root: &Json) -> usize {
    let (mut bytes, mut rest) = (0, vec![root]);
    while let Some(value) = rest.pop() {
        bytes += size_of::<Json>();
        match value {
            Json::String(text) => bytes += text.len(),
            Json::Array(items) => rest.extend(items),
            Json::Object(members) => {
                bytes += members.keys().map(|name| size_of::<String>() + name.len()).sum::<usize>();
                rest.extend(members.values());
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }
    bytes
}
