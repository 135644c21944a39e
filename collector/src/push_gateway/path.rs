//! A group's labels from the path of a request: names and values by turns, each value also as base64 where its name ends in `@base64`. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use weir_model::label::{Labels, is_label_name};

use crate::push_error::PushError;

const BASE64: &str = "@base64";

/// Of `/metrics/job/…`, still with its percent signs: a slash that is part of a value is no slash of the path.
pub(super) fn labels(path: &str) -> Result<Labels, PushError> {
    let wrong = |reason: String| Err(PushError::Malformed(reason));
    let segments: Vec<&str> = path.strip_prefix("/metrics/").unwrap_or(path).split('/').collect();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in segments.chunks(2) {
        let [name, value] = pair else {
            return wrong(format!("odd number of components in the path: {:?} has no value", pair[0]));
        };
        let name = decoded(name)?;
        let value = decoded(value)?;
        let (name, value) = match name.strip_suffix(BASE64) {
            Some(name) => (name.to_owned(), from_base64(&value)?),
            None => (name, value),
        };
        if !is_label_name(&name) || name.starts_with("__") {
            return wrong(format!("{name:?} is no label of a group"));
        }
        if pairs.iter().any(|(other, _)| *other == name) {
            return wrong(format!("label {name} stands twice in the path"));
        }
        pairs.push((name, value));
    }
    if pairs.first().is_none_or(|(_, job)| job.is_empty()) {
        return wrong("job name is required".into());
    }
    Ok(Labels::from_pairs(pairs))
}

fn decoded(segment: &str) -> Result<String, PushError> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
        match byte {
            b'%' => match (hex(rest.next()), hex(rest.next())) {
                (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                _ => return Err(PushError::Malformed(format!("{segment:?} has a percent sign without two digits"))),
            },
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| PushError::Malformed(format!("{segment:?} is not UTF-8")))
}

/// Of the URL's alphabet, with or without padding; `=` alone is empty.
fn from_base64(text: &str) -> Result<String, PushError> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
    let text_of = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text_of.ok_or_else(|| PushError::Malformed(format!("{text:?} is not base64 of a text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        let check = |path: &str, expected: Result<&str, &str>| match (labels(path), expected) {
            (Ok(labels), Ok(expected)) => assert_eq!(labels.to_string(), expected, "{path}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{path}: {error}"),
            (seen, _) => panic!("{path}: {seen:?}"),
        };
        check("/metrics/job/backup", Ok(r#"{job="backup"}"#));
        check("/metrics/job/a%2Fb/instance/x%20y", Ok(r#"{instance="x y", job="a/b"}"#));
        check("/metrics/job/titan/name/%CE%A0", Ok(r#"{job="titan", name="Π"}"#));
        check("/metrics/job@base64/YS9i/path@base64/L3Zhci90bXA=", Ok(r#"{job="a/b", path="/var/tmp"}"#));
        check("/metrics/job/x/empty@base64/=", Ok(r#"{job="x"}"#));
        check("/metrics/job/x/y", Err("odd number"));
        check("/metrics/job/", Err("job name is required"));
        check("/metrics/job/x/a-b/c", Err("no label of a group"));
        check("/metrics/job/x/__name__/c", Err("no label of a group"));
        check("/metrics/job/x/job/y", Err("stands twice"));
        check("/metrics/job/%zz", Err("percent sign"));
        check("/metrics/job/%ff", Err("not UTF-8"));
        check("/metrics/job@base64/***", Err("not base64"));
    }
}
