//! Unsealed scrapes of a partition: one table per (tenant, target, schema), a row a timestamp.
//!
//! Rows of some neighbouring columns of a schema, as senders cut theirs anywhere, go into the table of all of them.
//! A scrape costs one copy of its values: series are found when a schema is first seen, not per sample. Values stay as
//! they came (8 bytes) because a head is capped in time and bytes by its owner; they are settled and compressed when it
//! is sealed. Names are `index.rs`, which a head hands on to the next one; what is a head's own is `head_tables.rs`, matching is
//! `postings.rs`, the block `writer.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use weir_model::label::{Labels, Matcher};
use weir_model::memory::{allocation, shared};
use weir_model::metric::{Family, MetricBatch};
use weir_model::scope::Visible;
use weir_model::select::{MetricSelect, ReadError};
use weir_model::wire::Section;

use super::counters::MetricsCounters;
use super::head_extras;
use super::head_tables::{HeadTables, NewUse, UsedTables};
use super::index::Index;
use super::kept_labels::LabelRoom;
use super::names::{Names, OrderedSeries};
use super::plan::{MetricsPlan, Wanted};
use super::rows::{self, HeadSeries, Row};
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
    bytes: AtomicUsize,
    records: AtomicU64,
    /// What the head before has handed on and nobody has used since.
    handed_on: AtomicUsize,
    /// How much of it that one counts while it is there.
    counted_before: usize,
    before: Weak<()>,
    is_there: Arc<()>,
    room: Arc<LabelRoom>,
}

/// One tenant's share of a head. Locks are taken in the order of the fields.
struct TenantHead {
    /// The head before has them as well, for as long as it is there.
    names: Arc<Names>,
    /// Guards samples. Readers copy pointers to rows, so a scrape waits no longer than that takes.
    tables: RwLock<HeadTables>,
}

/// Which rows of a table are copied, of those that a reader asked for.
#[derive(Clone, Copy, PartialEq)]
enum Rows {
    All,
    /// Those in which the table's series have their newest samples there: mostly one.
    Newest,
}

impl MetricsHead {
    pub(super) fn new(counters: MetricsCounters, room: &Arc<LabelRoom>) -> Self {
        Self {
            counters,
            selected: false,
            tenants: RwLock::default(),
            arrivals: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            records: AtomicU64::new(0),
            handed_on: AtomicUsize::new(0),
            counted_before: 0,
            before: Weak::new(),
            is_there: Arc::default(),
            room: Arc::clone(room),
        }
    }

    /// For series that another head has found to pass.
    pub fn selected() -> Self {
        Self { selected: true, ..Self::new(MetricsCounters::default(), &Arc::default()) }
    }

    /// The one after this, to which nobody appends any more: it has no samples, and knows the series that this one has.
    pub(super) fn next(&self) -> Self {
        let mut next = Self::new(self.counters.clone(), &self.room);
        for (name, tenant) in &*self.tenants.read() {
            let index = tenant.names.index.read();
            if let Some(used) = tenant.tables.read().bytes_handed_on(&index) {
                next.add_tenant(&mut next.tenants.write(), name, Arc::clone(&tenant.names));
                *next.handed_on.get_mut() += index.memory();
                next.counted_before += used;
            }
        }
        next.before = Arc::downgrade(&self.is_there);
        next
    }

    /// Whether both have the names of all tenants in common.
    #[cfg(test)]
    pub(super) fn knows_as(&self, other: &Self) -> bool {
        let (own, others) = (self.tenants.read(), other.tenants.read());
        let is_same =
            |name: &String, own: &TenantHead| others.get(name).is_some_and(|other| Arc::ptr_eq(&own.names, &other.names));
        !own.is_empty() && own.iter().all(|(name, own)| is_same(name, own))
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
        found.map(|tenant| tenant.tables.read().families().clone()).unwrap_or_default()
    }

    fn tenant(&self, name: &str) -> Arc<TenantHead> {
        if let Some(found) = self.tenants.read().get(name) {
            return Arc::clone(found);
        }
        let mut tenants = self.tenants.write();
        if let Some(known) = tenants.get(name) {
            return Arc::clone(known);
        }
        self.add_tenant(&mut tenants, name, Arc::new(Names::new(Index::new(self.selected), &self.room)))
    }

    fn add_tenant(&self, tenants: &mut BTreeMap<String, Arc<TenantHead>>, name: &str, names: Arc<Names>) -> Arc<TenantHead> {
        let entry = 2 * size_of::<(String, Arc<TenantHead>)>() + allocation(name.len());
        let memory = entry + shared(size_of::<TenantHead>()) + shared(size_of::<Names>());
        self.bytes.fetch_add(memory, Ordering::Relaxed);
        let tenant = Arc::new(TenantHead { names, tables: RwLock::default() });
        tenants.insert(name.to_owned(), Arc::clone(&tenant));
        tenant
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
        if width == 0 {
            // Its rows say nothing, and a table for it nothing that the next head could use.
            let bytes = tenant.tables.write().add_families(&batch.schema);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            return Ok(());
        }
        let source = &*section.header.source;
        let known = tenant.known_table(source, batch);
        if known.is_none() {
            check_labels(&section.header.source, batch)?;
        }
        let (_, first) = batch.schema.whole();
        let rows: Vec<Row> = batch
            .rows
            .iter()
            .map(|row| Row {
                arrival: self.arrivals.fetch_add(1, Ordering::Relaxed),
                timestamp: row.timestamp.div_euclid(MILLISECOND),
                first: first as u32,
                values: head_extras::values(row),
                extras: head_extras::kept(row),
            })
            .collect();
        // Twice, since lists grow by doubling.
        let mut bytes = rows.len() * (2 * size_of::<Row>() + shared(width * size_of::<f64>())) + head_extras::memory(&rows);
        // A name for the table before a row for it: a reader between the two sees an empty table.
        let table = known.unwrap_or_else(|| {
            let (table, own) = tenant.table(source, batch);
            bytes += own.bytes;
            let less = |handed_on: usize| Some(handed_on.saturating_sub(own.handed_on));
            let _always = self.handed_on.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            table
        });
        tenant.tables.write().push(table, rows);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add((batch.rows.len() * width) as u64, Ordering::Relaxed);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn handed_on_bytes(&self) -> usize {
        let all = self.handed_on.load(Ordering::Relaxed);
        if self.before.strong_count() > 0 { all.saturating_sub(self.counted_before) } else { all }
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
            let found = tenant.all();
            let mut samples = Samples::default();
            for (labels, places) in found.iter() {
                samples.clear();
                found.read(places, &mut samples);
                samples.exemplars.extend(found.exemplars(places).map(|(_, exemplar)| exemplar.clone()));
                dropped += samples.settle_all();
                writer.push(&name, &labels, &samples);
            }
            let own = tenant.tables.read().families().clone();
            // Of a tenant whose names were handed on, and to whom nothing came, the block says nothing.
            if !found.is_empty() || !own.is_empty() {
                families.insert(name, own);
            }
        }
        self.counters.add(dropped);
        Ok(writer.finish(&families))
    }
}

/// Read back from a block each series has its target's labels as its own: errors when a section's would take more memory so
/// than any record may.
fn check_labels(source: &str, batch: &MetricBatch) -> Result<(), StoreError> {
    let (schema, _) = batch.schema.whole();
    let own: usize = schema.series.iter().map(Labels::memory).sum();
    let bytes = batch.target.memory().saturating_mul(schema.series.len()).saturating_add(own);
    if bytes > RECORD_BYTES_MAX {
        let detail =
            format!("labels of {bytes} bytes from {source}, each series with its target's, are above {RECORD_BYTES_MAX}");
        return Err(StoreError::engine("take metrics", detail));
    }
    Ok(())
}

impl TenantHead {
    /// The table that the source wrote last, if it fits.
    fn known_table(&self, source: &str, batch: &MetricBatch) -> Option<u32> {
        let index = self.names.index.read();
        self.tables.read().find(&index, source, batch)
    }

    /// The batch's table, which the source writes to from now on, and how many bytes more that takes.
    fn table(&self, source: &str, batch: &MetricBatch) -> (u32, NewUse) {
        let index = self.names.index.read();
        let recent = self.tables.read().find_recent(&index, source, batch);
        if let Some(known) = recent.or_else(|| index.find(batch)) {
            return (known, self.tables.write().set_recent(&index, source, known, None));
        }
        drop(index);
        let mut index = self.names.index.write();
        let before = index.memory();
        let table = index.table(batch);
        let made = index.memory().saturating_sub(before);
        (table, self.tables.write().set_recent(&index, source, table, Some(made)))
    }

    fn matching(
        &self,
        matchers: &[Matcher],
        visible: &Visible,
        rows: (Rows, impl Fn(&Row) -> bool),
    ) -> Result<HeadSeries, StoreError> {
        self.names.prepare(matchers)?;
        let used = self.tables.read().used();
        self.matching_of(used, (matchers, visible), rows)
    }

    /// As of when `used` was read.
    fn matching_of(
        &self,
        used: UsedTables,
        (matchers, visible): (&[Matcher], &Visible),
        rows: (Rows, impl Fn(&Row) -> bool),
    ) -> Result<HeadSeries, StoreError> {
        let series = self.names.matching(matchers, &used, visible)?;
        Ok(self.with_rows(used, series, rows))
    }

    /// All series in the order of a block.
    fn all(&self) -> HeadSeries {
        self.names.prepare_all();
        let used = self.tables.read().used();
        let ids = self.names.index.read().in_block_order(&used);
        self.with_rows(used, OrderedSeries { ids, ..OrderedSeries::default() }, (Rows::All, |_| true))
    }

    fn with_rows(
        &self,
        used: UsedTables,
        series: OrderedSeries,
        (wanted, in_range): (Rows, impl Fn(&Row) -> bool),
    ) -> HeadSeries {
        let index = self.names.index.read();
        let (mut found, numbers) = HeadSeries::new(&self.names, series, |id| index.places(id, &used));
        let widths: Vec<usize> = numbers.iter().map(|table| index.schema(*table).series.len()).collect();
        drop(index);
        // A scrape waits only while rows are copied. Those that came since are left out: of a series that has moved to a table that was
        // not used before, the samples there would be lacking, and later ones elsewhere would not.
        let tables = self.tables.read();
        let of_table = |(table, width): (u32, usize)| {
            let all = tables.rows(table).iter().filter(|row| used.has_row(row) && in_range(row));
            match wanted {
                Rows::All => all.cloned().collect(),
                Rows::Newest => rows::newest(all, width),
            }
        };
        found.set_rows(numbers.into_iter().zip(widths).map(of_table).collect());
        found
    }
}

#[cfg(test)]
mod tests {
    use weir_model::label::NAME;
    use weir_model::metric::{MetricRow, Schema};
    use weir_model::wire::{Mark, SectionHeader};

    use super::*;

    fn insert(head: &MetricsHead, second: i64, names: &[&str]) {
        let series = names.iter().map(|name| Labels::from_pairs([(NAME, *name)])).collect();
        let rows = vec![MetricRow::new(second * 1_000_000_000, vec![0.5; names.len()])];
        let batch = MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::new(series, Vec::new())), rows };
        let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
        let header = SectionHeader { tenant: "t".into(), source: "source".into(), mark, records: 0 };
        head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &Section::new(header, batch)).unwrap();
    }

    #[test]
    fn a_series_that_moves_to_another_table_while_it_is_read_lacks_nothing_in_between() {
        let head = MetricsHead::new(MetricsCounters::default(), &Arc::default());
        let read = |used| {
            let tenant = head.tenant("t");
            let found = tenant.matching_of(used, (&[], &Visible::default()), (Rows::All, |_| true)).unwrap();
            let mut samples = Samples::default();
            found.read(found.places(0).unwrap(), &mut samples);
            samples.timestamps
        };
        let used = || head.tenant("t").tables.read().used();
        insert(&head, 1, &["up"]);
        let before = used();
        insert(&head, 2, &["up", "up_since"]);
        insert(&head, 3, &["up"]);
        assert_eq!(read(before), [1000]);
        assert_eq!(read(used()), [1000, 2000, 3000]);
    }
}
