//! What a target said last, in the text format: which series its lines are of, by fingerprint, and what stands between them. A body that
//! differs from it in nothing but numbers is read by comparing; of another one, the series that are known are not read again. The texts
//! of series are not kept: they would be as large as all label sets once more. Pure.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use weir_model::label::Labels;

use crate::exposition::line;
use crate::fingerprint::{Fingerprint, Hashed};

/// For the synthetic values, which are added to a body's.
const ROOM: usize = 8;
/// What mostly stands before a series and after it.
const USUAL: (&str, &str) = ("\n", " ");

/// The last body of one target.
#[derive(Default)]
pub(crate) struct ScrapeCache {
    lines: Vec<CachedLine>,
    /// Of lines that have others around them than [`USUAL`]: metadata, mostly. In order.
    gaps: Vec<Gap>,
    /// Texts of the gaps, then what follows the last number.
    gap_texts: String,
    /// Series of lines that are no columns.
    apart: Vec<Labels>,
    columns: u32,
}

/// A sample's line.
struct CachedLine {
    /// Of name and labels as they stand there.
    series: Fingerprint,
    series_bytes: u32,
    fate: CachedFate,
}

#[derive(Clone, Copy, PartialEq)]
enum CachedFate {
    Column(u32),
    Apart(u32),
    Dropped,
}

/// What stands around a line's series, from the number before it to its own: so many bytes of the texts each.
struct Gap {
    line: u32,
    before: u32,
    after: u32,
}

/// What becomes of a line's series.
#[derive(Clone, PartialEq)]
pub(crate) enum Fate {
    /// It is a column, the next one.
    Kept,
    /// A line before it had the same labels, or it says its own time.
    Apart(Labels),
    /// The job's rules drop it.
    Dropped,
}

impl ScrapeCache {
    /// The numbers of the lines that are columns, when `body` has the same lines in the same order, all else alike. A body with
    /// times of its own is alike only if those stand still, and then has to be read again.
    pub(crate) fn values(&self, body: &[u8]) -> Option<Vec<f64>> {
        let (mut rest, mut gaps, mut gap_texts) = (body, self.gaps.iter().peekable(), &*self.gap_texts);
        let mut values = Vec::with_capacity(self.columns as usize + ROOM);
        for (at, line) in (0..).zip(&self.lines) {
            let (mut before, mut after) = USUAL;
            if let Some(gap) = gaps.next_if(|gap| gap.line == at) {
                (before, gap_texts) = gap_texts.split_at(gap.before as usize);
                (after, gap_texts) = gap_texts.split_at(gap.after as usize);
            }
            rest = rest.strip_prefix(before.as_bytes())?;
            let (series, tail) = rest.split_at_checked(line.series_bytes as usize)?;
            if Fingerprint::of(series) != line.series {
                return None;
            }
            rest = tail.strip_prefix(after.as_bytes())?;
            let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(end);
            let number = line::number(std::str::from_utf8(number).ok()?).ok()?;
            match line.fate {
                CachedFate::Column(_) => values.push(number),
                CachedFate::Apart(_) => return None,
                CachedFate::Dropped => {}
            }
            rest = tail;
        }
        (rest == gap_texts.as_bytes()).then_some(values)
    }

    /// Samples in the body.
    pub(crate) fn scraped(&self) -> usize {
        self.lines.len()
    }

    /// Those that the job's rules left.
    pub(crate) fn kept(&self) -> usize {
        self.lines.iter().filter(|line| line.fate != CachedFate::Dropped).count()
    }

    /// Memory that it holds, label sets apart.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        let lists = self.lines.capacity() * size_of::<CachedLine>() + self.gaps.capacity() * size_of::<Gap>();
        lists + self.gap_texts.capacity() + self.apart.capacity() * size_of::<Labels>()
    }
}

/// The cache of a body that is being read.
pub(crate) struct CacheBuilder<'a> {
    body: &'a str,
    cache: ScrapeCache,
    /// Where the last number ends.
    at: usize,
}

impl<'a> CacheBuilder<'a> {
    pub(crate) fn new(body: &'a str) -> Self {
        Self { body, cache: ScrapeCache::default(), at: 0 }
    }

    /// The next line of a sample; `series` and `number` are parts of the body.
    pub(crate) fn push(&mut self, series: &str, number: &str, fate: Fate) {
        let place = |part: &str| part.as_ptr().addr() - self.body.as_ptr().addr();
        let (start, number_start) = (place(series), place(number));
        let (before, after) = (&self.body[self.at..start], &self.body[start + series.len()..number_start]);
        let cache = &mut self.cache;
        if (before, after) != USUAL {
            cache.gap_texts.extend([before, after]);
            let (line, before, after) = (cache.lines.len() as u32, before.len() as u32, after.len() as u32);
            cache.gaps.push(Gap { line, before, after });
        }
        let fate = match fate {
            Fate::Kept => {
                cache.columns += 1;
                CachedFate::Column(cache.columns - 1)
            }
            Fate::Apart(labels) => {
                cache.apart.push(labels);
                CachedFate::Apart(cache.apart.len() as u32 - 1)
            }
            Fate::Dropped => CachedFate::Dropped,
        };
        cache.lines.push(CachedLine { series: Fingerprint::of(series.as_bytes()), series_bytes: series.len() as u32, fate });
        self.at = number_start + number.len();
    }

    /// `None` when the body is too large to be remembered.
    pub(crate) fn finish(mut self) -> Option<ScrapeCache> {
        self.cache.gap_texts.push_str(&self.body[self.at..]);
        self.cache.gap_texts.shrink_to_fit();
        self.cache.lines.shrink_to_fit();
        self.cache.gaps.shrink_to_fit();
        // Else lines and lengths of series do not fit into their numbers.
        u32::try_from(self.body.len()).is_ok().then_some(self.cache)
    }
}

/// Finds series of the last body in another one.
pub(crate) struct KnownSeries<'a> {
    last: Option<LastBody<'a>>,
    /// The line that is expected, after the one that was found last.
    next: usize,
    /// Made when a line is not the expected one.
    by_series: Option<HashMap<Fingerprint, usize, BuildHasherDefault<Hashed>>>,
}

/// What is known of a target's last body, and the label sets of its columns.
#[derive(Clone, Copy)]
pub(crate) struct LastBody<'a> {
    pub cache: &'a ScrapeCache,
    pub columns: &'a [Labels],
}

impl<'a> KnownSeries<'a> {
    pub(crate) fn of(last: Option<LastBody<'a>>) -> Self {
        Self { last, next: 0, by_series: None }
    }

    /// The labels of the line's series (`None` when rules drop it) and where in the line it ends.
    pub(crate) fn find(&mut self, line: &str) -> Option<(Option<&'a Labels>, usize)> {
        let LastBody { cache, columns } = self.last?;
        let end = series_end(line)?;
        let series = Fingerprint::of(&line.as_bytes()[..end]);
        let at = if cache.lines.get(self.next).is_some_and(|line| line.series == series) {
            self.next
        } else {
            let all = || cache.lines.iter().enumerate().map(|(at, line)| (line.series, at)).collect();
            *self.by_series.get_or_insert_with(all).get(&series)?
        };
        self.next = at + 1;
        let labels = match cache.lines[at].fate {
            CachedFate::Column(column) => Some(columns.get(column as usize)?),
            CachedFate::Apart(place) => Some(&cache.apart[place as usize]),
            CachedFate::Dropped => None,
        };
        Some((labels, end))
    }
}

/// Where the series of a line that can be read ends: neither a value nor a time has a brace.
fn series_end(line: &str) -> Option<usize> {
    match memchr::memrchr(b'}', line.as_bytes()) {
        Some(brace) => Some(brace + 1),
        None => line.find([' ', '\t']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_no_more_for_a_longer_series() {
        assert!(size_of::<CachedLine>() <= 28);
        let cache = |letters: usize| {
            let lines: Vec<String> = (0..1000).map(|i| format!("m{{pod=\"{i:0letters$}\"}} 1")).collect();
            let body = format!("# HELP m text\n{}\n", lines.join("\n"));
            let mut builder = CacheBuilder::new(&body);
            for line in body.lines().filter(|line| !line.starts_with('#')) {
                let (series, number) = line.split_once(' ').unwrap();
                builder.push(series, number, Fate::Kept);
            }
            let cache = builder.finish().unwrap();
            assert_eq!(cache.values(body.as_bytes()), Some(vec![1.0; 1000]));
            cache.memory()
        };
        assert_eq!(cache(300), cache(30));
        assert!(cache(300) < 29 * 1000, "{}", cache(300));
    }
}
