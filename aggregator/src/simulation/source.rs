//! What a schedule sends: a file-like source of lines, samples or spans.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use weir_bus::{Log, TopicPartition, partition_of};
use weir_model::histogram::{Buckets, Histogram, ResetHint};
use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogBatch, LogRecord};
use weir_model::metric::{MetricBatch, MetricRow, RowExtras, Schema};
use weir_model::signal::Signal;
use weir_model::span::{Origin, Span, SpanBatch};
use weir_model::wire::{Kind, Limits, Mark, RecordBuilder, Section, SectionHeader};

use super::{PARTITIONS, TENANT};

/// A file-like source: numbered lines, samples or spans, read again from its checkpoint after a restart, with other batch boundaries.
pub(super) struct Source {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Lines that exist; line `i` has the sequence `i + 1`.
    pub(super) lines: u64,
    /// Everything below is acknowledged.
    pub(super) acknowledged: u64,
    /// From where it reads after a restart: at most `acknowledged`.
    pub(super) checkpoint: u64,
}

impl Source {
    pub(super) fn place(&self) -> TopicPartition {
        let hash = xxhash_rust::xxh3::xxh3_64(self.name.as_bytes());
        TopicPartition { topic: self.kind.topic().into(), partition: partition_of(hash, PARTITIONS) }
    }

    pub(super) fn new(kind: Kind, name: String) -> Self {
        Self { kind, name, lines: 0, acknowledged: 0, checkpoint: 0 }
    }

    pub(super) fn record(&self, first: u64, last: u64) -> bytes::Bytes {
        match self.kind {
            Kind::Logs => self.record_of(first, last, self.lines(first, last)),
            Kind::Metrics => self.record_of(first, last, self.samples(first, last)),
            Kind::Spans => self.record_of(first, last, self.spans(first, last)),
        }
    }

    fn record_of<S: Signal>(&self, first: u64, last: u64, batch: S) -> bytes::Bytes {
        let mark = Mark::Sequence { epoch: 1, first, last };
        let header = SectionHeader { tenant: TENANT.into(), source: self.name.clone(), mark, records: 0 };
        let mut builder = RecordBuilder::new(Limits::default());
        builder.push(&Section::new(header, batch)).expect("a small section");
        builder.finish().expect("a small record").into()
    }

    fn samples(&self, first: u64, last: u64) -> MetricBatch {
        let series = vec![Labels::from_pairs([("__name__", "m"), ("source", &self.name)])];
        let histogram = |i: u64| Histogram {
            schema: 0,
            reset: ResetHint::Unknown,
            is_integer: true,
            count: i as f64,
            sum: 0.5,
            zero_threshold: 0.0,
            zero_count: i as f64,
            positive: Buckets::default(),
            negative: Buckets::default(),
            custom_bounds: Vec::new(),
        };
        // Each third is a histogram of so many observations.
        let row = |i: u64| MetricRow {
            extras: (i % 3 == 2).then(|| {
                let starts = Some([i as i64 * 7_000_000].into());
                Box::new(RowExtras { histograms: vec![(0, Arc::new(histogram(i)))], starts, exemplars: Vec::new() })
            }),
            ..MetricRow::new((i as i64 + 1) * 1_000_000, vec![i as f64])
        };
        let schema = Arc::new(Schema::new(series, Vec::new()));
        MetricBatch { target: Labels::EMPTY, schema, rows: (first..last).map(row).collect() }
    }

    fn spans(&self, first: u64, last: u64) -> SpanBatch {
        let span = |i: u64| Span {
            trace_id: self.trace_id(i),
            span_id: SpanId((i + 1).to_le_bytes()),
            name: format!("{} {i:06}", self.name),
            start: i as i64 * 1000,
            end: i as i64 * 1000 + 500,
            ..Span::default()
        };
        SpanBatch::new(Origin::default(), &(first..last).map(span).collect::<Vec<_>>())
    }

    /// Five spans a trace.
    fn trace_id(&self, i: u64) -> TraceId {
        TraceId(xxhash_rust::xxh3::xxh3_128(format!("{} {}", self.name, i / 5).as_bytes()).to_le_bytes())
    }

    pub(super) fn trace_ids(&self) -> Vec<TraceId> {
        (0..self.lines).step_by(5).map(|i| self.trace_id(i)).collect()
    }

    fn lines(&self, first: u64, last: u64) -> LogBatch {
        let mut batch = LogBatch::new(Labels::from_pairs([("source", &self.name)]));
        for line in first..last {
            let body = format!("{} {line:06}", self.name);
            batch.push(LogRecord {
                timestamp: i64::try_from(line).expect("few lines") * 1000,
                sequence: line + 1,
                body: body.as_bytes(),
                severity: 0,
                flags: 0,
                trace_id: Default::default(),
                span_id: Default::default(),
                attributes: (&Labels::EMPTY).into(),
            });
        }
        batch
    }

    /// Appends what is new since the checkpoint or the last acknowledgement; what fails is sent again later.
    pub(super) async fn send(&mut self, bus: &dyn Log, random: &mut StdRng) {
        self.lines += random.random_range(0..20);
        let first = if random.random_bool(0.2) { self.checkpoint } else { self.acknowledged };
        if first == self.lines {
            return;
        }
        let last = random.random_range(first + 1..=self.lines);
        if last < self.acknowledged {
            // A tailer never appends behind what it knows to be acknowledged, except for re-reading up to it.
            return;
        }
        let Ok(ack) = bus.append(&self.place(), self.record(first, last)).await else { return };
        let acknowledged = tokio::time::timeout(Duration::from_millis(random.random_range(1..400)), ack).await;
        if let Ok(Ok(_)) = acknowledged {
            self.acknowledged = self.acknowledged.max(last);
            if random.random_bool(0.5) {
                self.checkpoint = self.acknowledged;
            }
        }
    }
}
