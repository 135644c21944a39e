//! The label set: one packed text with its hash, shared by those who hold it.
//!
//! A text and not bytes, so that names and values are read as `&str` without being checked again. It begins with numbers
//! in letters below 0x80: the hash, the count of labels; then each label as the length of its name, the length of its
//! value, name, value, ascending by name.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::pairs::{MergedPairs, Pairs, put_number, take_number};
use crate::intern::hash;
use crate::memory::shared;

/// An immutable label set: sorted by name, names unique, no empty value (Prometheus: an empty value is no label).
/// Cloning copies a pointer, and two sets that differ are told apart by their hashes.
#[derive(Clone, Default)]
pub struct Labels(Option<Arc<str>>);

/// A text's number in a dictionary, for the name and for the value.
const REFERENCE_BYTES: usize = 4;
/// Letters of a hash: 64 bits in groups of six.
const HASH_BYTES: usize = 11;

thread_local! {
    /// Where a set is put together, so that it is allocated once, in its own size.
    static SCRATCH: Cell<String> = const { Cell::new(String::new()) };
}

/// What a thread keeps for that: sets of more are rare.
const SCRATCH_BYTES_MAX: usize = 4 << 10;

impl Labels {
    /// No labels.
    pub const EMPTY: Self = Self(None);

    /// From pairs in any order. Of a repeated name the last wins; empty values vanish.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        if !pairs.is_sorted_by(|a, b| a.0.as_ref() < b.0.as_ref()) {
            pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
            // Of a run of one name the last is left.
            pairs.reverse();
            pairs.dedup_by(|a, b| a.0.as_ref() == b.0.as_ref());
            pairs.reverse();
        }
        Self::from_ascending(pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())))
    }

    /// From pairs that ascend by name, each name once. Empty values vanish.
    fn from_ascending<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        // Taken and not borrowed: whoever gives the pairs may make a set for it.
        let mut packed = SCRATCH.take();
        packed.clear();
        packed.extend([char::default(); HASH_BYTES]);
        // The count of most sets is one letter.
        packed.push('\0');
        let mut count = 0;
        for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
            put_number(&mut packed, name.len());
            put_number(&mut packed, value.len());
            packed.push_str(name);
            packed.push_str(value);
            count += 1;
        }
        if count < 0x40 {
            packed.replace_range(HASH_BYTES..=HASH_BYTES, char::from(count as u8).encode_utf8(&mut [0; 1]));
        } else {
            let mut number = String::new();
            put_number(&mut number, count);
            packed.replace_range(HASH_BYTES..=HASH_BYTES, &number);
        }
        let letters = hash_letters(hash(&packed.as_bytes()[HASH_BYTES..]));
        packed.replace_range(..HASH_BYTES, std::str::from_utf8(&letters).expect("invariant: each letter is below 0x40"));
        let made = (count > 0).then(|| Arc::from(packed.as_str()));
        if packed.capacity() <= SCRATCH_BYTES_MAX {
            SCRATCH.set(packed);
        }
        Self(made)
    }

    fn packed(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// The value of a label; "" when absent, as Prometheus reads it.
    pub fn get(&self, name: &str) -> &str {
        let known = self.iter().find(|(own, _)| *own >= name);
        known.filter(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }

    /// Pairs, ascending by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.pairs()
    }

    pub(crate) fn pairs(&self) -> Pairs<'_> {
        let mut rest = self.packed().get(HASH_BYTES..).unwrap_or_default();
        let left = if rest.is_empty() { 0 } else { take_number(&mut rest) };
        Pairs { rest, left }
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.iter().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes of all names and values.
    pub fn text_bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Memory behind the pointer, which clones share.
    pub fn memory(&self) -> usize {
        if self.is_empty() { 0 } else { shared(self.packed().len()) }
    }

    /// Which memory: the same number for clones, as long as one of them lives.
    pub fn address(&self) -> usize {
        self.packed().as_ptr().addr()
    }

    /// These labels with `name` set; an empty value removes it.
    pub fn with(&self, name: &str, value: &str) -> Self {
        Self::from_pairs(self.iter().chain([(name, value)]))
    }

    /// These labels without those that `drop` names.
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> Self {
        if !self.iter().any(|(name, _)| drop(name)) {
            return self.clone();
        }
        Self::from_ascending(self.iter().filter(|(name, _)| !drop(name)))
    }

    /// These labels and `other`'s; `other` wins where both have a name.
    pub fn merged(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        Self::from_ascending(self.merged_pairs(other))
    }

    /// The pairs of [`Self::merged`], ascending by name, without making them a set of its own.
    pub fn merged_pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        MergedPairs::new(self.pairs(), other.pairs())
    }

    /// Bytes of all texts of these sets and of references to them, a label that a set has from the one before counted once.
    /// Sets that are one and the same count as one.
    pub fn shared_bytes(sets: &[Self]) -> usize {
        let mut last = &Self::EMPTY;
        sets.iter().map(|set| set.bytes_beyond(std::mem::replace(&mut last, set))).sum()
    }

    fn bytes_beyond(&self, before: &Self) -> usize {
        if self == before {
            return 0;
        }
        let mut known = before.iter().peekable();
        let own = |(name, value): (&str, &str)| {
            while known.next_if(|(other, _)| *other < name).is_some() {}
            let shared = known.peek() == Some(&(name, value));
            REFERENCE_BYTES + if shared { 0 } else { name.len() + value.len() }
        };
        self.iter().map(own).sum()
    }

    /// A hash that is good within this process, and costs nothing.
    pub fn process_hash(&self) -> u64 {
        let letters = self.packed().as_bytes().first_chunk::<HASH_BYTES>();
        letters.map_or(0, |letters| letters.iter().rev().fold(0, |hash, six| hash << 6 | u64::from(*six)))
    }

    /// A hash that is the same on every machine and in every version: it decides partitions.
    pub fn stable_hash(&self) -> u64 {
        let mut bytes = Vec::with_capacity(self.packed().len());
        for text in self.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0xff);
        }
        xxh3_64(&bytes)
    }
}

fn hash_letters(hash: u64) -> [u8; HASH_BYTES] {
    std::array::from_fn(|i| (hash >> (6 * i) & 0x3f) as u8)
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // The hash comes first, so that sets that differ do so in their first bytes.
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own == other,
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}

impl Eq for Labels {}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// Label by label, name before value. Labels that both begin with are passed over as bytes.
    fn cmp(&self, other: &Self) -> Ordering {
        if self == other {
            return Ordering::Equal;
        }
        let (mut own, mut others) = (self.pairs(), other.pairs());
        own.skip_same(&mut others);
        own.cmp(others)
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.process_hash());
    }
}

impl fmt::Display for Labels {
    /// As PromQL and LogQL write a selector: `{a="1", b="2"}`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            write!(out, "{}{name}={value:?}", if i == 0 { "" } else { ", " })?;
        }
        out.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Labels {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::from_pairs(std::collections::BTreeMap::<String, String>::deserialize(from)?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn a_set_is_sorted_unique_and_without_empty_values() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("b", "3"), ("c", "")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="3"}"#);
        assert_eq!((labels.get("b"), labels.get("c"), labels.len()), ("3", "", 2));
        assert_eq!(Labels::from_pairs([("c", "")]), Labels::EMPTY);
    }

    #[test]
    fn a_label_that_neighbours_share_is_weighed_once() {
        let scope = Labels::from_pairs([("a", "x".repeat(1000)), ("b", "y".repeat(1000))]);
        let sets: Vec<Labels> = (0..10).map(|i| scope.merged(&Labels::from_pairs([("i", i.to_string())]))).collect();
        assert_eq!(sets[3].with("i", ""), scope);
        assert_eq!(sets[3].without(|name| name == "i"), scope);
        assert_eq!(Labels::shared_bytes(&sets), 2 * 1001 + 10 * (2 + 3 * REFERENCE_BYTES));
        assert_eq!(Labels::shared_bytes(&[scope.clone(), scope.clone(), scope]), 2 * (1001 + REFERENCE_BYTES));
        assert_eq!(Labels::shared_bytes(&[Labels::EMPTY, Labels::EMPTY]), 0);
    }

    #[test]
    fn the_stable_hash_never_changes() {
        // Computed with another implementation (Python's xxhash), of lengths on every path of XXH3: 0, 4, 5, 44 and 615 bytes.
        let check = |labels: Labels, expected: u64| assert_eq!(labels.stable_hash(), expected, "{labels}");
        check(Labels::EMPTY, 0x2d06_8005_38d3_94c2);
        check(Labels::from_pairs([("a", "1")]), 0xec77_f7b8_249c_519f);
        check(Labels::from_pairs([("a", "bc")]), 0xd7b8_f0fb_555b_604b);
        check(Labels::from_pairs([("ab", "c")]), 0xe876_4947_6a01_cd6b);
        let pod = [("pod", "web-1"), ("namespace", "default"), ("container", "nginx")];
        check(Labels::from_pairs(pod), 0x2be9_2488_43c6_3f06);
        let many: Vec<_> = (1..=30).map(|i| (format!("k{i:02}"), "v".repeat(i))).collect();
        check(Labels::from_pairs(many.iter().map(|(name, value)| (name.as_str(), value.as_str()))), 0x52e4_9d9b_0e75_24c5);
    }

    #[test]
    fn long_texts_and_many_labels_are_read_back() {
        for length in [1, 63, 64, 65, 4095, 4096, 300_000] {
            let (name, value) = ("n".repeat(length), "ü".repeat(length));
            let labels = Labels::from_pairs([(name.as_str(), value.as_str()), ("z", "last")]);
            assert_eq!((labels.get(&name), labels.get("z"), labels.get("y")), (value.as_str(), "last", ""), "{length}");
        }
        let many: Vec<_> = (0..5000).map(|i| (format!("k{i:05}"), i.to_string())).collect();
        let labels = Labels::from_pairs(many.iter().map(|(name, value)| (name, value)));
        assert_eq!(labels.len(), 5000);
        assert!(labels.iter().eq(many.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
    }

    #[test]
    fn clones_are_one_memory_and_equal_sets_one_hash() {
        let [one, other] = [(); 2].map(|()| Labels::from_pairs([("a", "1"), ("b", "2")]));
        assert_eq!(one.address(), one.clone().address());
        assert_ne!(one.address(), other.address());
        let set: std::collections::HashSet<_> = [one.clone(), other, one.with("a", "2"), Labels::EMPTY].into();
        assert_eq!(set.len(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_set_is_what_a_map_of_its_pairs_is(
            own in vec(("[a-dü]{0,2}", "[a-cø]{0,2}"), 0..8),
            others in vec(("[a-dü]{0,2}", "[a-cø]{0,2}"), 0..8),
        ) {
            let map = |pairs: &[(String, String)]| -> BTreeMap<String, String> {
                let mut map: BTreeMap<String, String> = pairs.iter().cloned().collect();
                map.retain(|_, value| !value.is_empty());
                map
            };
            let [one, other] = [&own, &others].map(|pairs| Labels::from_pairs(pairs.iter().map(|(name, value)| (name, value))));
            let (model, model_other) = (map(&own), map(&others));
            let read: Vec<_> = one.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            prop_assert_eq!(&read, &model.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!((one.len(), one.is_empty()), (model.len(), model.is_empty()));
            prop_assert_eq!(one.cmp(&other), model.cmp(&model_other));
            prop_assert_eq!(one == other, model == model_other);
            for name in ["", "a", "b", "c", "d", "ü", "aa", "zz"] {
                prop_assert_eq!(one.get(name), model.get(name).map_or("", |value| value.as_str()));
            }
            let mut both = model.clone();
            both.extend(model_other);
            prop_assert_eq!(one.merged(&other).to_string(), Labels::from_pairs(both).to_string());
        }
    }
}
