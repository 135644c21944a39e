//! What all bodies share: readers, the column directory and text dictionaries. Not the meaning of any column: that is
//! `logs`, `metrics`, `spans`, which call it.

use std::borrow::Cow;

use super::WireError;
use super::budget::{Budget, TEXT_BYTES, invalid};
use crate::intern;
use crate::label::Labels;
use crate::varint::{VarintError, put_bytes, put_varint, read_varint, unzigzag, zigzag};

/// Bytes being read; every error says which field was being read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// All that is left, which stays.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.bytes.split_at_checked(count).ok_or(WireError::Truncated { what: self.what })?;
        self.bytes = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(WireError::Truncated { what: self.what })?;
        self.bytes = rest;
        Ok(*head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, WireError> {
        let (value, rest) = read_varint(self.bytes).map_err(|error| self.no_number(error))?;
        self.bytes = rest;
        Ok(value)
    }

    #[cold]
    fn no_number(&self, error: VarintError) -> WireError {
        match error {
            VarintError::Short => WireError::Truncated { what: self.what },
            VarintError::Long => invalid(self.what, "a varint of more than 64 bits"),
        }
    }

    /// A count of things that take at least one byte each, so that no count is believed beyond the bytes there are.
    pub(super) fn count(&mut self) -> Result<usize, WireError> {
        let count = self.varint()?;
        if count > self.bytes.len() as u64 {
            return Err(WireError::Truncated { what: self.what });
        }
        Ok(count as usize)
    }

    /// A length and that many bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.count()?;
        self.take(length)
    }

    /// A length and that much UTF-8, not yet charged to a budget.
    pub(super) fn text(&mut self) -> Result<&'a str, WireError> {
        let what = self.what;
        std::str::from_utf8(self.bytes()?).map_err(|error| invalid(what, format!("not UTF-8: {error}")))
    }

    /// Everything has been read, or it is an error.
    pub(super) fn end(&self) -> Result<(), WireError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(invalid(self.what, format!("{} bytes too many", self.bytes.len()))) }
    }

    /// `count` varints and nothing else, decoded by `fold` (see [`put_all`]).
    pub(super) fn all<T>(mut self, count: usize, mut fold: impl FnMut(u64) -> T) -> Result<Vec<T>, WireError> {
        if count > self.remaining() {
            return Err(WireError::Truncated { what: self.what });
        }
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(fold(self.varint()?));
        }
        self.end()?;
        Ok(values)
    }

    /// Exactly `count` items of `N` bytes.
    pub(super) fn arrays<const N: usize>(self, count: usize) -> Result<&'a [[u8; N]], WireError> {
        let (items, rest) = self.bytes.as_chunks::<N>();
        match (items.len() == count, rest.is_empty()) {
            (true, true) => Ok(items),
            _ if self.bytes.len() < count.saturating_mul(N) => Err(WireError::Truncated { what: self.what }),
            _ => Err(invalid(self.what, format!("{} bytes for {count} items of {N}", self.bytes.len()))),
        }
    }
}

/// A column of varints.
pub(super) fn put_all(values: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.size_hint().0 * 2);
    values.for_each(|value| put_varint(&mut out, value));
    out
}

/// Zigzag delta-of-delta, for timestamps. The first value is its own delta.
pub(super) fn put_timestamps(values: impl Iterator<Item = i64>) -> Vec<u8> {
    let (mut last, mut step) = (0_i64, 0_i64);
    put_all(values.map(|value| {
        let delta = value.wrapping_sub(last);
        let second = delta.wrapping_sub(step);
        (last, step) = (value, delta);
        zigzag(second)
    }))
}

/// The inverse of [`put_timestamps`].
pub(super) fn timestamps(column: Reader<'_>, count: usize) -> Result<Vec<i64>, WireError> {
    let (mut last, mut step) = (0_i64, 0_i64);
    column.all(count, |second| {
        step = step.wrapping_add(unzigzag(second));
        last = last.wrapping_add(step);
        last
    })
}

/// The columns of a body: a count, then id and length of each, then their bytes.
#[derive(Default)]
pub(super) struct ColumnsWriter<'a> {
    directory: Vec<u8>,
    bytes: Vec<u8>,
    /// Large columns, not copied until the end, and how many of `bytes` come before them.
    large: Vec<(usize, Cow<'a, [u8]>)>,
    count: u64,
}

impl<'a> ColumnsWriter<'a> {
    /// Ids ascend.
    pub(super) fn put(&mut self, id: u8, column: &[u8]) {
        self.directory.push(id);
        put_varint(&mut self.directory, column.len() as u64);
        self.bytes.extend_from_slice(column);
        self.count += 1;
    }

    /// As [`Self::put`], for a column that is worth not to be copied twice.
    pub(super) fn put_large(&mut self, id: u8, column: impl Into<Cow<'a, [u8]>>) {
        let column = column.into();
        self.directory.push(id);
        put_varint(&mut self.directory, column.len() as u64);
        self.large.push((self.bytes.len(), column));
        self.count += 1;
    }

    /// Left out when it says nothing: a reader takes an absent column for its default.
    pub(super) fn put_unless(&mut self, absent: bool, id: u8, column: impl FnOnce() -> Vec<u8>) {
        if !absent {
            self.put(id, &column());
        }
    }

    /// Appends the body to `out`.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        let large: usize = self.large.iter().map(|(_, column)| column.len()).sum();
        out.reserve(10 + self.directory.len() + self.bytes.len() + large);
        put_varint(out, self.count);
        out.extend_from_slice(&self.directory);
        let mut written = 0;
        for (before, column) in self.large {
            out.extend_from_slice(&self.bytes[written..before]);
            out.extend_from_slice(&column);
            written = before;
        }
        out.extend_from_slice(&self.bytes[written..]);
    }
}

/// Columns found by id; those that this version does not know stay unread.
pub(super) struct ColumnsReader<'a> {
    columns: Vec<(u8, &'a [u8])>,
}

impl<'a> ColumnsReader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body, "column directory");
        let count = reader.count()?;
        if count > 256 {
            return Err(invalid("column directory", format!("{count} columns")));
        }
        let mut lengths = Vec::with_capacity(count);
        for _ in 0..count {
            let id = reader.byte()?;
            if lengths.last().is_some_and(|(last, _)| *last >= id) {
                return Err(invalid("column directory", format!("column {id} out of order")));
            }
            lengths.push((id, reader.varint()?));
        }
        let mut columns = Vec::with_capacity(count);
        for (id, length) in lengths {
            let length = usize::try_from(length).map_err(|_| WireError::Truncated { what: "column" })?;
            columns.push((id, reader.take(length)?));
        }
        reader.end()?;
        Ok(Self { columns })
    }

    /// None when the column is absent.
    pub(super) fn find(&self, id: u8, what: &'static str) -> Option<Reader<'a>> {
        self.columns.iter().find(|(own, _)| *own == id).map(|(_, bytes)| Reader::new(bytes, what))
    }

    /// Errors when the column is absent.
    pub(super) fn need(&self, id: u8, what: &'static str) -> Result<Reader<'a>, WireError> {
        self.find(id, what).ok_or_else(|| invalid(what, "the column is absent"))
    }
}

/// Distinct texts in the order of their first use.
#[derive(Default)]
pub(super) struct TextsWriter<'a> {
    index: intern::Index,
    texts: Vec<&'a str>,
}

impl<'a> TextsWriter<'a> {
    /// The number of a text, charged as a copy of it.
    pub(super) fn number(&mut self, text: &'a str, budget: &mut Budget) -> Result<u64, WireError> {
        budget.charge_text(text)?;
        let number = self.index.number(text.as_bytes(), |known| self.texts[known as usize] == text);
        if number as usize == self.texts.len() {
            self.texts.push(text);
        }
        Ok(u64::from(number))
    }

    /// Count, lengths, bytes.
    pub(super) fn finish(&self, budget: &mut Budget) -> Result<Vec<u8>, WireError> {
        budget.charge(self.texts.len() * TEXT_BYTES)?;
        let mut out = Vec::new();
        put_varint(&mut out, self.texts.len() as u64);
        self.texts.iter().for_each(|text| put_varint(&mut out, text.len() as u64));
        self.texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
        Ok(out)
    }
}

/// The inverse of [`TextsWriter`]; texts stay in the body.
pub(super) struct TextsReader<'a> {
    texts: Vec<&'a str>,
}

impl<'a> TextsReader<'a> {
    /// Reads a dictionary from the front of `reader`.
    pub(super) fn read(reader: &mut Reader<'a>, budget: &mut Budget) -> Result<Self, WireError> {
        let count = reader.count()?;
        budget.charge(count * TEXT_BYTES)?;
        let lengths = (0..count).map(|_| reader.varint()).collect::<Result<Vec<_>, _>>()?;
        let mut texts = Vec::with_capacity(count);
        for length in lengths {
            let bytes = reader.take(usize::try_from(length).unwrap_or(usize::MAX))?;
            texts.push(std::str::from_utf8(bytes).map_err(|error| invalid("dictionary", format!("not UTF-8: {error}")))?);
        }
        Ok(Self { texts })
    }

    /// The text of a number, charged as a copy of it.
    pub(super) fn get(&self, number: u64, budget: &mut Budget) -> Result<&'a str, WireError> {
        let text = usize::try_from(number).ok().and_then(|number| self.texts.get(number).copied());
        let text = text.ok_or_else(|| invalid("dictionary", format!("no text {number} of {}", self.texts.len())))?;
        budget.charge_text(text)?;
        Ok(text)
    }
}

/// A label set by itself: count, then name and value of each.
pub(super) fn put_labels(labels: &Labels, budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    budget.charge_pairs(labels.len())?;
    put_varint(&mut out, labels.len() as u64);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        budget.charge_text(text)?;
        put_bytes(&mut out, text.as_bytes());
    }
    Ok(out)
}

/// The inverse of [`put_labels`].
pub(super) fn labels(mut column: Reader<'_>, budget: &mut Budget) -> Result<Labels, WireError> {
    let count = column.count()?;
    budget.charge_pairs(count)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (name, value) = (column.text()?, column.text()?);
        budget.charge_text(name)?;
        budget.charge_text(value)?;
        pairs.push((name, value));
    }
    column.end()?;
    Ok(Labels::from_pairs(pairs))
}

/// Many label sets over one dictionary: the dictionary, the number of sets, then count and text numbers of each.
pub(super) fn put_label_sets(sets: &[&Labels], budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let (mut texts, mut numbers) = (TextsWriter::default(), Vec::new());
    for set in sets {
        budget.charge_pairs(set.len())?;
        put_varint(&mut numbers, set.len() as u64);
        for text in set.iter().flat_map(|(name, value)| [name, value]) {
            put_varint(&mut numbers, texts.number(text, budget)?);
        }
    }
    let mut out = texts.finish(budget)?;
    budget.charge(sets.len() * size_of::<Labels>())?;
    put_varint(&mut out, sets.len() as u64);
    out.extend_from_slice(&numbers);
    Ok(out)
}

/// The inverse of [`put_label_sets`], from the front of `column`.
pub(super) fn label_sets(column: &mut Reader<'_>, budget: &mut Budget) -> Result<Vec<Labels>, WireError> {
    let texts = TextsReader::read(column, budget)?;
    let count = column.count()?;
    budget.charge(count * size_of::<Labels>())?;
    let mut sets = Vec::with_capacity(count);
    let mut pairs = Vec::new();
    for _ in 0..count {
        let size = column.count()?;
        budget.charge_pairs(size)?;
        pairs.clear();
        for _ in 0..size {
            let name = texts.get(column.varint()?, budget)?;
            pairs.push((name, texts.get(column.varint()?, budget)?));
        }
        sets.push(Labels::from_pairs(pairs.iter().copied()));
    }
    Ok(sets)
}
