//! What a head knows of names, one tenant's: tables, series and who carries which label. A series' labels are its table's target
//! and its column of the schema, put together when somebody asks and then kept (`made_labels.rs`).
//! Called by [`super::head`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use roaring::RoaringBitmap;
use weir_model::intern::{self, hash};
use weir_model::label::{Labels, Matcher, NAME};
use weir_model::memory::{allocation, table_entry};
use weir_model::metric::{Family, MetricBatch, Schema};

use super::head_postings::{HeadPostings, Neighbour, OrderBy, OrderKeys};
use super::made_labels::MadeLabels;
use super::postings;
use weir_blocks::StoreError;

/// A source that alternates between more schemas than this looks the oldest up by its hash.
const RECENT_MAX: usize = 4;
/// Of lists by number.
const NONE: u32 = u32::MAX;

/// Fewer than one series in so many are made and sorted for the query; more are kept, and picked from the order of all.
const FEW_ONE_IN: u64 = 16;
/// Fewer new series than one in so many are put into the order that there is, each with some 20 comparisons of labels; for more, all
/// are sorted by keys anew.
const NEW_ONE_IN: usize = 64;

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
    made: MadeLabels,
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
    /// `bytes` is told of what readers add.
    pub(super) fn new(selected: bool, bytes: &Arc<AtomicUsize>) -> Self {
        Self { selected, made: MadeLabels::new(Arc::clone(bytes)), ..Self::default() }
    }

    pub(super) fn families(&self) -> &BTreeMap<String, Family> {
        &self.families
    }

    fn ids(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, StoreError> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series.len() as u32);
        if self.selected { Ok(all) } else { postings::matching(&self.postings, all, matchers) }
    }

    fn are_few(&self, ids: &RoaringBitmap) -> bool {
        self.selected || ids.len() * FEW_ONE_IN < self.series.len() as u64
    }

    /// Whether [`Self::matching`] has no need to sort all series.
    pub(super) fn is_ordered(&self) -> bool {
        self.selected || !self.made.is_unordered(|before| self.is_sorted_anew(before))
    }

    /// Where [`Self::matching`] would sort all series: what they are sorted by, and those that pass.
    pub(super) fn unsorted(&self, matchers: &[Matcher]) -> Result<Option<(OrderKeys, Vec<u32>)>, StoreError> {
        if self.is_ordered() {
            return Ok(None);
        }
        let ids = self.ids(matchers)?;
        let keys = || self.postings.keys(self.series.len(), OrderBy::Labels);
        Ok((!self.are_few(&ids)).then(|| (keys(), ids.iter().collect())))
    }

    /// Takes the order of the series that there were when the keys were made; those that have come since are put in.
    pub(super) fn set_order(&self, sorted: OrderKeys) {
        self.made.order(|_| {
            let compare = |a: u32, b: u32| self.pairs(a).cmp(self.pairs(b));
            let order = sorted.into_order(compare);
            if order.len() < self.series.len() { extended(&order, self.series.len(), compare) } else { order }
        });
    }

    /// Makes the label sets of these series, as far as they are kept.
    pub(super) fn keep_labels(&self, ids: &[u32]) {
        ids.iter().for_each(|id| drop(self.made.labels(*id, self.series.len(), || self.make_labels(*id))));
    }

    fn is_sorted_anew(&self, before: &[u32]) -> bool {
        (self.series.len() - before.len()) * NEW_ONE_IN >= self.series.len()
    }

    /// Series that pass all matchers, ascending by labels.
    pub(super) fn matching(&self, matchers: &[Matcher]) -> Result<Vec<(Labels, u32)>, StoreError> {
        let ids = self.ids(matchers)?;
        if self.are_few(&ids) {
            let mut few: Vec<_> = ids.iter().map(|id| (self.make_labels(id), id)).collect();
            few.sort_by(|a, b| a.0.cmp(&b.0));
            return Ok(few);
        }
        let order = self.made.order(|before| {
            let (series, compare) = (self.series.len(), |a: u32, b: u32| self.pairs(a).cmp(self.pairs(b)));
            if self.is_sorted_anew(before) {
                return self.postings.order(series, OrderBy::Labels, compare);
            }
            extended(before, series, compare)
        });
        let mut many = Vec::with_capacity(ids.len() as usize);
        let of_id = |id: u32| (self.made.labels(id, self.series.len(), || self.make_labels(id)), id);
        if ids.len() == order.len() as u64 {
            many.extend(order.iter().map(|id| of_id(*id)));
        } else {
            many.extend(order.iter().filter(|id| ids.contains(**id)).map(|id| of_id(*id)));
        }
        Ok(many)
    }

    /// All series in the order of a block.
    pub(super) fn in_block_order(&self) -> Vec<u32> {
        let name = |id: u32| self.pairs(id).find(|(name, _)| *name == NAME);
        let rest = |a: u32, b: u32| name(a).cmp(&name(b)).then_with(|| self.pairs(a).cmp(self.pairs(b)));
        self.postings.order(self.series.len(), OrderBy::NameThenLabels, rest)
    }

    /// Where a series has samples.
    pub(super) fn places(&self, id: u32) -> impl Iterator<Item = (u32, u32)> {
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

    pub(super) fn make_labels(&self, id: u32) -> Labels {
        let (target, own) = self.halves(id);
        target.merged(own)
    }

    fn pairs(&self, id: u32) -> impl Iterator<Item = (&str, &str)> {
        let (target, own) = self.halves(id);
        target.merged_pairs(own)
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
        self.made.grow(self.series.len());
        table
    }

    /// Adds a place to its series, made when it is the first. `text` is a buffer.
    fn add_place(&mut self, target: &Labels, own: &Labels, place: PlaceEntry, text: &mut Vec<u8>, neighbour: &mut Neighbour) {
        text.clear();
        for part in target.merged_pairs(own).flat_map(|(name, value)| [name, value]) {
            text.extend_from_slice(part.as_bytes());
            text.push(0xff);
        }
        let hash = hash(text);
        let known = self.by_labels.find(hash, |id| {
            let (other_target, other_own) = self.halves(id);
            // Mostly the very same sets, in a schema of other columns.
            (target == other_target && own == other_own) || target.merged_pairs(own).eq(other_target.merged_pairs(other_own))
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
            self.postings.add(id, target.merged_pairs(own), neighbour);
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

/// The order of so many series, from that of the first of them.
fn extended(before: &[u32], series: usize, compare: impl Fn(u32, u32) -> Ordering) -> Vec<u32> {
    let mut new: Vec<u32> = (before.len() as u32..series as u32).collect();
    new.sort_unstable_by(|a, b| compare(*a, *b));
    let (mut order, mut rest) = (Vec::with_capacity(series), before);
    for id in new {
        let (smaller, larger) = rest.split_at(rest.partition_point(|other| compare(*other, id).is_lt()));
        order.extend_from_slice(smaller);
        order.push(id);
        rest = larger;
    }
    order.extend_from_slice(rest);
    order
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use weir_model::label::MatchOp;

    use super::super::schema::series_order;
    use super::*;

    /// Sets of which some begin with the same labels, more than a key of the order has room for; some have no name, or one that
    /// sorts before it.
    fn set(i: usize) -> Labels {
        let mut pairs: Vec<(String, String)> = (0..20).map(|label| (format!("l{label:02}"), (i / 40).to_string())).collect();
        pairs.push(("last".into(), (i * 7 % 40).to_string()));
        pairs.push(("z".into(), i.to_string()));
        pairs.extend((!i.is_multiple_of(7)).then(|| (NAME.to_owned(), format!("m{}", i % 11))));
        pairs.extend(i.is_multiple_of(5).then(|| ("A".to_owned(), (i % 3).to_string())));
        Labels::from_pairs(pairs)
    }

    #[test]
    fn series_come_in_the_order_of_their_labels_and_what_is_kept_of_them_is_counted() {
        let bytes = Arc::default();
        let mut index = Index::new(false, &bytes);
        for (table, own) in [(0, 0..200), (1, 150..300), (2, 290..400), (3, 396..406)] {
            let target = Labels::from_pairs([("job", "one"), ("Job", "two")]);
            let schema = Arc::new(Schema::new(own.map(set).collect(), Vec::new()));
            assert_eq!(index.table("source", &MetricBatch { target: target.clone(), schema, rows: Vec::new() }), table);
            let found = index.matching(&[]).unwrap();
            let mut expected: Vec<Labels> = (0..[200, 300, 400, 406][table as usize]).map(|i| target.merged(&set(i))).collect();
            let labels = |found: Vec<(Labels, u32)>| found.into_iter().map(|(labels, _)| labels).collect::<Vec<_>>();
            expected.sort();
            assert_eq!(labels(found), expected);
            let kept: usize = expected.iter().map(Labels::memory).sum();
            assert_eq!(bytes.load(Ordering::Relaxed), kept + index.made.list_bytes(), "of {} series", expected.len());
            expected.sort_by(series_order);
            let in_block_order: Vec<Labels> = index.in_block_order().into_iter().map(|id| index.make_labels(id)).collect();
            assert_eq!(in_block_order, expected);
        }
        let few = index.matching(&[Matcher::new("z", MatchOp::Regex, "3|17|399").unwrap()]).unwrap();
        assert!(few.len() == 3 && few.is_sorted_by(|a, b| a.0 < b.0), "{few:?}");
    }

    #[test]
    fn series_that_come_while_others_are_sorted_are_put_in() {
        let mut index = Index::new(false, &Arc::default());
        let add = |index: &mut Index, own: std::ops::Range<usize>| {
            let schema = Arc::new(Schema::new(own.map(set).collect(), Vec::new()));
            index.table("source", &MetricBatch { target: Labels::EMPTY, schema, rows: Vec::new() });
        };
        add(&mut index, 0..200);
        let few = [Matcher::equal("z", "7")];
        assert!(index.unsorted(&few).unwrap().is_none(), "few are sorted for themselves");
        let (mut keys, ids) = index.unsorted(&[]).unwrap().unwrap();
        assert_eq!(ids.len(), 200);
        add(&mut index, 150..300);
        assert!(!index.is_ordered());
        keys.sort();
        index.set_order(keys);
        index.keep_labels(&ids);
        assert!(index.is_ordered() && index.unsorted(&[]).unwrap().is_none());
        let mut expected: Vec<Labels> = (0..300).map(set).collect();
        expected.sort();
        assert_eq!(index.matching(&[]).unwrap().into_iter().map(|(labels, _)| labels).collect::<Vec<_>>(), expected);
        // As many new ones as make a new order.
        add(&mut index, 300..310);
        assert!(!index.is_ordered());
    }
}
