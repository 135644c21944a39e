//! Large lines, series and spans travel in as many sections and records as they need; a frame that nobody would read is
//! refused by its writer.

use std::sync::Arc;

use weir_model::id::{SpanId, TraceId};
use weir_model::label::{Labels, NAME};
use weir_model::log::{LogBatch, LogRecord};
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::scope::Scope;
use weir_model::select::{LogSelect, MetricReader, MetricSelect, NoBudget, PartitionCoverage};
use weir_model::span::{Attributes, Origin, Span, SpanBatch, Value};
use weir_model::time::TimeRange;
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::frame::{self, FRAME_BYTES_MAX, Tag};
use super::request::{HeadQuery, LinesQuery, SamplesQuery};
use super::response::{HeadInstant, HeadResponse, Refusal, Row, decode, encode_extract};
use super::{ExtractLimits, ExtractRecord, HeadExtract, HeadProtocol};
use weir_blocks::engine::{Engine, Head, Position};
use weir_blocks::view::{Fixed, PartitionView};
use weir_logs::LogsEngine;
use weir_metrics::{MetricsEngine, MetricsReader};
use weir_traces::{TracesCounters, TracesEngine};

const ALL: ExtractLimits = ExtractLimits { bytes_max: 1 << 30, key: "test.bytes_max" };
/// Together they are above the 64 MiB of a record's body.
const COUNT: u64 = 80;
const LARGE: usize = 1 << 20;

/// Of a MiB, each another.
fn large(i: u64) -> String {
    format!("{i}{}", "x".repeat(LARGE - 10))
}

fn head<E: Engine>(engine: &E, batch: E::Batch) -> [Arc<E::Head>; 1] {
    let head = engine.head();
    let mark = Mark::Digest([1; 16]);
    let section = Section::new(SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: 0 }, batch);
    head.insert(Position { partition: 7, offset: 1, ordinal: 0 }, &section).unwrap();
    [Arc::new(head)]
}

/// The head that the client puts together out of the bytes of an answer.
fn travel<E: HeadProtocol>(engine: &E, query: &HeadQuery, heads: &[Arc<E::Head>]) -> E::Head {
    let extract = E::extract(&Scope::of("t"), query, heads, ALL, &NoBudget).unwrap();
    let answers = decode(&bytes_of(&extract, E::KIND), E::KIND).unwrap();
    let [HeadResponse::Extract(_, read)] = &answers[..] else { panic!("{answers:?}") };
    engine.rebuild_head(7, "t", &read.heads[0], 1 << 30).unwrap()
}

fn bytes_of(extract: &HeadExtract, kind: Kind) -> Vec<u8> {
    let mut bytes = frame::preamble(kind).to_vec();
    encode_extract(&mut bytes, &HeadInstant { partition: 7, ..HeadInstant::default() }, extract);
    frame::put(&mut bytes, Tag::End, &[]);
    bytes
}

#[test]
fn lines_with_large_metadata_travel() {
    let engine = LogsEngine::default();
    let mut batch = LogBatch::new(Labels::from_pairs([("pod", "p")]));
    for i in 0..COUNT {
        let attributes = Labels::from_pairs([("large", large(i))]);
        batch.push(LogRecord {
            timestamp: i as i64,
            sequence: 0,
            body: b"",
            severity: 9,
            flags: 0,
            trace_id: TraceId::default(),
            span_id: SpanId::default(),
            attributes: (&attributes).into(),
        });
    }
    let select =
        LogSelect { scope: Scope::of("t"), matchers: Vec::new(), range: TimeRange::ALL, filters: Vec::new(), newest_first: true };
    let found = travel(&engine, &HeadQuery::Lines(LinesQuery::new(&select, 1 << 30)), &head(&engine, batch));
    assert_eq!(found.records(), COUNT);
}

#[test]
fn series_with_large_labels_travel() {
    let engine = MetricsEngine::default();
    let series: Vec<Labels> = (0..COUNT).map(|i| Labels::from_pairs([(NAME, "m".to_owned()), ("large", large(i))])).collect();
    let rows = vec![MetricRow::new(1_000_000, vec![1.5; series.len()])];
    let schema = Arc::new(Schema::new(series, Vec::new()));
    let heads = head(&engine, MetricBatch { target: Labels::EMPTY, schema, rows });
    let select = MetricSelect { scope: Scope::of("t"), matchers: Vec::new(), start_ms: 0, end_ms: 1000 };
    assert_eq!(travel(&engine, &HeadQuery::Samples(SamplesQuery::new(&select)), &heads).records(), COUNT);
    let found = travel(&engine, &HeadQuery::Series(SamplesQuery::new(&select)), &heads);
    let view = PartitionView {
        coverage: PartitionCoverage::default(),
        blocks: Vec::new(),
        heads: vec![Arc::new(found)],
        missing: Vec::new(),
    };
    let reader = MetricsReader::new(Arc::new(Fixed::new(vec![view])));
    assert_eq!(reader.series(&select, &NoBudget).unwrap().value.len() as u64, COUNT);
}

#[test]
fn large_spans_travel() {
    let engine = TracesEngine::new(Arc::new(|| 0), TracesCounters::default());
    let attributes = |i: u64| -> Attributes { vec![("large".into(), Value::String(large(i)))] };
    let id = TraceId([3; 16]);
    let span =
        |i: u64| Span { trace_id: id, span_id: SpanId((i + 1).to_be_bytes()), attributes: attributes(i), ..Span::default() };
    let spans: Vec<Span> = (0..COUNT).map(span).collect();
    let heads = head(&engine, SpanBatch::new(Origin::default(), &spans));
    assert_eq!(travel(&engine, &HeadQuery::Traces { ids: vec![id] }, &heads).records(), COUNT);
}

#[test]
fn a_frame_that_nobody_would_read_is_refused_by_its_writer() {
    let refused = |extract: &HeadExtract| {
        let answers = decode(&bytes_of(extract, Kind::Logs), Kind::Logs).unwrap();
        let limit = FRAME_BYTES_MAX as u64;
        assert_eq!(answers, [HeadResponse::Refused(Refusal::TooLarge { partition: 7, limit })]);
    };
    let record = ExtractRecord { side: Vec::new(), record: vec![7; FRAME_BYTES_MAX] };
    refused(&HeadExtract { heads: vec![vec![record]], ..HeadExtract::default() });
    let row = |length: usize| Row::Count {
        stream: vec![("large".into(), "x".repeat(length))],
        bucket: 0,
        severity: 0,
        metadata: Vec::new(),
        lines: 1,
        bytes: 1,
    };
    refused(&HeadExtract { rows: vec![row(FRAME_BYTES_MAX)], ..HeadExtract::default() });
    // Rows that fit one by one are cut: together they are above a frame's limit.
    let rows: Vec<Row> = (0..40).map(|_| row(LARGE)).collect();
    let answers =
        decode(&bytes_of(&HeadExtract { rows: rows.clone(), ..HeadExtract::default() }, Kind::Logs), Kind::Logs).unwrap();
    let [HeadResponse::Extract(_, extract)] = &answers[..] else { panic!("rows were refused") };
    assert_eq!(extract.rows, rows);
}
