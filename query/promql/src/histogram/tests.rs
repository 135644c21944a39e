//! What the scripts do not reach: spans made to break arithmetic, and texts.

use weir_model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, Span};

use super::*;

fn empty(schema: i8) -> Histogram {
    Histogram { is_integer: true, ..Histogram::empty(schema) }
}

fn side(spans: &[(i32, u32)], counts: &[f64]) -> Buckets {
    Buckets {
        spans: spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect(),
        counts: counts.to_vec(),
    }
}

#[test]
fn a_histogram_reads_as_prometheus_writes_it() {
    let mut own = Histogram { count: 1_234_567.0, sum: -0.25, zero_count: 2.0, zero_threshold: 0.001, ..empty(0) };
    own.positive = side(&[(0, 2), (1, 1)], &[3.0, 0.0, 0.5]);
    own.negative = side(&[(1, 1)], &[1.0]);
    assert_eq!(text(&own), "{count:1.234567e+06, sum:-0.25, [-2,-1):1, [-0.001,0.001]:2, (0.5,1]:3, (4,8]:0.5}");
    let custom = Histogram { custom_bounds: vec![5.0], positive: side(&[(0, 2)], &[1.0, 2.0]), ..empty(CUSTOM_BUCKETS_SCHEMA) };
    assert_eq!(text(&custom), "{count:0, sum:0, [-Inf,5]:1, (5,+Inf]:2}");
}

/// Zero times or by what makes it NaN is no zero bucket.
#[test]
fn scaled_custom_buckets_have_no_zero_bucket() {
    let custom = Histogram { custom_bounds: vec![5.0], positive: side(&[(0, 2)], &[1.0, 2.0]), ..empty(CUSTOM_BUCKETS_SCHEMA) };
    for own in
        [multiplied(&custom, f64::INFINITY), multiplied(&custom, f64::NAN), divided(&custom, 0.0), divided(&custom, f64::NAN)]
    {
        assert_eq!((own.zero_count, own.check_shape()), (0.0, Ok(())));
    }
    assert!(divided(&empty(0), 0.0).zero_count.is_nan());
}

#[test]
fn bounds_are_those_of_prometheus_to_the_bit() {
    let bound = super::bucket::exponential_bound;
    assert_eq!([bound(1, -1), bound(3, -7), bound(8, -255)], [0.7071067811865475, 0.5452538663326288, 0.5013556375251013]);
    assert_eq!([bound(8, 5), bound(8, -1)], [2.0 * 0.5068150424757447, 0.9972960560854698]);
    let all = (0..256).fold(0_u64, |hash, index| hash.wrapping_mul(31).wrapping_add(bound(8, index).to_bits()));
    assert_eq!(all, 0xacf6_c159_a056_d65f, "of its whole table");
    assert_eq!(
        [bound(2, 4096), bound(2, 4097), bound(2, 4095)],
        [f64::MAX, f64::INFINITY, 0.8408964152537144 * 2_f64.powi(1023) * 2.0]
    );
    assert_eq!([bound(0, 3), bound(-2, -1), bound(-4, 64)], [8.0, 0.0625, f64::MAX]);
}

/// Spans that reach from one end of an i32 to the other, overlap, promise billions of buckets or fewer than there are.
#[test]
fn hostile_spans_take_no_more_than_their_counts() {
    let hostile = [
        side(&[(i32::MIN, 1), (i32::MAX, 1), (i32::MAX, 1), (i32::MAX, u32::MAX)], &[1.0, 2.0, 3.0, 4.0]),
        side(&[(i32::MAX, u32::MAX), (i32::MIN, u32::MAX)], &[1.0, 2.0]),
        side(&[(0, 0), (0, 0), (-5, 2)], &[1.0, 2.0, 3.0]),
        side(&[], &[1.0]),
    ];
    let all: Vec<Histogram> = [-4_i8, 0, 8, CUSTOM_BUCKETS_SCHEMA]
        .into_iter()
        .flat_map(|schema| {
            hostile.iter().map(move |buckets| Histogram {
                count: 10.0,
                sum: f64::NAN,
                zero_threshold: f64::NAN,
                zero_count: 1.0,
                positive: buckets.clone(),
                negative: buckets.clone(),
                custom_bounds: vec![1.0, f64::NAN, -1.0],
                ..empty(schema)
            })
        })
        .collect();
    for a in &all {
        for q in [0.0, 0.3, 0.9, 1.0] {
            let _ = (quantile(q, a), fraction(-q, q, a), variance(a), text(a));
        }
        for trim in [Trim::Below, Trim::Above] {
            let kept = trimmed(a, 0.5, trim);
            assert!(kept.positive.counts.len() <= a.positive.counts.len());
        }
        for b in &all {
            let mut sum = HistogramSum::new(a);
            if sum.add(b).is_ok() {
                let sum = sum.total(None);
                assert!(sum.positive.counts.len() <= a.positive.counts.len() + b.positive.counts.len());
                let spans: u64 = sum.positive.spans.iter().map(|span| u64::from(span.length)).sum();
                assert_eq!(spans, sum.positive.counts.len() as u64);
            }
            let _ = (detect_reset(a, b), equal(a, b));
        }
    }
}

#[test]
fn sums_come_back_to_what_they_were() {
    let own = |count: f64| Histogram { count, sum: count, positive: side(&[(0, 1), (3, 1)], &[count, 0.1]), ..empty(3) };
    let mut sum = HistogramSum::new(&own(1.0));
    for large in [1e100, -1e100] {
        assert_eq!(sum.add(&own(large)), Ok(Merged::default()));
    }
    let total = sum.total(None);
    assert_eq!((total.count, total.sum, total.positive.counts[0]), (1.0, 1.0, 1.0));
    let mut mean = Running::new(&own(f64::MAX), Fold::Mean);
    mean.add(&own(f64::MAX)).unwrap();
    assert_eq!(mean.total().count, f64::MAX);
    let custom = Histogram { custom_bounds: vec![5.0], ..empty(CUSTOM_BUCKETS_SCHEMA) };
    assert_eq!(sum.add(&custom), Err(Incompatible));
}

#[test]
fn a_zero_bucket_takes_whole_buckets() {
    let narrow = Histogram { count: 6.0, positive: side(&[(0, 3)], &[1.0, 2.0, 3.0]), ..empty(0) };
    let wide = Histogram { count: 1.0, zero_count: 1.0, zero_threshold: 1.5, ..empty(0) };
    let mut sum = HistogramSum::new(&narrow);
    sum.add(&wide).unwrap();
    let sum = sum.total(None);
    // (0.5,1] and (1,2] are in it; it ends where the second does.
    assert_eq!((sum.zero_threshold, sum.zero_count, sum.positive.counts), (2.0, 4.0, vec![3.0]));
    assert!(detect_reset(&narrow, &wide), "a zero bucket does not shrink");
}
