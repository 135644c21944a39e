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
/// Lines whose texts are compared at once, by one fingerprint of all of them: of a text of a hundred bytes, most of what its fingerprint
/// takes is to begin and to end. What differs is found out so much later, and seldom.
const BLOCK_LINES: usize = 32;
/// What mostly stands before a series and after it.
const USUAL: (&str, &str) = ("\n", " ");

/// The last body of one target.
#[derive(Default)]
pub(crate) struct ScrapeCache {
    lines: Vec<CachedLine>,
    /// Of the series of each [`BLOCK_LINES`] lines, one after the other; where one ends, its length says.
    blocks: Vec<Fingerprint>,
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
    /// Of name and labels as they stand there: of a body that has other lines, it tells which are known.
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
        let (mut values, mut block) = (Vec::with_capacity(self.columns as usize + ROOM), Block::default());
        for (at, line) in (0..).zip(&self.lines) {
            let (mut before, mut after) = USUAL;
            if let Some(gap) = gaps.next_if(|gap| gap.line == at) {
                (before, gap_texts) = gap_texts.split_at(gap.before as usize);
                (after, gap_texts) = gap_texts.split_at(gap.after as usize);
            }
            rest = rest.strip_prefix(before.as_bytes())?;
            let (series, tail) = rest.split_at_checked(line.series_bytes as usize)?;
            if let Some((block, fingerprint)) = block.push(series)
                && self.blocks.get(block) != Some(&fingerprint)
            {
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
        let is_last = block.finish().is_none_or(|(block, fingerprint)| self.blocks.get(block) == Some(&fingerprint));
        (is_last && rest == gap_texts.as_bytes()).then_some(values)
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
        let blocks = self.blocks.capacity() * size_of::<Fingerprint>();
        lists + blocks + self.gap_texts.capacity() + self.apart.capacity() * size_of::<Labels>()
    }
}

/// Texts of the block of lines that is being read.
#[derive(Default)]
struct Block {
    texts: Vec<u8>,
    lines: usize,
    /// Blocks before it.
    number: usize,
}

impl Block {
    /// The next line's text; number and fingerprint of the block that it ends.
    #[inline]
    fn push(&mut self, series: &[u8]) -> Option<(usize, Fingerprint)> {
        self.texts.extend_from_slice(series);
        self.lines += 1;
        if self.lines < BLOCK_LINES { None } else { self.finish() }
    }

    fn finish(&mut self) -> Option<(usize, Fingerprint)> {
        if self.lines == 0 {
            return None;
        }
        let ended = (self.number, Fingerprint::of(&self.texts));
        self.texts.clear();
        (self.lines, self.number) = (0, self.number + 1);
        Some(ended)
    }
}

/// The cache of a body that is being read.
pub(crate) struct CacheBuilder<'a> {
    body: &'a str,
    cache: ScrapeCache,
    block: Block,
    /// Where the last number ends.
    at: usize,
}

impl<'a> CacheBuilder<'a> {
    pub(crate) fn new(body: &'a str) -> Self {
        Self { body, cache: ScrapeCache::default(), block: Block::default(), at: 0 }
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
        cache.blocks.extend(self.block.push(series.as_bytes()).map(|(_, fingerprint)| fingerprint));
        self.at = number_start + number.len();
    }

    /// `None` when the body is too large to be remembered.
    pub(crate) fn finish(mut self) -> Option<ScrapeCache> {
        self.cache.blocks.extend(self.block.finish().map(|(_, fingerprint)| fingerprint));
        self.cache.gap_texts.push_str(&self.body[self.at..]);
        self.cache.blocks.shrink_to_fit();
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
    #[test]
    fn one_letter_that_differs_is_found_wherever_it_stands() {
        for lines in [1, BLOCK_LINES - 1, BLOCK_LINES, BLOCK_LINES + 1, 3 * BLOCK_LINES] {
            let series: Vec<String> = (0..lines).map(|i| format!("m{{a=\"{i}\",b=\"x\"}}")).collect();
            let body = |series: &[String]| series.iter().map(|series| format!("{series} 1\n")).collect::<String>();
            let own = body(&series);
            let mut builder = CacheBuilder::new(&own);
            own.lines().for_each(|line| builder.push(line.split_once(' ').unwrap().0, &line[line.len() - 1..], Fate::Kept));
            let cache = builder.finish().unwrap();
            assert_eq!(cache.values(own.as_bytes()), Some(vec![1.0; lines]));
            for at in 0..lines {
                let mut other = series.clone();
                other[at] = other[at].replace('x', "y");
                assert_eq!(cache.values(body(&other).as_bytes()), None, "line {at} of {lines}");
                // The same lines, two of them in another order.
                if at + 1 < lines {
                    let mut other = series.clone();
                    other.swap(at, at + 1);
                    assert_eq!(cache.values(body(&other).as_bytes()), None, "lines {at} and the next of {lines}");
                }
            }
        }
    }
}
