//! The coverage that every answer carries: as a header beside the ecosystem's shapes, as a member in our own.

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use weir_model::select::Coverage;

/// The header's name.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-weir-coverage");

/// A longer header makes some clients fail; then it only says whether the answer is complete.
const HEADER_BYTES_MAX: usize = 4096;

/// As `docs/api.md` has it.
pub(crate) fn to_json(coverage: &Coverage) -> Value {
    json!({"complete": coverage.is_complete(), "partitions": coverage.partitions, "missing": coverage.missing})
}

/// Adds the header to an answer.
pub(crate) fn with_header(coverage: &Coverage, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    insert(coverage, &mut response);
    response
}

/// The same; whether the header has all of the coverage.
pub(crate) fn insert(coverage: &Coverage, response: &mut Response) -> bool {
    let mut text = ascii(&to_json(coverage).to_string());
    let whole = text.len() <= HEADER_BYTES_MAX;
    if !whole {
        text = json!({"complete": coverage.is_complete(), "partitions": [], "missing": [], "truncated": true}).to_string();
    }
    match HeaderValue::from_str(&text) {
        Ok(value) => {
            response.headers_mut().insert(HEADER, value);
            whole
        }
        Err(_) => false,
    }
}

/// JSON whose letters a header can hold: a browser takes its bytes for Latin-1.
pub(crate) fn ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            ' '..='~' => ascii.push(letter),
            _ => letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    ascii
}

/// Why an answer is not complete, a sentence each; empty when it is.
pub(crate) fn warnings(coverage: &Coverage) -> Vec<String> {
    let behind = coverage.partitions.iter().filter(|seen| seen.indexed_offset < seen.high_watermark).map(|seen| {
        let lag = seen.high_watermark - seen.indexed_offset;
        format!("{} partition {}: {lag} records are on the bus and not searchable yet", seen.topic, seen.partition)
    });
    let lost = coverage
        .partitions
        .iter()
        .filter(|seen| !seen.losses.is_empty())
        .map(|seen| format!("{} partition {}: offsets {:?} are lost", seen.topic, seen.partition, seen.losses));
    behind.chain(lost).chain(coverage.missing.iter().cloned()).collect()
}
