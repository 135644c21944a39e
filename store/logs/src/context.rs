//! What lines have beside their bodies and is mostly alike from line to line: trace id, span id, attributes. Every combination of
//! a chunk once, as a row; a line has the number of its row.
//!
//! Numbers of this kind are written *by age*: 0 for the next new one, else how many have come since, and one. Lines of one span are
//! then a run of ones.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use weir_blocks::columns::{Reader, put_bytes, put_varint};
use weir_model::id::{SpanId, TraceId};
use weir_model::log::{AttributeSets, LogAttributes};

use super::template::References;
use super::tokens::TokenSet;
use super::words::{Class, Distinct, Seen, id_text_bytes, put_id, put_id_text};

/// An attribute's values: by age, as the line's trace id, as its span id.
const VALUES: u8 = 0;
const OF_TRACE: u8 = 1;
const OF_SPAN: u8 = 2;
/// Attributes of one shape that may be its ids: each costs nothing on disk and something in memory.
const OF_IDS_MAX: usize = 16;

/// Trace, span and number of the attribute set of a line.
pub(crate) type Row = (TraceId, SpanId, u32);

/// The distinct rows of a chunk in the making.
pub(crate) struct Rows {
    rows: Vec<Row>,
    pub(crate) of_line: Vec<u32>,
}

impl Rows {
    pub(crate) fn new(lines: impl Iterator<Item = Row>) -> Self {
        let (mut rows, mut of_line, mut numbers) = (Vec::<Row>::new(), Vec::<u32>::new(), HashMap::<Row, u32>::new());
        for row in lines {
            let before = of_line.last().copied().filter(|before| rows[*before as usize] == row);
            of_line.push(before.unwrap_or_else(|| {
                *numbers.entry(row).or_insert_with(|| {
                    rows.push(row);
                    rows.len() as u32 - 1
                })
            }));
        }
        Self { rows, of_line }
    }

    /// What lines of a row may refer to.
    pub(crate) fn references<'a>(&self, row: u32, sets: &'a AttributeSets) -> References<'a> {
        let (trace_id, span_id, set) = self.rows[row as usize];
        References::new(trace_id, span_id, sets.get(set))
    }

    /// Adds the pairs of the next chunk's lines.
    pub(crate) fn add_tokens(&self, lines: Range<usize>, seen: &mut Seen, sets: &AttributeSets, tokens: &mut TokenSet) {
        seen.begin();
        let own = self.of_line[lines].iter().filter(|row| seen.is_new(**row)).map(|row| &self.rows[*row as usize]);
        add_tokens(own.map(|(trace_id, span_id, set)| (*trace_id, *span_id, sets.get(*set))), tokens);
    }

    /// The column, and that of raw ids.
    pub(crate) fn encode(&self, sets: &AttributeSets) -> (Vec<u8>, Vec<u8>) {
        let (mut out, mut ids) = (Vec::new(), Vec::new());
        put_varint(&mut out, self.rows.len() as u64);
        put_by_age(&mut out, self.of_line.iter().copied());
        put_ids(&mut out, &mut ids, self.rows.iter().map(|row| &row.0.0[..]));
        put_ids(&mut out, &mut ids, self.rows.iter().map(|row| &row.1.0[..]));
        // Each set with the first row that has it: its ids are often among the attributes.
        let (firsts, of_rows) = numbered(self.rows.len(), |row| self.rows[row].2, |a, b| self.rows[a].2 == self.rows[b].2);
        put_varint(&mut out, firsts.len() as u64);
        put_by_age(&mut out, of_rows.iter().copied());
        let names = |row: usize| sets.get(self.rows[row].2).iter().map(|(name, _)| name).collect::<Vec<_>>();
        let is_alike = |a: usize, b: usize| {
            let names = |set: usize| sets.get(self.rows[firsts[set]].2).iter().map(|(name, _)| name);
            names(a).eq(names(b))
        };
        let (shapes, of_sets) = numbered(firsts.len(), |set| names(firsts[set]), is_alike);
        put_varint(&mut out, shapes.len() as u64);
        put_by_age(&mut out, of_sets.iter().copied());
        let mut rows_of = vec![Vec::new(); shapes.len()];
        firsts.iter().zip(&of_sets).for_each(|(row, shape)| rows_of[*shape as usize].push(&self.rows[*row]));
        for (set, rows) in shapes.into_iter().zip(rows_of) {
            let names = names(firsts[set]);
            put_varint(&mut out, names.len() as u64);
            let mut of_ids = 0;
            for (place, name) in names.into_iter().enumerate() {
                put_bytes(&mut out, name.as_bytes());
                let values = rows.iter().map(|row| (*row, value(sets.get(row.2), place).as_bytes()));
                let kind = if of_ids < OF_IDS_MAX { kind_of(values.clone()) } else { VALUES };
                of_ids += usize::from(kind != VALUES);
                out.push(kind);
                if kind == VALUES {
                    put_values(&mut out, &mut ids, values.map(|(_, value)| value));
                }
            }
        }
        (out, ids)
    }
}

/// Adds ids and attributes, as pairs of names and values, after the tokens of the bodies. What is as in the row before is there
/// already.
fn add_tokens<'a>(rows: impl Iterator<Item = (TraceId, SpanId, LogAttributes<'a>)>, tokens: &mut TokenSet) {
    let mut before = (TraceId::default(), SpanId::default(), LogAttributes::NONE);
    let mut text = Vec::new();
    for row in rows {
        let ids = [
            ("trace_id", row.0 != before.0, &row.0.0[..], Class::Hex16),
            ("span_id", row.1 != before.1, &row.1.0[..], Class::Hex8),
        ];
        for (name, _, id, class) in ids.into_iter().filter(|(_, changed, id, _)| *changed && id.iter().any(|byte| *byte != 0)) {
            text.clear();
            put_id_text(&mut text, id, class);
            tokens.add_pair(name, &text);
        }
        let mut others = before.2.iter();
        for (name, value) in row.2.iter() {
            if others.next() != Some((name, value)) {
                tokens.add_pair(name, value.as_bytes());
            }
        }
        before = row;
    }
}

/// Of so many things where each distinct one occurs first, and the number of each. Most are as the one before, which `is_alike` tells
/// without a key.
fn numbered<K: Hash + Eq>(
    count: usize,
    key: impl Fn(usize) -> K,
    is_alike: impl Fn(usize, usize) -> bool,
) -> (Vec<usize>, Vec<u32>) {
    let (mut firsts, mut of_all, mut numbers) = (Vec::new(), Vec::with_capacity(count), HashMap::new());
    for i in 0..count {
        let before = of_all.last().copied().filter(|_| is_alike(i - 1, i));
        of_all.push(before.unwrap_or_else(|| {
            *numbers.entry(key(i)).or_insert_with(|| {
                firsts.push(i);
                firsts.len() as u32 - 1
            })
        }));
    }
    (firsts, of_all)
}

fn value(attributes: LogAttributes<'_>, place: usize) -> &str {
    attributes.iter().nth(place).map_or("", |(_, value)| value)
}

fn kind_of<'a>(values: impl Iterator<Item = (&'a Row, &'a [u8])>) -> u8 {
    let is = |value: &[u8], id: &[u8], class: Class| {
        let mut text = Vec::with_capacity(32);
        value.len() == id.len() * 2 && {
            put_id_text(&mut text, id, class);
            text == value
        }
    };
    let mut kind = None;
    for (row, value) in values {
        let of_trace = kind != Some(OF_SPAN) && is(value, &row.0.0, Class::Hex16);
        let of_span = !of_trace && kind != Some(OF_TRACE) && is(value, &row.1.0, Class::Hex8);
        match (of_trace, of_span) {
            (true, _) => kind = Some(OF_TRACE),
            (_, true) => kind = Some(OF_SPAN),
            _ => return VALUES,
        }
    }
    kind.unwrap_or(VALUES)
}

fn put_by_age(out: &mut Vec<u8>, numbers: impl Iterator<Item = u32>) {
    let mut known = 0;
    for number in numbers {
        put_varint(out, if number == known { 0 } else { u64::from(known - number) });
        known += u32::from(number == known);
    }
}

/// Ids by age, each once among the raw ids; one byte when all are zero.
fn put_ids<'a>(out: &mut Vec<u8>, ids: &mut Vec<u8>, rows: impl Iterator<Item = &'a [u8]> + Clone) {
    let any = rows.clone().any(|id| id.iter().any(|byte| *byte != 0));
    out.push(u8::from(any));
    if any {
        let mut distinct = Distinct::default();
        let numbers: Vec<u32> = rows.map(|id| distinct.add(id).0).collect();
        put_varint(out, distinct.texts.len() as u64);
        put_by_age(out, numbers.into_iter());
        distinct.texts.iter().for_each(|id| ids.extend_from_slice(id));
    }
}

fn put_values<'a>(out: &mut Vec<u8>, ids: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) {
    let mut distinct = Distinct::default();
    let numbers: Vec<u32> = values.map(|value| distinct.add(value).0).collect();
    let first = Class::of(distinct.texts.iter().next().unwrap_or_default());
    let class = match first.id_bytes() {
        Some(_) if distinct.texts.iter().all(|text| Class::of(text) == first) => first,
        _ => Class::Text,
    };
    out.push(class.byte());
    put_varint(out, distinct.texts.len() as u64);
    put_by_age(out, numbers.into_iter());
    for text in distinct.texts.iter() {
        if class == Class::Text { put_bytes(out, text) } else { put_id(ids, text) }
    }
}

/// The rows of a chunk, decoded.
pub(crate) struct Contexts {
    pub(super) rows: Vec<Row>,
    pub(super) sets: AttributeSets,
    of_line: Vec<u32>,
}

impl Contexts {
    /// Of the columns of a chunk of `count` lines; errors are sentences.
    pub(crate) fn decode(column: &[u8], ids: &[u8], count: usize) -> Result<Self, String> {
        let (mut reader, mut ids) = (Reader::new(column), Reader::new(ids));
        let rows = reader.count("contexts", 1)?;
        let of_line = read_by_age(&mut reader, count, rows, "context")?;
        let traces = read_ids::<16>(&mut reader, &mut ids, rows, "trace ids")?;
        let spans = read_ids::<8>(&mut reader, &mut ids, rows, "span ids")?;
        let count = reader.count("attribute sets", 1)?;
        let of_rows = read_by_age(&mut reader, rows, count, "attribute set")?;
        let firsts = firsts_of(&of_rows);
        let shapes = reader.count("shapes", 1)?;
        let of_sets = read_by_age(&mut reader, count, shapes, "shape")?;
        let mut sets_of = vec![Vec::new(); shapes];
        (0_usize..).zip(&of_sets).for_each(|(set, shape)| sets_of[*shape as usize].push(set));
        let (mut sets, mut numbers) = (AttributeSets::default(), vec![0; count]);
        for of_shape in sets_of {
            let mut pairs: Vec<Vec<(u32, u32)>> = Vec::new();
            let mut of_ids = 0;
            for _ in 0..reader.count("attributes of a line", 2)? {
                let name = reader.text("attribute name")?;
                let [kind] = reader.array("attribute kind")?;
                of_ids += usize::from(kind != VALUES);
                pairs.push(match kind {
                    VALUES => read_values(&mut reader, &mut ids, (name, of_shape.len()), &mut sets)?,
                    _ if of_ids > OF_IDS_MAX => return Err("more attributes are ids than may be".into()),
                    OF_TRACE => of_shape.iter().map(|set| pair(&mut sets, name, &traces[firsts[*set]], Class::Hex16)).collect(),
                    OF_SPAN => of_shape.iter().map(|set| pair(&mut sets, name, &spans[firsts[*set]], Class::Hex8)).collect(),
                    other => return Err(format!("an attribute is coded as {other}")),
                });
            }
            for (i, set) in of_shape.iter().enumerate() {
                numbers[*set] = sets.add_numbers(pairs.iter().map(|column| column[i]));
            }
        }
        reader.finish()?;
        ids.finish()?;
        sets.shrink_to_fit();
        let rows = (0..rows).map(|row| (TraceId(traces[row]), SpanId(spans[row]), numbers[of_rows[row] as usize])).collect();
        Ok(Self { rows, sets, of_line })
    }

    /// Whether none of these lines has an id or an attribute.
    pub(crate) fn are_plain(&self, mut lines: Range<usize>) -> bool {
        lines.all(|i| {
            let (trace_id, span_id, attributes) = self.get(i);
            trace_id.is_none() && span_id.is_none() && attributes.is_empty()
        })
    }

    /// Of line `i`.
    pub(crate) fn get(&self, i: usize) -> (TraceId, SpanId, LogAttributes<'_>) {
        let (trace_id, span_id, set) = self.rows[self.of_line[i] as usize];
        (trace_id, span_id, self.sets.get(set))
    }

    /// Adds the tokens of all.
    pub(crate) fn add_tokens(&self, tokens: &mut TokenSet) {
        add_tokens(self.iter(), tokens);
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<Row>() + self.sets.memory() + self.of_line.capacity() * size_of::<u32>()
    }

    /// The number of line `i`'s row.
    pub(crate) fn row(&self, i: usize) -> u32 {
        self.of_line[i]
    }

    /// Each row.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (TraceId, SpanId, LogAttributes<'_>)> {
        self.rows.iter().map(|(trace_id, span_id, set)| (*trace_id, *span_id, self.sets.get(*set)))
    }
}

/// Where each of numbers by age occurs first.
fn firsts_of(numbers: &[u32]) -> Vec<usize> {
    let mut firsts = Vec::new();
    for (i, number) in numbers.iter().enumerate() {
        if *number as usize == firsts.len() {
            firsts.push(i);
        }
    }
    firsts
}

fn pair(sets: &mut AttributeSets, name: &str, id: &[u8], class: Class) -> (u32, u32) {
    let mut text = Vec::with_capacity(id_text_bytes(class));
    put_id_text(&mut text, id, class);
    sets.number_pair(name, std::str::from_utf8(&text).expect("invariant: hex digits and dashes"))
}

/// So many numbers below `limit`, by age.
fn read_by_age(reader: &mut Reader<'_>, count: usize, limit: usize, what: &str) -> Result<Vec<u32>, String> {
    if count > reader.left() {
        return Err(format!("{what}: {count} numbers in {} bytes", reader.left()));
    }
    let mut numbers = Vec::with_capacity(count);
    let mut known = 0_u32;
    for _ in 0..count {
        let age = reader.varint_u32(what)?;
        let number = known.checked_sub(age).ok_or_else(|| format!("{what} {age} before the first"))?;
        known += u32::from(age == 0);
        numbers.push(number);
    }
    if known as usize == limit { Ok(numbers) } else { Err(format!("{what}: {known} of {limit} are used")) }
}

fn read_ids<const N: usize>(
    reader: &mut Reader<'_>,
    ids: &mut Reader<'_>,
    rows: usize,
    what: &str,
) -> Result<Vec<[u8; N]>, String> {
    match reader.array(what)? {
        [0] => Ok(vec![[0; N]; rows]),
        [1] => {
            let known = reader.count(what, 1)?;
            let numbers = read_by_age(reader, rows, known, what)?;
            let distinct: Vec<[u8; N]> = (0..known).map(|_| ids.array(what)).collect::<Result<_, _>>()?;
            Ok(numbers.into_iter().map(|number| distinct[number as usize]).collect())
        }
        [other] => Err(format!("{what} are coded as {other}")),
    }
}

fn read_values(
    reader: &mut Reader<'_>,
    ids: &mut Reader<'_>,
    (name, rows): (&str, usize),
    sets: &mut AttributeSets,
) -> Result<Vec<(u32, u32)>, String> {
    let [class] = reader.array("class of values")?;
    let class = Class::from_byte(class).ok_or_else(|| format!("values are of class {class}"))?;
    let distinct = reader.count("values", 1)?;
    let numbers = read_by_age(reader, rows, distinct, "value")?;
    let mut pairs = Vec::with_capacity(distinct);
    for _ in 0..distinct {
        pairs.push(match class.id_bytes() {
            Some(length) => pair(sets, name, ids.take(length, "attribute value")?, class),
            None => sets.number_pair(name, reader.text("attribute value")?),
        });
    }
    Ok(numbers.into_iter().map(|number| pairs[number as usize]).collect())
}
