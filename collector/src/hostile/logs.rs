//! Log records of OTLP, read from their bytes without the protocol's structures: what comes out is what was put in.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use weir_model::id::{SpanId, TraceId};
use weir_model::log::LogBatch;
use weir_model::wire::{Mark, Section};

use super::{Bench, ResourceLogs, ScopeLogs, bench, nested, pair, resource, scope, word};
use crate::config::PushConfig;
use crate::otlp::{Encoded, Format, Logs, decode};

const TIME: u64 = 1_700_000_000_000_000_000;

fn any(value: Any) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

/// A record with everything.
fn full() -> LogRecord {
    LogRecord {
        time_unix_nano: TIME,
        observed_time_unix_nano: TIME + 1,
        severity_number: 17,
        severity_text: "SEVERE".into(),
        body: any(Any::StringValue("GET /ß".into())),
        attributes: vec![
            word("text", "a b"),
            word("text", "a second of one name is left out"),
            pair("int.value", Any::IntValue(i64::MIN)),
            pair("yes", Any::BoolValue(true)),
            pair("double", Any::DoubleValue(0.5)),
            pair("bytes", Any::BytesValue(vec![0, 0xff])),
            pair("nested", nested(2)),
            word("scope_name", "of the record"),
            word("of", ""),
            KeyValue { key: "absent".into(), ..KeyValue::default() },
        ],
        dropped_attributes_count: 1,
        flags: 1,
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        event_name: "login".into(),
    }
}

fn request(records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { scope: scope(vec![word("of", "scope")]), log_records: records, ..ScopeLogs::default() }];
    let mut resource = resource(2).unwrap();
    // JSON has no NaN.
    resource.attributes.retain(|pair| pair.key != "n");
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() }],
    }
}

fn read(bench: &Bench, format: Format, request: &ExportLogsServiceRequest) -> (Option<Section<LogBatch>>, String) {
    let bytes = match format {
        Format::Protobuf => request.encode_to_vec(),
        Format::Json => serde_json::to_vec(request).unwrap(),
    };
    let body = Encoded { bytes: Bytes::from(bytes), encoding: String::new(), format };
    let mut outcome = decode::<Logs>(&bench.context, &bench.context.admit(), body).unwrap();
    assert!(outcome.sections.len() <= 1, "one resource");
    (outcome.sections.pop(), outcome.rejected.reason)
}

#[test]
fn what_was_sent_comes_out() {
    let bench = bench(PushConfig::default());
    let bare = LogRecord { observed_time_unix_nano: TIME + 1, body: any(nested(3)), ..LogRecord::default() };
    let bytes = LogRecord { time_unix_nano: TIME, body: any(Any::BytesValue(vec![0xff, 0])), ..LogRecord::default() };
    let number = LogRecord { time_unix_nano: u64::MAX, body: any(Any::DoubleValue(0.5)), ..LogRecord::default() };
    // The test's clock says TIME: what is further ahead than ten minutes is refused.
    let request = request(vec![full(), bare, bytes, number]);
    let shared = r#"b="AP8H", deep="{\"k\":[1]}", of="scope", scope_name="scope", scope_version="1""#;
    let own = concat!(
        r#"{b="AP8H", bytes="AP8=", deep="{\"k\":[1]}", double="0.5", event_name="login", int_value="-9223372036854775808", "#,
        r#"nested="{\"k\":[1]}", of="scope", scope_name="of the record", scope_version="1", severity_text="SEVERE", text="a b", yes="true"}"#,
    );
    for format in [Format::Protobuf, Format::Json] {
        let (section, reason) = read(&bench, format, &request);
        let batch = section.unwrap().batch;
        assert!(reason.starts_with("log record has timestamp too new"), "{reason}");
        assert_eq!(batch.stream.to_string(), r#"{service_name="shop"}"#);
        let lines: Vec<_> = batch.iter().collect();
        let texts: Vec<_> = lines.iter().map(|line| line.body).collect();
        assert_eq!(texts, [&b"GET /\xc3\x9f"[..], br#"[{"k":[1]}]"#, &[0xff, 0]]);
        let times: Vec<_> = lines.iter().map(|line| line.timestamp as u64).collect();
        assert_eq!(times, [TIME, TIME + 1, TIME]);
        assert_eq!((lines[0].severity, lines[0].trace_id, lines[0].span_id), (17, TraceId([1; 16]), SpanId([2; 8])));
        assert_eq!((lines[1].severity, lines[1].trace_id, lines[1].span_id), (0, TraceId::default(), SpanId::default()));
        let attributes: Vec<_> = lines.iter().map(|line| line.attributes.to_labels().to_string()).collect();
        assert_eq!(attributes, [own, &format!("{{{shared}}}"), &format!("{{{shared}}}")]);
    }
}

#[test]
fn what_is_shared_is_each_lines_and_counts_less_than_its_own() {
    let bench = bench(PushConfig::default());
    let record = |attributes: Vec<KeyValue>| LogRecord { time_unix_nano: TIME, attributes, ..LogRecord::default() };
    // Before, between and behind the shared names, in their place, and empty; with and without between them.
    let own = [
        vec![],
        vec![word("aa", "1")],
        vec![word("zz", "1"), word("m", "2")],
        vec![word("of", "record"), word("of", "second")],
        vec![],
        vec![word("of", ""), word("b", "")],
        vec![word("b", "x"), word("deep", "x"), word("of", "x"), word("scope.name", "x"), word("scope_version", "x")],
    ];
    let mut sent = request(own.iter().cloned().map(record).collect());
    let other = ScopeLogs { scope: None, log_records: own.iter().cloned().map(record).collect(), ..ScopeLogs::default() };
    sent.resource_logs[0].scope_logs.push(other);
    let batch = read(&bench, Format::Protobuf, &sent).0.unwrap().batch;
    let of_resource = vec![("b", "AP8H"), ("deep", "{\"k\":[1]}")];
    let of_scope = [&of_resource[..], &[("of", "scope"), ("scope_name", "scope"), ("scope_version", "1")]].concat();
    let expected = [of_scope, of_resource].into_iter().flat_map(|shared| {
        own.iter().map(move |own| {
            let mut labels: std::collections::BTreeMap<String, String> =
                shared.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            for pair in own.iter().rev() {
                let Some(Any::StringValue(text)) = pair.value.clone().and_then(|value| value.value) else { panic!("a text") };
                if !text.is_empty() {
                    labels.insert(pair.key.replace('.', "_"), text);
                }
            }
            weir_model::label::Labels::from_pairs(labels).to_string()
        })
    });
    let found: Vec<_> = batch.iter().map(|line| line.attributes.to_labels().to_string()).collect();
    assert_eq!(found, expected.collect::<Vec<_>>());
    assert_eq!(batch.attributes().texts().filter(|text| *text == "AP8H").count(), 1);
}

#[test]
fn a_second_attempt_is_known_unless_its_records_have_no_time() {
    let digest = |bench: &Bench, request: &ExportLogsServiceRequest| {
        let Mark::Digest(digest) = read(bench, Format::Protobuf, request).0.unwrap().header.mark else { panic!("a push") };
        digest
    };
    let timed = request(vec![full()]);
    let timeless = request(vec![full(), LogRecord { body: any(Any::StringValue("x".into())), ..LogRecord::default() }]);
    let now = bench(PushConfig::default());
    let mut later = bench(PushConfig::default());
    later.context.clock = std::sync::Arc::new(|| TIME as i64 + 1);
    assert_eq!(digest(&now, &timed), digest(&later, &timed));
    assert_ne!(digest(&now, &timeless), digest(&later, &timeless));
    assert_ne!(digest(&now, &timed), digest(&now, &request(vec![LogRecord { severity_number: 1, ..full() }])));
}

#[test]
fn a_record_that_cannot_be_kept_is_rejected_alone_and_with_its_reason() {
    let bench = bench(PushConfig::default());
    let check = |change: &dyn Fn(&mut LogRecord), expected: &str| {
        let mut wrong = full();
        change(&mut wrong);
        let (section, reason) = read(&bench, Format::Protobuf, &request(vec![wrong, full()]));
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(section.unwrap().batch.len(), 1, "{expected}");
    };
    check(
        &|record| record.attributes = (0..129).map(|i| word(&i.to_string(), "")).collect(),
        "log record: 129 attributes (limit",
    );
    check(
        &|record| record.attributes.push(word("long", &"x".repeat((64 << 10) + 1))),
        r#"attribute "long" is longer than 65536"#,
    );
    check(&|record| record.time_unix_nano = TIME + 601_000_000_000, "log record has timestamp too new");
    let mut of_scope = request(vec![full(), full()]);
    of_scope.resource_logs[0].scope_logs[0].scope.as_mut().unwrap().attributes = vec![word("long", &"x".repeat(70_000))];
    assert!(matches!(read(&bench, Format::Protobuf, &of_scope), (None, reason) if reason.starts_with("scope: attribute")));
    let mut of_resource = request(vec![full(), full()]);
    of_resource.resource_logs[0].resource.as_mut().unwrap().attributes = vec![word("long", &"x".repeat(70_000))];
    assert!(matches!(read(&bench, Format::Protobuf, &of_resource), (None, reason) if reason.starts_with("resource: attribute")));
}
