//! Attribute lists and their values, JSON included: tagged binary, so that numbers come back exact to the bit.

use serde_json::value::{Map, Number, Value as Json};

use super::WireError;
use super::budget::{Budget, invalid};
use super::columns::{Reader, TextsReader, TextsWriter, put_bytes, put_varint, unzigzag, zigzag};
use crate::span::{Attributes, Value};

const STRING: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const DOUBLE: u8 = 4;
const JSON: u8 = 5;
const BYTES: u8 = 6;
const NULL: u8 = 7;
const UNSIGNED: u8 = 8;
const ARRAY: u8 = 9;
const OBJECT: u8 = 10;

/// Nesting of a JSON value. serde_json itself reads no deeper than 128; OTLP senders stay below 10.
const DEPTH_MAX: u32 = 64;
/// Memory of a JSON value or object entry beside its text.
const JSON_BYTES: usize = 128;

/// Appends the number of attributes, then name and value of each.
pub(super) fn put_attributes<'a>(
    attributes: &'a Attributes,
    texts: &mut TextsWriter<'a>,
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    budget.charge_pairs(attributes.len())?;
    put_varint(out, attributes.len() as u64);
    for (name, value) in attributes {
        put_varint(out, texts.number(name, budget)?);
        match value {
            Value::String(text) => {
                out.push(STRING);
                put_varint(out, texts.number(text, budget)?);
            }
            Value::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
            Value::Int(value) => {
                out.push(INT);
                put_varint(out, zigzag(*value));
            }
            Value::Double(value) => {
                out.push(DOUBLE);
                out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            Value::Bytes(bytes) => {
                budget.charge(bytes.len())?;
                out.push(BYTES);
                put_bytes(out, bytes);
            }
            Value::Json(value) => {
                out.push(JSON);
                put_json(value, DEPTH_MAX, texts, budget, out)?;
            }
        }
    }
    Ok(())
}

/// The inverse of [`put_attributes`].
pub(super) fn attributes(column: &mut Reader<'_>, texts: &TextsReader<'_>, budget: &mut Budget) -> Result<Attributes, WireError> {
    let count = column.count()?;
    budget.charge_pairs(count)?;
    let mut attributes = Vec::with_capacity(count);
    for _ in 0..count {
        let name = texts.get(column.varint()?, budget)?.to_owned();
        let value = match column.byte()? {
            STRING => Value::String(texts.get(column.varint()?, budget)?.to_owned()),
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::Int(unzigzag(column.varint()?)),
            DOUBLE => Value::Double(f64::from_bits(u64::from_le_bytes(column.array()?))),
            BYTES => {
                let bytes = column.bytes()?;
                budget.charge(bytes.len())?;
                Value::Bytes(bytes.to_vec())
            }
            JSON => Value::Json(Box::new(json(column, DEPTH_MAX, texts, budget)?)),
            other => return Err(invalid("attribute", format!("value type {other}"))),
        };
        attributes.push((name, value));
    }
    Ok(attributes)
}

fn deeper(depth: u32) -> Result<u32, WireError> {
    depth.checked_sub(1).ok_or_else(|| invalid("attribute", format!("JSON nested deeper than {DEPTH_MAX}")))
}

fn put_json<'a>(
    value: &'a Json,
    depth: u32,
    texts: &mut TextsWriter<'a>,
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let depth = deeper(depth)?;
    budget.charge(JSON_BYTES)?;
    match value {
        Json::Null => out.push(NULL),
        Json::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
        Json::Number(number) => put_number(number, out),
        Json::String(text) => {
            out.push(STRING);
            put_varint(out, texts.number(text, budget)?);
        }
        Json::Array(items) => {
            out.push(ARRAY);
            put_varint(out, items.len() as u64);
            for item in items {
                put_json(item, depth, texts, budget, out)?;
            }
        }
        Json::Object(entries) => {
            out.push(OBJECT);
            put_varint(out, entries.len() as u64);
            for (name, item) in entries {
                put_varint(out, texts.number(name, budget)?);
                put_json(item, depth, texts, budget, out)?;
            }
        }
    }
    Ok(())
}

fn put_number(number: &Number, out: &mut Vec<u8>) {
    if let Some(value) = number.as_i64() {
        out.push(INT);
        put_varint(out, zigzag(value));
    } else if let Some(value) = number.as_u64() {
        out.push(UNSIGNED);
        put_varint(out, value);
    } else {
        out.push(DOUBLE);
        out.extend_from_slice(&number.as_f64().unwrap_or_default().to_bits().to_le_bytes());
    }
}

fn json(column: &mut Reader<'_>, depth: u32, texts: &TextsReader<'_>, budget: &mut Budget) -> Result<Json, WireError> {
    let depth = deeper(depth)?;
    budget.charge(JSON_BYTES)?;
    Ok(match column.byte()? {
        NULL => Json::Null,
        FALSE => Json::Bool(false),
        TRUE => Json::Bool(true),
        INT => Json::Number(unzigzag(column.varint()?).into()),
        UNSIGNED => Json::Number(column.varint()?.into()),
        DOUBLE => {
            let value = f64::from_bits(u64::from_le_bytes(column.array()?));
            Json::Number(Number::from_f64(value).ok_or_else(|| invalid("attribute", "a JSON number that is not finite"))?)
        }
        STRING => Json::String(texts.get(column.varint()?, budget)?.to_owned()),
        ARRAY => {
            let count = column.count()?;
            let mut items = Vec::new();
            for _ in 0..count {
                items.push(json(column, depth, texts, budget)?);
            }
            Json::Array(items)
        }
        OBJECT => {
            let count = column.count()?;
            let mut entries = Map::new();
            for _ in 0..count {
                let name = texts.get(column.varint()?, budget)?.to_owned();
                entries.insert(name, json(column, depth, texts, budget)?);
            }
            Json::Object(entries)
        }
        other => return Err(invalid("attribute", format!("JSON type {other}"))),
    })
}
