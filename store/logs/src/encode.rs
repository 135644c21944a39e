//! Lines to the columns of a pack. Drawn in `docs/formats/logs_block.md`; read by `stored.rs`.

use std::ops::Range;

use weir_blocks::StoreError;
use weir_blocks::columns::{put_bytes, put_varint, put_zigzag};

use super::chunk::Lines;
use super::clock::ClockFormat;
use super::context::Rows;
use super::filter::span;
use super::frame::{Column, Columns};
use super::places;
use super::template::{Piece, Variable, parse, pieces};
use super::times::encode_times;
use super::tokens::{TokenSet, Tokens};
use super::words::{Class, Distinct, Seen, WordSet, number_of, put_id};

/// The template number of a body that is stored as it is.
const RAW: u32 = 0;

/// What a column of a template's variables is, as a byte.
pub(super) const SAME: u8 = 0;
pub(super) const WORDS: u8 = 1;
pub(super) const NUMBERS: u8 = 2;
pub(super) const IDS: u8 = 3;

/// The bytes of a pack, and of each of its chunks the tokens of bodies, ids and attributes; `ends` are the exclusive ends of the chunks
/// among the lines, ascending. Errors when its reader would refuse it.
pub(crate) fn encode(lines: &Lines, ends: &[u32]) -> Result<(Vec<u8>, Vec<Tokens>), StoreError> {
    let mut columns = Columns::new(lines.partition, lines.len() as u32);
    let mut runs = Vec::new();
    places::put_column(&mut runs, &lines.places);
    columns.set(Column::Places, runs);
    let (classes, bits) = encode_times(&lines.timestamps);
    columns.set(Column::Times, classes);
    columns.set(Column::TimeBits, bits);
    let rows = Rows::new((0..lines.len()).map(|i| lines.row(i)));
    let (contexts, ids) = rows.encode(&lines.attribute_sets);
    columns.set(Column::Contexts, contexts);
    columns.set(Column::ContextIds, ids);
    columns.set(Column::Details, encode_details(lines));
    let (mut bodies, mut seen) = (Bodies::default(), Seen::default());
    let mut parse = |chunk: usize| {
        let (mut tokens, range) = (TokenSet::new(), span(ends, chunk));
        bodies.parse(lines, range.clone(), &rows, &mut tokens);
        rows.add_tokens(range, &mut seen, &lines.attribute_sets, &mut tokens);
        tokens.finish()
    };
    let tokens = (0..ends.len()).map(&mut parse).collect();
    bodies.encode(lines, &mut columns);
    Ok((columns.encode()?, tokens))
}

/// Sequences, severities and flags. In a file a line's sequence is the last one's plus its length plus what frames it; pushed lines
/// have 0.
fn encode_details(lines: &Lines) -> Vec<u8> {
    let mut out = Vec::new();
    let known = lines.sequences.iter().any(|sequence| *sequence != 0);
    out.push(u8::from(known));
    let mut before = 0_u64;
    for i in 0..if known { lines.len() } else { 0 } {
        let length = span(&lines.ends, i).len() as u64;
        put_zigzag(&mut out, lines.sequences[i].wrapping_sub(before).wrapping_sub(length) as i64);
        before = lines.sequences[i];
    }
    encode_bytes(&mut out, &lines.severities);
    encode_bytes(&mut out, &lines.flags);
    out
}

/// One byte when all are the same, else all.
fn encode_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let same = bytes.iter().all(|byte| *byte == bytes[0]);
    out.push(u8::from(!same));
    out.extend_from_slice(if same { &bytes[..1] } else { bytes });
}

/// Bodies, parsed.
#[derive(Default)]
struct Bodies {
    templates: Distinct,
    words: WordSet,
    /// Template of each line, counted from one, and where its variables begin among `values`.
    lines: Vec<(u32, u32)>,
    /// Numbers of words, and differences of times.
    values: Vec<u64>,
    /// Templates and words that the chunk at hand has had.
    seen_templates: Seen,
    seen_words: Seen,
}

impl Bodies {
    /// The lines of the next chunk.
    fn parse(&mut self, lines: &Lines, range: Range<usize>, rows: &Rows, tokens: &mut TokenSet) {
        self.seen_templates.begin();
        self.seen_words.begin();
        let mut template = Vec::new();
        let (mut row, mut references) = (None, None);
        // References of the row that are among the tokens: they are mostly in each of its lines.
        let mut known = Vec::new();
        for i in range {
            if row != Some(rows.of_line[i]) {
                row = Some(rows.of_line[i]);
                references = Some(rows.references(rows.of_line[i], &lines.attribute_sets));
                known.clear();
            }
            let references = references.as_ref().expect("invariant: set with the first row");
            let (body, start) = (&lines.bodies[span(&lines.ends, i)], self.values.len());
            template.clear();
            let (words, values, seen_words) = (&mut self.words, &mut self.values, &mut self.seen_words);
            let parsed = parse(body, references, &mut template, |variable, text| match variable {
                Variable::Word(word) => {
                    let (number, _) = words.add(word);
                    if seen_words.is_new(number) {
                        tokens.add_text(word);
                    }
                    values.push(u64::from(number));
                }
                Variable::Clock(format, time) => {
                    if format.has_tokens() {
                        tokens.add_text(text);
                    }
                    values.push(format.difference(time, lines.timestamps[i]) as u64);
                }
                reference => {
                    if !known.contains(&reference) {
                        known.push(reference);
                        tokens.add_text(text);
                    }
                }
            });
            if parsed {
                let (number, _) = self.templates.add(&template);
                if self.seen_templates.is_new(number) {
                    add_literals(&template, tokens);
                }
                self.lines.push((number + 1, start as u32));
            } else {
                self.values.truncate(start);
                tokens.add_text(body);
                self.lines.push((RAW, start as u32));
            }
        }
    }

    fn encode(&self, lines: &Lines, columns: &mut Columns) {
        let (numbers, kept) = self.kept();
        let of_lines: Vec<u32> = self.lines.iter().map(|(template, _)| numbers[*template as usize]).collect();
        columns.set(Column::Templates, encode_numbers(&of_lines, kept.len()));
        let is_raw = |i: &usize| of_lines[*i] == RAW;
        let raw: Vec<&[u8]> = (0..lines.len()).filter(is_raw).map(|i| &lines.bodies[span(&lines.ends, i)]).collect();
        let mut bodies = Vec::new();
        raw.iter().for_each(|body| put_varint(&mut bodies, body.len() as u64));
        raw.iter().for_each(|body| bodies.extend_from_slice(body));
        columns.set(Column::Bodies, bodies);
        let mut of_template = vec![Vec::new(); kept.len()];
        for (line, template) in (0..).zip(&of_lines).filter(|(_, template)| **template != RAW) {
            of_template[*template as usize - 1].push(line);
        }
        let templates = kept.iter().zip(&of_template).map(|(template, lines)| self.plan(*template, lines)).collect::<Vec<_>>();
        let mut used = vec![false; self.words.len()];
        templates.iter().flatten().for_each(|variable| variable.words().for_each(|word| used[word as usize] = true));
        let (words, numbers) = self.words.encode(&used);
        columns.set(Column::Words, words);
        let (texts, codes, values, ids) = Default::default();
        let mut out = Variables { words: &self.words, numbers: &numbers, texts, codes, values, ids };
        put_varint(&mut out.texts, kept.len() as u64);
        kept.iter().for_each(|template| put_bytes(&mut out.texts, self.templates.texts.get(*template)));
        templates.into_iter().flatten().for_each(|variable| out.put(variable));
        columns.set(Column::Texts, out.texts);
        columns.set(Column::Codes, out.codes);
        columns.set(Column::Numbers, out.values);
        columns.set(Column::Ids, out.ids);
    }

    /// The numbers that templates have when those of a single line are left out, [`RAW`] for these; and the ones kept. Of a
    /// template that is used once nothing is gained.
    fn kept(&self) -> (Vec<u32>, Vec<u32>) {
        let mut counts = vec![0_u32; self.templates.texts.len() + 1];
        self.lines.iter().for_each(|(template, _)| counts[*template as usize] += 1);
        let (mut numbers, mut kept) = (vec![RAW; counts.len()], Vec::new());
        for template in (1..counts.len()).filter(|template| counts[*template] > 1) {
            kept.push(template as u32 - 1);
            numbers[template] = kept.len() as u32;
        }
        (numbers, kept)
    }

    /// How each variable of a template is stored.
    fn plan(&self, template: u32, lines: &[u32]) -> Vec<Planned> {
        let pieces = pieces(self.templates.texts.get(template)).map(|piece| piece.expect("invariant: made by parse"));
        let stored = pieces.filter_map(|piece| match piece {
            Piece::Word => Some(None),
            Piece::Clock(format) => Some(Some(format)),
            _ => None,
        });
        let column = |place: usize| lines.iter().map(move |line| self.values[self.lines[*line as usize].1 as usize + place]);
        let plan = |(place, clock): (usize, Option<ClockFormat>)| {
            let first = column(place).next().expect("invariant: a template that is kept has lines");
            match clock {
                Some(_) => Planned::Clock(column(place).collect()),
                None if column(place).all(|word| word == first) => Planned::Same(first as u32),
                None => self.plan_words(column(place).collect()),
            }
        };
        stored.enumerate().map(plan).collect()
    }

    /// Of words that are not all the same.
    fn plan_words(&self, values: Vec<u64>) -> Planned {
        let class = self.words.class(values[0] as u32);
        if class == Class::Text || values.iter().any(|word| self.words.class(*word as u32) != class) {
            return Planned::Words(values);
        }
        let numbers = || values.iter().map(|word| number_of(self.words.get(*word as u32)));
        if class == Class::Number && width(numbers().max().unwrap_or(0) - numbers().min().unwrap_or(0)) <= 2 {
            return Planned::Numbers(numbers().collect());
        }
        let mut distinct = values.clone();
        distinct.sort_unstable();
        distinct.dedup();
        match class {
            // In the dictionary each is there once, and a code beside.
            _ if distinct.len() * 2 <= values.len() => Planned::Words(values),
            Class::Number => Planned::Numbers(numbers().collect()),
            _ => Planned::Ids(class, values),
        }
    }
}

fn add_literals(template: &[u8], tokens: &mut TokenSet) {
    for piece in pieces(template) {
        if let Piece::Literal(range) = piece.expect("invariant: made by parse") {
            tokens.add_text(&template[range]);
        }
    }
}

/// How a variable of a template is stored, with its values.
enum Planned {
    Same(u32),
    Words(Vec<u64>),
    Numbers(Vec<u64>),
    Ids(Class, Vec<u64>),
    Clock(Vec<u64>),
}

impl Planned {
    /// Those that have to be in the dictionary.
    fn words(&self) -> impl Iterator<Item = u32> {
        let (one, many) = match self {
            Self::Same(word) => (Some(*word), &[][..]),
            Self::Words(words) => (None, &words[..]),
            _ => (None, &[][..]),
        };
        one.into_iter().chain(many.iter().map(|word| *word as u32))
    }
}

/// The columns of variables in the making.
struct Variables<'a> {
    words: &'a WordSet,
    /// Of words in the dictionary.
    numbers: &'a [u32],
    texts: Vec<u8>,
    codes: Vec<u8>,
    values: Vec<u8>,
    ids: Vec<u8>,
}

impl Variables<'_> {
    fn put(&mut self, variable: Planned) {
        match variable {
            Planned::Same(word) => {
                self.texts.push(SAME);
                put_varint(&mut self.texts, u64::from(self.numbers[word as usize]));
            }
            Planned::Words(mut words) => {
                self.texts.push(WORDS);
                words.iter_mut().for_each(|word| *word = u64::from(self.numbers[*word as usize]));
                let base = put_fixed(&mut self.codes, &mut self.texts, &words, 0);
                put_varint(&mut self.texts, base);
            }
            Planned::Numbers(numbers) => {
                self.texts.push(NUMBERS);
                let base = put_fixed(&mut self.values, &mut self.texts, &numbers, 0);
                put_varint(&mut self.texts, base);
            }
            Planned::Ids(class, words) => {
                self.texts.push(IDS + class.byte());
                words.iter().for_each(|word| put_id(&mut self.ids, self.words.get(*word as u32)));
            }
            Planned::Clock(times) => {
                let base = put_fixed(&mut self.values, &mut self.texts, &times, 1 << 63);
                put_zigzag(&mut self.texts, base as i64);
            }
        }
    }
}

/// Appends values less the smallest, each in as many bytes as the largest needs, and that width to `texts`; returns the smallest.
/// `flip` orders signed values.
fn put_fixed(out: &mut Vec<u8>, texts: &mut Vec<u8>, values: &[u64], flip: u64) -> u64 {
    let base = values.iter().map(|value| value ^ flip).min().unwrap_or(0) ^ flip;
    let width = width(values.iter().map(|value| value.wrapping_sub(base)).max().unwrap_or(0));
    texts.push(width as u8);
    values.iter().for_each(|value| out.extend_from_slice(&value.wrapping_sub(base).to_le_bytes()[..width]));
    base
}

/// Bytes that hold a number: 0, 1, 2, 4 or 8.
fn width(number: u64) -> usize {
    match number {
        0 => 0,
        1..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

/// A width, and so many bytes a number up to `largest`.
fn encode_numbers(numbers: &[u32], largest: usize) -> Vec<u8> {
    let width = width(largest as u64).max(1);
    let mut out = vec![width as u8];
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()[..width]));
    out
}
