//! An opened traces block: names and zones in memory, the id table on first use, spans read group by group.
//!
//! Not here: putting a trace together from several blocks and heads (`reader.rs`). Written by `writer.rs`.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use weir_model::id::TraceId;
use weir_model::span::SpansBuilder;
use weir_model::wire::Kind;

use super::content::{KnownOrigin, OriginSpan, origin};
use super::filter;
use super::group::{Group, Tables};
use super::schema::{AttributeName, FILTER, GROUPS, GroupEntry, OPERATIONS, ORIGINS, Operation, SPANS, STRINGS, Seen, TRACES};
use super::state::Arrival;
use super::writer::ARRIVAL_UNIT;
use weir_blocks::StoreError;
use weir_blocks::block::{Blob, BlockReader};
use weir_blocks::engine::{BlockSummary, check_records};
use weir_blocks::hidden::Hidden;
use weir_blocks::packed::{Cursor, UNPACKED_BYTES_MAX};

/// An opened block.
pub struct TracesBlock {
    file: BlockReader,
    filter: Bytes,
    strings: Vec<Box<str>>,
    origins: Vec<Arc<KnownOrigin>>,
    operations: Vec<(Operation, Seen)>,
    attribute_names: Vec<(AttributeName, Seen)>,
    groups: Vec<GroupEntry>,
    /// Loaded when the filter first says that a trace may be here.
    table: OnceLock<Table>,
}

/// Sorted trace ids, one a segment.
pub(crate) struct Table {
    /// Ascending, as are the ids of each.
    pub tenants: Vec<(Arc<str>, Range<usize>)>,
    pub ids: Vec<TraceId>,
    pub arrivals: Vec<Arrival>,
}

impl Table {
    /// The segments of a tenant.
    pub(crate) fn tenant(&self, tenant: &str) -> Range<usize> {
        self.tenants.iter().find(|(own, _)| **own == *tenant).map_or(0..0, |(_, range)| range.clone())
    }

    /// Whose a segment is.
    pub(crate) fn tenant_of(&self, segment: usize) -> &Arc<str> {
        &self.tenants[self.tenants.partition_point(|(_, own)| own.end <= segment)].0
    }

    /// The segments of a trace: more than one when it is very long.
    pub(crate) fn find(&self, tenant: &str, id: TraceId) -> Range<usize> {
        let range = self.tenant(tenant);
        let ids = &self.ids[range.clone()];
        range.start + ids.partition_point(|own| *own < id)..range.start + ids.partition_point(|own| *own <= id)
    }
}

impl TracesBlock {
    /// Reads and verifies what every query needs. Errors with `Corrupt` that names section and reason.
    pub fn open(blob: Arc<dyn Blob>) -> Result<Self, StoreError> {
        let file = BlockReader::open(blob)?;
        if file.kind() != Kind::Spans {
            let detail = format!("a block of {} where spans are expected", file.kind().name());
            return Err(StoreError::corrupt(file.path(), detail));
        }
        let strings = parse(&file, STRINGS, |cursor| {
            let count = cursor.count(1)?;
            (0..count).map(|_| cursor.text().map(Box::from)).collect::<Result<Vec<Box<str>>, String>>()
        })?;
        let origins = parse(&file, ORIGINS, parse_origins)?;
        let (operations, attribute_names) = parse(&file, OPERATIONS, |cursor| parse_operations(cursor, strings.len()))?;
        let groups = parse(&file, GROUPS, |cursor| parse_groups(cursor, strings.len()))?;
        let filter = file.section(FILTER)?;
        Ok(Self { file, filter, strings, origins, operations, attribute_names, groups, table: OnceLock::new() })
    }

    /// Names of the file's sections and their sizes, for tools.
    pub fn section_sizes(&self) -> Vec<(String, u64)> {
        self.file.names().map(|name| (name.to_owned(), self.file.section_len(name).unwrap_or(0))).collect()
    }

    pub(crate) fn path(&self) -> &str {
        self.file.path()
    }

    pub(crate) fn string(&self, id: u32) -> &str {
        &self.strings[id as usize]
    }

    /// The number of a string; `None` when the block does not have it.
    pub(crate) fn string_id(&self, text: &str) -> Option<u32> {
        self.strings.iter().position(|own| **own == *text).map(|at| at as u32)
    }

    /// Earliest and latest start of a span; of a block without spans all of time.
    pub(crate) fn starts(&self) -> (i64, i64) {
        let first = self.groups.iter().map(|entry| entry.start_min).min().unwrap_or(i64::MIN);
        (first, self.groups.iter().map(|entry| entry.start_max).max().unwrap_or(i64::MAX))
    }

    /// Whether some of a tenant's spans may be hidden; false is certain.
    pub(crate) fn is_touched(&self, hidden: &Hidden, tenant: &str) -> bool {
        let (first, last) = self.starts();
        hidden.touches(tenant, first, last)
    }

    pub(crate) fn origins(&self) -> &[Arc<KnownOrigin>] {
        &self.origins
    }

    pub(crate) fn groups(&self) -> &[GroupEntry] {
        &self.groups
    }

    /// Operations of a tenant with when they were seen.
    pub(crate) fn operations<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = (&'a Operation, Seen)> {
        let own = move |id: u32| self.string(id) == tenant;
        self.operations.iter().filter(move |((tenant, ..), _)| own(*tenant)).map(|(operation, seen)| (operation, *seen))
    }

    /// Attribute names of a tenant (whether of the resource, name) with when they were seen.
    pub(crate) fn attribute_names<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = (bool, &'a str, Seen)> {
        let own = move |id: u32| self.string(id) == tenant;
        let names = self.attribute_names.iter().filter(move |((tenant, ..), _)| own(*tenant));
        names.map(|((_, resource, name), seen)| (*resource, self.string(*name), *seen))
    }

    /// Whether the trace may be here; false is certain.
    pub(crate) fn may_hold(&self, tenant: &str, id: TraceId) -> bool {
        filter::may_hold(&self.filter, filter::hash(tenant, id))
    }

    /// The id table.
    pub(crate) fn table(&self) -> Result<&Table, StoreError> {
        if let Some(table) = self.table.get() {
            return Ok(table);
        }
        let table = self.read_table()?;
        Ok(self.table.get_or_init(|| table))
    }

    fn read_table(&self) -> Result<Table, StoreError> {
        let section = self.file.section(TRACES)?;
        let segments = self.groups.last().map_or(0, |group| group.segments.end);
        parse_table(&section, segments).map_err(|detail| StoreError::corrupt(self.path(), format!("section {TRACES}: {detail}")))
    }

    /// Reads the id table and all groups, one at a time. Errors with `Corrupt` that says which cannot be read.
    pub(crate) fn verify(&self, summary: &BlockSummary) -> Result<(), StoreError> {
        self.read_table()?;
        let mut spans = 0;
        for entry in &self.groups {
            let own = self.group(entry)?.ids.len() as u64;
            if own != entry.spans {
                let detail = format!("spans of traces {:?}: {own}, the directory says {}", entry.segments, entry.spans);
                return Err(StoreError::corrupt(self.path(), detail));
            }
            spans += own;
        }
        check_records(self.path(), spans, summary)
    }

    /// Reads, verifies and unpacks a group.
    pub(crate) fn group(&self, entry: &GroupEntry) -> Result<Group, StoreError> {
        let wrong = |detail: String| StoreError::corrupt(self.path(), format!("spans of traces {:?}: {detail}", entry.segments));
        let bytes = self.file.section_range(SPANS, entry.bytes.clone())?;
        let computed = crc32c::crc32c(&bytes);
        if computed != entry.crc {
            return Err(wrong(format!("checksum {computed:08x}, stored {:08x}", entry.crc)));
        }
        let tables = Tables { strings: self.strings.len(), origins: self.origins.len() };
        Group::parse(&bytes, entry.segments.len(), tables).map_err(wrong)
    }

    /// All spans of one segment of a group.
    pub(crate) fn spans(&self, group: &Group, segment: usize, id: TraceId) -> Vec<OriginSpan> {
        let places = group.segments[segment].clone();
        let mut builder = SpansBuilder::with_room(places.len());
        places.clone().for_each(|at| group.copy(at, id, &self.strings, &mut builder));
        let spans = Arc::new(builder.finish());
        let origin = |at: usize| Arc::clone(&self.origins[group.origins[at] as usize]);
        (0..).zip(places).map(|(row, at)| OriginSpan { origin: origin(at), spans: Arc::clone(&spans), row }).collect()
    }
}

fn parse<T>(
    file: &BlockReader,
    section: &'static str,
    read: impl FnOnce(&mut Cursor<'_>) -> Result<T, String>,
) -> Result<T, StoreError> {
    let bytes = file.section(section)?;
    let unpack = || {
        let mut outer = Cursor::new(&bytes);
        let raw = outer.unpacked(UNPACKED_BYTES_MAX)?;
        outer.end()?;
        let mut cursor = Cursor::new(&raw);
        let found = read(&mut cursor)?;
        cursor.end()?;
        Ok(found)
    };
    unpack().map_err(|detail: String| StoreError::corrupt(file.path(), format!("section {section}: {detail}")))
}

fn parse_origins(cursor: &mut Cursor<'_>) -> Result<Vec<Arc<KnownOrigin>>, String> {
    let count = cursor.count(1)?;
    let mut origins = Vec::with_capacity(count);
    for _ in 0..count {
        let encoded = cursor.bytes()?;
        let mut own = Cursor::new(encoded);
        origins.push(Arc::new(KnownOrigin { origin: origin(&mut own)?, encoded: encoded.to_vec() }));
        own.end()?;
    }
    Ok(origins)
}

fn parse_table(section: &[u8], segments: usize) -> Result<Table, String> {
    let mut outer = Cursor::new(section);
    let (head, ids) = (outer.unpacked(UNPACKED_BYTES_MAX)?, outer.unpacked(UNPACKED_BYTES_MAX)?);
    let arrivals = outer.unpacked(UNPACKED_BYTES_MAX)?;
    outer.end()?;
    let mut cursor = Cursor::new(&head);
    let (mut tenants, mut next) = (Vec::new(), 0_usize);
    for _ in 0..cursor.count(2)? {
        let tenant = Arc::from(cursor.text()?);
        let start = next;
        next = next.checked_add(cursor.small()? as usize).ok_or("too many traces")?;
        tenants.push((tenant, start..next));
    }
    cursor.end()?;
    if !tenants.is_sorted_by(|(a, _): &(Arc<str>, _), (b, _)| a < b) {
        return Err("tenants are out of order".into());
    }
    let (ids, rest) = ids.as_chunks::<16>();
    if next != segments || ids.len() != segments || !rest.is_empty() {
        return Err(format!("{next} segments and {} ids, groups have {segments}", ids.len()));
    }
    let ids: Vec<TraceId> = ids.iter().map(|id| TraceId(*id)).collect();
    if let Some((tenant, _)) = tenants.iter().find(|(_, range)| !ids[range.clone()].is_sorted()) {
        return Err(format!("trace ids of tenant {tenant:?} are out of order"));
    }
    let mut cursor = Cursor::new(&arrivals);
    let mut arrivals = Vec::with_capacity(segments);
    for _ in 0..segments {
        let first = cursor.zigzag()?;
        let last = first.wrapping_add(cursor.varint()? as i64);
        let revision = cursor.varint()?;
        arrivals.push(Arrival {
            first: first.saturating_mul(ARRIVAL_UNIT),
            last: last.saturating_mul(ARRIVAL_UNIT),
            revision: (revision >> 1) as u32,
            reopened: cursor.small()?,
            complete: revision & 1 == 1,
        });
    }
    cursor.end()?;
    Ok(Table { tenants, ids, arrivals })
}

fn seen(cursor: &mut Cursor<'_>) -> Result<Seen, String> {
    let first = cursor.zigzag()?;
    Ok(Seen { first, last: first.wrapping_add(cursor.varint()? as i64) })
}

type Names = (Vec<(Operation, Seen)>, Vec<(AttributeName, Seen)>);

fn parse_operations(cursor: &mut Cursor<'_>, strings: usize) -> Result<Names, String> {
    let string = |cursor: &mut Cursor<'_>| {
        let id = cursor.small()?;
        if (id as usize) < strings { Ok(id) } else { Err(format!("string {id} of {strings}")) }
    };
    let (mut operations, mut names) = (Vec::new(), Vec::new());
    for _ in 0..cursor.count(6)? {
        let operation = (string(cursor)?, string(cursor)?, string(cursor)?, cursor.byte()?);
        operations.push((operation, seen(cursor)?));
    }
    for _ in 0..cursor.count(5)? {
        let name = (string(cursor)?, cursor.byte()? != 0, string(cursor)?);
        names.push((name, seen(cursor)?));
    }
    Ok((operations, names))
}

fn parse_groups(cursor: &mut Cursor<'_>, strings: usize) -> Result<Vec<GroupEntry>, String> {
    let (mut segment, mut offset) = (0_usize, 0_u64);
    let mut groups = Vec::new();
    for at in 0..cursor.count(12)? {
        let segments = cursor.small()? as usize;
        let spans = cursor.varint()?;
        let start_min = cursor.zigzag()?;
        let start_max = start_min.wrapping_add(cursor.varint()? as i64);
        let duration_min = cursor.zigzag()?;
        let duration_max = duration_min.wrapping_add(cursor.varint()? as i64);
        let count = cursor.count(1)?;
        let services = (0..count).map(|_| cursor.small()).collect::<Result<Vec<u32>, _>>()?;
        let end = offset.checked_add(cursor.varint()?).ok_or("an offset above 64 bits")?;
        let crc = u32::from_le_bytes(cursor.array()?);
        let next = segment.checked_add(segments).filter(|_| segments > 0);
        let known = services.iter().all(|service| (*service as usize) < strings);
        let (Some(next), true) = (next, known) else {
            return Err(format!("group {at} has {segments} segments or an unknown service"));
        };
        let (segments, bytes) = (segment..next, offset..end);
        groups.push(GroupEntry { segments, spans, start_min, start_max, duration_min, duration_max, services, bytes, crc });
        (segment, offset) = (next, end);
    }
    Ok(groups)
}
