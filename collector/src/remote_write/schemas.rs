//! Schemas of a tenant's rows. A request begins and ends anywhere, so that its first and last row have some neighbouring columns of a
//! schema that is known: they are a part of it, and nothing has to be made, sent or stored anew for them. Each series knows the
//! schema that it was last in with most of its neighbours, and its column there. Called by [`super::series`] and [`super::sections`];
//! the same rows have the same digest, whatever is known here. Why: docs/decisions/0185-rows-that-are-cut-are-parts-of-a-schema.md.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_model::intern::hash;
use weir_model::label::Labels;
use weir_model::memory::{allocation, shared, table_entry};
use weir_model::metric::{Family, MetricRow, Schema};
use weir_model::time::UnixNanos;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::rows::Value;
use super::series::{Known, Target};
use crate::fingerprint::Hashed;

/// A part has at least one column of so many of its schema: it travels with the bytes of all of them, so that no request is worth
/// more than so many times its own labels on the bus.
const PART_ONE_IN: usize = 8;
/// A schema that takes more on the wire has no parts: a record has room for several of them.
const WHOLE_BYTES_MAX: usize = 256 << 10;
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
    /// Hashes of its series, target and all, in order; none of a part. The same on every machine.
    hashes: Box<[u64]>,
    /// Of these.
    pub digest: [u8; 16],
    /// Whether all of its series are in this one.
    has_all: AtomicBool,
    newest: Mutex<NewestRow>,
}

/// The newest row of numbers alone that the bus has, of a schema in which all of its series are.
struct NewestRow {
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
        Self { time: UnixNanos::MIN, values: Box::default() }
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
    pub fn find(&self, target: &Target, columns: &[u32], series: &[Arc<Known>], generation: u64) -> Option<FoundSchema> {
        let is_of = |known: &KnownSchema| known.target == target.number && known.generation == generation;
        let (number, column) = series.first()?.place.get();
        if let Some(known) = self.by_number.get(number as usize).filter(|known| is_of(known)) {
            let range = column as usize..column as usize + columns.len();
            if known.columns.get(range.clone()).is_some_and(|own| own == columns) {
                if columns.len() == known.columns.len() {
                    if !known.has_all.load(Ordering::Relaxed) {
                        self.place(known, series);
                    }
                    return Some(FoundSchema::Whole(Arc::clone(known)));
                }
                if columns.len() * PART_ONE_IN >= known.columns.len() && known.schema.weight() <= WHOLE_BYTES_MAX {
                    return Some(FoundSchema::Part(Arc::clone(known), range));
                }
            }
        }
        let found = self.by_columns.get(&columns_hash(target, columns))?;
        if !(is_of(found) && *found.columns == *columns) {
            return None;
        }
        self.place(found, series);
        Some(FoundSchema::Whole(Arc::clone(found)))
    }

    /// Makes it, and says how many bytes more are held, families apart.
    pub fn insert(
        &mut self,
        target: &Target,
        columns: &[u32],
        series: &[Arc<Known>],
        (families, generation): (Vec<Family>, u64),
    ) -> (Arc<KnownSchema>, usize) {
        let labels: Vec<Labels> = series.iter().map(|known| known.labels.clone()).collect();
        let hashes = hashes(target, &labels);
        let known = Arc::new(KnownSchema {
            target: target.number,
            columns: columns.into(),
            generation,
            // After four billion they have no parts.
            number: u32::try_from(self.by_number.len()).unwrap_or(u32::MAX),
            digest: digest(&hashes),
            hashes,
            schema: Arc::new(Schema::new(labels, families)),
            has_all: AtomicBool::new(false),
            newest: Mutex::default(),
        });
        let bytes = shared(size_of::<KnownSchema>())
            + allocation(size_of_val(columns))
            + 2 * size_of_val(series)
            + table_entry(size_of::<(u64, Arc<KnownSchema>)>())
            // The list doubles.
            + 2 * size_of::<Arc<KnownSchema>>();
        self.by_columns.insert(columns_hash(target, columns), Arc::clone(&known));
        self.by_number.push(Arc::clone(&known));
        self.place(&known, series);
        (known, bytes)
    }

    /// Its series are in this one from now on, unless each is in one of more than twice as many.
    fn place(&self, known: &KnownSchema, series: &[Arc<Known>]) {
        let columns_of = |series: &Arc<Known>| {
            let whole = self.by_number.get(series.place.get().0 as usize);
            whole.filter(|whole| whole.generation == known.generation).map_or(0, |whole| whole.columns.len())
        };
        if series.first().map_or(0, columns_of) > 2 * known.columns.len() {
            return;
        }
        let _moving = self.moving.lock();
        for (series, column) in series.iter().zip(0..) {
            let (number, _) = series.place.get();
            if number != known.number {
                if let Some(before) = self.by_number.get(number as usize) {
                    before.has_all.store(false, Ordering::Relaxed);
                }
                if let Some((time, value)) = self.newest(series) {
                    series.newest.set(time, Value::Number(value));
                }
            }
            series.place.set(known.number, column);
        }
        known.has_all.store(true, Ordering::Relaxed);
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
    /// Some of its columns.
    pub fn part(&self, columns: Range<usize>) -> Self {
        Self {
            target: self.target,
            // Nobody looks for it.
            columns: Box::default(),
            generation: self.generation,
            number: self.number,
            hashes: Box::default(),
            digest: digest(&self.hashes[columns.clone()]),
            schema: Arc::new(Schema::part(&self.schema, columns)),
            has_all: AtomicBool::new(false),
            newest: Mutex::default(),
        }
    }

    /// The bus has this row: it stands for the newest sample of each series. Bytes more that are held; `None` where each series has to
    /// remember its own.
    pub fn stored(&self, row: &MetricRow) -> Option<usize> {
        let is_numbers = row.extras.as_ref().is_none_or(|extras| extras.histograms.is_empty());
        if !is_numbers || !self.has_all.load(Ordering::Relaxed) {
            return None;
        }
        let mut newest = self.newest.lock();
        let before = newest.values.len();
        if before == row.values.len() {
            if newest.time <= row.timestamp {
                newest.time = row.timestamp;
                newest.values.copy_from_slice(&row.values);
            }
            return Some(0);
        }
        *newest = NewestRow { time: row.timestamp, values: row.values.as_slice().into() };
        Some(allocation(size_of_val(&*newest.values)))
    }
}

fn columns_hash(target: &Target, columns: &[u32]) -> u64 {
    let mut bytes = target.number.to_le_bytes().to_vec();
    columns.iter().for_each(|column| bytes.extend_from_slice(&column.to_le_bytes()));
    hash(&bytes)
}

fn hashes(target: &Target, series: &[Labels]) -> Box<[u64]> {
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
