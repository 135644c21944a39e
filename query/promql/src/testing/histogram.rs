//! Histograms in scripts: `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`, and those made of classic ones (`load_with_nhcb`).

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span};
use weir_model::label::{Labels, NAME};

use super::series::{Line, Step, parse_value};
use crate::histogram::HistogramSum;

/// A histogram, and whether its hint was written.
pub(super) fn parse(text: &str) -> Option<(Histogram, bool)> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    let mut histogram = Histogram::empty(0);
    let (mut hinted, mut offsets) = (false, [0_i32; 2]);
    let mut rest = inner.trim();
    while let Some((key, tail)) = rest.split_once(':') {
        let end = match tail.starts_with('[') {
            true => tail.find(']')? + 1,
            false => tail.find(char::is_whitespace).unwrap_or(tail.len()),
        };
        let (value, tail) = tail.split_at(end);
        let list = || value.trim_matches(['[', ']']).split_whitespace().map(parse_value).collect::<Option<Vec<f64>>>();
        match key {
            "schema" => histogram.schema = value.parse().ok()?,
            "sum" => histogram.sum = parse_value(value)?,
            "count" => histogram.count = parse_value(value)?,
            "z_bucket" => histogram.zero_count = parse_value(value)?,
            "z_bucket_w" => histogram.zero_threshold = parse_value(value)?,
            "custom_values" => histogram.custom_bounds = list()?,
            "buckets" => histogram.positive.counts = list()?,
            "n_buckets" => histogram.negative.counts = list()?,
            "offset" => offsets[0] = value.parse().ok()?,
            "n_offset" => offsets[1] = value.parse().ok()?,
            "counter_reset_hint" => {
                hinted = true;
                histogram.reset = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return None,
                };
            }
            _ => return None,
        }
        rest = tail.trim_start();
    }
    for (side, offset) in [&mut histogram.positive, &mut histogram.negative].into_iter().zip(offsets) {
        if !side.counts.is_empty() {
            side.spans = vec![Span { offset, length: side.counts.len() as u32 }];
        }
    }
    rest.is_empty().then_some((histogram, hinted))
}

/// `{{a}}`, or `{{a}}+{{b}}` with `more` steps of `b`.
pub(super) fn expand(body: &str, times: Option<usize>, steps: &mut Vec<Step>) -> Option<()> {
    let Some((first, sign, increment)) = ["}}+", "}}-"].into_iter().find_map(|sign| {
        let at = body.find(sign)?;
        Some((&body[..at + 2], &sign[2..], &body[at + 3..]))
    }) else {
        let (histogram, hinted) = parse(body)?;
        steps.extend(std::iter::repeat_n(Step::Histogram(Arc::new(histogram), hinted), times.map_or(1, |times| times + 1)));
        return Some(());
    };
    let ((first, _), (increment, hinted)) = (parse(first)?, parse(increment)?);
    let mut histogram = first;
    for step in 0..=times? {
        if step > 0 {
            let mut sum = HistogramSum::new(&histogram);
            let added = if sign == "+" { sum.add(&increment) } else { sum.subtract(&increment) };
            added.ok()?;
            histogram = sum.total(None);
        }
        steps.push(Step::Histogram(Arc::new(histogram.clone()), hinted));
    }
    Some(())
}

/// One step of a classic histogram: counts by bound, count and sum.
#[derive(Clone, Debug, Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms, with the bounds of the classic ones, that `lines` describe.
pub(super) fn converted(lines: &[Line]) -> Vec<Line> {
    let mut found: BTreeMap<Labels, Vec<Option<Classic>>> = BTreeMap::new();
    for line in lines {
        let name = line.labels.get(NAME);
        let Some((base, suffix)) = ["_bucket", "_count", "_sum"].iter().find_map(|own| Some((name.strip_suffix(own)?, *own)))
        else {
            continue;
        };
        let bound = parse_value(line.labels.get("le"));
        if suffix == "_bucket" && bound.is_none_or(f64::is_nan) {
            continue;
        }
        let steps = found.entry(line.labels.without(|label| label == "le").with(NAME, base)).or_default();
        for (step, value) in line.steps.iter().enumerate() {
            let Step::Float(value) = value else { continue };
            if steps.len() <= step {
                steps.resize(step + 1, None);
            }
            let classic = steps[step].get_or_insert_default();
            match (suffix, bound) {
                ("_bucket", Some(bound)) => classic.buckets.push((bound, *value)),
                ("_count", _) => classic.count = Some(*value),
                _ => classic.sum = *value,
            }
        }
    }
    let native = |classic: Option<Classic>| classic.map_or(Step::None, |own| Step::Histogram(Arc::new(own.native()), false));
    let line = |(labels, steps): (Labels, Vec<Option<Classic>>)| Line {
        labels,
        steps: steps.into_iter().map(native).collect(),
        starts: Vec::new(),
    };
    found.into_iter().map(line).collect()
}

impl Classic {
    fn native(mut self) -> Histogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let count = self.count.or(self.buckets.last().map(|(_, count)| *count)).unwrap_or_default();
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let own = |(_, count): &(f64, f64)| *count - std::mem::replace(&mut below, *count);
        let counts: Vec<f64> = self.buckets.iter().map(own).collect();
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            reset: ResetHint::Unknown,
            is_integer: false,
            count,
            sum: self.sum,
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive: Buckets { spans: vec![Span { offset: 0, length: counts.len() as u32 }], counts },
            negative: Buckets::default(),
            custom_bounds: self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
        }
    }
}
