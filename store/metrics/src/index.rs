//! What a head knows of names, one tenant's: tables, series and who carries which label. A series' labels are its table's target
//! and its column of the schema, put together when somebody asks; neither they nor their texts are stored a second time.
//! Called by [`super::head`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use roaring::RoaringBitmap;
use weir_model::intern::{self, hash};
use weir_model::label::{Labels, Matcher};
use weir_model::memory::{allocation, table_entry};
use weir_model::metric::{Family, MetricBatch, Schema};

use super::head_postings::{HeadPostings, Neighbour};
use super::postings;
use weir_blocks::StoreError;

/// A source that alternates between more schemas than this looks the oldest up by its hash.
const RECENT_MAX: usize = 4;
/// Of lists by number.
const NONE: u32 = u32::MAX;

/// Tables and columns that hold samples of a series.
pub(super) type Places = Vec<(u32, u32)>;

#[derive(Default)]
pub(super) struct Index {
    /// No postings: every series passes.
    selected: bool,
    tables: Vec<Table>,
    /// Tables that a source wrote lately, newest first: a scrape finds its table by comparing, mostly pointers.
    recent: HashMap<String, Vec<u32>>,
    /// Tables by target and schema.
    by_schema: intern::Index,
    /// Schemas of tables, by address: several targets may share one.
    schemas: HashSet<usize>,
    /// Series by labels.
    by_labels: intern::Index,
    series: Vec<SeriesEntry>,
    places: Vec<PlaceEntry>,
    postings: HeadPostings,
    families: BTreeMap<String, Family>,
    state: RandomState,
    /// Of what is not in the lists above.
    bytes: usize,
}

struct Table {
    target: Labels,
    schema: Arc<Schema>,
}

/// Its places are a list from `first` to `last`, mostly of one.
struct SeriesEntry {
    first: u32,
    last: u32,
}

/// A column of a table that holds samples of a series.
struct PlaceEntry {
    table: u32,
    column: u32,
    next: u32,
}

impl Index {
    pub(super) fn new(selected: bool) -> Self {
        Self { selected, ..Self::default() }
    }

    pub(super) fn families(&self) -> &BTreeMap<String, Family> {
        &self.families
    }

    /// Series that pass all matchers, in the order of ids.
    pub(super) fn matching(&self, matchers: &[Matcher]) -> Result<Vec<(Labels, Places)>, StoreError> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series.len() as u32);
        let ids = if self.selected { all } else { postings::matching(&self.postings, all, matchers)? };
        Ok(ids.iter().map(|id| (self.labels(id), self.places(id).collect())).collect())
    }

    fn places(&self, id: u32) -> impl Iterator<Item = (u32, u32)> {
        let place = |at: u32| self.places.get(at as usize);
        let first = place(self.series[id as usize].first);
        std::iter::successors(first, move |before| place(before.next)).map(|place| (place.table, place.column))
    }

    /// What a series' labels are made of.
    fn halves(&self, id: u32) -> (&Labels, &Labels) {
        let place = &self.places[self.series[id as usize].first as usize];
        let table = &self.tables[place.table as usize];
        (&table.target, &table.schema.series[place.column as usize])
    }

    fn labels(&self, id: u32) -> Labels {
        let (target, own) = self.halves(id);
        target.merged(own)
    }

    /// The table that the source wrote last, if it fits: then nothing has to change.
    pub(super) fn find(&self, source: &str, batch: &MetricBatch) -> Option<u32> {
        let newest = *self.recent.get(source)?.first()?;
        self.tables[newest as usize].holds(batch).then_some(newest)
    }

    /// The batch's table, made when it is the first of its kind.
    pub(super) fn table(&mut self, source: &str, batch: &MetricBatch) -> u32 {
        let recent = self.recent.get(source).into_iter().flatten();
        let known = recent.copied().find(|table| self.tables[*table as usize].holds(batch));
        let table = known.unwrap_or_else(|| self.table_by_hash(batch));
        if !self.recent.contains_key(source) {
            self.bytes +=
                table_entry(size_of::<(String, Vec<u32>)>()) + allocation(source.len()) + allocation(size_of::<[u32; 8]>());
        }
        let recent = self.recent.entry(source.to_owned()).or_default();
        recent.retain(|other| *other != table);
        recent.insert(0, table);
        recent.truncate(RECENT_MAX);
        for family in &batch.schema.families {
            let before = self.families.insert(family.name.clone(), family.clone());
            let entry = || allocation(family.name.len()) + 2 * size_of::<(String, Family)>();
            self.bytes += family.memory() + if before.is_none() { entry() } else { 0 };
            self.bytes -= before.map_or(0, |before| before.memory());
        }
        table
    }

    fn table_by_hash(&mut self, batch: &MetricBatch) -> u32 {
        let mut hasher = self.state.build_hasher();
        batch.target.hash(&mut hasher);
        batch.schema.series.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(found) = self.by_schema.find(hash, |table| self.tables[table as usize].holds(batch)) {
            return found;
        }
        let table = self.tables.len() as u32;
        self.by_schema.insert(hash, table);
        self.bytes += batch.target.memory();
        if self.schemas.insert(Arc::as_ptr(&batch.schema).addr()) {
            self.bytes += table_entry(size_of::<usize>()) + batch.schema.memory();
        }
        self.tables.push(Table { target: batch.target.clone(), schema: Arc::clone(&batch.schema) });
        let (mut text, mut neighbour) = (Vec::new(), Neighbour::default());
        for (column, own) in (0_u32..).zip(&batch.schema.series) {
            self.add_place(&batch.target, own, PlaceEntry { table, column, next: NONE }, &mut text, &mut neighbour);
        }
        table
    }

    /// Adds a place to its series, made when it is the first. `text` is a buffer.
    fn add_place(&mut self, target: &Labels, own: &Labels, place: PlaceEntry, text: &mut Vec<u8>, neighbour: &mut Neighbour) {
        text.clear();
        for part in merged(target, own).flat_map(|(name, value)| [name, value]) {
            text.extend_from_slice(part.as_bytes());
            text.push(0xff);
        }
        let hash = hash(text);
        let known = self.by_labels.find(hash, |id| {
            let (other_target, other_own) = self.halves(id);
            merged(target, own).eq(merged(other_target, other_own))
        });
        let at = self.places.len() as u32;
        self.places.push(place);
        if let Some(id) = known {
            let entry = &mut self.series[id as usize];
            self.places[entry.last as usize].next = at;
            entry.last = at;
            return;
        }
        let id = self.series.len() as u32;
        self.by_labels.insert(hash, id);
        self.series.push(SeriesEntry { first: at, last: at });
        if !self.selected {
            self.postings.add(id, merged(target, own), neighbour);
        }
    }

    /// Memory that it holds, roughly.
    pub(super) fn memory(&self) -> usize {
        // Rows have a list a table beside.
        let tables = self.tables.capacity() * (size_of::<Table>() + size_of::<Vec<()>>());
        let lists = self.series.capacity() * size_of::<SeriesEntry>() + self.places.capacity() * size_of::<PlaceEntry>();
        self.bytes + tables + lists + self.by_schema.memory() + self.by_labels.memory() + self.postings.memory()
    }
}

impl Table {
    fn holds(&self, batch: &MetricBatch) -> bool {
        self.target == batch.target && (Arc::ptr_eq(&self.schema, &batch.schema) || self.schema == batch.schema)
    }
}

/// The pairs of [`Labels::merged`], without making them a set of its own.
fn merged<'a>(target: &'a Labels, own: &'a Labels) -> impl Iterator<Item = (&'a str, &'a str)> {
    let (mut target, mut own) = (target.iter().peekable(), own.iter().peekable());
    std::iter::from_fn(move || match (target.peek(), own.peek()) {
        (Some((of_target, _)), Some((name, _))) if of_target < name => target.next(),
        (Some((of_target, _)), Some((name, _))) => {
            if of_target == name {
                target.next();
            }
            own.next()
        }
        (Some(_), None) => target.next(),
        (None, _) => own.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_merged_as_sets_are() {
        let check = |target: &[(&str, &str)], own: &[(&str, &str)]| {
            let [target, own] = [target, own].map(|pairs| Labels::from_pairs(pairs.iter().copied()));
            let set = target.merged(&own);
            assert!(merged(&target, &own).eq(set.iter()), "{target} {own}");
        };
        check(&[], &[]);
        check(&[("a", "1")], &[]);
        check(&[], &[("a", "1")]);
        check(&[("a", "1"), ("c", "2"), ("d", "3")], &[("b", "4"), ("c", "5"), ("e", "6")]);
    }
}
