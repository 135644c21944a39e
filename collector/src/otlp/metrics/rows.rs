//! The series of a resource's points by their time, within what the request and its tenant may have.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use weir_model::histogram::Histogram;
use weir_model::label::{Labels, NAME};
use weir_model::metric::{Exemplar, Family, MetricRow, RowExtras};
use weir_model::time::UnixNanos;

use crate::admission::Admission;
use crate::bounds::TimeBounds;
use crate::otlp::outcome::Refusal;
use crate::push::{Digest, PushContext};
use crate::push_error::PushError;

/// Memory of a series in a row beside its labels: its places in columns that double.
const SERIES_BYTES: usize = 240;

/// One timestamp in the making.
#[derive(Default)]
pub(super) struct Row {
    series: Vec<Labels>,
    values: Vec<f64>,
    /// As many, 0 where none is known.
    starts: Vec<UnixNanos>,
    extras: RowExtras,
    seen: HashSet<Labels>,
}

impl Row {
    pub fn finish(self, time: UnixNanos) -> (Vec<Labels>, MetricRow) {
        let Self { series, values, starts, mut extras, .. } = self;
        extras.starts = starts.iter().any(|start| *start != 0).then(|| starts.into());
        let extras = (extras != RowExtras::default()).then(|| Box::new(extras));
        (series, MetricRow { timestamp: time, values, extras })
    }
}

/// One series of a point.
pub(super) struct Column {
    pub labels: Labels,
    pub value: f64,
    pub histogram: Option<Arc<Histogram>>,
    pub exemplars: Vec<Exemplar>,
}

pub(super) struct Rows<'a> {
    pub rows: BTreeMap<UnixNanos, Row>,
    pub families: BTreeMap<String, Family>,
    pub labels_max: usize,
    /// Series of the point that is read.
    pub point: Vec<Column>,
    /// Since when that counts; 0 where that is unknown.
    pub start: UnixNanos,
    pub bounds: TimeBounds,
    pub context: &'a PushContext,
    pub target: Labels,
    /// Of the resource, and of which of its points were refused though they may be taken another time.
    pub whole: Digest,
    /// Points read, refused ones included.
    pub read: i64,
    pub admission: &'a Admission,
    /// The whole request takes too much.
    pub over: Option<PushError>,
}

impl Rows<'_> {
    /// One more series of the point that is read.
    pub fn gather(&mut self, labels: Labels, value: f64) -> Result<(), Refusal> {
        self.charge(SERIES_BYTES + labels.memory())?;
        self.point.push(Column { labels, value, histogram: None, exemplars: Vec::new() });
        Ok(())
    }

    /// Takes the series that were gathered; none where that would be more than the tenant may have.
    pub fn push(&mut self, time: UnixNanos) -> Result<(), Refusal> {
        self.context.quota.series(&self.target, self.point.iter().map(|column| &column.labels))?;
        let row = self.rows.entry(time).or_default();
        for Column { labels, value, histogram, exemplars } in self.point.drain(..) {
            if !row.seen.insert(labels.clone()) {
                return Err(format!("two values of {labels} at one time").into());
            }
            // The limit on records of a request is far below.
            let at = row.series.len() as u32;
            row.extras.histograms.extend(histogram.map(|histogram| (at, histogram)));
            row.extras.exemplars.extend(exemplars.into_iter().map(|exemplar| (at, exemplar)));
            row.series.push(labels);
            row.values.push(value);
            row.starts.push(self.start);
        }
        Ok(())
    }

    /// What weir itself says of the target.
    pub fn push_info(&mut self, info: &Labels) -> Result<(), Refusal> {
        let Some(newest) = self.rows.keys().next_back().copied() else { return Ok(()) };
        self.point.clear();
        self.start = 0;
        self.gather(info.with(NAME, "target_info"), 1.0)?;
        self.push(newest)
    }

    /// After the first error nothing more is taken.
    pub fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.note(|admission| admission.charge(bytes))
    }

    pub fn note(&mut self, charge: impl FnOnce(&Admission) -> Result<(), PushError>) -> Result<(), Refusal> {
        if self.over.is_none() {
            self.over = charge(self.admission).err();
        }
        if self.over.is_some() { Err(Refusal::Request) } else { Ok(()) }
    }
}
