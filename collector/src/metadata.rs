//! Structured metadata of a line on its way into a batch, whatever protocol it came by.

use std::borrow::Cow;

use weir_model::label::Labels;

/// Structured metadata of a line, in any order.
#[derive(Default)]
pub(crate) struct Metadata<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Metadata<'a> {
    pub fn of(labels: &'a Labels) -> Self {
        Self(labels.iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// These and `other`'s; `other` wins where it has a value.
    pub fn and(mut self, mut other: Self) -> Self {
        other.tidy();
        self.0.append(&mut other.0);
        self
    }

    pub fn push(&mut self, name: Cow<'a, str>, value: &'a str) {
        self.0.push((name, value));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Sorted by name; of a repeated name the last is left, and no empty value.
    pub fn tidy(&mut self) {
        if !self.0.is_sorted_by(|a, b| a.0 < b.0) {
            self.0.sort_by(|a, b| a.0.cmp(&b.0));
            self.0.reverse();
            self.0.dedup_by(|a, b| a.0 == b.0);
            self.0.reverse();
        }
        self.0.retain(|(_, value)| !value.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_order() {
        let check = |pairs: &[(&'static str, &'static str)], expected: &[(&str, &str)]| {
            let mut metadata = Metadata::default();
            pairs.iter().for_each(|(name, value)| metadata.push((*name).into(), value));
            metadata.tidy();
            assert_eq!(metadata.iter().collect::<Vec<_>>(), expected, "{pairs:?}");
        };
        check(&[], &[]);
        check(&[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2")]);
        check(&[("b", "2"), ("a", "1"), ("b", "3"), ("c", "")], &[("a", "1"), ("b", "3")]);
        check(&[("a", "1"), ("a", "")], &[]);
    }

    #[test]
    fn of_two_the_second_wins_where_it_has_a_value() {
        let shared = Labels::from_pairs([("a", "1"), ("b", "1"), ("c", "1")]);
        let mut own = Metadata::default();
        [("b", "2"), ("c", "2"), ("c", "")].into_iter().for_each(|(name, value)| own.push(name.into(), value));
        let mut both = Metadata::of(&shared).and(own);
        both.tidy();
        assert_eq!(both.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2"), ("c", "1")]);
    }
}
