//! Puts traces together into a block. Called by the head when it is sealed, and by merge.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use weir_model::id::TraceId;
use weir_model::span::Attributes;

use super::content::{KnownOrigin, OriginSpan, raw_bytes};
use super::group::GroupBuilder;
use super::schema::{
    AttributeName, FILTER, GROUP_BYTES, GROUPS, GroupEntry, LENGTH_BYTES_MAX, LEVEL, OPERATIONS, ORIGINS, Operation,
    SEGMENT_BYTES, SEGMENT_SPANS, SPANS, STRINGS, Seen, StringsBuilder, TRACES,
};
use super::state::Arrival;
use crate::block::BlockData;
use crate::engine::{BlockSummary, BuiltBlock};
use crate::limits::{SECTION_BYTES, pieces};
use crate::packed::{packed, put_bytes, put_varint, put_zigzag};

/// Milliseconds are enough to tell whether a trace was idle for seconds.
pub(crate) const ARRIVAL_UNIT: i64 = 1_000_000;

/// Where a segment and a block are closed and another begun.
#[derive(Clone, Copy)]
pub(crate) struct BlockLimits {
    /// Bytes of a section that is read whole, before compression.
    pub section_bytes: usize,
    /// Bytes of a segment's spans.
    pub segment_bytes: usize,
}

const LIMITS: BlockLimits = BlockLimits { section_bytes: SECTION_BYTES, segment_bytes: SEGMENT_BYTES };

/// Rows of `operations.1`, of `groups.1` without its services, and of `traces.1`, at most.
const SEEN_BYTES_MAX: usize = 40;
const ENTRY_BYTES_MAX: usize = 90;
const SEGMENT_ROW_BYTES_MAX: usize = 56;

/// Takes traces. Begins another block of its own accord where one could not be read again.
pub(crate) struct BlockWriter {
    limits: BlockLimits,
    open: OpenBlock,
    closed: Vec<BuiltBlock>,
}

impl Default for BlockWriter {
    fn default() -> Self {
        Self::with_limits(LIMITS)
    }
}

/// A block in the making.
#[derive(Default)]
struct OpenBlock {
    strings: StringsBuilder,
    origin_ids: HashMap<Vec<u8>, u32>,
    origins: Vec<Arc<KnownOrigin>>,
    origin_bytes: usize,
    tenants: Vec<(String, u64)>,
    trace_ids: Vec<u8>,
    arrivals: Vec<u8>,
    hashes: Vec<u64>,
    segments: usize,
    operations: BTreeMap<Operation, Seen>,
    attribute_names: BTreeMap<AttributeName, Seen>,
    group: OpenGroup,
    groups: Vec<GroupEntry>,
    group_bytes: usize,
    spans: Vec<u8>,
    summary: BlockSummary,
}

#[derive(Default)]
struct OpenGroup {
    builder: GroupBuilder,
    entry: Option<GroupEntry>,
    services: BTreeSet<u32>,
    bytes: usize,
}

/// What sections that are read whole grow by, at most: strings, origins, operations, groups, traces.
type Growth = [usize; 5];

impl BlockWriter {
    /// With limits of the caller's.
    pub(crate) fn with_limits(limits: BlockLimits) -> Self {
        Self { limits, open: OpenBlock::default(), closed: Vec::new() }
    }

    /// Adds a trace with at least one span, ascending by start. Tenants ascend, and the ids of each.
    pub(crate) fn push(&mut self, tenant: &str, id: TraceId, spans: &[OriginSpan], arrival: Arrival) {
        let sized: Vec<(&OriginSpan, usize)> = spans.iter().map(|span| (span, raw_bytes(&span.1))).collect();
        let segments = || pieces(&sized, SEGMENT_SPANS, self.limits.segment_bytes, |(_, bytes)| *bytes);
        let segments: Vec<&[(&OriginSpan, usize)]> = segments().collect();
        let whole = growth(tenant, spans, segments.len());
        // A trace that is parted looks as if spans had come late: only one that fits no block is.
        let most = self.limits.section_bytes;
        let parted = whole.iter().any(|bytes| *bytes > most);
        if !parted && !self.open.has_room(whole, most) {
            self.close();
        }
        let mut begins = true;
        for segment in segments {
            let own: Vec<OriginSpan> = segment.iter().map(|(span, _)| (*span).clone()).collect();
            if parted && !self.open.has_room(growth(tenant, &own, 1), most) {
                self.close();
                begins = true;
            }
            self.open.push(tenant, id, begins, arrival, &own, segment);
            begins = false;
        }
    }

    fn close(&mut self) {
        let full = std::mem::take(&mut self.open);
        self.closed.extend(full.finish());
    }

    /// The blocks, mostly one; none when there is no span.
    pub(crate) fn finish(mut self) -> Vec<BuiltBlock> {
        self.close();
        self.closed
    }
}

fn growth(tenant: &str, spans: &[OriginSpan], segments: usize) -> Growth {
    let names = |attributes: &Attributes| attributes.iter().map(|(name, _)| name.len() + LENGTH_BYTES_MAX).sum::<usize>();
    let mut origins: HashSet<*const KnownOrigin> = HashSet::new();
    let mut found = [tenant.len() + LENGTH_BYTES_MAX, 0, 0, 0, segments * SEGMENT_ROW_BYTES_MAX + tenant.len() + 20];
    for (origin, span) in spans {
        let events = span.events.iter().map(|event| event.name.len() + LENGTH_BYTES_MAX + names(&event.attributes));
        let links = span.links.iter().map(|link| names(&link.attributes));
        found[0] += span.name.len() + LENGTH_BYTES_MAX + names(&span.attributes);
        found[0] += events.sum::<usize>() + links.sum::<usize>();
        found[2] += (1 + span.attributes.len()) * SEEN_BYTES_MAX;
        if origins.insert(Arc::as_ptr(origin)) {
            found[0] += names(&origin.origin.resource) + origin.origin.service().len() + LENGTH_BYTES_MAX;
            found[1] += origin.encoded.len() + LENGTH_BYTES_MAX;
            found[2] += origin.origin.resource.len() * SEEN_BYTES_MAX;
        }
    }
    found[3] = segments * ENTRY_BYTES_MAX + origins.len() * LENGTH_BYTES_MAX;
    found
}

impl OpenBlock {
    /// Whether it is empty, or stays below `most` in every section.
    fn has_room(&self, growth: Growth, most: usize) -> bool {
        let operations = (self.operations.len() + self.attribute_names.len()) * SEEN_BYTES_MAX;
        let groups = self.group_bytes + self.group.services.len() * LENGTH_BYTES_MAX + 2 * ENTRY_BYTES_MAX;
        let tenants: usize = self.tenants.iter().map(|(tenant, _)| tenant.len() + 20).sum();
        let traces = self.segments * SEGMENT_ROW_BYTES_MAX + tenants;
        let held = [self.strings.bytes(), self.origin_bytes, operations, groups, traces];
        self.segments == 0 || held.iter().zip(growth).all(|(held, more)| held + more <= most)
    }

    /// The next segment of a trace, which begins in this block with it or goes on.
    fn push(
        &mut self,
        tenant: &str,
        id: TraceId,
        begins: bool,
        arrival: Arrival,
        spans: &[OriginSpan],
        sized: &[(&OriginSpan, usize)],
    ) {
        if self.tenants.last().is_none_or(|(last, _)| last != tenant) {
            self.close_group();
            self.tenants.push((tenant.to_owned(), 0));
        }
        if begins {
            self.hashes.push(super::filter::hash(tenant, id));
        }
        self.tenants.last_mut().into_iter().for_each(|(_, count)| *count += 1);
        self.trace_ids.extend_from_slice(&id.0);
        put_zigzag(&mut self.arrivals, arrival.first.div_euclid(ARRIVAL_UNIT));
        let lasted = arrival.last.div_euclid(ARRIVAL_UNIT).wrapping_sub(arrival.first.div_euclid(ARRIVAL_UNIT));
        put_varint(&mut self.arrivals, lasted as u64);
        put_varint(&mut self.arrivals, u64::from(arrival.revision) << 1 | u64::from(arrival.complete));
        put_varint(&mut self.arrivals, u64::from(arrival.reopened));
        self.push_segment(tenant, spans, sized);
        self.segments += 1;
        if self.group.bytes >= GROUP_BYTES {
            self.close_group();
        }
    }

    fn push_segment(&mut self, tenant: &str, spans: &[OriginSpan], sized: &[(&OriginSpan, usize)]) {
        let tenant = self.strings.id(tenant);
        let mut origins = Vec::with_capacity(spans.len());
        for ((origin, span), bytes) in sized {
            origins.push(self.origin_id(origin));
            let service = self.strings.id(origin.origin.service());
            self.group.services.insert(service);
            let operation = (tenant, service, self.strings.id(&span.name), span.kind as u8);
            self.operations.entry(operation).or_insert(Seen::at(span.start)).extend(span.start);
            let own = span.attributes.iter().map(|(name, _)| (false, name));
            for (resource, name) in own.chain(origin.origin.resource.iter().map(|(name, _)| (true, name))) {
                let key = (tenant, resource, self.strings.id(name));
                self.attribute_names.entry(key).or_insert(Seen::at(span.start)).extend(span.start);
            }
            self.note(span.start, span.end.wrapping_sub(span.start), *bytes);
        }
        self.group.builder.push(spans, &origins, &mut self.strings);
        self.group.entry.iter_mut().for_each(|entry| entry.segments.end += 1);
    }

    /// One span's share of the group's zone and of the block's summary.
    fn note(&mut self, start: i64, duration: i64, bytes: usize) {
        let segments = self.segments..self.segments;
        let entry = self.group.entry.get_or_insert_with(|| GroupEntry {
            segments,
            spans: 0,
            start_min: start,
            start_max: start,
            duration_min: duration,
            duration_max: duration,
            services: Vec::new(),
            bytes: 0..0,
            crc: 0,
        });
        entry.spans += 1;
        (entry.start_min, entry.start_max) = (entry.start_min.min(start), entry.start_max.max(start));
        (entry.duration_min, entry.duration_max) = (entry.duration_min.min(duration), entry.duration_max.max(duration));
        self.group.bytes += bytes;
        self.summary.records += 1;
        self.summary.raw_bytes += bytes as u64;
    }

    fn origin_id(&mut self, origin: &Arc<KnownOrigin>) -> u32 {
        if let Some(id) = self.origin_ids.get(&origin.encoded) {
            return *id;
        }
        let id = self.origins.len() as u32;
        self.origin_bytes += origin.encoded.len() + LENGTH_BYTES_MAX;
        self.origin_ids.insert(origin.encoded.clone(), id);
        self.origins.push(Arc::clone(origin));
        id
    }

    fn close_group(&mut self) {
        let group = std::mem::take(&mut self.group);
        let Some(mut entry) = group.entry else { return };
        let start = self.spans.len();
        group.builder.finish(&mut self.spans);
        entry.services = group.services.into_iter().collect();
        entry.bytes = start as u64..self.spans.len() as u64;
        entry.crc = crc32c::crc32c(&self.spans[start..]);
        self.group_bytes += ENTRY_BYTES_MAX + entry.services.len() * LENGTH_BYTES_MAX;
        self.groups.push(entry);
    }

    /// The block; `None` when it has no span.
    fn finish(mut self) -> Option<BuiltBlock> {
        self.close_group();
        self.summary.first = self.groups.iter().map(|group| group.start_min).min()?;
        self.summary.last = self.groups.iter().map(|group| group.start_max).max()?;
        let sections = vec![
            (FILTER, super::filter::build(&self.hashes)),
            (TRACES, encode_traces(&self.tenants, &self.trace_ids, &self.arrivals)),
            (STRINGS, encode_strings(self.strings.texts())),
            (ORIGINS, encode_origins(&self.origins)),
            (OPERATIONS, encode_operations(&self.operations, &self.attribute_names)),
            (GROUPS, encode_groups(&self.groups)),
            (SPANS, self.spans),
        ];
        Some(BuiltBlock { summary: self.summary, data: BlockData { sections } })
    }
}

fn encode_traces(tenants: &[(String, u64)], ids: &[u8], arrivals: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    put_varint(&mut head, tenants.len() as u64);
    for (tenant, count) in tenants {
        put_bytes(&mut head, tenant.as_bytes());
        put_varint(&mut head, *count);
    }
    let mut out = packed(&head, LEVEL);
    crate::packed::put_packed(&mut out, ids, LEVEL);
    crate::packed::put_packed(&mut out, arrivals, LEVEL);
    out
}

fn encode_strings(texts: &[Box<str>]) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, texts.len() as u64);
    texts.iter().for_each(|text| put_bytes(&mut raw, text.as_bytes()));
    packed(&raw, LEVEL)
}

fn encode_origins(origins: &[Arc<KnownOrigin>]) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, origins.len() as u64);
    origins.iter().for_each(|origin| put_bytes(&mut raw, &origin.encoded));
    packed(&raw, LEVEL)
}

fn put_seen(out: &mut Vec<u8>, seen: Seen) {
    put_zigzag(out, seen.first);
    put_varint(out, seen.last.wrapping_sub(seen.first) as u64);
}

fn encode_operations(operations: &BTreeMap<Operation, Seen>, names: &BTreeMap<AttributeName, Seen>) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, operations.len() as u64);
    for ((tenant, service, name, kind), seen) in operations {
        [tenant, service, name].iter().for_each(|id| put_varint(&mut raw, u64::from(**id)));
        raw.push(*kind);
        put_seen(&mut raw, *seen);
    }
    put_varint(&mut raw, names.len() as u64);
    for ((tenant, resource, name), seen) in names {
        put_varint(&mut raw, u64::from(*tenant));
        raw.push(u8::from(*resource));
        put_varint(&mut raw, u64::from(*name));
        put_seen(&mut raw, *seen);
    }
    packed(&raw, LEVEL)
}

fn encode_groups(groups: &[GroupEntry]) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, groups.len() as u64);
    for group in groups {
        put_varint(&mut raw, group.segments.len() as u64);
        put_varint(&mut raw, group.spans);
        put_zigzag(&mut raw, group.start_min);
        put_varint(&mut raw, group.start_max.wrapping_sub(group.start_min) as u64);
        put_zigzag(&mut raw, group.duration_min);
        put_varint(&mut raw, group.duration_max.wrapping_sub(group.duration_min) as u64);
        put_varint(&mut raw, group.services.len() as u64);
        group.services.iter().for_each(|service| put_varint(&mut raw, u64::from(*service)));
        put_varint(&mut raw, group.bytes.end - group.bytes.start);
        raw.extend_from_slice(&group.crc.to_le_bytes());
    }
    packed(&raw, LEVEL)
}
