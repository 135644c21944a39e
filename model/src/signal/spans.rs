//! Spans as a signal: placed by trace id, so that a section may fall apart into one a partition; split in the middle.

use std::collections::BTreeMap;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::{Signal, derive_digest, parts};
use crate::span::{Attributes, Origin, SpanBatch, Value};
use crate::wire::{self, Budget, Kind, Mark, Section, WireError};

impl Signal for SpanBatch {
    const KIND: Kind = Kind::Spans;

    fn records(&self) -> u64 {
        self.spans.len() as u64
    }

    /// Spans have neither.
    fn active(&self) -> impl Iterator<Item = u64> {
        std::iter::empty()
    }

    fn encode(&self, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
        wire::spans::encode(self, budget, out)
    }

    fn decode(body: &[u8], records: u32, budget: &mut Budget) -> Result<Self, WireError> {
        wire::spans::decode(body, records, budget)
    }

    fn weight(&self) -> usize {
        origin_weight(&self.origin) + self.spans.weight()
    }

    fn route(section: Section<Self>, partition_of: impl Fn(u64) -> u32) -> Vec<(u32, Section<Self>)> {
        let mut tenant = Xxh3::new();
        tenant.update(section.header.tenant.as_bytes());
        let mut apart: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (row, id) in section.batch.spans.trace_ids().iter().enumerate() {
            let mut hash = tenant.clone();
            hash.update(&id.0);
            apart.entry(partition_of(hash.digest())).or_default().push(row);
        }
        if apart.len() < 2 {
            let partition = apart.into_keys().next().unwrap_or_else(|| partition_of(0));
            return vec![(partition, section)];
        }
        let part = |(partition, rows)| {
            let mut header = section.header.clone();
            if let Mark::Digest(digest) = header.mark {
                header.mark = Mark::Digest(derive_digest(&digest, partition));
            }
            (partition, Section::new(header, section.batch.select(rows)))
        };
        apart.into_iter().map(part).collect()
    }

    fn split(section: Section<Self>) -> Result<[Section<Self>; 2], Section<Self>> {
        let (batch, count) = (&section.batch, section.batch.spans.len());
        if count < 2 {
            return Err(section);
        }
        let halves = [batch.select(0..count / 2), batch.select(count / 2..count)];
        Ok(parts(&section.header, None, halves))
    }

    /// A span carries no position; the traces engine knows a span again by its ids.
    fn trim(self: &Arc<Self>, _: &Mark, _: u64) -> Arc<Self> {
        Arc::clone(self)
    }
}

impl SpanBatch {
    fn select(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        Self { origin: self.origin.clone(), spans: Arc::new(self.spans.select(rows)) }
    }
}

fn origin_weight(origin: &Origin) -> usize {
    let list =
        |attributes: &Attributes| -> usize { attributes.iter().map(|(name, value)| name.len() + 4 + value_weight(value)).sum() };
    list(&origin.resource) + list(&origin.scope_attributes) + origin.scope_name.len() + origin.scope_version.len()
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
