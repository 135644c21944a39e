//! What names the columns of a batch: label sets and metadata, or a range of the columns of another schema. How it travels is
//! `wire/schema.rs`.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::Family;
use crate::label::Labels;
use crate::memory::{allocation, shared};
use crate::wire::EncodedSchema;

/// Names and labels of the columns of a batch, shared by the batches of a target for as long as they stay the same. What is made of
/// it (its bytes on the wire, its halves) is made once, so series and families are not changed afterwards.
#[derive(Default)]
pub struct Schema {
    /// One a column: `__name__` and the labels that are the series' own, without the target's.
    pub series: Vec<Labels>,
    /// Metadata of the families that occur; none of a part, see [`Self::families`].
    pub families: Vec<Family>,
    part: Option<Part>,
    /// As [`crate::wire`] sent or read it. Never of a part, which travels as its whole.
    pub(crate) encoded: OnceLock<EncodedSchema>,
    weight: OnceLock<usize>,
    hashes: OnceLock<Box<[u64]>>,
    halves: OnceLock<[Arc<Schema>; 2]>,
}

/// Whose neighbouring columns a schema has.
struct Part {
    /// No part of another.
    whole: Arc<Schema>,
    /// The first column.
    first: u32,
}

impl Schema {
    pub fn new(series: Vec<Labels>, families: Vec<Family>) -> Self {
        Self { series, families, ..Self::default() }
    }

    /// Of neighbouring columns of a schema that has them: whoever knows that one knows these. They travel with all of its bytes.
    pub fn part(schema: &Arc<Self>, columns: Range<usize>) -> Self {
        let (whole, before) = schema.whole();
        let part = Part { whole: Arc::clone(whole), first: (before + columns.start) as u32 };
        Self { series: schema.series[columns].to_vec(), part: Some(part), ..Self::default() }
    }

    pub fn is_part(&self) -> bool {
        self.part.is_some()
    }

    /// The schema whose columns it has, and which of them is its first: itself, but of a part.
    pub fn whole(self: &Arc<Self>) -> (&Arc<Self>, usize) {
        self.part.as_ref().map_or((self, 0), |part| (&part.whole, part.first as usize))
    }

    /// Metadata; of a part, that of its whole.
    pub fn families(&self) -> &[Family] {
        self.part.as_ref().map_or(&self.families, |part| &part.whole.families)
    }

    /// About how many bytes it takes uncompressed on the wire, where a text that neighbours share is written once.
    pub fn weight(&self) -> usize {
        if let Some(part) = &self.part {
            return part.whole.weight();
        }
        *self.weight.get_or_init(|| {
            let help: usize = self.families.iter().map(|family| family.name.len() + family.help.len() + 8).sum();
            Labels::shared_bytes(&self.series) + help
        })
    }

    /// The same of its own columns: of a part, as large a share of its whole's.
    pub fn own_weight(&self) -> usize {
        let whole = self.part.as_ref().map_or(self.series.len(), |part| part.whole.series.len());
        self.weight() * self.series.len() / whole.max(1)
    }

    /// Of the label sets, good within this process; whoever counts series with each batch does not come to each label set for it.
    pub fn hashes(&self) -> &[u64] {
        if let Some(Part { whole, first }) = &self.part {
            return &whole.hashes()[*first as usize..][..self.series.len()];
        }
        self.hashes.get_or_init(|| self.series.iter().map(Labels::process_hash).collect())
    }

    /// Its columns in two schemas of their own, made once. Families go with the first: they are of the tenant, not of a
    /// column.
    pub fn halves(&self) -> &[Arc<Self>; 2] {
        self.halves.get_or_init(|| {
            let (first, second) = self.series.split_at(self.series.len() / 2);
            [Self::new(first.to_vec(), self.families().to_vec()), Self::new(second.to_vec(), Vec::new())].map(Arc::new)
        })
    }

    /// Memory behind an `Arc` of it, that of label sets and texts included; of a part, what its whole does not have.
    pub fn memory(&self) -> usize {
        let lists =
            allocation(self.series.capacity() * size_of::<Labels>()) + allocation(self.families.capacity() * size_of::<Family>());
        let own = shared(size_of::<Self>()) + lists;
        if self.part.is_some() {
            return own;
        }
        let series: usize = self.series.iter().map(Labels::memory).sum();
        let families: usize = self.families.iter().map(Family::memory).sum();
        let encoded = self.encoded.get().map_or(0, |encoded| shared(encoded.bytes().len()));
        let hashes = self.hashes.get().map_or(0, |hashes| allocation(size_of_val(&**hashes)));
        own + series + families + encoded + hashes
    }
}

impl Clone for Schema {
    fn clone(&self) -> Self {
        let part = self.part.as_ref().map(|part| Part { whole: Arc::clone(&part.whole), first: part.first });
        Self { series: self.series.clone(), families: self.families.clone(), part, ..Self::default() }
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        if let (Some(own), Some(other)) = (self.encoded.get(), other.encoded.get())
            && own.bytes() == other.bytes()
        {
            return true;
        }
        self.series == other.series && self.families() == other.families()
    }
}

impl Eq for Schema {}

impl fmt::Debug for Schema {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Schema").field("series", &self.series).field("families", &self.families()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_the_columns_and_families_of_its_whole() {
        let series: Vec<Labels> = (0..8).map(|i| Labels::from_pairs([("i", i.to_string())])).collect();
        let family = Family { name: "m".into(), ..Family::default() };
        let whole = Arc::new(Schema::new(series.clone(), vec![family]));
        let part = Arc::new(Schema::part(&whole, 2..7));
        assert_eq!((&part.series[..], part.families()), (&series[2..7], whole.families()));
        assert!(part.memory() < whole.memory() && part.weight() == whole.weight());
        assert_eq!((part.own_weight(), whole.own_weight()), (whole.weight() * 5 / 8, whole.weight()));
        let inner = Arc::new(Schema::part(&part, 1..3));
        let (of, first) = inner.whole();
        assert!(Arc::ptr_eq(of, &whole) && first == 3 && inner.series == series[3..5], "not a part of a part");
        let copy = Schema::clone(&inner);
        assert!(copy == *inner && copy.is_part() && part != inner);
        assert_eq!(part.hashes(), series[2..7].iter().map(Labels::process_hash).collect::<Vec<_>>());
        let [left, right] = part.halves();
        assert!(!left.is_part() && left.families() == whole.families(), "halves stand by themselves");
        assert_eq!([&left.series, &right.series].map(Vec::len), [2, 3]);
    }
}
