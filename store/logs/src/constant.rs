//! Lines of an encoded chunk that pass by what is constant of their texts alone: of them neither variables nor, where nobody asks for
//! them, times are unpacked. Asked by `count`; `needle` tells the same of single lines where this does not know.

use std::cmp::Reverse;
use std::ops::Range;

use memchr::memmem::Finder;
use weir_model::time::{TimeRange, UnixNanos};

use super::filter::{Expression, Filter, Filters};
use super::literals::{Constant, Has, Needle};
use super::sequence::Text;
use super::stored::StoredLines;

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
