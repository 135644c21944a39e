//! Attribute lists as columns: each distinct list of names is a shape, each name's values are a column with a dictionary.
//! Format: `docs/formats/traces_block.md`.
//!
//! So a frequent attribute costs an index, an unknown one costs itself, and the order of every list is kept.

use std::collections::{BTreeMap, HashMap};

use weir_model::span::{Attributes, Value};

use super::content::{put_value, value};
use super::schema::{COLUMN_BYTES_MAX, LEVEL, StringsBuilder};
use crate::packed::{Cursor, put_packed, put_varint};

/// Byte strings in order, each distinct one stored once: an index of 0 is the next new one, `n + 1` the one numbered `n`.
#[derive(Default)]
pub(crate) struct DictionaryBuilder {
    ids: HashMap<Vec<u8>, u64>,
    pub(crate) indexes: Vec<u8>,
    pub(crate) values: Vec<u8>,
}

impl DictionaryBuilder {
    /// `encoded` says where it ends by itself.
    pub(crate) fn push(&mut self, encoded: Vec<u8>) {
        if let Some(id) = self.ids.get(&encoded) {
            put_varint(&mut self.indexes, id + 1);
            return;
        }
        self.indexes.push(0);
        self.values.extend_from_slice(&encoded);
        self.ids.insert(encoded, self.ids.len() as u64);
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
    shape_ids: HashMap<Vec<u32>, u64>,
    shapes: Vec<u8>,
    items: Vec<u8>,
    columns: BTreeMap<u32, DictionaryBuilder>,
}

impl AttributesBuilder {
    pub(crate) fn push(&mut self, attributes: &Attributes, strings: &mut StringsBuilder) {
        let shape: Vec<u32> = attributes.iter().map(|(name, _)| strings.id(name)).collect();
        for (name, (_, value)) in shape.iter().zip(attributes) {
            let mut encoded = Vec::new();
            put_value(&mut encoded, value);
            self.columns.entry(*name).or_default().push(encoded);
        }
        let next = self.shape_ids.len() as u64;
        let id = match self.shape_ids.get(&shape) {
            Some(id) => *id,
            None => {
                put_varint(&mut self.shapes, shape.len() as u64);
                shape.iter().for_each(|name| put_varint(&mut self.shapes, u64::from(*name)));
                self.shape_ids.insert(shape, next);
                next
            }
        };
        put_varint(&mut self.items, id);
    }

    /// Appends three packed columns: shapes and items, indexes, values.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        let mut shapes = Vec::new();
        put_varint(&mut shapes, self.shape_ids.len() as u64);
        shapes.extend_from_slice(&self.shapes);
        shapes.extend_from_slice(&self.items);
        let (mut indexes, mut values) = (Vec::new(), Vec::new());
        for column in self.columns.into_values() {
            indexes.extend_from_slice(&column.indexes);
            values.extend_from_slice(&column.values);
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

    /// Names (strings of the block) and values of a list, in its order.
    pub(crate) fn list(&self, item: usize) -> impl Iterator<Item = (u32, &Value)> {
        let start = if item == 0 { 0 } else { self.ends[item - 1] };
        let cells = &self.cells[start..self.ends[item]];
        let shape = &self.shapes[self.items[item] as usize];
        shape.iter().zip(cells).map(|(name, cell)| (*name, &self.columns[name][*cell as usize]))
    }
}
