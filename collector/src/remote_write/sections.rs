//! A request's series as sections. Pure but for what is known of series, and for the tenant's count of active ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use weir_model::label::{Labels, NAME};
use weir_model::metric::{Exemplar, Family, MetricBatch};
use weir_model::time::UnixNanos;
use weir_model::wire::{Kind, Section};

use super::families::{self, Told};
use super::histogram;
use super::labels;
use super::message::{FAMILY_TEXT_BYTES_MAX, RawMetadata, RawSeries, Request, Sample, Version, kind};
use super::newest::Carried;
use super::order::Walk;
use super::outcome::{Taken, Written};
use super::rows::{self, BATCH_BYTES, Place, ROW_BYTES, Row, Rows, SAMPLE_BYTES, Value};
use super::schemas::{FoundSchema, KnownSchema};
use super::series::{Known, State, TenantSeries};
use crate::admission::Admission;
use crate::bounds::{OutOfTime, TimeBounds};
use crate::push::PushContext;
use crate::push_error::PushError;
use crate::quota::{Excess, Quota};

/// Nanoseconds of Prometheus' unit.
pub(super) const MILLISECOND: i64 = 1_000_000;
/// Samples of a series whose message is longer are counted before they are read, and labels that are longer as well.
const SHORT_BYTES: usize = 64 << 10;
/// Letters of a label set that a refusal shows.
const SHOWN_MAX: usize = 256;
/// Small charges are put together.
const CHARGE_BYTES: usize = 64 << 10;

/// The sections of a request's decompressed body.
pub(super) fn sections(context: &PushContext, admission: &Admission, version: Version, body: &[u8]) -> Result<Taken, PushError> {
    let (request, series) = Request::begin(version, body, context.config.labels_max, |bytes| admission.charge(bytes))?;
    let limit = context.config.records_max;
    if series > limit {
        return Err(PushError::Malformed(format!("{series} series in one request (limit push.records_max is {limit})")));
    }
    let quota = &context.quota;
    let known = context.series.of(&context.tenant, quota.label_limits());
    let mut reading = Reading {
        quota,
        labels_max: context.config.labels_max,
        records_max: limit,
        bounds: context.bounds(Kind::Metrics),
        charges: Charges { admission, owed: 0 },
        request: &request,
        tenant: &known,
        taken: Taken::default(),
        rows: Rows::default(),
        metadata: None,
        said: Vec::new(),
        heard: Vec::new(),
        late: Vec::new(),
    };
    reading.read_all()?;
    reading.place_late()?;
    let said = std::mem::take(&mut reading.said);
    let (waiting, left_out) = families::remember(&known, request.families(), said, admission)?;
    let told = reading.place_waiting(waiting)?;
    let Reading { mut taken, rows, heard, charges: Charges { admission, owed }, .. } = reading;
    admission.charge(owed)?;
    (0..left_out).for_each(|_| taken.refused.leave_out("metadata"));
    taken.told = Told::new(&known, told, heard);
    for (section, known, series) in batches(context, admission, &known, settled(rows, &mut taken))? {
        taken.told.carry(Carried { known, series, batch: Arc::clone(&section.batch) });
        taken.sections.push(section);
    }
    taken.told.retain_carried();
    Ok(taken)
}

/// Rows in order, less samples that are there twice.
fn settled(rows: Rows, taken: &mut Taken) -> Vec<Row> {
    let mut rows = rows.into_rows();
    for row in &mut rows {
        row.settle(|series, is_histogram| {
            let text = || format!("series {}: two samples at one time", shown(series));
            taken.refused.add("duplicate", 1, text);
            let Written { samples, histograms, .. } = &mut taken.written;
            let written = if is_histogram { histograms } else { samples };
            *written = written.saturating_sub(1);
        });
    }
    rows
}

type WithSeries = (Section<MetricBatch>, Option<Arc<KnownSchema>>, Vec<Arc<Known>>);

/// Sections of rows, each with its series by column; their schemas are made where they are not known.
fn batches(
    context: &PushContext,
    admission: &Admission,
    known: &TenantSeries,
    rows: Vec<Row>,
) -> Result<Vec<WithSeries>, PushError> {
    let mut sections = Vec::new();
    for batch in rows::batches(rows) {
        let found = known.state.read().schema(&batch);
        let whole = |own: Arc<KnownSchema>| (Arc::clone(&own.schema), own.digest, Some(own));
        let (schema, of_columns, own) = match found {
            Some(FoundSchema::Whole(own)) => whole(own),
            Some(FoundSchema::Part(of, columns)) => {
                admission.charge(BATCH_BYTES + columns.len() * (size_of::<Labels>() + size_of::<u32>()))?;
                let (schema, digest) = of.part(columns);
                (schema, digest, None)
            }
            None => {
                admission.charge(BATCH_BYTES + 8 * batch.columns.len())?;
                let (own, bytes) = known.state.write().insert_schema(&batch);
                known.took(bytes);
                admission.charge(bytes)?;
                whole(own)
            }
        };
        let digest = batch.digest(&context.tenant, &of_columns);
        let rows::Batch { target, source, series, rows, .. } = batch;
        let batch = MetricBatch { target: target.labels.clone(), schema, rows };
        sections.push((context.section(source, digest, batch), own, series));
    }
    Ok(sections)
}

fn shown(series: &Known) -> String {
    clip(&series.target.labels.merged(&series.labels))
}

fn clip(labels: &Labels) -> String {
    labels.to_string().chars().take(SHOWN_MAX).collect()
}

pub(super) struct Charges<'a> {
    admission: &'a Admission,
    owed: usize,
}

impl Charges<'_> {
    #[inline]
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), PushError> {
        self.owed += bytes;
        if self.owed < CHARGE_BYTES { Ok(()) } else { self.admission.charge(std::mem::take(&mut self.owed)) }
    }
}

/// A request that is being read.
pub(super) struct Reading<'a> {
    quota: &'a Quota,
    pub(super) labels_max: usize,
    records_max: usize,
    pub(super) bounds: TimeBounds,
    pub(super) charges: Charges<'a>,
    pub(super) request: &'a Request<'a>,
    pub(super) tenant: &'a TenantSeries,
    pub(super) taken: Taken,
    pub(super) rows: Rows,
    /// What the series before said, and its hash: neighbours are mostly of one family.
    metadata: Option<(RawMetadata<'a>, u64)>,
    /// Families of 2.0 that are not as they were.
    said: Vec<Family>,
    /// Series that said so, with the hash of what they said.
    heard: Vec<(Arc<Known>, u64)>,
    /// Exemplars that came without a sample of their series.
    pub(super) late: Vec<(Arc<Known>, Exemplar)>,
}

impl<'a> Reading<'a> {
    fn read_all(&mut self) -> Result<(), PushError> {
        let (mut raw, mut samples, mut walk) = (RawSeries::default(), 0, Walk::begin());
        let tenant = self.tenant;
        let mut state: RwLockReadGuard<'a, State> = tenant.state.read();
        for message in self.request.series() {
            let message = message?;
            let expected = state.order.expected(&walk);
            if message.len() > SHORT_BYTES {
                self.charges.admission.charge(self.request.list_bytes(message)?)?;
            }
            let read = self.request.read(message, &mut raw)?;
            if raw.labels_copied() > SHORT_BYTES {
                self.charges.admission.charge(raw.labels_copied())?;
            }
            samples += raw.samples.len() + raw.histograms.len() + raw.exemplars.len();
            if samples > self.records_max {
                let limit = self.records_max;
                return Err(PushError::Malformed(format!("more samples in one request than push.records_max, {limit}")));
            }
            if let Err(fault) = read {
                let count = (raw.samples.len() + raw.histograms.len()) as u64;
                self.taken.refused.add("invalid", count, || fault);
                continue;
            }
            let fingerprint = raw.fingerprint;
            if let Some((known, _)) = expected.filter(|(_, expected)| *expected == fingerprint) {
                walk.as_expected(known);
                self.take(known, &raw)?;
            } else if let Some(known) = state.find(fingerprint) {
                state.order.came(&mut walk, known);
                self.take(known, &raw)?;
            } else {
                drop(state);
                let made = self.make(&mut raw)?;
                state = tenant.state.read();
                if let Some(known) = made {
                    state.order.came(&mut walk, &known);
                    self.take(&known, &raw)?;
                }
            }
        }
        Ok(())
    }

    /// A series that is not known; `None` when it is refused.
    #[cold]
    fn make(&mut self, raw: &mut RawSeries<'a>) -> Result<Option<Arc<Known>>, PushError> {
        let count = (raw.samples.len() + raw.histograms.len()) as u64;
        let gathered = self.request.gather(raw);
        if raw.labels().len() > SHORT_BYTES {
            // Put together, and as a label set.
            self.charges.admission.charge(4 * raw.labels().len())?;
        }
        let labels = gathered.and_then(|()| labels::read(raw.labels(), self.labels_max));
        let labels = match labels {
            Ok(labels) if labels.get(NAME).is_empty() => Err(format!("series {}: no metric name", clip(&labels))),
            other => other.map_err(|fault| format!("series with {fault}")),
        };
        let labels = match labels {
            Ok(labels) => labels,
            Err(fault) => {
                self.taken.refused.add("invalid", count, || fault);
                return Ok(None);
            }
        };
        if let Err(Excess { reason, text, .. }) = self.quota.series_labels(&labels) {
            self.taken.refused.add(reason, count, || text);
            return Ok(None);
        }
        let mut state: RwLockWriteGuard<'_, State> = self.tenant.state.write();
        // Another request may have been first.
        if let Some(known) = state.find(raw.fingerprint) {
            return Ok(Some(Arc::clone(known)));
        }
        let (known, bytes) = state.insert(raw.fingerprint, &labels, Quota::series_hash);
        drop(state);
        self.tenant.took(bytes);
        self.charges.add(bytes)?;
        Ok(Some(known))
    }

    #[inline]
    fn take(&mut self, known: &Arc<Known>, raw: &RawSeries<'a>) -> Result<(), PushError> {
        let count = (raw.samples.len() + raw.histograms.len()) as u64;
        if let Err(Excess { reason, text, .. }) = self.quota.active(known.active, || shown(known)) {
            self.taken.refused.add(reason, count, || text);
            return Ok(());
        }
        if let Some(metadata) = raw.metadata.filter(|metadata| *metadata != RawMetadata::default()) {
            self.hear(known, metadata)?;
        }
        let mut place = None;
        for sample in &raw.samples {
            place = self.push(known, sample, |_| Ok(Value::Number(sample.value)))?.or(place);
        }
        for message in &raw.histograms {
            let (at, mut histogram) = histogram::read(message)?;
            if let Ok(own) = &mut histogram
                && let Err(Excess { reason, text, .. }) = self.quota.histogram(own, || shown(known))
            {
                self.taken.refused.add(reason, 1, || text);
                continue;
            }
            // Lists double.
            self.charges.add(histogram.as_ref().map_or(0, |own| 2 * own.memory()))?;
            place = self
                .push(known, &at, |known| {
                    histogram.map(Value::Histogram).map_err(|fault| format!("series {}: {fault}", shown(known)))
                })?
                .or(place);
        }
        for message in &raw.exemplars {
            self.exemplar(known, message, place)?;
        }
        Ok(())
    }

    #[inline]
    fn push(
        &mut self,
        known: &Arc<Known>,
        at: &Sample,
        value: impl FnOnce(&Known) -> Result<Value, String>,
    ) -> Result<Option<Place>, PushError> {
        let Some(time) = self.time(known, at.time) else { return Ok(None) };
        let value = match value(known) {
            Ok(value) => value,
            Err(fault) => {
                self.taken.refused.add("invalid", 1, || fault);
                return Ok(None);
            }
        };
        match &value {
            Value::Number(_) => self.taken.written.samples += 1,
            Value::Histogram(_) => self.taken.written.histograms += 1,
        }
        self.place(known, time, at.start.saturating_mul(MILLISECOND), value).map(Some)
    }

    #[inline]
    pub(super) fn place(
        &mut self,
        known: &Arc<Known>,
        time: UnixNanos,
        start: UnixNanos,
        value: Value,
    ) -> Result<Place, PushError> {
        let place = self.rows.push(known, time, start, value);
        self.charges.add(SAMPLE_BYTES + if place.is_first { ROW_BYTES } else { 0 })?;
        Ok(place)
    }

    /// Nanoseconds; `None` when it is refused.
    #[inline]
    fn time(&mut self, known: &Known, milliseconds: i64) -> Option<UnixNanos> {
        let Some(time) = milliseconds.checked_mul(MILLISECOND) else {
            let text = || format!("series {}: time {milliseconds} is not between 1677 and 2262", shown(known));
            self.taken.refused.add("invalid", 1, text);
            return None;
        };
        match self.bounds.check(time) {
            Ok(()) => Some(time),
            Err(error) => {
                let reason = if matches!(error, OutOfTime::Old { .. }) { "too_old" } else { "too_new" };
                self.taken.refused.add(reason, 1, || format!("series {} {error}", shown(known)));
                None
            }
        }
    }

    /// Remembers what a series' family is, when it is not what was said before.
    fn hear(&mut self, known: &Arc<Known>, metadata: RawMetadata<'a>) -> Result<(), PushError> {
        let hash = match self.metadata {
            Some((before, hash)) if before == metadata => hash,
            _ => metadata.hash(),
        };
        self.metadata = Some((metadata, hash));
        if known.said.load(Ordering::Relaxed) == hash {
            return Ok(());
        }
        self.charges.add(2 * size_of::<(Arc<Known>, u64)>())?;
        self.heard.push((Arc::clone(known), hash));
        let (Ok(help), Ok(unit)) = (std::str::from_utf8(metadata.help), std::str::from_utf8(metadata.unit)) else {
            self.taken.refused.leave_out("metadata");
            return Ok(());
        };
        let kind = kind(metadata.kind);
        let name = families::name_of(known.labels.get(NAME), kind);
        if self.said.last().is_some_and(|last| last.name == name) {
            return Ok(());
        }
        if name.len() > FAMILY_TEXT_BYTES_MAX {
            self.taken.refused.leave_out("metadata");
            return Ok(());
        }
        let family = Family { name: name.to_owned(), kind, help: help.to_owned(), unit: unit.to_owned() };
        self.charges.add(family.memory() + size_of::<Family>())?;
        self.said.push(family);
        Ok(())
    }
}
