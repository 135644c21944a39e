//! The texts of a batch in one piece of memory. A text is named by its number, so that what is said a thousand times is
//! held once and hashed once.

use crate::intern::Index;
use crate::memory::allocation;

/// Texts by number, in the order in which they were first said.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextArena {
    bytes: String,
    /// Exclusive end of each text in `bytes`.
    ends: Vec<u32>,
}

impl TextArena {
    /// From texts that lie one after another. `None` when an end is not between two letters, or not behind the one before.
    pub(crate) fn from_parts(bytes: String, ends: Vec<u32>) -> Option<Self> {
        let whole = ends.last().is_none_or(|end| *end as usize == bytes.len());
        let parted = ends.is_sorted() && ends.iter().all(|end| bytes.is_char_boundary(*end as usize));
        (whole && parted).then_some(Self { bytes, ends })
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// All texts, one after another.
    pub(crate) fn bytes(&self) -> &str {
        &self.bytes
    }

    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> {
        let mut start = 0;
        self.ends.iter().map(move |end| (*end - std::mem::replace(&mut start, *end)) as usize)
    }

    /// The text of a number; panics when there is none, as slices do.
    pub(crate) fn get(&self, number: u32) -> &str {
        let number = number as usize;
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.bytes[start as usize..self.ends[number] as usize]
    }

    /// Appends a text, whether or not it is there already.
    pub(crate) fn push(&mut self, text: &str) -> u32 {
        let number = self.ends.len() as u32;
        self.bytes.push_str(text);
        self.ends.push(u32::try_from(self.bytes.len()).expect("invariant: the texts of a batch stay below 4 GiB"));
        number
    }

    /// The number of a text, which is appended when `index`, that of this arena, does not have it.
    pub(crate) fn number(&mut self, text: &str, index: &mut Index) -> u32 {
        let number = index.number(text.as_bytes(), |number| self.get(number) == text);
        if number as usize == self.len() { self.push(text) } else { number }
    }

    /// Keeps the first `count` texts, in exactly the memory that they take.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.ends.truncate(count);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    pub(crate) fn memory(&self) -> usize {
        allocation(self.bytes.capacity()) + allocation(self.ends.capacity() * size_of::<u32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_no_texts_are_refused() {
        let check = |bytes: &str, ends: &[u32], expected: bool| {
            assert_eq!(TextArena::from_parts(bytes.into(), ends.to_vec()).is_some(), expected, "{bytes} {ends:?}");
        };
        check("aß", &[1, 1, 3], true);
        check("", &[], true);
        check("aß", &[1, 2, 3], false);
        check("aß", &[1], false);
        check("ab", &[2, 1, 2], false);
        check("ab", &[3], false);
    }
}
