//! What is known of an encoded chunk's bodies without their variables: which line has which template, what is constant of each, and
//! the bodies that are stored as they are. Written by `encode.rs`; whatever needs no variable is answered from it.

use std::ops::Range;

use weir_blocks::columns::Reader;

use super::filter::span;

/// Templates of a chunk's lines.
pub(crate) struct Outline {
    /// The column of texts: those of templates, then how variables are stored.
    texts: Vec<u8>,
    templates: Vec<Range<u32>>,
    /// Where in `texts` it is said how variables are stored.
    variables: usize,
    /// Of each line its template, counted from one, in `width` bytes; 0: its body is stored as it is.
    numbers: Vec<u8>,
    width: usize,
    /// Lines by these numbers.
    counts: Vec<usize>,
}

impl Outline {
    /// Of the columns of a chunk of so many lines; errors are sentences.
    pub(crate) fn decode(mut numbers: Vec<u8>, texts: Vec<u8>, lines: usize) -> Result<Self, String> {
        let width = usize::from(*numbers.first().ok_or("it has no templates")?);
        numbers.remove(0);
        if !matches!(width, 1 | 2 | 4) || numbers.len() != lines.saturating_mul(width) {
            return Err(format!("{} bytes of templates of {lines} lines, {width} each", numbers.len()));
        }
        let mut outline = Self { texts, templates: Vec::new(), variables: 0, numbers, width, counts: Vec::new() };
        outline.counts = outline.count(lines)?;
        let mut reader = Reader::new(&outline.texts);
        let count = reader.count("templates", 1)?;
        if outline.counts.len() > count + 1 {
            return Err(format!("a line has template {} of {count}", outline.counts.len() - 1));
        }
        let mut templates = Vec::with_capacity(count);
        for _ in 0..count {
            let text = reader.bytes("template")?;
            let end = outline.texts.len() - reader.left();
            templates.push((end - text.len()) as u32..end as u32);
        }
        outline.variables = outline.texts.len() - reader.left();
        outline.templates = templates;
        Ok(outline)
    }

    fn count(&self, lines: usize) -> Result<Vec<usize>, String> {
        let mut counts = Vec::new();
        for number in self.numbers() {
            if number > lines {
                return Err(format!("a line has template {number} of a chunk of {lines} lines"));
            }
            if number >= counts.len() {
                counts.resize(number + 1, 0);
            }
            counts[number] += 1;
        }
        Ok(counts)
    }

    /// Of each line its template, counted from one; 0: its body is stored as it is.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.numbers.chunks_exact(self.width).map(number)
    }

    /// The same of some lines.
    pub(crate) fn numbers_of(&self, lines: Range<usize>) -> impl Iterator<Item = usize> {
        self.numbers[lines.start * self.width..lines.end * self.width].chunks_exact(self.width).map(number)
    }

    /// The number of line `i`'s template; `None` when its body is stored as it is.
    pub(crate) fn template(&self, i: usize) -> Option<usize> {
        number(&self.numbers[i * self.width..][..self.width]).checked_sub(1)
    }

    /// How many lines have a template.
    pub(crate) fn lines_of(&self, template: usize) -> usize {
        self.counts.get(template + 1).copied().unwrap_or_default()
    }

    /// How many bodies are stored as they are.
    pub(crate) fn raw(&self) -> usize {
        self.counts.first().copied().unwrap_or_default()
    }

    /// How many templates there are.
    pub(crate) fn len(&self) -> usize {
        self.templates.len()
    }

    /// Where a template is in [`Self::texts`].
    pub(crate) fn span(&self, template: usize) -> Range<usize> {
        let span = &self.templates[template];
        span.start as usize..span.end as usize
    }

    /// A template's bytes.
    pub(crate) fn text(&self, template: usize) -> &[u8] {
        &self.texts[self.span(template)]
    }

    pub(crate) fn texts(&self) -> &[u8] {
        &self.texts
    }

    /// How variables are stored.
    pub(crate) fn variables(&self) -> Reader<'_> {
        Reader::new(&self.texts[self.variables..])
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.texts.capacity()
            + self.templates.capacity() * size_of::<Range<u32>>()
            + self.numbers.capacity()
            + self.counts.capacity() * size_of::<usize>()
    }
}

fn number(bytes: &[u8]) -> usize {
    let mut wide = [0; 4];
    wide[..bytes.len()].copy_from_slice(bytes);
    u32::from_le_bytes(wide) as usize
}

/// Bodies that are stored as they are, one after the other.
pub(crate) struct RawBodies {
    bytes: Vec<u8>,
    /// Exclusive.
    ends: Vec<u32>,
}

impl RawBodies {
    /// Of the column, which has so many; errors are sentences.
    pub(crate) fn decode(mut bytes: Vec<u8>, count: usize) -> Result<Self, String> {
        let mut reader = Reader::new(&bytes);
        let (mut ends, mut end) = (Vec::new(), 0_u64);
        for _ in 0..count {
            end += u64::from(reader.varint_u32("length of a body")?);
            ends.push(u32::try_from(end).map_err(|_| "its lines are longer than 4 GiB together")?);
        }
        let start = bytes.len() - reader.left();
        if reader.left() as u64 != end {
            return Err("the lengths of its lines do not add up".into());
        }
        bytes.drain(..start);
        Ok(Self { bytes, ends })
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, nth: usize) -> &[u8] {
        &self.bytes[span(&self.ends, nth)]
    }

    /// All of them, and where each ends.
    pub(crate) fn all(&self) -> (&[u8], &[u32]) {
        (&self.bytes, &self.ends)
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }
}
