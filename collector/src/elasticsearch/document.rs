//! One document as a line: its time, its text, and the rest as structured metadata. Pure.

use serde_json::Value;
use weir_model::label::normalise_label_name;
use weir_model::time::{UnixNanos, parse_time_loki};

/// One document may have so many bytes: two lines of the default length. What is read of it takes 16 times as much for a moment.
pub(super) const DOCUMENT_BYTES_MAX: usize = 512 << 10;

/// A member of an array takes 32 bytes once it is read, and in the text at least two.
pub(super) const DECODED_PER_BYTE: usize = 16;

/// Names of one document's metadata together: a name repeats the keys around it, so that one long key could become gigabytes.
const NAME_BYTES_MAX: usize = 64 << 10;

/// Where a document says when it was: data streams and most clients; Vector outside of them.
const TIMES: [&str; 2] = ["@timestamp", "timestamp"];
/// Where its text is: Beats, Logstash and Vector; Fluent Bit.
const TEXTS: [&str; 2] = ["message", "log"];

#[derive(Debug, PartialEq)]
pub(super) struct Document {
    /// `None` where it does not say.
    pub timestamp: Option<UnixNanos>,
    /// The whole document where it has no text.
    pub line: String,
    /// Keys of nested objects joined by `_`.
    pub metadata: Vec<(String, String)>,
}

/// Reads a document. Errors when it is no object, or more than `fields_max` fields.
pub(super) fn read(bytes: &[u8], fields_max: usize) -> Result<Document, String> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("a document of {} bytes is larger than the {DOCUMENT_BYTES_MAX} that weir takes", bytes.len()));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("failed to parse: {error}"))?;
    let Value::Object(mut members) = value else { return Err("failed to parse: a document is an object".into()) };
    let time = TIMES.into_iter().find(|name| members.contains_key(*name));
    let timestamp = time.map(|name| read_time(name, &members[name])).transpose()?;
    time.and_then(|name| members.remove(name));
    let text = TEXTS.into_iter().find(|name| members.get(*name).is_some_and(Value::is_string));
    let Some(Value::String(line)) = text.and_then(|name| members.remove(name)) else {
        return Ok(Document { timestamp, line: String::from_utf8_lossy(bytes).trim().to_owned(), metadata: Vec::new() });
    };
    let mut fields = Fields { metadata: Vec::new(), name_bytes: 0, fields_max };
    for (name, value) in members {
        fields.add(&name, value)?;
    }
    Ok(Document { timestamp, line, metadata: fields.metadata })
}

/// Milliseconds, or RFC 3339, of UTC where no zone is said.
fn read_time(name: &str, value: &Value) -> Result<UnixNanos, String> {
    let wrong = || {
        let shown: String = value.to_string().chars().take(64).collect();
        format!("failed to parse field [{name}]: {shown} is neither a time such as 2026-01-31T12:00:00Z nor milliseconds")
    };
    let millis = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse::<i64>().ok(),
        _ => None,
    };
    if let Some(millis) = millis {
        return millis.checked_mul(1_000_000).ok_or_else(wrong);
    }
    let text = value.as_str().filter(|text| text.contains('-')).ok_or_else(wrong)?;
    parse_time_loki(text).or_else(|_| parse_time_loki(&format!("{text}Z"))).map_err(|_| wrong())
}

struct Fields {
    metadata: Vec<(String, String)>,
    name_bytes: usize,
    fields_max: usize,
}

impl Fields {
    fn add(&mut self, name: &str, value: Value) -> Result<(), String> {
        let text = match value {
            Value::Null => return Ok(()),
            Value::Object(members) => {
                for (key, value) in members {
                    self.check_name(name.len() + key.len() + 1)?;
                    self.add(&format!("{name}_{key}"), value)?;
                }
                return Ok(());
            }
            Value::String(text) => text,
            other => other.to_string(),
        };
        self.check_name(name.len())?;
        if self.metadata.len() == self.fields_max {
            return Err(format!("a document has more fields than push.labels_max, {}", self.fields_max));
        }
        self.metadata.push((normalise_label_name(name).into_owned(), text));
        Ok(())
    }

    fn check_name(&mut self, bytes: usize) -> Result<(), String> {
        self.name_bytes += bytes;
        if self.name_bytes > NAME_BYTES_MAX {
            return Err(format!("the names of a document's fields have more than {NAME_BYTES_MAX} bytes together"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_document_is_a_line_with_metadata() {
        let check = |text: &str, timestamp: Option<i64>, line: &str, metadata: &[(&str, &str)]| {
            let found = read(text.as_bytes(), 10).unwrap_or_else(|error| panic!("{text}: {error}"));
            let pairs: Vec<_> = found.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!((found.timestamp, found.line.as_str(), &pairs[..]), (timestamp, line, metadata), "{text}");
        };
        check(r#"{"@timestamp": "1970-01-01T00:00:05.5Z", "message": "a"}"#, Some(5 * SECOND + SECOND / 2), "a", &[]);
        check(r#"{"@timestamp": "1970-01-01T00:00:05", "log": "b\n"}"#, Some(5 * SECOND), "b\n", &[]);
        check(r#"{"@timestamp": 5000, "timestamp": "x", "message": "c"}"#, Some(5 * SECOND), "c", &[("timestamp", "x")]);
        check(r#"{"timestamp": "5000", "message": "d"}"#, Some(5 * SECOND), "d", &[]);
        let nested = r#"{"message": "e", "log": {"offset": 7, "file.path": "/x"}, "tags": ["a", 1], "n": null, "ok": true}"#;
        check(nested, None, "e", &[("log_file_path", "/x"), ("log_offset", "7"), ("ok", "true"), ("tags", r#"["a",1]"#)]);
        check(r#"{"code": 5} "#, None, r#"{"code": 5}"#, &[]);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = read(text.as_bytes(), 2).unwrap_err();
            assert!(error.contains(expected), "{text:.60}: {error}");
        };
        check("[1]", "a document is an object");
        check("{", "failed to parse: EOF");
        check(r#"{"@timestamp": "yesterday", "message": "a"}"#, "failed to parse field [@timestamp]");
        check(r#"{"@timestamp": 9223372036854775807, "message": "a"}"#, "failed to parse field [@timestamp]");
        check(r#"{"@timestamp": null, "message": "a"}"#, "failed to parse field [@timestamp]");
        check(r#"{"message": "a", "x": 1, "y": 2, "z": 3}"#, "more fields than push.labels_max, 2");
        let long = format!(r#"{{"message": "a", "{}": {{"a": null, "b": null, "c": null}}}}"#, "k".repeat(30_000));
        check(&long, "names of a document's fields");
        check(&format!(r#"{{"message": "{}"}}"#, "x".repeat(DOCUMENT_BYTES_MAX)), "is larger than the 524288");
    }
}
