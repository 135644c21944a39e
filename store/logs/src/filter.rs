//! Line filters made ready for many lines.

use std::collections::BTreeSet;
use std::ops::Range;

use memchr::memmem::Finder;
use regex::bytes::Regex;
use weir_model::select::LineFilter;

use super::asked::LastPack;
use super::required::required_texts;
use super::sequence::{Sequence, sequences};

/// All must pass.
pub struct Filters {
    all: Vec<Filter>,
    /// What they leave of the pack that they were last asked of.
    pub(crate) last: LastPack,
}

pub(crate) enum Filter {
    Contains(Vec<Finder<'static>>),
    NotContains(Vec<Finder<'static>>),
    Matches(Expression),
    NotMatches(Expression),
}

/// A regular expression, and what is known of its matches.
pub(crate) struct Expression {
    regex: Regex,
    /// Texts that each match has.
    pub(crate) required: Vec<Finder<'static>>,
    /// Lines that have one of these match, and no others do.
    pub(crate) sequences: Option<Vec<Sequence>>,
}

impl Expression {
    fn new(regex: &Regex) -> Self {
        let required = required_texts(regex.as_str()).into_iter().map(|text| Finder::new(&text).into_owned()).collect();
        Self { regex: regex.clone(), required, sequences: sequences(regex.as_str()) }
    }

    /// Most lines lack a text that a match has, which is found out sooner.
    fn matches(&self, line: &[u8]) -> bool {
        self.required.iter().all(|text| text.find(line).is_some()) && self.regex.is_match(line)
    }
}

impl Filters {
    /// With their searchers built once. What is said many times is looked for once.
    pub fn new(filters: &[LineFilter]) -> Self {
        let finders =
            |needles: &[Vec<u8>]| distinct(needles).into_iter().map(|needle| Finder::new(needle).into_owned()).collect();
        let ready = filters.iter().map(|filter| match filter {
            LineFilter::Contains(needles) => Filter::Contains(finders(needles)),
            LineFilter::NotContains(needles) => Filter::NotContains(finders(needles)),
            LineFilter::Matches(regex) => Filter::Matches(Expression::new(regex)),
            LineFilter::NotMatches(regex) => Filter::NotMatches(Expression::new(regex)),
        });
        Self { all: ready.collect(), last: LastPack::default() }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One by one.
    pub(crate) fn all(&self) -> &[Filter] {
        &self.all
    }

    /// What lines have to have: of each filter one of several.
    pub(crate) fn needles(&self) -> impl Iterator<Item = &[Finder<'static>]> {
        self.all.iter().flat_map(|filter| match filter {
            Filter::Contains(any) => any.chunks(any.len().max(1)),
            Filter::Matches(expression) => expression.required.chunks(1),
            Filter::NotContains(_) | Filter::NotMatches(_) => <&[Finder<'static>]>::default().chunks(1),
        })
    }

    /// Whether a line passes that has the [`Self::needles`].
    pub(crate) fn are_needles(&self) -> bool {
        self.all.iter().all(|filter| matches!(filter, Filter::Contains(any) if !any.is_empty()))
    }

    /// Whether a line passes.
    pub(crate) fn passes(&self, line: &[u8]) -> bool {
        self.all.iter().all(|filter| match filter {
            Filter::Contains(any) => any.iter().any(|finder| finder.find(line).is_some()),
            Filter::NotContains(none) => !none.iter().any(|finder| finder.find(line).is_some()),
            Filter::Matches(expression) => expression.matches(line),
            Filter::NotMatches(expression) => !expression.matches(line),
        })
    }

    /// Calls `take` with each line that passes, ascending, until it says to stop. `ends` are the exclusive ends of the
    /// lines in `bodies`. With a single needle all bodies are searched at once: that is many times faster than line by
    /// line, since most lines do not have it.
    pub(crate) fn select(&self, bodies: &[u8], ends: &[u32], mut take: impl FnMut(usize, &[u8]) -> std::ops::ControlFlow<()>) {
        let needle = self.all.iter().find_map(|filter| match filter {
            Filter::Contains(any) if any.len() == 1 && !any[0].needle().is_empty() => Some(&any[0]),
            _ => None,
        });
        let mut line = 0;
        while line < ends.len() {
            let mut span = span(ends, line);
            if let Some(finder) = needle {
                let Some(at) = finder.find(&bodies[span.start..]).map(|at| at + span.start) else { return };
                line += ends[line..].partition_point(|end| *end as usize <= at);
                span = self::span(ends, line);
            }
            let body = &bodies[span];
            if self.passes(body) && take(line, body).is_break() {
                return;
            }
            line += 1;
        }
    }
}

/// Each needle once.
pub(crate) fn distinct(needles: &[Vec<u8>]) -> BTreeSet<&Vec<u8>> {
    needles.iter().collect()
}

/// Where a line lies.
pub(crate) fn span(ends: &[u32], line: usize) -> Range<usize> {
    let start = if line == 0 { 0 } else { ends[line - 1] as usize };
    start..ends[line] as usize
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;

    #[test]
    fn what_is_said_many_times_is_looked_for_once() {
        let needles = ["x", "y", "x", "x"].map(|needle| needle.as_bytes().to_vec()).to_vec();
        let filters = Filters::new(&[LineFilter::Contains(needles.clone()), LineFilter::NotContains(needles)]);
        let counts: Vec<usize> = filters
            .all
            .iter()
            .map(|filter| match filter {
                Filter::Contains(finders) | Filter::NotContains(finders) => finders.len(),
                Filter::Matches(_) | Filter::NotMatches(_) => 0,
            })
            .collect();
        assert_eq!(counts, [2, 2]);
    }

    #[test]
    fn searching_all_bodies_finds_what_line_by_line_finds() {
        let lines = ["aab", "", "b", "ab", "a", "bab", "", "xaabbab"];
        let bodies = lines.concat().into_bytes();
        let mut end = 0;
        let ends: Vec<u32> = lines
            .iter()
            .map(|line| {
                end += line.len() as u32;
                end
            })
            .collect();
        for needle in ["ab", "b", "aab", "ba", "bb", "x", "nowhere", ""] {
            let filters = Filters::new(&[LineFilter::Contains(vec![needle.into()])]);
            let mut found = Vec::new();
            filters.select(&bodies, &ends, |line, body| {
                assert_eq!(body, lines[line].as_bytes());
                found.push(line);
                ControlFlow::Continue(())
            });
            let expected: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].contains(needle)).collect();
            assert_eq!(found, expected, "{needle:?}");
        }
    }
}
