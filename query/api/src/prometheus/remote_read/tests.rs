//! Requests through the router, in both shapes.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use prost::Message;
use weir_budget::{Load, LoadMetrics, QueryConfig, RequestBudget};
use weir_model::config::ByteSize;
use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::label::Labels;
use weir_model::prompb::TimeSeries;
use weir_model::select::Series;
use weir_promql::testing::MemoryReader;

use super::prompb::{ChunkedReadResponse, LabelMatcher, Query, QueryResult, ReadRequest};
use super::{Bytes, SAMPLES, STREAMED, time_series};
use crate::prometheus::tests::{router, store};

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

fn query(end_ms: i64, matchers: &[(i32, &str, &str)]) -> Query {
    let matcher =
        |(op, name, value): &(i32, &str, &str)| LabelMatcher { r#type: *op, name: (*name).into(), value: (*value).into() };
    Query { start_timestamp_ms: 15_000, end_timestamp_ms: end_ms, matchers: matchers.iter().map(matcher).collect() }
}

async fn send(config: QueryConfig, body: Vec<u8>) -> (u16, HeaderMap, Vec<u8>) {
    send_to(store(), config, body).await
}

async fn send_to(store: MemoryReader, config: QueryConfig, body: Vec<u8>) -> (u16, HeaderMap, Vec<u8>) {
    let request = Request::post("/api/v1/read").body(Body::from(body)).unwrap();
    let response = tower_service::Service::call(&mut router(store, config), request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status.as_u16(), parts.headers, axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec())
}

async fn ask(queries: Vec<Query>, accepted_response_types: Vec<i32>) -> (u16, HeaderMap, Vec<u8>) {
    let request = ReadRequest { queries, accepted_response_types };
    send(QueryConfig::default(), snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()).await
}

fn told(series: &[TimeSeries]) -> Vec<(String, Vec<(i64, f64)>)> {
    let labels = |own: &TimeSeries| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Labels::from_pairs(own.labels.iter().map(|label| (text(&label.name), text(&label.value)))).to_string()
    };
    let samples = |own: &TimeSeries| own.samples.iter().map(|sample| (sample.timestamp, sample.value)).collect();
    series.iter().map(|own| (labels(own), samples(own))).collect()
}

/// Frames of a stream, each with its checksum.
fn streamed(mut rest: &[u8]) -> Vec<ChunkedReadResponse> {
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = prost::encoding::decode_varint(&mut rest).unwrap() as usize;
        let (checksum, message) = (u32::from_be_bytes(rest[..4].try_into().unwrap()), &rest[4..4 + length]);
        assert_eq!(checksum, crc32c::crc32c(message));
        rest = &rest[4 + length..];
        frames.push(ChunkedReadResponse::decode(message).unwrap());
    }
    frames
}

#[tokio::test]
async fn queries_are_answered_as_samples() {
    let hits = query(30_000, &[(0, "__name__", "hits_total"), (3, "pod", "a")]);
    let (status, headers, body) = ask(vec![hits, query(20_000, &[(2, "__name__", "od.*"), (1, "pod", "a")])], vec![]).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, SAMPLES));
    assert_eq!(headers["content-encoding"].to_str().unwrap(), "snappy");
    let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let results = ReadResponse::decode(&body[..]).unwrap().results;
    let expected = (r#"{__name__="hits_total", pod="b"}"#.to_owned(), vec![(15_000, 2.0), (30_000, 4.0)]);
    assert_eq!(told(&results[0].timeseries), [expected]);
    assert_eq!((results.len(), told(&results[1].timeseries)), (2, Vec::new()), "a result for each query");
}

#[tokio::test]
async fn queries_are_answered_in_a_stream_of_chunks() {
    let queries = vec![query(20_000, &[(0, "__name__", "none")]), query(30_000, &[(0, "__name__", "hits_total")])];
    let (status, headers, body) = ask(queries, vec![7, 1, 0]).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, STREAMED));
    assert!(!headers.contains_key("content-encoding"));
    let frames = streamed(&body);
    assert!(frames.iter().all(|frame| frame.query_index == 1));
    let series: Vec<_> = frames.into_iter().flat_map(|frame| frame.chunked_series).collect();
    let pods: Vec<&[u8]> = series.iter().map(|own| &own.labels[1].value[..]).collect();
    assert_eq!(pods, [b"a", b"b"]);
    let chunk = &series[0].chunks[0];
    assert_eq!((series[0].chunks.len(), chunk.r#type, chunk.min_time_ms, chunk.max_time_ms), (1, 1, 15_000, 30_000));
    assert_eq!(chunk.data[..2], [0, 2], "samples of it");
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let check = |(status, _, body): (u16, HeaderMap, Vec<u8>), expected: &str| {
        let body = String::from_utf8(body).unwrap();
        assert!(status == 400 && body.contains(expected), "{status} {body}");
    };
    // The header alone declares four gigabytes (CVE-2026-42154).
    check(
        send(QueryConfig::default(), vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0]).await,
        "declares 4294967295 bytes, of 4194304 at most",
    );
    check(send(QueryConfig::default(), b"\x04nope".to_vec()).await, "snappy: ");
    check(send(QueryConfig::default(), snap::raw::Encoder::new().compress_vec(b"\x0a\x05").unwrap()).await, "protobuf: ");
    check(ask(vec![query(20_000, &[(2, "a", "(")])], vec![]).await, "matcher of \\\"a\\\"");
    check(ask(vec![query(20_000, &[(4, "a", "b")])], vec![]).await, "matcher of type 4");
    check(ask(vec![query(1, &[])], vec![]).await, "ends before it starts");
    check(ask(vec![query(20_000, &[]); 65], vec![]).await, "65 queries in one request");
    check(ask(Vec::new(), vec![9]).await, "none of the accepted response types is known");
    let small = QueryConfig { answer_max: ByteSize::bytes(64), ..QueryConfig::default() };
    let request = ReadRequest { queries: vec![query(300_000, &[])], accepted_response_types: vec![1] };
    let (status, _, body) = send(small, snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()).await;
    let body = String::from_utf8(body).unwrap();
    assert!(status == 422 && body.contains("query.answer_max"), "{status} {body}");
}

#[tokio::test]
async fn histograms_are_chunks_and_samples_as_the_caller_accepts_first() {
    let with_histogram = || {
        let mut store = store();
        store.push_histogram(&Labels::from_pairs([("__name__", "hits_total"), ("pod", "c")]), 30_000, Arc::new(integer()));
        store
    };
    let body = |accepted_response_types| {
        let queries = vec![query(30_000, &[(0, "__name__", "hits_total")])];
        let request = ReadRequest { queries, accepted_response_types };
        snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
    };
    let (status, headers, answer) = send_to(with_histogram(), QueryConfig::default(), body(vec![0, 1])).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, SAMPLES));
    let answer = snap::raw::Decoder::new().decompress_vec(&answer).unwrap();
    let series = ReadResponse::decode(&answer[..]).unwrap().results.remove(0).timeseries;
    assert_eq!(series.iter().map(|own| (own.samples.len(), own.histograms.len())).collect::<Vec<_>>(), [(2, 0), (2, 0), (0, 1)]);
    for accepted in [vec![1, 0], vec![1]] {
        let (status, headers, answer) = send_to(with_histogram(), QueryConfig::default(), body(accepted)).await;
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, STREAMED));
        let chunks: Vec<_> = streamed(&answer).into_iter().flat_map(|own| own.chunked_series).map(|own| own.chunks).collect();
        let kinds: Vec<_> = chunks.iter().map(|chunks| chunks.iter().map(|chunk| chunk.r#type).collect::<Vec<_>>()).collect();
        assert_eq!(kinds, [[1], [1], [2]]);
        assert_eq!((chunks[2][0].min_time_ms, &chunks[2][0].data[..3]), (30_000, &[0, 1, 0xc0][..]));
    }
}

#[test]
fn bytes_that_are_not_sent_are_given_back() {
    let load = Load::new(&QueryConfig::default(), LoadMetrics::default());
    let (budget, _guard) = RequestBudget::new(&QueryConfig::default(), &load, &[]);
    let mut all = Bytes { budget: &budget, bytes: Vec::new() };
    all.grow(1000).unwrap().extend([0; 1000]);
    assert!(budget.held() >= 1000);
    drop(all);
    assert_eq!(budget.held(), 0);
    let mut all = Bytes { budget: &budget, bytes: Vec::new() };
    all.grow(1000).unwrap().extend([0; 1000]);
    let sent = std::mem::take(&mut all.bytes);
    drop(all);
    assert_eq!(budget.held(), sent.capacity() as u64, "what is handed over is still held");
}

fn side(counts: &[f64]) -> Buckets {
    Buckets { spans: vec![Span { offset: 2, length: counts.len() as u32 }], counts: counts.to_vec() }
}

fn integer() -> Histogram {
    Histogram {
        schema: 3,
        reset: ResetHint::Gauge,
        is_integer: true,
        count: 9.0,
        sum: 1.5,
        zero_threshold: 0.25,
        zero_count: 1.0,
        positive: side(&[3.0, 1.0]),
        negative: side(&[4.0]),
        custom_bounds: Vec::new(),
    }
}

#[test]
fn histograms_go_as_they_came() {
    let integer = integer();
    let float = Histogram { is_integer: false, ..integer.clone() };
    let histograms = vec![(1, Arc::new(integer)), (2, Arc::new(float))];
    let series = Series { timestamps: vec![1, 2, 3, 4], values: vec![7.0, 0.0, 0.0, 8.0], histograms, ..Series::default() };
    let own = time_series(&series);
    assert_eq!(own.samples.iter().map(|sample| (sample.timestamp, sample.value)).collect::<Vec<_>>(), [(1, 7.0), (4, 8.0)]);
    let [integer, float] = &own.histograms[..] else { panic!("two") };
    assert_eq!((integer.timestamp, integer.count_int, integer.zero_count_int, integer.reset_hint), (2, Some(9), Some(1), 3));
    assert_eq!((&integer.positive_deltas[..], &integer.negative_deltas[..]), (&[3, -2][..], &[4][..]));
    assert_eq!((float.timestamp, float.count_float, &float.positive_counts[..]), (3, Some(9.0), &[3.0, 1.0][..]));
    assert_eq!((float.positive_spans[0].offset, float.positive_spans[0].length), (2, 2));
}
