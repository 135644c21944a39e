//! Attribute lists as columns: each distinct list of names is a shape, each name's values are a column with a dictionary.
//! Format: `docs/formats/traces_block.md`.
//!
//! So a frequent attribute costs an index, an unknown one costs itself, and the order of every list is kept.

use std::collections::{BTreeMap, HashMap};

use weir_model::span::{Value, ValueRef};

use super::content::{put_value, value};
use super::schema::{COLUMN_BYTES_MAX, LEVEL};
use super::strings::{Distinct, StringsBuilder};
use weir_blocks::packed::{Cursor, put_bytes, put_packed, put_varint};

/// Byte strings in order, each distinct one stored once: an index of 0 is the next new one, `n + 1` the one numbered `n`.
#[derive(Default)]
pub(crate) struct DictionaryBuilder {
    pub(crate) indexes: Vec<u8>,
    pub(crate) values: Distinct,
}

impl DictionaryBuilder {
    /// `encoded` says where it ends by itself.
    pub(crate) fn push(&mut self, encoded: &[u8]) {
        let (number, new) = self.values.number(encoded);
        put_varint(&mut self.indexes, if new { 0 } else { u64::from(number) + 1 });
    }

    /// The same with a length before it.
    pub(crate) fn push_text(&mut self, text: &str, scratch: &mut Vec<u8>) {
        scratch.clear();
        put_bytes(scratch, text.as_bytes());
        self.push(scratch);
    }
}

/// Reads `count` indexes; `next` makes the next new value. Gives each place's value number.
pub(crate) fn dictionary<T>(
    indexes: &mut Cursor<'_>,
    count: usize,
    mut next: impl FnMut() -> Result<T, String>,
) -> Result<(Vec<T>, Vec<u32>), String> {
    let mut values = Vec::new();
    let mut places = Vec::with_capacity(count.min(indexes.left()));
    for _ in 0..count {
        let index = indexes.varint()?;
        if index == 0 {
            places.push(values.len() as u32);
            values.push(next()?);
        } else if index <= values.len() as u64 {
            places.push(index as u32 - 1);
        } else {
            return Err(format!("dictionary entry {} of {}", index - 1, values.len()));
        }
    }
    Ok((values, places))
}

/// Attribute lists on their way into a group.
#[derive(Default)]
pub(crate) struct AttributesBuilder {
    shapes: Distinct,
    items: Vec<u8>,
    /// The place in `columns` of a name, plus one; 0 when it has none.
    places: Vec<u32>,
    columns: Vec<(u32, DictionaryBuilder)>,
    scratch: Vec<u8>,
    names: Vec<u32>,
}

impl AttributesBuilder {
    /// The numbers of the names of the list that came last.
    pub(crate) fn names(&self) -> &[u32] {
        &self.names
    }

    /// Adds a list.
    pub(crate) fn push<'a>(
        &mut self,
        attributes: impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)>,
        strings: &mut StringsBuilder,
    ) {
        self.names.clear();
        for (name, value) in attributes {
            let name = strings.id(name);
            self.names.push(name);
            self.scratch.clear();
            put_value(&mut self.scratch, &value);
            let place = self.place(name);
            self.columns[place].1.push(&self.scratch);
        }
        self.scratch.clear();
        put_varint(&mut self.scratch, self.names.len() as u64);
        self.names.iter().for_each(|name| put_varint(&mut self.scratch, u64::from(*name)));
        let (id, _) = self.shapes.number(&self.scratch);
        put_varint(&mut self.items, u64::from(id));
    }

    fn place(&mut self, name: u32) -> usize {
        let at = name as usize;
        if at >= self.places.len() {
            self.places.resize(at + 1, 0);
        }
        if self.places[at] == 0 {
            self.columns.push((name, DictionaryBuilder::default()));
            self.places[at] = self.columns.len() as u32;
        }
        self.places[at] as usize - 1
    }

    /// Appends three packed columns: shapes and items, indexes, values.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) {
        let mut shapes = Vec::new();
        put_varint(&mut shapes, self.shapes.len() as u64);
        shapes.extend_from_slice(&self.shapes.bytes);
        shapes.extend_from_slice(&self.items);
        self.columns.sort_by_key(|(name, _)| *name);
        let (mut indexes, mut values) = (Vec::new(), Vec::new());
        for (_, column) in self.columns {
            indexes.extend_from_slice(&column.indexes);
            values.extend_from_slice(&column.values.bytes);
        }
        [shapes, indexes, values].iter().for_each(|column| put_packed(out, column, LEVEL));
    }
}

/// Attribute lists, read back.
pub(crate) struct AttributeColumns {
    shapes: Vec<Vec<u32>>,
    /// Of each item.
    items: Vec<u32>,
    /// Each item's value numbers end here in `cells`, in the order of its shape.
    ends: Vec<usize>,
    cells: Vec<u32>,
    columns: BTreeMap<u32, Vec<Value>>,
}

impl AttributeColumns {
    /// Reads three packed columns with `count` lists; names are below `strings`.
    pub(crate) fn parse(cursor: &mut Cursor<'_>, count: usize, strings: usize) -> Result<Self, String> {
        let (shapes_raw, indexes_raw) = (cursor.unpacked(COLUMN_BYTES_MAX)?, cursor.unpacked(COLUMN_BYTES_MAX)?);
        let values_raw = cursor.unpacked(COLUMN_BYTES_MAX)?;
        let mut cursor = Cursor::new(&shapes_raw);
        let mut shapes = Vec::new();
        for _ in 0..cursor.count(1)? {
            let mut shape = Vec::new();
            for _ in 0..cursor.count(1)? {
                let name = cursor.small()?;
                if name as usize >= strings {
                    return Err(format!("attribute name {name} of {strings}"));
                }
                shape.push(name);
            }
            shapes.push(shape);
        }
        let mut items = Vec::with_capacity(count.min(cursor.left()));
        let (mut counts, mut cells) = (BTreeMap::new(), 0);
        for _ in 0..count {
            let item = cursor.small()?;
            let shape = shapes.get(item as usize).ok_or_else(|| format!("shape {item} of {}", shapes.len()))?;
            cells += shape.len();
            if cells > indexes_raw.len() {
                return Err(format!("{cells} attributes in {} bytes", indexes_raw.len()));
            }
            shape.iter().for_each(|name| *counts.entry(*name).or_default() += 1);
            items.push(item);
        }
        cursor.end()?;
        let mut found = Self { shapes, items, ends: Vec::with_capacity(count), cells: Vec::new(), columns: BTreeMap::new() };
        found.read_columns(&counts, &indexes_raw, &values_raw)?;
        Ok(found)
    }

    fn read_columns(&mut self, counts: &BTreeMap<u32, usize>, indexes: &[u8], values: &[u8]) -> Result<(), String> {
        let (mut indexes, mut values) = (Cursor::new(indexes), Cursor::new(values));
        let mut places: HashMap<u32, std::vec::IntoIter<u32>> = HashMap::new();
        for (name, count) in counts {
            let (dictionary, own) = dictionary(&mut indexes, *count, || value(&mut values))?;
            self.columns.insert(*name, dictionary);
            places.insert(*name, own.into_iter());
        }
        indexes.end()?;
        values.end()?;
        for item in &self.items {
            for name in &self.shapes[*item as usize] {
                self.cells.extend(places.get_mut(name).and_then(Iterator::next));
            }
            self.ends.push(self.cells.len());
        }
        Ok(())
    }

    /// Names (strings of the block) and value numbers of a list, in its order.
    fn cells(&self, item: usize) -> impl ExactSizeIterator<Item = (&u32, &u32)> {
        let start = if item == 0 { 0 } else { self.ends[item - 1] };
        self.shapes[self.items[item] as usize].iter().zip(&self.cells[start..self.ends[item]])
    }

    /// Names (strings of the block) and values of a list, in its order.
    pub(crate) fn list(&self, item: usize) -> impl ExactSizeIterator<Item = (u32, &Value)> {
        self.cells(item).map(|(name, cell)| (*name, &self.columns[name][*cell as usize]))
    }

    /// The values of a name in a list: more than one when it stands there twice.
    pub(crate) fn values(&self, item: usize, wanted: u32) -> impl Iterator<Item = &Value> {
        let own = self.cells(item).filter(move |(name, _)| **name == wanted);
        own.map(|(name, cell)| &self.columns[name][*cell as usize])
    }
}
