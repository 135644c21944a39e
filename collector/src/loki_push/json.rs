//! The JSON of a push: `{"streams":[{"stream":{…},"values":[["nanoseconds","line",{…}],…]},…]}`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
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
    #[serde(default)]
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    stream: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<Entry>,
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
                let line: String = values.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                let metadata: BTreeMap<String, String> = values.next_element()?.unwrap_or_default();
                Ok(Entry { timestamp, line, metadata: normalised(&metadata) })
            }
        }
        from.deserialize_seq(Values)
    }
}

fn normalised(pairs: &BTreeMap<String, String>) -> Labels {
    Labels::from_pairs(pairs.iter().map(|(name, value)| (normalise_label_name(name), value)))
}

/// Sections of a request.
pub(super) fn sections(context: &PushContext, admission: &Admission, bytes: &[u8]) -> Result<Taken, PushError> {
    let request: Request = serde_json::from_slice(bytes).map_err(|error| PushError::Malformed(format!("json: {error}")))?;
    let streams = request.streams;
    let mut taken = Taken::begin(context, streams.len(), streams.iter().map(|stream| stream.values.len()).sum())?;
    for stream in streams {
        let line_bytes = stream.values.iter().map(|entry| entry.line.len()).sum();
        let labels = normalised(&stream.stream);
        let lines = stream.values.len();
        let begun = StreamBuilder::begin(context, admission, labels, lines, line_bytes, &mut taken.refused)?;
        let Some(mut builder) = begun else { continue };
        for entry in &stream.values {
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
