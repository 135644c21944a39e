//! Spans as a signal: placed by trace id, so that a section may fall apart into one a partition; split in the middle.

use std::collections::BTreeMap;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::{Signal, derive_digest, parts};
use crate::span::{Attributes, Origin, Span, SpanBatch, Value};
use crate::wire::{self, Budget, Kind, Mark, Section, WireError};

impl Signal for SpanBatch {
    const KIND: Kind = Kind::Spans;

    fn records(&self) -> u64 {
        self.spans.len() as u64
    }

    fn encode(&self, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
        wire::spans::encode(self, budget, out)
    }

    fn decode(body: &[u8], records: u32, budget: &mut Budget) -> Result<Self, WireError> {
        wire::spans::decode(body, records, budget)
    }

    fn weight(&self) -> usize {
        origin_weight(&self.origin) + self.spans.iter().map(span_weight).sum::<usize>()
    }

    fn route(section: Section<Self>, partition_of: impl Fn(u64) -> u32) -> Vec<(u32, Section<Self>)> {
        let place = |span: &Span| {
            let mut hash = Xxh3::new();
            hash.update(section.header.tenant.as_bytes());
            hash.update(&span.trace_id.0);
            partition_of(hash.digest())
        };
        let places: Vec<u32> = section.batch.spans.iter().map(place).collect();
        let Some(first) = places.first().copied() else { return vec![(partition_of(0), section)] };
        if places.iter().all(|place| *place == first) {
            return vec![(first, section)];
        }
        let Section { header, batch } = section;
        let batch = Arc::unwrap_or_clone(batch);
        let mut apart: BTreeMap<u32, Vec<Span>> = BTreeMap::new();
        for (place, span) in places.into_iter().zip(batch.spans) {
            apart.entry(place).or_default().push(span);
        }
        let part = |(partition, spans)| {
            let mut header = header.clone();
            if let Mark::Digest(digest) = header.mark {
                header.mark = Mark::Digest(derive_digest(&digest, partition));
            }
            (partition, Section::new(header, Self { origin: batch.origin.clone(), spans }))
        };
        apart.into_iter().map(part).collect()
    }

    fn split(section: Section<Self>) -> Result<[Section<Self>; 2], Section<Self>> {
        if section.batch.spans.len() < 2 {
            return Err(section);
        }
        let mut first = Arc::unwrap_or_clone(section.batch);
        let spans = first.spans.split_off(first.spans.len() / 2);
        let second = Self { origin: first.origin.clone(), spans };
        Ok(parts(&section.header, None, [first, second]))
    }

    /// A span carries no position; the traces engine knows a span again by its ids.
    fn trim(self: &Arc<Self>, _: &Mark, _: u64) -> Arc<Self> {
        Arc::clone(self)
    }
}

fn origin_weight(origin: &Origin) -> usize {
    let scope = origin.scope_name.len() + origin.scope_version.len();
    attributes_weight(&origin.resource) + attributes_weight(&origin.scope_attributes) + scope
}

fn span_weight(span: &Span) -> usize {
    let events: usize = span.events.iter().map(|event| 16 + event.name.len() + attributes_weight(&event.attributes)).sum();
    let links: usize = span.links.iter().map(|link| 32 + attributes_weight(&link.attributes)).sum();
    64 + span.name.len()
        + span.status_message.len()
        + span.trace_state.len()
        + attributes_weight(&span.attributes)
        + events
        + links
}

fn attributes_weight(attributes: &Attributes) -> usize {
    attributes.iter().map(|(name, value)| name.len() + 4 + value_weight(value)).sum()
}

fn value_weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        // A nested value is rare; its text is measured by writing it.
        Value::Json(json) => json.to_string().len(),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => 9,
    }
}
