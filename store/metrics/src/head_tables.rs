//! What one head has of the tables of its index, one tenant's: rows, families, and which table a source wrote last. Called by
//! [`super::head`].

use std::collections::{BTreeMap, HashMap};

use weir_model::memory::{allocation, table_entry};
use weir_model::metric::{Family, MetricBatch, Schema};

use super::index::Index;
use super::rows::Row;

/// A source that alternates between more schemas than this looks the oldest up by its hash.
const RECENT_MAX: usize = 4;

/// An index is left behind when the tables that the head before has used have less than so many of four parts of its weight.
const USED_OF_FOUR: usize = 3;

#[derive(Default)]
pub(super) struct HeadTables {
    /// Of each table of the index, in its order; `None` of one that this head has not used.
    rows: Vec<Option<Vec<Row>>>,
    /// Tables that a source wrote lately, newest first: a scrape finds its table by comparing, mostly pointers.
    recent: HashMap<String, Vec<u32>>,
    families: BTreeMap<String, Family>,
    /// Of the tables that are used.
    weight: usize,
    /// Rows that came later have this arrival or a later one.
    next_arrival: u64,
}

/// Tables that a head has used, and which rows they have, as of when that was read.
pub(super) struct UsedTables {
    tables: Vec<bool>,
    next_arrival: u64,
}

/// What the use of a table takes.
pub(super) struct NewUse {
    pub bytes: usize,
    /// Of these, what the head before has handed on.
    pub handed_on: usize,
}

impl UsedTables {
    pub(super) fn has(&self, table: u32) -> bool {
        self.tables.get(table as usize).copied().unwrap_or_default()
    }

    pub(super) fn has_row(&self, row: &Row) -> bool {
        row.arrival < self.next_arrival
    }

    #[cfg(test)]
    pub(super) fn all(tables: usize) -> Self {
        Self { tables: vec![true; tables], next_arrival: u64::MAX }
    }
}

impl HeadTables {
    /// The table that the source wrote last, if it fits: then nothing has to change.
    pub(super) fn find(&self, index: &Index, source: &str, batch: &MetricBatch) -> Option<u32> {
        let newest = *self.recent.get(source)?.first()?;
        index.holds(newest, batch).then_some(newest)
    }

    /// Any of those that it wrote lately.
    pub(super) fn find_recent(&self, index: &Index, source: &str, batch: &MetricBatch) -> Option<u32> {
        self.recent.get(source).into_iter().flatten().copied().find(|table| index.holds(*table, batch))
    }

    /// The source writes to this table from now on. What that takes; `made` of it is the index's, of a table that this head has added to
    /// it.
    pub(super) fn set_recent(&mut self, index: &Index, source: &str, table: u32, made: Option<usize>) -> NewUse {
        let (mut bytes, mut handed_on) = (0, 0);
        if !self.recent.contains_key(source) {
            bytes += table_entry(size_of::<(String, Vec<u32>)>()) + allocation(source.len()) + allocation(size_of::<[u32; 8]>());
        }
        let recent = self.recent.entry(source.to_owned()).or_default();
        recent.retain(|other| *other != table);
        recent.insert(0, table);
        recent.truncate(RECENT_MAX);
        bytes += self.add_families(index.schema(table));
        let at = table as usize;
        if at >= self.rows.len() {
            let before = self.rows.capacity();
            self.rows.resize_with(at + 1, || None);
            bytes += (self.rows.capacity() - before) * size_of::<Option<Vec<Row>>>();
        }
        if self.rows[at].is_none() {
            self.rows[at] = Some(Vec::new());
            let weight = index.weight_of(table);
            self.weight += weight;
            bytes += made.unwrap_or_else(|| {
                handed_on = share(index, weight);
                handed_on
            });
        }
        NewUse { bytes, handed_on }
    }

    /// How many bytes more that takes.
    pub(super) fn add_families(&mut self, schema: &Schema) -> usize {
        let mut bytes = 0;
        for family in schema.families() {
            let before = self.families.insert(family.name.clone(), family.clone());
            let entry = || allocation(family.name.len()) + 2 * size_of::<(String, Family)>();
            bytes += family.memory() + if before.is_none() { entry() } else { 0 };
            // A new text may be shorter than the one before it.
            bytes = bytes.saturating_sub(before.map_or(0, |before| before.memory()));
        }
        bytes
    }

    /// Adds rows to a table that is used.
    pub(super) fn push(&mut self, table: u32, rows: Vec<Row>) {
        let last = rows.last().map_or(0, |row| row.arrival + 1);
        self.next_arrival = self.next_arrival.max(last);
        self.rows[table as usize].get_or_insert_default().extend(rows);
    }

    pub(super) fn families(&self) -> &BTreeMap<String, Family> {
        &self.families
    }

    pub(super) fn used(&self) -> UsedTables {
        let tables = self.rows.iter().map(Option::is_some).collect();
        UsedTables { tables, next_arrival: self.next_arrival }
    }

    /// Rows of a table.
    pub(super) fn rows(&self, table: u32) -> &[Row] {
        self.rows.get(table as usize).and_then(Option::as_deref).unwrap_or_default()
    }

    /// What this one counts of an index that the next head goes on with. `None` where so much of it is gone that the next begins anew.
    pub(super) fn bytes_handed_on(&self, index: &Index) -> Option<usize> {
        let (all, own) = (index.weight(), self.weight);
        (own > 0 && own * 4 >= all * USED_OF_FOUR).then(|| share(index, own))
    }
}

/// What tables of this weight have of an index' memory.
fn share(index: &Index, weight: usize) -> usize {
    (index.memory() as u128 * weight as u128 / index.weight().max(1) as u128) as usize
}
