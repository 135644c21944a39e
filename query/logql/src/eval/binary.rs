//! Binary operators between numbers and series.

use std::collections::HashMap;

use super::{Series, Value};
use crate::ast::{BinaryOp, Grouping, Link, Many, Matching};
use crate::error::{QueryError, too_many_series};
use crate::pipeline::labels::LabelSet;

/// `left op right` of two numbers; comparisons give 1 or 0, `None` for set operators. x/0 and x%0 are NaN, as in Loki.
pub fn scalar(op: BinaryOp, left: f64, right: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide | BinaryOp::Modulo if right == 0.0 => f64::NAN,
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        BinaryOp::Compare(op) => f64::from(u8::from(op.holds(left, right))),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => return None,
    })
}

/// Combines both sides instant by instant.
pub fn combine(link: &Link, left: Value, right: Value, series_max: usize) -> Result<Value, QueryError> {
    let mut answer = match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            return Ok(Value::Scalar(scalar(link.op, left, right).unwrap_or(f64::NAN)));
        }
        (Value::Vector(series), Value::Scalar(number)) => {
            series.into_iter().map(|series| map(link, series, |own| (own, number), |own| own)).collect()
        }
        (Value::Scalar(number), Value::Vector(series)) => {
            series.into_iter().map(|series| map(link, series, |own| (number, own), |own| own)).collect()
        }
        (Value::Vector(left), Value::Vector(right)) => match link.op {
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => sets(link, left, right),
            _ => matched(link, left, right)?,
        },
    };
    answer.retain(|series: &Series| series.points.iter().any(Option::is_some));
    if answer.len() > series_max {
        return Err(too_many_series(series_max));
    }
    Ok(Value::Vector(answer))
}

/// Applies the operator to each point. A comparison without `bool` keeps the vector's own value where it holds.
fn map(link: &Link, series: Series, sides: impl Fn(f64) -> (f64, f64), own: impl Fn(f64) -> f64) -> Series {
    let point = |value: f64| {
        let (left, right) = sides(value);
        let result = scalar(link.op, left, right)?;
        match link.op {
            BinaryOp::Compare(_) if !link.yields_bool => (result != 0.0).then(|| own(value)),
            _ => Some(result),
        }
    };
    Series { labels: series.labels, points: series.points.into_iter().map(|value| value.and_then(point)).collect() }
}

/// What series must have in common.
fn signature(matching: &Matching, labels: &LabelSet) -> LabelSet {
    labels.grouped(Some(&Grouping { without: !matching.on, labels: matching.labels.clone() }))
}

fn sets(link: &Link, left: Vec<Series>, right: Vec<Series>) -> Vec<Series> {
    let matching = &link.matching;
    let instants = left.iter().chain(&right).map(|series| series.points.len()).max().unwrap_or(0);
    let present = |side: &[Series]| {
        let mut found: HashMap<LabelSet, Vec<bool>> = HashMap::new();
        for series in side {
            let points = found.entry(signature(matching, &series.labels)).or_insert_with(|| vec![false; instants]);
            points.iter_mut().zip(&series.points).for_each(|(seen, point)| *seen |= point.is_some());
        }
        found
    };
    let keep = |series: Vec<Series>, other: &HashMap<LabelSet, Vec<bool>>, wanted: bool| {
        series
            .into_iter()
            .map(move |mut series| {
                let seen = other.get(&signature(matching, &series.labels));
                for (i, point) in series.points.iter_mut().enumerate() {
                    if seen.is_some_and(|seen| seen[i]) != wanted {
                        *point = None;
                    }
                }
                series
            })
            .collect::<Vec<_>>()
    };
    match link.op {
        BinaryOp::And => keep(left, &present(&right), true),
        BinaryOp::Unless => keep(left, &present(&right), false),
        _ => {
            let on_left = present(&left);
            let mut answer = left;
            for extra in keep(right, &on_left, false) {
                match answer.iter_mut().find(|series| series.labels == extra.labels) {
                    Some(series) => series.points.iter_mut().zip(extra.points).for_each(|(own, new)| *own = own.or(new)),
                    None => answer.push(extra),
                }
            }
            answer
        }
    }
}

/// Arithmetic and comparisons of two vectors: series with equal signatures meet, at each instant.
fn matched(link: &Link, left: Vec<Series>, right: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    let matching = &link.matching;
    let left_is_many = matching.many != Many::Right;
    let (many, one) = if left_is_many { (left, right) } else { (right, left) };
    let mut ones: HashMap<LabelSet, Vec<Series>> = HashMap::new();
    for series in one {
        ones.entry(signature(matching, &series.labels)).or_default().push(series);
    }
    let mut answer: HashMap<LabelSet, Series> = HashMap::new();
    for series in many {
        let key = signature(matching, &series.labels);
        let Some(partners) = ones.get(&key) else { continue };
        for partner in partners {
            let labels = result_labels(link, &series.labels, &partner.labels);
            let points: Vec<Option<f64>> = series
                .points
                .iter()
                .zip(&partner.points)
                .map(|(many, one)| {
                    let (many, one) = ((*many)?, (*one)?);
                    let (left, right) = if left_is_many { (many, one) } else { (one, many) };
                    let result = scalar(link.op, left, right)?;
                    match link.op {
                        BinaryOp::Compare(_) if !link.yields_bool => (result != 0.0).then_some(left),
                        _ => Some(result),
                    }
                })
                .collect();
            both_present(&series, partner, partners, &key)?;
            merge(&mut answer, labels, points)?;
        }
    }
    let mut answer: Vec<Series> = answer.into_values().collect();
    answer.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(answer)
}

/// The one side may have only one series an instant.
fn both_present(series: &Series, partner: &Series, partners: &[Series], key: &LabelSet) -> Result<(), QueryError> {
    for (i, point) in series.points.iter().enumerate() {
        let several = || partners.iter().filter(|other| other.points[i].is_some()).count() > 1;
        if point.is_some() && partner.points[i].is_some() && several() {
            return Err(QueryError::Bad(format!(
                "found duplicate series for the match group {key} on the one side: many-to-many matching not allowed: matching labels must be unique on one side"
            )));
        }
    }
    Ok(())
}

fn merge(answer: &mut HashMap<LabelSet, Series>, labels: LabelSet, points: Vec<Option<f64>>) -> Result<(), QueryError> {
    let Some(known) = answer.get_mut(&labels) else {
        answer.insert(labels.clone(), Series { labels, points });
        return Ok(());
    };
    for (own, new) in known.points.iter_mut().zip(points) {
        if own.is_some() && new.is_some() {
            return Err(QueryError::Bad(format!(
                "multiple matches for labels {labels}: many-to-one matching must be explicit (group_left/group_right)"
            )));
        }
        *own = own.or(new);
    }
    Ok(())
}

fn result_labels(link: &Link, many: &LabelSet, one: &LabelSet) -> LabelSet {
    let matching = &link.matching;
    if matching.many == Many::Neither {
        // Also for comparisons without `bool`: the labels that take no part are dropped.
        return signature(matching, many);
    }
    matching.include.iter().fold(many.clone(), |labels, name| labels.with(name, one.get(name).unwrap_or_default()))
}
