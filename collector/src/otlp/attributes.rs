//! Attributes and values of OTLP, borrowed from the bytes that they came in.

use std::borrow::Cow;

use serde_json::{Map, Number, Value as Json};
use weir_model::label::{Labels, normalise_label_name};
use weir_model::span::{Attributes, ValueRef, base64};

use crate::admission::Admission;
use crate::proto::{Field, Fields, ProtoError};
use crate::push_error::PushError;

/// A name or value of an attribute may be this long: longer ones belong into a body.
pub(super) const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;
/// Memory of a name and its value beside their texts: two pointers with lengths, two allocations.
pub(super) const PAIR_BYTES: usize = 64;
/// Values within values: more than the hundred messages within messages that protobuf's own libraries read can hold.
const DEPTH_MAX: usize = 48;
/// Memory of a value within another: its place in a vector that doubles, or in the node of a map.
const NESTED_BYTES: usize = 128;

const PAIR: &str = "an attribute";
const VALUE: &str = "a value";

/// Attributes as they come. Of a repeated name the first is kept, as OTLP forbids repetition.
#[derive(Default)]
pub(super) struct RawList<'a> {
    pairs: Vec<(&'a str, ValueRef<'a>)>,
    /// Repetitions included.
    count: usize,
    /// The name of one that is too long.
    too_long: Option<&'a str>,
}

impl<'a> RawList<'a> {
    /// The attributes of a resource.
    pub(super) fn of_resource(message: &'a [u8], limit: usize, admission: &Admission) -> Result<Self, PushError> {
        let mut list = Self::default();
        for field in Fields::new(message, "a resource") {
            if let (1, field) = field? {
                list.push(field, limit, admission)?;
            }
        }
        Ok(list)
    }

    /// Reads a `KeyValue`; beyond `limit` they are only counted. What is nested is charged before it is built.
    pub(super) fn push(&mut self, field: Field<'a>, limit: usize, admission: &Admission) -> Result<(), PushError> {
        let message = field.bytes()?;
        let (mut key, mut value) = ("", ValueRef::String(""));
        for field in Fields::new(message, PAIR) {
            match field? {
                (1, field) => key = field.text()?,
                (2, field) => value = read_value(field.bytes()?, admission)?,
                _ => {}
            }
        }
        self.count += 1;
        let length = match &value {
            ValueRef::String(text) => text.len(),
            ValueRef::Bytes(bytes) => bytes.len() * 4 / 3,
            ValueRef::Json(_) => message.len() * 2,
            _ => 0,
        };
        if length.max(key.len()) > ATTRIBUTE_BYTES_MAX {
            self.too_long.get_or_insert(key);
        } else if self.count <= limit && !self.pairs.iter().any(|(name, _)| *name == key) {
            self.pairs.push((key, value));
        }
        Ok(())
    }

    /// Whether every name and every text is short enough to be kept, and they are few enough.
    pub(super) fn fits(&self, limit: usize) -> Result<(), String> {
        if self.count > limit {
            return Err(format!("{} attributes (limit push.labels_max is {limit})", self.count));
        }
        match self.too_long {
            Some(name) => Err(format!("attribute {:?} is longer than {ATTRIBUTE_BYTES_MAX} bytes", clip(name))),
            None => Ok(()),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &ValueRef<'a>)> {
        self.pairs.iter().map(|(name, value)| (*name, value))
    }

    /// Takes out all of them.
    pub(super) fn drain(&mut self) -> impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)> {
        self.pairs.drain(..)
    }

    pub(super) fn into_iter(self) -> impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)> {
        self.pairs.into_iter()
    }

    pub(super) fn to_attributes(&self) -> Attributes {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_value())).collect()
    }

    /// Of those that `wanted` names, as labels.
    pub(super) fn labels(&self, wanted: impl Fn(&str) -> bool) -> Labels {
        let wanted = self.iter().filter(|(name, _)| wanted(name));
        Labels::from_pairs(wanted.map(|(name, value)| (normalise_label_name(name), value.text())))
    }

    /// The same by their own names, whatever letters these have, where they are not to be `escaped`.
    pub(super) fn labels_named(&self, escaped: bool, wanted: impl Fn(&str) -> bool) -> Labels {
        if escaped {
            return self.labels(wanted);
        }
        let wanted = self.iter().filter(|(name, _)| !name.is_empty() && wanted(name));
        Labels::from_pairs(wanted.map(|(name, value)| (name, value.text())))
    }

    /// What it takes by itself, without what it borrows.
    pub(super) fn memory(&self) -> usize {
        self.pairs.len() * size_of::<(&str, ValueRef<'_>)>()
    }

    /// Memory of its attributes as labels, with their texts.
    pub(super) fn memory_of_labels(&self) -> usize {
        let text = |value: &ValueRef<'_>| match value {
            ValueRef::String(text) => text.len(),
            ValueRef::Bytes(bytes) => bytes.len() * 4 / 3,
            ValueRef::Json(json) => json.to_string().len(),
            ValueRef::Bool(_) | ValueRef::Int(_) | ValueRef::Double(_) => 0,
        };
        self.iter().map(|(name, value)| PAIR_BYTES + name.len() + text(value)).sum()
    }

    pub(super) fn clear(&mut self) {
        self.pairs.clear();
        (self.count, self.too_long) = (0, None);
    }
}

/// The head of a name, for errors.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

/// An absent value is empty text, as OTLP reads it. A nested one that would be too long for an attribute is not read.
fn read_value<'a>(message: &'a [u8], admission: &Admission) -> Result<ValueRef<'a>, PushError> {
    let nested = |message: &[u8]| {
        if message.len() * 2 > ATTRIBUTE_BYTES_MAX {
            Ok(Json::Null)
        } else {
            json(message, 0, &mut |bytes| admission.charge(bytes))
        }
    };
    value(message, nested)
}

/// A log body: text as it is, bytes as they are, anything else as text. `charge` hears of what it takes beyond its own bytes.
pub(super) fn body<'a, E: From<ProtoError>>(
    message: &'a [u8],
    charge: &mut impl FnMut(usize) -> Result<(), E>,
) -> Result<Cow<'a, [u8]>, E> {
    let mut nested = |message: &[u8]| json(message, 0, charge);
    let text = match value(message, &mut nested)? {
        ValueRef::String(text) => return Ok(Cow::Borrowed(text.as_bytes())),
        ValueRef::Bytes(bytes) => return Ok(Cow::Borrowed(bytes)),
        other => other.text().into_owned(),
    };
    charge(text.len())?;
    Ok(Cow::Owned(text.into_bytes()))
}

/// An `AnyValue`; `nested` reads it when it holds others.
fn value<'a, E: From<ProtoError>>(
    message: &'a [u8],
    mut nested: impl FnMut(&'a [u8]) -> Result<Json, E>,
) -> Result<ValueRef<'a>, E> {
    let mut value = ValueRef::String("");
    for field in Fields::new(message, VALUE) {
        value = match field? {
            (1, field) => ValueRef::String(field.text()?),
            (2, field) => ValueRef::Bool(field.varint()? != 0),
            (3, field) => ValueRef::Int(field.varint()? as i64),
            (4, field) => ValueRef::Double(f64::from_bits(field.fixed64()?)),
            (5 | 6, _) => return Ok(ValueRef::Json(Cow::Owned(nested(message)?))),
            (7, field) => ValueRef::Bytes(field.bytes()?),
            _ => continue,
        };
    }
    Ok(value)
}

/// An `AnyValue` as JSON; `charge` hears of memory before it is taken.
fn json<E: From<ProtoError>>(message: &[u8], depth: usize, charge: &mut impl FnMut(usize) -> Result<(), E>) -> Result<Json, E> {
    if depth > DEPTH_MAX {
        return Err(ProtoError::Depth(VALUE, DEPTH_MAX).into());
    }
    charge(NESTED_BYTES)?;
    let mut value = Json::Null;
    for field in Fields::new(message, VALUE) {
        value = match field? {
            (1, field) => {
                charge(field.bytes()?.len())?;
                field.text()?.into()
            }
            (2, field) => (field.varint()? != 0).into(),
            (3, field) => (field.varint()? as i64).into(),
            (4, field) => {
                let number = f64::from_bits(field.fixed64()?);
                // JSON has no NaN and no infinity; their names are kept.
                Number::from_f64(number).map_or_else(|| number.to_string().into(), Json::Number)
            }
            (5, field) => {
                let mut list = Vec::new();
                for field in Fields::new(field.bytes()?, "a list of values") {
                    if let (1, field) = field? {
                        list.push(json(field.bytes()?, depth + 1, charge)?);
                    }
                }
                list.into()
            }
            (6, field) => {
                let mut map = Map::new();
                for field in Fields::new(field.bytes()?, "a map of values") {
                    if let (1, field) = field? {
                        let (key, value) = pair(field.bytes()?, depth + 1, charge)?;
                        map.insert(key, value);
                    }
                }
                map.into()
            }
            (7, field) => {
                charge(field.bytes()?.len() * 4 / 3)?;
                base64(field.bytes()?).into()
            }
            _ => continue,
        };
    }
    Ok(value)
}

/// A `KeyValue` of a map.
fn pair<E: From<ProtoError>>(
    message: &[u8],
    depth: usize,
    charge: &mut impl FnMut(usize) -> Result<(), E>,
) -> Result<(String, Json), E> {
    let (mut key, mut value) = ("", Json::Null);
    for field in Fields::new(message, PAIR) {
        match field? {
            (1, field) => key = field.text()?,
            (2, field) => value = json(field.bytes()?, depth, charge)?,
            _ => {}
        }
    }
    charge(key.len())?;
    Ok((key.to_owned(), value))
}
