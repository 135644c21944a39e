//! Records of the queue as requests. Pure but for the clock; called off the async threads by [`super::shard`].
//!
//! The same records from the same one on make the same requests, with the same configuration, so long as none of their samples grows too
//! old and the pushes before them are the same: they are cut by points and bytes, in the order in which they are stored.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_model::metric::{Family, MetricBatch, MetricRow};
use weir_model::time::UnixNanos;
use weir_model::wire::{Frame, Limits, Mark, SectionHeader, WireError};
use xxhash_rust::xxh3::xxh3_128;

use super::config::{Message, RemoteWriteConfig};
use super::metrics::ReceiverMetrics;
use super::request::{Points, Request, RequestBuilder, Sample};
use super::series::{KnownSeries, Table};
use crate::push::Clock;

/// Nanoseconds of it.
pub(super) const MILLISECOND: i64 = 1_000_000;
/// Names of families that have been told; beyond it they are told again.
const TOLD_BYTES_MAX: usize = 4 << 20;
/// Pushes that are recognised when they are sent again: a client tries again within seconds, which are a few hundred.
const PUSHES_MAX: usize = 4096;

/// What a shard makes requests with.
pub(super) struct Encoder {
    config: Arc<RemoteWriteConfig>,
    metrics: ReceiverMetrics,
    clock: Clock,
    known: KnownSeries,
    /// When 1.0's receiver was told last of each family, and bytes of the names.
    told: HashMap<String, Instant>,
    told_bytes: usize,
    pushes: Pushes,
}

/// Latest pushes by digest. One that comes twice would have old samples, for which receivers refuse all of a request.
#[derive(Default)]
struct Pushes {
    seen: HashSet<[u8; 16]>,
    order: VecDeque<[u8; 16]>,
}

/// Records that are sent together, and how far their encoding is.
#[derive(Default)]
pub(super) struct Batch {
    records: VecDeque<Bytes>,
    /// Of the record before.
    sections: VecDeque<MetricBatch>,
    /// In the first section.
    row: usize,
    column: usize,
}

impl Batch {
    pub fn new(records: impl IntoIterator<Item = Bytes>) -> Self {
        Self { records: records.into_iter().collect(), ..Self::default() }
    }
}

impl Encoder {
    /// `config.tenants` is not empty.
    pub fn new(config: Arc<RemoteWriteConfig>, metrics: ReceiverMetrics, clock: Clock) -> Self {
        let known = KnownSeries::new(config.write_relabel_configs.clone(), config.protobuf_message);
        Self { config, metrics, clock, known, told: HashMap::new(), told_bytes: 0, pushes: Pushes::default() }
    }

    /// Points of a record that are for the receiver, told by its headers; an error where it is no record.
    pub fn points(config: &RemoteWriteConfig, record: &[u8]) -> Result<u64, WireError> {
        let frame = Frame::read(record, &Limits::default())?;
        let wanted = frame.headers().filter(|header| config.tenants.contains(&header.tenant));
        Ok(wanted.map(|header| u64::from(header.records)).sum())
    }

    /// The batch's next request; `None` at its end.
    pub fn next_request(&mut self, batch: &mut Batch) -> Option<Request> {
        let mut builder = RequestBuilder::new(self.config.protobuf_message);
        let oldest = self.oldest();
        while let Some(section) = self.section(batch) {
            let (table, first) = self.known.of(&section);
            let is_full = self.fill(&mut builder, &section, (&table, first), (batch, oldest));
            if is_full {
                batch.sections.push_front(section);
                break;
            }
            (batch.row, batch.column) = (0, 0);
        }
        builder.finish()
    }

    /// Milliseconds before which samples are too old.
    pub fn oldest(&self) -> i64 {
        let limit = self.config.queue_config.sample_age_limit;
        if limit.is_zero() {
            return i64::MIN;
        }
        let limit = UnixNanos::try_from(limit.as_nanos()).unwrap_or(UnixNanos::MAX);
        (self.clock)().saturating_sub(limit).div_euclid(MILLISECOND)
    }

    /// The next section, of the next record where that is.
    fn section(&mut self, batch: &mut Batch) -> Option<MetricBatch> {
        loop {
            if let Some(section) = batch.sections.pop_front() {
                return Some(section);
            }
            let record = batch.records.pop_front()?;
            match self.decode(&record) {
                Ok(sections) => batch.sections = sections,
                Err(error) => {
                    tracing::error!(%error, "a record that waited for a remote write receiver cannot be read; it is dropped");
                    self.metrics.dropped_records("undecodable", 1);
                }
            }
        }
    }

    fn decode(&mut self, record: &[u8]) -> Result<VecDeque<MetricBatch>, WireError> {
        let frame = Frame::read(record, &Limits::default())?;
        let mut is_wanted = |header: &SectionHeader| {
            if !self.config.tenants.contains(&header.tenant) {
                return false;
            }
            let is_new = self.pushes.is_new(header);
            if !is_new {
                self.metrics.dropped("duplicate", u64::from(header.records));
            }
            is_new
        };
        let wanted: Vec<bool> = frame.headers().map(&mut is_wanted).collect();
        Ok(frame.decode::<MetricBatch>(|at| wanted[at])?.into_iter().flatten().collect())
    }

    /// Adds what fits; whether some is left, which `batch` then says from where.
    fn fill(
        &mut self,
        builder: &mut RequestBuilder,
        section: &MetricBatch,
        (table, first): (&Table, usize),
        (batch, oldest): (&mut Batch, i64),
    ) -> bool {
        let points_max = self.config.queue_config.max_samples_per_send;
        while batch.row < section.rows.len() {
            let rows = &section.rows[batch.row..section.rows.len().min(batch.row + points_max)];
            let columns = &table.series[first..][..section.schema.series.len()];
            for (column, series) in columns.iter().enumerate().skip(batch.column) {
                if builder.is_full(rows.len(), points_max) {
                    batch.column = column;
                    return true;
                }
                let Some(series) = series else { continue };
                let points = self.points_of(rows, column, oldest);
                if points.samples.is_empty() && points.histograms.is_empty() {
                    continue;
                }
                let family = table.family(series).filter(|_| self.config.metadata_config.send);
                if let Some(family) = family
                    && self.config.protobuf_message == Message::One
                    && self.is_due(family)
                {
                    builder.put_metadata(family);
                }
                builder.push(series, family, &points);
            }
            (batch.row, batch.column) = (batch.row + rows.len(), 0);
        }
        false
    }

    fn points_of<'a>(&self, rows: &'a [MetricRow], column: usize, oldest: i64) -> Points<'a> {
        let (mut points, mut too_old, mut unwanted) = (Points::default(), 0, 0);
        for row in rows {
            let time = row.timestamp.div_euclid(MILLISECOND);
            if time < oldest {
                too_old += 1;
                continue;
            }
            let extras = row.extras.as_deref();
            let start = extras.map_or(0, |extras| extras.start(column as u32)).div_euclid(MILLISECOND);
            match extras.and_then(|extras| extras.histogram(column as u32)) {
                Some(_) if !self.config.send_native_histograms => {
                    unwanted += 1;
                    continue;
                }
                Some(histogram) => points.histograms.push((time, start, histogram)),
                None => points.samples.push(Sample { time, value: row.values[column], start }),
            }
            if self.config.send_exemplars {
                points.exemplars.extend(extras.into_iter().flat_map(|extras| extras.exemplars(column as u32)));
            }
        }
        self.metrics.dropped("too_old", too_old);
        self.metrics.dropped("native_histogram", unwanted);
        points
    }

    /// Whether 1.0's receiver has to hear of it now.
    fn is_due(&mut self, family: &Family) -> bool {
        let (now, interval) = (Instant::now(), self.config.metadata_config.send_interval);
        match self.told.get_mut(&family.name) {
            Some(told) if now.duration_since(*told) < interval => false,
            Some(told) => {
                *told = now;
                true
            }
            None => {
                let bytes = family.name.len() + size_of::<(String, Duration)>();
                if self.told_bytes + bytes > TOLD_BYTES_MAX {
                    (self.told, self.told_bytes) = (HashMap::new(), 0);
                }
                self.told_bytes += bytes;
                self.told.insert(family.name.clone(), now);
                true
            }
        }
    }
}

impl Pushes {
    fn is_new(&mut self, header: &SectionHeader) -> bool {
        let Mark::Digest(digest) = header.mark else { return true };
        let key = xxh3_128(&[&digest[..], header.tenant.as_bytes(), &[0], header.source.as_bytes()].concat()).to_le_bytes();
        if !self.seen.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > PUSHES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}
