//! What a target said last, in the text format: its body, and where in it each number stands. A body that differs from it in
//! nothing but numbers is read by comparing bytes; of another one, the series that are known are not read again. Pure.

use std::collections::HashMap;
use std::ops::Range;

use weir_model::label::Labels;

use crate::exposition::line;

/// For the synthetic values, which are added to a body's.
const ROOM: usize = 8;

/// The last body of one target.
pub(crate) struct ScrapeCache {
    body: String,
    lines: Vec<CachedLine>,
}

/// A sample's line.
pub(crate) struct CachedLine {
    /// Bytes of the body: name and labels.
    series: Range<u32>,
    number: Range<u32>,
    fate: Fate,
}

/// What becomes of a line's series.
#[derive(Clone, PartialEq)]
pub(crate) enum Fate {
    /// It is a column, the next one.
    Kept(Labels),
    /// A line before it had the same labels, or it says its own time.
    Apart(Labels),
    /// The job's rules drop it.
    Dropped,
}

impl ScrapeCache {
    /// Of a body with its lines in order; `None` when the body is too large to be remembered.
    pub(crate) fn new(mut body: String, mut lines: Vec<CachedLine>) -> Option<Self> {
        body.shrink_to_fit();
        lines.shrink_to_fit();
        u32::try_from(body.len()).is_ok().then_some(Self { body, lines })
    }

    /// The numbers of the lines that are columns, when `body` has the same lines in the same order, all else alike. A body with
    /// times of its own is alike only if those stand still, and then has to be read again.
    pub(crate) fn values(&self, body: &[u8]) -> Option<Vec<f64>> {
        let own = self.body.as_bytes();
        let (mut rest, mut at) = (body, 0);
        let mut values = Vec::with_capacity(self.lines.len() + ROOM);
        for line in &self.lines {
            rest = rest.strip_prefix(&own[at..line.number.start as usize])?;
            let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            let number = line::number(std::str::from_utf8(number).ok()?).ok()?;
            match line.fate {
                Fate::Kept(_) => values.push(number),
                Fate::Apart(_) => return None,
                Fate::Dropped => {}
            }
            (rest, at) = (after, line.number.end as usize);
        }
        (rest == &own[at..]).then_some(values)
    }

    /// Samples in the body.
    pub(crate) fn scraped(&self) -> usize {
        self.lines.len()
    }

    /// Those that the job's rules left.
    pub(crate) fn kept(&self) -> usize {
        self.lines.iter().filter(|line| line.fate != Fate::Dropped).count()
    }

    fn series(&self, at: usize) -> Option<&str> {
        let series = &self.lines.get(at)?.series;
        self.body.get(series.start as usize..series.end as usize)
    }
}

impl CachedLine {
    /// `series` and `number` are parts of `body`.
    pub(crate) fn new(body: &str, series: &str, number: &str, fate: Fate) -> Self {
        let range = |part: &str| {
            let start = part.as_ptr().addr() - body.as_ptr().addr();
            // A body that is too large for these numbers is not remembered.
            start as u32..(start + part.len()) as u32
        };
        Self { series: range(series), number: range(number), fate }
    }
}

/// Finds series of the last body in another one.
pub(crate) struct KnownSeries<'a> {
    cache: Option<&'a ScrapeCache>,
    /// The line that is expected, after the one that was found last.
    next: usize,
    /// Made when a line is not the expected one.
    by_series: Option<HashMap<&'a str, usize>>,
}

impl<'a> KnownSeries<'a> {
    pub(crate) fn of(cache: Option<&'a ScrapeCache>) -> Self {
        Self { cache, next: 0, by_series: None }
    }

    /// The labels of the line's series (`None` when rules drop it) and where in the line it ends.
    pub(crate) fn find(&mut self, line: &str) -> Option<(Option<&'a Labels>, usize)> {
        let cache = self.cache?;
        let end = series_end(line)?;
        let series = &line[..end];
        let at = if cache.series(self.next) == Some(series) {
            self.next
        } else {
            let all = || (0..cache.lines.len()).filter_map(|at| Some((cache.series(at)?, at))).collect();
            *self.by_series.get_or_insert_with(all).get(series)?
        };
        self.next = at + 1;
        let labels = match &cache.lines[at].fate {
            Fate::Kept(labels) | Fate::Apart(labels) => Some(labels),
            Fate::Dropped => None,
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
