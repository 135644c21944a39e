//! One section of each signal whose bytes are kept, and batches compared to the bit.

use std::sync::Arc;

use serde_json::json;

use super::header;
use crate::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span as BucketSpan};
use crate::id::{SpanId, TraceId};
use crate::label::Labels;
use crate::log::{FLAG_CONTINUED, LogAttributes, LogBatch, LogRecord};
use crate::metric::{Exemplar, Family, MetricBatch, MetricKind, MetricRow, RowExtras, STALE_NAN, Schema};
use crate::signal::Signal;
use crate::span::{Attributes, Origin, ScopeSpans, Span, SpanBatch, SpanEvent, SpanKind, SpanLink, StatusCode, Value};
use crate::wire::{Mark, Section};

pub(super) trait Golden: Signal {
    fn golden() -> Section<Self>;

    /// A body without what changes with zstd's version.
    fn unpacked(body: &[u8]) -> Vec<u8> {
        body.to_vec()
    }

    /// As `PartialEq`, but NaN equals the same NaN: floats compare by their bits.
    fn bits(&self) -> String;
}

impl Golden for LogBatch {
    fn golden() -> Section<Self> {
        let mut batch = LogBatch::new(Labels::from_pairs([("pod", "web-0"), ("stream", "stderr")]));
        let attributes = Labels::from_pairs([("user", "7")]);
        let plain = LogRecord {
            timestamp: 1_700_000_000_000_000_000,
            sequence: 10,
            body: b"hello",
            severity: 0,
            flags: 0,
            trace_id: TraceId::default(),
            span_id: SpanId::default(),
            attributes: LogAttributes::NONE,
        };
        batch.push(plain);
        batch.push(LogRecord {
            timestamp: plain.timestamp + 5,
            sequence: 20,
            body: b"\xff\xfe",
            severity: 17,
            flags: FLAG_CONTINUED,
            ..plain
        });
        batch.push(LogRecord {
            timestamp: plain.timestamp - 5,
            sequence: 21,
            body: b"",
            trace_id: TraceId([7; 16]),
            span_id: SpanId([9; 8]),
            attributes: (&attributes).into(),
            ..plain
        });
        Section::new(header("web-0/stderr", Mark::Sequence { epoch: 3, first: 0, last: 21 }), batch)
    }

    fn bits(&self) -> String {
        format!("{self:?}")
    }
}

impl Golden for MetricBatch {
    fn golden() -> Section<Self> {
        let series = vec![Labels::from_pairs([("__name__", "up")]), Labels::from_pairs([("__name__", "rq"), ("code", "200")])];
        let families =
            vec![Family { name: "rq".into(), kind: MetricKind::Counter, help: "Requests.".into(), unit: String::new() }];
        let rows = vec![
            MetricRow::new(1_700_000_000_000_000_000, vec![1.0, 1.5e9]),
            MetricRow::new(1_700_000_015_000_000_000, vec![STALE_NAN, -0.0]),
        ];
        let batch =
            MetricBatch { target: Labels::from_pairs([("job", "a")]), schema: Arc::new(Schema::new(series, families)), rows };
        Section::new(header("a", Mark::Sequence { epoch: 1, first: 0, last: 2 }), batch)
    }

    fn unpacked(body: &[u8]) -> Vec<u8> {
        crate::wire::metrics::unpacked(body)
    }

    fn bits(&self) -> String {
        let bits = |row: &MetricRow| (row.timestamp, bits(&row.values), row.extras.as_deref().and_then(bits_of_extras));
        format!("{:?} {:?} {:?}", self.target, self.schema, self.rows.iter().map(bits).collect::<Vec<_>>())
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn bits_of_extras(extras: &RowExtras) -> Option<String> {
    let histogram = |(column, own): &(u32, Arc<Histogram>)| {
        let numbers = [own.count, own.sum, own.zero_threshold, own.zero_count];
        let sides = [&own.positive, &own.negative].map(|side| (side.spans.clone(), bits(&side.counts)));
        format!("{column} {:?} {sides:?} {:?}", (own.schema, own.reset, own.is_integer, bits(&numbers)), bits(&own.custom_bounds))
    };
    let exemplar = |(column, own): &(u32, Exemplar)| (*column, own.labels.clone(), own.value.to_bits(), own.timestamp);
    let histograms: Vec<_> = extras.histograms.iter().map(histogram).collect();
    let exemplars: Vec<_> = extras.exemplars.iter().map(exemplar).collect();
    (!extras.is_empty()).then(|| format!("{histograms:?} {:?} {exemplars:?}", extras.starts))
}

/// Samples with all that rows may have beside numbers: integer, float, custom and stale histograms.
pub(super) fn extras() -> Section<MetricBatch> {
    let side = |spans: &[(i32, u32)], counts: &[f64]| Buckets {
        spans: spans.iter().map(|(offset, length)| BucketSpan { offset: *offset, length: *length }).collect(),
        counts: counts.to_vec(),
    };
    let integer = |more: f64| Histogram {
        schema: 3,
        reset: ResetHint::NotReset,
        is_integer: true,
        count: 7.0 + 2.0 * more,
        sum: 12.5,
        zero_threshold: 1e-128,
        zero_count: 1.0,
        positive: side(&[(-2, 1), (300, 2)], &[1.0, 2.0 + more, 3.0]),
        negative: side(&[(0, 1)], &[more]),
        custom_bounds: Vec::new(),
    };
    let float = Histogram { is_integer: false, zero_count: 0.25, sum: f64::NAN, reset: ResetHint::Gauge, ..integer(0.5) };
    let custom = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        reset: ResetHint::Unknown,
        is_integer: true,
        count: 3.0,
        sum: 0.1,
        zero_threshold: 0.0,
        zero_count: 0.0,
        positive: side(&[(0, 3)], &[1.0, 0.0, 2.0]),
        negative: Buckets::default(),
        custom_bounds: vec![0.005, 1.0],
    };
    let none = Buckets::default();
    let stale = Histogram { count: 0.0, sum: STALE_NAN, zero_count: 0.0, positive: none.clone(), negative: none, ..integer(0.0) };
    let exemplar = |labels: &[(&str, &str)], value: f64, timestamp: i64| Exemplar {
        labels: Labels::from_pairs(labels.iter().copied()),
        value,
        timestamp,
    };
    let at = 1_700_000_000_000_000_000;
    let starts: Arc<[i64]> = [at - 60_000_000_000, at - 60_000_000_000, 0].into();
    let extras = |histograms: Vec<(u32, Histogram)>, exemplars: Vec<(u32, Exemplar)>| RowExtras {
        histograms: histograms.into_iter().map(|(column, own)| (column, Arc::new(own))).collect(),
        starts: Some(Arc::clone(&starts)),
        exemplars,
    };
    let traced = exemplar(&[("trace_id", "4bf92f"), ("span_id", "00f0")], 0.25, at - 7);
    let all = [
        Some(extras(vec![(1, integer(0.0)), (2, custom)], vec![(0, traced.clone()), (2, exemplar(&[], f64::NAN, at))])),
        None,
        Some(extras(vec![(1, integer(5.0)), (2, float)], vec![(2, traced.clone()), (2, traced)])),
        Some(RowExtras { histograms: vec![(1, Arc::new(stale))], ..RowExtras::default() }),
    ];
    let row = |(i, extras): (i64, Option<RowExtras>)| MetricRow {
        extras: extras.map(Box::new),
        ..MetricRow::new(at + i * 15_000_000_000, vec![i as f64, STALE_NAN, STALE_NAN])
    };
    let series = ["rq_total", "seconds", "size"].map(|name| Labels::from_pairs([("__name__", name)])).to_vec();
    let rows = (0..).zip(all).map(row).collect();
    let batch = MetricBatch { target: Labels::from_pairs([("job", "a")]), schema: Arc::new(Schema::new(series, vec![])), rows };
    Section::new(header("a", Mark::Sequence { epoch: 1, first: 0, last: 4 }), batch)
}

/// Samples of two of a schema's four columns.
pub(super) fn part() -> Section<MetricBatch> {
    let series = ["a", "b", "c", "d"].map(|code| Labels::from_pairs([("__name__", "rq"), ("code", code)])).to_vec();
    let families = vec![Family { name: "rq".into(), kind: MetricKind::Counter, help: String::new(), unit: String::new() }];
    let whole = Arc::new(Schema::new(series, families));
    let rows = vec![MetricRow::new(1_700_000_000_000_000_000, vec![2.0, STALE_NAN])];
    let batch = MetricBatch { target: Labels::from_pairs([("job", "a")]), schema: Arc::new(Schema::part(&whole, 1..3)), rows };
    Section::new(header("a", Mark::Digest([9; 16])), batch)
}

impl Golden for SpanBatch {
    fn golden() -> Section<Self> {
        let origin = Origin {
            resource: vec![("service.name".into(), Value::String("cart".into()))],
            scope_name: "lib".into(),
            scope_version: "1".into(),
            scope_attributes: vec![("b".into(), Value::Bool(true))],
        };
        let span = Span {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            parent_id: SpanId([3; 8]),
            trace_state: "k=v".into(),
            name: "GET /".into(),
            kind: SpanKind::Server,
            start: 1_700_000_000_000_000_000,
            end: 1_700_000_000_001_000_000,
            status: StatusCode::Error,
            status_message: "no".into(),
            attributes: vec![
                ("n".into(), Value::Int(-5)),
                ("d".into(), Value::Double(0.5)),
                ("j".into(), Value::Json(Box::new(json!([null, 1.1, {"x": u64::MAX, "y": [true, false, "z"]}])))),
                ("r".into(), Value::Bytes(vec![0, 255])),
            ],
            events: vec![SpanEvent { timestamp: 1_700_000_000_000_000_009, name: "e".into(), attributes: vec![] }],
            links: vec![SpanLink { trace_id: TraceId([4; 16]), span_id: SpanId([5; 8]), ..SpanLink::default() }],
        };
        let root = Span { trace_id: TraceId([1; 16]), span_id: SpanId([3; 8]), name: "GET /".into(), ..Span::default() };
        let batch = SpanBatch::new(origin, &[span, root]);
        Section::new(header("cart", Mark::Digest([6; 16])), batch)
    }

    fn bits(&self) -> String {
        let mut text = format!("{:?} {:?}", list(&self.origin.resource), list(&self.origin.scope_attributes));
        text += &format!("{:?} {:?}", self.origin.scope_name, self.origin.scope_version);
        for span in ScopeSpans::from(self).spans {
            let events: Vec<_> =
                span.events.iter().map(|event| (event.timestamp, &event.name, list(&event.attributes))).collect();
            let links: Vec<_> =
                span.links.iter().map(|link| (link.trace_id, link.span_id, &link.trace_state, list(&link.attributes))).collect();
            let bare = Span { attributes: vec![], events: vec![], links: vec![], ..span.clone() };
            text += &format!("{bare:?} {:?} {events:?} {links:?}", list(&span.attributes));
        }
        text
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Double(double) => format!("{:x}", double.to_bits()),
        other => format!("{other:?}"),
    }
}

fn list(list: &Attributes) -> Vec<String> {
    list.iter().map(|(name, own)| format!("{name}={}", value(own))).collect()
}
