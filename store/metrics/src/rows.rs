//! Rows of a head: one a scrape, shared between the head and those who read it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::memory::allocation;
use weir_model::metric::{Exemplar, RowExtras, is_stale};

use super::names::{Names, OrderedSeries};
use super::samples::Samples;

/// One scrape's values, or those of some neighbouring columns of its table.
#[derive(Clone)]
pub struct Row {
    /// Order among all rows of the head, for "the first stays".
    pub arrival: u64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The column of the first value.
    pub first: u32,
    pub values: Arc<[f64]>,
    /// Never of nothing; columns are counted from the first value on.
    pub extras: Option<Arc<RowExtras>>,
}

impl Row {
    /// Columns of the table that it has values of.
    pub fn columns(&self) -> Range<u32> {
        self.first..self.first + self.values.len() as u32
    }

    fn has(&self, column: u32) -> bool {
        self.columns().contains(&column)
    }

    /// Of a column of the table.
    pub fn value(&self, column: u32) -> Option<f64> {
        self.values.get(column.checked_sub(self.first)? as usize).copied()
    }

    fn read(&self, column: u32, samples: &mut Samples) {
        let Some(value) = self.value(column) else { return };
        samples.push(self.timestamp, value);
        if let Some(extras) = &self.extras {
            samples.push_extras(extras, column - self.first);
        }
    }
}

/// The fewest rows of a table of so many columns in which each column has its newest value of all of these, as they arrived.
pub(super) fn newest<'a>(rows: impl Iterator<Item = &'a Row> + Clone, width: usize) -> Vec<Row> {
    // Of one millisecond the first stays.
    let age = |row: &&Row| (Reverse(row.timestamp), row.arrival);
    let Some(last) = rows.clone().min_by_key(age) else { return Vec::new() };
    if last.values.len() == width {
        return vec![last.clone()];
    }
    let mut by_age: Vec<&Row> = rows.collect();
    by_age.sort_unstable_by_key(age);
    let (mut is_seen, mut unseen, mut ranges) = (vec![false; width], width, HashSet::new());
    by_age.retain(|row| {
        let before = unseen;
        if unseen == 0 || !ranges.insert(row.columns()) {
            return false;
        }
        for column in row.columns() {
            unseen -= usize::from(is_seen.get_mut(column as usize).is_some_and(|seen| !std::mem::replace(seen, true)));
        }
        unseen < before
    });
    by_age.sort_unstable_by_key(|row| row.arrival);
    by_age.into_iter().cloned().collect()
}

/// Series of a head that a reader asked for; rows are shared with the head, nothing is locked. Label sets that are not kept are made when
/// they are asked for, some at a time.
#[derive(Default)]
pub struct HeadSeries {
    /// `None` where there are no series.
    names: Option<Arc<Names>>,
    series: OrderedSeries,
    /// Tables and columns that hold samples of the series, one series' after the other's.
    places: Vec<(u32, u32)>,
    /// Where those of each series end.
    ends: Vec<u32>,
    /// Rows in the range that was asked for, of each table, as they arrived.
    rows: Vec<Vec<Row>>,
}

/// Label sets of the series that have rows, one after the other. Some are made at a time: a scrape that brings new series waits for these
/// alone, and the index is locked once for them.
#[derive(Default)]
pub(super) struct PulledLabels {
    made: std::vec::IntoIter<(usize, Labels)>,
    /// What is made next is from here on.
    next: usize,
}

impl PulledLabels {
    /// The place and labels of the next.
    pub(super) fn next(&mut self, found: &HeadSeries) -> Option<(usize, Labels)> {
        if let Some(made) = self.made.next() {
            return Some(made);
        }
        let places = (self.next..found.len()).filter(|at| found.has_rows(*at));
        let made = found.series.labels(places, found.names.as_ref()?);
        self.next = made.last()?.0 + 1;
        self.made = made.into_iter();
        self.made.next()
    }
}

impl HeadSeries {
    /// Of series with their places, still without rows. Tables are numbered anew: also gives the head's number of each.
    pub(super) fn new<P>(names: &Arc<Names>, series: OrderedSeries, places_of: impl Fn(u32) -> P) -> (Self, Vec<u32>)
    where
        P: Iterator<Item = (u32, u32)>,
    {
        let count = series.ids.len();
        let (mut places, mut ends) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut tables = Vec::new();
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let mut last = None;
        for id in &series.ids {
            for (table, column) in places_of(*id) {
                let number = match last {
                    Some((same, number)) if same == table => number,
                    _ => *numbers.entry(table).or_insert_with(|| {
                        tables.push(table);
                        tables.len() as u32 - 1
                    }),
                };
                last = Some((table, number));
                places.push((number, column));
            }
            ends.push(places.len() as u32);
        }
        (Self { names: Some(Arc::clone(names)), series, places, ends, rows: Vec::new() }, tables)
    }

    /// Of each table, in the order of [`Self::new`].
    pub(super) fn set_rows(&mut self, rows: Vec<Vec<Row>>) {
        self.rows = rows;
    }

    /// Series.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Series that have rows, each with its labels.
    pub(super) fn with_labels(&self) -> impl Iterator<Item = (usize, Labels)> {
        let mut pulled = PulledLabels::default();
        std::iter::from_fn(move || pulled.next(self))
    }

    fn has_rows(&self, at: usize) -> bool {
        self.places(at).is_some_and(|places| self.rows_of(places).next().is_some())
    }

    /// The places of a series.
    pub fn places(&self, at: usize) -> Option<&[(u32, u32)]> {
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.places[start as usize..end as usize])
    }

    /// Series that have rows: labels and places.
    pub fn iter(&self) -> impl Iterator<Item = (Labels, &[(u32, u32)])> {
        self.with_labels().filter_map(|(at, labels)| Some((labels, self.places(at)?)))
    }

    /// Memory that is not the head's own.
    pub(super) fn memory(&self) -> usize {
        let lists = [
            self.places.capacity() * size_of::<(u32, u32)>(),
            self.ends.capacity() * size_of::<u32>(),
            self.rows.capacity() * size_of::<Vec<Row>>(),
        ];
        let rows: usize = self.rows.iter().map(|rows| allocation(rows.capacity() * size_of::<Row>())).sum();
        self.series.memory() + lists.into_iter().map(allocation).sum::<usize>() + rows
    }

    /// Rows of a table, as they arrived.
    pub fn rows(&self, table: u32) -> &[Row] {
        &self.rows[table as usize]
    }

    /// Rows that have a value at these places, with its column, table after table.
    pub(super) fn rows_of<'a>(&'a self, places: &'a [(u32, u32)]) -> impl Iterator<Item = (&'a Row, u32)> + Clone {
        let rows = |(table, column): &(u32, u32)| {
            let column = *column;
            self.rows(*table).iter().filter(move |row| row.has(column)).map(move |row| (row, column))
        };
        places.iter().flat_map(rows)
    }

    /// Samples at these places, those of a millisecond each.
    pub(super) fn count(&self, places: &[(u32, u32)]) -> usize {
        self.rows_of(places).count()
    }

    /// The millisecond of the newest sample at these places, and whether it is no staleness marker.
    pub(super) fn newest(&self, places: &[(u32, u32)]) -> Option<(i64, bool)> {
        // Of one millisecond the first stays.
        let (row, column) = self.rows_of(places).min_by_key(|(row, _)| (Reverse(row.timestamp), row.arrival))?;
        let histogram = || row.extras.as_ref().and_then(|extras| extras.histogram(column - row.first));
        let is_present = !is_stale(row.value(column)?) || histogram().is_some_and(|own| !own.is_stale());
        Some((row.timestamp, is_present))
    }

    /// Appends the samples at these places as they arrived.
    pub(super) fn read(&self, places: &[(u32, u32)], samples: &mut Samples) {
        if let [(table, column)] = *places {
            let rows = self.rows(table);
            if rows.iter().all(|row| row.extras.is_none() && row.has(column)) {
                samples.timestamps.extend(rows.iter().map(|row| row.timestamp));
                samples.values.extend(rows.iter().map(|row| row.values[(column - row.first) as usize]));
            } else {
                rows.iter().for_each(|row| row.read(column, samples));
            }
            return;
        }
        let mut arrived: Vec<(&Row, u32)> = self.rows_of(places).collect();
        arrived.sort_by_key(|(row, _)| row.arrival);
        arrived.into_iter().for_each(|(row, column)| row.read(column, samples));
    }

    /// Exemplars at these places, with the millisecond of the row that told each.
    pub(super) fn exemplars<'a>(&'a self, places: &'a [(u32, u32)]) -> impl Iterator<Item = (i64, &'a Exemplar)> {
        let told =
            self.rows_of(places).filter_map(|(row, column)| Some((row.timestamp, row.extras.as_deref()?, column - row.first)));
        told.flat_map(|(at, extras, column)| extras.exemplars(column).map(move |exemplar| (at, exemplar)))
    }
}
