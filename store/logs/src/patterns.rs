//! Which templates lines have, and how often in each bucket of time: exact counts, not a guess from a sample.

use std::collections::{BTreeMap, HashMap};

use super::template::{References, parse, text_of};
use weir_model::time::UnixNanos;

/// What takes the place of a body that is too large to have a template, or has bytes that no text has.
const ANY: &str = "<_>";

/// The pattern of a body: its template, with `<_>` for variables.
pub(crate) fn pattern_of(body: &[u8]) -> String {
    let mut template = Vec::new();
    if parse(body, &References::none(), &mut template, |_, _| ()) { text_of(&template) } else { ANY.into() }
}

/// Counts of patterns in the making.
pub struct Patterns {
    step: i64,
    bytes_max: usize,
    bytes: usize,
    counts: HashMap<String, BTreeMap<UnixNanos, u64>>,
    left_out: u64,
}

impl Patterns {
    /// In buckets of `step` nanoseconds, above 0. Lines of patterns beyond the first `bytes_max` bytes of texts are counted together.
    pub fn new(step: i64, bytes_max: usize) -> Self {
        Self { step: step.max(1), bytes_max, bytes: 0, counts: HashMap::new(), left_out: 0 }
    }

    pub(crate) fn add(&mut self, time: UnixNanos, pattern: &str) {
        let bucket = time.div_euclid(self.step).saturating_mul(self.step);
        if let Some(buckets) = self.counts.get_mut(pattern) {
            *buckets.entry(bucket).or_default() += 1;
        } else if self.bytes + pattern.len() <= self.bytes_max {
            self.bytes += pattern.len();
            self.counts.insert(pattern.into(), BTreeMap::from([(bucket, 1)]));
        } else {
            self.left_out += 1;
        }
    }

    /// All, the most frequent first, and how many lines have others.
    pub fn finish(self) -> (Vec<Pattern>, u64) {
        let mut all: Vec<_> = self.counts.into_iter().map(|(text, lines)| Pattern { text, lines }).collect();
        all.sort_by(|a, b| b.count().cmp(&a.count()).then_with(|| a.text.cmp(&b.text)));
        (all, self.left_out)
    }
}

/// Lines that are alike but for their variables.
pub struct Pattern {
    /// With `<_>` for variables.
    pub text: String,
    /// By the beginning of their bucket, Unix nanoseconds.
    pub lines: BTreeMap<UnixNanos, u64>,
}

impl Pattern {
    /// Of all buckets.
    pub fn count(&self) -> u64 {
        self.lines.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_counted_by_bucket_up_to_a_limit() {
        let mut patterns = Patterns::new(10, 8);
        for (time, text) in [(-1, "a <_>"), (3, "b"), (9, "a <_>"), (10, "a <_>"), (0, "too much"), (5, "b")] {
            patterns.add(time, text);
        }
        let (all, left_out) = patterns.finish();
        let found: Vec<_> = all.iter().map(|pattern| (pattern.text.as_str(), pattern.count(), pattern.lines.clone())).collect();
        let expected = [("a <_>", 3, BTreeMap::from([(-10, 1), (0, 1), (10, 1)])), ("b", 2, BTreeMap::from([(0, 2)]))];
        assert_eq!((&found[..], left_out), (&expected[..], 1));
        assert_eq!(pattern_of(b"user 12 of a1"), "user <_> of <_>");
        assert_eq!(pattern_of(b"\x01"), ANY);
    }
}
