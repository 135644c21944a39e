//! From rows to the answer: names dropped, rows of one series joined, duplicates refused, series sorted.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use weir_model::histogram::Histogram;
use weir_model::label::{Labels, NAME};

use super::{Row, StepRange, Value, is_absent};
use crate::error::QueryError;

/// An answer's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// At the instant.
    Scalar(f64),
    /// At the instant.
    String(String),
    /// At the instant, in the order the query asks for.
    Vector(Vec<Sample>),
    /// Ascending by labels.
    Matrix(Vec<Points>),
}

/// A series at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: Labels,
    /// Its value; a staleness marker where it is a histogram.
    pub value: f64,
    /// Its value, where it is a histogram.
    pub histogram: Option<Arc<Histogram>>,
}

/// A series over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    /// Its labels.
    pub labels: Labels,
    /// Unix milliseconds and value, ascending.
    pub points: Vec<(i64, f64)>,
    /// Unix milliseconds and value of samples that are histograms, ascending.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

pub(super) const DUPLICATE: &str = "vector cannot contain metrics with the same labelset";

/// The labels an answer shows. With the name go type and unit, which say what the metric was.
pub(crate) fn final_labels(labels: &Labels, drop_name: bool) -> Labels {
    if drop_name { labels.without(is_metadata) } else { labels.clone() }
}

/// `__name__ __type__ __unit__`
pub(crate) fn is_metadata(name: &str) -> bool {
    matches!(name, NAME | "__type__" | "__unit__")
}

/// Joins rows of the same labels as long as no step has both.
pub(crate) fn join(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    let mut at: HashMap<Labels, usize, BuildHasherDefault<OwnHash>> =
        HashMap::with_capacity_and_hasher(rows.len(), BuildHasherDefault::default());
    let mut joined: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(own) = at.get(&row.labels) else {
            at.insert(row.labels.clone(), joined.len());
            joined.push(row);
            continue;
        };
        if (0..row.values.len()).any(|step| row.has(step) && joined[*own].has(step)) {
            return Err(QueryError::execution(DUPLICATE));
        }
        let own = &mut joined[*own];
        own.values.iter_mut().zip(row.values).filter(|(_, more)| !is_absent(*more)).for_each(|(value, more)| *value = more);
        if !row.histograms.is_empty() {
            own.histograms.extend(row.histograms);
            own.histograms.sort_by_key(|(step, _)| *step);
        }
    }
    Ok(joined)
}

/// Label sets bring a hash along.
#[derive(Default)]
struct OwnHash(u64);

impl Hasher for OwnHash {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) fn output(value: Value, step_range: StepRange, instant: bool) -> Result<Output, QueryError> {
    let rows = match value {
        Value::Text(text) => return Ok(Output::String(text)),
        Value::Scalar(values) if instant => return Ok(Output::Scalar(values.first().copied().unwrap_or(f64::NAN))),
        Value::Scalar(values) => vec![Row { values, ..Row::default() }],
        Value::Vector(rows) => rows,
    };
    let named = rows.into_iter().filter(Row::is_present);
    let named = named.map(|row| Row { labels: final_labels(&row.labels, row.drop_name), ..row }).collect();
    let rows = join(named)?;
    if instant {
        let samples = rows.into_iter().map(|row| {
            let histogram = row.histograms.into_iter().next().map(|(_, histogram)| histogram);
            Sample { value: row.values[0], labels: row.labels, histogram }
        });
        return Ok(Output::Vector(samples.collect()));
    }
    let points = |row: Row| {
        let present = step_range.times().zip(&row.values).filter(|(_, value)| !is_absent(**value));
        let points = present.map(|(at, value)| (at, *value)).collect();
        let histograms = row.histograms.into_iter().map(|(step, own)| (step_range.time(step as usize), own)).collect();
        Points { labels: row.labels, points, histograms }
    };
    matrix(rows.into_iter().map(points).collect())
}

pub(super) fn matrix(mut rows: Vec<Points>) -> Result<Output, QueryError> {
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    if rows.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
        return Err(QueryError::execution(DUPLICATE));
    }
    Ok(Output::Matrix(rows))
}

/// A float as Go's `%g` prints the common ones.
pub(crate) fn go_float(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}
