//! The bodies of an encoded chunk: templates and columns of variables, rendered a line at a time. Written by `encode.rs`.

use std::sync::Arc;

use weir_model::id::{SpanId, TraceId};
use weir_model::log::LogAttributes;

use super::frame::{Column, Frame};
use super::outline::{Outline, RawBodies};
use super::template::BODY_BYTES_MAX;
use super::templates::{Part, Templates};
use super::tokens::TokenSet;
use super::words::{Class, digits, id_text_bytes, put_id_text, put_number};

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
    templates: Arc<Templates>,
    raw: Arc<RawBodies>,
    codes: Vec<u8>,
    numbers: Vec<u8>,
    ids: Vec<u8>,
    /// Of each line which it is of its template's lines, or of the bodies that are stored as they are.
    nths: Vec<u32>,
}

impl Bodies {
    /// Of a pack; errors are sentences.
    pub(crate) fn decode(frame: &Frame, (templates, raw): (Arc<Templates>, Arc<RawBodies>)) -> Result<Self, String> {
        let bodies = Self {
            nths: nths(&templates.outline),
            templates,
            raw,
            codes: frame.column(Column::Codes)?,
            numbers: frame.column(Column::Numbers)?,
            ids: frame.column(Column::Ids)?,
        };
        bodies.check_words()?;
        Ok(bodies)
    }

    fn check_words(&self) -> Result<(), String> {
        for template in 0..self.templates.len() {
            let lines = self.lines_of(template);
            for part in self.templates.parts(template) {
                let Part::Words(codes) = part else { continue };
                let distinct = if codes.width == 0 { lines.min(1) } else { lines };
                for nth in 0..distinct {
                    self.templates.check_word(codes.get(&self.codes, nth))?;
                }
            }
        }
        Ok(())
    }

    fn lines_of(&self, template: usize) -> usize {
        self.templates.outline.lines_of(template)
    }

    /// Bytes held, without what it shares.
    pub(crate) fn memory(&self) -> usize {
        let bytes = [&self.codes, &self.numbers, &self.ids].map(Vec::capacity);
        bytes.iter().sum::<usize>() + self.nths.capacity() * size_of::<u32>()
    }

    /// Bytes of line `i`'s body. Errors with a sentence when it has none that may be.
    pub(crate) fn check_line(&self, i: usize, context: &LineContext<'_>) -> Result<usize, String> {
        let (template, nth) = (self.templates.number_of(i), self.nths[i] as usize);
        let Some(template) = template else { return Ok(self.raw.get(nth).len()) };
        let mut length = 0;
        for part in self.templates.parts(template) {
            length += match part {
                Part::Literal(range) => range.len(),
                Part::Same(word) => self.templates.words.get(*word).len(),
                Part::Words(codes) => self.templates.words.get(codes.get(&self.codes, nth) as u32).len(),
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
        match self.templates.number_of(i) {
            Some(template) => {
                self.templates.parts(template).iter().for_each(|part| self.render_part(part, (i, context), out));
            }
            None => out.extend_from_slice(self.raw.get(self.nths[i] as usize)),
        }
    }

    fn render_part(&self, part: &Part, (i, context): (usize, &LineContext<'_>), out: &mut Vec<u8>) {
        let nth = self.nths[i] as usize;
        match part {
            Part::Literal(range) => out.extend_from_slice(self.templates.literal(range)),
            Part::Same(word) => out.extend_from_slice(self.templates.words.get(*word)),
            Part::Words(codes) => out.extend_from_slice(self.templates.words.get(codes.get(&self.codes, nth) as u32)),
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
        self.templates.words.iter().for_each(|word| tokens.add_text(word));
        let mut text = Vec::new();
        for template in 0..self.templates.len() {
            let lines = self.lines_of(template);
            for part in self.templates.parts(template) {
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
                    tokens.add_text(self.templates.literal(range));
                }
            }
        }
    }

    /// Adds what [`Self::add_tokens`] does not of line `i`, which was checked. `known` has the bits of its ids that were added for a
    /// line of the same ids.
    pub(crate) fn add_tokens_of_line(&self, i: usize, context: &LineContext<'_>, known: &mut u8, tokens: &mut TokenSet) {
        let Some(template) = self.templates.number_of(i) else { return };
        let mut text = Vec::new();
        for part in self.templates.parts(template).iter().filter(|part| part.has_tokens_of_line()) {
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

/// Of each line how many before it have its template.
fn nths(outline: &Outline) -> Vec<u32> {
    let mut counts = vec![0; outline.len() + 1];
    let next = |number: usize| {
        counts[number] += 1;
        counts[number] - 1
    };
    outline.numbers().map(next).collect()
}
