//! Which partition a section belongs to, and what it weighs. Pure.

use std::collections::BTreeMap;

use weir_bus::partition_of;
use weir_model::label::Labels;
use weir_model::span::{Attributes, Origin, Span, SpanBatch, Value};
use weir_model::wire::{Body, Mark, Section};
use xxhash_rust::xxh3::Xxh3;

use super::split::derive_digest;

/// A section with its partition.
pub(crate) struct Routed {
    pub partition: u32,
    pub section: Section,
}

/// Logs by stream source, metrics by target, spans by trace id: a span section falls apart into one a partition.
pub(crate) fn by_partition(section: Section, partitions: u32) -> Vec<Routed> {
    let key = match &section.body {
        Body::Logs(_) => text_key(&section.header.tenant, &section.header.source),
        Body::Metrics(batch) => {
            let mut hash = Xxh3::new();
            hash.update(section.header.tenant.as_bytes());
            hash.update(&batch.target.stable_hash().to_le_bytes());
            hash.digest()
        }
        Body::Spans(_) => return spans(section, partitions),
    };
    vec![Routed { partition: partition_of(key, partitions), section }]
}

fn text_key(tenant: &str, source: &str) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(tenant.as_bytes());
    hash.update(&[0xff]);
    hash.update(source.as_bytes());
    hash.digest()
}

fn spans(section: Section, partitions: u32) -> Vec<Routed> {
    let Section { header, body } = section;
    let Body::Spans(batch) = body else { return vec![Routed { partition: 0, section: Section { header, body } }] };
    let mut apart: BTreeMap<u32, Vec<Span>> = BTreeMap::new();
    for span in batch.spans {
        let mut hash = Xxh3::new();
        hash.update(header.tenant.as_bytes());
        hash.update(&span.trace_id.0);
        apart.entry(partition_of(hash.digest(), partitions)).or_default().push(span);
    }
    let whole = apart.len() == 1;
    let part = |(partition, spans): (u32, Vec<Span>)| {
        let mut header = header.clone();
        if let (Mark::Digest(digest), false) = (header.mark, whole) {
            header.mark = Mark::Digest(derive_digest(&digest, partition));
        }
        header.records = spans.len() as u32;
        Routed { partition, section: Section { header, body: Body::Spans(SpanBatch { origin: batch.origin.clone(), spans }) } }
    };
    apart.into_iter().map(part).collect()
}

/// About how many bytes a body takes uncompressed on the wire, where a text that neighbours share is written once: for budgets, not for correctness.
pub(crate) fn weight(body: &Body) -> usize {
    match body {
        Body::Logs(batch) => {
            let stream = labels_weight(batch.stream.iter());
            batch.body_bytes() + LINE_WEIGHT * batch.len() + stream + batch.attribute_bytes()
        }
        Body::Metrics(batch) => {
            let names = Labels::shared_bytes(&batch.schema.series);
            let help: usize = batch.schema.families.iter().map(|family| family.name.len() + family.help.len() + 8).sum();
            names + help + batch.rows.iter().map(|row| 8 + 8 * row.values.len()).sum::<usize>()
        }
        Body::Spans(batch) => origin_weight(&batch.origin) + batch.spans.iter().map(span_weight).sum::<usize>(),
    }
}

/// Timestamp, length, severity and their like of a line.
const LINE_WEIGHT: usize = 24;

fn origin_weight(origin: &Origin) -> usize {
    let scope = origin.scope_name.len() + origin.scope_version.len();
    attributes_weight(&origin.resource) + attributes_weight(&origin.scope_attributes) + scope
}

fn labels_weight<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> usize {
    labels.map(|(name, value)| name.len() + value.len() + 4).sum()
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
