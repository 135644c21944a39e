//! Native histograms in answers, as Prometheus writes them: `[t, {"count": "…", "sum": "…", "buckets": [[rule, "lower", "upper",
//! "count"], …]}]`. The rule says which bounds belong to a bucket: 0 the upper, 1 the lower, 2 none, 3 both.

use std::sync::Arc;

use weir_model::histogram::Histogram;
use weir_model::select::ReadError;
use weir_promql::histogram::all_buckets;

use super::answer::{sample, timestamp};
use crate::reply::Text;

/// `,"histogram":[…]` of an instant.
pub(super) fn write_sample(out: &mut Text<'_>, at_ms: i64, histogram: &Histogram) -> Result<(), ReadError> {
    out.raw(",\"histogram\":")?;
    write(out, at_ms, histogram)
}

/// `,"histograms":[[…],…]` of a range, which has some.
pub(super) fn write_points(out: &mut Text<'_>, points: &[(i64, Arc<Histogram>)]) -> Result<(), ReadError> {
    out.raw(",\"histograms\":[")?;
    for (i, (at_ms, histogram)) in points.iter().enumerate() {
        out.raw(if i == 0 { "" } else { "," })?;
        write(out, *at_ms, histogram)?;
    }
    out.raw("]")
}

fn write(out: &mut Text<'_>, at_ms: i64, histogram: &Histogram) -> Result<(), ReadError> {
    let (at, count, sum) = (timestamp(at_ms), sample(histogram.count), sample(histogram.sum));
    out.raw(&format!("[{at},{{\"count\":\"{count}\",\"sum\":\"{sum}\""))?;
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
        out.raw(&format!("{before}[{rule},\"{lower}\",\"{upper}\",\"{count}\"]"))?;
        before = ",";
    }
    out.raw(if before == "," { "]}]" } else { "}]" })
}
