//! Schemas of a tenant's rows. A request begins and ends anywhere, so that its first and last row have some neighbouring columns of a
//! schema that is known: they are a part of it, and nothing has to be made, sent or stored anew for them. Each series knows the
//! schema that it was last in with most of its neighbours, and its column there. Called by [`super::series`] and [`super::sections`];
//! the same rows have the same digest, whatever is known here. Why: docs/decisions/0185-rows-that-are-cut-are-parts-of-a-schema.md.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_model::label::Labels;
use weir_model::memory::{allocation, shared, table_entry};
use weir_model::metric::{Family, MetricRow, Schema};
use weir_model::time::UnixNanos;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::rows::{Batch, Value};
use super::series::{Known, Target, family_bytes};
use crate::fingerprint::Hashed;

/// A part has at least one column of so many of its schema: it travels with the bytes of all of them.
const PART_ONE_IN: usize = 8;
/// A schema that takes more on the wire has no parts: a record has room for several of them, and a request brings two at most.
const WHOLE_BYTES_MAX: usize = 256 << 10;
/// Rows are cut at other places each time: after so many parts without a row of all columns some of the series have ended.
const PARTS_MAX: u32 = 16;
/// Not in UTF-8.
const TEXT_END: u8 = 0xff;

/// A schema and what makes it known again.
pub(super) struct KnownSchema {
    target: u64,
    columns: Box<[u32]>,
    generation: u64,
    /// Among its tenant's.
    number: u32,
    pub schema: Arc<Schema>,
    /// Hashes of its series, target and all, in order. The same on every machine.
    hashes: Arc<[u64]>,
    /// Of these.
    pub digest: [u8; 16],
    /// Since a row had all of its columns.
    parts: AtomicU32,
    /// The next generation goes on with it.
    newest: Arc<Mutex<NewestRow>>,
}

/// The newest row of numbers alone that the bus has.
struct NewestRow {
    /// Whether all series of the schema are in this one, so that the row is the newest sample of each.
    has_all: bool,
    time: UnixNanos,
    /// By column; none of no row.
    values: Box<[f64]>,
}

/// Where a series is: a schema's number and a column of it.
pub(super) struct SchemaPlace(AtomicU64);

/// What is known of a row's columns.
pub(super) enum FoundSchema {
    Whole(Arc<KnownSchema>),
    /// These columns of it.
    Part(Arc<KnownSchema>, Range<usize>),
}

/// One tenant's.
#[derive(Default)]
pub(super) struct Schemas {
    by_columns: HashMap<u64, Arc<KnownSchema>, BuildHasherDefault<Hashed>>,
    by_number: Vec<Arc<KnownSchema>>,
    /// Held while series go from one to another.
    moving: Mutex<()>,
}

impl Default for SchemaPlace {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Default for NewestRow {
    fn default() -> Self {
        Self { has_all: false, time: UnixNanos::MIN, values: Box::default() }
    }
}

impl SchemaPlace {
    /// Nothing but time depends on it, so it is read and written in any order.
    fn get(&self) -> (u32, u32) {
        let both = self.0.load(Ordering::Relaxed);
        ((both >> 32) as u32, both as u32)
    }

    fn set(&self, number: u32, column: u32) {
        self.0.store(u64::from(number) << 32 | u64::from(column), Ordering::Relaxed);
    }
}

impl Schemas {
    /// As of this generation of the tenant's families.
    pub fn find(&self, batch: &Batch, generation: u64) -> Option<FoundSchema> {
        let Batch { target, columns, series, .. } = batch;
        let is_of = |known: &KnownSchema| known.target == target.number && known.generation == generation;
        let (number, column) = series.first()?.place.get();
        if let Some(known) = self.by_number.get(number as usize).filter(|known| is_of(known)) {
            let range = column as usize..column as usize + columns.len();
            if known.columns.get(range.clone()).is_some_and(|own| *own == **columns) {
                if columns.len() == known.columns.len() {
                    known.parts.store(0, Ordering::Relaxed);
                    if !known.newest.lock().has_all {
                        self.place(known, series);
                    }
                    return Some(FoundSchema::Whole(Arc::clone(known)));
                }
                if batch.is_cut && known.may_be_cut(columns.len()) {
                    known.parts.fetch_add(1, Ordering::Relaxed);
                    return Some(FoundSchema::Part(Arc::clone(known), range));
                }
            }
        }
        let found = self.of_columns(batch).filter(|known| known.generation == generation)?;
        found.parts.store(0, Ordering::Relaxed);
        self.place(found, series);
        Some(FoundSchema::Whole(Arc::clone(found)))
    }

    /// That of all of these columns, of any generation.
    fn of_columns(&self, batch: &Batch) -> Option<&Arc<KnownSchema>> {
        let is_own = |known: &&Arc<KnownSchema>| known.target == batch.target.number && *known.columns == *batch.columns;
        self.by_columns.get(&batch.hash).filter(is_own)
    }

    /// Makes it, in the place of that of a generation before, and says how many bytes more are held.
    pub fn insert(&mut self, batch: &Batch, families: Vec<Family>, generation: u64) -> (Arc<KnownSchema>, usize) {
        let before = self.of_columns(batch).cloned();
        if let Some(known) = before.as_ref().filter(|known| known.generation == generation) {
            // Another request has made it meanwhile.
            self.place(known, &batch.series);
            return (Arc::clone(known), 0);
        }
        let bytes_before = before.as_ref().map_or(0, |known| known.bytes());
        let known = Arc::new(match before {
            Some(before) => before.with_families(families, generation),
            // After four billion they have no parts.
            None => KnownSchema::new(batch, families, (generation, u32::try_from(self.by_number.len()).unwrap_or(u32::MAX))),
        });
        match self.by_number.get_mut(known.number as usize) {
            Some(place) => *place = Arc::clone(&known),
            None => self.by_number.push(Arc::clone(&known)),
        }
        self.by_columns.insert(batch.hash, Arc::clone(&known));
        self.place(&known, &batch.series);
        let more = known.bytes().saturating_sub(bytes_before);
        (known, more)
    }

    /// Its series are in this one from now on, unless the first is in one of more than twice as many that still comes as a whole.
    fn place(&self, known: &KnownSchema, series: &[Arc<Known>]) {
        let columns_of = |series: &Arc<Known>| {
            let whole = self.by_number.get(series.place.get().0 as usize);
            let is_in_use = |whole: &&Arc<KnownSchema>| {
                whole.generation == known.generation && whole.parts.load(Ordering::Relaxed) < PARTS_MAX
            };
            whole.filter(is_in_use).map_or(0, |whole| whole.columns.len())
        };
        if series.first().map_or(0, columns_of) > 2 * known.columns.len() {
            return;
        }
        let _moving = self.moving.lock();
        for (series, column) in series.iter().zip(0..) {
            let (number, _) = series.place.get();
            if number != known.number {
                if let Some(before) = self.by_number.get(number as usize) {
                    // Whoever stores a row of it from now on tells each series.
                    before.newest.lock().has_all = false;
                }
                if let Some((time, value)) = self.newest(series) {
                    series.newest.set(time, Value::Number(value));
                }
            }
            series.place.set(known.number, column);
        }
        known.newest.lock().has_all = true;
    }

    /// The newest sample of a series that came in the schema where it is, as far as rows of that have no histograms.
    pub fn newest(&self, series: &Known) -> Option<(UnixNanos, f64)> {
        let (number, column) = series.place.get();
        let known = self.by_number.get(number as usize)?;
        let is_there = known.target == series.target.number && known.columns.get(column as usize) == Some(&series.column);
        let newest = known.newest.lock();
        Some((newest.time, *newest.values.get(column as usize)?)).filter(|_| is_there)
    }
}

impl KnownSchema {
    fn new(batch: &Batch, families: Vec<Family>, (generation, number): (u64, u32)) -> Self {
        let Batch { target, columns, series, .. } = batch;
        let labels: Vec<Labels> = series.iter().map(|known| known.labels.clone()).collect();
        let hashes = hashes(target, &labels);
        Self {
            target: target.number,
            columns: columns.as_slice().into(),
            generation,
            number,
            digest: digest(&hashes),
            hashes,
            schema: Schema::shared(labels, families),
            parts: AtomicU32::new(0),
            newest: Arc::default(),
        }
    }

    /// The same with other families.
    fn with_families(&self, families: Vec<Family>, generation: u64) -> Self {
        let is_same = self.schema.families == families;
        let schema = if is_same { Arc::clone(&self.schema) } else { Schema::shared(self.schema.series.clone(), families) };
        let (columns, hashes, newest) = (self.columns.clone(), Arc::clone(&self.hashes), Arc::clone(&self.newest));
        let parts = AtomicU32::new(self.parts.load(Ordering::Relaxed));
        Self { columns, hashes, newest, schema, parts, generation, ..*self }
    }

    /// Memory of it, with its bytes on the wire and what lists and tables have of it; that of label sets and of the newest row apart.
    fn bytes(&self) -> usize {
        const COLUMN: usize = size_of::<u32>() + size_of::<Labels>() + 2 * size_of::<u64>();
        let own = shared(size_of::<Self>()) + shared(size_of::<Mutex<NewestRow>>()) + shared(size_of::<Schema>());
        let lists = allocation(self.columns.len() * COLUMN) + self.schema.families.iter().map(family_bytes).sum::<usize>();
        // A list doubles.
        own + lists + self.schema.weight() + table_entry(size_of::<(u64, Arc<Self>)>()) + 2 * size_of::<Arc<Self>>()
    }

    /// Whether so many of its columns may travel as a part of it.
    fn may_be_cut(&self, columns: usize) -> bool {
        columns * PART_ONE_IN >= self.columns.len()
            && self.schema.weight() <= WHOLE_BYTES_MAX
            && self.parts.load(Ordering::Relaxed) < PARTS_MAX
    }

    /// Some of its columns, and their digest.
    pub fn part(&self, columns: Range<usize>) -> (Arc<Schema>, [u8; 16]) {
        (Arc::new(Schema::part(&self.schema, columns.clone())), digest(&self.hashes[columns]))
    }

    /// The bus has this row: it stands for the newest sample of each series. Bytes more that are held; `None` where each series has to
    /// remember its own.
    pub fn stored(&self, row: &MetricRow) -> Option<usize> {
        let is_numbers = row.extras.as_ref().is_none_or(|extras| extras.histograms.is_empty());
        let mut newest = self.newest.lock();
        if !is_numbers || !newest.has_all {
            return None;
        }
        let before = newest.values.len();
        if before == row.values.len() {
            if newest.time <= row.timestamp {
                newest.time = row.timestamp;
                newest.values.copy_from_slice(&row.values);
            }
            return Some(0);
        }
        (newest.time, newest.values) = (row.timestamp, row.values.as_slice().into());
        Some(allocation(size_of_val(&*newest.values)))
    }
}

fn hashes(target: &Target, series: &[Labels]) -> Arc<[u64]> {
    let mut texts = Vec::new();
    let hash_of = |own: &Labels| {
        texts.clear();
        for text in target.labels.merged_pairs(own).flat_map(|(name, value)| [name, value]) {
            texts.extend_from_slice(text.as_bytes());
            texts.push(TEXT_END);
        }
        xxh3_64(&texts)
    };
    series.iter().map(hash_of).collect()
}

fn digest(hashes: &[u64]) -> [u8; 16] {
    let mut digest = Xxh3::new();
    hashes.iter().for_each(|hash| digest.update(&hash.to_le_bytes()));
    digest.digest128().to_be_bytes()
}
