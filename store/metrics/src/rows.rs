//! Rows of a head: one a scrape, shared between the head and those who read it.

use std::collections::HashMap;
use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::memory::{allocation, table_entry};

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
            self.rows(table).iter().for_each(|row| samples.push(row.timestamp, row.values[column as usize]));
            return;
        }
        let mut arrived: Vec<(u64, i64, f64)> = Vec::new();
        for (table, column) in places {
            let rows = self.rows(*table).iter();
            arrived.extend(rows.map(|row| (row.arrival, row.timestamp, row.values[*column as usize])));
        }
        arrived.sort_by_key(|(arrival, ..)| *arrival);
        arrived.into_iter().for_each(|(_, timestamp, value)| samples.push(timestamp, value));
    }
}
