//! Whether a text lies in what is constant of a pack's lines, or may lie in what varies. Nothing but templates' texts and words is unpacked, and
//! contexts where a body refers to attributes. Asked by `constant` for each filter.

use std::cell::OnceCell;
use std::ops::Range;

use memchr::memmem::Finder;

use super::needle::fragments;
use super::outline::Outline;
use super::stored::StoredLines;
use super::template::{ATTRIBUTE, CLOCK, WORD};
use super::tokens::is_token_byte;

/// Whether the lines of a template have what is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Has {
    No,
    /// Some may.
    Unknown,
    Yes,
}

impl Has {
    /// Of lines that must not have it.
    pub(super) fn inverted(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }
}

/// What is constant of a pack, and what of its variables is asked for all templates at once.
pub(super) struct Constant<'a> {
    lines: &'a StoredLines,
    pub(super) outline: &'a Outline,
    /// Texts and words in lower case.
    lower_texts: OnceCell<Vec<u8>>,
    lower_words: OnceCell<Vec<u8>>,
    texts_are_ascii: OnceCell<bool>,
    words_are_ascii: OnceCell<bool>,
}

impl<'a> Constant<'a> {
    pub(super) fn new(lines: &'a StoredLines) -> Result<Self, String> {
        let (lower_texts, lower_words, texts_are_ascii, words_are_ascii) = Default::default();
        Ok(Self { lines, outline: lines.outline()?, lower_texts, lower_words, texts_are_ascii, words_are_ascii })
    }

    /// Those of all templates, and more.
    fn texts(&self, any_case: bool) -> &[u8] {
        if !any_case {
            return self.outline.texts();
        }
        self.lower_texts.get_or_init(|| self.outline.texts().to_ascii_lowercase())
    }

    /// A template's text.
    fn text(&self, template: usize, any_case: bool) -> &[u8] {
        &self.texts(any_case)[self.outline.span(template)]
    }

    fn is_ascii(&self) -> Result<bool, String> {
        let texts_are = || (0..self.outline.len()).all(|template| self.outline.text(template).is_ascii());
        Ok(*self.texts_are_ascii.get_or_init(texts_are) && self.words_are_ascii()?)
    }

    fn words_are_ascii(&self) -> Result<bool, String> {
        let texts = self.lines.word_texts()?;
        Ok(*self.words_are_ascii.get_or_init(|| texts.is_ascii()))
    }

    /// Whether a regular expression's dots match all that lies between two texts of a template.
    pub(super) fn is_gap(&self, text: &[u8]) -> Result<bool, String> {
        // Attributes may have ends of lines; other variables are tokens, ids and times.
        let is_of_one_line = !text.iter().any(|byte| matches!(*byte, b'\n' | ATTRIBUTE)) && std::str::from_utf8(text).is_ok();
        Ok(is_of_one_line && self.words_are_ascii()?)
    }
}

/// What is looked for.
pub(super) struct Needle<'a> {
    finder: &'a Finder<'a>,
    any_case: bool,
    /// No body with a template has it: it has a byte of a mark.
    is_nowhere: bool,
    /// When none of its tokens can be a whole variable: its tokens without a separator in front or behind. A variable that has all of
    /// such a token is the only way for the needle not to lie in one literal.
    edges: Option<Vec<Finder<'a>>>,
    /// Else: parts of it that are in a literal of every body that has it.
    fragments: Vec<Finder<'a>>,
    /// Whether any text has it, which all at once say sooner than one by one.
    in_texts: OnceCell<bool>,
    /// Whether a word, or a line's attribute or id, has an edge: found out when it is first asked.
    in_words: OnceCell<bool>,
    in_contexts: OnceCell<bool>,
}

impl<'a> Needle<'a> {
    pub(super) fn new(finder: &'a Finder<'a>, any_case: bool) -> Self {
        let text = finder.needle();
        Self {
            finder,
            any_case,
            is_nowhere: text.iter().any(|byte| (WORD..=CLOCK).contains(byte)),
            edges: edges(text, any_case).map(|edges| edges.into_iter().map(Finder::new).collect()),
            fragments: fragments(text).into_iter().map(Finder::new).collect(),
            in_texts: OnceCell::new(),
            in_words: OnceCell::new(),
            in_contexts: OnceCell::new(),
        }
    }

    /// Where it lies in a literal of a template, from there on.
    pub(super) fn find(&self, template: usize, from: usize, pack: &Constant<'_>) -> Option<Range<usize>> {
        let in_texts = || *self.in_texts.get_or_init(|| self.finder.find(pack.texts(self.any_case)).is_some());
        if self.is_nowhere || !in_texts() {
            return None;
        }
        let at = find_literal(self.finder, pack.text(template, self.any_case), from)?;
        Some(at..at + self.finder.needle().len())
    }

    /// Whether lines of a template have it. Errors when what is stored of them cannot be read.
    pub(super) fn is_in(&self, template: usize, pack: &Constant<'_>) -> Result<Has, String> {
        if self.find(template, 0, pack).is_some() {
            return Ok(Has::Yes);
        }
        Ok(if self.may_vary(template, pack)? { Has::Unknown } else { Has::No })
    }

    /// Whether it may be where it is in no literal of a template.
    pub(super) fn may_vary(&self, template: usize, pack: &Constant<'_>) -> Result<bool, String> {
        if self.is_nowhere {
            return Ok(false);
        }
        // Letters beyond ASCII that are these two in another case.
        let may_fold = self.any_case && self.finder.needle().iter().any(|byte| matches!(byte, b'k' | b's'));
        if may_fold && !pack.is_ascii()? {
            return Ok(true);
        }
        let text = pack.text(template, self.any_case);
        if !text.iter().any(|byte| (WORD..=CLOCK).contains(byte)) {
            return Ok(false);
        }
        let Some(edges) = &self.edges else {
            return Ok(self.fragments.iter().all(|fragment| fragment.find(text).is_some()));
        };
        Ok(memchr::memchr(WORD, text).is_some() && self.in_words(edges, pack)?
            || memchr::memchr(ATTRIBUTE, text).is_some() && self.in_contexts(edges, pack)?)
    }

    fn in_words(&self, edges: &[Finder<'_>], pack: &Constant<'_>) -> Result<bool, String> {
        if let Some(known) = self.in_words.get() {
            return Ok(*known);
        }
        // Its letters are in no number and no id. What begins in one word and ends in the next is taken for one that has it.
        let texts = pack.lines.word_texts()?;
        let texts = if self.any_case { pack.lower_words.get_or_init(|| texts.to_ascii_lowercase()) } else { texts };
        Ok(*self.in_words.get_or_init(|| edges.iter().any(|edge| edge.find(texts).is_some())))
    }

    fn in_contexts(&self, edges: &[Finder<'_>], pack: &Constant<'_>) -> Result<bool, String> {
        if let Some(known) = self.in_contexts.get() {
            return Ok(*known);
        }
        let contexts = pack.lines.contexts()?;
        let has = || !edges.is_empty() && (self.any_case || contexts.having(edges).contains(&true));
        Ok(*self.in_contexts.get_or_init(has))
    }
}

/// Where a text that has no byte of a mark is in a literal of a template, from there on.
fn find_literal(finder: &Finder<'_>, template: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + finder.find(template.get(from..)?)?;
        if at == 0 || template[at - 1] < ATTRIBUTE || template[at - 1] > CLOCK || !is_of_mark(template, at) {
            return Some(at);
        }
        from = at + 1;
    }
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
fn edges(needle: &[u8], any_case: bool) -> Option<Vec<&[u8]>> {
    let tokens = || needle.split(|byte| !is_token_byte(*byte));
    // No digit; and a letter that neither UUIDs and ids nor times have.
    let of_variable = |byte: &u8| matches!(byte, b'a'..=b'f' | b'T' | b'Z') || any_case && matches!(byte, b't' | b'z');
    let is_constant = |token: &[u8]| !token.iter().any(u8::is_ascii_digit) && !token.iter().all(of_variable);
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
            let found = edges(needle.as_bytes(), false);
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
            assert_eq!(find_literal(&Finder::new(needle), template, 0).is_some(), expected, "{needle:?} in {template:?}");
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
