//! What rows of the cluster's samples have beside numbers, and series compared with it to the bit.

use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;
use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::label::Labels;
use weir_model::metric::{Exemplar, RowExtras};
use weir_model::select::Series;

/// Of a row of so many columns: a histogram in the first, a start for each, an exemplar of the last.
pub(super) fn extras(at: i64, width: u32, random: &mut StdRng) -> Box<RowExtras> {
    let counts: Vec<f64> = (0..4).map(|_| f64::from(random.random_range(0..9_u32))).collect();
    let histogram = Histogram {
        schema: random.random_range(2..4),
        reset: ResetHint::Unknown,
        is_integer: true,
        count: counts.iter().sum(),
        sum: f64::from(random.random_range(0..1000_u32)) / 8.0,
        zero_threshold: 1e-128,
        zero_count: 0.0,
        positive: Buckets { spans: vec![Span { offset: -1, length: 3 }, Span { offset: 2, length: 1 }], counts },
        negative: Buckets::default(),
        custom_bounds: Vec::new(),
    };
    let trace = format!("{:032x}", random.random_range(0..u128::MAX));
    let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", trace)]), value: 0.5, timestamp: at - 400_000_000 };
    let starts = (0..i64::from(width)).map(|column| at - at % 10_000_000_000 - column * 1_000_000_000).collect();
    let (histograms, exemplars) = (vec![(0, Arc::new(histogram))], vec![(width - 1, exemplar)]);
    Box::new(RowExtras { histograms, starts: Some(starts), exemplars })
}

/// Values by their bits, since a staleness marker is not equal to itself.
pub(super) type Bits = (Labels, Vec<i64>, Vec<u64>, Vec<(u32, Arc<Histogram>)>, Vec<i64>);

pub(super) fn bits(series: Series) -> Bits {
    let values = series.values.iter().map(|value| value.to_bits()).collect();
    (series.labels, series.timestamps, values, series.histograms, series.starts)
}
