//! Values, attribute lists and origins as bytes, and the hash of a span's content. Format: `docs/formats/traces_block.md`.
//!
//! One encoding serves storage and hashing, so that "the same content" means "the same bytes in a block".

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::value::{Number, Value as Json};
use weir_model::id::SpanId;
use weir_model::span::{Attributes, AttributesRef, Origin, SpanRef, Spans, Value, ValueRef, views};

use weir_blocks::packed::{Cursor, put_bytes, put_varint, put_zigzag};

/// JSON nests no deeper than this when it is read; serde_json's own parser stops at the same depth.
const JSON_DEPTH_MAX: usize = 128;

/// An origin, interned: shared by its spans, with its bytes for comparing.
#[derive(Debug)]
pub struct KnownOrigin {
    pub origin: Origin,
    /// [`put_origin`].
    pub encoded: Vec<u8>,
}

/// A span where it lies, and who made it.
#[derive(Clone, Debug)]
pub struct OriginSpan {
    pub origin: Arc<KnownOrigin>,
    pub spans: Arc<Spans>,
    pub row: u32,
}

impl OriginSpan {
    pub fn span(&self) -> SpanRef<'_> {
        self.spans.get(self.row as usize)
    }

    /// About what it takes as OTLP, without its resource; also a fair guess at its memory.
    pub fn raw_bytes(&self) -> usize {
        Sizes::of(self.span()).raw
    }

    /// Its id and its parent's.
    pub(crate) fn ids(&self) -> (SpanId, SpanId) {
        (self.span().span_id(), self.span().parent_id())
    }

    /// All spans of a batch.
    #[cfg(test)]
    pub(crate) fn all(origin: &Arc<KnownOrigin>, spans: &Arc<Spans>) -> impl Iterator<Item = Self> {
        (0..spans.len() as u32).map(|row| Self { origin: Arc::clone(origin), spans: Arc::clone(spans), row })
    }
}

#[cfg(test)]
impl KnownOrigin {
    pub(crate) fn new(origin: Origin) -> Self {
        let mut encoded = Vec::new();
        put_origin(&mut encoded, &origin);
        Self { origin, encoded }
    }
}

/// Appends a value: a tag and what it needs.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &ValueRef<'_>) {
    match value {
        ValueRef::String(text) => {
            out.push(0);
            put_bytes(out, text.as_bytes());
        }
        ValueRef::Bool(truth) => out.push(1 + u8::from(*truth)),
        ValueRef::Int(number) => {
            out.push(3);
            put_zigzag(out, *number);
        }
        ValueRef::Double(number) => {
            out.push(4);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        ValueRef::Json(json) => {
            out.push(5);
            put_json(out, json);
        }
        ValueRef::Bytes(bytes) => {
            out.push(6);
            put_bytes(out, bytes);
        }
    }
}

/// Reads a value.
pub(crate) fn value(cursor: &mut Cursor<'_>) -> Result<Value, String> {
    Ok(match cursor.byte()? {
        0 => Value::String(cursor.text()?.to_owned()),
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => Value::Int(cursor.zigzag()?),
        4 => Value::Double(f64::from_bits(u64::from_le_bytes(cursor.array()?))),
        5 => Value::Json(Box::new(json(cursor, JSON_DEPTH_MAX)?)),
        6 => Value::Bytes(cursor.bytes()?.to_vec()),
        tag => return Err(format!("value tag {tag} is unknown")),
    })
}

/// Not as text: a float's last bit would depend on who parses it.
fn put_json(out: &mut Vec<u8>, json: &Json) {
    match json {
        Json::Null => out.push(0),
        Json::Bool(truth) => out.push(1 + u8::from(*truth)),
        Json::Number(number) => put_number(out, number),
        Json::String(text) => {
            out.push(6);
            put_bytes(out, text.as_bytes());
        }
        Json::Array(items) => {
            out.push(7);
            put_varint(out, items.len() as u64);
            items.iter().for_each(|item| put_json(out, item));
        }
        Json::Object(members) => {
            out.push(8);
            put_varint(out, members.len() as u64);
            for (name, member) in members {
                put_bytes(out, name.as_bytes());
                put_json(out, member);
            }
        }
    }
}

fn put_number(out: &mut Vec<u8>, number: &Number) {
    if let Some(number) = number.as_u64() {
        out.push(3);
        put_varint(out, number);
    } else if let Some(number) = number.as_i64() {
        out.push(4);
        put_zigzag(out, number);
    } else {
        out.push(5);
        out.extend_from_slice(&number.as_f64().unwrap_or(0.0).to_bits().to_le_bytes());
    }
}

fn json(cursor: &mut Cursor<'_>, depth: usize) -> Result<Json, String> {
    let deeper = depth.checked_sub(1).ok_or("JSON nested too deep")?;
    Ok(match cursor.byte()? {
        0 => Json::Null,
        1 => Json::Bool(false),
        2 => Json::Bool(true),
        3 => Json::Number(cursor.varint()?.into()),
        4 => Json::Number(cursor.zigzag()?.into()),
        5 => {
            let number = f64::from_bits(u64::from_le_bytes(cursor.array()?));
            Json::Number(Number::from_f64(number).ok_or("a JSON number that is not finite")?)
        }
        6 => Json::String(cursor.text()?.to_owned()),
        7 => {
            let count = cursor.count(1)?;
            Json::Array((0..count).map(|_| json(cursor, deeper)).collect::<Result<_, _>>()?)
        }
        8 => {
            let count = cursor.count(2)?;
            Json::Object(
                (0..count).map(|_| Ok((cursor.text()?.to_owned(), json(cursor, deeper)?))).collect::<Result<_, String>>()?,
            )
        }
        tag => return Err(format!("JSON tag {tag} is unknown")),
    })
}

/// Appends an attribute list.
fn put_attributes<'a>(out: &mut Vec<u8>, attributes: impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)>) {
    put_varint(out, attributes.len() as u64);
    for (name, value) in attributes {
        put_bytes(out, name.as_bytes());
        put_value(out, &value);
    }
}

fn attributes(cursor: &mut Cursor<'_>) -> Result<Attributes, String> {
    let count = cursor.count(2)?;
    (0..count).map(|_| Ok((cursor.text()?.to_owned(), value(cursor)?))).collect()
}

/// Appends an origin.
pub(crate) fn put_origin(out: &mut Vec<u8>, origin: &Origin) {
    put_attributes(out, views(&origin.resource));
    put_bytes(out, origin.scope_name.as_bytes());
    put_bytes(out, origin.scope_version.as_bytes());
    put_attributes(out, views(&origin.scope_attributes));
}

/// Reads an origin.
pub(crate) fn origin(cursor: &mut Cursor<'_>) -> Result<Origin, String> {
    Ok(Origin {
        resource: attributes(cursor)?,
        scope_name: cursor.text()?.to_owned(),
        scope_version: cursor.text()?.to_owned(),
        scope_attributes: attributes(cursor)?,
    })
}

/// Of everything that a span is, its origin included: 128 bits, so that two different spans of one id never meet in it.
pub(crate) fn content_hash(origin: &KnownOrigin, span: SpanRef<'_>) -> u128 {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&span.trace_id().0);
    bytes.extend_from_slice(&span.span_id().0);
    bytes.extend_from_slice(&span.parent_id().0);
    bytes.extend_from_slice(&[span.kind() as u8, span.status() as u8]);
    bytes.extend_from_slice(&span.start().to_le_bytes());
    bytes.extend_from_slice(&span.end().to_le_bytes());
    [span.trace_state(), span.name(), span.status_message()].iter().for_each(|text| put_bytes(&mut bytes, text.as_bytes()));
    put_attributes(&mut bytes, span.attributes());
    put_varint(&mut bytes, span.events().len() as u64);
    for event in span.events() {
        bytes.extend_from_slice(&event.timestamp.to_le_bytes());
        put_bytes(&mut bytes, event.name.as_bytes());
        put_attributes(&mut bytes, event.attributes);
    }
    put_varint(&mut bytes, span.links().len() as u64);
    for link in span.links() {
        bytes.extend_from_slice(&link.trace_id.0);
        bytes.extend_from_slice(&link.span_id.0);
        put_bytes(&mut bytes, link.trace_state.as_bytes());
        put_attributes(&mut bytes, link.attributes);
    }
    bytes.extend_from_slice(&origin.encoded);
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

/// Drops repetitions, the first stays. How many.
pub(crate) fn unique(spans: &mut Vec<OriginSpan>) -> u64 {
    let before = spans.len();
    let mut ids = HashSet::with_capacity(before);
    // What is equal has one id: mostly no two spans have, and nothing need be hashed.
    if spans.iter().all(|own| ids.insert(own.span().span_id())) {
        return 0;
    }
    let mut seen = HashSet::with_capacity(before);
    spans.retain(|own| seen.insert(content_hash(&own.origin, own.span())));
    (before - spans.len()) as u64
}

/// What a span adds to a block.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sizes {
    /// About what it takes as OTLP, without its resource; also a fair guess at its memory.
    pub raw: usize,
    /// Bytes of names, its own and those of attributes and events, and how many they are.
    pub names: usize,
    pub names_count: usize,
}

impl Sizes {
    pub(crate) fn of(span: SpanRef<'_>) -> Self {
        // Ids, times, kind, status and the tags before each.
        const FIXED: usize = 64;
        let texts = span.name().len() + span.trace_state().len() + span.status_message().len();
        let mut own = Self { raw: FIXED + texts, names: span.name().len(), names_count: 1 };
        own.add(span.attributes());
        for event in span.events() {
            own.raw += 16 + event.name.len();
            own.names += event.name.len();
            own.names_count += 1;
            own.add(event.attributes);
        }
        for link in span.links() {
            own.raw += 32 + link.trace_state.len();
            own.add(link.attributes);
        }
        own
    }

    fn add(&mut self, attributes: AttributesRef<'_>) {
        for (name, value) in attributes {
            self.raw += name.len() + value_bytes(&value) + 8;
            self.names += name.len();
            self.names_count += 1;
        }
    }
}

fn value_bytes(value: &ValueRef<'_>) -> usize {
    match value {
        ValueRef::String(text) => text.len(),
        ValueRef::Bytes(bytes) => bytes.len(),
        ValueRef::Bool(_) | ValueRef::Int(_) | ValueRef::Double(_) => 8,
        ValueRef::Json(json) => json_bytes(json),
    }
}

fn json_bytes(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len() + 2,
        Json::Array(items) => items.iter().map(json_bytes).sum::<usize>() + 2,
        Json::Object(members) => members.iter().map(|(name, member)| name.len() + 4 + json_bytes(member)).sum::<usize>() + 2,
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
    }
}
