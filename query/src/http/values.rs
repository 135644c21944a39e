//! Attribute values of spans in the shapes of the trace APIs. Shared by Jaeger's, Tempo's and ours.

use serde_json::{Number, Value as Json};
use weir_model::span::{Attributes, Value};

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

/// As the text that searches compare with.
pub(crate) fn to_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Json(nested) => nested.to_string(),
        Value::Bytes(bytes) => base64(bytes),
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

/// RFC 4648 §4, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0_u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = if i <= chunk.len() { DIGITS[(word >> (18 - 6 * i)) as usize & 63] } else { b'=' };
            out.push(digit as char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648_section_10() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
    }
}
