//! Structured metadata of a line on its way into a batch, whatever protocol it came by.

use std::borrow::Cow;

use weir_model::label::Labels;

/// Structured metadata of a line, in any order.
#[derive(Default)]
pub(crate) struct Metadata<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Metadata<'a> {
    pub fn of(labels: &'a Labels) -> Self {
        Self(labels.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    pub fn push(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        self.0.push((name, value));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Of names and values.
    pub fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
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
            pairs.iter().for_each(|(name, value)| metadata.push((*name).into(), (*value).into()));
            metadata.tidy();
            assert_eq!(metadata.iter().collect::<Vec<_>>(), expected, "{pairs:?}");
        };
        check(&[], &[]);
        check(&[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2")]);
        check(&[("b", "2"), ("a", "1"), ("b", "3"), ("c", "")], &[("a", "1"), ("b", "3")]);
        check(&[("a", "1"), ("a", "")], &[]);
    }
}
