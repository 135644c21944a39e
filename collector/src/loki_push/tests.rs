//! Both encodings of a push, against each other and against what is wrong with them.

use prost::Message;
use serde_json::json;
use weir_model::config::ByteSize;
use weir_model::label::Labels;
use weir_model::log::{FLAG_CONTINUED, LogBatch};
use weir_model::wire::{Mark, Section};

use super::logproto::{Entry, Pair, PushRequest, Stream, Timestamp};
use crate::config::PushConfig;
use crate::hostile::{Bench, bench};
use crate::push_error::PushError;

/// Nanoseconds, text, metadata.
type Line<'a> = (i32, &'a str, &'a [(&'a str, &'a str)]);

const NOW: i64 = 1_700_000_000;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn entry(nanos: i32, line: &str, metadata: &[(&str, &str)]) -> Entry {
    let pair = |(name, value): &(&str, &str)| Pair { name: (*name).into(), value: (*value).into() };
    let timestamp = Some(Timestamp { seconds: NOW, nanos });
    Entry { timestamp, line: line.into(), metadata: metadata.iter().map(pair).collect() }
}

fn stream(labels: &str, entries: Vec<Entry>) -> Stream {
    Stream { labels: labels.into(), entries, hash: 7 }
}

fn push(bench: &Bench, request: &[u8]) -> Result<Vec<Section<LogBatch>>, PushError> {
    bench.loki("application/x-protobuf", snap::raw::Encoder::new().compress_vec(request).unwrap().into())
}

fn streams(bench: &Bench, streams: Vec<Stream>) -> Result<Vec<Section<LogBatch>>, PushError> {
    push(bench, &PushRequest { streams }.encode_to_vec())
}

#[test]
fn both_encodings_come_to_the_same_lines() {
    let bench = bench(PushConfig { line_max: ByteSize::kib(1), ..PushConfig::default() });
    let long = "x".repeat(2500);
    let lines: [Line<'_>; 6] = [
        (5, "ERROR plain", &[]),
        (3, "of a trace", &[("traceID", TRACE), ("span-id", "y"), ("level", "debug")]),
        (4, "again", &[("traceID", TRACE), ("span-id", "y"), ("level", "debug")]),
        (-1, &long, &[("pod", "p")]),
        (7, "", &[("empty", "")]),
        (8, "names in any order", &[("b", "2"), ("a", "1"), ("c.d", "3")]),
    ];
    let entries = lines.iter().map(|(nanos, line, metadata)| entry(*nanos, line, metadata)).collect();
    let found = streams(&bench, vec![stream(r#"{b="c", a="b"}"#, entries), stream(r#"{a="empty"}"#, Vec::new())]).unwrap();
    let values: Vec<_> = lines
        .iter()
        .map(|(nanos, line, metadata)| {
            let metadata: serde_json::Map<_, _> =
                metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            json!([(NOW * 1_000_000_000 + i64::from(*nanos)).to_string(), line, metadata])
        })
        .collect();
    let text = json!({"streams": [{"stream": {"a": "b", "b": "c"}, "values": values}, {"stream": {"a": "empty"}}]}).to_string();
    let expected = bench.loki("application/json", text.into()).unwrap();
    assert_eq!((found.len(), expected.len()), (1, 1));
    assert_eq!(found[0].batch, expected[0].batch);
    let batch = &found[0].batch;
    let bodies: Vec<_> = batch.iter().map(|line| (line.body.len(), line.flags, line.severity)).collect();
    let (part, unknown) = (FLAG_CONTINUED, 0);
    assert_eq!(
        bodies,
        [
            (11, 0, 17),
            (10, 0, 5),
            (5, 0, 5),
            (1024, part, unknown),
            (1024, part, unknown),
            (452, 0, unknown),
            (0, 0, 0),
            (18, 0, 0)
        ]
    );
    assert_eq!(batch.get(1).trace_id.to_string(), TRACE);
    let sets = [
        &[][..],
        &[("level", "debug"), ("span_id", "y"), ("traceID", TRACE)],
        &[("pod", "p")],
        &[("a", "1"), ("b", "2"), ("c_d", "3")],
    ];
    assert!(
        batch.attributes().iter().map(|set| set.to_labels()).eq(sets.iter().map(|set| Labels::from_pairs(set.iter().copied())))
    );
}

#[test]
fn of_a_repeated_name_the_last_counts_and_fields_come_in_any_order() {
    let bench = bench(PushConfig::default());
    let one = entry(1, "line", &[("a", "1"), ("b", "x"), ("a", "2"), ("c", "3"), ("c", "")]);
    // Labels behind the entries, of a field that is there twice the last.
    let message = [stream("{x=\"1\"}", vec![one]).encode_to_vec(), stream("{x=\"2\"}", Vec::new()).encode_to_vec()].concat();
    let mut request = vec![0x0a, message.len() as u8 | 0x80, (message.len() >> 7) as u8];
    request.extend(message);
    let found = push(&bench, &request).unwrap();
    assert_eq!(found[0].batch.stream, Labels::from_pairs([("x", "2")]));
    assert_eq!(found[0].batch.get(0).attributes.to_labels(), Labels::from_pairs([("a", "2"), ("b", "x")]));
}

#[test]
fn the_same_lines_have_the_same_digest_whatever_else_was_pushed() {
    let bench = bench(PushConfig { reject_older_than: Some(std::time::Duration::from_secs(60)), ..PushConfig::default() });
    let digest = |entries: Vec<Entry>| {
        let found = streams(&bench, vec![stream("{a=\"b\"}", entries)]).unwrap();
        let Mark::Digest(digest) = found[0].header.mark else { panic!("{:?}", found[0].header) };
        digest
    };
    let (good, other) = (entry(1, "good", &[("a", "1")]), entry(1, "good", &[("a", "2")]));
    let old = Entry { timestamp: Some(Timestamp { seconds: NOW - 61, nanos: 0 }), ..good.clone() };
    let expected = digest(vec![good.clone()]);
    assert_eq!(digest(vec![good.clone()]), expected);
    assert_eq!(digest(vec![old, good.clone()]), expected, "what was refused is not part of it");
    for entries in [vec![other], vec![good.clone(), good.clone()], vec![entry(2, "good", &[("a", "1")])]] {
        assert_ne!(digest(entries), expected);
    }
}

/// Hand-written clients send it, and Loki takes it.
#[test]
fn json_that_is_not_quite_lokis_is_read_as_loki_reads_it() {
    let bench = bench(PushConfig::default());
    let line = |body: &str| body.replace("NOW", &format!("{NOW}000000000"));
    let stream = r#"{"port":80,"tls":true,"zone":null,"ratio":1.50,"app":"x"}"#;
    let entries = r#"[["NOW"],["NOW","one",{"a":"b"},"more"],["NOW","two",{},{"a":[1]}]]"#;
    let text =
        line(&format!(r#"{{"streams":[{{"stream":{stream},"values":{entries}}},{{"stream":{{"a":"b"}},"values":null}}]}}"#));
    let found = bench.loki("application/json", text.into()).unwrap();
    let batch = &found[0].batch;
    assert_eq!((found.len(), batch.stream.to_string().as_str()), (1, r#"{app="x", port="80", ratio="1.5", tls="true"}"#));
    assert_eq!(batch.iter().map(|line| line.body).collect::<Vec<_>>(), [&b""[..], b"one", b"two"]);
    let mut bytes = line(r#"{"streams":[{"stream":{"a":"b"},"values":[["NOW","x?y"]]}]}"#).into_bytes();
    *bytes.iter_mut().find(|byte| **byte == b'?').unwrap() = 0xff;
    let found = bench.loki("application/json", bytes.into()).unwrap();
    assert_eq!(found[0].batch.get(0).body, "x\u{fffd}y".as_bytes());
    for wrong in [r#"{"a":{"b":"c"}}"#, r#"{"a":["b"]}"#, "null"] {
        let text = line(&format!(r#"{{"streams":[{{"stream":{wrong},"values":[["NOW","x"]]}}]}}"#));
        assert!(matches!(bench.loki("application/json", text.into()), Err(PushError::Malformed(_))), "{wrong}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let bench = bench(PushConfig { labels_max: 3, records_max: 2, ..PushConfig::default() });
    let check = |result: Result<Vec<Section<LogBatch>>, PushError>, part: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    let four = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
    check(streams(&bench, Vec::new()), "no streams");
    check(streams(&bench, vec![stream("{}", Vec::new())]), "at least one label");
    check(streams(&bench, vec![stream("{a=\"b\"}", Vec::new()), stream("{a=1}", Vec::new())]), "labels of stream 1");
    check(streams(&bench, vec![stream("{a=\"1\",b=\"1\",c=\"1\",d=\"1\"}", Vec::new())]), "stream with 4 labels");
    check(streams(&bench, vec![stream("{a=\"b\"}", vec![entry(1, "x", &[]), entry(1, "y", &four)])]), "line 1 has more");
    check(streams(&bench, vec![stream("{a=\"b\"}", vec![entry(1, "x", &[]); 3])]), "3 lines in one request");
    check(push(&bench, &[0x0a, 3, 0x12, 9, 0]), "Stream ends early");
    check(push(&bench, &[0x0a, 2, 0x08, 1]), "field 1 of Stream has wire type 0");
    check(push(&bench, &[0x0a, 3, 0x0a, 1, 0xff]), "Stream is not UTF-8");
}
