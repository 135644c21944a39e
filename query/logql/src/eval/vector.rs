//! Vector aggregations, one group at a time, one instant at a time.

use std::collections::BTreeMap;

use super::Series;
use super::samples::{extreme, variance};
use crate::ast::{VectorAgg, VectorOp};
use crate::error::QueryError;
use crate::pipeline::labels::LabelSet;

/// Aggregates. topk, bottomk and sort order the answer by the values of the first instant.
pub fn aggregate(agg: &VectorAgg, series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    match agg.op {
        VectorOp::Sort => return Ok(sorted(series, false)),
        VectorOp::SortDesc => return Ok(sorted(series, true)),
        _ => {}
    }
    let mut groups: BTreeMap<LabelSet, Vec<Series>> = BTreeMap::new();
    for one in series {
        groups.entry(one.labels.grouped(agg.grouping.as_ref())).or_default().push(one);
    }
    Ok(match agg.op {
        // Exact, where Loki estimates.
        VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk => {
            let largest = agg.op != VectorOp::Bottomk;
            let kept = groups.into_values().flat_map(|group| choose(group, agg.parameter.unwrap_or(1), largest)).collect();
            sorted(kept, largest)
        }
        op => groups.into_iter().map(|(labels, group)| Series { labels, points: combine(op, &group) }).collect(),
    })
}

fn combine(op: VectorOp, group: &[Series]) -> Vec<Option<f64>> {
    let instants = group.iter().map(|series| series.points.len()).max().unwrap_or(0);
    (0..instants)
        .map(|i| {
            let values = || group.iter().filter_map(|series| series.points[i]);
            let count = values().count() as f64;
            if count == 0.0 {
                return None;
            }
            Some(match op {
                VectorOp::Sum => values().sum(),
                VectorOp::Avg => values().sum::<f64>() / count,
                VectorOp::Min => extreme(values(), |new, best| new < best),
                VectorOp::Max => extreme(values(), |new, best| new > best),
                VectorOp::Stdvar => variance(values()),
                VectorOp::Stddev => variance(values()).sqrt(),
                VectorOp::Count => count,
                VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk | VectorOp::Sort | VectorOp::SortDesc => count,
            })
        })
        .collect()
}

/// Keeps, at every instant, the `count` largest or smallest points; NaN only when there is nothing else.
fn choose(mut group: Vec<Series>, count: usize, largest: bool) -> Vec<Series> {
    let instants = group.first().map_or(0, |series| series.points.len());
    for i in 0..instants {
        let mut ranked: Vec<(usize, f64)> =
            group.iter().enumerate().filter_map(|(at, series)| Some((at, series.points[i]?))).collect();
        ranked.sort_by(|a, b| by_value(a.1, b.1, largest));
        for (at, _) in ranked.into_iter().skip(count) {
            group[at].points[i] = None;
        }
    }
    group.retain(|series| series.points.iter().any(Option::is_some));
    group
}

/// Ascending or descending, NaN last both ways.
fn by_value(a: f64, b: f64, descending: bool) -> std::cmp::Ordering {
    let order = if descending { b.total_cmp(&a) } else { a.total_cmp(&b) };
    a.is_nan().cmp(&b.is_nan()).then(order)
}

fn sorted(mut series: Vec<Series>, descending: bool) -> Vec<Series> {
    let first = |series: &Series| series.points.iter().flatten().next().copied().unwrap_or(f64::NAN);
    series.sort_by(|a, b| by_value(first(a), first(b), descending).then_with(|| a.labels.cmp(&b.labels)));
    series
}
