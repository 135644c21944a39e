//! Unsealed scrapes of a partition: one table per (tenant, target, schema), a row a timestamp.
//!
//! A scrape costs one copy of its values: series are found when a schema is first seen, not per sample. Values stay as
//! they came (8 bytes) because a head is capped in time and bytes by its owner; they are settled and compressed when it
//! is sealed. Names are `index.rs`, matching is `postings.rs`, the block `writer.rs`.

use std::cmp::Reverse;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use weir_model::label::{Labels, Matcher};
use weir_model::memory::{allocation, shared};
use weir_model::metric::{Family, MetricBatch};
use weir_model::scope::Visible;
use weir_model::select::{MetricSelect, ReadError};
use weir_model::wire::Section;

use super::counters::MetricsCounters;
use super::head_extras;
use super::index::Index;
use super::plan::{MetricsPlan, Wanted};
use super::rows::{HeadSeries, Row};
use super::samples::{Dropped, Samples};
use super::schema::MILLISECOND;
use super::writer::{BlockWriter, Families};
use weir_blocks::StoreError;
use weir_blocks::engine::{BuiltBlock, Head, Position};
use weir_blocks::limits::RECORD_BYTES_MAX;

/// Unsealed samples of one partition.
pub struct MetricsHead {
    counters: MetricsCounters,
    /// Another head has matched already: everything here passes, and nothing is indexed.
    selected: bool,
    /// Guards the set of tenants; what each holds has locks of its own.
    tenants: RwLock<BTreeMap<String, Arc<TenantHead>>>,
    arrivals: AtomicU64,
    bytes: Arc<AtomicUsize>,
    records: AtomicU64,
}

/// Label sets that a reader makes at once while a new schema waits: some hundred microseconds.
const MADE_AT_ONCE: usize = 1024;

/// One tenant's share of a head. Locks are taken in the order of the fields.
struct TenantHead {
    /// Held by the reader that sorts all series; others wait for their order.
    sorting: Mutex<()>,
    /// Guards names: written only when a schema is first seen.
    index: RwLock<Index>,
    /// Guards samples: rows of each table. Readers copy pointers to rows, so a scrape waits no longer than that takes.
    rows: RwLock<Vec<Vec<Row>>>,
}

/// Which rows of a table are copied, of those that a reader asked for.
#[derive(Clone, Copy, PartialEq)]
enum Rows {
    All,
    /// One, in which each of the table's series has its newest sample there.
    Newest,
}

impl MetricsHead {
    pub(crate) fn new(counters: MetricsCounters) -> Self {
        Self {
            counters,
            selected: false,
            tenants: RwLock::default(),
            arrivals: AtomicU64::new(0),
            bytes: Arc::default(),
            records: AtomicU64::new(0),
        }
    }

    /// For series that another head has found to pass.
    pub fn selected() -> Self {
        Self { selected: true, ..Self::new(MetricsCounters::default()) }
    }

    pub(super) fn has_tenant(&self, tenant: &str) -> bool {
        self.tenants.read().contains_key(tenant)
    }

    /// The series that pass, with their rows as of now.
    pub fn select(&self, select: &MetricSelect) -> Result<HeadSeries, ReadError> {
        self.matching(&*MetricsPlan::new(select, Wanted::Samples)?)
    }

    /// The same, with the rows that have an exemplar, whenever that was.
    pub fn select_exemplars(&self, select: &MetricSelect) -> Result<HeadSeries, ReadError> {
        self.matching(&*MetricsPlan::new(select, Wanted::Exemplars)?)
    }

    /// The same, of a plan.
    pub(super) fn matching(&self, plan: &MetricsPlan) -> Result<HeadSeries, ReadError> {
        let Some(tenant) = self.tenants.read().get(&*plan.tenant).cloned() else { return Ok(HeadSeries::default()) };
        let all = Visible::default();
        let visible = if self.selected { &all } else { &plan.visible };
        let in_range = |row: &Row| match plan.wanted {
            // One may be older than the row that told it.
            Wanted::Exemplars => row.extras.as_ref().is_some_and(|extras| !extras.exemplars.is_empty()),
            _ => plan.overlaps(row.timestamp, row.timestamp),
        };
        let rows = if plan.wanted == Wanted::Newest { Rows::Newest } else { Rows::All };
        tenant.matching(&plan.matchers, visible, (rows, in_range)).map_err(|error| ReadError::Store(error.to_string()))
    }

    /// See [`Self::selected`].
    pub(super) fn is_selected(&self) -> bool {
        self.selected
    }

    /// Families of a tenant, by name.
    pub(crate) fn families(&self, tenant: &str) -> BTreeMap<String, Family> {
        let found = self.tenants.read().get(tenant).cloned();
        found.map(|tenant| tenant.index.read().families().clone()).unwrap_or_default()
    }

    fn tenant(&self, name: &str) -> Arc<TenantHead> {
        if let Some(found) = self.tenants.read().get(name) {
            return Arc::clone(found);
        }
        match self.tenants.write().entry(name.to_owned()) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(free) => {
                let entry = 2 * size_of::<(String, Arc<TenantHead>)>() + allocation(name.len());
                self.bytes.fetch_add(entry + shared(size_of::<TenantHead>()), Ordering::Relaxed);
                Arc::clone(free.insert(Arc::new(TenantHead::new(self.selected, &self.bytes))))
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
        head_extras::check(&section.header.source, batch)?;
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
                values: head_extras::values(row),
                extras: head_extras::kept(row),
            })
            .collect();
        // Twice, since lists grow by doubling.
        let mut bytes = rows.len() * (2 * size_of::<Row>() + shared(width * size_of::<f64>())) + head_extras::memory(&rows);
        // A name for the table before a row for it: a reader between the two sees an empty table.
        let table = known.unwrap_or_else(|| {
            let mut index = tenant.index.write();
            let before = index.memory();
            let table = index.table(&section.header.source, batch);
            // A family's new text may be shorter than the one before it.
            bytes += index.memory().saturating_sub(before);
            table
        });
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
            let (found, order) = tenant.all();
            let mut samples = Samples::default();
            for (id, (_, places)) in order.into_iter().zip(found.iter()) {
                // One at a time: those of all series would take more than the head.
                let labels = tenant.index.read().make_labels(id);
                samples.clear();
                found.read(places, &mut samples);
                samples.exemplars.extend(found.exemplars(places).map(|(_, exemplar)| exemplar.clone()));
                dropped += samples.settle_all();
                writer.push(&name, &labels, &samples);
            }
            families.insert(name, tenant.index.read().families().clone());
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

impl TenantHead {
    fn new(selected: bool, bytes: &Arc<AtomicUsize>) -> Self {
        Self { sorting: Mutex::default(), index: RwLock::new(Index::new(selected, bytes)), rows: RwLock::default() }
    }

    fn matching(
        &self,
        matchers: &[Matcher],
        visible: &Visible,
        rows: (Rows, impl Fn(&Row) -> bool),
    ) -> Result<HeadSeries, StoreError> {
        self.prepare(matchers)?;
        let index = self.index.read();
        let mut series = index.matching(matchers)?;
        series.retain(|(labels, _)| visible.passes(labels));
        Ok(self.with_rows(index, series, rows))
    }

    /// Makes what the first reader of many series has to make, and lets go of the names in between: a schema that is seen for the
    /// first time waits for a piece of it.
    fn prepare(&self, matchers: &[Matcher]) -> Result<(), StoreError> {
        if self.index.read().is_ordered() {
            return Ok(());
        }
        let _sorting = self.sorting.lock();
        let unsorted = self.index.read().unsorted(matchers)?;
        let Some((mut keys, ids)) = unsorted else { return Ok(()) };
        keys.sort();
        self.index.read().set_order(keys);
        ids.chunks(MADE_AT_ONCE).for_each(|ids| self.index.read().keep_labels(ids));
        Ok(())
    }

    /// All series in the order of a block, without their labels, and their numbers.
    fn all(&self) -> (HeadSeries, Vec<u32>) {
        let index = self.index.read();
        let order = index.in_block_order();
        let series = order.iter().map(|id| (Labels::EMPTY, *id)).collect();
        (self.with_rows(index, series, (Rows::All, |_| true)), order)
    }

    fn with_rows(
        &self,
        index: RwLockReadGuard<'_, Index>,
        series: Vec<(Labels, u32)>,
        (wanted, in_range): (Rows, impl Fn(&Row) -> bool),
    ) -> HeadSeries {
        let (mut found, tables) = HeadSeries::new(series.into_iter().map(|(labels, id)| (labels, index.places(id))));
        // A scrape waits only while rows are copied. The names are let go after: a series that moves to another table in between
        // would lack rows.
        let rows = self.rows.read();
        drop(index);
        let of_table = |table: u32| {
            let all = rows.get(table as usize).into_iter().flatten().filter(|row| in_range(row));
            match wanted {
                Rows::All => all.cloned().collect(),
                // Of one millisecond the first stays.
                Rows::Newest => all.max_by_key(|row| (row.timestamp, Reverse(row.arrival))).cloned().into_iter().collect(),
            }
        };
        found.set_rows(tables.into_iter().map(of_table).collect());
        found
    }
}
