//! Structured metadata of a batch's lines: every text once, every set once, and a line has the number of its set.

use std::fmt;
use std::ops::Range;

use crate::intern::{Index, hash};
use crate::label::{Labels, Pairs};
use crate::memory::allocation;

/// Distinct sets of attributes, numbered in the order of their first use, over distinct texts, likewise.
#[derive(Clone, Default)]
pub struct AttributeSets {
    texts: String,
    /// Exclusive end of each text.
    text_ends: Vec<u32>,
    /// Numbers of the texts of name and value; of a set ascending by name, no value empty.
    pairs: Vec<(u32, u32)>,
    /// Exclusive end of each set in `pairs`.
    set_ends: Vec<u32>,
    /// What [`Self::add`] finds them by; made when it is first called.
    index: Option<Box<AttributeIndex>>,
}

#[derive(Clone, Default)]
struct AttributeIndex {
    texts: Index,
    sets: Index,
    scratch: Vec<u8>,
}

impl AttributeIndex {
    fn hash_of_set(&mut self, pairs: &[(u32, u32)]) -> u64 {
        self.scratch.clear();
        for (name, value) in pairs {
            self.scratch.extend_from_slice(&name.to_le_bytes());
            self.scratch.extend_from_slice(&value.to_le_bytes());
        }
        hash(&self.scratch)
    }
}

impl AttributeSets {
    /// From columns that were read: ends ascend and lie on letters' bounds, numbers are those of texts, and the names of a set
    /// ascend.
    pub(crate) fn from_columns(texts: String, text_ends: Vec<u32>, pairs: Vec<(u32, u32)>, set_ends: Vec<u32>) -> Self {
        Self { texts, text_ends, pairs, set_ends, index: None }
    }

    /// Number of sets.
    pub fn len(&self) -> usize {
        self.set_ends.len()
    }

    /// Whether there is no set.
    pub fn is_empty(&self) -> bool {
        self.set_ends.is_empty()
    }

    /// A set by its number; panics when there is none, as slices do.
    pub fn get(&self, set: u32) -> LogAttributes<'_> {
        LogAttributes(Held::Set(self, set))
    }

    /// All sets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = LogAttributes<'_>> {
        (0..self.len() as u32).map(|set| self.get(set))
    }

    /// The number of a set, which is added when it is not there. Pairs ascend by name, no name twice and no value empty.
    /// The caller keeps the sum of texts below 4 GiB.
    pub fn add<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u32 {
        let mut index = self.index.take().unwrap_or_else(|| self.make_index());
        let start = self.pairs.len();
        for (name, value) in pairs {
            let pair = (self.add_text(name, &mut index.texts), self.add_text(value, &mut index.texts));
            self.pairs.push(pair);
        }
        let set = self.close_set(start, &mut index);
        self.index = Some(index);
        set
    }

    /// The numbers of a pair's texts, which are added when they are not there: for [`Self::add_numbers`].
    pub fn number_pair(&mut self, name: &str, value: &str) -> (u32, u32) {
        let mut index = self.index.take().unwrap_or_else(|| self.make_index());
        let pair = (self.add_text(name, &mut index.texts), self.add_text(value, &mut index.texts));
        self.index = Some(index);
        pair
    }

    /// As [`Self::add`], of pairs by the numbers of their texts.
    pub fn add_numbers(&mut self, pairs: impl Iterator<Item = (u32, u32)>) -> u32 {
        let mut index = self.index.take().unwrap_or_else(|| self.make_index());
        let start = self.pairs.len();
        self.pairs.extend(pairs);
        let set = self.close_set(start, &mut index);
        self.index = Some(index);
        set
    }

    /// The number of the set whose pairs are the last, from `start` on; they go when it was there.
    fn close_set(&mut self, start: usize, index: &mut AttributeIndex) -> u32 {
        let hash = index.hash_of_set(&self.pairs[start..]);
        match index.sets.find(hash, |set| self.numbers(set) == &self.pairs[start..]) {
            Some(set) => {
                self.pairs.truncate(start);
                set
            }
            None => {
                let set = self.set_ends.len() as u32;
                self.set_ends.push(self.pairs.len() as u32);
                index.sets.insert(hash, set);
                set
            }
        }
    }

    /// Appends a set as it is, texts and all, equal to another or not: for what is read once.
    pub fn push<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u32 {
        self.index = None;
        for (name, value) in pairs {
            let number = self.text_ends.len() as u32;
            for text in [name, value] {
                self.texts.push_str(text);
                self.text_ends.push(u32::try_from(self.texts.len()).expect("invariant: a batch stays below 4 GiB"));
            }
            self.pairs.push((number, number + 1));
        }
        self.set_ends.push(self.pairs.len() as u32);
        self.set_ends.len() as u32 - 1
    }

    fn add_text(&mut self, text: &str, known: &mut Index) -> u32 {
        let hash = hash(text.as_bytes());
        if let Some(number) = known.find(hash, |number| self.text(number) == text) {
            return number;
        }
        let number = self.text_ends.len() as u32;
        self.texts.push_str(text);
        self.text_ends.push(u32::try_from(self.texts.len()).expect("invariant: a batch stays below 4 GiB"));
        known.insert(hash, number);
        number
    }

    fn make_index(&self) -> Box<AttributeIndex> {
        let mut index = Box::<AttributeIndex>::default();
        (0..self.text_ends.len() as u32).for_each(|number| index.texts.insert(hash(self.text(number).as_bytes()), number));
        for set in 0..self.len() as u32 {
            let hash = index.hash_of_set(self.numbers(set));
            index.sets.insert(hash, set);
        }
        index
    }

    /// A text by its number.
    pub fn text(&self, number: u32) -> &str {
        let start = number.checked_sub(1).map_or(0, |before| self.text_ends[before as usize]);
        &self.texts[start as usize..self.text_ends[number as usize] as usize]
    }

    /// The numbers of a set's texts: of name and value each.
    pub fn numbers(&self, set: u32) -> &[(u32, u32)] {
        let start = set.checked_sub(1).map_or(0, |before| self.set_ends[before as usize]);
        &self.pairs[start as usize..self.set_ends[set as usize] as usize]
    }

    /// The distinct texts.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.text_ends.len() as u32).map(|number| self.text(number))
    }

    /// Of each text whether `find` finds something in it. All of them are searched as one: where and how long it is, is what `find` says.
    pub fn texts_with(&self, find: impl Fn(&[u8]) -> Option<Range<usize>>) -> Vec<bool> {
        let (mut having, mut from) = (vec![false; self.text_ends.len()], 0);
        while let Some(found) = find(&self.texts.as_bytes()[from..]).map(|found| found.start + from..found.end + from) {
            let text = self.text_ends.partition_point(|end| *end as usize <= found.start);
            let Some(end) = self.text_ends.get(text).map(|end| *end as usize) else { break };
            // What goes on in the next text is in neither.
            having[text] |= found.end <= end;
            from = if having[text] { end } else { found.start + 1 };
        }
        having
    }

    /// Bytes of texts and of references to them.
    pub fn bytes(&self) -> usize {
        self.texts.len() + self.pairs.len() * REFERENCE_BYTES
    }

    /// Gives back what is only there for sets to come.
    pub fn shrink_to_fit(&mut self) {
        self.index = None;
        self.texts.shrink_to_fit();
        self.text_ends.shrink_to_fit();
        self.pairs.shrink_to_fit();
        self.set_ends.shrink_to_fit();
    }

    /// Memory held.
    pub fn memory(&self) -> usize {
        let index = self.index.as_ref().map_or(0, |index| {
            allocation(size_of::<AttributeIndex>())
                + index.texts.memory()
                + index.sets.memory()
                + allocation(index.scratch.capacity())
        });
        allocation(self.texts.capacity())
            + allocation(self.text_ends.capacity() * size_of::<u32>())
            + allocation(self.pairs.capacity() * size_of::<(u32, u32)>())
            + allocation(self.set_ends.capacity() * size_of::<u32>())
            + index
    }
}

/// Two texts' numbers on the wire.
const REFERENCE_BYTES: usize = 4;

/// The attributes of a line, borrowed from wherever they lie. No more than a pointer and a number.
#[derive(Clone, Copy)]
pub struct LogAttributes<'a>(Held<'a>);

#[derive(Clone, Copy)]
enum Held<'a> {
    Labels(&'a Labels),
    Set(&'a AttributeSets, u32),
}

static NO_LABELS: Labels = Labels::EMPTY;

impl<'a> LogAttributes<'a> {
    /// Without any.
    pub const NONE: Self = Self(Held::Labels(&NO_LABELS));

    /// Pairs, ascending by name.
    pub fn iter(self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + Clone {
        match self.0 {
            Held::Labels(labels) => Iter::Labels(labels.pairs()),
            Held::Set(sets, set) => Iter::Set(sets, sets.numbers(set).iter()),
        }
    }

    /// The value of an attribute; "" when absent.
    pub fn get(self, name: &str) -> &'a str {
        self.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }

    /// Number of attributes.
    pub fn len(self) -> usize {
        self.iter().len()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Bytes of all names and values.
    pub fn text_bytes(self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// By themselves: shared where they are labels already, else a copy.
    pub fn to_labels(self) -> Labels {
        match self.0 {
            Held::Labels(labels) => labels.clone(),
            Held::Set(..) => Labels::from_pairs(self.iter()),
        }
    }

    /// Whether they are the same set of the same batch: equal without a look at them.
    pub fn is_same(self, other: Self) -> bool {
        match (self.0, other.0) {
            (Held::Set(own, set), Held::Set(other, other_set)) => std::ptr::eq(own, other) && set == other_set,
            (Held::Labels(own), Held::Labels(other)) => own.address() == other.address(),
            _ => false,
        }
    }
}

impl<'a> From<&'a Labels> for LogAttributes<'a> {
    fn from(labels: &'a Labels) -> Self {
        Self(Held::Labels(labels))
    }
}

impl PartialEq for LogAttributes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for LogAttributes<'_> {}

impl fmt::Debug for LogAttributes<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_labels().fmt(out)
    }
}

#[derive(Clone)]
enum Iter<'a> {
    Labels(Pairs<'a>),
    Set(&'a AttributeSets, std::slice::Iter<'a, (u32, u32)>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Labels(pairs) => pairs.next(),
            Self::Set(sets, numbers) => numbers.next().map(|(name, value)| (sets.text(*name), sets.text(*value))),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Labels(pairs) => pairs.size_hint(),
            Self::Set(_, numbers) => numbers.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_texts_that_repeat_are_numbers() {
        let mut sets = AttributeSets::default();
        let add = |sets: &mut AttributeSets, pairs: &[(&str, &str)]| sets.add(pairs.iter().copied());
        assert_eq!(add(&mut sets, &[]), 0);
        assert_eq!(add(&mut sets, &[("a", "1"), ("b", "a")]), 1);
        assert_eq!(add(&mut sets, &[("a", "2")]), 2);
        assert_eq!(add(&mut sets, &[("a", "1"), ("b", "a")]), 1);
        assert_eq!(add(&mut sets, &[]), 0);
        assert_eq!(sets.texts().collect::<Vec<_>>(), ["a", "1", "b", "2"]);
        assert_eq!(sets.numbers(1), [(0, 1), (2, 0)]);
        let read: Vec<Labels> = sets.iter().map(LogAttributes::to_labels).collect();
        assert_eq!(read, [Labels::EMPTY, Labels::from_pairs([("a", "1"), ("b", "a")]), Labels::from_pairs([("a", "2")])]);
        assert_eq!((sets.get(1).get("b"), sets.get(1).get("c"), sets.get(1).text_bytes()), ("a", "", 4));
        assert_eq!(sets.get(1), (&read[1]).into());
        assert!(sets.get(1).is_same(sets.get(1)) && !sets.get(1).is_same(sets.get(2)));
    }

    #[test]
    fn texts_are_searched_as_one() {
        let mut sets = AttributeSets::default();
        sets.add([("ab", "xab"), ("abx", ""), ("b", "ba")].into_iter());
        assert_eq!(sets.texts().collect::<Vec<_>>(), ["ab", "xab", "abx", "", "b", "ba"]);
        for needle in ["ab", "b", "x", "bx", "bb", "abxab", "ba"] {
            let find = |texts: &[u8]| {
                let at = texts.windows(needle.len()).position(|own| own == needle.as_bytes())?;
                Some(at..at + needle.len())
            };
            assert_eq!(sets.texts_with(find), sets.texts().map(|text| text.contains(needle)).collect::<Vec<_>>(), "{needle}");
        }
        assert_eq!(AttributeSets::default().texts_with(|_| Some(0..1)), Vec::<bool>::new());
    }

    #[test]
    fn a_set_by_its_numbers_is_the_set_by_its_texts() {
        let mut sets = AttributeSets::default();
        let set = sets.add([("a", "1"), ("b", "2")].into_iter());
        let (a, b, c) = (sets.number_pair("a", "1"), sets.number_pair("b", "2"), sets.number_pair("c", "1"));
        assert_eq!((a, b, c), ((0, 1), (2, 3), (4, 1)));
        assert_eq!(sets.add_numbers([a, b].into_iter()), set);
        assert_eq!(sets.add_numbers([b, c].into_iter()), set + 1);
        assert_eq!(sets.add([("b", "2"), ("c", "1")].into_iter()), set + 1);
        assert_eq!(sets.len(), 2);
    }

    #[test]
    fn what_was_read_or_shrunk_can_be_added_to() {
        let mut sets = AttributeSets::default();
        for i in 0..100 {
            sets.add([("name", i.to_string().as_str())].into_iter());
        }
        let before = sets.memory();
        sets.shrink_to_fit();
        assert!(sets.memory() < before);
        assert_eq!(sets.add([("name", "7")].into_iter()), 7);
        let AttributeSets { texts, text_ends, pairs, set_ends, .. } = sets;
        let mut read = AttributeSets::from_columns(texts, text_ends, pairs, set_ends);
        assert_eq!(read.add([("name", "7")].into_iter()), 7);
        assert_eq!(read.add([("name", "100")].into_iter()), 100);
        assert_eq!(read.texts().len(), 102);
    }
}
