//! Samples of a request as rows: those of one target, one time and neighbouring columns are a row, and rows of the same columns a
//! batch. Called by [`super::sections`].

use std::collections::HashMap;
use std::sync::Arc;

use weir_model::histogram::{Buckets, Histogram};
use weir_model::intern::hash;
use weir_model::label::Labels;
use weir_model::metric::{Exemplar, MetricRow, RowExtras, STALE_NAN};
use weir_model::time::UnixNanos;

use super::series::{Known, Target};
use crate::push::Digest;

/// Columns of a target that go together: a request that begins or ends within a target makes new schemas of so many at most.
/// More would make more of them, fewer make more sections.
const CHUNK: u32 = 256;
/// Memory of a sample in a row, with lists that double.
pub(super) const SAMPLE_BYTES: usize = 2 * (size_of::<Arc<Known>>() + size_of::<u32>() + size_of::<f64>());
/// Memory of a row beside its samples: lists, its place in a table.
pub(super) const ROW_BYTES: usize = 512;
/// Memory of a batch beside its rows: a section, a schema and its place in tables.
pub(super) const BATCH_BYTES: usize = 1 << 10;

/// A number or a distribution.
#[derive(Clone)]
pub(super) enum Value {
    Number(f64),
    Histogram(Arc<Histogram>),
}

impl Value {
    /// Memory behind it.
    pub fn memory(&self) -> usize {
        if let Self::Histogram(histogram) = self { histogram.memory() } else { 0 }
    }
}

/// Rows of a request, in the order in which they begin.
#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    by_place: HashMap<(u64, u32, UnixNanos), usize>,
    /// The row of the last sample: mostly that of the next one, or the one before it is.
    last: usize,
}

/// One row in the making.
pub(super) struct Row {
    pub target: Arc<Target>,
    chunk: u32,
    time: UnixNanos,
    pub columns: Vec<u32>,
    pub series: Vec<Arc<Known>>,
    values: Vec<f64>,
    is_ascending: bool,
    histograms: Vec<(u32, Arc<Histogram>)>,
    /// Empty while all are unknown.
    starts: Vec<UnixNanos>,
    exemplars: Vec<(u32, Exemplar)>,
}

/// Where a sample went.
#[derive(Clone, Copy)]
pub(super) struct Place {
    row: usize,
    at: u32,
    /// Whether the row begins with it.
    pub is_first: bool,
}

impl Rows {
    /// `time` and `start` in nanoseconds.
    #[inline]
    pub fn push(&mut self, known: &Arc<Known>, time: UnixNanos, start: UnixNanos, value: Value) -> Place {
        let chunk = known.column / CHUNK;
        let (row, is_first) = self.row(known, chunk, time);
        self.last = row;
        let own = &mut self.rows[row];
        let at = own.columns.len() as u32;
        own.is_ascending &= own.columns.last().is_none_or(|last| *last < known.column);
        own.columns.push(known.column);
        own.series.push(Arc::clone(known));
        match value {
            Value::Number(number) => own.values.push(number),
            // A series of histograms ends with one: a marker is a number here.
            Value::Histogram(histogram) if histogram.is_stale() => own.values.push(STALE_NAN),
            Value::Histogram(histogram) => {
                own.values.push(STALE_NAN);
                own.histograms.push((at, histogram));
            }
        }
        if start != 0 && own.starts.is_empty() {
            own.starts.resize(at as usize, 0);
        }
        if start != 0 || !own.starts.is_empty() {
            own.starts.push(start);
        }
        Place { row, at, is_first }
    }

    #[inline]
    fn row(&mut self, known: &Arc<Known>, chunk: u32, time: UnixNanos) -> (usize, bool) {
        let is_of = |row: &Row| row.time == time && row.chunk == chunk && row.target.number == known.target.number;
        for guess in [self.last, self.last + 1] {
            if self.rows.get(guess).is_some_and(is_of) {
                return (guess, false);
            }
        }
        let next = self.rows.len();
        let row = *self.by_place.entry((known.target.number, chunk, time)).or_insert(next);
        if row == next {
            self.rows.push(Row::new(Arc::clone(&known.target), chunk, time));
        }
        (row, row == next)
    }

    pub fn add_exemplar(&mut self, place: Place, exemplar: Exemplar) {
        self.rows[place.row].exemplars.push((place.at, exemplar));
    }

    /// Where the newest sample of each of these series is.
    pub fn newest_of<'a>(&self, series: impl Iterator<Item = &'a Arc<Known>>) -> HashMap<*const Known, Place> {
        let mut found: HashMap<*const Known, Option<Place>> = series.map(|known| (Arc::as_ptr(known), None)).collect();
        for (row, own) in self.rows.iter().enumerate() {
            for (at, known) in own.series.iter().enumerate() {
                if let Some(newest) = found.get_mut(&Arc::as_ptr(known))
                    && newest.is_none_or(|before| self.rows[before.row].time < own.time)
                {
                    *newest = Some(Place { row, at: at as u32, is_first: false });
                }
            }
        }
        found.into_iter().filter_map(|(known, place)| Some((known, place?))).collect()
    }

    pub fn all(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }
}

impl Row {
    fn new(target: Arc<Target>, chunk: u32, time: UnixNanos) -> Self {
        Self {
            target,
            chunk,
            time,
            columns: Vec::new(),
            series: Vec::new(),
            values: Vec::new(),
            is_ascending: true,
            histograms: Vec::new(),
            starts: Vec::new(),
            exemplars: Vec::new(),
        }
    }

    /// Of the sections of its columns: a head looks for the table that a source wrote last.
    pub fn source(&self) -> String {
        if self.chunk == 0 { self.target.source.clone() } else { format!("{}/{}", self.target.source, self.chunk) }
    }

    /// Brings columns into order. Of several samples of a series the first stays: the same one is the same sample, and each that differs
    /// is given to `refuse`, with whether it is a histogram. Exemplars go with the one that stays.
    pub fn settle(&mut self, mut refuse: impl FnMut(&Known, bool)) {
        if self.is_ascending {
            return;
        }
        let mut order: Vec<u32> = (0..self.columns.len() as u32).collect();
        order.sort_by_key(|at| self.columns[*at as usize]);
        let histogram = |at: u32| {
            let found = self.histograms.binary_search_by_key(&at, |(other, _)| *other).ok()?;
            Some(&self.histograms[found].1)
        };
        let same = |a: u32, b: u32| {
            self.values[a as usize].to_bits() == self.values[b as usize].to_bits()
                && match (histogram(a), histogram(b)) {
                    (Some(a), Some(b)) => a.same_bits(b),
                    (a, b) => a.is_none() && b.is_none(),
                }
        };
        // Where each sample is afterwards, or the one that stays for it.
        let mut moved = vec![0; order.len()];
        let mut kept: Vec<u32> = Vec::with_capacity(order.len());
        for at in order {
            match kept.last() {
                Some(first) if self.columns[*first as usize] == self.columns[at as usize] => {
                    if !same(*first, at) {
                        refuse(&self.series[at as usize], histogram(at).is_some());
                    }
                }
                _ => kept.push(at),
            }
            moved[at as usize] = kept.len() as u32 - 1;
        }
        self.histograms.retain(|(at, _)| kept[moved[*at as usize] as usize] == *at);
        move_all(&mut self.histograms, &moved);
        move_all(&mut self.exemplars, &moved);
        self.columns = kept.iter().map(|at| self.columns[*at as usize]).collect();
        self.values = kept.iter().map(|at| self.values[*at as usize]).collect();
        self.series = kept.iter().map(|at| Arc::clone(&self.series[*at as usize])).collect();
        if !self.starts.is_empty() {
            self.starts = kept.iter().map(|at| self.starts.get(*at as usize).copied().unwrap_or(0)).collect();
        }
    }

    /// The row as batches have it.
    pub fn into_row(self) -> MetricRow {
        let has_extras = !(self.histograms.is_empty() && self.starts.is_empty() && self.exemplars.is_empty());
        let extras = has_extras.then(|| {
            let mut exemplars = self.exemplars;
            exemplars.sort_by_key(|(column, exemplar)| (*column, exemplar.timestamp));
            let starts = (!self.starts.is_empty()).then(|| self.starts.into());
            Box::new(RowExtras { histograms: self.histograms, starts, exemplars })
        });
        MetricRow { extras, ..MetricRow::new(self.time, self.values) }
    }
}

/// Afterwards they ascend by their new places.
fn move_all<T>(all: &mut [(u32, T)], moved: &[u32]) {
    all.iter_mut().for_each(|(at, _)| *at = moved[*at as usize]);
    all.sort_by_key(|(at, _)| *at);
}

/// Rows of the same columns, ascending by time.
pub(super) struct Batch {
    pub target: Arc<Target>,
    pub source: String,
    /// Of its target's, ascending.
    pub columns: Vec<u32>,
    /// Of target and columns.
    pub hash: u64,
    /// By column.
    pub series: Vec<Arc<Known>>,
    /// Whether the request begins or ends with one of its rows, of which the rest may be in another.
    pub is_cut: bool,
    pub rows: Vec<MetricRow>,
}

/// Rows as batches, in the order in which these begin; which ones depends on the rows alone.
pub(super) fn batches(rows: Vec<Row>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut by_columns: HashMap<u64, Vec<usize>> = HashMap::new();
    let last = rows.len().saturating_sub(1);
    for (number, mut row) in rows.into_iter().enumerate() {
        let hash = columns_hash(&row.target, &row.columns);
        let same = by_columns.entry(hash).or_default();
        let is_own = |at: &usize| batches[*at].target.number == row.target.number && batches[*at].columns == row.columns;
        let at = same.iter().copied().find(is_own).unwrap_or_else(|| {
            let (target, source) = (Arc::clone(&row.target), row.source());
            let (columns, series) = (std::mem::take(&mut row.columns), std::mem::take(&mut row.series));
            same.push(batches.len());
            batches.push(Batch { target, source, columns, hash, series, is_cut: false, rows: Vec::new() });
            batches.len() - 1
        });
        batches[at].is_cut |= number == 0 || number == last;
        batches[at].rows.push(row.into_row());
    }
    batches.iter_mut().for_each(|batch| batch.rows.sort_by_key(|row| row.timestamp));
    batches
}

fn columns_hash(target: &Target, columns: &[u32]) -> u64 {
    let mut bytes = target.number.to_le_bytes().to_vec();
    columns.iter().for_each(|column| bytes.extend_from_slice(&column.to_le_bytes()));
    hash(&bytes)
}

impl Batch {
    /// The same for the same samples, whichever request they come in.
    pub fn digest(&self, tenant: &str, of_columns: &[u8; 16]) -> [u8; 16] {
        let mut digest = Digest::new(tenant, "remote_write");
        digest.field(of_columns);
        let mut bits = Vec::new();
        for row in &self.rows {
            digest.number(row.timestamp);
            bits.clear();
            row.values.iter().for_each(|value| bits.extend_from_slice(&value.to_bits().to_le_bytes()));
            digest.field(&bits);
            if let Some(extras) = &row.extras {
                digest_extras(&mut digest, extras);
            }
        }
        digest.finish()
    }
}

fn digest_extras(digest: &mut Digest, extras: &RowExtras) {
    let start = |start: &UnixNanos| start.to_le_bytes();
    digest.field(&extras.starts.iter().flat_map(|starts| starts.iter().flat_map(start)).collect::<Vec<u8>>());
    for (column, histogram) in &extras.histograms {
        digest.number(i64::from(*column));
        digest_histogram(digest, histogram);
    }
    for (column, exemplar) in &extras.exemplars {
        digest.number(i64::from(*column));
        digest.number(exemplar.timestamp);
        digest.number(exemplar.value.to_bits() as i64);
        for (name, value) in exemplar.labels.iter() {
            digest.field(name.as_bytes());
            digest.field(value.as_bytes());
        }
    }
}

fn digest_histogram(digest: &mut Digest, histogram: &Histogram) {
    let Histogram { schema, reset, is_integer, count, sum, zero_threshold, zero_count, positive, negative, custom_bounds } =
        histogram;
    digest.field(&[*schema as u8, *reset as u8, u8::from(*is_integer)]);
    let bits = |values: &[f64]| values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect::<Vec<u8>>();
    digest.field(&bits(&[*count, *sum, *zero_threshold, *zero_count]));
    for Buckets { spans, counts } in [positive, negative] {
        let span = |span: &weir_model::histogram::Span| [span.offset.to_le_bytes(), span.length.to_le_bytes()].concat();
        digest.field(&spans.iter().flat_map(span).collect::<Vec<u8>>());
        digest.field(&bits(counts));
    }
    digest.field(&bits(custom_bounds));
}

/// Letters of an exemplar's names and values together, as OpenMetrics has it.
pub(super) const EXEMPLAR_LETTERS_MAX: usize = 128;

/// Whether an exemplar's labels are short enough.
pub(super) fn fits(labels: &Labels) -> bool {
    labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum::<usize>() <= EXEMPLAR_LETTERS_MAX
}
