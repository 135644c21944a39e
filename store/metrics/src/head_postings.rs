//! Which series of a head carry a label: lists that only grow at their end, since series are numbered as they come. Called by
//! [`super::index`]; what a matcher means is said in [`super::postings`].

use std::cmp::Ordering;

use roaring::RoaringBitmap;
use weir_model::intern::{Index, hash};
use weir_model::label::NAME;
use weir_model::memory::allocation;

use super::postings::LabelIndex;
use weir_blocks::StoreError;

/// Up to here a plain list is smaller than a bitmap with its containers.
const FEW_MAX: usize = 32;
/// A bitmap's first container and the list of containers.
const BITMAP_BYTES: usize = 250;
/// Of a series in a bitmap, whose arrays grow by doubling.
const BIT_BYTES: usize = 3;

#[derive(Default)]
pub(super) struct HeadPostings {
    names: Vec<Name>,
    by_name: Index,
    pairs: Vec<Pair>,
    by_pair: Index,
    /// Of texts and lists.
    bytes: usize,
}

struct Name {
    text: Box<str>,
    pairs: Vec<u32>,
}

struct Pair {
    name: u32,
    value: Box<str>,
    ids: Ids,
}

/// Ascending.
enum Ids {
    One(u32),
    Few(Vec<u32>),
    Many(RoaringBitmap),
}

/// An order of series.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderBy {
    Labels,
    /// As in a block.
    NameThenLabels,
}

/// Series, each with the numbers of its first labels in their order.
pub(super) struct OrderKeys(Vec<(u128, u32)>);

impl OrderKeys {
    /// Series.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// As far as the keys say: nothing else is looked at.
    pub(super) fn sort(&mut self) {
        self.0.sort_unstable();
    }

    /// The order, once they are sorted. `rest` compares two whose keys are the same.
    pub(super) fn into_order(mut self, rest: impl Fn(u32, u32) -> Ordering) -> Vec<u32> {
        for same in self.0.chunk_by_mut(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            same.sort_unstable_by(|a, b| rest(a.1, b.1));
        }
        self.0.into_iter().map(|(_, id)| id).collect()
    }
}

/// What the series before had in the same place: neighbours mostly share their names and many of their values.
#[derive(Default)]
pub(super) struct Neighbour(Vec<u32>);

impl HeadPostings {
    /// Adds a series that is newer than all others.
    pub(super) fn add<'a>(&mut self, id: u32, labels: impl Iterator<Item = (&'a str, &'a str)>, neighbour: &mut Neighbour) {
        for (place, (name, value)) in labels.enumerate() {
            let known = neighbour.0.get(place).copied();
            let pair = known.filter(|pair| self.is(*pair, name, value)).unwrap_or_else(|| self.pair(known, name, value));
            match neighbour.0.get_mut(place) {
                Some(known) => *known = pair,
                None => neighbour.0.push(pair),
            }
            self.push(pair, id);
        }
    }

    fn is(&self, pair: u32, name: &str, value: &str) -> bool {
        let pair = &self.pairs[pair as usize];
        *pair.value == *value && *self.names[pair.name as usize].text == *name
    }

    /// The pair's number; `near` is one that may have its name.
    fn pair(&mut self, near: Option<u32>, name: &str, value: &str) -> u32 {
        let near = near.map(|pair| self.pairs[pair as usize].name).filter(|near| *self.names[*near as usize].text == *name);
        let name = near.unwrap_or_else(|| self.name(name));
        if let Some(found) = self.find_pair(name, value) {
            return found;
        }
        let pair = self.pairs.len() as u32;
        self.bytes += allocation(value.len());
        self.by_pair.insert(hash_pair(name, value), pair);
        self.pairs.push(Pair { name, value: value.into(), ids: Ids::Few(Vec::new()) });
        let list = &mut self.names[name as usize].pairs;
        self.bytes -= allocation(list.capacity() * size_of::<u32>());
        list.push(pair);
        self.bytes += allocation(list.capacity() * size_of::<u32>());
        pair
    }

    fn name(&mut self, text: &str) -> u32 {
        let Self { names, by_name, .. } = self;
        let name = by_name.number(text.as_bytes(), |name| *names[name as usize].text == *text);
        if name as usize == names.len() {
            names.push(Name { text: text.into(), pairs: Vec::new() });
            self.bytes += allocation(text.len());
        }
        name
    }

    fn find_name(&self, text: &str) -> Option<u32> {
        self.by_name.find(hash(text.as_bytes()), |name| *self.names[name as usize].text == *text)
    }

    fn find_pair(&self, name: u32, value: &str) -> Option<u32> {
        let is = |pair: u32| self.pairs[pair as usize].name == name && *self.pairs[pair as usize].value == *value;
        self.by_pair.find(hash_pair(name, value), is)
    }

    fn push(&mut self, pair: u32, id: u32) {
        let ids = &mut self.pairs[pair as usize].ids;
        match ids {
            Ids::Few(list) if list.is_empty() => *ids = Ids::One(id),
            Ids::One(first) => {
                let list = vec![*first, id];
                self.bytes += allocation(list.capacity() * size_of::<u32>());
                *ids = Ids::Few(list);
            }
            Ids::Few(list) if list.len() < FEW_MAX => {
                self.bytes -= allocation(list.capacity() * size_of::<u32>());
                list.push(id);
                self.bytes += allocation(list.capacity() * size_of::<u32>());
            }
            Ids::Few(list) => {
                self.bytes += BITMAP_BYTES + (list.len() + 1) * BIT_BYTES;
                self.bytes -= allocation(list.capacity() * size_of::<u32>());
                *ids = Ids::Many(list.iter().copied().chain([id]).collect());
            }
            Ids::Many(bitmap) => {
                self.bytes += BIT_BYTES;
                bitmap.try_push(id).expect("invariant: series come in the order of their numbers");
            }
        }
    }

    /// What so many series are sorted by: for who sorts them apart from the postings.
    pub(super) fn keys(&self, series: usize, by: OrderBy) -> OrderKeys {
        // Pairs are numbered from 1 in the order of labels. A key has the numbers of a series' first labels, as many as it has room
        // for, so that keys compare as the labels do.
        let bits = usize::BITS - self.pairs.len().leading_zeros();
        let mut keys: Vec<(u128, u32)> = (0..series as u32).map(|id| (0, id)).collect();
        let mut room = vec![u128::BITS; series];
        let mut names: Vec<&Name> = self.names.iter().collect();
        names.sort_unstable_by(|a, b| a.text.cmp(&b.text));
        let mut numbered: Vec<(u128, &Pair)> = Vec::with_capacity(self.pairs.len());
        for name in &names {
            let first = numbered.len();
            numbered.extend(name.pairs.iter().map(|pair| (0, &self.pairs[*pair as usize])));
            numbered[first..].sort_unstable_by(|a, b| a.1.value.cmp(&b.1.value));
        }
        (1..).zip(&mut numbered).for_each(|(number, pair)| pair.0 = number);
        if by == OrderBy::NameThenLabels {
            // A series without a name has a 0 there.
            let shift = u128::BITS - bits;
            let is_name = |pair: &Pair| *self.names[pair.name as usize].text == *NAME;
            for (number, pair) in numbered.iter().filter(|(_, pair)| is_name(pair)) {
                pair.ids.each(|id| keys[id as usize].0 = number << shift);
            }
            room.fill(shift);
        }
        for (number, pair) in &numbered {
            pair.ids.each(|id| {
                let room = &mut room[id as usize];
                match room.checked_sub(bits) {
                    Some(left) => (*room, keys[id as usize].0) = (left, keys[id as usize].0 | number << left),
                    None => *room = 0,
                }
            });
        }
        OrderKeys(keys)
    }

    pub(super) fn memory(&self) -> usize {
        let tables = self.by_pair.memory() + self.by_name.memory();
        let lists = self.pairs.capacity() * size_of::<Pair>() + self.names.capacity() * size_of::<Name>();
        self.bytes + tables + lists
    }
}

/// Of a value under the number of its name.
pub(super) fn hash_pair(name: u32, value: &str) -> u64 {
    hash(value.as_bytes()).wrapping_add(u64::from(name).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Ids {
    fn each(&self, mut take: impl FnMut(u32)) {
        match self {
            Self::One(id) => take(*id),
            Self::Few(list) => list.iter().copied().for_each(take),
            Self::Many(bitmap) => bitmap.iter().for_each(&mut take),
        }
    }

    fn add_to(&self, found: &mut RoaringBitmap) {
        match self {
            Self::One(id) => {
                found.insert(*id);
            }
            Self::Few(list) => found.extend(list),
            Self::Many(bitmap) => *found |= bitmap,
        }
    }
}

impl LabelIndex for HeadPostings {
    fn equal(&self, name: &str, value: &str) -> Result<RoaringBitmap, StoreError> {
        let mut found = RoaringBitmap::new();
        let pair = self.find_name(name).and_then(|name| self.find_pair(name, value));
        if let Some(pair) = pair {
            self.pairs[pair as usize].ids.add_to(&mut found);
        }
        Ok(found)
    }

    fn any(&self, name: &str, passes: &dyn Fn(&str) -> bool) -> Result<RoaringBitmap, StoreError> {
        let mut found = RoaringBitmap::new();
        let Some(name) = self.find_name(name) else { return Ok(found) };
        let pairs = self.names[name as usize].pairs.iter().map(|pair| &self.pairs[*pair as usize]);
        pairs.filter(|pair| passes(&pair.value)).for_each(|pair| pair.ids.add_to(&mut found));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_every_length_hold_what_was_added() {
        let mut postings = HeadPostings::default();
        let mut neighbour = Neighbour::default();
        let step = |label: u32| [1, 2, 7, 40, 3000][label as usize];
        let value = |label: u32, id: u32| (id / step(label)).to_string();
        for id in 0..3000_u32 {
            let labels: Vec<(String, String)> = (0..5).map(|label| (format!("l{label}"), value(label, id))).collect();
            // Some lack the first, so that neighbours differ in their places.
            let own = &labels[usize::from(id % 5 == 0)..];
            postings.add(id, own.iter().map(|(name, value)| (&**name, &**value)), &mut neighbour);
        }
        for label in 0..5 {
            let has = |id: &u32| label > 0 || !id.is_multiple_of(5);
            for wanted in [0, 1, 17, 74, 2999] {
                let expected: RoaringBitmap = (0..3000).filter(has).filter(|id| id / step(label) == wanted).collect();
                assert_eq!(postings.equal(&format!("l{label}"), &wanted.to_string()).unwrap(), expected, "l{label}={wanted}");
            }
            let expected: RoaringBitmap = (0..3000).filter(has).filter(|id| value(label, *id).starts_with('1')).collect();
            assert_eq!(postings.any(&format!("l{label}"), &|value| value.starts_with('1')).unwrap(), expected, "l{label}");
        }
        assert!(postings.equal("l9", "0").unwrap().is_empty() && postings.any("l9", &|_| true).unwrap().is_empty());
    }
}
