//! Puts traces together into a block. Called by the head when it is sealed, and by merge.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weir_model::id::TraceId;

use super::content::{KnownOrigin, OriginSpan, Sizes};
use super::group::GroupBuilder;
use super::schema::{
    AttributeName, FILTER, GROUP_BYTES, GROUPS, GroupEntry, LEVEL, OPERATIONS, ORIGINS, Operation, SEGMENT_BYTES, SEGMENT_SPANS,
    SPANS, STRINGS, Seen, TRACES,
};
use super::state::{Arrival, is_complete};
use super::strings::{LENGTH_BYTES_MAX, StringsBuilder};
use weir_blocks::block::BlockData;
use weir_blocks::engine::{BlockSummary, BuiltBlock};
use weir_blocks::limits::{SECTION_BYTES, pieces};
use weir_blocks::packed::{packed, put_bytes, put_varint, put_zigzag};

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
    /// Each with the number of its service.
    origins: Vec<(Arc<KnownOrigin>, u32)>,
    last_origin: Option<(Arc<KnownOrigin>, u32)>,
    origin_bytes: usize,
    tenants: Vec<(String, u64)>,
    trace_ids: Vec<u8>,
    arrivals: Vec<u8>,
    hashes: Vec<u64>,
    segments: usize,
    operations: BTreeMap<Operation, Seen>,
    attribute_names: BTreeMap<AttributeName, Seen>,
    seen: TenantSeen,
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

/// What was seen of the tenant whose traces come, by numbers: of strings for its spans' attributes, of origins.
#[derive(Default)]
struct TenantSeen {
    tenant: u32,
    names: Vec<Option<Seen>>,
    origins: Vec<Option<Seen>>,
    /// Attribute names among them, at most.
    fresh: usize,
}

/// Whether it is seen for the first time.
fn note(seen: &mut Vec<Option<Seen>>, number: u32, start: i64) -> bool {
    let at = number as usize;
    if at >= seen.len() {
        seen.resize(at + 1, None);
    }
    let new = seen[at].is_none();
    seen[at].get_or_insert(Seen::at(start)).extend(start);
    new
}

/// A span and what it adds.
type Sized<'a> = (&'a OriginSpan, Sizes);

/// What sections that are read whole grow by, at most: strings, origins, operations, groups, traces.
type Growth = [usize; 5];

impl BlockWriter {
    /// With limits of the caller's.
    pub(crate) fn with_limits(limits: BlockLimits) -> Self {
        Self { limits, open: OpenBlock::default(), closed: Vec::new() }
    }

    /// Adds a trace with at least one span, none of them twice. Tenants ascend, and the ids of each. Whether the trace is complete
    /// is told from its spans.
    pub(crate) fn push(&mut self, tenant: &str, id: TraceId, mut spans: Vec<OriginSpan>, arrival: Arrival) {
        spans.sort_by_key(|own| own.span().start());
        let arrival = Arrival { complete: is_complete(spans.iter().map(OriginSpan::ids)), ..arrival };
        let sized: Vec<Sized<'_>> = spans.iter().map(|own| (own, Sizes::of(own.span()))).collect();
        let segments = || pieces(&sized, SEGMENT_SPANS, self.limits.segment_bytes, |(_, sizes)| sizes.raw);
        let segments: Vec<&[Sized<'_>]> = segments().collect();
        let whole = growth(tenant, &sized, segments.len());
        // A trace that is parted looks as if spans had come late: only one that fits no block is.
        let most = self.limits.section_bytes;
        let parted = whole.iter().any(|bytes| *bytes > most);
        if !parted && !self.open.has_room(whole, most) {
            self.close();
        }
        let mut begins = true;
        for segment in segments {
            if parted && !self.open.has_room(growth(tenant, segment, 1), most) {
                self.close();
                begins = true;
            }
            self.open.push(tenant, id, begins, arrival, segment);
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

fn growth(tenant: &str, spans: &[Sized<'_>], segments: usize) -> Growth {
    let mut origins: Vec<&Arc<KnownOrigin>> = spans.iter().map(|(own, _)| &own.origin).collect();
    origins.sort_unstable_by_key(|origin| Arc::as_ptr(origin));
    origins.dedup_by_key(|origin| Arc::as_ptr(origin));
    let mut found = [tenant.len() + LENGTH_BYTES_MAX, 0, 0, 0, segments * SEGMENT_ROW_BYTES_MAX + tenant.len() + 20];
    for (_, sizes) in spans {
        found[0] += sizes.names + sizes.names_count * LENGTH_BYTES_MAX;
        found[2] += sizes.names_count * SEEN_BYTES_MAX;
    }
    for origin in &origins {
        let own = &origin.origin;
        found[0] += own.resource.iter().map(|(name, _)| name.len() + LENGTH_BYTES_MAX).sum::<usize>();
        found[0] += own.service().len() + LENGTH_BYTES_MAX;
        found[1] += origin.encoded.len() + LENGTH_BYTES_MAX;
        found[2] += own.resource.len() * SEEN_BYTES_MAX;
    }
    found[3] = segments * ENTRY_BYTES_MAX + origins.len() * LENGTH_BYTES_MAX;
    found
}

impl OpenBlock {
    /// Whether it is empty, or stays below `most` in every section.
    fn has_room(&self, growth: Growth, most: usize) -> bool {
        let operations = (self.operations.len() + self.attribute_names.len() + self.seen.fresh) * SEEN_BYTES_MAX;
        let groups = self.group_bytes + self.group.services.len() * LENGTH_BYTES_MAX + 2 * ENTRY_BYTES_MAX;
        let tenants: usize = self.tenants.iter().map(|(tenant, _)| tenant.len() + 20).sum();
        let traces = self.segments * SEGMENT_ROW_BYTES_MAX + tenants;
        let held = [self.strings.bytes(), self.origin_bytes, operations, groups, traces];
        self.segments == 0 || held.iter().zip(growth).all(|(held, more)| held + more <= most)
    }

    /// The next segment of a trace, which begins in this block with it or goes on.
    fn push(&mut self, tenant: &str, id: TraceId, begins: bool, arrival: Arrival, spans: &[Sized<'_>]) {
        if self.tenants.last().is_none_or(|(last, _)| last != tenant) {
            self.close_group();
            self.close_tenant();
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
        self.push_segment(tenant, spans);
        self.segments += 1;
        if self.group.bytes >= GROUP_BYTES {
            self.close_group();
        }
    }

    fn push_segment(&mut self, tenant: &str, spans: &[Sized<'_>]) {
        self.seen.tenant = self.strings.id(tenant);
        self.group.builder.begin(spans);
        for (ordinal, (own, sizes)) in spans.iter().enumerate() {
            let (span, origin) = (own.span(), self.origin_id(&own.origin));
            let start = span.start();
            let service = self.origins[origin as usize].1;
            self.group.services.insert(service);
            let name = self.strings.id(span.name());
            let operation = (self.seen.tenant, service, name, span.kind() as u8);
            self.operations.entry(operation).or_insert(Seen::at(start)).extend(start);
            for name in self.group.builder.push(ordinal, span, (name, origin), &mut self.strings) {
                self.seen.fresh += usize::from(note(&mut self.seen.names, *name, start));
            }
            if note(&mut self.seen.origins, origin, start) {
                let resource = &own.origin.origin.resource;
                for (name, _) in resource {
                    self.strings.id(name);
                }
                self.seen.fresh += resource.len();
            }
            self.note(start, span.end().wrapping_sub(start), sizes.raw);
        }
        self.group.entry.iter_mut().for_each(|entry| entry.segments.end += 1);
    }

    /// What was seen of a tenant by number goes where it is kept by name.
    fn close_tenant(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        let mut keep = |resource: bool, name: u32, own: Seen| {
            let kept = self.attribute_names.entry((seen.tenant, resource, name)).or_insert(own);
            kept.extend(own.first);
            kept.extend(own.last);
        };
        let numbered = |list: Vec<Option<Seen>>| list.into_iter().enumerate().filter_map(|(number, own)| Some((number, own?)));
        numbered(seen.names).for_each(|(name, own)| keep(false, name as u32, own));
        for (origin, own) in numbered(seen.origins) {
            for (name, _) in &self.origins[origin].0.origin.resource {
                keep(true, self.strings.id(name), own);
            }
        }
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
        if let Some((last, id)) = &self.last_origin
            && Arc::ptr_eq(last, origin)
        {
            return *id;
        }
        let id = self.find_origin(origin);
        self.last_origin = Some((Arc::clone(origin), id));
        id
    }

    fn find_origin(&mut self, origin: &Arc<KnownOrigin>) -> u32 {
        if let Some(id) = self.origin_ids.get(&origin.encoded) {
            return *id;
        }
        let id = self.origins.len() as u32;
        self.origin_bytes += origin.encoded.len() + LENGTH_BYTES_MAX;
        let service = self.strings.id(origin.origin.service());
        self.origin_ids.insert(origin.encoded.clone(), id);
        self.origins.push((Arc::clone(origin), service));
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
        self.close_tenant();
        self.summary.first = self.groups.iter().map(|group| group.start_min).min()?;
        self.summary.last = self.groups.iter().map(|group| group.start_max).max()?;
        let sections = vec![
            (FILTER, super::filter::build(&self.hashes)),
            (TRACES, encode_traces(&self.tenants, &self.trace_ids, &self.arrivals)),
            (STRINGS, encode_strings(&self.strings)),
            (ORIGINS, encode_origins(&self.origins)),
            (OPERATIONS, encode_operations(&self.operations, &self.attribute_names)),
            (GROUPS, encode_groups(&self.groups)),
            (SPANS, self.spans),
        ];
        Some(BuiltBlock { summary: self.summary, data: BlockData::of(sections) })
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
    weir_blocks::packed::put_packed(&mut out, ids, LEVEL);
    weir_blocks::packed::put_packed(&mut out, arrivals, LEVEL);
    out
}

fn encode_strings(strings: &StringsBuilder) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, strings.texts().len() as u64);
    strings.texts().for_each(|text| put_bytes(&mut raw, text));
    packed(&raw, LEVEL)
}

fn encode_origins(origins: &[(Arc<KnownOrigin>, u32)]) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, origins.len() as u64);
    origins.iter().for_each(|(origin, _)| put_bytes(&mut raw, &origin.encoded));
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
