//! A push as one row of its group, with the group's own series. Pure.

use std::collections::HashSet;
use std::sync::LazyLock;

use weir_model::label::{Labels, NAME};
use weir_model::metric::{Exemplar, Family, MetricBatch, MetricRow, RowExtras, STALE_NAN, Schema};
use weir_model::time::UnixNanos;

use super::groups::{Change, Group};
use crate::admission::Admission;
use crate::exposition::Exposition;
use crate::push::PushContext;
use crate::push_error::PushError;
use crate::quota::Excess;

const PUSH_TIME: &str = "push_time_seconds";
const PUSH_FAILURE_TIME: &str = "push_failure_time_seconds";
/// The series that a group has of itself: of a push, and of one that was refused.
pub(super) static OWN: LazyLock<[Labels; 2]> =
    LazyLock::new(|| [PUSH_TIME, PUSH_FAILURE_TIME].map(|name| Labels::from_pairs([(NAME, name)])));
/// Memory of a series in a row beside its labels.
const SERIES_BYTES: usize = 112;
/// Prometheus' timestamps are milliseconds.
const MILLISECOND: i64 = 1_000_000;

/// What was pushed, checked.
pub(super) struct Push {
    families: Vec<Family>,
    series: Vec<Labels>,
    values: Vec<f64>,
    extras: RowExtras,
}

impl Push {
    /// Labels of the group win over a sample's own. Errors where a sample says a time or stands twice, as in the Pushgateway.
    pub fn of(context: &PushContext, admission: &Admission, group: &Labels, exposition: Exposition) -> Result<Self, PushError> {
        check_records(exposition.samples.len(), context.config.records_max)?;
        let mut push =
            Self { families: exposition.families, series: Vec::new(), values: Vec::new(), extras: RowExtras::default() };
        let mut seen = HashSet::new();
        for sample in exposition.samples {
            let labels = sample.labels.without(|name| !group.get(name).is_empty());
            if sample.timestamp.is_some() {
                return Err(PushError::Malformed(format!("{labels}: pushed metrics must not have timestamps")));
            }
            if matches!(labels.get(NAME), PUSH_TIME | PUSH_FAILURE_TIME) {
                return Err(PushError::Malformed(format!("{labels}: is the group's own")));
            }
            admission.charge(SERIES_BYTES + labels.memory())?;
            if !seen.insert(labels.clone()) {
                return Err(PushError::Malformed(format!("{labels} was collected before with the same name and label values")));
            }
            let at = push.series.len() as u32;
            if let Some(mut histogram) = sample.histogram {
                context.quota.histogram(&mut histogram, || labels.to_string()).map_err(refused)?;
                push.extras.histograms.push((at, histogram));
            }
            push.series.push(labels);
            push.values.push(sample.value);
        }
        for one in exposition.exemplars {
            // The row's time is put in when it is known.
            let exemplar = Exemplar { labels: one.labels, value: one.value, timestamp: one.timestamp.unwrap_or(0) };
            push.extras.exemplars.push((one.sample as u32, exemplar));
        }
        context.quota.series(group, push.series.iter().chain(&*OWN)).map_err(refused)?;
        Ok(push)
    }

    /// Without the group's own.
    pub fn series(&self) -> Vec<Labels> {
        self.series.clone()
    }

    pub fn batch(self, group: Labels, at: UnixNanos, known: &Group, change: Change) -> MetricBatch {
        let Self { families, mut series, mut values, mut extras } = self;
        let ended: Vec<Labels> = known.ended(&series, change).cloned().collect();
        values.resize(values.len() + ended.len(), STALE_NAN);
        series.extend(ended);
        series.extend(OWN.iter().cloned());
        values.extend([at, known.failed_at].map(|time| time as f64 / 1e9));
        extras.exemplars.iter_mut().filter(|(_, one)| one.timestamp == 0).for_each(|(_, one)| one.timestamp = at);
        let extras = (extras != RowExtras::default()).then(|| Box::new(extras));
        row(group, families, series, MetricRow { timestamp: at / MILLISECOND * MILLISECOND, values, extras })
    }
}

pub(super) fn refused(excess: Excess) -> PushError {
    PushError::Refused { text: excess.text, reason: excess.reason }
}

/// Errors where a push has more samples than one may have.
pub(super) fn check_records(records: usize, limit: usize) -> Result<(), PushError> {
    if records > limit {
        return Err(PushError::Malformed(format!("{records} samples in one request (limit push.records_max is {limit})")));
    }
    Ok(())
}

/// A push that is refused.
pub(super) fn failed(group: Labels, at: UnixNanos) -> MetricBatch {
    let series = vec![OWN[1].clone()];
    row(group, Vec::new(), series, MetricRow::new(at / MILLISECOND * MILLISECOND, vec![at as f64 / 1e9]))
}

/// The end of all that a group has.
pub(super) fn ended(group: Labels, at: UnixNanos, known: Group) -> MetricBatch {
    let mut series = known.series;
    series.extend(OWN.iter().cloned());
    let values = vec![STALE_NAN; series.len()];
    row(group, Vec::new(), series, MetricRow::new(at / MILLISECOND * MILLISECOND, values))
}

fn row(target: Labels, families: Vec<Family>, series: Vec<Labels>, row: MetricRow) -> MetricBatch {
    MetricBatch { target, schema: Schema::shared(series, families), rows: vec![row] }
}
