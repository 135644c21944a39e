//! Rows of a head: one a scrape, shared between the head and those who read it.

use std::collections::HashMap;
use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::memory::{allocation, table_entry};
use weir_model::metric::{Exemplar, RowExtras};

use super::index::Places;
use super::samples::Samples;

/// One scrape's values.
#[derive(Clone)]
pub struct Row {
    /// Order among all rows of the head, for "the first stays".
    pub arrival: u64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    pub values: Arc<[f64]>,
    /// Never of nothing.
    pub extras: Option<Arc<RowExtras>>,
}

impl Row {
    fn read(&self, column: u32, samples: &mut Samples) {
        samples.push(self.timestamp, self.values[column as usize]);
        if let Some(extras) = &self.extras {
            samples.push_extras(extras, column);
        }
    }
}

/// Series of a head that a reader asked for; rows are shared with the head, nothing is locked.
#[derive(Default)]
pub struct HeadSeries {
    /// In the order of ids, with their places: a table and one of its columns.
    pub series: Vec<(Labels, Vec<(u32, u32)>)>,
    /// Those in the range that was asked for, by table, as they arrived.
    pub(super) rows: HashMap<u32, Vec<Row>>,
}

impl HeadSeries {
    /// Memory that is not the head's own.
    pub(super) fn memory(&self) -> usize {
        let of_series =
            |(labels, places): &(Labels, Places)| labels.memory() + allocation(places.capacity() * size_of::<(u32, u32)>());
        let series: usize = self.series.iter().map(of_series).sum();
        let rows: usize = self.rows.values().map(|rows| allocation(rows.capacity() * size_of::<Row>())).sum();
        let tables = self.rows.len() * table_entry(size_of::<(u32, Vec<Row>)>());
        allocation(self.series.capacity() * size_of::<(Labels, Places)>()) + series + rows + tables
    }

    /// Rows of a table, as they arrived.
    pub fn rows(&self, table: u32) -> &[Row] {
        self.rows.get(&table).map_or(&[], Vec::as_slice)
    }

    /// Samples of a series of [`HeadSeries::series`], those of a millisecond each.
    pub(super) fn count(&self, places: &Places) -> usize {
        places.iter().map(|(table, _)| self.rows(*table).len()).sum()
    }

    /// Appends the samples of a series of [`HeadSeries::series`] as they arrived.
    pub(super) fn read(&self, places: &Places, samples: &mut Samples) {
        if let [(table, column)] = places[..] {
            self.rows(table).iter().for_each(|row| row.read(column, samples));
            return;
        }
        let mut arrived: Vec<(&Row, u32)> = Vec::new();
        for (table, column) in places {
            arrived.extend(self.rows(*table).iter().map(|row| (row, *column)));
        }
        arrived.sort_by_key(|(row, _)| row.arrival);
        arrived.into_iter().for_each(|(row, column)| row.read(column, samples));
    }

    /// Exemplars of a series of [`HeadSeries::series`], with the millisecond of the row that told each.
    pub(super) fn exemplars(&self, places: &Places) -> impl Iterator<Item = (i64, &Exemplar)> {
        let rows = places.iter().flat_map(|(table, column)| self.rows(*table).iter().map(move |row| (row, *column)));
        let told = rows.filter_map(|(row, column)| Some((row.timestamp, row.extras.as_deref()?, column)));
        told.flat_map(|(at, extras, column)| extras.exemplars(column).map(move |exemplar| (at, exemplar)))
    }
}
