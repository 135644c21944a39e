//! Lines of an encoded chunk that pass by what is constant of their texts alone: of them neither variables nor, where nobody asks for
//! them, times are unpacked. Asked by `count`; `needle` tells the same of single lines where this does not know.

use std::cell::OnceCell;
use std::ops::Range;

use memchr::memmem::Finder;
use weir_model::time::{TimeRange, UnixNanos};

use super::filter::Filters;
use super::needle::fragments;
use super::stored::StoredLines;
use super::template::{ATTRIBUTE, CLOCK, WORD};
use super::tokens::is_token_byte;

/// Whether the lines of a template have what is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Has {
    No,
    /// Some may.
    Unknown,
    Yes,
}

/// What filters leave of the lines of a pack.
pub(crate) enum Passing {
    /// Of a template it depends on the line.
    DependsOnLine,
    Known {
        /// Of each whether its lines pass.
        templates: Vec<bool>,
        /// Lines, ascending, that pass of those whose bodies are stored as they are.
        raw: Vec<u32>,
        any: bool,
    },
}

impl StoredLines {
    /// Gives time and severity of every one of these lines in the range that passes. Without a range all of them count, and their times
    /// are said to be 0. False, and nothing is given, when texts of templates do not say which lines pass.
    pub(crate) fn tally(
        &self,
        (within, range): (Range<usize>, Option<TimeRange>),
        filters: &Filters,
        take: &mut dyn FnMut(UnixNanos, u8),
    ) -> Result<bool, String> {
        let passing = filters.last.passing(self.id(), || self.all_passing(filters))?;
        let Passing::Known { templates, raw, any } = &*passing else { return Ok(false) };
        if !any {
            return Ok(true);
        }
        let (times, severities) = (range.map(|_| self.times()).transpose()?, self.severities()?);
        for (i, number) in within.clone().zip(self.outline()?.numbers_of(within)) {
            let passes = match number.checked_sub(1) {
                Some(template) => templates[template],
                None => raw.binary_search(&(i as u32)).is_ok(),
            };
            let time = times.map_or(0, |times| times[i]);
            if passes && range.is_none_or(|range| range.contains(time)) {
                take(time, severities[i]);
            }
        }
        Ok(true)
    }

    fn all_passing(&self, filters: &Filters) -> Result<Passing, String> {
        let Some(templates) = self.passing(filters)? else { return Ok(Passing::DependsOnLine) };
        let raw = self.passing_raw(filters)?;
        let any = templates.contains(&true) || !raw.is_empty();
        Ok(Passing::Known { templates, raw, any })
    }

    /// Of each template whether its lines pass; `None` when of one it depends on the line.
    fn passing(&self, filters: &Filters) -> Result<Option<Vec<bool>>, String> {
        // A body with a mark's byte has no template.
        let is_mark = |byte: &u8| (WORD..=CLOCK).contains(byte);
        if !filters.are_needles() || filters.needles().flatten().any(|finder| finder.needle().iter().any(is_mark)) {
            return Ok(None);
        }
        let outline = self.outline()?;
        let mut found = vec![Has::Yes; outline.len()];
        for any in filters.needles() {
            let needles: Vec<Needle<'_>> = any.iter().map(Needle::new).collect();
            for (template, has) in found.iter_mut().enumerate() {
                let mut best = Has::No;
                for needle in &needles {
                    if *has == Has::No || best == Has::Yes {
                        break;
                    }
                    best = best.max(needle.is_in(outline.text(template), self)?);
                }
                *has = (*has).min(best);
            }
        }
        Ok((!found.contains(&Has::Unknown)).then(|| found.into_iter().map(|has| has == Has::Yes).collect()))
    }

    /// The lines, ascending, that pass of those whose bodies are stored as they are.
    fn passing_raw(&self, filters: &Filters) -> Result<Vec<u32>, String> {
        let outline = self.outline()?;
        let mut passing = Vec::new();
        if outline.raw() > 0 {
            let (bodies, ends) = self.raw()?.all();
            let mut lines = (0..).zip(outline.numbers()).filter(|(_, number)| *number == 0).map(|(line, _)| line).enumerate();
            filters.select(bodies, ends, |nth, _| {
                passing.extend(lines.find(|(own, _)| *own == nth).map(|(_, line): (usize, u32)| line));
                std::ops::ControlFlow::Continue(())
            });
        }
        Ok(passing)
    }
}

/// What is looked for.
struct Needle<'a> {
    finder: &'a Finder<'a>,
    /// When none of its tokens can be a whole variable: its tokens without a separator in front or behind. A variable that has all of
    /// such a token is the only way for the needle not to lie in one literal.
    edges: Option<Vec<Finder<'a>>>,
    /// Else: parts of it that are in a literal of every body that has it.
    fragments: Vec<Finder<'a>>,
    /// Whether a word, or a line's attribute or id, has an edge: found out when it is first asked.
    in_words: OnceCell<bool>,
    in_contexts: OnceCell<bool>,
}

impl<'a> Needle<'a> {
    fn new(finder: &'a Finder<'a>) -> Self {
        let text = finder.needle();
        Self {
            finder,
            edges: edges(text).map(|edges| edges.into_iter().map(Finder::new).collect()),
            fragments: fragments(text).into_iter().map(Finder::new).collect(),
            in_words: OnceCell::new(),
            in_contexts: OnceCell::new(),
        }
    }

    /// Whether lines of a template with this text have it. Errors when what is stored of `lines` cannot be read.
    fn is_in(&self, text: &[u8], lines: &StoredLines) -> Result<Has, String> {
        if in_literal(self.finder, text) {
            return Ok(Has::Yes);
        }
        if !text.iter().any(|byte| (WORD..=CLOCK).contains(byte)) {
            return Ok(Has::No);
        }
        let Some(edges) = &self.edges else {
            let has_all = self.fragments.iter().all(|fragment| fragment.find(text).is_some());
            return Ok(if has_all { Has::Unknown } else { Has::No });
        };
        let may_be = memchr::memchr(WORD, text).is_some() && self.in_words(edges, lines)?
            || memchr::memchr(ATTRIBUTE, text).is_some() && self.in_contexts(edges, lines)?;
        Ok(if may_be { Has::Unknown } else { Has::No })
    }

    fn in_words(&self, edges: &[Finder<'_>], lines: &StoredLines) -> Result<bool, String> {
        if let Some(known) = self.in_words.get() {
            return Ok(*known);
        }
        let words = lines.words()?;
        Ok(*self.in_words.get_or_init(|| edges.iter().any(|edge| words.have(edge))))
    }

    fn in_contexts(&self, edges: &[Finder<'_>], lines: &StoredLines) -> Result<bool, String> {
        if let Some(known) = self.in_contexts.get() {
            return Ok(*known);
        }
        let contexts = lines.contexts()?;
        Ok(*self.in_contexts.get_or_init(|| !edges.is_empty() && contexts.having(edges).contains(&true)))
    }
}

/// Whether a text that has no byte of a mark is in a literal of a template.
fn in_literal(finder: &Finder<'_>, template: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = finder.find(&template[from..]).map(|at| from + at) {
        if at == 0 || template[at - 1] < ATTRIBUTE || template[at - 1] > CLOCK || !is_of_mark(template, at) {
            return true;
        }
        from = at + 1;
    }
    false
}

/// Whether a byte of a template belongs to the mark before it.
fn is_of_mark(template: &[u8], at: usize) -> bool {
    let mut next = 0;
    while next < at {
        next += if matches!(template[next], ATTRIBUTE | CLOCK) { 2 } else { 1 };
    }
    next > at
}

/// The tokens at the edges of a needle without a separator beyond them; `None` when one of its tokens may be a variable, or a part of a
/// UUID or a time, or when it has none. A token at both edges stands once.
fn edges(needle: &[u8]) -> Option<Vec<&[u8]>> {
    let tokens = || needle.split(|byte| !is_token_byte(*byte));
    // No digit; and a letter that neither UUIDs and ids nor times have.
    let is_constant = |token: &[u8]| {
        !token.iter().any(u8::is_ascii_digit) && token.iter().any(|byte| !matches!(byte, b'a'..=b'f' | b'T' | b'Z'))
    };
    let all = tokens().filter(|token| !token.is_empty());
    if all.clone().next().is_none() || !all.clone().all(is_constant) {
        return None;
    }
    let mut edges: Vec<&[u8]> =
        tokens().next().into_iter().chain(tokens().next_back()).filter(|token| !token.is_empty()).collect();
    if edges.first().is_some_and(|edge| edge.len() == needle.len()) {
        edges.truncate(1);
    }
    Some(edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_what_a_variable_may_have_of_a_needle() {
        let check = |needle: &str, expected: Option<&[&str]>| {
            let found = edges(needle.as_bytes());
            let found = found.map(|edges| edges.into_iter().map(|edge| std::str::from_utf8(edge).unwrap()).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{needle:?}");
        };
        check("order", Some(&["order"]));
        check("order failed", Some(&["order", "failed"]));
        check(" order: failed", Some(&["failed"]));
        check("order: ", Some(&["order"]));
        check(" order ", Some(&[]));
        check("order 5 failed", None);
        check("order1", None);
        check("added", None);
        check("x-dead-y", None);
        check("T", None);
        check(": ", None);
        check("", None);
    }

    #[test]
    fn a_place_is_no_letter_of_a_literal() {
        let check = |needle: &str, template: &[u8], expected: bool| {
            assert_eq!(in_literal(&Finder::new(needle), template), expected, "{needle:?} in {template:?}");
        };
        check("Ab", b"x Ab", true);
        check("Ab", b"\x04Ab", false);
        check("Ab", b"\x04Ab Ab", true);
        check("Ab", b"\x04\x05Ab", true);
        check("Ab", b"\x05\x04\x04Ab", false);
        check("Ab", b"\x01Ab", true);
        check("", b"\x01", true);
    }
}
