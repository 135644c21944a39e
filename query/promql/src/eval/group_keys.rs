//! Groups of label sets, numbered as they come, by the labels that stay: found without making a set of them.

use weir_model::intern::Index;

/// Ends a text; no byte of UTF-8.
const END: u8 = 0xff;

#[derive(Default)]
pub(super) struct GroupKeys {
    ids: Index,
    /// Names and values that stay, of each group.
    keys: Vec<Box<[u8]>>,
    /// Of the set that is looked up.
    key: Vec<u8>,
    /// The group before: neighbours are often of one group.
    last: usize,
}

impl GroupKeys {
    /// The number of the group of a set, of which these labels stay: the next one when it is the first of its group.
    pub(super) fn number<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>) -> usize {
        self.key.clear();
        for (name, value) in labels {
            for text in [name, value] {
                self.key.extend_from_slice(text.as_bytes());
                self.key.push(END);
            }
        }
        if self.keys.get(self.last).is_some_and(|last| **last == *self.key) {
            return self.last;
        }
        let Self { ids, keys, key, .. } = self;
        self.last = ids.number(key, |id| *keys[id as usize] == **key) as usize;
        if self.last == self.keys.len() {
            self.keys.push(self.key.as_slice().into());
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use weir_model::label::Labels;

    use super::*;

    #[test]
    fn sets_are_of_one_group_when_what_stays_is_the_same() {
        let mut keys = GroupKeys::default();
        let mut number = |pairs: &[(&str, &str)]| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            keys.number(labels.iter().filter(|(name, _)| *name != "gone"))
        };
        let sets: [&[(&str, &str)]; 7] = [
            &[("a", "1"), ("gone", "x")],
            &[("a", "1"), ("gone", "y")],
            &[("a", "2")],
            &[("a", "1")],
            &[],
            &[("a", "1"), ("b", "")],
            &[("a1", "b")],
        ];
        assert_eq!(sets.map(&mut number), [0, 0, 1, 0, 2, 0, 3]);
    }
}
