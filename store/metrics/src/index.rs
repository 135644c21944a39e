//! What heads know of names, one tenant's: tables, series and who carries which label. A series' labels are its table's target
//! and its column of the schema, put together when somebody asks (`names.rs`).
//!
//! A head goes on with the index of the one before it (`head.rs`), so it has series of which either may have no samples: those of tables
//! that `used` does not have.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use roaring::RoaringBitmap;
use weir_model::intern::{self, hash};
use weir_model::label::{Labels, Matcher, NAME};
use weir_model::memory::table_entry;
use weir_model::metric::{MetricBatch, Schema};

use super::head_postings::{HeadPostings, Neighbour, OrderBy, OrderKeys};
use super::head_tables::UsedTables;
use super::order::{self, KeptOrder};
use super::postings;
use weir_blocks::StoreError;

/// Of lists by number.
const NONE: u32 = u32::MAX;

/// Fewer than one series in so many are made and sorted for the query; more are kept, and picked from the order of all.
const FEW_ONE_IN: u64 = 16;

pub(super) struct Index {
    /// No postings: every series passes.
    selected: bool,
    tables: Vec<Table>,
    /// Tables by target and schema.
    by_schema: intern::Index,
    /// Schemas of tables, by address: several targets may share one.
    schemas: HashSet<usize>,
    /// Series by labels.
    by_labels: intern::Index,
    series: Vec<SeriesEntry>,
    places: Vec<PlaceEntry>,
    postings: HeadPostings,
    /// Of labels, as queries have them.
    by_label_order: KeptOrder,
    /// As blocks have it.
    block_order: KeptOrder,
    state: RandomState,
    /// Of what is not in the lists above.
    bytes: usize,
}

struct Table {
    target: Labels,
    schema: Arc<Schema>,
}

/// Series that pass.
pub(super) struct Matched {
    pub ids: Vec<u32>,
    /// By labels, which few are not.
    pub are_ordered: bool,
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
        Self {
            selected,
            tables: Vec::new(),
            by_schema: intern::Index::default(),
            schemas: HashSet::new(),
            by_labels: intern::Index::default(),
            series: Vec::new(),
            places: Vec::new(),
            postings: HeadPostings::default(),
            by_label_order: KeptOrder::default(),
            block_order: KeptOrder::default(),
            state: RandomState::default(),
            bytes: 0,
        }
    }

    fn kept_order(&self, by: OrderBy) -> &KeptOrder {
        match by {
            OrderBy::Labels => &self.by_label_order,
            OrderBy::NameThenLabels => &self.block_order,
        }
    }

    fn ids(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, StoreError> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series.len() as u32);
        if self.selected { Ok(all) } else { postings::matching(&self.postings, all, matchers) }
    }

    fn are_few(&self, ids: &RoaringBitmap) -> bool {
        self.selected || ids.len() * FEW_ONE_IN < self.series.len() as u64
    }

    /// Whether nothing has to be sorted for this order of all series.
    pub(super) fn is_ordered(&self, by: OrderBy) -> bool {
        self.selected || self.kept_order(by).is_kept(self.series.len())
    }

    /// What all series are sorted by, where they have to be.
    pub(super) fn unsorted(&self, by: OrderBy) -> Option<OrderKeys> {
        (!self.is_ordered(by)).then(|| self.postings.keys(self.series.len(), by))
    }

    /// The same for [`Self::matching`], which sorts few for themselves.
    pub(super) fn unsorted_matching(&self, matchers: &[Matcher]) -> Result<Option<OrderKeys>, StoreError> {
        if self.is_ordered(OrderBy::Labels) || self.are_few(&self.ids(matchers)?) {
            return Ok(None);
        }
        Ok(self.unsorted(OrderBy::Labels))
    }

    /// Takes the order of the series that there were when the keys were made; those that have come since are put in.
    pub(super) fn set_order(&self, by: OrderBy, sorted: OrderKeys) {
        let compare = |a: u32, b: u32| self.compare(by, a, b);
        self.kept_order(by).set(|| (sorted.into_order(compare), self.series.len()), compare);
    }

    /// Whether few series have come since the keys were made.
    pub(super) fn are_nearly_all(&self, keys: &OrderKeys) -> bool {
        order::are_nearly_all(keys.len(), self.series.len())
    }

    /// All series in an order.
    pub(super) fn order(&self, by: OrderBy) -> &[u32] {
        let compare = |a: u32, b: u32| self.compare(by, a, b);
        let series = self.series.len();
        self.kept_order(by).get(series, || self.postings.keys(series, by), compare)
    }

    fn compare(&self, by: OrderBy, a: u32, b: u32) -> Ordering {
        let name = |id: u32| self.pairs(id).find(|(name, _)| *name == NAME);
        let names = if by == OrderBy::NameThenLabels { name(a).cmp(&name(b)) } else { Ordering::Equal };
        names.then_with(|| self.pairs(a).cmp(self.pairs(b)))
    }

    /// Series of used tables that pass all matchers.
    pub(super) fn matching(&self, matchers: &[Matcher], used: &UsedTables) -> Result<Matched, StoreError> {
        let ids = self.ids(matchers)?;
        let is_used = |id: &u32| self.places(*id, used).next().is_some();
        if self.are_few(&ids) {
            return Ok(Matched { ids: ids.iter().filter(is_used).collect(), are_ordered: false });
        }
        let order = self.order(OrderBy::Labels);
        let is_all = ids.len() == order.len() as u64;
        let passes = |id: &u32| (is_all || ids.contains(*id)) && is_used(id);
        Ok(Matched { ids: order.iter().copied().filter(passes).collect(), are_ordered: true })
    }

    /// Series that there are, whoever has used their tables.
    pub(super) fn series(&self) -> usize {
        self.series.len()
    }

    /// Series of used tables in the order of a block.
    pub(super) fn in_block_order(&self, used: &UsedTables) -> Vec<u32> {
        let is_used = |id: &u32| self.places(*id, used).next().is_some();
        self.order(OrderBy::NameThenLabels).iter().copied().filter(is_used).collect()
    }

    /// Where a series may have samples: tables and columns.
    pub(super) fn places<'a>(&'a self, id: u32, used: &'a UsedTables) -> impl Iterator<Item = (u32, u32)> + 'a {
        let place = |at: u32| self.places.get(at as usize);
        let first = place(self.series[id as usize].first);
        let all = std::iter::successors(first, move |before| place(before.next)).map(|place| (place.table, place.column));
        all.filter(|(table, _)| used.has(*table))
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

    /// Whether a table is of the batch's target and schema.
    pub(super) fn holds(&self, table: u32, batch: &MetricBatch) -> bool {
        self.tables[table as usize].holds(batch)
    }

    /// The batch's table.
    pub(super) fn find(&self, batch: &MetricBatch) -> Option<u32> {
        self.find_by(self.hash(batch), batch)
    }

    fn find_by(&self, hash: u64, batch: &MetricBatch) -> Option<u32> {
        self.by_schema.find(hash, |table| self.tables[table as usize].holds(batch))
    }

    /// A part of a schema goes into the table of its whole.
    fn hash(&self, batch: &MetricBatch) -> u64 {
        let mut hasher = self.state.build_hasher();
        batch.target.hash(&mut hasher);
        batch.schema.whole().0.series.hash(&mut hasher);
        hasher.finish()
    }

    /// The batch's table, made when it is the first of its kind.
    pub(super) fn table(&mut self, batch: &MetricBatch) -> u32 {
        let hash = self.hash(batch);
        if let Some(found) = self.find_by(hash, batch) {
            return found;
        }
        let table = self.tables.len() as u32;
        self.by_schema.insert(hash, table);
        self.bytes += batch.target.memory();
        let (schema, _) = batch.schema.whole();
        if self.schemas.insert(Arc::as_ptr(schema).addr()) {
            self.bytes += table_entry(size_of::<usize>()) + schema.memory();
        }
        self.tables.push(Table { target: batch.target.clone(), schema: Arc::clone(schema) });
        let (mut text, mut neighbour) = (Vec::new(), Neighbour::default());
        for (column, own) in (0_u32..).zip(&schema.series) {
            self.add_place(&batch.target, own, PlaceEntry { table, column, next: NONE }, &mut text, &mut neighbour);
        }
        self.by_label_order.grow(self.series.len());
        self.block_order.grow(self.series.len());
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

    pub(super) fn schema(&self, table: u32) -> &Schema {
        &self.tables[table as usize].schema
    }

    /// Of all tables: what is compared of an index to say how much of it is in use. A table counts as a column.
    pub(super) fn weight(&self) -> usize {
        self.places.len() + self.tables.len()
    }

    pub(super) fn weight_of(&self, table: u32) -> usize {
        self.tables[table as usize].schema.series.len() + 1
    }

    /// Memory that it holds, roughly.
    pub(super) fn memory(&self) -> usize {
        let tables = self.tables.capacity() * size_of::<Table>();
        let lists = self.series.capacity() * size_of::<SeriesEntry>() + self.places.capacity() * size_of::<PlaceEntry>();
        let orders = self.by_label_order.memory() + self.block_order.memory();
        self.bytes + tables + lists + orders + self.by_schema.memory() + self.by_labels.memory() + self.postings.memory()
    }
}

impl Table {
    fn holds(&self, batch: &MetricBatch) -> bool {
        let (schema, _) = batch.schema.whole();
        self.target == batch.target && (Arc::ptr_eq(&self.schema, schema) || self.schema == *schema)
    }
}

#[cfg(test)]
mod tests {
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

    fn batch(target: &Labels, own: std::ops::Range<usize>) -> MetricBatch {
        let schema = Arc::new(Schema::new(own.map(set).collect(), Vec::new()));
        MetricBatch { target: target.clone(), schema, rows: Vec::new() }
    }

    fn all_labels(index: &Index, used: &UsedTables) -> Vec<Labels> {
        let found = index.matching(&[], used).unwrap();
        assert!(found.are_ordered);
        found.ids.iter().map(|id| index.make_labels(*id)).collect()
    }

    #[test]
    fn series_come_in_the_order_of_their_labels() {
        let mut index = Index::new(false);
        let used = UsedTables::all(4);
        for (table, own) in [(0, 0..200), (1, 150..300), (2, 290..400), (3, 396..406)] {
            let target = Labels::from_pairs([("job", "one"), ("Job", "two")]);
            assert_eq!(index.table(&batch(&target, own)), table);
            let mut expected: Vec<Labels> = (0..[200, 300, 400, 406][table as usize]).map(|i| target.merged(&set(i))).collect();
            expected.sort();
            assert_eq!(all_labels(&index, &used), expected);
            expected.sort_by(series_order);
            let order = index.order(OrderBy::NameThenLabels);
            assert_eq!(order.iter().map(|id| index.make_labels(*id)).collect::<Vec<_>>(), expected);
        }
        let matcher = Matcher::new("z", MatchOp::Regex, "3|17|399").unwrap();
        let few = index.matching(&[matcher], &used).unwrap();
        assert!(few.ids.len() == 3 && !few.are_ordered);
    }

    #[test]
    fn series_that_come_while_others_are_sorted_are_put_in() {
        let mut index = Index::new(false);
        let by = OrderBy::Labels;
        index.table(&batch(&Labels::EMPTY, 0..200));
        let few = [Matcher::equal("z", "7")];
        assert!(index.unsorted_matching(&few).unwrap().is_none(), "few are sorted for themselves");
        let mut keys = index.unsorted_matching(&[]).unwrap().unwrap();
        index.table(&batch(&Labels::EMPTY, 150..300));
        assert!(!index.is_ordered(by));
        keys.sort();
        index.set_order(by, keys);
        assert!(index.is_ordered(by) && index.unsorted_matching(&[]).unwrap().is_none());
        let mut expected: Vec<Labels> = (0..300).map(set).collect();
        expected.sort();
        assert_eq!(all_labels(&index, &UsedTables::all(2)), expected);
        // As many new ones as make a new order.
        index.table(&batch(&Labels::EMPTY, 300..310));
        assert!(!index.is_ordered(by));
    }
}
