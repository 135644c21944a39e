//! The bodies of an encoded chunk: templates and columns of variables, rendered a line at a time. Written by `encode.rs`.

use std::ops::Range;
use std::sync::Arc;

use weir_blocks::columns::Reader;
use weir_model::id::{SpanId, TraceId};
use weir_model::log::LogAttributes;

use super::clock::ClockFormat;
use super::encode::{IDS, NUMBERS, SAME, WORDS};
use super::fixed::{Fixed, end_of};
use super::frame::{Column, Frame};
use super::outline::{Outline, RawBodies};
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
    outline: Arc<Outline>,
    raw: Arc<RawBodies>,
    pub(super) templates: Vec<Template>,
    pub(super) words: Arc<Words>,
    codes: Vec<u8>,
    numbers: Vec<u8>,
    ids: Vec<u8>,
    /// Of each line which it is of its template's lines, or of the bodies that are stored as they are.
    nths: Vec<u32>,
}

pub(super) struct Template {
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
    /// In the outline's texts.
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
    pub(crate) fn decode(
        frame: &Frame,
        (outline, raw, words): (Arc<Outline>, Arc<RawBodies>, Arc<Words>),
    ) -> Result<Self, String> {
        let nths = nths(&outline);
        let mut bodies = Self {
            outline,
            raw,
            templates: Vec::new(),
            words,
            codes: frame.column(Column::Codes)?,
            numbers: frame.column(Column::Numbers)?,
            ids: frame.column(Column::Ids)?,
            nths,
        };
        bodies.templates = bodies.decode_templates()?;
        Ok(bodies)
    }

    fn decode_templates(&self) -> Result<Vec<Template>, String> {
        let mut reader = self.outline.variables();
        let mut at = Columns::default();
        let read = |template: usize| {
            let (text, lines) = (self.outline.span(template), self.outline.lines_of(template));
            let pieces = pieces(self.outline.text(template))?;
            let part = |piece| self.decode_part(piece, (text.start, lines), &mut reader, &mut at);
            let of_lines = (0..pieces.len()).filter(|part| pieces[*part].has_tokens_of_line()).collect();
            let parts = pieces.into_iter().map(part).collect::<Result<Vec<_>, String>>()?;
            let refers = parts.iter().map(Refers::of).max().unwrap_or(Refers::Nothing);
            Ok(Template { refers, parts, of_lines })
        };
        let templates = (0..self.outline.len()).map(read).collect::<Result<Vec<_>, String>>()?;
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
        self.outline.template(i)
    }

    /// What line `i`'s body refers to.
    pub(crate) fn refers(&self, i: usize) -> Refers {
        self.template(i).map_or(Refers::Nothing, |template| self.templates[template].refers)
    }

    /// Bytes held, without what it shares.
    pub(crate) fn memory(&self) -> usize {
        let template = |template: &Template| {
            size_of::<Template>()
                + template.parts.capacity() * size_of::<Part>()
                + template.of_lines.capacity() * size_of::<usize>()
        };
        let bytes = [&self.codes, &self.numbers, &self.ids].map(Vec::capacity);
        bytes.iter().sum::<usize>() + self.nths.capacity() * size_of::<u32>() + self.templates.iter().map(template).sum::<usize>()
    }

    /// A template's bytes.
    pub(crate) fn template_text(&self, template: usize) -> &[u8] {
        self.outline.text(template)
    }

    /// The bytes of a literal.
    pub(super) fn literal(&self, range: &Range<u32>) -> &[u8] {
        &self.outline.texts()[range.start as usize..range.end as usize]
    }

    /// Bytes of line `i`'s body. Errors with a sentence when it has none that may be.
    pub(crate) fn check_line(&self, i: usize, context: &LineContext<'_>) -> Result<usize, String> {
        let (template, nth) = (self.template(i), self.nths[i] as usize);
        let Some(template) = template else { return Ok(self.raw.get(nth).len()) };
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
            None => out.extend_from_slice(self.raw.get(self.nths[i] as usize)),
        }
    }

    fn render_part(&self, part: &Part, (i, context): (usize, &LineContext<'_>), out: &mut Vec<u8>) {
        let nth = self.nths[i] as usize;
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
        (0..self.raw.len()).for_each(|i| tokens.add_text(self.raw.get(i)));
        self.words.iter().for_each(|word| tokens.add_text(word));
        let mut text = Vec::new();
        for (i, template) in self.templates.iter().enumerate() {
            let lines = self.outline.lines_of(i);
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

/// Of each line how many before it have its template.
fn nths(outline: &Outline) -> Vec<u32> {
    let mut counts = vec![0; outline.len() + 1];
    let next = |number: usize| {
        counts[number] += 1;
        counts[number] - 1
    };
    outline.numbers().map(next).collect()
}
