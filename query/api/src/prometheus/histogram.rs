//! Native histograms in answers, as Prometheus writes them: `[t, {"count": "…", "sum": "…", "buckets": [[rule, "lower", "upper",
//! "count"], …]}]`. The rule says which bounds belong to a bucket: 0 the upper, 1 the lower, 2 none, 3 both.

use weir_model::histogram::Histogram;
use weir_promql::histogram::all_buckets;

use super::answer::{sample, timestamp};

/// `,"histogram":[…]` of an instant.
pub(super) fn put_sample(out: &mut String, at_ms: i64, histogram: &Histogram) {
    out.push_str(",\"histogram\":");
    put(out, at_ms, histogram);
}

/// `[…]` of one time of a range.
pub(super) fn put(out: &mut String, at_ms: i64, histogram: &Histogram) {
    let (at, count, sum) = (timestamp(at_ms), sample(histogram.count), sample(histogram.sum));
    out.push_str(&format!("[{at},{{\"count\":\"{count}\",\"sum\":\"{sum}\""));
    let buckets = all_buckets(histogram);
    let mut before = ",\"buckets\":[";
    for bucket in buckets.iter().filter(|bucket| bucket.count != 0.0) {
        let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };
        let (lower, upper, count) = (sample(bucket.lower), sample(bucket.upper), sample(bucket.count));
        out.push_str(&format!("{before}[{rule},\"{lower}\",\"{upper}\",\"{count}\"]"));
        before = ",";
    }
    out.push_str(if before == "," { "]}]" } else { "}]" });
}
