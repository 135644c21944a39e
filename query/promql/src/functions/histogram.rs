//! `histogram_quantile`, `histogram_quantiles`, `histogram_fraction`: over classic histograms, which are `_bucket` series, and over
//! native ones, each of which is a sample.

use std::collections::HashMap;

use weir_model::label::{Labels, NAME};

use super::Call;
use crate::annotations::{Forced, for_metric};
use crate::ast::Span;
use crate::error::QueryError;
use crate::eval::{ABSENT, Eval, Row, StepRange, Value, is_absent};
use crate::histogram::{self as native, Skew};
use crate::lex::parse_number;

/// The label of a bucket's upper bound.
const BOUND: &str = "le";
/// Counts that differ by less than this fraction are the same: rates of equal counters differ by rounding.
const TOLERANCE: f64 = 1e-12;

/// The series of one histogram.
struct Histogram {
    labels: Labels,
    buckets: Vec<(f64, Vec<f64>)>,
}

/// One step of a histogram: upper bound and cumulative count, ascending, the last bound +Inf.
type Buckets = Vec<(f64, f64)>;

/// `histogram_quantile(q, v)`
pub(super) fn quantile(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let q = eval.argument(call, 0, step_range)?.scalars()?;
    q.iter().for_each(|q| eval.check_quantile(*q, call.arguments[0].span));
    let found = histograms(eval, call, 1, step_range)?;
    Ok(Value::Vector(quantile_rows(eval, call, &q, found, step_range)))
}

fn quantile_rows(
    eval: &mut Eval<'_>,
    call: &Call<'_>,
    q: &[f64],
    (histograms, natives): (Vec<Histogram>, Vec<Row>),
    step_range: StepRange,
) -> Vec<Row> {
    let mut rows = Vec::with_capacity(histograms.len() + natives.len());
    for histogram in &histograms {
        let values = quantile_values(eval, call, histogram, q, (1, step_range));
        rows.push(Row { labels: histogram.labels.clone(), drop_name: true, values, ..Row::default() });
    }
    for row in &natives {
        let values = native_quantiles(eval, call.arguments[1].span, row, q);
        rows.push(Row { labels: row.labels.clone(), drop_name: true, values, ..Row::default() });
    }
    rows.retain(Row::is_present);
    rows
}

fn native_quantiles(eval: &mut Eval<'_>, span: Span, row: &Row, q: &[f64]) -> Vec<f64> {
    let mut values = vec![ABSENT; q.len()];
    for (step, histogram) in &row.histograms {
        let (value, skew) = native::quantile(q[*step as usize], histogram);
        values[*step as usize] = value;
        let result = match skew {
            Some(Skew::Nan) => "is NaN",
            Some(Skew::Skewed) => "is skewed higher",
            None => continue,
        };
        let metric = for_metric(row.labels.get(NAME));
        eval.notes.info(format!("input to histogram_quantile has NaN observations, result {result}{metric}"), span);
    }
    values
}

/// `histogram_quantiles(v, "label", q…)`: one series a quantile.
pub(super) fn quantiles(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let label = eval.argument(call, 1, step_range)?.text()?;
    let mut wanted = Vec::new();
    for i in 2..call.arguments.len() {
        let q = eval.argument(call, i, step_range)?.scalars()?;
        q.iter().for_each(|q| eval.check_quantile(*q, call.arguments[i].span));
        wanted.push(q);
    }
    let (histograms, natives) = histograms(eval, call, 0, step_range)?;
    let mut rows = Vec::new();
    for q in &wanted {
        let shown = q.first().map_or_else(String::new, |q| open_metrics(*q));
        for histogram in &histograms {
            let values = quantile_values(eval, call, histogram, q, (0, step_range));
            rows.push(Row { labels: histogram.labels.with(&label, &shown), drop_name: true, values, ..Row::default() });
        }
        for row in &natives {
            let values = native_quantiles(eval, call.arguments[0].span, row, q);
            rows.push(Row { labels: row.labels.with(&label, &shown), drop_name: true, values, ..Row::default() });
        }
    }
    rows.retain(Row::is_present);
    Ok(Value::Vector(rows))
}

/// A float as OpenMetrics wants it in a label: `1.0`, never `1`.
fn open_metrics(value: f64) -> String {
    if value.is_finite() && value.fract() == 0.0 { format!("{value:.1}") } else { crate::print::number(value) }
}

fn quantile_values(
    eval: &mut Eval<'_>,
    call: &Call<'_>,
    histogram: &Histogram,
    q: &[f64],
    (i, step_range): (usize, StepRange),
) -> Vec<f64> {
    let mut values = Vec::with_capacity(step_range.steps());
    for (step, at) in step_range.times().enumerate() {
        let Some(buckets) = histogram.at(step) else {
            values.push(ABSENT);
            continue;
        };
        let (value, mended) = bucket_quantile(q[step], buckets);
        values.push(value);
        if let Some((bucket_min, bucket_max, difference_max)) = mended {
            let (metric, span) = (histogram.labels.get(NAME).to_owned(), call.arguments[i].span);
            let (first_ms, last_ms, samples) = (at, at, 1);
            eval.notes.forced(Forced { metric, span, first_ms, last_ms, bucket_min, bucket_max, difference_max, samples });
        }
    }
    values
}

/// `histogram_fraction(lower, upper, v)`
pub(super) fn fraction(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let (lower, upper) = (eval.argument(call, 0, step_range)?.scalars()?, eval.argument(call, 1, step_range)?.scalars()?);
    let (histograms, natives) = histograms(eval, call, 2, step_range)?;
    let classic = histograms.iter().map(|histogram| {
        let value = |step: usize| histogram.at(step).map_or(ABSENT, |buckets| bucket_fraction(lower[step], upper[step], buckets));
        let values = (0..step_range.steps()).map(value).collect();
        Row { labels: histogram.labels.clone(), drop_name: true, values, ..Row::default() }
    });
    let mut rows: Vec<Row> = classic.collect();
    for row in &natives {
        let mut values = vec![ABSENT; step_range.steps()];
        for (step, histogram) in &row.histograms {
            let step = *step as usize;
            let (value, skew) = native::fraction(lower[step], upper[step], histogram);
            values[step] = value;
            if skew.is_some() {
                let metric = for_metric(row.labels.get(NAME));
                let message =
                    format!("input to histogram_fraction has NaN observations, which are excluded from all fractions{metric}");
                eval.notes.info(message, call.arguments[2].span);
            }
        }
        rows.push(Row { labels: row.labels.clone(), drop_name: true, values, ..Row::default() });
    }
    rows.retain(Row::is_present);
    Ok(Value::Vector(rows))
}

/// Classic histograms, and rows of native ones. A step that has both of the same labels has neither.
fn histograms(
    eval: &mut Eval<'_>,
    call: &Call<'_>,
    i: usize,
    step_range: StepRange,
) -> Result<(Vec<Histogram>, Vec<Row>), QueryError> {
    let counts_only = std::mem::take(&mut eval.counts_only);
    let rows = eval.argument(call, i, step_range)?.rows()?;
    eval.counts_only = counts_only;
    Ok(grouped(eval, call, i, rows))
}

/// See [`histograms`]. Apart from it, as from the functions that call it, so that nested calls take little of the stack.
fn grouped(eval: &mut Eval<'_>, call: &Call<'_>, i: usize, rows: Vec<Row>) -> (Vec<Histogram>, Vec<Row>) {
    let mut found: Vec<Histogram> = Vec::new();
    let mut natives: Vec<Row> = Vec::new();
    let mut at: HashMap<Labels, usize> = HashMap::new();
    for mut row in rows {
        if !row.histograms.is_empty() {
            let histograms = std::mem::take(&mut row.histograms);
            natives.push(Row { labels: row.labels.clone(), histograms, ..Row::default() });
            if !row.is_present() {
                continue;
            }
        }
        let bound = row.labels.get(BOUND);
        let Some(bound) = parse_bound(bound) else {
            let metric = for_metric(row.labels.get(NAME));
            let message = format!("bucket label \"le\" is missing or has a malformed value of {bound:?}{metric}");
            eval.notes.warn(message, call.arguments[i].span);
            continue;
        };
        let labels = row.labels.without(|name| name == BOUND);
        let own = *at.entry(labels.clone()).or_insert_with(|| {
            found.push(Histogram { labels, buckets: Vec::new() });
            found.len() - 1
        });
        found[own].buckets.push((bound, row.values));
    }
    found.iter_mut().for_each(|histogram| histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0)));
    for native in &mut natives {
        let Some(classic) = at.get(&native.labels).map(|own| &mut found[*own]) else { continue };
        let before = native.histograms.len();
        native.histograms.retain(|(step, _)| !classic.take(*step as usize));
        if native.histograms.len() < before {
            let metric = for_metric(native.labels.get(NAME));
            let message = format!("vector contains a mix of classic and native histograms{metric}");
            eval.notes.warn(message, call.arguments[i].span);
        }
    }
    (found, natives)
}

fn parse_bound(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.eq_ignore_ascii_case("inf") || digits.eq_ignore_ascii_case("infinity") {
        return Some(sign * f64::INFINITY);
    }
    digits.parse::<f64>().ok().or_else(|| parse_number(digits)).map(|value| sign * value)
}

impl Histogram {
    /// Takes a step's buckets away; whether there were any.
    fn take(&mut self, step: usize) -> bool {
        let mut any = false;
        for (_, values) in &mut self.buckets {
            any |= !is_absent(std::mem::replace(&mut values[step], ABSENT));
        }
        any
    }

    /// The buckets at a step, those of equal bounds added up; `None` when there are none.
    fn at(&self, step: usize) -> Option<Buckets> {
        let mut buckets: Buckets = Vec::with_capacity(self.buckets.len());
        for (bound, values) in &self.buckets {
            let count = values[step];
            match buckets.last_mut() {
                _ if is_absent(count) => {}
                Some(last) if last.0 == *bound => last.1 += count,
                _ => buckets.push((*bound, count)),
            }
        }
        (!buckets.is_empty()).then_some(buckets)
    }
}

/// The quantile, linear within its bucket; and, when counts fell from one bucket to the next and had to be raised, the
/// least and greatest bound concerned and the greatest difference.
fn bucket_quantile(q: f64, mut buckets: Buckets) -> (f64, Option<(f64, f64, f64)>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, None);
    }
    let last = buckets.len() - 1;
    if buckets[last].0 != f64::INFINITY {
        return (f64::NAN, None);
    }
    let mended = make_monotonic(&mut buckets);
    let observations = buckets[last].1;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, mended);
    }
    let rank = q * observations;
    let at = buckets[..last].iter().position(|(_, count)| *count >= rank).unwrap_or(last);
    if at == last {
        return (buckets[last - 1].0, mended);
    }
    if at == 0 && buckets[0].0 <= 0.0 {
        return (buckets[0].0, mended);
    }
    let (start, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    let (end, count) = buckets[at];
    (start + (end - start) * ((rank - below) / (count - below)), mended)
}

fn make_monotonic(buckets: &mut Buckets) -> Option<(f64, f64, f64)> {
    let mut mended: Option<(f64, f64, f64)> = None;
    let mut previous = buckets[0].1;
    for (bound, count) in buckets.iter_mut().skip(1) {
        let close = (previous - *count).abs() / (previous.abs() + count.abs()) < TOLERANCE;
        if *count != previous && close {
            *count = previous;
        } else if *count < previous {
            let (low, high, most) = mended.unwrap_or((f64::INFINITY, f64::NEG_INFINITY, 0.0));
            mended = Some((low.min(*bound), high.max(*bound), most.max(previous - *count)));
            *count = previous;
        } else {
            previous = *count;
        }
    }
    mended
}

/// The part of observations between two bounds, linear within a bucket, none within an infinite one.
fn bucket_fraction(lower: f64, upper: f64, buckets: Buckets) -> f64 {
    let last = buckets[buckets.len() - 1];
    if last.0 != f64::INFINITY || last.1 == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |value: f64| {
        let mut below = 0.0;
        let mut start = if buckets[0].0 <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
        for (end, count) in &buckets {
            if start >= value {
                return below;
            }
            if *end > value {
                let inside = start != f64::NEG_INFINITY;
                return if inside { below + (count - below) * (value - start) / (end - start) } else { *count };
            }
            (below, start) = (*count, *end);
        }
        last.1
    };
    (rank(upper).min(last.1) - rank(lower).min(last.1)) / last.1
}
