//! Byte strings and texts with numbers, as a block is written.

use weir_model::intern::Index;

/// A text's length, at most.
pub(crate) const LENGTH_BYTES_MAX: usize = 5;

/// Texts with numbers in the order of first sight.
#[derive(Default)]
pub(crate) struct StringsBuilder {
    distinct: Distinct,
}

impl StringsBuilder {
    /// Bytes of all texts as they are stored, at most.
    pub(crate) fn bytes(&self) -> usize {
        self.distinct.bytes.len() + self.distinct.len() * LENGTH_BYTES_MAX
    }

    pub(crate) fn id(&mut self, text: &str) -> u32 {
        self.distinct.number(text.as_bytes()).0
    }

    /// Texts in the order of their numbers.
    pub(crate) fn texts(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.distinct.strings()
    }
}

/// Distinct byte strings, one after another, each with its number.
#[derive(Default)]
pub(crate) struct Distinct {
    index: Index,
    pub(crate) bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Distinct {
    /// The number of a string, and whether it is new.
    pub(crate) fn number(&mut self, string: &[u8]) -> (u32, bool) {
        let Self { index, bytes, ends } = self;
        let start = |number: usize| if number == 0 { 0 } else { ends[number - 1] };
        let number = index.number(string, |number| bytes[start(number as usize)..ends[number as usize]] == *string);
        let new = number as usize == ends.len();
        if new {
            bytes.extend_from_slice(string);
            ends.push(bytes.len());
        }
        (number, new)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// In the order of their numbers.
    pub(crate) fn strings(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.bytes[std::mem::replace(&mut start, *end)..*end])
    }
}
