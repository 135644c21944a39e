//! Puts series together into a block. Called by the head when it is sealed, and by merge.
//!
//! Streaming: what it holds is the compressed output and the index, never the samples of more than a group.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use weir_model::label::Labels;
use weir_model::metric::Family;

use super::extras_writer::ExtrasWriter;
use super::group::{GroupBuilder, GroupEntry, SERIES_SAMPLES};
use super::postings;
use super::samples::Samples;
use super::schema::{
    FAMILIES, GROUPS, LEVEL, PAIR_BYTES_MAX, POSTINGS, PairBuilder, SAMPLES, SERIES, SERIES_EXTRAS, SERIES_RESOLUTIONS, SYMBOLS,
    TIMES,
};
use super::times::TimesWriter;
use weir_blocks::block::BlockData;
use weir_blocks::engine::{BlockSummary, BuiltBlock};
use weir_blocks::limits::SECTION_BYTES;
use weir_blocks::packed::{packed, put_bytes, put_varint, put_zigzag};

/// Families by tenant and name.
pub(crate) type Families = BTreeMap<String, BTreeMap<String, Family>>;

/// Where a block is closed and another begun.
#[derive(Clone, Copy)]
pub(crate) struct BlockLimits {
    /// Bytes of a section that is read whole, before compression.
    pub section_bytes: usize,
    /// Samples of one series.
    pub series_samples: usize,
}

const LIMITS: BlockLimits = BlockLimits { section_bytes: SECTION_BYTES, series_samples: SERIES_SAMPLES };

/// A series' share of `postings.1` a label, at most: an id that is alone in its container of a roaring bitmap.
const POSTING_BYTES_MAX: usize = 12;
/// A list's length, count and header, at most.
const LIST_BYTES_MAX: usize = 32;
/// A row of `groups.1`, at most.
const ENTRY_BYTES_MAX: usize = 60;
/// A number below 2^32, at most.
const NUMBER_BYTES_MAX: usize = 5;

/// Takes series. Begins another block of its own accord where one could not be read again.
pub(crate) struct BlockWriter {
    limits: BlockLimits,
    open: OpenBlock,
    closed: Vec<BuiltBlock>,
    resolutions: Resolutions,
}

/// To what a tenant's samples have been downsampled, seconds; 0 as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolution {
    /// All of them.
    pub finest: u32,
    /// Some of them.
    pub coarsest: u32,
}

/// By tenant; those that are not there have not been downsampled.
pub(crate) type Resolutions = BTreeMap<String, Resolution>;

impl Default for BlockWriter {
    fn default() -> Self {
        Self::with_limits(LIMITS)
    }
}

/// A block in the making.
struct OpenBlock {
    pairs: PairBuilder,
    tenants: Vec<(String, u32)>,
    tenant_bytes: usize,
    /// Pairs of all series, ids of [`PairBuilder`]; `ends` says where each series' pairs end.
    series: Vec<u32>,
    ends: Vec<usize>,
    group: GroupBuilder,
    groups: Vec<GroupEntry>,
    samples: Vec<u8>,
    times: TimesWriter,
    extras: ExtrasWriter,
}

impl BlockWriter {
    /// With limits of the caller's.
    pub(crate) fn with_limits(limits: BlockLimits) -> Self {
        Self { limits, open: OpenBlock::new(limits), closed: Vec::new(), resolutions: Resolutions::new() }
    }

    /// Of downsampled series.
    pub(crate) fn with_resolutions(resolutions: Resolutions) -> Self {
        Self { resolutions, ..Self::default() }
    }

    /// Adds a series with its settled samples; without samples it is left out. Tenants ascend, and the series of each in
    /// [`super::schema::series_order`].
    pub(crate) fn push(&mut self, tenant: &str, labels: &Labels, samples: &Samples) {
        if samples.timestamps.is_empty() {
            return;
        }
        if !self.open.ends.is_empty() && !self.open.has_room(tenant, labels, self.limits) {
            self.close();
        }
        let most = self.limits.series_samples;
        if samples.timestamps.len() <= most {
            return self.open.push(tenant, labels, samples);
        }
        let count = samples.timestamps.len();
        for start in (0..count).step_by(most) {
            if start > 0 {
                self.close();
            }
            let end = count.min(start + most);
            let exemplars = if end == count { samples.exemplars.clone() } else { Vec::new() };
            self.open.push(tenant, labels, &Samples { exemplars, ..samples.slice(start..end) });
        }
    }

    fn close(&mut self) {
        let full = std::mem::replace(&mut self.open, OpenBlock::new(self.limits));
        self.closed.extend(full.finish(&Families::new(), &self.resolutions));
    }

    /// The blocks, mostly one; none when there is no sample. The last has the families, or as many of them as it may; what
    /// is left lies in blocks of their own.
    pub(crate) fn finish(self, families: &Families) -> Vec<BuiltBlock> {
        let is_empty = self.closed.is_empty() && self.open.ends.is_empty();
        if is_empty { Vec::new() } else { self.finish_with_all(families) }
    }

    /// The same, and the families as well when there is no sample, in blocks without times.
    pub(crate) fn finish_with_all(mut self, families: &Families) -> Vec<BuiltBlock> {
        let mut parts = split_families(families, self.limits.section_bytes);
        if let Some(last) = self.open.finish(&parts[0], &self.resolutions) {
            self.closed.push(last);
            parts.remove(0);
        }
        let last = self.closed.last().map(|last| last.summary.clone()).unwrap_or_default();
        let summary = BlockSummary { records: 0, raw_bytes: 0, resolution: 0, ..last };
        let parts = parts.iter().filter(|part| part.values().any(|own| !own.is_empty()));
        self.closed
            .extend(parts.map(|families| OpenBlock::new(self.limits).encode(summary.clone(), families, &Resolutions::new())));
        self.closed
    }
}

impl OpenBlock {
    fn new(limits: BlockLimits) -> Self {
        Self {
            pairs: PairBuilder::default(),
            tenants: Vec::new(),
            tenant_bytes: 0,
            series: Vec::new(),
            ends: Vec::new(),
            group: GroupBuilder::default(),
            groups: Vec::new(),
            samples: Vec::new(),
            times: TimesWriter::new(limits.section_bytes),
            extras: ExtrasWriter::default(),
        }
    }

    fn has_room(&self, tenant: &str, labels: &Labels, limits: BlockLimits) -> bool {
        let most = limits.section_bytes;
        let (texts, count) = (labels.text_bytes(), labels.len());
        let series = self.series.len() + self.ends.len() + count + 1;
        let largest = [
            self.pairs.bytes() + texts + count * 2 * PAIR_BYTES_MAX,
            self.tenant_bytes + tenant.len() + 4 * NUMBER_BYTES_MAX + series * NUMBER_BYTES_MAX,
            (self.series.len() + count) * POSTING_BYTES_MAX + (self.pairs.count() + count) * LIST_BYTES_MAX,
            (self.groups.len() + 2) * ENTRY_BYTES_MAX,
            self.extras.groups() * ENTRY_BYTES_MAX,
        ];
        largest.iter().all(|bytes| *bytes <= most)
    }

    fn push(&mut self, tenant: &str, labels: &Labels, samples: &Samples) {
        match self.tenants.last_mut() {
            Some((last, count)) if last == tenant => *count += 1,
            _ => {
                self.tenants.push((tenant.to_owned(), 1));
                self.tenant_bytes += tenant.len() + 4 * NUMBER_BYTES_MAX;
            }
        }
        self.pairs.push(labels, &mut self.series);
        self.ends.push(self.series.len());
        self.group.push(samples, &mut self.times);
        self.extras.push(self.ends.len() as u32 - 1, samples);
        if self.group.is_full() {
            self.close_group();
        }
    }

    fn close_group(&mut self) {
        let group = std::mem::take(&mut self.group);
        if group.series == 0 {
            return;
        }
        let start = self.samples.len();
        let (series, samples, first, last) = (group.series, group.samples, group.first, group.last);
        group.finish(&mut self.samples);
        self.groups.push(GroupEntry {
            series_first: self.ends.len() as u32 - series,
            series,
            samples,
            first,
            last,
            bytes: start as u64..self.samples.len() as u64,
            crc: crc32c::crc32c(&self.samples[start..]),
        });
    }

    /// The block; `None` when it has no sample.
    fn finish(mut self, families: &Families, resolutions: &Resolutions) -> Option<BuiltBlock> {
        self.close_group();
        let first = self.groups.iter().map(|group| group.first).min()?;
        let last = self.groups.iter().map(|group| group.last).max()?;
        let records = self.groups.iter().map(|group| group.samples).sum();
        let nanos = |milliseconds: i64| milliseconds.saturating_mul(1_000_000);
        let (raw_bytes, own) = (records * 16 + self.extras.raw_bytes(), self.tenants.iter().map(|(tenant, _)| tenant));
        let resolution = own.filter_map(|tenant| resolutions.get(tenant)).map(|own| own.coarsest).max().unwrap_or(0);
        let summary = BlockSummary { first: nanos(first), last: nanos(last), records, raw_bytes, resolution };
        Some(self.encode(summary, families, resolutions))
    }

    fn encode(self, summary: BlockSummary, families: &Families, resolutions: &Resolutions) -> BuiltBlock {
        let (symbols, places) = self.pairs.finish();
        let lists = sorted_lists(&self.series, &self.ends, &places);
        let extras = self.extras.finish();
        let (name, resolutions) = match summary.resolution {
            0 if extras.is_empty() => (SERIES, None),
            0 => (SERIES_EXTRAS, None),
            _ => (SERIES_RESOLUTIONS, Some(resolutions)),
        };
        let mut sections = vec![
            (SYMBOLS, symbols),
            (name, encode_series(&self.tenants, resolutions, &lists)),
            (POSTINGS, encode_postings(&lists, places.len())),
            (GROUPS, encode_groups(&self.groups)),
            (FAMILIES, encode_families(families)),
            (TIMES, packed(&self.times.finish(), LEVEL)),
            (SAMPLES, self.samples),
        ];
        sections.extend(extras);
        BuiltBlock { summary, data: BlockData::of(sections) }
    }
}

/// Families in parts that take at most so many bytes each, or are one family.
fn split_families(families: &Families, bytes_max: usize) -> Vec<Families> {
    let mut parts = vec![Families::new()];
    let mut bytes = 0;
    for (tenant, own) in families {
        if let Some(part) = parts.last_mut() {
            part.entry(tenant.clone()).or_default();
        }
        for (name, family) in own {
            // A text each for tenant, name, help and unit; the tenant's once a part, counted each time.
            let more = tenant.len() + name.len() + family.help.len() + family.unit.len() + 5 * NUMBER_BYTES_MAX;
            if bytes > 0 && bytes + more > bytes_max {
                parts.push(Families::new());
                bytes = 0;
            }
            bytes += more;
            let part = parts.last_mut().expect("invariant: there is always one");
            part.entry(tenant.clone()).or_default().insert(name.clone(), family.clone());
        }
    }
    parts
}

/// The pairs of each series by their places in the dictionary, ascending.
fn sorted_lists(series: &[u32], ends: &[usize], places: &[u32]) -> Vec<Vec<u32>> {
    let mut start = 0;
    ends.iter()
        .map(|&end| {
            let mut list: Vec<u32> = series[start..end].iter().map(|id| places[*id as usize]).collect();
            list.sort_unstable();
            start = end;
            list
        })
        .collect()
}

fn encode_series(tenants: &[(String, u32)], resolutions: Option<&Resolutions>, lists: &[Vec<u32>]) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, tenants.len() as u64);
    for (tenant, count) in tenants {
        put_bytes(&mut raw, tenant.as_bytes());
        put_varint(&mut raw, u64::from(*count));
        if let Some(resolutions) = resolutions {
            let Resolution { finest, coarsest } = resolutions.get(tenant).copied().unwrap_or_default();
            put_varint(&mut raw, u64::from(finest));
            put_varint(&mut raw, u64::from(coarsest));
        }
    }
    for list in lists {
        put_varint(&mut raw, list.len() as u64);
        let mut before = 0;
        for place in list {
            put_varint(&mut raw, u64::from(place - before));
            before = *place;
        }
    }
    packed(&raw, LEVEL)
}

fn encode_postings(lists: &[Vec<u32>], pairs: usize) -> Vec<u8> {
    let mut postings = vec![RoaringBitmap::new(); pairs];
    for (id, list) in (0_u32..).zip(lists) {
        list.iter().for_each(|place| {
            postings[*place as usize].try_push(id).expect("invariant: ids ascend");
        });
    }
    let mut raw = Vec::new();
    for ids in &mut postings {
        ids.optimize();
        postings::encode(ids, &mut raw);
    }
    packed(&raw, LEVEL)
}

fn encode_groups(groups: &[GroupEntry]) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, groups.len() as u64);
    for group in groups {
        put_varint(&mut raw, u64::from(group.series));
        put_varint(&mut raw, group.samples);
        put_zigzag(&mut raw, group.first);
        put_varint(&mut raw, group.last.wrapping_sub(group.first) as u64);
        put_varint(&mut raw, group.bytes.end - group.bytes.start);
        raw.extend_from_slice(&group.crc.to_le_bytes());
    }
    packed(&raw, LEVEL)
}

fn encode_families(families: &Families) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, families.len() as u64);
    for (tenant, families) in families {
        put_bytes(&mut raw, tenant.as_bytes());
        put_varint(&mut raw, families.len() as u64);
        for family in families.values() {
            put_bytes(&mut raw, family.name.as_bytes());
            raw.push(family.kind as u8);
            put_bytes(&mut raw, family.help.as_bytes());
            put_bytes(&mut raw, family.unit.as_bytes());
        }
    }
    packed(&raw, LEVEL)
}
