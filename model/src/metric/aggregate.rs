//! What is left of several samples of one series where data is downsampled. Made by the metrics engine, and put together window by window
//! by PromQL.

/// Of the numbers of one series in one stretch of time, without staleness markers: at least one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aggregate {
    /// How long the stretch is that it is of, milliseconds: stretches end at multiples of this, inclusive, and begin after the one before.
    pub resolution_ms: i64,
    /// Of the first sample, milliseconds since the Unix epoch.
    pub first_ms: i64,
    pub last_ms: i64,
    pub first: f64,
    pub last: f64,
    /// NaN where nothing but NaN is there.
    pub min: f64,
    pub max: f64,
    pub sum: f64,
    /// Samples.
    pub count: f64,
    /// What a counter lost to resets between the first sample and the last: the values before those that are lower.
    pub lost: f64,
}

impl Aggregate {
    /// Of one sample.
    pub fn of(resolution_ms: i64, at: i64, value: f64) -> Self {
        Self {
            resolution_ms,
            first_ms: at,
            last_ms: at,
            first: value,
            last: value,
            min: value,
            max: value,
            sum: value,
            count: 1.0,
            lost: 0.0,
        }
    }

    /// With one whose last sample comes after its own. The coarser resolution stays.
    ///
    /// Where samples came late, or from two senders, the other may begin before this one ends: then what lies side by side is no reset, and
    /// where it spans all of this one, both have seen the same resets.
    pub fn extend(&mut self, later: &Self) {
        if later.first_ms <= self.first_ms {
            (self.first, self.first_ms) = (later.first, later.first_ms);
            self.lost = self.lost.max(later.lost);
        } else {
            let is_reset = later.first_ms > self.last_ms && later.first < self.last;
            self.lost += later.lost + if is_reset { self.last } else { 0.0 };
        }
        // Any number is better than NaN.
        if later.min < self.min || self.min.is_nan() {
            self.min = later.min;
        }
        if later.max > self.max || self.max.is_nan() {
            self.max = later.max;
        }
        self.sum += later.sum;
        self.count += later.count;
        (self.last, self.last_ms) = (later.last, later.last_ms);
        self.resolution_ms = self.resolution_ms.max(later.resolution_ms);
    }

    /// Where the stretch of a sample at `at` ends, inclusive.
    pub fn stretch_end(resolution_ms: i64, at: i64) -> i64 {
        let into = at.rem_euclid(resolution_ms);
        if into == 0 { at } else { at.saturating_add(resolution_ms - into) }
    }

    /// Bit for bit, which says of NaN as well whether it is the same.
    pub fn same_bits(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }

    fn bits(&self) -> [u64; 10] {
        let Self { resolution_ms, first_ms, last_ms, first, last, min, max, sum, count, lost } = *self;
        let numbers = [first, last, min, max, sum, count, lost].map(f64::to_bits);
        let [a, b, c, d, e, f, g] = numbers;
        [resolution_ms as u64, first_ms as u64, last_ms as u64, a, b, c, d, e, f, g]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: &[(i64, f64)]) -> Aggregate {
        let mut all = samples.iter().map(|(at, value)| Aggregate::of(100, *at, *value));
        let mut first = all.next().expect("a sample");
        all.for_each(|next| first.extend(&next));
        first
    }

    #[test]
    fn parts_give_the_whole() {
        let samples = [(1, 5.0), (20, 7.0), (30, 2.0), (50, 2.0), (60, f64::NAN), (70, 1.0), (100, 9.0)];
        let whole = of(&samples);
        assert_eq!((whole.min, whole.max, whole.count, whole.lost), (1.0, 9.0, 7.0, 7.0));
        assert_eq!((whole.first_ms, whole.last_ms, whole.first, whole.last), (1, 100, 5.0, 9.0));
        for at in 1..samples.len() {
            let mut parts = of(&samples[..at]);
            parts.extend(&of(&samples[at..]));
            assert_eq!((parts.min, parts.max, parts.count, parts.lost), (1.0, 9.0, 7.0, 7.0), "parted at {at}");
        }
        assert!(of(&[(1, f64::NAN), (2, f64::NAN)]).min.is_nan());
        assert_eq!(of(&[(1, f64::NAN), (2, 3.0)]).max, 3.0);
    }

    #[test]
    fn what_lies_side_by_side_is_no_reset() {
        // A counter of which two blocks have every other sample, and one that came late.
        let (even, odd) = ([(2, 20.0), (4, 40.0), (6, 6.0), (8, 26.0)], [(1, 10.0), (3, 30.0), (5, 50.0), (7, 16.0), (9, 36.0)]);
        let mut both = of(&even);
        assert_eq!((both.lost, of(&odd).lost), (40.0, 50.0));
        both.extend(&of(&odd));
        assert_eq!((both.first_ms, both.first, both.last, both.lost, both.count), (1, 10.0, 36.0, 50.0, 9.0));
        let mut late = of(&[(5, 50.0)]);
        late.extend(&of(&[(1, 10.0), (9, 90.0)]));
        assert_eq!((late.first, late.last, late.lost, late.count, late.sum), (10.0, 90.0, 0.0, 3.0, 150.0));
        // One that begins a little before the other has ended.
        let mut before = of(&[(1, 10.0), (5, 50.0)]);
        before.extend(&of(&[(4, 40.0), (6, 60.0), (7, 5.0)]));
        assert_eq!((before.first, before.last, before.lost), (10.0, 5.0, 60.0));
    }

    #[test]
    fn a_stretch_has_its_end_and_not_its_start() {
        let ends = [-100, -99, 0, 1, 99, 100, 101].map(|at| Aggregate::stretch_end(100, at));
        assert_eq!(ends, [-100, 0, 0, 100, 100, 100, 200]);
    }
}
