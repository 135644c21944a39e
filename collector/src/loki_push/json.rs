//! The JSON of a push: `{"streams":[{"stream":{…},"values":[["nanoseconds","line",{…}],…]},…]}`. What Loki reads although it is not quite
//! that is read here: numbers and booleans as values of labels, null for none, an entry without a line or with more behind it, and bytes that
//! are not UTF-8, which become U+FFFD.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use weir_model::label::{Labels, normalise_label_name};
use weir_model::time::UnixNanos;

use super::stream::{StreamBuilder, Taken};
use crate::admission::Admission;
use crate::metadata::Metadata;
use crate::push::PushContext;
use crate::push_error::PushError;

/// Memory of a line beside its text: an [`Entry`] in a vector that doubles.
pub(super) const ENTRY_BYTES: usize = 2 * size_of::<Entry>();

#[derive(Deserialize)]
struct Request {
    streams: Option<Vec<Stream>>,
}

#[derive(Deserialize)]
struct Stream {
    stream: BTreeMap<String, Value>,
    values: Option<Vec<Entry>>,
}

/// The value of a stream's label. By hand: an untagged enum would hold what is wrong in memory that nobody counts.
struct Value(String);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl Visitor<'_> for Scalar {
            type Value = String;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }

            fn visit_string<E>(self, text: String) -> Result<String, E> {
                Ok(text)
            }

            fn visit_bool<E>(self, value: bool) -> Result<String, E> {
                Ok(value.to_string())
            }

            fn visit_u64<E>(self, number: u64) -> Result<String, E> {
                Ok(number.to_string())
            }

            fn visit_i64<E>(self, number: i64) -> Result<String, E> {
                Ok(number.to_string())
            }

            fn visit_f64<E>(self, number: f64) -> Result<String, E> {
                Ok(number.to_string())
            }

            fn visit_unit<E>(self) -> Result<String, E> {
                Ok(String::new())
            }
        }
        from.deserialize_any(Scalar).map(Self)
    }
}

/// `["nanoseconds", "line"]` or `["nanoseconds", "line", {"name": "value"}]`
struct Entry {
    timestamp: UnixNanos,
    line: String,
    metadata: Labels,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Entry;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("[\"nanoseconds\", \"line\"] with optional structured metadata")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Entry, A::Error> {
                let time: String = values.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let timestamp = time.parse().map_err(|_| A::Error::custom(format!("not a time in nanoseconds: {time:?}")))?;
                let line: String = values.next_element()?.unwrap_or_default();
                let metadata: BTreeMap<String, String> = values.next_element()?.unwrap_or_default();
                while values.next_element::<IgnoredAny>()?.is_some() {}
                let metadata = normalised(metadata.iter().map(|(name, value)| (name.as_str(), value.as_str().into())));
                Ok(Entry { timestamp, line, metadata })
            }
        }
        from.deserialize_seq(Values)
    }
}

fn normalised<'a>(pairs: impl Iterator<Item = (&'a str, Cow<'a, str>)>) -> Labels {
    Labels::from_pairs(pairs.map(|(name, value)| (normalise_label_name(name), value)))
}

/// As UTF-8. A byte may become three, which are charged.
fn readable<'a>(bytes: &'a [u8], admission: &Admission) -> Result<Cow<'a, str>, PushError> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(text.into());
    }
    admission.charge(bytes.len().saturating_mul(3))?;
    Ok(String::from_utf8_lossy(bytes))
}

/// Sections of a request.
pub(super) fn sections(context: &PushContext, admission: &Admission, bytes: &[u8]) -> Result<Taken, PushError> {
    let text = readable(bytes, admission)?;
    let request: Request = serde_json::from_str(&text).map_err(|error| PushError::Malformed(format!("json: {error}")))?;
    let streams = request.streams.unwrap_or_default();
    let entries = streams.iter().map(|stream| stream.values.as_ref().map_or(0, Vec::len)).sum();
    let mut taken = Taken::begin(context, streams.len(), entries)?;
    for stream in streams {
        let values = stream.values.unwrap_or_default();
        let line_bytes = values.iter().map(|entry| entry.line.len()).sum();
        let labels = normalised(stream.stream.iter().map(|(name, value)| (name.as_str(), value.0.as_str().into())));
        let lines = values.len();
        let begun = StreamBuilder::begin(context, admission, labels, lines, line_bytes, &mut taken.refused)?;
        let Some(mut builder) = begun else { continue };
        for entry in &values {
            builder.check_metadata(entry.metadata.len())?;
            let mut metadata = Metadata::of(&entry.metadata);
            if let Some(kept) = builder.push(entry.timestamp, entry.line.as_bytes(), &mut metadata, &mut taken.refused)? {
                kept.number(entry.timestamp);
                kept.field(entry.line.as_bytes());
                kept.number(entry.metadata.stable_hash() as i64);
            }
        }
        taken.sections.extend(builder.finish());
    }
    Ok(taken)
}
