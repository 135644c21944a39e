//! A histogram times or by a number, or emptied.

use weir_model::histogram::{Buckets, Histogram, ResetHint};

use super::bucket::{indexed, is_custom, rolled};

/// Each count and the sum times `factor`. Custom buckets have no zero bucket, even where 0 times the factor is NaN.
pub(crate) fn multiplied(histogram: &Histogram, factor: f64) -> Histogram {
    let side = |side: &Buckets| rolled(indexed(side).map(|(index, count)| (index, count * factor)));
    Histogram {
        reset: if factor < 0.0 { ResetHint::Gauge } else { histogram.reset },
        is_integer: false,
        count: histogram.count * factor,
        sum: histogram.sum * factor,
        zero_count: if is_custom(histogram) { 0.0 } else { histogram.zero_count * factor },
        positive: side(&histogram.positive),
        negative: side(&histogram.negative),
        custom_bounds: histogram.custom_bounds.clone(),
        ..*histogram
    }
}

/// Each count and the sum by `divisor`. By zero, no bucket is left. Custom buckets have no zero bucket, as in [`multiplied`].
pub(crate) fn divided(histogram: &Histogram, divisor: f64) -> Histogram {
    let side = |side: &Buckets| match divisor {
        0.0 => Buckets::default(),
        divisor => rolled(indexed(side).map(|(index, count)| (index, count / divisor))),
    };
    Histogram {
        reset: if divisor < 0.0 { ResetHint::Gauge } else { histogram.reset },
        is_integer: false,
        count: histogram.count / divisor,
        sum: histogram.sum / divisor,
        zero_count: if is_custom(histogram) { 0.0 } else { histogram.zero_count / divisor },
        positive: side(&histogram.positive),
        negative: side(&histogram.negative),
        custom_bounds: histogram.custom_bounds.clone(),
        ..*histogram
    }
}

/// Nothing, in the schema of `histogram`.
pub(crate) fn empty_like(histogram: &Histogram) -> Histogram {
    Histogram { custom_bounds: histogram.custom_bounds.clone(), ..Histogram::empty(histogram.schema) }
}
