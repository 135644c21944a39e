//! Attribute lists as bytes, as they lie in a batch and on the wire. Format: `attributes` in `docs/formats/wire.md`.
//!
//! Texts are numbers here; whose they are (a batch's arena, a body's dictionary) is the caller's to say. What is read here was
//! checked when it came in (`wire/value.rs`), so reading does not fail.

use serde_json::value::{Map, Number, Value as Json};

use super::arena::TextArena;
use super::view::ValueRef;
use crate::varint::{put_bytes, put_varint, read_varint, unzigzag, zigzag};

pub(crate) const STRING: u8 = 0;
pub(crate) const FALSE: u8 = 1;
pub(crate) const TRUE: u8 = 2;
pub(crate) const INT: u8 = 3;
pub(crate) const DOUBLE: u8 = 4;
pub(crate) const JSON: u8 = 5;
pub(crate) const BYTES: u8 = 6;
pub(crate) const NULL: u8 = 7;
pub(crate) const UNSIGNED: u8 = 8;
pub(crate) const ARRAY: u8 = 9;
pub(crate) const OBJECT: u8 = 10;

/// Gives a text its number.
pub(crate) type Numbered<'a> = dyn FnMut(&str) -> u32 + 'a;

/// What a batch's spans say when they are written out, each text as often as it is said: what the wire's limits count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Bytes of texts.
    pub text: u64,
    pub events: u64,
    pub links: u64,
    /// Events or links of the span that has most.
    pub parts_max: u32,
    pub pairs: u64,
    /// JSON values, nested ones included.
    pub json: u64,
    /// Of values that are bytes.
    pub bytes: u64,
    /// Pairs of the longest list.
    pub pairs_max: u32,
    /// How deep JSON nests.
    pub depth_max: u32,
}

impl Extent {
    pub(crate) fn text(&mut self, text: &str) {
        self.text += text.len() as u64;
    }

    pub(crate) fn parts(&mut self, count: usize) {
        self.parts_max = self.parts_max.max(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// One more list of so many pairs.
    pub(crate) fn list(&mut self, pairs: usize) {
        self.pairs += pairs as u64;
        self.pairs_max = self.pairs_max.max(u32::try_from(pairs).unwrap_or(u32::MAX));
    }
}

/// Appends a pair.
pub(crate) fn put_pair(out: &mut Vec<u8>, name: &str, value: &ValueRef<'_>, numbered: &mut Numbered<'_>, extent: &mut Extent) {
    extent.text(name);
    put_varint(out, u64::from(numbered(name)));
    match value {
        ValueRef::String(text) => {
            extent.text(text);
            out.push(STRING);
            put_varint(out, u64::from(numbered(text)));
        }
        ValueRef::Bool(truth) => out.push(if *truth { TRUE } else { FALSE }),
        ValueRef::Int(number) => {
            out.push(INT);
            put_varint(out, zigzag(*number));
        }
        ValueRef::Double(number) => {
            out.push(DOUBLE);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        ValueRef::Bytes(bytes) => {
            extent.bytes += bytes.len() as u64;
            out.push(BYTES);
            put_bytes(out, bytes);
        }
        ValueRef::Json(json) => {
            out.push(JSON);
            put_json(out, json, 1, numbered, extent);
        }
    }
}

fn put_json(out: &mut Vec<u8>, json: &Json, depth: u32, numbered: &mut Numbered<'_>, extent: &mut Extent) {
    extent.json += 1;
    extent.depth_max = extent.depth_max.max(depth);
    match json {
        Json::Null => out.push(NULL),
        Json::Bool(truth) => out.push(if *truth { TRUE } else { FALSE }),
        Json::Number(number) => put_number(out, number),
        Json::String(text) => {
            extent.text(text);
            out.push(STRING);
            put_varint(out, u64::from(numbered(text)));
        }
        Json::Array(items) => {
            out.push(ARRAY);
            put_varint(out, items.len() as u64);
            items.iter().for_each(|item| put_json(out, item, depth + 1, numbered, extent));
        }
        Json::Object(members) => {
            out.push(OBJECT);
            put_varint(out, members.len() as u64);
            for (name, member) in members {
                extent.text(name);
                put_varint(out, u64::from(numbered(name)));
                put_json(out, member, depth + 1, numbered, extent);
            }
        }
    }
}

fn put_number(out: &mut Vec<u8>, number: &Number) {
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

/// Reads checked bytes.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk().expect("invariant: lists are checked when they come in");
        self.0 = rest;
        *head
    }

    pub(crate) fn varint(&mut self) -> u64 {
        let (value, rest) = read_varint(self.0).expect("invariant: lists are checked when they come in");
        self.0 = rest;
        value
    }

    /// A text's number.
    pub(crate) fn number(&mut self) -> u32 {
        self.varint() as u32
    }

    fn double(&mut self) -> f64 {
        f64::from_bits(u64::from_le_bytes(self.array()))
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.varint() as usize;
        self.take(length)
    }

    /// A pair, its texts as numbers.
    pub(crate) fn pair(&mut self, texts: &TextArena) -> (u32, Packed<'a>) {
        let name = self.number();
        let [kind] = self.array();
        let value = match kind {
            STRING => Packed::Text(self.number()),
            FALSE => Packed::Plain(ValueRef::Bool(false)),
            TRUE => Packed::Plain(ValueRef::Bool(true)),
            INT => Packed::Plain(ValueRef::Int(unzigzag(self.varint()))),
            DOUBLE => Packed::Plain(ValueRef::Double(self.double())),
            BYTES => Packed::Plain(ValueRef::Bytes(self.bytes())),
            _ => Packed::Plain(ValueRef::Json(std::borrow::Cow::Owned(self.json(texts)))),
        };
        (name, value)
    }

    fn json(&mut self, texts: &TextArena) -> Json {
        let [kind] = self.array();
        match kind {
            FALSE => Json::Bool(false),
            TRUE => Json::Bool(true),
            INT => Json::Number(unzigzag(self.varint()).into()),
            UNSIGNED => Json::Number(self.varint().into()),
            DOUBLE => Number::from_f64(self.double()).map_or(Json::Null, Json::Number),
            STRING => Json::String(texts.get(self.number()).to_owned()),
            ARRAY => {
                let count = self.varint();
                Json::Array((0..count).map(|_| self.json(texts)).collect())
            }
            OBJECT => {
                let count = self.varint();
                let member = |_| (texts.get(self.number()).to_owned(), self.json(texts));
                Json::Object((0..count).map(member).collect::<Map<String, Json>>())
            }
            _ => Json::Null,
        }
    }
}

/// A value of a list: a text's number, or what it says by itself.
pub(crate) enum Packed<'a> {
    Text(u32),
    Plain(ValueRef<'a>),
}
