//! A series of histograms that ends with one: a staleness marker is no sample, whichever of the two it is.

use std::sync::Arc;

use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::label::Labels;
use weir_model::metric::STALE_NAN;
use weir_model::select::NoBudget;

use crate::testing::MemoryReader;
use crate::{Engine, Output, Request};

fn histogram(count: f64, sum: f64) -> Arc<Histogram> {
    Arc::new(Histogram {
        schema: 0,
        reset: ResetHint::Unknown,
        is_integer: true,
        count,
        sum,
        zero_threshold: 0.0,
        zero_count: 0.0,
        positive: Buckets { spans: vec![Span { offset: 0, length: 1 }], counts: vec![count] },
        negative: Buckets { spans: Vec::new(), counts: Vec::new() },
        custom_bounds: Vec::new(),
    })
}

/// Series in the answer at 60 s.
fn count(query: &str) -> usize {
    let (mut reader, labels) = (MemoryReader::default(), Labels::from_pairs([("__name__", "h")]));
    reader.push_histogram(&labels, 0, histogram(1.0, 1.0));
    reader.push_histogram(&labels, 15_000, histogram(2.0, 2.0));
    reader.push_histogram(&labels, 30_000, histogram(0.0, STALE_NAN));
    let engine = Engine { reader: &reader, budget: &NoBudget };
    let scope = weir_model::scope::Scope::of("t");
    let request = Request { scope, query: query.into(), start_ms: 60_000, end_ms: 60_000, step_ms: 0, lookback_ms: 300_000 };
    match engine.query(&request).unwrap().output {
        Output::Vector(samples) => samples.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_histogram_may_be_a_staleness_marker() {
    assert_eq!(count("h"), 0, "the series has ended");
    assert_eq!(count("timestamp(h)"), 0);
    assert_eq!(count("count_over_time(h[2m]) == 2"), 1, "a marker is no sample of a window");
    assert_eq!(count("histogram_sum(last_over_time(h[2m])) == 2"), 1);
}
