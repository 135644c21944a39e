//! Attribute lists of a body: those of spans stay as the bytes that they are and are checked here, once; those of an origin
//! are read out of them. JSON is tagged binary, so that numbers come back exact to the bit.

use super::WireError;
use super::budget::{Budget, PAIR_BYTES, check_limit, invalid};
use super::columns::Reader;
use crate::span::packed::{
    ARRAY, BYTES, Cursor, DOUBLE, Extent, FALSE, INT, JSON, NULL, Numbered, OBJECT, STRING, TRUE, UNSIGNED, put_pair,
};
use crate::span::{Attributes, AttributesRef, Span, SpanEvent, SpanLink, TextArena, views};
use crate::varint::put_varint;

/// Nesting of a JSON value. serde_json itself reads no deeper than 128; OTLP senders stay below 10.
const DEPTH_MAX: u32 = 64;
/// Memory of a JSON value or object entry beside its text.
const JSON_BYTES: usize = 128;

/// Checks limits and charges what `spans` spans of this extent take when they are written out, as [`Checker`] does.
pub(super) fn charge(spans: usize, extent: &Extent, budget: &mut Budget) -> Result<(), WireError> {
    check_limit("spans", spans as u64, budget.limits.records)?;
    check_limit("span events or links", u64::from(extent.parts_max), budget.limits.records)?;
    check_limit("labels", u64::from(extent.pairs_max), budget.limits.labels)?;
    if extent.depth_max > DEPTH_MAX {
        return Err(too_deep());
    }
    budget.charge(spans * size_of::<Span>())?;
    for (count, bytes) in [
        (extent.text, 1),
        (extent.bytes, 1),
        (extent.pairs, PAIR_BYTES),
        (extent.json, JSON_BYTES),
        (extent.events, size_of::<SpanEvent>()),
        (extent.links, size_of::<SpanLink>()),
    ] {
        budget.charge((count as usize).saturating_mul(bytes))?;
    }
    Ok(())
}

/// Appends the number of attributes, then name and value of each.
pub(super) fn put_attributes(attributes: &Attributes, numbered: &mut Numbered<'_>, extent: &mut Extent, out: &mut Vec<u8>) {
    extent.list(attributes.len());
    put_varint(out, attributes.len() as u64);
    views(attributes).for_each(|(name, value)| put_pair(out, name, &value, numbered, extent));
}

/// Checks what it reads: every text is there, every value whole and of a known type, all of it within the budget.
pub(super) struct Checker<'a> {
    pub texts: &'a TextArena,
    pub budget: &'a mut Budget,
    pub extent: Extent,
    /// Texts up to the last that was named.
    pub named: usize,
}

impl<'a> Checker<'a> {
    pub(super) fn new(texts: &'a TextArena, budget: &'a mut Budget) -> Self {
        Self { texts, budget, extent: Extent::default(), named: 0 }
    }

    /// A text's number.
    pub(super) fn text(&mut self, column: &mut Reader<'_>) -> Result<u32, WireError> {
        let number = column.varint()?;
        let length = usize::try_from(number).ok().filter(|number| *number < self.texts.len());
        let Some(known) = length else {
            return Err(invalid("dictionary", format!("no text {number} of {}", self.texts.len())));
        };
        let text = self.texts.get(known as u32);
        self.budget.charge(text.len())?;
        self.extent.text(text);
        self.named = self.named.max(known + 1);
        Ok(known as u32)
    }

    pub(super) fn owned_text(&mut self, column: &mut Reader<'_>) -> Result<String, WireError> {
        self.text(column).map(|number| self.texts.get(number).to_owned())
    }

    pub(super) fn attributes(&mut self, column: &mut Reader<'_>) -> Result<(), WireError> {
        let count = column.count()?;
        self.budget.charge_pairs(count)?;
        self.extent.list(count);
        for _ in 0..count {
            self.text(column)?;
            self.value(column)?;
        }
        Ok(())
    }

    fn value(&mut self, column: &mut Reader<'_>) -> Result<(), WireError> {
        match column.byte()? {
            STRING => drop(self.text(column)?),
            FALSE | TRUE => {}
            INT => drop(column.varint()?),
            DOUBLE => drop(column.take(8)?),
            BYTES => {
                let bytes = column.bytes()?;
                self.budget.charge(bytes.len())?;
                self.extent.bytes += bytes.len() as u64;
            }
            JSON => self.json(column, 1)?,
            other => return Err(invalid("attribute", format!("value type {other}"))),
        }
        Ok(())
    }

    fn json(&mut self, column: &mut Reader<'_>, depth: u32) -> Result<(), WireError> {
        if depth > DEPTH_MAX {
            return Err(too_deep());
        }
        self.budget.charge(JSON_BYTES)?;
        self.extent.json += 1;
        self.extent.depth_max = self.extent.depth_max.max(depth);
        match column.byte()? {
            NULL | FALSE | TRUE => {}
            INT | UNSIGNED => drop(column.varint()?),
            DOUBLE if !f64::from_bits(u64::from_le_bytes(column.array()?)).is_finite() => {
                return Err(invalid("attribute", "a JSON number that is not finite"));
            }
            DOUBLE => {}
            STRING => drop(self.text(column)?),
            ARRAY => {
                for _ in 0..column.count()? {
                    self.json(column, depth + 1)?;
                }
            }
            OBJECT => {
                for _ in 0..column.count()? {
                    self.text(column)?;
                    self.json(column, depth + 1)?;
                }
            }
            other => return Err(invalid("attribute", format!("JSON type {other}"))),
        }
        Ok(())
    }

    /// Checks a list and copies it out.
    pub(super) fn read_attributes(&mut self, column: &mut Reader<'_>) -> Result<Attributes, WireError> {
        let list = *column;
        self.attributes(column)?;
        Ok(AttributesRef::new(Some(Cursor(list.rest())), self.texts).to_attributes())
    }
}

fn too_deep() -> WireError {
    invalid("attribute", format!("JSON nested deeper than {DEPTH_MAX}"))
}
