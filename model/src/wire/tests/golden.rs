//! One section of each signal whose bytes are kept, and batches compared to the bit.

use std::sync::Arc;

use serde_json::json;

use super::header;
use crate::id::{SpanId, TraceId};
use crate::label::Labels;
use crate::log::{FLAG_CONTINUED, LogAttributes, LogBatch, LogRecord};
use crate::metric::{Family, MetricBatch, MetricKind, MetricRow, STALE_NAN, Schema};
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
        let bits = |row: &MetricRow| (row.timestamp, row.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        format!("{:?} {:?} {:?}", self.target, self.schema, self.rows.iter().map(bits).collect::<Vec<_>>())
    }
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
