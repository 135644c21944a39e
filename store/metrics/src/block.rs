//! An opened metrics block: its index in memory, its samples read group by group.
//!
//! Not here: merging what several blocks and heads hold (`reader.rs`). Written by `writer.rs`.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;
use weir_model::label::{Labels, Matcher, NAME};
use weir_model::metric::{Family, MetricKind};
use weir_model::usage::Amount;
use weir_model::wire::Kind;

use super::chunks::{ChunkEntry, ChunkGroup};
use super::extras_reader::{self, Extras};
use super::group::{Group, GroupEntry, Layout};
use super::kept_labels::{KeptLabels, LabelRoom};
use super::postings::{self, LabelIndex};
use super::samples::Samples;
use super::schema::{
    EXTRAS, FAMILIES, GROUPS, GROUPS_1, POSTINGS, SAMPLES, SAMPLES_1, SERIES, SERIES_EXTRAS, SERIES_RESOLUTIONS, SYMBOLS,
    Symbols, TIMES,
};
use super::series_table::{SeriesTable, parse_series};
use super::times::Times;
use super::writer::{Families, Resolution};
use weir_blocks::StoreError;
use weir_blocks::block::{Blob, BlockReader};
use weir_blocks::engine::{BlockSummary, check_records};
use weir_blocks::packed::{Cursor, UNPACKED_BYTES_MAX};

/// An opened block.
pub struct MetricsBlock {
    file: BlockReader,
    symbols: Symbols,
    tenants: Vec<(String, Range<u32>)>,
    /// Of each of them; empty where none has been downsampled.
    resolutions: Vec<Resolution>,
    /// Pairs of all series; `pair_ends` says where each series' pairs end.
    pairs: Vec<u32>,
    pair_ends: Vec<u32>,
    postings: Vec<u8>,
    /// Where each pair's list lies in `postings`.
    lists: Vec<Range<usize>>,
    groups: Vec<GroupEntry>,
    layout: Layout,
    extras: Extras,
    families: Families,
    /// Of each tenant; nobody has asked for those of most.
    kept: Box<[OnceLock<KeptLabels>]>,
    room: Arc<LabelRoom>,
    in_label_order: OnceLock<bool>,
}

impl MetricsBlock {
    /// Reads and verifies all but the samples. Errors with `Corrupt` that names section and reason.
    pub fn open(blob: Arc<dyn Blob>) -> Result<Self, StoreError> {
        Self::open_within(blob, &Arc::default())
    }

    /// The same, with room for label sets that others use as well.
    pub(super) fn open_within(blob: Arc<dyn Blob>, room: &Arc<LabelRoom>) -> Result<Self, StoreError> {
        let file = BlockReader::open(blob)?;
        let path = file.path().to_owned();
        if file.kind() != Kind::Metrics {
            return Err(StoreError::corrupt(&path, format!("a block of {} where metrics are expected", file.kind().name())));
        }
        let wrong = |section: &'static str| {
            let path = path.clone();
            move |detail: String| StoreError::corrupt(&path, format!("section {section}: {detail}"))
        };
        let symbols = Symbols::parse(&file.section(SYMBOLS)?).map_err(wrong(SYMBOLS))?;
        let has_extras = file.section_len(EXTRAS).is_some();
        let own = match (file.section_len(SERIES_RESOLUTIONS), has_extras) {
            (Some(_), _) => SERIES_RESOLUTIONS,
            (None, true) => SERIES_EXTRAS,
            (None, false) => SERIES,
        };
        let series = parse_series(&unpack(&file, own)?, own == SERIES_RESOLUTIONS, symbols.len()).map_err(wrong(own))?;
        let postings = unpack(&file, POSTINGS)?;
        let lists = parse_lists(&postings, symbols.len()).map_err(wrong(POSTINGS))?;
        let (layout, own) = if file.section_len(GROUPS_1).is_some() {
            (Layout::One, GROUPS_1)
        } else {
            (Layout::Two(Arc::new(Times::parse(unpack(&file, TIMES)?).map_err(wrong(TIMES))?)), GROUPS)
        };
        let groups = parse_groups(&unpack(&file, own)?, series.ends.len()).map_err(wrong(own))?;
        let extras = if has_extras {
            Extras::parse(&unpack(&file, EXTRAS)?, series.ends.len()).map_err(wrong(EXTRAS))?
        } else {
            Extras::default()
        };
        let families = parse_families(&unpack(&file, FAMILIES)?).map_err(wrong(FAMILIES))?;
        let SeriesTable { tenants, resolutions, pairs, ends: pair_ends } = series;
        let kept = tenants.iter().map(|_| OnceLock::new()).collect();
        Ok(Self {
            file,
            symbols,
            tenants,
            resolutions,
            pairs,
            pair_ends,
            postings,
            lists,
            groups,
            layout,
            extras,
            families,
            kept,
            room: Arc::clone(room),
            in_label_order: OnceLock::new(),
        })
    }

    /// Names of the file's sections and their sizes, for tools.
    pub fn section_sizes(&self) -> Vec<(String, u64)> {
        self.file.names().map(|name| (name.to_owned(), self.file.section_len(name).unwrap_or(0))).collect()
    }

    pub(crate) fn path(&self) -> &str {
        self.file.path()
    }

    pub(crate) fn families(&self) -> &Families {
        &self.families
    }

    pub(crate) fn tenants(&self) -> &[(String, Range<u32>)] {
        &self.tenants
    }

    pub(crate) fn resolution(&self, tenant: &str) -> Resolution {
        if self.resolutions.is_empty() {
            return Resolution::default();
        }
        let place = self.tenants.binary_search_by(|(own, _)| own.as_str().cmp(tenant)).ok();
        place.and_then(|place| self.resolutions.get(place)).copied().unwrap_or_default()
    }

    /// Of each tenant.
    pub(crate) fn tenant_resolutions(&self) -> impl Iterator<Item = (&String, Resolution)> {
        let resolutions = self.resolutions.iter().copied().chain(std::iter::repeat(Resolution::default()));
        self.tenants.iter().map(|(tenant, _)| tenant).zip(resolutions)
    }

    /// What it has of each tenant. Of a group with series of several, each has as much as its series are many.
    pub(crate) fn shares(&self) -> Vec<(Arc<str>, Amount)> {
        let mut shares = Vec::new();
        for (tenant, own) in &self.tenants {
            let mut amount = Amount::default();
            let first = self.groups.partition_point(|group| group.series_first + group.series <= own.start);
            for group in self.groups[first..].iter().take_while(|group| group.series_first < own.end) {
                let common = own.end.min(group.series_first + group.series) - own.start.max(group.series_first);
                let part = |whole: u64| whole.saturating_mul(u64::from(common)) / u64::from(group.series.max(1));
                amount += Amount { records: part(group.samples), bytes: part(group.bytes.end - group.bytes.start) };
            }
            for entry in self.extras.all() {
                let (first, last) = entry.series;
                let common = own.end.min(last + 1).saturating_sub(own.start.max(first));
                let bytes = (entry.bytes.end - entry.bytes.start).saturating_mul(u64::from(common));
                amount += Amount { records: 0, bytes: bytes / u64::from(last - first + 1) };
            }
            shares.push((Arc::from(tenant.as_str()), amount));
        }
        shares
    }

    #[cfg(test)]
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn groups(&self) -> &[GroupEntry] {
        &self.groups
    }

    /// The place of the group that has a series, which exists.
    pub(crate) fn group_of(&self, id: u32) -> usize {
        self.groups.partition_point(|group| group.series_first + group.series <= id)
    }

    /// Series.
    pub(crate) fn series(&self) -> u32 {
        self.pair_ends.len() as u32
    }

    /// Series of a tenant that pass all matchers.
    pub(crate) fn matching(&self, tenant: &str, matchers: &[Matcher]) -> Result<RoaringBitmap, StoreError> {
        let Some((_, range)) = self.tenants.iter().find(|(own, _)| own == tenant) else {
            return Ok(RoaringBitmap::new());
        };
        let mut all = RoaringBitmap::new();
        all.insert_range(range.clone());
        postings::matching(self, all, matchers)
    }

    /// See [`super::kept_labels`]; with the numbers of the tenant's series.
    pub(super) fn kept(&self, tenant: &str) -> Option<(&KeptLabels, Range<u32>)> {
        let place = self.tenants.binary_search_by(|(own, _)| own.as_str().cmp(tenant)).ok()?;
        let kept = self.kept[place].get_or_init(|| KeptLabels::new(&self.room));
        Some((kept, self.tenants[place].1.clone()))
    }

    /// The labels of a series, which exists, as numbers of pairs: series in the order of these are in the order of their labels.
    pub(super) fn pairs_of(&self, id: u32) -> &[u32] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.pair_ends[id - 1] };
        &self.pairs[start as usize..self.pair_ends[id] as usize]
    }

    /// The labels of a series, which exists; they are not kept.
    pub(crate) fn make_labels(&self, id: u32) -> Labels {
        Labels::from_pairs(self.pairs_of(id).iter().map(|pair| self.symbols.pair(*pair as usize)))
    }

    /// Whether each tenant's series ascend by labels: each begins with its name, and none has a label that sorts before it.
    pub(crate) fn is_in_label_order(&self) -> bool {
        *self.in_label_order.get_or_init(|| {
            let names = self.symbols.of_name(NAME);
            let starts = std::iter::once(0).chain(self.pair_ends.iter().copied());
            let mut series = starts.zip(&self.pair_ends);
            names.start == 0 && series.all(|(start, end)| start < *end && names.contains(&(self.pairs[start as usize] as usize)))
        })
    }

    /// Reads, verifies and unpacks a group.
    pub(crate) fn group(&self, entry: &GroupEntry) -> Result<Group, StoreError> {
        let wrong = |detail: String| {
            let series = entry.series_first..entry.series_first + entry.series;
            StoreError::corrupt(self.path(), format!("samples of series {series:?}: {detail}"))
        };
        let section = if matches!(self.layout, Layout::One) { SAMPLES_1 } else { SAMPLES };
        let bytes = self.file.section_range(section, entry.bytes.clone())?;
        let computed = crc32c::crc32c(&bytes);
        if computed != entry.crc {
            return Err(wrong(format!("checksum {computed:08x}, stored {:08x}", entry.crc)));
        }
        Group::parse(&bytes, entry, &self.layout).map_err(wrong)
    }

    /// Directories of what samples have beside numbers.
    pub(crate) fn extras(&self) -> &Extras {
        &self.extras
    }

    /// Reads, verifies and unpacks a group of one of them.
    pub(crate) fn chunk_group(&self, section: &'static str, entry: &ChunkEntry) -> Result<ChunkGroup, StoreError> {
        let wrong = |detail: String| {
            let (first, last) = entry.series;
            StoreError::corrupt(self.path(), format!("{section} of series {first} to {last}: {detail}"))
        };
        let bytes = self.file.section_range(section, entry.bytes.clone())?;
        let computed = crc32c::crc32c(&bytes);
        if computed != entry.crc {
            return Err(wrong(format!("checksum {computed:08x}, stored {:08x}", entry.crc)));
        }
        ChunkGroup::parse(&bytes, entry).map_err(wrong)
    }

    /// Reads all samples, a series at a time, and all lists. Errors with `Corrupt` that says what cannot be read.
    pub(crate) fn verify(&self, summary: &BlockSummary) -> Result<(), StoreError> {
        if let Layout::Two(times) = &self.layout {
            let wrong = |detail| StoreError::corrupt(self.path(), format!("section {TIMES}: {detail}"));
            times.verify().map_err(wrong)?;
        }
        let (mut samples, mut counts) = (0, Vec::new());
        for entry in &self.groups {
            let group = self.group(entry)?;
            let mut own = 0;
            let mut read = Samples::default();
            for at in 0..entry.series {
                read.clear();
                group.read(at as usize, i64::MIN, i64::MAX, &mut read).map_err(|detail| {
                    StoreError::corrupt(self.path(), format!("samples of series {}: {detail}", entry.series_first + at))
                })?;
                own += read.timestamps.len() as u64;
                counts.push(read.timestamps.len());
            }
            if own != entry.samples {
                let detail = format!("series from {}: {own} samples, the directory says {}", entry.series_first, entry.samples);
                return Err(StoreError::corrupt(self.path(), detail));
            }
            samples += own;
        }
        extras_reader::verify(self, &counts)?;
        (0..self.lists.len()).try_for_each(|pair| self.list(pair).map(drop))?;
        check_records(self.path(), samples, summary)
    }

    fn list(&self, pair: usize) -> Result<RoaringBitmap, StoreError> {
        postings::decode(&self.postings[self.lists[pair].clone()], self.series())
            .map_err(|detail| StoreError::corrupt(self.path(), format!("section {POSTINGS}: list {pair}: {detail}")))
    }
}

impl LabelIndex for MetricsBlock {
    fn equal(&self, name: &str, value: &str) -> Result<RoaringBitmap, StoreError> {
        self.symbols.find(name, value).map_or_else(|| Ok(RoaringBitmap::new()), |pair| self.list(pair))
    }

    fn any(&self, name: &str, passes: &dyn Fn(&str) -> bool) -> Result<RoaringBitmap, StoreError> {
        let mut found = RoaringBitmap::new();
        for pair in self.symbols.of_name(name).filter(|pair| passes(self.symbols.value(*pair))) {
            found |= self.list(pair)?;
        }
        Ok(found)
    }
}

fn unpack(file: &BlockReader, section: &'static str) -> Result<Vec<u8>, StoreError> {
    let bytes = file.section(section)?;
    let mut cursor = Cursor::new(&bytes);
    let raw = cursor.unpacked(UNPACKED_BYTES_MAX).and_then(|raw| cursor.end().map(|()| raw));
    raw.map_err(|detail| StoreError::corrupt(file.path(), format!("section {section}: {detail}")))
}

fn parse_lists(raw: &[u8], pair_count: usize) -> Result<Vec<Range<usize>>, String> {
    let mut cursor = Cursor::new(raw);
    let mut lists = Vec::with_capacity(pair_count.min(raw.len()));
    for _ in 0..pair_count {
        let list = cursor.bytes()?;
        let end = raw.len() - cursor.left();
        lists.push(end - list.len()..end);
    }
    cursor.end()?;
    Ok(lists)
}

fn parse_groups(raw: &[u8], series_count: usize) -> Result<Vec<GroupEntry>, String> {
    let mut cursor = Cursor::new(raw);
    let (mut series_next, mut offset) = (0_u32, 0_u64);
    let mut groups = Vec::new();
    for at in 0..cursor.count(9)? {
        let series = cursor.small()?;
        let samples = cursor.varint()?;
        let first = cursor.zigzag()?;
        let last = first.wrapping_add(cursor.varint()? as i64);
        let length = cursor.varint()?;
        let crc = u32::from_le_bytes(cursor.array()?);
        let next = series_next.checked_add(series).filter(|next| series > 0 && *next as usize <= series_count);
        let end = offset.checked_add(length).filter(|_| last >= first);
        let (Some(next), Some(end)) = (next, end) else {
            return Err(format!("group {at} has {series} series after {series_next} of {series_count}"));
        };
        groups.push(GroupEntry { series_first: series_next, series, samples, first, last, bytes: offset..end, crc });
        (series_next, offset) = (next, end);
    }
    cursor.end()?;
    if series_next as usize != series_count {
        return Err(format!("groups of {series_next} series, {series_count} are there"));
    }
    Ok(groups)
}

fn parse_families(raw: &[u8]) -> Result<Families, String> {
    const KINDS: [MetricKind; 8] = [
        MetricKind::Unknown,
        MetricKind::Counter,
        MetricKind::Gauge,
        MetricKind::Histogram,
        MetricKind::Summary,
        MetricKind::Info,
        MetricKind::StateSet,
        MetricKind::GaugeHistogram,
    ];
    let mut cursor = Cursor::new(raw);
    let mut families = Families::new();
    for _ in 0..cursor.count(2)? {
        let own = families.entry(cursor.text()?.to_owned()).or_default();
        for _ in 0..cursor.count(4)? {
            let name = cursor.text()?.to_owned();
            let number = cursor.byte()?;
            let kind = *KINDS.get(number as usize).ok_or_else(|| format!("metric kind {number} of {name:?} is unknown"))?;
            let (help, unit) = (cursor.text()?.to_owned(), cursor.text()?.to_owned());
            own.insert(name.clone(), Family { name, kind, help, unit });
        }
    }
    cursor.end()?;
    Ok(families)
}
