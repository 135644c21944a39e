//! logproto's `PushRequest`, read where it lies: a stream's labels are parsed once, its lines go from the request into the
//! batch. Not JSON ([`super::json`]).

use weir_model::label::{Labels, normalise_label_name};
use weir_model::time::{SECOND, UnixNanos};

use super::selector;
use super::stream::{Refused, StreamBuilder, Taken};
use crate::admission::Admission;
use crate::metadata::Metadata;
use crate::proto::{Fields, ProtoError};
use crate::push::PushContext;
use crate::push_error::PushError;

const REQUEST: &str = "PushRequest";
const STREAM: &str = "Stream";
const ENTRY: &str = "Entry";
const TIMESTAMP: &str = "Timestamp";
const PAIR: &str = "LabelPair";

/// A stream, its entries not yet read.
struct RawStream<'a> {
    labels: Labels,
    message: &'a [u8],
    entries: usize,
    /// Of all entries: at least what their lines take.
    entry_bytes: usize,
}

/// Sections of a request.
pub(super) fn sections(context: &PushContext, admission: &Admission, bytes: &[u8]) -> Result<Taken, PushError> {
    let mut streams = Vec::new();
    for field in Fields::new(bytes, REQUEST) {
        if let (1, field) = field? {
            let stream = raw_stream(streams.len(), field.bytes()?)?;
            admission.charge(size_of_val(&stream) * 2 + stream.labels.memory())?;
            streams.push(stream);
        }
    }
    let mut taken = Taken::begin(context, streams.len(), streams.iter().map(|stream| stream.entries).sum())?;
    let mut metadata = Metadata::default();
    for stream in streams {
        let (lines, line_bytes) = (stream.entries, stream.entry_bytes);
        let begun = StreamBuilder::begin(context, admission, stream.labels, lines, line_bytes, &mut taken.refused)?;
        let Some(mut builder) = begun else { continue };
        for field in Fields::new(stream.message, STREAM) {
            if let (2, field) = field? {
                entry(&mut builder, field.bytes()?, &mut metadata, &mut taken.refused)?;
            }
        }
        taken.sections.extend(builder.finish());
    }
    Ok(taken)
}

fn raw_stream(at: usize, message: &[u8]) -> Result<RawStream<'_>, PushError> {
    let (mut labels, mut entries, mut entry_bytes) = ("", 0, 0);
    for field in Fields::new(message, STREAM) {
        match field? {
            (1, field) => labels = field.text()?,
            (2, field) => {
                entries += 1;
                entry_bytes += field.bytes()?.len();
            }
            _ => {}
        }
    }
    let labels = selector::parse(labels).map_err(|error| PushError::Malformed(format!("labels of stream {at}: {error}")))?;
    Ok(RawStream { labels, message, entries, entry_bytes })
}

fn entry<'a>(
    builder: &mut StreamBuilder<'_>,
    message: &'a [u8],
    metadata: &mut Metadata<'a>,
    refused: &mut Refused,
) -> Result<(), PushError> {
    let (mut time, mut line) = (0, &[][..]);
    metadata.clear();
    for field in Fields::new(message, ENTRY) {
        match field? {
            (1, field) => time = timestamp(field.bytes()?)?,
            // A string in logproto; what is not UTF-8 is kept.
            (2, field) => line = field.bytes()?,
            (3, field) => {
                let (name, value) = pair(field.bytes()?)?;
                metadata.push(normalise_label_name(name), value.into());
                builder.check_metadata(metadata.len())?;
            }
            _ => {}
        }
    }
    if let Some(kept) = builder.push(time, line, metadata, refused)? {
        kept.field(message);
    }
    Ok(())
}

fn timestamp(message: &[u8]) -> Result<UnixNanos, ProtoError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for field in Fields::new(message, TIMESTAMP) {
        match field? {
            (1, field) => seconds = field.varint()? as i64,
            (2, field) => nanos = field.varint()? as i32,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(SECOND).saturating_add(i64::from(nanos)))
}

fn pair(message: &[u8]) -> Result<(&str, &str), ProtoError> {
    let (mut name, mut value) = ("", "");
    for field in Fields::new(message, PAIR) {
        match field? {
            (1, field) => name = field.text()?,
            (2, field) => value = field.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}
