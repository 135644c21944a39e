//! A histogram as text, as `count_values` puts it into a label.

use std::fmt::Write;

use weir_model::histogram::Histogram;

use super::bucket::{Bucket, is_custom, negative, positive, zero};

/// `{count:3, sum:4.5, (0.5,1]:3}`: empty buckets are left out.
pub fn text(histogram: &Histogram) -> String {
    let mut buckets: Vec<Bucket> = negative(histogram).map(|(_, bucket)| bucket).collect();
    buckets.reverse();
    if !is_custom(histogram) {
        buckets.push(zero(histogram));
    }
    buckets.extend(positive(histogram).map(|(_, bucket)| bucket));
    let mut out = format!("{{count:{}, sum:{}", number(histogram.count), number(histogram.sum));
    for bucket in buckets.iter().filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.lower_inclusive { '[' } else { '(' };
        let close = if bucket.upper_inclusive { ']' } else { ')' };
        let (lower, upper, count) = (number(bucket.lower), number(bucket.upper), number(bucket.count));
        // Writing into a String cannot fail.
        let _ = write!(out, ", {open}{lower},{upper}{close}:{count}");
    }
    out.push('}');
    out
}

/// As Go's `%g`: the fewest digits, with an exponent below 1e-4 and from 1e6 on.
fn number(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return match value {
            f64::INFINITY => "+Inf".into(),
            f64::NEG_INFINITY => "-Inf".into(),
            value if value.is_nan() => "NaN".into(),
            value if value.is_sign_negative() => "-0".into(),
            _ => "0".into(),
        };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..=5 => value.to_string(),
        exponent => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}
