//! The wire codec: golden bytes, round trips, hostile bytes; `fuzz` mutates them.

mod fuzz;

use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use serde_json::json;

use super::{Body, Kind, Limits, Mark, RecordBuilder, Section, SectionHeader, WireError, decode, decode_headers};
use crate::id::{SpanId, TraceId};
use crate::label::Labels;
use crate::log::{FLAG_CONTINUED, LogBatch, LogRecord};
use crate::metric::{Family, MetricBatch, MetricKind, MetricRow, STALE_NAN, Schema};
use crate::span::{Attributes, Origin, Span, SpanBatch, SpanEvent, SpanKind, SpanLink, StatusCode, Value};

fn header(source: &str, mark: Mark) -> SectionHeader {
    SectionHeader { tenant: "default".into(), source: source.into(), mark, records: 0 }
}

fn encode(sections: &[Section]) -> Vec<u8> {
    let mut builder = RecordBuilder::new(sections[0].body.kind(), Limits::default());
    sections.iter().for_each(|section| builder.push(section).unwrap());
    assert_eq!(builder.len(), sections.len());
    builder.finish().unwrap()
}

/// As `PartialEq`, but NaN equals the same NaN: floats compare by their bits.
fn bits(body: &Body) -> String {
    fn value(value: &Value) -> String {
        match value {
            Value::Double(double) => format!("{:x}", double.to_bits()),
            other => format!("{other:?}"),
        }
    }
    let list = |list: &Attributes| list.iter().map(|(name, own)| format!("{name}={}", value(own))).collect::<Vec<_>>();
    match body {
        Body::Logs(batch) => format!("{batch:?}"),
        Body::Metrics(batch) => {
            let bits = |row: &MetricRow| (row.timestamp, row.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
            format!("{:?} {:?} {:?}", batch.target, batch.schema, batch.rows.iter().map(bits).collect::<Vec<_>>())
        }
        Body::Spans(batch) => {
            let mut text = format!("{:?} {:?}", list(&batch.origin.resource), list(&batch.origin.scope_attributes));
            text += &format!("{:?} {:?}", batch.origin.scope_name, batch.origin.scope_version);
            for span in &batch.spans {
                let events: Vec<_> =
                    span.events.iter().map(|event| (event.timestamp, &event.name, list(&event.attributes))).collect();
                let links: Vec<_> = span
                    .links
                    .iter()
                    .map(|link| (link.trace_id, link.span_id, &link.trace_state, list(&link.attributes)))
                    .collect();
                let bare = Span { attributes: vec![], events: vec![], links: vec![], ..span.clone() };
                text += &format!("{bare:?} {:?} {events:?} {links:?}", list(&span.attributes));
            }
            text
        }
    }
}

fn check_round_trip(sections: &[Section]) {
    let record = encode(sections);
    let (kind, read) = decode(&record, &Limits::default()).unwrap();
    assert_eq!(kind, sections[0].body.kind());
    assert_eq!(read.len(), sections.len());
    let headers = decode_headers(&record, &Limits::default()).unwrap();
    for ((wanted, got), header) in sections.iter().zip(&read).zip(&headers.sections) {
        assert_eq!(u64::from(got.header.records), wanted.body.records());
        assert_eq!(
            (&got.header.tenant, &got.header.source, got.header.mark),
            (&wanted.header.tenant, &wanted.header.source, wanted.header.mark)
        );
        assert_eq!(&got.header, header);
        assert_eq!(bits(&got.body), bits(&wanted.body));
    }
}

fn golden_logs() -> Section {
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
        attributes: &Labels::EMPTY,
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
        attributes: &attributes,
        ..plain
    });
    Section { header: header("web-0/stderr", Mark::Sequence { epoch: 3, first: 0, last: 21 }), body: Body::Logs(batch) }
}

fn golden_metrics() -> Section {
    let series = vec![Labels::from_pairs([("__name__", "up")]), Labels::from_pairs([("__name__", "rq"), ("code", "200")])];
    let families = vec![Family { name: "rq".into(), kind: MetricKind::Counter, help: "Requests.".into(), unit: String::new() }];
    let rows = vec![
        MetricRow { timestamp: 1_700_000_000_000_000_000, values: vec![1.0, 1.5e9] },
        MetricRow { timestamp: 1_700_000_015_000_000_000, values: vec![STALE_NAN, -0.0] },
    ];
    let batch = MetricBatch { target: Labels::from_pairs([("job", "a")]), schema: Arc::new(Schema { series, families }), rows };
    Section { header: header("a", Mark::Sequence { epoch: 1, first: 0, last: 2 }), body: Body::Metrics(batch) }
}

fn golden_spans() -> Section {
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
    let batch = SpanBatch { origin, spans: vec![span, root] };
    Section { header: header("cart", Mark::Digest([6; 16])), body: Body::Spans(batch) }
}

fn goldens() -> [(&'static str, Section); 3] {
    [("logs", golden_logs()), ("metrics", golden_metrics()), ("spans", golden_spans())]
}

/// What was written by version 1 is read for ever. The bytes before the zstd frame are written alike for ever, too; the
/// frame's own bytes are zstd's affair and change with its version.
#[test]
fn golden_bytes() {
    for (name, section) in goldens() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/wire/testdata/{name}.hex"));
        let record = encode(std::slice::from_ref(&section));
        if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, hex::encode(&record) + "\n").unwrap();
        }
        let golden = hex::decode(std::fs::read_to_string(&path).unwrap().trim()).unwrap();
        let (kind, sections) = decode(&golden, &Limits::default()).unwrap();
        assert_eq!((kind.name(), sections.len()), (name, 1));
        assert_eq!(bits(&sections[0].body), bits(&section.body));
        assert_eq!(sections[0].header.mark, section.header.mark);
        assert_eq!(super::frame::uncompressed(&golden).unwrap(), super::frame::uncompressed(&record).unwrap(), "{name}");
    }
}

#[test]
fn empty_batches_and_many_sections_round_trip() {
    let empty = |body| Section { header: header("s", Mark::Digest([0; 16])), body };
    check_round_trip(&[empty(Body::Logs(LogBatch::default()))]);
    check_round_trip(&[empty(Body::Spans(SpanBatch::default()))]);
    let none = MetricBatch { target: Labels::EMPTY, schema: Arc::default(), rows: vec![] };
    check_round_trip(&[empty(Body::Metrics(none.clone()))]);
    check_round_trip(&[empty(Body::Metrics(MetricBatch { rows: vec![MetricRow { timestamp: 1, values: vec![] }], ..none }))]);
    check_round_trip(&[golden_logs(), empty(Body::Logs(LogBatch::default())), golden_logs()]);
    assert_eq!(decode(&encode_none(), &Limits::default()), Ok((Kind::Logs, vec![])));
}

fn encode_none() -> Vec<u8> {
    RecordBuilder::new(Kind::Logs, Limits::default()).finish().unwrap()
}

/// Every byte of every golden record flipped in every bit, and every prefix: an error each time, for the checksum covers
/// all but the magic, and the magic is compared.
#[test]
fn every_damage_is_an_error() {
    for (name, section) in goldens() {
        let record = encode(&[section]);
        for at in 0..record.len() {
            assert!(decode(&record[..at], &Limits::default()).is_err(), "{name} cut at {at}");
            for bit in 0..8 {
                let mut bad = record.clone();
                bad[at] ^= 1 << bit;
                assert!(decode(&bad, &Limits::default()).is_err(), "{name} byte {at} bit {bit}");
                assert!(decode_headers(&bad, &Limits::default()).is_err(), "{name} byte {at} bit {bit}");
            }
        }
        assert!(decode(&[record, vec![0]].concat(), &Limits::default()).is_err(), "{name} with a byte more");
    }
}

/// The same damage with the checksum made right again, in the body before compression: an error or another batch, never a
/// panic, and what was read can be written and read again.
#[test]
fn damage_under_a_good_checksum_never_panics() {
    for (_, section) in goldens() {
        let record = encode(&[section]);
        let (head, body) = super::frame::uncompressed(&record).unwrap();
        for at in 0..body.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, body[at] ^ 1, body[at].wrapping_add(1)] {
                let mut bad = body.clone();
                bad[at] = byte;
                if let Ok((_, sections)) = decode(&super::frame::sealed(&head, &bad), &Limits::default()) {
                    check_round_trip(&sections);
                }
            }
            assert!(decode(&super::frame::sealed(&head, &body[..at]), &Limits::default()).is_err(), "body cut at {at}");
        }
        for at in 8..head.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, head[at] ^ 1] {
                let mut bad = head.clone();
                bad[at] = byte;
                let _ = decode(&super::frame::sealed(&bad, &body), &Limits::default());
            }
        }
    }
}

#[test]
fn hostile_sizes_are_refused_before_they_are_allocated() {
    let record = encode(&[golden_logs()]);
    let (head, body) = super::frame::uncompressed(&record).unwrap();
    let patched = |at: usize, value: u32| {
        let mut head = head.clone();
        head[at..at + 4].copy_from_slice(&value.to_le_bytes());
        decode(&super::frame::sealed(&head, &body), &Limits::default()).unwrap_err()
    };
    assert_eq!(patched(12, u32::MAX), WireError::Limit { what: "sections", value: u32::MAX.into(), limit: 4096 });
    assert_eq!(patched(16, u32::MAX), WireError::Truncated { what: "record head" });
    assert_eq!(patched(20, u32::MAX), WireError::Limit { what: "body bytes", value: u32::MAX.into(), limit: 64 << 20 });
    let small = |limits: Limits| decode(&record, &limits).unwrap_err().to_string();
    assert_eq!(
        small(Limits { record_bytes: 10, ..Limits::default() }),
        format!("record bytes of {} is above the limit of 10", record.len())
    );
    assert_eq!(small(Limits { records: 2, ..Limits::default() }), "records of 3 is above the limit of 2");
    assert_eq!(small(Limits { labels: 1, ..Limits::default() }), "labels of 2 is above the limit of 1");
    assert_eq!(small(Limits { text_bytes: 8, ..Limits::default() }), "text bytes of 12 is above the limit of 8");
}

/// One long text named a million times by one-byte numbers must not become a terabyte.
#[test]
fn a_dictionary_does_not_multiply() {
    let long = "x".repeat(1 << 16);
    let set = Labels::from_pairs((0..20).map(|i| (format!("l{i}"), &long)));
    let batch = MetricBatch {
        target: Labels::EMPTY,
        schema: Arc::new(Schema { series: vec![set; 1000], families: vec![] }),
        rows: vec![],
    };
    let mut builder = RecordBuilder::new(Kind::Metrics, Limits::default());
    let error = builder.push(&Section { header: header("s", Mark::Digest([0; 16])), body: Body::Metrics(batch) }).unwrap_err();
    assert!(matches!(error, WireError::Limit { what: "memory of the decoded record", .. }), "{error}");
    assert!(builder.is_empty() && builder.body_bytes() == 0);
    builder.push(&golden_metrics()).unwrap();
}

#[test]
fn a_builder_refuses_what_is_wrong() {
    let refused = |section: Section| RecordBuilder::new(Kind::Logs, Limits::default()).push(&section).unwrap_err().to_string();
    assert_eq!(refused(golden_metrics()), "bad section: metrics in a record of logs");
    let with = |change: fn(&mut SectionHeader)| {
        let mut section = golden_logs();
        change(&mut section.header);
        refused(section)
    };
    assert_eq!(with(|header| header.tenant.clear()), "bad tenant: it is empty");
    assert_eq!(with(|header| header.source.clear()), "bad source: it is empty");
    assert_eq!(with(|header| header.mark = Mark::Sequence { epoch: 0, first: 2, last: 1 }), "bad mark: first 2 after last 1");
    let mut deep = json!(1);
    (0..80).for_each(|_| deep = json!([deep]));
    let span = Span { attributes: vec![("a".into(), Value::Json(Box::new(deep)))], ..Span::default() };
    let body = Body::Spans(SpanBatch { spans: vec![span], ..SpanBatch::default() });
    let section = Section { header: header("s", Mark::Digest([0; 16])), body };
    let error = RecordBuilder::new(Kind::Spans, Limits::default()).push(&section).unwrap_err();
    assert_eq!(error.to_string(), "bad attribute: JSON nested deeper than 64");
}

#[test]
fn a_newer_version_is_named() {
    let (mut head, body) = super::frame::uncompressed(&encode(&[golden_logs()])).unwrap();
    head[8] = 2;
    assert_eq!(decode(&super::frame::sealed(&head, &body), &Limits::default()), Err(WireError::Version(2)));
}

fn labels() -> impl Strategy<Value = Labels> {
    vec(("[a-c]{0,2}", "[x-zß]{0,3}"), 0..4).prop_map(Labels::from_pairs)
}

fn value() -> impl Strategy<Value = Value> {
    let json = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!({"i": number, "s": ["t", true]})),
        any::<f64>().prop_map(|number| json!([number])),
    ];
    prop_oneof![
        ".{0,4}".prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(|bits| Value::Double(f64::from_bits(bits))),
        json.prop_map(|json| Value::Json(Box::new(json))),
        vec(any::<u8>(), 0..5).prop_map(Value::Bytes),
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    vec(("[a-d]{0,3}", value()), 0..4)
}

fn logs() -> impl Strategy<Value = Body> {
    let ids = (prop_oneof![Just([0; 16]), any::<[u8; 16]>()], prop_oneof![Just([0; 8]), any::<[u8; 8]>()]);
    let line = (any::<i64>(), any::<u64>(), vec(any::<u8>(), 0..20), any::<u8>(), 0..=1_u8, ids, labels());
    (labels(), vec(line, 0..20)).prop_map(|(stream, lines)| {
        let mut batch = LogBatch::new(stream);
        for (timestamp, sequence, body, severity, flags, (trace, span), attributes) in &lines {
            let (trace_id, span_id) = (TraceId(*trace), SpanId(*span));
            let (timestamp, sequence, severity, flags) = (*timestamp, *sequence, *severity, *flags);
            batch.push(LogRecord { timestamp, sequence, body, severity, flags, trace_id, span_id, attributes });
        }
        Body::Logs(batch)
    })
}

fn metrics() -> impl Strategy<Value = Body> {
    let family = ("[a-z]{0,3}", ".{0,5}", "[a-z]{0,2}", Just(MetricKind::GaugeHistogram));
    (labels(), vec(labels(), 0..5), vec(family, 0..3), 0..5_usize).prop_flat_map(|(target, series, families, rows)| {
        let width = series.len();
        let family = |(name, help, unit, kind)| Family { name, kind, help, unit };
        let schema = Arc::new(Schema { series, families: families.into_iter().map(family).collect() });
        let row = (any::<i64>(), vec(any::<u64>(), width));
        vec(row, rows).prop_map(move |rows| {
            let row = |(timestamp, values): (i64, Vec<u64>)| MetricRow {
                timestamp,
                values: values.into_iter().map(f64::from_bits).collect(),
            };
            Body::Metrics(MetricBatch {
                target: target.clone(),
                schema: schema.clone(),
                rows: rows.into_iter().map(row).collect(),
            })
        })
    })
}

fn span() -> impl Strategy<Value = Span> {
    let event = (any::<i64>(), ".{0,3}", attributes()).prop_map(|(timestamp, name, attributes)| SpanEvent {
        timestamp,
        name,
        attributes,
    });
    let link =
        (any::<[u8; 16]>(), any::<[u8; 8]>(), ".{0,2}", attributes()).prop_map(|(trace, span, trace_state, attributes)| {
            SpanLink { trace_id: TraceId(trace), span_id: SpanId(span), trace_state, attributes }
        });
    let ids = (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<[u8; 8]>());
    let texts = ("[a-b]{0,2}", "[a-b]{0,2}", "[a-b]{0,2}");
    let status = prop_oneof![Just(StatusCode::Unset), Just(StatusCode::Ok), Just(StatusCode::Error)];
    let times = (any::<i64>(), any::<i64>(), 0..6_i32, status);
    (ids, texts, times, attributes(), vec(event, 0..3), vec(link, 0..3)).prop_map(
        |((trace, id, parent), (name, trace_state, status_message), (start, end, kind, status), attributes, events, links)| {
            Span {
                trace_id: TraceId(trace),
                span_id: SpanId(id),
                parent_id: SpanId(parent),
                trace_state,
                name,
                kind: SpanKind::from_number(kind),
                start,
                end,
                status,
                status_message,
                attributes,
                events,
                links,
            }
        },
    )
}

fn spans() -> impl Strategy<Value = Body> {
    let origin = (attributes(), ".{0,3}", ".{0,3}", attributes());
    (origin, vec(span(), 0..6)).prop_map(|((resource, scope_name, scope_version, scope_attributes), spans)| {
        Body::Spans(SpanBatch { origin: Origin { resource, scope_name, scope_version, scope_attributes }, spans })
    })
}

fn mark() -> impl Strategy<Value = Mark> {
    let sequence = (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(epoch, a, b)| Mark::Sequence {
        epoch,
        first: a.min(b),
        last: a.max(b),
    });
    prop_oneof![sequence, any::<[u8; 16]>().prop_map(Mark::Digest)]
}

fn sections() -> BoxedStrategy<Vec<Section>> {
    fn of(body: impl Strategy<Value = Body> + 'static) -> BoxedStrategy<Vec<Section>> {
        let section = ("[a-z]{1,3}", "\\PC{1,8}", mark(), body).prop_map(|(tenant, source, mark, body)| Section {
            header: SectionHeader { tenant, source, mark, records: 0 },
            body,
        });
        vec(section, 1..4).boxed()
    }
    prop_oneof![of(logs()), of(metrics()), of(spans())].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(sections in sections()) {
        check_round_trip(&sections);
    }
}
