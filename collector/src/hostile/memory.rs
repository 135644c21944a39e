//! Memory of requests that were made to take much.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue};
use prost::Message;
use weir_model::config::ByteSize;
use weir_model::fuzz::peak_of;
use weir_model::signal::Signal;

use super::{
    Bench, Event, ExportTraceServiceRequest, LOKI_JSON, ResourceLogs, ResourceSpans, ScopeLogs, ScopeSpans, Span, bench,
    histogram, logs, metrics, pair, resource, scope, word,
};
use crate::config::PushConfig;
use crate::otlp::{Encoded, Export, Format, Logs, Metrics, Traces, decode};
use crate::push_error::PushError;

/// Memory that a request takes at its most, body and all, and what it came to.
fn peak<E: Export>(bench: &Bench, bytes: Vec<u8>) -> (Result<u64, PushError>, usize) {
    let (result, peak) = peak_of(None, || {
        let sections = bench.otlp::<E>(Format::Protobuf, Bytes::copy_from_slice(&bytes));
        sections.map(|sections| sections.iter().map(|section| section.batch.records()).sum())
    });
    println!(
        "{} of {} bytes: {peak} at most, {:.1} a byte",
        E::Batch::KIND.name(),
        bytes.len(),
        peak as f64 / bytes.len() as f64
    );
    (result, peak)
}

#[test]
fn attributes_of_a_scope_are_shared_by_its_records() {
    let bench = bench(PushConfig::default());
    let of_scope = |bytes: usize| (0..100).map(|i| word(&format!("a{i}"), &"x".repeat(bytes / 100))).collect::<Vec<_>>();
    // 200 KB of attributes and 1,000 records: 200 MB if each had its own.
    let bytes = logs(of_scope(200_000), 0, 1_000).encode_to_vec();
    let (length, (stored, peak_bytes)) = (bytes.len(), peak::<Logs>(&bench, bytes));
    assert_eq!(stored, Ok(1_000));
    // Two pointers for each of a hundred attributes and a thousand records: 3.2 MB.
    assert!(peak_bytes < 3_200_000 + 4 * length, "{peak_bytes}");
    // Ten attributes of the same size together.
    let ten = (0..10).map(|i| word(&format!("a{i}"), &"x".repeat(20_000))).collect();
    let bytes = logs(ten, 0, 1_000).encode_to_vec();
    let (length, (stored, peak_bytes)) = (bytes.len(), peak::<Logs>(&bench, bytes));
    assert_eq!(stored, Ok(1_000));
    assert!(peak_bytes < 8 * length, "{peak_bytes}");
    // 2 MB and 1,000 records are 2 GB for whoever stores them.
    let bytes = logs(of_scope(2_000_000), 0, 1_000).encode_to_vec();
    let (length, (refused, peak_bytes)) = (bytes.len(), peak::<Logs>(&bench, bytes));
    assert!(matches!(refused, Err(PushError::TooLarge { what: "attributes of all records together", .. })), "{refused:?}");
    assert!(peak_bytes < 8 * length, "{peak_bytes}");
    // 30 MB in a hundred attributes, each above what an attribute may be.
    let bytes = logs(of_scope(30_000_000), 0, 1_000).encode_to_vec();
    let (length, (rejected, peak_bytes)) = (bytes.len(), peak::<Logs>(&bench, bytes));
    assert_eq!(rejected, Ok(0), "by partial success");
    assert!(peak_bytes < 8 * length, "{peak_bytes}");
}

#[test]
fn what_is_nested_is_charged_before_it_is_built() {
    let bench = bench(PushConfig::default());
    // Lists of 15,000 empty values: two bytes each, which become 32.
    let list = |i: usize| pair(&format!("a{i}"), Any::ArrayValue(ArrayValue { values: vec![AnyValue::default(); 15_000] }));
    let lists = || (0..128).map(list).collect::<Vec<_>>();
    let span = Span { trace_id: vec![1; 16], span_id: vec![1; 8], attributes: lists(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let spans = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    for (refused, peak_bytes) in [peak::<Logs>(&bench, logs(lists(), 0, 1).encode_to_vec()), peak::<Traces>(&bench, spans)] {
        assert!(matches!(refused, Err(PushError::TooLarge { what: "request in memory", .. })), "{refused:?}");
        assert!(peak_bytes < 40 << 20, "{peak_bytes}");
    }
}

#[test]
fn a_resource_is_copied_for_so_many_scopes_and_no_more() {
    let bench = bench(PushConfig::default());
    let mut resource = resource(0);
    let attributes = (0..40).map(|i| word(&format!("a{i}"), &"x".repeat(50_000)));
    resource.as_mut().unwrap().attributes.extend(attributes);
    // 2 MB for each of 300 scopes, which have no record.
    let scope_logs = vec![ScopeLogs { scope: scope(Vec::new()), ..ScopeLogs::default() }; 300];
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
    let (refused, peak_bytes) = peak::<Logs>(&bench, ExportLogsServiceRequest { resource_logs }.encode_to_vec());
    assert!(matches!(refused, Err(PushError::TooLarge { what: "attributes of all records together", .. })), "{refused:?}");
    assert!(peak_bytes < 40 << 20, "{peak_bytes}");
}

#[test]
fn labels_of_a_histogram_are_counted_for_each_of_its_buckets() {
    let bench = bench(PushConfig::default());
    let request = |labels| metrics((0..8).map(|i| histogram(i, 1_000, labels)).collect()).encode_to_vec();
    let (stored, peak_bytes) = peak::<Metrics>(&bench, request(100));
    // 1,000 buckets, sum and count of each; target_info.
    assert_eq!(stored, Ok(8 * 1_002 + 1));
    assert!(peak_bytes < 16 << 20, "{peak_bytes}");
    // 10 KB in 8,000 series are 80 MB.
    let (refused, peak_bytes) = peak::<Metrics>(&bench, request(10_000));
    assert!(matches!(refused, Err(PushError::TooLarge { what: "request in memory", .. })), "{refused:?}");
    assert!(peak_bytes < 24 << 20, "{peak_bytes}");
}

#[test]
fn empty_messages_become_nothing_or_are_counted() {
    let bench = bench(PushConfig::default());
    let wrapped = |tag: u8, inner: Vec<u8>| {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        [outer, inner].concat()
    };
    let bytes = || wrapped(0x0a, wrapped(0x12, [0x12, 0].repeat(1 << 20)));
    let length = bytes().len();
    // Nothing is taken before it is known to be good: records and spans are too many, metrics without a name or a point are none.
    for (refused, peak_bytes) in [peak::<Logs>(&bench, bytes()), peak::<Traces>(&bench, bytes())] {
        assert!(
            matches!(&refused, Err(PushError::Malformed(reason)) if reason.contains("records in one request")),
            "{refused:?}"
        );
        assert!(peak_bytes < 2 * length, "{peak_bytes}");
    }
    let (stored, peak_bytes) = peak::<Metrics>(&bench, bytes());
    assert_eq!(stored, Ok(0));
    assert!(peak_bytes < 2 * length, "{peak_bytes}");
    // What becomes more than its bytes is counted: a name alone is a family, a resource with a record a section.
    let family = |i: u32| wrapped(0x12, [&[0x0a, 4][..], &i.to_be_bytes().map(|byte| byte & 0x7f), &[0x2a, 0]].concat());
    let bytes = wrapped(0x0a, wrapped(0x12, (0..1 << 18).map(family).collect::<Vec<_>>().concat()));
    let (refused, peak_bytes) = peak::<Metrics>(&bench, bytes);
    assert!(matches!(refused, Err(PushError::TooLarge { what: "request in memory", .. })), "{refused:?}");
    assert!(peak_bytes < 40 << 20, "{peak_bytes}");
    let (refused, peak_bytes) = peak::<Logs>(&bench, wrapped(0x0a, vec![0x12, 2, 0x12, 0]).repeat(1 << 15));
    assert!(matches!(refused, Err(PushError::TooLarge { what: "request in memory", .. })), "{refused:?}");
    assert!(peak_bytes < 20 << 20, "{peak_bytes}");
    // Few enough are taken, whatever their share: 16 MiB are allowed in any case.
    let (stored, peak_bytes) = peak::<Logs>(&bench, wrapped(0x0a, wrapped(0x12, [0x12, 0].repeat(1 << 14))));
    assert_eq!(stored, Ok(1 << 14));
    assert!(peak_bytes < 16 << 20, "{peak_bytes}");
}

#[test]
fn spans_take_a_few_times_their_bytes() {
    let bench = bench(PushConfig::default());
    let check = |span: &dyn Fn(u64) -> Span, count: u64, times: usize| {
        let spans = (0..count).map(|i| Span {
            trace_id: vec![1; 16],
            span_id: (i + 1).to_be_bytes().to_vec(),
            start_time_unix_nano: 1_700_000_000_000_000_000,
            ..span(i)
        });
        let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let (length, (stored, peak_bytes)) = (bytes.len(), peak::<Traces>(&bench, bytes));
        assert_eq!(stored, Ok(count));
        assert!(peak_bytes < times * length, "{peak_bytes}");
    };
    check(&|_| Span::default(), 20_000, 6);
    check(
        &|i| Span { attributes: (0..11).map(|k| word(&format!("k{k}"), &(i % 7).to_string())).collect(), ..Span::default() },
        5_000,
        3,
    );
    check(&|i| Span { attributes: vec![word("url", &format!("{i}/").repeat(40))], ..Span::default() }, 5_000, 5);
    // Two bytes each, which become twelve: the time as a distance from the start of the span.
    check(&|_| Span { events: vec![Event::default(); 1024], ..Span::default() }, 100, 24);
}

#[test]
fn many_bombs_at_once_stay_within_the_budget() {
    const BUDGET: usize = 32 << 20;
    let config = PushConfig {
        body_max: ByteSize::mib(1),
        decompressed_max: ByteSize::mib(8),
        inflight_max: ByteSize::bytes(BUDGET as u64),
        ..PushConfig::default()
    };
    let bench = bench(config);
    // 8 MiB of spaces in 8 KiB of gzip.
    let plain = format!("{}{LOKI_JSON}", " ".repeat((8 << 20) - LOKI_JSON.len()));
    let mut encoder = flate2::read::GzEncoder::new(plain.as_bytes(), flate2::Compression::best());
    let mut bomb = Vec::new();
    std::io::Read::read_to_end(&mut encoder, &mut bomb).unwrap();
    drop(plain);
    let body = Bytes::from(bomb);
    let barrier = std::sync::Barrier::new(64);
    let one = || {
        barrier.wait();
        let (result, peak) = peak_of(None, || {
            let body = Encoded { bytes: body.clone(), encoding: "gzip".into(), format: Format::Json };
            let admission = bench.context.admit();
            // What it came to is held until all are through, as while the bus is slow.
            let result = decode::<Logs>(&bench.context, &admission, body).and_then(|_| admission.charge(8 << 20));
            let held = result.is_ok().then_some(admission);
            barrier.wait();
            drop(held);
            result
        });
        (result, peak)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let peak = results.iter().map(|(_, peak)| *peak).max().unwrap();
    let crowded = results.iter().filter(|(result, _)| *result == Err(PushError::Crowded)).count();
    println!("64 bombs of 8 MiB: {peak} bytes held by one at most, {crowded} told to come again");
    assert!((60..64).contains(&crowded), "{crowded}: four of 8 MiB fill 32 MiB");
    // None holds more than it was admitted with: its body, decompressed, into a buffer that doubles.
    assert!(peak < 9 << 20, "{peak}");
    assert!(results.iter().all(|(result, _)| matches!(result, Ok(()) | Err(PushError::Crowded))), "{results:?}");
    assert!(bench.otlp::<Logs>(Format::Json, Bytes::from_static(b"{}")).is_ok(), "all is given back");
}
