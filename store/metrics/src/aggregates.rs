//! Downsampling of one series, and how what is left of its samples is stored: in a run of histograms of a schema of its own, so that each
//! number is a column in time. Format: `docs/formats/metrics_block.md`.
//!
//! Called by merge, which downsamples, by the codec of runs, and by the reader, which gives aggregates to queries.

use std::sync::Arc;

use weir_model::histogram::{Buckets, Histogram, Span};
use weir_model::memory::{allocation, shared};
use weir_model::metric::{Aggregate, is_stale};

use super::samples::Samples;

/// No histogram has it.
pub(crate) const AGGREGATE_SCHEMA: i8 = 100;
/// Minimum, maximum, first value, what was lost to resets, milliseconds from first to last, resolution in milliseconds.
const COLUMNS: usize = 6;
/// A day: the coarsest is an hour.
pub(crate) const RESOLUTION_SECONDS_MAX: u32 = 86_400;
const RESOLUTION_MS_MAX: f64 = RESOLUTION_SECONDS_MAX as f64 * 1000.0;

/// One of [`Aggregate`] as it is stored; last value and time are those of its sample.
pub(crate) fn stored(own: &Aggregate) -> Histogram {
    let (span_ms, resolution_ms) = (own.last_ms.saturating_sub(own.first_ms) as f64, own.resolution_ms as f64);
    let counts = vec![own.min, own.max, own.first, own.lost, span_ms, resolution_ms];
    let positive = Buckets { spans: vec![Span { offset: 0, length: COLUMNS as u32 }], counts };
    Histogram { count: own.count, sum: own.sum, positive, ..Histogram::empty(AGGREGATE_SCHEMA) }
}

/// What a stored one says of the sample with this time and value; `None` of a histogram.
pub(crate) fn read(own: &Histogram, at: i64, last: f64) -> Option<Aggregate> {
    let (AGGREGATE_SCHEMA, &[min, max, first, lost, span_ms, resolution_ms]) = (own.schema, &own.positive.counts[..]) else {
        return None;
    };
    let (sum, count, resolution_ms) = (own.sum, own.count, resolution_ms as i64);
    let first_ms = at.saturating_sub(span_ms as i64);
    Some(Aggregate { resolution_ms, first_ms, last_ms: at, first, last, min, max, sum, count, lost })
}

/// Whether what stands in a block can be an aggregate, or a part of its layout where `is_layout`. Errors with a sentence.
pub(crate) fn check(own: &Histogram, is_layout: bool) -> Result<(), String> {
    let is_shaped = own.positive.spans == [Span { offset: 0, length: COLUMNS as u32 }]
        && own.positive.counts.len() == COLUMNS
        && own.negative.spans.is_empty()
        && own.custom_bounds.is_empty();
    if !is_shaped {
        return Err("an aggregate has other columns".into());
    }
    let (span_ms, resolution_ms) = (own.positive.counts[COLUMNS - 2], own.positive.counts[COLUMNS - 1]);
    let fits = (1.0..=RESOLUTION_MS_MAX).contains(&resolution_ms) && (0.0..resolution_ms).contains(&span_ms);
    if is_layout || fits { Ok(()) } else { Err(format!("an aggregate of {span_ms} of {resolution_ms} ms")) }
}

/// Settled samples of one series at a resolution: of all numbers in a stretch the last one is left, with an aggregate. Staleness markers and
/// histograms stay as they are, and part a stretch; what is as coarse already stays as well. Exemplars go.
pub(crate) fn downsample(samples: &Samples, resolution_ms: i64) -> Samples {
    let mut out = Samples::default();
    let mut histograms = samples.histograms.iter().peekable();
    // With when the last of them has counted since.
    let mut open: Option<(Aggregate, i64)> = None;
    for (i, (at, value)) in samples.timestamps.iter().copied().zip(samples.values.iter().copied()).enumerate() {
        let histogram = histograms.next_if(|(own, _)| *own as usize == i).map(|(_, own)| own);
        let start = samples.starts.get(i).copied().unwrap_or_default();
        let piece = match histogram {
            Some(own) => read(own, at, value),
            None if is_stale(value) => None,
            None => Some(Aggregate::of(resolution_ms, at, value)),
        };
        let Some(mut piece) = piece else {
            flush(&mut out, open.take());
            push(&mut out, (at, value), histogram.cloned(), start);
            continue;
        };
        piece.resolution_ms = piece.resolution_ms.max(resolution_ms);
        let end = |own: &Aggregate| (own.resolution_ms, Aggregate::stretch_end(own.resolution_ms, own.last_ms));
        match &mut open {
            Some((own, since)) if end(own) == end(&piece) => {
                own.extend(&piece);
                *since = start;
            }
            _ => flush(&mut out, open.replace((piece, start))),
        }
    }
    flush(&mut out, open);
    if !out.starts.is_empty() {
        out.starts.resize(out.timestamps.len(), 0);
    }
    out
}

/// Of an aggregate as it is stored, as [`Histogram::memory`].
const STORED_BYTES: usize = shared(size_of::<Histogram>()) + allocation(size_of::<Span>()) + allocation(COLUMNS * 8);
/// Of a sample in vectors that grow to twice their length: time, value, place of the aggregate, and since when it counts.
const COPY_BYTES: usize = 2 * (8 + 8 + size_of::<(u32, Arc<Histogram>)>() + 8);

/// Memory that [`downsample`] takes at most, of samples that need not be settled yet.
pub(crate) fn memory(samples: &Samples, resolution_ms: i64) -> usize {
    let (timestamps, count) = (&samples.timestamps, samples.timestamps.len());
    let end = |at: i64| Aggregate::stretch_end(resolution_ms, at);
    let stretches = timestamps.chunk_by(|a, b| end(*a) == end(*b)).count();
    // Each stays, and parts a stretch; so may an aggregate.
    let parting = samples.histograms.len() + samples.values.iter().filter(|value| is_stale(**value)).count();
    let left = count.min(stretches + 2 * parting);
    let others = samples.histograms.iter().filter(|(_, own)| own.schema != AGGREGATE_SCHEMA).count();
    left * COPY_BYTES + left.min(count - others) * STORED_BYTES
}

fn flush(out: &mut Samples, open: Option<(Aggregate, i64)>) {
    if let Some((own, start)) = open {
        push(out, (own.last_ms, own.last), Some(Arc::new(stored(&own))), start);
    }
}

fn push(out: &mut Samples, (at, value): (i64, f64), histogram: Option<Arc<Histogram>>, start: i64) {
    let place = out.timestamps.len();
    out.push(at, value);
    out.histograms.extend(histogram.map(|own| (place as u32, own)));
    out.set_start(place, start);
}

/// Whether a sample is of use from a time on: it is not before it, or the last one of a stretch, which the next one may follow by a
/// resolution.
pub(crate) fn reaches(samples: &Samples, place: usize, from: i64) -> bool {
    let (at, value) = (samples.timestamps[place], samples.values[place]);
    let aggregate = || read(&**samples.histogram(place)?, at, value);
    at >= from || aggregate().is_some_and(|own| at.saturating_add(own.resolution_ms) >= from)
}

/// Leaves out what settled samples have before a time, but for the last one there where it reaches that.
pub(crate) fn trim(samples: &mut Samples, from: i64) {
    let before = samples.timestamps.partition_point(|at| *at < from);
    let kept = before.checked_sub(1).filter(|last| reaches(samples, *last, from));
    samples.drop_first(kept.unwrap_or(before));
}

/// Whether a sample with this beside its number is an aggregate that stands for more samples than the one with the other. Nothing takes the
/// place of a histogram.
pub(crate) fn stands_for_more(own: Option<&Arc<Histogram>>, other: Option<&Arc<Histogram>>) -> bool {
    let Some(own) = own.filter(|own| own.schema == AGGREGATE_SCHEMA) else { return false };
    other.map_or(own.count > 1.0, |other| other.schema == AGGREGATE_SCHEMA && own.count > other.count)
}

pub(crate) fn count(samples: &Samples) -> usize {
    samples.histograms.iter().filter(|(_, own)| own.schema == AGGREGATE_SCHEMA).count()
}

/// Takes the aggregates out of settled samples.
pub(crate) fn take(samples: &mut Samples, out: &mut Vec<Aggregate>) {
    out.clear();
    out.reserve_exact(count(samples));
    let (timestamps, values) = (&samples.timestamps, &samples.values);
    samples.histograms.retain(|(i, own)| {
        let aggregate = read(own, timestamps[*i as usize], values[*i as usize]);
        out.extend(aggregate);
        aggregate.is_none()
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};
    use weir_blocks::testing::held;
    use weir_model::metric::STALE_NAN;

    use super::*;

    fn samples() -> impl Strategy<Value = Samples> {
        let value =
            prop_oneof![8 => (0..100_u32).prop_map(f64::from), 1 => any::<f64>(), 1 => proptest::strategy::Just(STALE_NAN)];
        proptest::collection::vec((1..400_i64, value), 0..80).prop_map(|steps| {
            let (mut samples, mut at) = (Samples::default(), -5_000);
            for (gap, value) in steps {
                at += gap;
                samples.push(at, value);
            }
            samples
        })
    }

    fn same(one: &Samples, other: &Samples) -> bool {
        let bits = |of: &Samples| of.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        one.timestamps == other.timestamps
            && bits(one) == bits(other)
            && one.histograms.len() == other.histograms.len()
            && one.histograms.iter().zip(&other.histograms).all(|(a, b)| a.0 == b.0 && a.1.same_bits(&b.1))
    }

    proptest! {
        #[test]
        fn coarse_ones_are_made_of_fine_ones(samples in samples()) {
            let fine = downsample(&samples, 500);
            proptest::prop_assert!(same(&downsample(&fine, 500), &fine), "what is as coarse stays");
            let (once, twice) = (downsample(&samples, 2_000), downsample(&fine, 2_000));
            proptest::prop_assert_eq!(&once.timestamps, &twice.timestamps);
            for ((_, once), (_, twice)) in once.histograms.iter().zip(&twice.histograms) {
                let exact = |own: &Histogram| {
                    let counts = &own.positive.counts;
                    [own.count, counts[0], counts[1], counts[2], counts[4], counts[5]].map(f64::to_bits)
                };
                proptest::prop_assert_eq!(exact(once), exact(twice));
                proptest::prop_assert!(check(once, false).is_ok());
            }
            let markers = |own: &Samples| own.values.iter().filter(|value| is_stale(**value)).count();
            proptest::prop_assert_eq!(markers(&samples), markers(&once), "each end of a series is kept");
            proptest::prop_assert!(same(&downsample(&once, 500), &once), "what is coarser stays");
        }
    }

    #[test]
    fn a_copy_takes_what_is_said_of_it() {
        for (step_ms, marker_every, resolution_ms) in
            [(15_000, 10_000, 300_000), (300_000, 10_000, 300_000), (15_000, 7, 300_000)]
        {
            let mut samples = Samples::default();
            for i in 0..2000 {
                samples.push(i * step_ms, if i % marker_every == 1 { STALE_NAN } else { i as f64 });
                samples.starts.push(1);
            }
            let check = |samples: &Samples| {
                let before = held();
                let copy = downsample(samples, resolution_ms);
                let (taken, said) = ((held() - before) as usize, memory(samples, resolution_ms));
                assert!((taken..2 * taken).contains(&said), "{said} said, {taken} taken");
                copy
            };
            let copy = check(&samples);
            check(&copy);
        }
    }

    #[test]
    fn what_stands_for_samples_comes_back() {
        let mut samples = Samples::default();
        let steps = [(1_000, 5.0), (2_000, 7.0), (3_000, 1.0), (4_000, STALE_NAN), (5_000, 2.0), (6_000, 3.0)];
        steps.into_iter().for_each(|(at, value)| samples.push(at, value));
        samples.starts = vec![100, 100, 2_500, 2_500, 2_500, 2_500];
        let mut down = downsample(&samples, 5_000);
        assert_eq!(down.timestamps, [3_000, 4_000, 5_000, 6_000]);
        assert_eq!(down.starts, [2_500; 4]);
        let mut aggregates = Vec::new();
        take(&mut down, &mut aggregates);
        assert!(down.histograms.is_empty() && is_stale(down.values[1]));
        let (first_ms, last_ms, first, last) = (1_000, 3_000, 5.0, 1.0);
        let expected = Aggregate {
            resolution_ms: 5_000,
            first_ms,
            last_ms,
            first,
            last,
            min: 1.0,
            max: 7.0,
            sum: 13.0,
            count: 3.0,
            lost: 7.0,
        };
        assert_eq!(aggregates, [expected, Aggregate::of(5_000, 5_000, 2.0), Aggregate::of(5_000, 6_000, 3.0)]);
    }

    #[test]
    fn of_two_with_one_last_sample_the_one_that_stands_for_more_stays() {
        let of = |steps: &[(i64, f64)]| {
            let mut samples = Samples::default();
            steps.iter().for_each(|(at, value)| samples.push(*at, *value));
            samples
        };
        let appended = |parts: [&Samples; 2]| {
            let mut all = Samples::default();
            for part in parts {
                let first = all.timestamps.len() as u32;
                all.timestamps.extend(&part.timestamps);
                all.values.extend(&part.values);
                all.histograms.extend(part.histograms.iter().map(|(at, own)| (first + at, Arc::clone(own))));
            }
            all.settle();
            let mut left = Vec::new();
            take(&mut all, &mut left);
            (all.timestamps.clone(), left.iter().map(|own| own.count).collect::<Vec<_>>())
        };
        let (few, many) = (of(&[(3_000, 3.0)]), of(&[(1_000, 1.0), (2_000, 2.0), (3_000, 3.0)]));
        let (few_left, many_left) = (downsample(&few, 5_000), downsample(&many, 5_000));
        for pair in [[&few, &many_left], [&many_left, &few], [&few_left, &many_left], [&many_left, &few_left]] {
            assert_eq!(appended(pair), (vec![3_000], vec![3.0]));
        }
        assert_eq!(appended([&many_left, &many_left]).1, [3.0], "the same once more");
    }

    #[test]
    fn what_is_none_is_refused() {
        let own = stored(&Aggregate::of(300_000, 5, 1.0));
        assert_eq!((check(&own, false), check(&own, true)), (Ok(()), Ok(())));
        let with = |at: usize, value: f64| {
            let mut own = own.clone();
            own.positive.counts[at] = value;
            check(&own, false).expect_err("refused")
        };
        assert_eq!(with(5, 0.0), "an aggregate of 0 of 0 ms");
        assert_eq!(with(5, f64::NAN), "an aggregate of 0 of NaN ms");
        assert_eq!(with(4, 300_000.0), "an aggregate of 300000 of 300000 ms");
        assert_eq!(check(&Histogram::empty(AGGREGATE_SCHEMA), true), Err("an aggregate has other columns".into()));
    }
}
