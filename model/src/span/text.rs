//! Attribute values as the text that people read and search for: one form in every answer, search and index.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Value, ValueRef};

impl Value {
    /// Strings as they are, arrays and maps as compact JSON, bytes in base64.
    pub fn text(&self) -> Cow<'_, str> {
        self.view().text()
    }

    /// Whether a user's text names this value. A double is any text of the same number: JSON writes 1000.0 where others
    /// write 1000 or 1e3.
    pub fn matches_text(&self, text: &str) -> bool {
        self.view().matches_text(text)
    }
}

impl<'a> ValueRef<'a> {
    /// As [`Value::text`].
    pub fn text(&self) -> Cow<'a, str> {
        match self {
            Self::String(text) => Cow::Borrowed(text),
            Self::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Double(number) => Cow::Owned(number.to_string()),
            Self::Json(nested) => Cow::Owned(nested.to_string()),
            Self::Bytes(bytes) => Cow::Owned(base64(bytes)),
        }
    }

    /// As [`Value::matches_text`].
    pub fn matches_text(&self, text: &str) -> bool {
        let same_number = matches!(self, Self::Double(number) if text.parse() == Ok(*number));
        same_number || self.text() == text
    }
}

/// RFC 4648 §4, with padding.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
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

    #[test]
    fn a_text_names_values_of_every_type() {
        let check = |value: Value, yes: &[&str], no: &[&str]| {
            yes.iter().for_each(|text| assert!(value.matches_text(text), "{value:?} {text}"));
            no.iter().for_each(|text| assert!(!value.matches_text(text), "{value:?} {text}"));
        };
        check(Value::String("a b".into()), &["a b"], &["a", "A B", ""]);
        check(Value::String("500".into()), &["500"], &["500.0"]);
        check(Value::Int(-500), &["-500"], &["500", "-500.0", "x"]);
        check(Value::Bool(true), &["true"], &["1", "false", "True"]);
        check(Value::Double(1000.0), &["1000", "1000.0", "1e3"], &["1000.5", ""]);
        check(Value::Double(f64::NAN), &["NaN"], &["0"]);
        check(Value::Bytes(vec![0, 255]), &["AP8="], &["00ff", ""]);
        check(Value::Json(Box::new(serde_json::json!([1, "a"]))), &[r#"[1,"a"]"#], &["1"]);
    }
}
