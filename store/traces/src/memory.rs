//! What spans take in a head's memory, to the byte where that is known. Called by `head.rs`.

use serde_json::value::Value as Json;
use weir_model::id::TraceId;
use weir_model::memory::{allocation, shared, table_entry};
use weir_model::span::{Attributes, Spans, Value};

use super::content::KnownOrigin;
use super::placed::{HeadBatch, Place, PlacedTrace};

/// A tree's node has room for 11 entries, and is half full or more when there are several.
const NODE_ENTRIES: usize = 11;

/// A batch: its columns, and its place in the list of batches, which grows by doubling.
pub(crate) fn batch(spans: &Spans) -> usize {
    shared(size_of::<Spans>()) + spans.memory() + 2 * size_of::<HeadBatch>()
}

/// A span's place in its trace's list, which grows by doubling, and in the table of all ids.
pub(crate) const PLACED: usize = 2 * size_of::<Place>() + table_entry(size_of::<(u64, Place)>());

/// A trace without its spans, but for the room that the first few have.
pub(crate) fn trace() -> usize {
    allocation(2 * size_of::<Place>()) + table_entry(size_of::<(TraceId, PlacedTrace)>())
}

/// An origin, with its bytes here and as a key.
pub(crate) fn origin(origin: &KnownOrigin) -> usize {
    let own = &origin.origin;
    shared(size_of::<KnownOrigin>())
        + table_entry(size_of::<(Vec<u8>, usize)>())
        + allocation(origin.encoded.capacity())
        + allocation(origin.encoded.len())
        + list(&own.resource)
        + list(&own.scope_attributes)
        + text(&own.scope_name)
        + text(&own.scope_version)
}

/// A tenant's name and table, without what lies in it.
pub(crate) fn tenant(name: &str) -> usize {
    allocation(name.len()) + 2 * size_of::<(String, std::collections::HashMap<TraceId, usize>)>()
}

fn text(text: &String) -> usize {
    allocation(text.capacity())
}

fn list(attributes: &Attributes) -> usize {
    let own: usize = attributes.iter().map(|(name, own)| text(name) + value(own)).sum();
    allocation(attributes.capacity() * size_of::<(String, Value)>()) + own
}

fn value(value: &Value) -> usize {
    match value {
        Value::String(own) => text(own),
        Value::Bytes(bytes) => allocation(bytes.capacity()),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
        Value::Json(own) => allocation(size_of::<Json>()) + json(own),
    }
}

fn json(own: &Json) -> usize {
    match own {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(own) => text(own),
        Json::Array(items) => allocation(items.capacity() * size_of::<Json>()) + items.iter().map(json).sum::<usize>(),
        Json::Object(members) => {
            let slots = if members.len() > NODE_ENTRIES { members.len() * 3 / 2 } else { NODE_ENTRIES };
            let nodes = if members.is_empty() { 0 } else { allocation(slots * size_of::<(String, Json)>()) };
            nodes + members.iter().map(|(name, member)| text(name) + json(member)).sum::<usize>()
        }
    }
}
