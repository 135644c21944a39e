//! Deltas summed to what a counter or a histogram says since its start, a series at a time. Kept in memory alone, of a bounded size.
//!
//! A request that is sent again changes nothing: a delta of the time of the newest is answered with the sum that has it already, so that a
//! retry stores the same values under the same digest. What is older is refused, as it is part of no sum that can still be told; what else
//! its request has gets another digest then, since its sections are not those of the first attempt.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_model::label::Labels;
use weir_model::time::UnixNanos;

use super::exponential::Exponential;
use crate::otlp::config::OtlpConfig;
use crate::quota::Excess;

/// Memory of a sum beside its labels and buckets.
const SUM_BYTES: usize = 300;

/// What has been counted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Counted {
    Number(f64),
    Explicit { bounds: Vec<f64>, counts: Vec<u64>, count: u64, sum: Option<f64> },
    Exponential(Exponential),
}

/// Whose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub tenant: Arc<str>,
    pub target: Labels,
    pub series: Labels,
}

/// When a delta began and ended, and when it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// 0 where the point does not say.
    pub start: UnixNanos,
    pub time: UnixNanos,
    pub now: UnixNanos,
}

struct Sum {
    start: UnixNanos,
    last: UnixNanos,
    /// When it came.
    seen: UnixNanos,
    counted: Counted,
}

/// The sums of one collector.
#[derive(Default)]
pub(crate) struct Deltas(Mutex<Sums>);

#[derive(Default)]
struct Sums {
    by_series: HashMap<Key, Sum>,
    bytes: usize,
    /// When stale ones were dropped last.
    swept: UnixNanos,
}

impl Counted {
    fn add(&mut self, delta: &Self) -> Result<(), String> {
        match (self, delta) {
            (Self::Number(sum), Self::Number(delta)) => *sum += delta,
            (
                Self::Explicit { bounds, counts, count, sum },
                Self::Explicit { bounds: others, counts: more, count: further, sum: addend },
            ) if bounds == others && counts.len() == more.len() => {
                counts.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
                *count = count.saturating_add(*further);
                *sum = sum.zip(*addend).map(|(sum, addend)| sum + addend);
            }
            (Self::Exponential(sum), Self::Exponential(delta)) => return sum.add(delta),
            _ => return Err("its buckets have changed".into()),
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Explicit { bounds, counts, .. } => (bounds.len() + counts.len()) * 8,
            Self::Exponential(of) => of.buckets() * 8,
        }
    }
}

impl Sum {
    fn is_fresh(&self, now: UnixNanos, max_stale: i64) -> bool {
        now.saturating_sub(self.seen) <= max_stale
    }

    fn memory(&self, key: &Key) -> usize {
        SUM_BYTES + key.target.memory() + key.series.memory() + self.counted.memory()
    }
}

impl Deltas {
    /// The start of the sum, and the sum with the delta in it.
    pub(super) fn add(
        &self,
        config: &OtlpConfig,
        key: Key,
        times: Times,
        delta: Counted,
    ) -> Result<(UnixNanos, Counted), Excess> {
        let Times { start, time, now } = times;
        let mut sums = self.0.lock();
        let max_stale = i64::try_from(config.delta_max_stale.as_nanos()).unwrap_or(i64::MAX);
        let limit = config.delta_max.to_usize();
        if let Some(sum) = sums.by_series.get_mut(&key).filter(|sum| sum.is_fresh(now, max_stale)) {
            if time < sum.last {
                let text = "a delta before the newest of its series".to_owned();
                return Err(Excess { reason: "delta_out_of_order", text, is_passing: false });
            }
            sum.seen = now;
            if time == sum.last {
                return Ok((sum.start, sum.counted.clone()));
            }
            let (mut begun, mut counted) = (sum.start, sum.counted.clone());
            if counted.add(&delta).is_err() {
                // A histogram of another shape begins anew.
                (begun, counted) = (if start > 0 { start } else { sum.last }, delta);
            }
            let before = sum.counted.memory();
            let more = counted.memory().saturating_sub(before);
            if !sums.make_room(more, limit, now, max_stale) {
                return Err(no_room("more buckets in the sum of a series", limit));
            }
            sums.bytes = sums.bytes + counted.memory() - before;
            // It came just now, so that it is there still.
            if let Some(sum) = sums.by_series.get_mut(&key) {
                (sum.start, sum.last, sum.counted) = (begun, time, counted.clone());
            }
            return Ok((begun, counted));
        }
        let begun = Sum { start, last: time, seen: now, counted: delta };
        let needed = begun.memory(&key);
        sums.remove(&key);
        if !sums.make_room(needed, limit, now, max_stale) {
            return Err(no_room("the sum of one more series", limit));
        }
        sums.bytes += needed;
        let sum = (begun.start, begun.counted.clone());
        sums.by_series.insert(key, begun);
        Ok(sum)
    }

    /// The series has gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

impl Sums {
    fn remove(&mut self, key: &Key) {
        if let Some(sum) = self.by_series.remove(key) {
            self.bytes -= sum.memory(key);
        }
    }

    /// Whether there is room for so many bytes more. Drops what is stale where there is none, which looks through all sums, so seldom.
    fn make_room(&mut self, needed: usize, limit: usize, now: UnixNanos, max_stale: i64) -> bool {
        // Also when the clock was set back by so much.
        let is_due = now.saturating_sub(self.swept).saturating_abs() >= max_stale / 10;
        if self.bytes + needed > limit && is_due {
            self.swept = now;
            self.by_series.retain(|_, sum| sum.is_fresh(now, max_stale));
            self.bytes = self.by_series.iter().map(|(key, sum)| sum.memory(key)).sum();
        }
        self.bytes + needed <= limit
    }
}

fn no_room(what: &str, limit: usize) -> Excess {
    let text = format!("no room for {what} of deltas (limit otlp.delta_max is {limit} bytes)");
    Excess { reason: "delta_limit", text, is_passing: true }
}

#[cfg(test)]
mod tests {
    use weir_model::config::ByteSize;
    use weir_model::label::NAME;

    use super::super::exponential::Dense;
    use super::super::raw::RawPoint;
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn key(name: &str) -> Key {
        Key { tenant: "t".into(), target: Labels::EMPTY, series: Labels::from_pairs([(NAME, name)]) }
    }

    fn times(start: i64, time: i64, now: i64) -> Times {
        Times { start: start * SECOND, time: time * SECOND, now: now * SECOND }
    }

    #[test]
    fn deltas_become_sums_and_a_retry_changes_nothing() {
        let (deltas, config) = (Deltas::default(), OtlpConfig::default());
        let add = |times, delta| match deltas.add(&config, key("a"), times, Counted::Number(delta)) {
            Ok((start, Counted::Number(sum))) => Ok((start / SECOND, sum)),
            Ok(other) => panic!("{other:?}"),
            Err(excess) => Err(excess.text),
        };
        assert_eq!(add(times(10, 20, 20), 5.0), Ok((10, 5.0)));
        assert_eq!(add(times(20, 30, 31), 2.0), Ok((10, 7.0)));
        assert_eq!(add(times(20, 30, 32), 2.0), Ok((10, 7.0)));
        assert_eq!(add(times(10, 20, 33), 5.0), Err("a delta before the newest of its series".into()));
        // Forgotten after five minutes.
        assert_eq!(add(times(330, 340, 332), 1.0), Ok((10, 8.0)));
        assert_eq!(add(times(640, 650, 640), 1.0), Ok((640, 1.0)));
        deltas.forget(&key("a"));
        assert_eq!(add(times(650, 660, 660), 1.0), Ok((650, 1.0)));
        assert!(deltas.0.lock().bytes > 0);
        deltas.forget(&key("a"));
        assert_eq!(deltas.0.lock().bytes, 0);
    }

    #[test]
    fn histograms_of_another_shape_begin_anew() {
        let (deltas, config) = (Deltas::default(), OtlpConfig::default());
        let of =
            |bound, count| Counted::Explicit { bounds: vec![bound], counts: vec![count, 1], count: count + 1, sum: Some(1.0) };
        let add = |at, delta| deltas.add(&config, key("h"), times(at, at + 1, at + 1), delta).unwrap();
        assert_eq!(add(1, of(5.0, 1)), (SECOND, of(5.0, 1)));
        let sum = Counted::Explicit { bounds: vec![5.0], counts: vec![4, 2], count: 6, sum: Some(2.0) };
        assert_eq!(add(2, of(5.0, 3)), (SECOND, sum));
        assert_eq!(add(3, of(6.0, 3)), (3 * SECOND, of(6.0, 3)));
    }

    #[test]
    fn memory_is_bounded_and_what_is_stale_makes_room() {
        let (deltas, config) = (Deltas::default(), OtlpConfig { delta_max: ByteSize::bytes(900), ..OtlpConfig::default() });
        let add = |name: &str, now| deltas.add(&config, key(name), times(now, now, now), Counted::Number(1.0)).is_ok();
        assert!(add("a", 1) && add("b", 1) && !add("c", 2));
        assert!(add("a", 200) && !add("c", 300) && !add("c", 302), "all are looked through once in half a minute");
        assert!(add("c", 331), "b makes room");
    }

    #[test]
    fn a_sum_that_grows_stays_within_the_limit_and_its_target_is_counted() {
        let config = OtlpConfig { delta_max: ByteSize::bytes(900), ..OtlpConfig::default() };
        let deltas = Deltas::default();
        let of = |offset| {
            let positive = Dense { offset, counts: vec![1] };
            Counted::Exponential(Exponential::of(&RawPoint { positive, count: 1, ..RawPoint::default() }).unwrap())
        };
        let add = |at, offset| deltas.add(&config, key("h"), times(at, at + 1, at + 1), of(offset));
        let (_, first) = add(1, 0).unwrap();
        let excess = add(2, 1000).unwrap_err();
        assert_eq!((excess.reason, excess.text.contains("more buckets")), ("delta_limit", true), "{}", excess.text);
        assert_eq!(deltas.0.lock().by_series[&key("h")].counted, first, "what is refused changes nothing");
        let bytes = deltas.0.lock().bytes;
        add(2, 3).unwrap();
        assert_eq!(deltas.0.lock().bytes, bytes + 3 * 8);
        let target = Labels::from_pairs([("job", "x".repeat(500))]);
        let of_target = deltas.add(&config, Key { target, ..key("i") }, times(1, 2, 2), Counted::Number(1.0));
        assert_eq!(of_target.unwrap_err().reason, "delta_limit");
    }
}
