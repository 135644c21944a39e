//! Spans of OTLP, read from their bytes without the protocol's structures: what comes out is what was put in.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Status;
use prost::Message;
use serde_json::json;
use weir_model::id::{SpanId, TraceId};
use weir_model::span::{self, Origin, SpanEvent, SpanKind, SpanLink, StatusCode, Value};

use super::{
    Bench, Event, ExportTraceServiceRequest, Link, ResourceSpans, ScopeSpans, Span, bench, nested, pair, resource, scope, word,
};
use crate::config::PushConfig;
use crate::otlp::{Encoded, Format, Traces, decode};

const START: u64 = 1_700_000_000_000_000_000;

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { scope: scope(vec![word("of", "scope")]), spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: resource(2), scope_spans, ..ResourceSpans::default() }],
    }
}

/// A span with everything.
fn full() -> Span {
    let attributes = vec![
        word("text", "a b"),
        word("text", "a second of one name is left out"),
        word("", ""),
        pair("yes", Any::BoolValue(true)),
        pair("int", Any::IntValue(i64::MIN)),
        pair("double", Any::DoubleValue(-0.0)),
        pair("bytes", Any::BytesValue(vec![0, 0xff])),
        pair("nested", nested(2)),
        KeyValue { key: "absent".into(), ..KeyValue::default() },
        KeyValue { key: "empty".into(), value: Some(AnyValue::default()), ..KeyValue::default() },
    ];
    let event = Event { time_unix_nano: START - 1, name: "e".into(), attributes: vec![word("of", "event")], ..Event::default() };
    let link = Link {
        trace_id: vec![3; 16],
        span_id: vec![4; 8],
        trace_state: "l=1".into(),
        attributes: vec![word("of", "link")],
        ..Link::default()
    };
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        trace_state: "a=b".into(),
        parent_span_id: vec![5; 8],
        flags: 257,
        name: "GET /ß".into(),
        kind: 3,
        start_time_unix_nano: START,
        end_time_unix_nano: u64::MAX,
        attributes,
        dropped_attributes_count: 1,
        events: vec![event.clone(), Event::default(), event],
        links: vec![link],
        status: Some(Status { message: "no".into(), code: 2 }),
        ..Span::default()
    }
}

fn expected() -> span::ScopeSpans {
    let text = |text: &str| Value::String(text.into());
    let of = |what: &str| vec![("of".to_owned(), text(what))];
    let nested = |value: serde_json::Value| Value::Json(Box::new(value));
    let event = SpanEvent { timestamp: START as i64 - 1, name: "e".into(), attributes: of("event") };
    let attributes = vec![
        ("text".into(), text("a b")),
        (String::new(), text("")),
        ("yes".into(), Value::Bool(true)),
        ("int".into(), Value::Int(i64::MIN)),
        ("double".into(), Value::Double(-0.0)),
        ("bytes".into(), Value::Bytes(vec![0, 0xff])),
        ("nested".into(), nested(json!({"k": [1]}))),
        ("absent".into(), text("")),
        ("empty".into(), text("")),
    ];
    let own = span::Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([2; 8]),
        parent_id: SpanId([5; 8]),
        trace_state: "a=b".into(),
        name: "GET /ß".into(),
        kind: SpanKind::Client,
        start: START as i64,
        end: i64::MAX,
        status: StatusCode::Error,
        status_message: "no".into(),
        attributes,
        events: vec![event.clone(), SpanEvent::default(), event],
        links: vec![SpanLink {
            trace_id: TraceId([3; 16]),
            span_id: SpanId([4; 8]),
            trace_state: "l=1".into(),
            attributes: of("link"),
        }],
    };
    let bare = span::Span { trace_id: TraceId([1; 16]), span_id: SpanId([6; 8]), ..span::Span::default() };
    let origin = Origin {
        resource: vec![
            ("service.name".into(), text("shop")),
            ("n".into(), text("is compared apart")),
            ("b".into(), Value::Bytes(vec![0, 0xff, 7])),
            ("deep".into(), nested(json!({"k": [1]}))),
        ],
        scope_name: "scope".into(),
        scope_version: "1".into(),
        scope_attributes: of("scope"),
    };
    span::ScopeSpans { origin, spans: vec![span::Span { start: START as i64, end: START as i64, ..bare }, own] }
}

/// What a request came to; a NaN, which equals nothing, is taken out of its resource.
fn read(bench: &Bench, format: Format, bytes: Vec<u8>) -> (span::ScopeSpans, [u8; 16], String) {
    let body = Encoded { bytes: Bytes::from(bytes), encoding: String::new(), format };
    let outcome = decode::<Traces>(&bench.context, &bench.context.admit(), body).unwrap();
    let [section] = &outcome.sections[..] else { panic!("one section") };
    let mut read = span::ScopeSpans::from(&*section.batch);
    let number = read.origin.resource.iter_mut().find(|(name, _)| name == "n").unwrap();
    assert!(matches!(number.1, Value::Double(number) if number.is_nan()));
    number.1 = Value::String("is compared apart".into());
    let weir_model::wire::Mark::Digest(digest) = section.header.mark else { panic!("pushes have digests") };
    (read, digest, outcome.rejected.reason)
}

#[test]
fn what_was_sent_comes_out() {
    let bench = bench(PushConfig::default());
    let bare = Span {
        trace_id: vec![1; 16],
        span_id: vec![6; 8],
        start_time_unix_nano: START,
        end_time_unix_nano: START,
        ..Span::default()
    };
    let sent = request(vec![bare, full()]);
    let (protobuf, digest, reason) = read(&bench, Format::Protobuf, sent.encode_to_vec());
    assert_eq!((&protobuf, reason.as_str()), (&expected(), ""));
    let (again, digest_again, _) = read(&bench, Format::Protobuf, sent.encode_to_vec());
    assert_eq!((again, digest_again), (protobuf, digest), "a second attempt is known again");
}

#[test]
fn a_span_that_cannot_be_kept_is_rejected_alone_and_with_its_reason() {
    let bench = bench(PushConfig::default());
    let check = |change: &dyn Fn(&mut Span), expected: &str| {
        let mut wrong = full();
        wrong.span_id = vec![7; 8];
        change(&mut wrong);
        let (spans, _, reason) = read(&bench, Format::Protobuf, request(vec![wrong, full()]).encode_to_vec());
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(spans.spans, expected_last(), "{expected}");
    };
    check(&|span| span.trace_id.clear(), "trace id has 0 bytes, not 16");
    check(&|span| span.span_id = vec![1; 9], "span id has 9 bytes, not 8");
    check(&|span| span.span_id = vec![0; 8], "has an id that is all zero");
    check(&|span| span.parent_span_id = vec![1], "parent id has 1 bytes, not 8");
    check(
        &|span| span.attributes = (0..129).map(|i| word(&i.to_string(), "")).collect(),
        "0707070707070707: 129 attributes (limit",
    );
    check(&|span| span.attributes.push(word("long", &"x".repeat((64 << 10) + 1))), r#"attribute "long" is longer than 65536"#);
    check(&|span| span.attributes.push(word(&"n".repeat((64 << 10) + 1), "")), "is longer than 65536");
    check(&|span| span.events[1].attributes = vec![word("e", &"x".repeat(70_000))], r#"span event "": attribute "e" is longer"#);
    check(&|span| span.links[0].span_id.clear(), "span id of a link has 0 bytes, not 8");
    check(&|span| span.events = vec![Event::default(); 1025], "has more than 1024 events or links");
    check(&|span| span.links = vec![span.links[0].clone(); 1025], "has more than 1024 events or links");
}

fn expected_last() -> Vec<span::Span> {
    expected().spans.split_off(1)
}
