//! Templates of a pack's lines as parts, with where the values of their variables are. Nothing of the variables is unpacked: which lines may have
//! what a filter looks for is mostly told without ([`super::needle`]). Written by `encode.rs`; lines are rendered by `bodies.rs`.

use std::ops::Range;
use std::sync::Arc;

use weir_blocks::columns::Reader;

use super::clock::ClockFormat;
use super::encode::{IDS, NUMBERS, SAME, WORDS};
use super::fixed::{Fixed, end_of};
use super::frame::{Column, Frame};
use super::outline::Outline;
use super::template::{Piece, pieces};
use super::words::{Class, Words};

/// Templates of a pack.
pub(crate) struct Templates {
    pub(super) outline: Arc<Outline>,
    pub(super) words: Arc<Words>,
    all: Vec<Template>,
    /// Those of all templates, one after the other.
    parts: Vec<Part>,
}

struct Template {
    refers: Refers,
    /// Where its parts end, and those of the next one begin.
    end: u32,
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

impl Part {
    /// Whether it is something of its line that may have tokens.
    pub(super) fn has_tokens_of_line(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Same(_) | Self::Words(_) | Self::Numbers(_) | Self::Ids(..) => false,
            Self::Trace | Self::Span | Self::Attribute(_) => true,
            Self::Clock(format, _) => format.has_tokens(),
        }
    }
}

impl Templates {
    /// Of a pack; errors are sentences.
    pub(crate) fn decode(frame: &Frame, (outline, words): (Arc<Outline>, Arc<Words>)) -> Result<Self, String> {
        let bytes = |column| frame.column_bytes(column).0;
        let ends = Columns { codes: bytes(Column::Codes), numbers: bytes(Column::Numbers), ids: bytes(Column::Ids) };
        let mut templates = Self { outline, words, all: Vec::new(), parts: Vec::new() };
        (templates.all, templates.parts) = templates.decode_all(&ends)?;
        Ok(templates)
    }

    fn decode_all(&self, ends: &Columns) -> Result<(Vec<Template>, Vec<Part>), String> {
        let (mut reader, mut at) = (self.outline.variables(), Columns::default());
        let (mut all, mut parts) = (Vec::with_capacity(self.outline.len()), Vec::new());
        for template in 0..self.outline.len() {
            let (text, lines, mut refers) = (self.outline.span(template), self.outline.lines_of(template), Refers::Nothing);
            for piece in pieces(self.outline.text(template)) {
                let part = self.decode_part(piece?, (text.start, lines), &mut reader, (&mut at, ends))?;
                refers = refers.max(Refers::of(&part));
                parts.push(part);
            }
            all.push(Template { refers, end: parts.len() as u32 });
        }
        reader.finish()?;
        if at == *ends { Ok((all, parts)) } else { Err("there are more variables than templates have".into()) }
    }

    fn decode_part(
        &self,
        piece: Piece,
        (text, lines): (usize, usize),
        reader: &mut Reader<'_>,
        (at, ends): (&mut Columns, &Columns),
    ) -> Result<Part, String> {
        Ok(match piece {
            Piece::Literal(range) => Part::Literal((text + range.start) as u32..(text + range.end) as u32),
            Piece::Trace => Part::Trace,
            Piece::Span => Part::Span,
            Piece::Attribute(place) => Part::Attribute(place),
            Piece::Clock(format) => {
                let fixed = Fixed::read(reader, &mut at.numbers, ends.numbers, lines)?;
                Part::Clock(format, Fixed { base: reader.zigzag("time")? as u64, ..fixed })
            }
            Piece::Word => match reader.array("kind of variable")? {
                [SAME] => Part::Same(self.check_word(reader.varint("word")?)?),
                [WORDS] => {
                    let fixed = Fixed::read(reader, &mut at.codes, ends.codes, lines)?;
                    Part::Words(Fixed { base: reader.varint("word")?, ..fixed })
                }
                [NUMBERS] => {
                    let fixed = Fixed::read(reader, &mut at.numbers, ends.numbers, lines)?;
                    Part::Numbers(Fixed { base: reader.varint("number")?, ..fixed })
                }
                [kind] => {
                    let class = kind.checked_sub(IDS).and_then(Class::from_byte).filter(|class| class.id_bytes().is_some());
                    let class = class.ok_or_else(|| format!("a variable is coded as {kind}"))?;
                    let start = at.ids;
                    at.ids = end_of(start, class.id_bytes().unwrap_or_default(), lines, ends.ids)?;
                    Part::Ids(class, start)
                }
            },
        })
    }

    /// Errors when there is no word of this number.
    pub(super) fn check_word(&self, number: u64) -> Result<u32, String> {
        let known = u32::try_from(number).ok().filter(|number| (*number as usize) < self.words.len());
        known.ok_or_else(|| format!("word {number} of {}", self.words.len()))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The parts of a template.
    pub(super) fn parts(&self, template: usize) -> &[Part] {
        let start = template.checked_sub(1).map_or(0, |before| self.all[before].end);
        &self.parts[start as usize..self.all[template].end as usize]
    }

    /// The number of line `i`'s template; `None` when its body is stored as it is.
    pub(crate) fn number_of(&self, i: usize) -> Option<usize> {
        self.outline.template(i)
    }

    /// What line `i`'s body refers to.
    pub(crate) fn refers(&self, i: usize) -> Refers {
        self.number_of(i).map_or(Refers::Nothing, |template| self.all[template].refers)
    }

    /// The bytes of a literal.
    pub(super) fn literal(&self, range: &Range<u32>) -> &[u8] {
        &self.outline.texts()[range.start as usize..range.end as usize]
    }

    /// Bytes held, without what it shares.
    pub(crate) fn memory(&self) -> usize {
        self.all.capacity() * size_of::<Template>() + self.parts.capacity() * size_of::<Part>()
    }
}

/// How far the columns of variables are read, or reach.
#[derive(Default, PartialEq, Eq)]
struct Columns {
    codes: usize,
    numbers: usize,
    ids: usize,
}
