//! Unsealed scrapes of a partition: one table per (tenant, target, schema), a row a timestamp.
//!
//! A scrape costs one copy of its values: series are found when a schema is first seen, not per sample. Values stay as
//! they came (8 bytes) because a head is capped in time and bytes by its owner; they are settled and compressed when it
//! is sealed. Matching is `postings.rs`, the block `writer.rs`.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use roaring::RoaringBitmap;
use weir_model::label::{Labels, Matcher};
use weir_model::memory::{allocation, shared, table_entry};
use weir_model::metric::{Family, MetricBatch, Schema};
use weir_model::wire::Section;

use super::counters::MetricsCounters;
use super::postings::{self, LabelIndex};
use super::samples::{Dropped, Samples};
use super::schema::series_order;
use super::writer::{BlockWriter, Families};
use crate::StoreError;
use crate::engine::{BuiltBlock, Head, Position};
use crate::limits::RECORD_BYTES_MAX;

/// Nanoseconds of a millisecond, the resolution of Prometheus' APIs.
const MILLISECOND: i64 = 1_000_000;
/// A source that alternates between more schemas than this looks the oldest up by its hash.
const RECENT_MAX: usize = 4;
/// A value's place in a posting list's tree, and the bitmap's first container.
const POSTING_BYTES: usize = 300;
/// A name's place, and its tree's first node.
const TREE_BYTES: usize = 550;
/// A place of a series in a list that grows by doubling, and of the series in the value's bitmap.
const PLACE_BYTES: usize = 16;

/// Unsealed samples of one partition.
pub struct MetricsHead {
    counters: MetricsCounters,
    /// Another head has matched already: everything here passes, and nothing is indexed.
    selected: bool,
    /// Guards the set of tenants; what each holds has locks of its own.
    tenants: RwLock<BTreeMap<String, Arc<TenantHead>>>,
    arrivals: AtomicU64,
    bytes: AtomicUsize,
    records: AtomicU64,
}

/// One tenant's share of a head. Locks are taken in the order of the fields.
#[derive(Default)]
struct TenantHead {
    /// Guards names: written only when a schema is first seen.
    index: RwLock<Index>,
    /// Guards samples: rows of each table. Readers copy pointers to rows, so a scrape waits no longer than that takes.
    rows: RwLock<Vec<Vec<Row>>>,
}

#[derive(Default)]
struct Index {
    /// No postings: every series passes.
    selected: bool,
    tables: Vec<Table>,
    /// Tables that a source wrote lately, newest first: a scrape finds its table by comparing, mostly pointers.
    recent: HashMap<String, Vec<u32>>,
    /// Tables by hash of target and schema; equal hashes are told apart by comparing.
    by_hash: HashMap<u64, Vec<u32>>,
    by_labels: HashMap<Labels, u32>,
    series: Vec<SeriesEntry>,
    postings: HashMap<Box<str>, BTreeMap<Box<str>, RoaringBitmap>>,
    families: BTreeMap<String, Family>,
}

struct Table {
    target: Labels,
    schema: Arc<Schema>,
}

struct SeriesEntry {
    labels: Labels,
    /// Tables and columns that hold its samples; mostly one.
    places: Vec<(u32, u32)>,
}

#[derive(Clone)]
pub(crate) struct Row {
    /// Order among all rows of the head, for "the first stays".
    pub arrival: u64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    pub values: Arc<[f64]>,
}

/// Series of a head that a reader asked for; rows are shared with the head, nothing is locked.
pub(crate) struct HeadSeries {
    /// In the order of ids.
    pub series: Vec<(Labels, Vec<(u32, u32)>)>,
    /// By table, as they arrived.
    pub rows: HashMap<u32, Vec<Row>>,
}

impl HeadSeries {
    /// Samples of a series of [`HeadSeries::series`], as places; as they arrived.
    pub(crate) fn samples(&self, places: &[(u32, u32)]) -> Samples {
        let mut arrived: Vec<(u64, i64, f64)> = Vec::new();
        for (table, column) in places {
            let rows = self.rows.get(table).into_iter().flatten();
            arrived.extend(rows.map(|row| (row.arrival, row.timestamp, row.values[*column as usize])));
        }
        if places.len() > 1 {
            arrived.sort_by_key(|(arrival, ..)| *arrival);
        }
        let mut samples = Samples::default();
        arrived.into_iter().for_each(|(_, timestamp, value)| samples.push(timestamp, value));
        samples
    }
}

impl MetricsHead {
    pub(crate) fn new(counters: MetricsCounters) -> Self {
        Self {
            counters,
            selected: false,
            tenants: RwLock::default(),
            arrivals: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            records: AtomicU64::new(0),
        }
    }

    /// For series that another head has found to pass.
    pub(crate) fn selected() -> Self {
        Self { selected: true, ..Self::new(MetricsCounters::default()) }
    }

    /// The series of a tenant that pass, with their rows as of now.
    pub(crate) fn matching(&self, tenant: &str, matchers: &[Matcher]) -> Result<HeadSeries, StoreError> {
        let found = self.tenants.read().get(tenant).cloned();
        found.map_or_else(|| Ok(HeadSeries { series: Vec::new(), rows: HashMap::new() }), |tenant| tenant.matching(matchers))
    }

    /// Families of a tenant, by name.
    pub(crate) fn families(&self, tenant: &str) -> BTreeMap<String, Family> {
        let found = self.tenants.read().get(tenant).cloned();
        found.map(|tenant| tenant.index.read().families.clone()).unwrap_or_default()
    }

    fn tenant(&self, name: &str) -> Arc<TenantHead> {
        if let Some(found) = self.tenants.read().get(name) {
            return Arc::clone(found);
        }
        let selected = self.selected;
        let fresh =
            || Arc::new(TenantHead { index: RwLock::new(Index { selected, ..Index::default() }), ..TenantHead::default() });
        match self.tenants.write().entry(name.to_owned()) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(free) => {
                let entry = 2 * size_of::<(String, Arc<TenantHead>)>() + allocation(name.len());
                self.bytes.fetch_add(entry + shared(size_of::<TenantHead>()), Ordering::Relaxed);
                Arc::clone(free.insert(fresh()))
            }
        }
    }
}

impl Head for MetricsHead {
    type Batch = MetricBatch;

    fn insert(&self, _: Position, section: &Section<MetricBatch>) -> Result<(), StoreError> {
        let batch = &section.batch;
        let width = batch.schema.series.len();
        if let Some(row) = batch.rows.iter().find(|row| row.values.len() != width) {
            let detail = format!("{} sent {} values for {width} series", section.header.source, row.values.len());
            return Err(StoreError::engine("take metrics", detail));
        }
        let tenant = self.tenant(&section.header.tenant);
        let known = tenant.index.read().find(&section.header.source, batch);
        if known.is_none() {
            check_labels(&section.header.source, batch)?;
        }
        // Rows of no series say nothing.
        let rows: Vec<Row> = batch
            .rows
            .iter()
            .filter(|_| width > 0)
            .map(|row| Row {
                arrival: self.arrivals.fetch_add(1, Ordering::Relaxed),
                timestamp: row.timestamp.div_euclid(MILLISECOND),
                values: row.values.as_slice().into(),
            })
            .collect();
        // Twice, since lists grow by doubling.
        let mut bytes = rows.len() * (2 * size_of::<Row>() + shared(width * size_of::<f64>()));
        // A name for the table before a row for it: a reader between the two sees an empty table.
        let table = known.unwrap_or_else(|| tenant.index.write().table(&section.header.source, batch, &mut bytes));
        {
            let mut tables = tenant.rows.write();
            let wanted = tables.len().max(table as usize + 1);
            tables.resize_with(wanted, Vec::new);
            tables[table as usize].extend(rows);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add((batch.rows.len() * width) as u64, Ordering::Relaxed);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    fn build(&self) -> Result<Vec<BuiltBlock>, StoreError> {
        let tenants: Vec<(String, Arc<TenantHead>)> =
            self.tenants.read().iter().map(|(name, tenant)| (name.clone(), Arc::clone(tenant))).collect();
        let mut writer = BlockWriter::default();
        let mut families = Families::new();
        let mut dropped = Dropped::default();
        for (name, tenant) in tenants {
            let mut found = tenant.matching(&[])?;
            found.series.sort_by(|a, b| series_order(&a.0, &b.0));
            for (labels, places) in &found.series {
                let mut samples = found.samples(places);
                let own = samples.settle();
                dropped.repeated += own.repeated;
                dropped.conflicting += own.conflicting;
                writer.push(&name, labels, &samples);
            }
            families.insert(name, tenant.index.read().families.clone());
        }
        self.counters.add(dropped);
        Ok(writer.finish(&families))
    }
}

/// Read back from a block each series has its target's labels as its own: errors when a section's would take more memory so
/// than any record may.
fn check_labels(source: &str, batch: &MetricBatch) -> Result<(), StoreError> {
    let own: usize = batch.schema.series.iter().map(Labels::memory).sum();
    let bytes = batch.target.memory().saturating_mul(batch.schema.series.len()).saturating_add(own);
    if bytes > RECORD_BYTES_MAX {
        let detail =
            format!("labels of {bytes} bytes from {source}, each series with its target's, are above {RECORD_BYTES_MAX}");
        return Err(StoreError::engine("take metrics", detail));
    }
    Ok(())
}

/// Memory of a family's texts.
fn family_texts(family: &Family) -> usize {
    [&family.name, &family.help, &family.unit].iter().map(|text| allocation(text.len())).sum()
}

/// Memory of a schema that a table keeps.
fn schema_memory(schema: &Schema) -> usize {
    let series: usize = schema.series.iter().map(Labels::memory).sum();
    let families: usize = schema.families.iter().map(family_texts).sum();
    let lists =
        allocation(schema.series.capacity() * size_of::<Labels>()) + allocation(schema.families.capacity() * size_of::<Family>());
    shared(size_of::<Schema>()) + lists + series + families
}

impl TenantHead {
    fn matching(&self, matchers: &[Matcher]) -> Result<HeadSeries, StoreError> {
        let index = self.index.read();
        let mut all = RoaringBitmap::new();
        all.insert_range(0..index.series.len() as u32);
        let ids = if index.selected { all } else { postings::matching(&*index, all, matchers)? };
        let entries = ids.iter().map(|id| &index.series[id as usize]);
        let series: Vec<_> = entries.map(|entry| (entry.labels.clone(), entry.places.clone())).collect();
        drop(index);
        let mut rows = HashMap::new();
        let tables = self.rows.read();
        for (table, _) in series.iter().flat_map(|(_, places)| places) {
            rows.entry(*table).or_insert_with(|| tables.get(*table as usize).cloned().unwrap_or_default());
        }
        Ok(HeadSeries { series, rows })
    }
}

impl Index {
    /// The table that the source wrote last, if it fits: then nothing has to change.
    fn find(&self, source: &str, batch: &MetricBatch) -> Option<u32> {
        let newest = *self.recent.get(source)?.first()?;
        self.tables[newest as usize].holds(batch).then_some(newest)
    }

    /// The batch's table, made when it is the first of its kind.
    fn table(&mut self, source: &str, batch: &MetricBatch, bytes: &mut usize) -> u32 {
        let recent = self.recent.get(source).into_iter().flatten();
        let known = recent.copied().find(|table| self.tables[*table as usize].holds(batch));
        let table = known.unwrap_or_else(|| self.table_by_hash(batch, bytes));
        if !self.recent.contains_key(source) {
            *bytes += table_entry(size_of::<(String, Vec<u32>)>()) + allocation(source.len()) + allocation(size_of::<[u32; 8]>());
        }
        let recent = self.recent.entry(source.to_owned()).or_default();
        recent.retain(|other| *other != table);
        recent.insert(0, table);
        recent.truncate(RECENT_MAX);
        for family in &batch.schema.families {
            let own = family_texts(family);
            *bytes += match self.families.insert(family.name.clone(), family.clone()) {
                Some(before) => own.saturating_sub(family_texts(&before)),
                None => own + allocation(family.name.len()) + 2 * size_of::<(String, Family)>(),
            };
        }
        table
    }

    fn table_by_hash(&mut self, batch: &MetricBatch, bytes: &mut usize) -> u32 {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(&batch.target.stable_hash().to_le_bytes());
        batch.schema.series.iter().for_each(|labels| hash.update(&labels.stable_hash().to_le_bytes()));
        let hash = hash.digest();
        let same = self.by_hash.get(&hash).into_iter().flatten();
        if let Some(found) = same.copied().find(|table| self.tables[*table as usize].holds(batch)) {
            return found;
        }
        let table = self.tables.len() as u32;
        self.by_hash.entry(hash).or_default().push(table);
        self.tables.push(Table { target: batch.target.clone(), schema: Arc::clone(&batch.schema) });
        *bytes += 2 * (size_of::<Table>() + size_of::<Vec<Row>>()) + batch.target.memory() + schema_memory(&batch.schema);
        *bytes += table_entry(size_of::<(u64, Vec<u32>)>()) + allocation(size_of::<[u32; 4]>());
        for (column, own) in (0_u32..).zip(&batch.schema.series) {
            let id = self.series_id(batch.target.merged(own), bytes);
            self.series[id as usize].places.push((table, column));
            *bytes += PLACE_BYTES;
        }
        table
    }

    fn series_id(&mut self, labels: Labels, bytes: &mut usize) -> u32 {
        if let Some(id) = self.by_labels.get(&labels) {
            return *id;
        }
        let id = self.series.len() as u32;
        let indexed = if self.selected { &Labels::EMPTY } else { &labels };
        for (name, value) in indexed.iter() {
            if !self.postings.contains_key(name) {
                *bytes += TREE_BYTES + allocation(name.len());
                self.postings.insert(name.into(), BTreeMap::new());
            }
            let values = self.postings.get_mut(name).expect("invariant: it was just made sure of");
            match values.get_mut(value) {
                Some(ids) => {
                    *bytes += PLACE_BYTES;
                    ids.insert(id)
                }
                None => {
                    *bytes += POSTING_BYTES + allocation(value.len());
                    values.entry(value.into()).or_default().insert(id)
                }
            };
        }
        let entry = 2 * size_of::<SeriesEntry>() + allocation(4 * size_of::<(u32, u32)>());
        *bytes += entry + table_entry(size_of::<(Labels, u32)>()) + labels.memory();
        self.by_labels.insert(labels.clone(), id);
        self.series.push(SeriesEntry { labels, places: Vec::new() });
        id
    }
}

impl Table {
    fn holds(&self, batch: &MetricBatch) -> bool {
        self.target == batch.target && (Arc::ptr_eq(&self.schema, &batch.schema) || self.schema == batch.schema)
    }
}

impl LabelIndex for Index {
    fn equal(&self, name: &str, value: &str) -> Result<RoaringBitmap, StoreError> {
        Ok(self.postings.get(name).and_then(|values| values.get(value)).cloned().unwrap_or_default())
    }

    fn any(&self, name: &str, passes: &dyn Fn(&str) -> bool) -> Result<RoaringBitmap, StoreError> {
        let values = self.postings.get(name).into_iter().flatten();
        Ok(values.filter(|(value, _)| passes(value)).fold(RoaringBitmap::new(), |found, (_, ids)| found | ids))
    }
}
