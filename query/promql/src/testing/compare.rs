//! Expected against given.

use std::collections::BTreeMap;

use weir_model::label::Labels;
use weir_model::metric::is_stale;

use super::script::{EvalCommand, Expect, Span, Text};
use super::series::Step;
use crate::histogram::alike;
use crate::{Answer, Output, Points, Sample};

/// Floats that differ by less than this fraction of their sum are equal: Prometheus' own tolerance.
const TOLERANCE: f64 = 1e-6;

pub(super) fn equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// The expected points of each series; instants have one, at the span's start.
type Expected = BTreeMap<Labels, Vec<(i64, Step)>>;

fn expected(eval: &EvalCommand, span: Span) -> Result<Expected, String> {
    let mut expected = Expected::new();
    for line in &eval.series {
        let mut points = Vec::new();
        let steps = line.steps.iter().enumerate().filter(|(_, step)| **step != Step::None);
        points.extend(steps.map(|(i, step)| (span.start_ms + span.step_ms * i as i64, step.clone())));
        if !points.is_empty() && expected.insert(line.labels.clone(), points).is_some() {
            return Err(format!("expected series {} stands twice", line.labels));
        }
    }
    Ok(expected)
}

/// Checks an answer's value. `span` is what was evaluated.
pub(super) fn compare(eval: &EvalCommand, span: Span, output: &Output) -> Result<(), String> {
    let given: Vec<(Labels, Vec<(i64, Step)>)> = match output {
        Output::String(text) => {
            let wanted = eval.string.as_ref().ok_or_else(|| format!("did not expect the string {text:?}"))?;
            return if text == wanted { Ok(()) } else { Err(format!("expected {wanted:?}, got {text:?}")) };
        }
        Output::Scalar(value) => {
            let wanted = eval.scalar.ok_or_else(|| format!("did not expect the scalar {value}"))?;
            return if equal(wanted, *value) { Ok(()) } else { Err(format!("expected {wanted}, got {value}")) };
        }
        Output::Vector(samples) => {
            let step = |sample: &Sample| match &sample.histogram {
                Some(histogram) => Step::Histogram(histogram.clone(), false),
                None => Step::Float(sample.value),
            };
            samples.iter().map(|sample| (sample.labels.clone(), vec![(span.start_ms, step(sample))])).collect()
        }
        Output::Matrix(rows) => rows.iter().map(|row| (row.labels.clone(), steps(row))).collect(),
    };
    if let (Some(wanted), [(_, points)]) = (eval.scalar, &given[..]) {
        let same = points.iter().all(|(_, step)| matches!(step, Step::Float(value) if equal(wanted, *value)));
        return if same { Ok(()) } else { Err(format!("expected {wanted}, got {points:?}")) };
    }
    let wanted = expected(eval, eval.vector_span.unwrap_or(span))?;
    if eval.ordered {
        let order: Vec<&Labels> = eval.series.iter().map(|line| &line.labels).collect();
        let got: Vec<&Labels> = given.iter().map(|(labels, _)| labels).collect();
        if order != got {
            return Err(format!("expected the order {order:?}, got {got:?}"));
        }
    }
    for (labels, points) in &given {
        let own = wanted.get(labels).ok_or_else(|| format!("did not expect {labels} = {points:?}"))?;
        same_points(labels, own, points)?;
    }
    match wanted.keys().find(|labels| !given.iter().any(|(own, _)| own == *labels)) {
        Some(missing) => Err(format!("{missing} is missing")),
        None => Ok(()),
    }
}

/// The samples of a row, by time.
fn steps(row: &Points) -> Vec<(i64, Step)> {
    let numbers = row.points.iter().map(|(at, value)| (*at, Step::Float(*value)));
    let histograms = row.histograms.iter().map(|(at, own)| (*at, Step::Histogram(own.clone(), false)));
    let mut steps: Vec<(i64, Step)> = numbers.chain(histograms).collect();
    steps.sort_by_key(|(at, _)| *at);
    steps
}

fn same_step(wanted: &Step, given: &Step) -> bool {
    match (wanted, given) {
        (Step::Float(wanted), Step::Float(given)) => equal(*wanted, *given),
        (Step::Histogram(wanted, hinted), Step::Histogram(given, _)) => {
            alike(wanted, given, equal) && (!hinted || wanted.reset == given.reset)
        }
        _ => false,
    }
}

fn same_points(labels: &Labels, wanted: &[(i64, Step)], given: &[(i64, Step)]) -> Result<(), String> {
    let same = wanted.len() == given.len()
        && wanted.iter().zip(given).all(|((at, wanted), (own, given))| at == own && same_step(wanted, given));
    if same { Ok(()) } else { Err(format!("{labels}: expected {wanted:?}, got {given:?}")) }
}

/// Checks warnings and hints.
pub(super) fn compare_notes(eval: &EvalCommand, answer: &Answer) -> Result<(), String> {
    let checks = [("warning", &eval.warn, eval.no_warn, &answer.warnings), ("info", &eval.info, eval.no_info, &answer.infos)];
    for (what, expect, none, given) in checks {
        if none && !given.is_empty() {
            return Err(format!("expected no {what}, got {given:?}"));
        }
        if expect.wanted && given.is_empty() {
            return Err(format!("expected a {what}, got none"));
        }
        if !expect.texts.is_empty() {
            let known = |text: &String| expect.texts.iter().any(|own| matches(own, text));
            if let Some(other) = given.iter().find(|text| !known(text)) {
                return Err(format!("did not expect the {what} {other:?}"));
            }
            if let Some(missing) = expect.texts.iter().find(|own| !given.iter().any(|text| matches(own, text))) {
                return Err(format!("expected the {what} {missing:?}, got {given:?}"));
            }
        }
    }
    Ok(())
}

/// Checks an error's text.
pub(super) fn compare_error(expect: &Expect, error: &str) -> Result<(), String> {
    match expect.texts.iter().find(|text| !matches(text, error)) {
        Some(text) => Err(format!("expected the error {text:?}, got {error:?}")),
        None => Ok(()),
    }
}

fn matches(text: &Text, given: &str) -> bool {
    match text {
        Text::Exact(text) => text == given,
        Text::Pattern(pattern) => regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(given)),
    }
}
