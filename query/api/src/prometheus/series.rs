//! Series of an answer as JSON, written as text: an answer has as many as 100,000, and each as many as 11,000 points.

use std::fmt::Write as _;

use weir_model::label::Labels;
use weir_model::select::ReadError;
use weir_promql::{Points, Sample};

use super::answer::{sample, timestamp};
use super::histogram;
use crate::reply::Text;

/// Text is handed on in pieces of about so many bytes.
const PIECE_BYTES: usize = 16 << 10;
/// Integers below it are written as such; far below what takes an exponent.
const INTEGER_MAX: f64 = 1e15;

/// `{"resultType":"vector","result":[…]`, left open.
pub(super) fn write_vector(out: &mut Text<'_>, samples: &[Sample], at_ms: i64) -> Result<(), ReadError> {
    out.raw("{\"resultType\":\"vector\",\"result\":[")?;
    let middle = format!(",\"value\":[{},", timestamp(at_ms));
    let mut text = String::with_capacity(PIECE_BYTES);
    for (i, one) in samples.iter().enumerate() {
        text.push_str(if i == 0 { "{\"metric\":" } else { ",{\"metric\":" });
        put_labels(&mut text, &one.labels);
        if let Some(histogram) = &one.histogram {
            histogram::put_sample(&mut text, at_ms, histogram);
        } else {
            text.push_str(&middle);
            put_sample(&mut text, one.value);
            text.push(']');
        }
        text.push('}');
        flush(out, &mut text, PIECE_BYTES)?;
    }
    text.push(']');
    flush(out, &mut text, 0)
}

/// `{"resultType":"matrix","result":[…]`, left open.
pub(super) fn write_matrix(out: &mut Text<'_>, rows: &[Points]) -> Result<(), ReadError> {
    out.raw("{\"resultType\":\"matrix\",\"result\":[")?;
    let mut text = String::with_capacity(PIECE_BYTES);
    for (i, row) in rows.iter().enumerate() {
        text.push_str(if i == 0 { "{\"metric\":" } else { ",{\"metric\":" });
        put_labels(&mut text, &row.labels);
        for (i, (at, histogram)) in row.histograms.iter().enumerate() {
            text.push_str(if i == 0 { ",\"histograms\":[" } else { "," });
            histogram::put(&mut text, *at, histogram);
            flush(out, &mut text, PIECE_BYTES)?;
        }
        if !row.histograms.is_empty() {
            text.push(']');
            if row.points.is_empty() {
                text.push('}');
                continue;
            }
        }
        text.push_str(",\"values\":[");
        for (i, (at, value)) in row.points.iter().enumerate() {
            text.push_str(if i == 0 { "[" } else { ",[" });
            put_timestamp(&mut text, *at);
            text.push(',');
            put_sample(&mut text, *value);
            text.push(']');
            flush(out, &mut text, PIECE_BYTES)?;
        }
        text.push_str("]}");
    }
    text.push(']');
    flush(out, &mut text, 0)
}

/// Hands on text that has grown to so many bytes.
fn flush(out: &mut Text<'_>, text: &mut String, bytes: usize) -> Result<(), ReadError> {
    if text.len() >= bytes {
        out.raw(text)?;
        text.clear();
    }
    Ok(())
}

fn put_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        put_string(out, name);
        out.push(':');
        put_string(out, value);
    }
    out.push('}');
}

fn put_string(out: &mut String, text: &str) {
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // All bytes are looked at, without a branch for each.
    if text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        let _ = write!(out, "{}", serde_json::Value::from(text));
        return;
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// As [`sample`] has it, in quotes.
fn put_sample(out: &mut String, value: f64) {
    out.push('"');
    let is_integer = value.fract() == 0.0 && value.abs() < INTEGER_MAX && (value != 0.0 || value.is_sign_positive());
    if is_integer {
        let _ = write!(out, "{}", value as i64);
    } else {
        out.push_str(&sample(value));
    }
    out.push('"');
}

/// As [`timestamp`] has it.
fn put_timestamp(out: &mut String, millis: i64) {
    if millis >= 0 && millis % 1000 == 0 {
        let _ = write!(out, "{}", millis / 1000);
    } else {
        out.push_str(&timestamp(millis));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_json_and_numbers_are_those_of_the_slow_way() {
        for text in ["", "plain", "a\"b", "a\\b", "line\nend", "\u{1}", "ümläut", "\u{7f}"] {
            let mut out = String::new();
            put_string(&mut out, text);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
        let values = [0.0, -0.0, 1.0, -7.0, 0.5, 1e15, 1e15 - 1.0, -1e15, 1e21, 1e-7, f64::NAN, f64::INFINITY, 123_456_789.25];
        for value in values {
            let mut out = String::new();
            put_sample(&mut out, value);
            assert_eq!(out, format!("\"{}\"", sample(value)), "{value}");
        }
        for millis in [0, 1000, 1001, -1, -2000, 1_700_000_000_000, 1_700_000_000_123] {
            let mut out = String::new();
            put_timestamp(&mut out, millis);
            assert_eq!(out, timestamp(millis));
        }
    }
}
