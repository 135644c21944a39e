//! The bodies of an encoded chunk: templates and columns of variables, rendered a line at a time. Written by `encode.rs`.

use std::ops::Range;

use weir_blocks::columns::Reader;
use weir_model::id::{SpanId, TraceId};
use weir_model::log::LogAttributes;

use super::clock::ClockFormat;
use super::encode::{IDS, NUMBERS, SAME, WORDS};
use super::filter::span;
use super::fixed::{Fixed, end_of};
use super::frame::{Column, Frame};
use super::template::{BODY_BYTES_MAX, Piece, pieces};
use super::tokens::TokenSet;
use super::words::{Class, Words, digits, id_text_bytes, put_id_text, put_number};

/// What a line has beside its body, as far as bodies refer to it.
#[derive(Clone, Copy)]
pub(crate) struct LineContext<'a> {
    pub(crate) timestamp: i64,
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) attributes: LogAttributes<'a>,
}

/// Bodies of a chunk, packed. [`Self::check_line`] is asked before a line is rendered.
pub(crate) struct Bodies {
    texts: Vec<u8>,
    pub(super) templates: Vec<Template>,
    pub(super) words: Words,
    codes: Vec<u8>,
    numbers: Vec<u8>,
    ids: Vec<u8>,
    /// Of a line its template, counted from one, and which of the template's lines it is; of one that is stored as it is 0, and which
    /// of these.
    lines: Vec<(u32, u32)>,
    raw: Vec<u8>,
    raw_ends: Vec<u32>,
}

pub(super) struct Template {
    /// Where it is in `texts`.
    text: Range<usize>,
    refers: Refers,
    pub(super) parts: Vec<Part>,
    /// Which parts are references or times with tokens.
    of_lines: Vec<usize>,
}

/// What of a line's context its body refers to, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refers {
    Nothing,
    /// Whose texts are of one length.
    Ids,
    Attributes,
}

impl Refers {
    fn of(part: &Part) -> Self {
        match part {
            Part::Attribute(_) => Self::Attributes,
            Part::Trace | Part::Span => Self::Ids,
            _ => Self::Nothing,
        }
    }
}

/// A piece of a template with where its values are. Long lists give a template thousands of them: hence the small numbers, which
/// columns of less than 4 GiB do with.
pub(super) enum Part {
    /// In `texts`.
    Literal(Range<u32>),
    Same(u32),
    /// Numbers of words, among `codes`.
    Words(Fixed),
    Numbers(Fixed),
    /// In `ids`, from there on.
    Ids(Class, usize),
    Trace,
    Span,
    Attribute(u8),
    Clock(ClockFormat, Fixed),
}

impl Bodies {
    /// Of a chunk; errors are sentences.
    pub(crate) fn decode(frame: &Frame) -> Result<Self, String> {
        let (lines, counts) = decode_lines(&frame.column(Column::Templates)?, frame.lines)?;
        let mut bodies = Self {
            texts: frame.column(Column::Texts)?,
            templates: Vec::new(),
            words: Words::decode(&frame.column(Column::Words)?)?,
            codes: frame.column(Column::Codes)?,
            numbers: frame.column(Column::Numbers)?,
            ids: frame.column(Column::Ids)?,
            lines,
            raw: frame.column(Column::Bodies)?,
            raw_ends: Vec::new(),
        };
        bodies.decode_raw(counts.first().copied().unwrap_or_default())?;
        bodies.templates = bodies.decode_templates(&counts)?;
        Ok(bodies)
    }

    fn decode_raw(&mut self, count: usize) -> Result<(), String> {
        let mut reader = Reader::new(&self.raw);
        let mut end = 0_u64;
        for _ in 0..count {
            end += u64::from(reader.varint_u32("length of a body")?);
            self.raw_ends.push(u32::try_from(end).map_err(|_| "its lines are longer than 4 GiB together")?);
        }
        let start = self.raw.len() - reader.left();
        if reader.left() as u64 != end {
            return Err("the lengths of its lines do not add up".into());
        }
        self.raw.drain(..start);
        Ok(())
    }

    fn decode_templates(&self, counts: &[usize]) -> Result<Vec<Template>, String> {
        let mut reader = Reader::new(&self.texts);
        let count = reader.count("templates", 1)?;
        if counts.len() > count + 1 {
            return Err(format!("a line has template {} of {count}", counts.len() - 1));
        }
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            let text = reader.bytes("template")?;
            let end = self.texts.len() - reader.left();
            texts.push(end - text.len()..end);
        }
        let mut at = Columns::default();
        let lines = counts.iter().skip(1).copied().chain(std::iter::repeat(0));
        let read = |(text, lines): (Range<usize>, usize)| {
            let pieces = pieces(&self.texts[text.clone()])?;
            let part = |piece| self.decode_part(piece, (text.start, lines), &mut reader, &mut at);
            let of_lines = (0..pieces.len()).filter(|part| pieces[*part].has_tokens_of_line()).collect();
            let parts = pieces.into_iter().map(part).collect::<Result<Vec<_>, String>>()?;
            let refers = parts.iter().map(Refers::of).max().unwrap_or(Refers::Nothing);
            Ok(Template { text: text.clone(), refers, parts, of_lines })
        };
        let templates = texts.into_iter().zip(lines).map(read).collect::<Result<Vec<_>, String>>()?;
        reader.finish()?;
        if (at.codes, at.numbers, at.ids) != (self.codes.len(), self.numbers.len(), self.ids.len()) {
            return Err("there are more variables than templates have".into());
        }
        Ok(templates)
    }

    fn decode_part(
        &self,
        piece: Piece,
        (text, lines): (usize, usize),
        reader: &mut Reader<'_>,
        at: &mut Columns,
    ) -> Result<Part, String> {
        Ok(match piece {
            Piece::Literal(range) => Part::Literal((text + range.start) as u32..(text + range.end) as u32),
            Piece::Trace => Part::Trace,
            Piece::Span => Part::Span,
            Piece::Attribute(place) => Part::Attribute(place),
            Piece::Clock(format) => {
                let fixed = Fixed::read(reader, &self.numbers, &mut at.numbers, lines)?;
                Part::Clock(format, Fixed { base: reader.zigzag("time")? as u64, ..fixed })
            }
            Piece::Word => match reader.array("kind of variable")? {
                [SAME] => Part::Same(self.check_word(reader.varint("word")?)?),
                [WORDS] => {
                    let fixed = Fixed::read(reader, &self.codes, &mut at.codes, lines)?;
                    let fixed = Fixed { base: reader.varint("word")?, ..fixed };
                    for nth in 0..if fixed.width == 0 { lines.min(1) } else { lines } {
                        self.check_word(fixed.get(&self.codes, nth))?;
                    }
                    Part::Words(fixed)
                }
                [NUMBERS] => {
                    let fixed = Fixed::read(reader, &self.numbers, &mut at.numbers, lines)?;
                    Part::Numbers(Fixed { base: reader.varint("number")?, ..fixed })
                }
                [kind] => {
                    let class = kind.checked_sub(IDS).and_then(Class::from_byte).filter(|class| class.id_bytes().is_some());
                    let class = class.ok_or_else(|| format!("a variable is coded as {kind}"))?;
                    let start = at.ids;
                    at.ids = end_of(start, class.id_bytes().unwrap_or_default(), lines, &self.ids)?;
                    Part::Ids(class, start)
                }
            },
        })
    }

    fn check_word(&self, number: u64) -> Result<u32, String> {
        let known = u32::try_from(number).ok().filter(|number| (*number as usize) < self.words.len());
        known.ok_or_else(|| format!("word {number} of {}", self.words.len()))
    }

    /// The number of line `i`'s template; `None` when its body is stored as it is.
    pub(crate) fn template(&self, i: usize) -> Option<usize> {
        (self.lines[i].0 as usize).checked_sub(1)
    }

    /// What line `i`'s body refers to.
    pub(crate) fn refers(&self, i: usize) -> Refers {
        self.template(i).map_or(Refers::Nothing, |template| self.templates[template].refers)
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        let template = |template: &Template| {
            size_of::<Template>()
                + template.parts.capacity() * size_of::<Part>()
                + template.of_lines.capacity() * size_of::<usize>()
        };
        let bytes = [&self.texts, &self.codes, &self.numbers, &self.ids, &self.raw].map(Vec::capacity);
        bytes.iter().sum::<usize>()
            + self.words.memory()
            + self.lines.capacity() * size_of::<(u32, u32)>()
            + self.raw_ends.capacity() * size_of::<u32>()
            + self.templates.iter().map(template).sum::<usize>()
    }

    /// A template's bytes.
    pub(crate) fn template_text(&self, template: usize) -> &[u8] {
        &self.texts[self.templates[template].text.clone()]
    }

    /// The bytes of a literal.
    pub(super) fn literal(&self, range: &Range<u32>) -> &[u8] {
        &self.texts[range.start as usize..range.end as usize]
    }

    /// Bytes of line `i`'s body. Errors with a sentence when it has none that may be.
    pub(crate) fn check_line(&self, i: usize, context: &LineContext<'_>) -> Result<usize, String> {
        let (template, nth) = (self.template(i), self.lines[i].1 as usize);
        let Some(template) = template else { return Ok(span(&self.raw_ends, nth).len()) };
        let mut length = 0;
        for part in &self.templates[template].parts {
            length += match part {
                Part::Literal(range) => range.len(),
                Part::Same(word) => self.words.get(*word).len(),
                Part::Words(codes) => self.words.get(codes.get(&self.codes, nth) as u32).len(),
                Part::Numbers(numbers) => digits(numbers.get(&self.numbers, nth)),
                Part::Ids(class, _) => id_text_bytes(*class),
                Part::Trace => 32,
                Part::Span => 16,
                Part::Attribute(place) => match context.attributes.iter().nth(usize::from(*place)) {
                    Some((_, value)) => value.len(),
                    None => return Err(format!("line {i} says attribute {place} of {}", context.attributes.len())),
                },
                Part::Clock(format, _) => format.text_bytes(),
            };
        }
        if length > BODY_BYTES_MAX {
            Err(format!("line {i} has {length} bytes, {BODY_BYTES_MAX} are the most"))
        } else {
            Ok(length)
        }
    }

    /// Appends line `i`'s body, which was checked.
    pub(crate) fn render(&self, i: usize, context: &LineContext<'_>, out: &mut Vec<u8>) {
        match self.template(i) {
            Some(template) => {
                self.templates[template].parts.iter().for_each(|part| self.render_part(part, (i, context), out));
            }
            None => out.extend_from_slice(&self.raw[span(&self.raw_ends, self.lines[i].1 as usize)]),
        }
    }

    fn render_part(&self, part: &Part, (i, context): (usize, &LineContext<'_>), out: &mut Vec<u8>) {
        let nth = self.lines[i].1 as usize;
        match part {
            Part::Literal(range) => out.extend_from_slice(self.literal(range)),
            Part::Same(word) => out.extend_from_slice(self.words.get(*word)),
            Part::Words(codes) => out.extend_from_slice(self.words.get(codes.get(&self.codes, nth) as u32)),
            Part::Numbers(numbers) => put_number(out, numbers.get(&self.numbers, nth)),
            Part::Ids(class, at) => self.put_id_of(out, (*class, *at), nth),
            Part::Trace => put_id_text(out, &context.trace_id.0, Class::Hex16),
            Part::Span => put_id_text(out, &context.span_id.0, Class::Hex8),
            Part::Attribute(place) => {
                let value = context.attributes.iter().nth(usize::from(*place)).map_or("", |(_, value)| value);
                out.extend_from_slice(value.as_bytes());
            }
            Part::Clock(format, times) => format.render(times.get(&self.numbers, nth) as i64, context.timestamp, out),
        }
    }

    /// Adds the tokens of templates and of variables, but not of references and times: see [`Self::has_tokens_of_line`].
    pub(crate) fn add_tokens(&self, tokens: &mut TokenSet) {
        (0..self.raw_ends.len()).for_each(|i| tokens.add_text(&self.raw[span(&self.raw_ends, i)]));
        self.words.iter().for_each(|word| tokens.add_text(word));
        let mut lines = vec![0; self.templates.len()];
        self.lines
            .iter()
            .filter_map(|(template, _)| (*template as usize).checked_sub(1))
            .for_each(|template| lines[template] += 1);
        let mut text = Vec::new();
        for (template, lines) in self.templates.iter().zip(lines) {
            for part in &template.parts {
                for nth in 0..lines {
                    text.clear();
                    match part {
                        Part::Numbers(numbers) => put_number(&mut text, numbers.get(&self.numbers, nth)),
                        Part::Ids(class, at) => self.put_id_of(&mut text, (*class, *at), nth),
                        _ => break,
                    }
                    tokens.add_text(&text);
                }
                if let Part::Literal(range) = part {
                    tokens.add_text(self.literal(range));
                }
            }
        }
    }

    /// Adds what [`Self::add_tokens`] does not of line `i`, which was checked. `known` has the bits of its ids that were added for a
    /// line of the same ids.
    pub(crate) fn add_tokens_of_line(&self, i: usize, context: &LineContext<'_>, known: &mut u8, tokens: &mut TokenSet) {
        let Some(template) = self.template(i).map(|template| &self.templates[template]) else { return };
        let mut text = Vec::new();
        for part in template.of_lines.iter().map(|part| &template.parts[*part]) {
            let bit = match part {
                Part::Trace => 1,
                Part::Span => 2,
                _ => 0,
            };
            if *known & bit == 0 {
                *known |= bit;
                text.clear();
                self.render_part(part, (i, context), &mut text);
                tokens.add_text(&text);
            }
        }
    }

    fn put_id_of(&self, out: &mut Vec<u8>, (class, at): (Class, usize), nth: usize) {
        let width = class.id_bytes().unwrap_or_default();
        put_id_text(out, &self.ids[at + nth * width..][..width], class);
    }
}

/// How far the columns are read.
#[derive(Default)]
struct Columns {
    codes: usize,
    numbers: usize,
    ids: usize,
}

/// Each line's template and which of its lines it is, and how many lines each template has.
#[expect(clippy::type_complexity, reason = "two lists, said above")]
fn decode_lines(column: &[u8], count: usize) -> Result<(Vec<(u32, u32)>, Vec<usize>), String> {
    let (width, numbers) = column.split_first().ok_or("it has no templates")?;
    let width = usize::from(*width);
    if !matches!(width, 1 | 2 | 4) || numbers.len() != count.saturating_mul(width) {
        return Err(format!("{} bytes of templates of {count} lines, {width} each", numbers.len()));
    }
    let (mut lines, mut counts) = (Vec::with_capacity(count), Vec::new());
    for number in numbers.chunks_exact(width) {
        let mut bytes = [0; 4];
        bytes[..width].copy_from_slice(number);
        let template = u32::from_le_bytes(bytes);
        if template as usize > count {
            return Err(format!("a line has template {template} of a chunk of {count} lines"));
        }
        if template as usize >= counts.len() {
            counts.resize(template as usize + 1, 0);
        }
        lines.push((template, counts[template as usize] as u32));
        counts[template as usize] += 1;
    }
    Ok((lines, counts))
}
