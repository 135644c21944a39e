//! Histograms as Prometheus' chunks of integer and of float histograms. Pure. Source: tsdb/chunkenc/{histogram,float_histogram,
//! histogram_meta}.go of Prometheus.
//!
//! All histograms of a chunk have one layout (schema, zero threshold, spans, bounds), and none of its counters falls: a reader
//! takes each but the first for one whose counters went on.

use weir_model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint};

use super::bits::{Bits, Window};
use super::prompb::Chunk;
use super::xor;

/// Of [`Chunk`].
const INTEGERS: i32 = 2;
const FLOATS: i32 = 3;
/// A chunk of more bytes takes no further histogram: most have far less, and frames of 1 MiB hold some of them.
const CHUNK_BYTES: usize = 64 << 10;
/// A bound that is a multiple of a thousandth up to here is written as that many thousandths.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// A chunk in the making.
pub(super) struct HistogramChunk<'a> {
    bits: Bits,
    count: u16,
    first_time: i64,
    time: i64,
    time_delta: i64,
    last: &'a Histogram,
    /// Of integers: count, zero count and buckets, and by how much each grew last.
    numbers: Vec<i64>,
    deltas: Vec<i64>,
    /// Of floats: count, zero count, sum and buckets; of integers the sum alone.
    floats: Vec<(u64, Window)>,
}

impl<'a> HistogramChunk<'a> {
    pub fn begin(time: i64, own: &'a Histogram) -> Self {
        let flags = match own.reset {
            ResetHint::Unknown => 0,
            ResetHint::NotReset => 0b0100_0000,
            ResetHint::Reset => 0b1000_0000,
            ResetHint::Gauge => 0b1100_0000,
        };
        let mut bits = Bits::after(&[0, 0, flags]);
        put_layout(&mut bits, own);
        bits.put_signed_varbit(time);
        let (numbers, floats) = if own.is_integer { (numbers(own), vec![own.sum.to_bits()]) } else { (Vec::new(), floats(own)) };
        let (counts, buckets) = numbers.split_at(numbers.len().min(2));
        counts.iter().for_each(|count| bits.put_varbit(*count as u64));
        floats.iter().for_each(|value| bits.put(*value, 64));
        buckets.iter().for_each(|bucket| bits.put_signed_varbit(*bucket));
        let deltas = vec![0; numbers.len()];
        let floats = floats.into_iter().map(|value| (value, Window::default())).collect();
        Self { bits, count: 1, first_time: time, time, time_delta: 0, last: own, numbers, deltas, floats }
    }

    /// Whether a histogram that follows belongs to this chunk.
    pub fn takes(&self, next: &Histogram) -> bool {
        let is_gauge = |own: &Histogram| own.reset == ResetHint::Gauge;
        usize::from(self.count) < xor::SAMPLES
            && self.bits.bytes() < CHUNK_BYTES
            && !next.is_stale()
            && !self.last.is_stale()
            && self.last.is_laid_out_as(next)
            && is_gauge(self.last) == is_gauge(next)
            && match next.reset {
                ResetHint::Gauge | ResetHint::NotReset => true,
                ResetHint::Reset => false,
                ResetHint::Unknown => goes_on(self.last, next),
            }
    }

    pub fn push(&mut self, time: i64, own: &'a Histogram) {
        let delta = time.wrapping_sub(self.time);
        self.bits.put_signed_varbit(delta.wrapping_sub(self.time_delta));
        (self.time, self.time_delta) = (time, delta);
        if own.is_integer {
            let now = numbers(own);
            self.put_numbers(&now, 0..2);
            self.put_floats(&[own.sum.to_bits()]);
            self.put_numbers(&now, 2..now.len());
        } else {
            self.put_floats(&floats(own));
        }
        self.count += 1;
        self.last = own;
    }

    fn put_numbers(&mut self, now: &[i64], range: std::ops::Range<usize>) {
        for at in range {
            let delta = now[at].wrapping_sub(self.numbers[at]);
            self.bits.put_signed_varbit(delta.wrapping_sub(self.deltas[at]));
            (self.numbers[at], self.deltas[at]) = (now[at], delta);
        }
    }

    fn put_floats(&mut self, now: &[u64]) {
        for ((before, window), now) in self.floats.iter_mut().zip(now) {
            self.bits.put_xor(*now ^ *before, window);
            *before = *now;
        }
    }

    pub fn finish(self) -> Chunk {
        let mut data = self.bits.into_bytes();
        data[..2].copy_from_slice(&self.count.to_be_bytes());
        let r#type = if self.last.is_integer { INTEGERS } else { FLOATS };
        Chunk { min_time_ms: self.first_time, max_time_ms: self.time, r#type, data }
    }
}

/// Count, zero count, and of each side the buckets, each less the one before.
fn numbers(own: &Histogram) -> Vec<i64> {
    let deltas = |side: &Buckets| {
        let mut before = 0_i64;
        let delta = |count: &f64| (*count as i64).wrapping_sub(std::mem::replace(&mut before, *count as i64));
        side.counts.iter().map(delta).collect::<Vec<i64>>()
    };
    [own.count as i64, own.zero_count as i64].into_iter().chain(deltas(&own.positive)).chain(deltas(&own.negative)).collect()
}

/// Bits of count, zero count, sum and buckets.
fn floats(own: &Histogram) -> Vec<u64> {
    let buckets = own.positive.counts.iter().chain(&own.negative.counts);
    [own.count, own.zero_count, own.sum].iter().chain(buckets).map(|value| value.to_bits()).collect()
}

/// Whether no counter fell, of two histograms of one layout.
fn goes_on(before: &Histogram, next: &Histogram) -> bool {
    let grew = |(before, next): (&f64, &f64)| next >= before;
    let side = |before: &Buckets, next: &Buckets| before.counts.iter().zip(&next.counts).all(grew);
    grew((&before.count, &next.count))
        && grew((&before.zero_count, &next.zero_count))
        && side(&before.positive, &next.positive)
        && side(&before.negative, &next.negative)
}

fn put_layout(bits: &mut Bits, own: &Histogram) {
    put_threshold(bits, own.zero_threshold);
    bits.put_signed_varbit(i64::from(own.schema));
    for side in [&own.positive, &own.negative] {
        bits.put_varbit(side.spans.len() as u64);
        for span in &side.spans {
            bits.put_varbit(u64::from(span.length));
            bits.put_signed_varbit(i64::from(span.offset));
        }
    }
    if own.schema == CUSTOM_BUCKETS_SCHEMA {
        bits.put_varbit(own.custom_bounds.len() as u64);
        own.custom_bounds.iter().for_each(|bound| put_bound(bits, *bound));
    }
}

/// A byte for 0 and for the powers of two from 2^-243 to 2^10.
fn put_threshold(bits: &mut Bits, threshold: f64) {
    let raw = threshold.to_bits();
    let (exponent, mantissa) = ((raw >> 52) as i64 - 1023, raw & ((1 << 52) - 1));
    match () {
        () if raw == 0 => bits.put(0, 8),
        // 2^-243 is 1, 2^10 is 254.
        () if mantissa == 0 && (-243..=10).contains(&exponent) => bits.put((exponent + 244) as u64, 8),
        () => {
            bits.put(255, 8);
            bits.put(raw, 64);
        }
    }
}

fn put_bound(bits: &mut Bits, bound: f64) {
    let thousandths = (bound * 1000.0).round();
    let is_whole = thousandths / 1000.0 == bound && bound.is_sign_positive() && bound * 1000.0 <= THOUSANDTHS_MAX;
    if is_whole {
        return bits.put_varbit(thousandths as u64 + 1);
    }
    bits.put(0, 1);
    bits.put(bound.to_bits(), 64);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_model::histogram::Span;
    use weir_model::select::Series;

    use super::super::chunks::chunks;
    use super::*;

    fn side(spans: &[(i32, u32)], counts: &[f64]) -> Buckets {
        let spans = spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
        Buckets { spans, counts: counts.to_vec() }
    }

    fn integers([count, zero_count, sum]: [f64; 3], positive: [f64; 2]) -> Histogram {
        Histogram {
            is_integer: true,
            count,
            sum,
            zero_threshold: 0.25,
            zero_count,
            positive: side(&[(2, 1), (40, 1)], &positive),
            negative: side(&[(-3, 1)], &[4.0]),
            ..Histogram::empty(3)
        }
    }

    fn three() -> [Histogram; 3] {
        [
            integers([9.0, 1.0, 1.5], [3.0, 1.0]),
            integers([14.0, 2.0, 2.25], [5.0, 3.0]),
            integers([60_000_014.0, 2.0, -7.0], [50_000_005.0, 10_000_003.0]),
        ]
    }

    const TIMES: [i64; 3] = [1000, 16_000, 31_001];

    fn of(times: &[i64], histograms: impl IntoIterator<Item = Histogram>) -> Vec<Chunk> {
        let histograms: Vec<_> = (0..).zip(histograms.into_iter().map(Arc::new)).collect();
        chunks(&Series { timestamps: times.to_vec(), values: vec![0.0; times.len()], histograms, ..Series::default() })
    }

    fn hex(chunk: &Chunk) -> String {
        chunk.data.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes are those of Prometheus' own encoder (tsdb/chunkenc of 2.54) for the same samples.
    #[test]
    fn chunks_have_the_bytes_that_prometheus_writes() {
        let check = |times: &[i64], histograms: &[Histogram], r#type: i32, expected: &str| {
            let chunks = of(times, histograms.to_vec());
            assert_eq!((chunks.len(), chunks[0].r#type, hex(&chunks[0]).as_str()), (1, r#type, expected));
            assert_eq!((chunks[0].min_time_ms, chunks[0].max_time_ms), (times[0], times[times.len() - 1]));
        };
        let ints = "000300f29ca328f0a231af8fa31313ff80000000000009da9f07531858e13bffd911fe000000039386fbbe03e007ff\
                    000000017d783f7f7ffffffeced30000";
        check(&TIMES, &three(), INTEGERS, ints);
        let gauge = Histogram { reset: ResetHint::Gauge, ..three()[0].clone() };
        check(&[-5], &[gauge], INTEGERS, "0001c0f29ca328f0a231aeef1313ff80000000000009da80");
        let custom = |count, counts: [f64; 3]| Histogram {
            is_integer: true,
            count,
            sum: 2.0,
            positive: side(&[(0, 2), (2, 1)], &counts),
            custom_bounds: vec![-1.5, 0.0, 0.005, 33_554.430, 40_000.5],
            ..Histogram::empty(CUSTOM_BUCKETS_SCHEMA)
        };
        let bytes =
            "00020000ee5ca48c955ffc00000000000046dfbfffffe40e3881000000000fe00018bcfe56800b10000000000000002318fc1d4c505378";
        let both = [custom(6.0, [1.0, 2.0, 3.0]), custom(10.0, [1.0, 6.0, 3.0])];
        check(&[1_700_000_000_000, 1_700_000_015_000], &both, INTEGERS, bytes);
        let floats = three().into_iter().enumerate().map(|(i, mut own)| {
            let more = 0.5 * i as f64;
            (own.is_integer, own.zero_threshold) = (false, 0.001);
            (own.count, own.zero_count) = (own.count + more, own.zero_count + more);
            own.positive.counts[1] += more;
            own
        });
        let bytes = "000300ff3f50624dd2f1a9fc9ca328f0a231af8fa10088000000000000ffc0000000000000ffe0000000000001002000000000\
                     0000ffc00000000000010040000000000003e0ea63609f84dffee13bffdd61fc26fffd1cef68670e1f000f01f003f3bd93d7842e76ade25a10";
        check(&TIMES, &floats.collect::<Vec<_>>(), FLOATS, bytes);
    }

    #[test]
    fn a_chunk_ends_where_counters_fall_or_the_layout_changes() {
        let [one, two, three] = three();
        let counts = |histograms: Vec<Histogram>| {
            let times: Vec<i64> = (0..histograms.len() as i64).collect();
            of(&times, histograms).iter().map(|chunk| (chunk.data[1], chunk.data[2])).collect::<Vec<_>>()
        };
        assert_eq!(counts(vec![one.clone(), two.clone(), one.clone(), three.clone()]), [(2, 0), (2, 0)]);
        let hinted = |reset| Histogram { reset, ..two.clone() };
        assert_eq!(counts(vec![one.clone(), hinted(ResetHint::Reset)]), [(1, 0), (1, 0x80)]);
        assert_eq!(counts(vec![three.clone(), hinted(ResetHint::NotReset)]), [(2, 0)], "its writer knows");
        assert_eq!(counts(vec![one.clone(), hinted(ResetHint::Gauge)]), [(1, 0), (1, 0xc0)]);
        let gauge = |own: &Histogram| Histogram { reset: ResetHint::Gauge, ..own.clone() };
        assert_eq!(counts(vec![gauge(&three), gauge(&one)]), [(2, 0xc0)], "gauges may fall");
        assert_eq!(counts(vec![one.clone(), Histogram { zero_threshold: 0.5, ..two.clone() }]), [(1, 0), (1, 0)]);
        assert_eq!(counts(vec![one.clone(), Histogram { is_integer: false, ..two.clone() }]), [(1, 0), (1, 0)]);
        assert_eq!(counts(vec![one.clone(); 121]), [(120, 0), (1, 0)]);
        let wide = Histogram { positive: side(&[(0, 16_384)], &[1e9; 16_384]), is_integer: false, ..one };
        assert_eq!(counts(vec![wide; 2]), [(1, 0), (1, 0)], "of so many bytes each is one");
    }

    #[test]
    fn numbers_and_histograms_of_a_series_keep_their_order() {
        let [one, two, _] = three();
        let histograms = vec![(1, Arc::new(one.clone())), (2, Arc::new(two)), (4, Arc::new(one))];
        let series = Series { timestamps: vec![1, 2, 3, 4, 5, 6], values: vec![7.0; 6], histograms, ..Series::default() };
        let seen: Vec<_> = chunks(&series).iter().map(|chunk| (chunk.r#type, chunk.min_time_ms, chunk.max_time_ms)).collect();
        assert_eq!(seen, [(1, 1, 1), (2, 2, 3), (1, 4, 4), (2, 5, 5), (1, 6, 6)]);
    }
}
