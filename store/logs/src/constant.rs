//! Lines of an encoded chunk that pass by what is constant of their texts alone: of them neither variables nor, where nobody asks for
//! them, times are unpacked. Asked by `count`; `needle` tells the same of single lines where this does not know.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::ops::Range;

use memchr::memmem::Finder;
use weir_model::time::{TimeRange, UnixNanos};

use super::filter::{Expression, Filter, Filters};
use super::needle::fragments;
use super::outline::Outline;
use super::sequence::Text;
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

impl Passing {
    /// Whether line `i`, of this template (`None`: stored as it is), may pass; and does where this is known.
    pub(super) fn has(&self, template: Option<usize>, i: usize) -> bool {
        match (self, template) {
            (Self::DependsOnLine, _) => true,
            (Self::Known { templates, .. }, Some(template)) => templates[template],
            (Self::Known { raw, .. }, None) => raw.binary_search(&(i as u32)).is_ok(),
        }
    }
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
        match &*passing {
            Passing::DependsOnLine => return Ok(false),
            Passing::Known { any: false, .. } => return Ok(true),
            Passing::Known { .. } => {}
        }
        let (times, severities) = (range.map(|_| self.times()).transpose()?, self.severities()?);
        for (i, number) in within.clone().zip(self.outline()?.numbers_of(within)) {
            let time = times.map_or(0, |times| times[i]);
            if passing.has(number.checked_sub(1), i) && range.is_none_or(|range| range.contains(time)) {
                take(time, severities[i]);
            }
        }
        Ok(true)
    }

    /// What filters leave of all lines of the pack.
    pub(super) fn all_passing(&self, filters: &Filters) -> Result<Passing, String> {
        let Some(templates) = self.passing_templates(filters)? else { return Ok(Passing::DependsOnLine) };
        let raw = self.passing_raw(filters)?;
        let any = templates.contains(&true) || !raw.is_empty();
        Ok(Passing::Known { templates, raw, any })
    }

    /// Of each template whether its lines pass; `None` when of one it depends on the line.
    fn passing_templates(&self, filters: &Filters) -> Result<Option<Vec<bool>>, String> {
        let pack = Constant::new(self)?;
        let filters: Vec<FilterOf<'_>> = filters.all().iter().map(FilterOf::new).collect();
        let mut passing = Vec::with_capacity(pack.outline.len());
        for template in 0..pack.outline.len() {
            let mut has = Has::Yes;
            for filter in &filters {
                has = has.min(filter.has(template, &pack)?);
                if has == Has::No {
                    break;
                }
            }
            if has == Has::Unknown {
                return Ok(None);
            }
            passing.push(has == Has::Yes);
        }
        Ok(Some(passing))
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

impl Has {
    /// Of lines that must not have it.
    fn inverted(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }
}

/// What is constant of a pack, and what of its variables is asked for all templates at once.
struct Constant<'a> {
    lines: &'a StoredLines,
    outline: &'a Outline,
    /// Texts and words in lower case.
    lower_texts: OnceCell<Vec<u8>>,
    lower_words: OnceCell<Vec<u8>>,
    texts_are_ascii: OnceCell<bool>,
    words_are_ascii: OnceCell<bool>,
}

impl<'a> Constant<'a> {
    fn new(lines: &'a StoredLines) -> Result<Self, String> {
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
    fn is_gap(&self, text: &[u8]) -> Result<bool, String> {
        // Attributes may have ends of lines; other variables are tokens, ids and times.
        let is_of_one_line = !text.iter().any(|byte| matches!(*byte, b'\n' | ATTRIBUTE)) && std::str::from_utf8(text).is_ok();
        Ok(is_of_one_line && self.words_are_ascii()?)
    }
}

/// A filter asked of the templates of a pack.
enum FilterOf<'a> {
    Any(Vec<Needle<'a>>),
    All(Vec<Needle<'a>>),
    Sequences(Vec<Vec<Vec<Needle<'a>>>>),
    Unknown,
    Not(Box<Self>),
}

impl<'a> FilterOf<'a> {
    fn new(filter: &'a Filter) -> Self {
        let exact = |finders: &'a [Finder<'static>]| finders.iter().map(|finder| Needle::new(finder, false)).collect();
        match filter {
            Filter::Contains(any) => Self::Any(exact(any)),
            Filter::NotContains(none) => Self::Not(Box::new(Self::Any(exact(none)))),
            Filter::Matches(expression) => {
                Self::of_sequences(expression).unwrap_or_else(|| Self::All(exact(&expression.required)))
            }
            Filter::NotMatches(expression) => Self::Not(Box::new(Self::of_sequences(expression).unwrap_or(Self::Unknown))),
        }
    }

    fn of_sequences(expression: &'a Expression) -> Option<Self> {
        let needles = |part: &'a Vec<Text>| part.iter().map(|text| Needle::new(&text.finder, text.any_case)).collect();
        let sequences = expression.sequences.as_ref()?.iter();
        Some(Self::Sequences(sequences.map(|sequence| sequence.0.iter().map(needles).collect()).collect()))
    }

    /// Whether lines of a template pass.
    fn has(&self, template: usize, pack: &Constant<'_>) -> Result<Has, String> {
        match self {
            Self::Any(needles) => best(needles.iter().map(|needle| needle.is_in(template, pack))),
            // That it matches, these texts do not say.
            Self::All(needles) => {
                let mut has = Has::Unknown;
                for needle in needles {
                    has = has.min(needle.is_in(template, pack)?);
                }
                Ok(has)
            }
            Self::Sequences(any) => best(any.iter().map(|parts| in_order(parts, template, pack))),
            Self::Unknown => Ok(Has::Unknown),
            Self::Not(filter) => Ok(filter.has(template, pack)?.inverted()),
        }
    }
}

/// The most of several; nothing is asked behind a `Yes`.
fn best(all: impl Iterator<Item = Result<Has, String>>) -> Result<Has, String> {
    let mut best = Has::No;
    for has in all {
        best = best.max(has?);
        if best == Has::Yes {
            break;
        }
    }
    Ok(best)
}

/// Whether lines of a template have one text of each part, in order. The text that ends first leaves most for the others.
fn in_order(parts: &[Vec<Needle<'_>>], template: usize, pack: &Constant<'_>) -> Result<Has, String> {
    let (mut end, mut is_known) = (None, true);
    for part in parts {
        let ends = part.iter().filter_map(|needle| needle.find(template, end.unwrap_or(0), pack));
        let Some((next, Reverse(start))) = ends.map(|range| (range.end, Reverse(range.start))).min() else {
            let mut all = parts.iter().flatten();
            let may_be = all.try_fold(false, |may_be, needle| Ok::<_, String>(may_be || needle.may_vary(template, pack)?))?;
            return Ok(if may_be { Has::Unknown } else { Has::No });
        };
        is_known &= match end {
            Some(end) => pack.is_gap(&pack.outline.text(template)[end..start])?,
            None => true,
        };
        end = Some(next);
    }
    Ok(if is_known { Has::Yes } else { Has::Unknown })
}

/// What is looked for.
struct Needle<'a> {
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
    fn new(finder: &'a Finder<'a>, any_case: bool) -> Self {
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
    fn find(&self, template: usize, from: usize, pack: &Constant<'_>) -> Option<Range<usize>> {
        if !*self.in_texts.get_or_init(|| self.finder.find(pack.texts(self.any_case)).is_some()) {
            return None;
        }
        let at = find_literal(self.finder, pack.text(template, self.any_case), from)?;
        Some(at..at + self.finder.needle().len())
    }

    /// Whether lines of a template have it. Errors when what is stored of them cannot be read.
    fn is_in(&self, template: usize, pack: &Constant<'_>) -> Result<Has, String> {
        if self.is_nowhere {
            return Ok(Has::No);
        }
        if self.find(template, 0, pack).is_some() {
            return Ok(Has::Yes);
        }
        Ok(if self.may_vary(template, pack)? { Has::Unknown } else { Has::No })
    }

    /// Whether it may be where it is in no literal of a template.
    fn may_vary(&self, template: usize, pack: &Constant<'_>) -> Result<bool, String> {
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
