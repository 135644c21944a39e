//! Label sets, sorted by name, and the matchers over them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::pattern::{PatternBudget, PatternError};

use crate::memory::{allocation, shared};

/// The label that carries a metric's name.
pub const NAME: &str = "__name__";

/// An immutable label set: sorted by name, names unique, no empty value (Prometheus: an empty value is no label).
/// Cloning copies a pointer; a set made of another one shares its texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Option<Arc<[Pair]>>);

/// A text's number in a dictionary, for the name and for the value.
const REFERENCE_BYTES: usize = 4;

type Pair = (Arc<str>, Arc<str>);

impl Labels {
    /// No labels.
    pub const EMPTY: Self = Self(None);

    /// From pairs in any order. Of a repeated name the last wins; empty values vanish.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self::from_shared(pairs.into_iter().map(|(name, value)| (name.as_ref().into(), value.as_ref().into())).collect())
    }

    fn from_shared(mut sorted: Vec<Pair>) -> Self {
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let mut unique: Vec<Pair> = Vec::with_capacity(sorted.len());
        for pair in sorted {
            match unique.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => unique.push(pair),
            }
        }
        unique.retain(|(_, value)| !value.is_empty());
        if unique.is_empty() { Self::EMPTY } else { Self(Some(unique.into())) }
    }

    fn pairs(&self) -> &[Pair] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The value of a label; "" when absent, as Prometheus reads it.
    pub fn get(&self, name: &str) -> &str {
        let pairs = self.pairs();
        pairs.binary_search_by(|(own, _)| (**own).cmp(name)).map_or("", |at| &pairs[at].1)
    }

    /// Pairs, ascending by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.pairs().iter().map(|(name, value)| (&**name, &**value))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.pairs().len()
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
        let texts: usize = self.iter().map(|(name, value)| allocation(name.len()) + allocation(value.len())).sum();
        self.references_memory() + texts
    }

    /// Memory of a set whose texts are all another's, as those of [`Self::merged`] are.
    pub fn references_memory(&self) -> usize {
        if self.is_empty() { 0 } else { shared(std::mem::size_of_val(self.pairs())) }
    }

    /// Which memory: the same number for clones, as long as one of them lives.
    pub fn address(&self) -> usize {
        self.pairs().as_ptr().addr()
    }

    /// These labels with `name` set; an empty value removes it.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let pairs = self.pairs();
        let at = pairs.binary_search_by(|(own, _)| (**own).cmp(name));
        let name = at.map_or_else(|_| name.into(), |at| pairs[at].0.clone());
        Self::from_shared(pairs.iter().cloned().chain(std::iter::once((name, value.into()))).collect())
    }

    /// These labels without those that `drop` names.
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> Self {
        Self::from_shared(self.pairs().iter().filter(|(name, _)| !drop(name)).cloned().collect())
    }

    /// These labels and `other`'s; `other` wins where both have a name.
    pub fn merged(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        Self::from_shared(self.pairs().iter().chain(other.pairs()).cloned().collect())
    }

    /// Bytes of all texts of these sets and of references to them, a text that a set shares with the one before counted once.
    /// Sets that are one and the same count as one.
    pub fn shared_bytes(sets: &[Self]) -> usize {
        let mut last = &Self::EMPTY;
        sets.iter().map(|set| set.bytes_beyond(std::mem::replace(&mut last, set))).sum()
    }

    fn bytes_beyond(&self, before: &Self) -> usize {
        if self.pairs().as_ptr() == before.pairs().as_ptr() {
            return 0;
        }
        let mut known = before.pairs().iter().peekable();
        let own = |(name, value): &Pair| {
            while known.next_if(|(other, _)| other < name).is_some() {}
            let shared = known.peek().is_some_and(|(_, other)| Arc::ptr_eq(other, value));
            REFERENCE_BYTES + if shared { 0 } else { name.len() + value.len() }
        };
        self.pairs().iter().map(own).sum()
    }

    /// A hash that is the same on every machine and in every version: it decides partitions.
    pub fn stable_hash(&self) -> u64 {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for (name, value) in self.iter() {
            hash.update(name.as_bytes());
            hash.update(&[0xff]);
            hash.update(value.as_bytes());
            hash.update(&[0xff]);
        }
        hash.digest()
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

/// Whether `name` is a classic label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `name` with everything a label name may not hold replaced by `_`, as Loki does it: `a-b.c` → `a_b_c`, `9x` → `_9x`.
pub fn normalise_label_name(name: &str) -> Cow<'_, str> {
    if is_label_name(name) {
        return Cow::Borrowed(name);
    }
    let mut fixed: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '_' }).collect();
    if fixed.is_empty() || fixed.as_bytes()[0].is_ascii_digit() {
        fixed.insert(0, '_');
    }
    Cow::Owned(fixed)
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchOp {
    /// `=`
    #[serde(rename = "=")]
    Equal,
    /// `!=`
    #[serde(rename = "!=")]
    NotEqual,
    /// `=~`, anchored at both ends
    #[serde(rename = "=~")]
    Regex,
    /// `!~`, anchored at both ends
    #[serde(rename = "!~")]
    NotRegex,
}

impl MatchOp {
    /// As the query languages write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A label matcher. An absent label reads as "".
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Label name.
    pub name: String,
    /// Comparison.
    pub op: MatchOp,
    /// Literal or pattern as written.
    pub value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// Errors when `op` is a regex one and `value` does not compile.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, PatternError> {
        Self::within(&mut PatternBudget::default(), name, op, value)
    }

    /// The same as one of several of a query.
    pub fn within(
        budget: &mut PatternBudget,
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, PatternError> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(budget.compile_anchored(&value)?),
        };
        Ok(Self { name: name.into(), op, value, regex })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
    }

    /// Whether a label value passes.
    pub fn matches(&self, value: &str) -> bool {
        match (&self.op, &self.regex) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, regex) => regex.as_ref().is_some_and(|regex| regex.is_match(value)),
            (MatchOp::NotRegex, regex) => !regex.as_ref().is_some_and(|regex| regex.is_match(value)),
        }
    }

    /// Whether a label set passes.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_unique_and_without_empty_values() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("b", "3"), ("c", "")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="3"}"#);
        assert_eq!((labels.get("b"), labels.get("c"), labels.len()), ("3", "", 2));
        assert_eq!(Labels::from_pairs([("c", "")]), Labels::EMPTY);
    }

    #[test]
    fn sets_made_of_others_share_their_texts_and_are_weighed_so() {
        let scope = Labels::from_pairs([("a", "x".repeat(1000)), ("b", "y".repeat(1000))]);
        let sets: Vec<Labels> = (0..10).map(|i| scope.merged(&Labels::from_pairs([("i", i.to_string())]))).collect();
        assert_eq!(sets[3].with("i", "").get("a").as_ptr(), scope.get("a").as_ptr());
        assert_eq!(sets[3].without(|name| name == "i").get("b").as_ptr(), scope.get("b").as_ptr());
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
    fn matchers_read_an_absent_label_as_empty_and_anchor_patterns() {
        let labels = Labels::from_pairs([("pod", "web-1")]);
        let check = |name: &str, op, value: &str, expected| {
            assert_eq!(Matcher::new(name, op, value).unwrap().matches_labels(&labels), expected, "{name} {op:?} {value}");
        };
        check("pod", MatchOp::Equal, "web-1", true);
        check("pod", MatchOp::Regex, "web", false);
        check("pod", MatchOp::Regex, "web-.*|x", true);
        check("pod", MatchOp::NotRegex, "web-.*", false);
        check("zone", MatchOp::Equal, "", true);
        check("zone", MatchOp::NotEqual, "a", true);
        check("zone", MatchOp::Regex, ".*", true);
        check("zone", MatchOp::Regex, ".+", false);
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
    }

    #[test]
    fn names_normalise_as_loki_does() {
        assert_eq!(normalise_label_name("a-b.c"), "a_b_c");
        assert_eq!(normalise_label_name("9x"), "_9x");
        assert_eq!(normalise_label_name(""), "_");
    }
}
