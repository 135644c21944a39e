//! Order, acknowledgement, retry, splitting and back-pressure of shipping.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use weir_model::config::ByteSize;
use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogBatch, LogRecord};
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::signal::Signal;
use weir_model::span::{Origin, Span, SpanBatch};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::{Lanes, NAMES, Shipper};
use crate::config::ShipConfig;
use crate::error::ShipError;
use crate::metrics::ShipMetrics;
use crate::testing::TestLog;

async fn start(log: &Arc<TestLog>, config: ShipConfig) -> (Shipper, Lanes, CancellationToken) {
    let stop = CancellationToken::new();
    let (shipper, lanes) = Shipper::start(log.clone(), &config, ShipMetrics::default(), stop.clone()).await.unwrap();
    (shipper, lanes, stop)
}

fn quick() -> ShipConfig {
    ShipConfig { linger: Duration::from_millis(1), ..ShipConfig::default() }
}

/// Lines `first..last` of a source; the sequence of line `i` is `i + 1`.
fn lines(source: &str, first: u64, last: u64, body: impl Fn(u64) -> Vec<u8>) -> Section<LogBatch> {
    let mut batch = LogBatch::new(Labels::from_pairs([("source", source)]));
    for i in first..last {
        batch.push(LogRecord {
            timestamp: i as i64,
            sequence: i + 1,
            body: &body(i),
            severity: 0,
            flags: 0,
            trace_id: TraceId::default(),
            span_id: SpanId::default(),
            attributes: (&Labels::EMPTY).into(),
        });
    }
    let mark = Mark::Sequence { epoch: 1, first, last };
    Section::new(header(source, mark), batch)
}

fn header(source: &str, mark: Mark) -> SectionHeader {
    SectionHeader { tenant: "t".into(), source: source.into(), mark, records: 0 }
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn what_is_durable_counts_for_its_tenant() {
    let log = TestLog::new(1);
    let (shipper, _lanes, _stop) = start(&log, quick()).await;
    let mut other = lines("b", 0, 3, |_| vec![b'x'; 10]);
    other.header.tenant = "u".into();
    log.flow(false);
    let receipts = [shipper.send(lines("a", 0, 5, |_| vec![b'x'; 100])).await.unwrap(), shipper.send(other).await.unwrap()];
    let is_nothing = shipper.usage().all().iter().all(|(_, usage)| usage.ingested[0].records == 0);
    assert!(is_nothing, "nothing is acknowledged");
    log.flow(true);
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert!(shipper.send(lines("c", 0, 1, |_| noise(7, 3 << 20))).await.unwrap().await.is_err(), "refused");
    let all = shipper.usage().all();
    let counted: Vec<_> = all.iter().map(|(tenant, usage)| (&**tenant, usage.ingested[0].records)).collect();
    assert_eq!(counted, [("t", 5), ("u", 3)]);
    let streams: Vec<_> = all.iter().map(|(_, usage)| usage.streams).collect();
    assert_eq!(streams, [Some(2), Some(1)], "of the one that was refused, too");
    assert!((500..1000).contains(&all[0].1.ingested[0].bytes), "{all:?}");
}

#[tokio::test]
async fn sources_keep_their_order_and_share_records() {
    let log = TestLog::new(3);
    let (shipper, lanes, _stop) = start(&log, quick()).await;
    let mut receipts = Vec::new();
    for step in 0..50 {
        for source in ["a", "b", "c", "d"] {
            let section = lines(source, step * 10, step * 10 + 10, |i| format!("{source}{i}").into_bytes());
            receipts.push(shipper.send(section).await.unwrap());
        }
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    drop(shipper);
    lanes.join().await;
    let stored = log.lines();
    for source in ["a", "b", "c", "d"] {
        let expected: Vec<String> = (0..500).map(|i| format!("{source}{i}")).collect();
        assert_eq!(stored[source], expected);
    }
    assert!(log.records(Kind::Logs) < 200, "200 sections share records, got {}", log.records(Kind::Logs));
}

#[tokio::test]
async fn a_failed_append_is_tried_again_before_anything_later() {
    let log = TestLog::new(1);
    let (shipper, _lanes, _stop) = start(&log, quick()).await;
    // Lost, stored but said to have failed, lost.
    log.fail_next(&[false, true, false]);
    let mut receipts = Vec::new();
    for step in 0..20 {
        receipts.push(shipper.send(lines("a", step, step + 1, |i| i.to_string().into_bytes())).await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    // `lines` drops by marks as the aggregator does and refuses gaps.
    assert_eq!(log.lines()["a"], (0..20).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn nothing_is_acknowledged_before_the_bus_has_it() {
    let log = TestLog::new(1);
    log.flow(false);
    let (shipper, _lanes, _stop) = start(&log, quick()).await;
    let section = || lines("a", 0, 1, |_| b"x".to_vec());
    let outcome = shipper.send_and_wait(vec![section()], Duration::from_millis(30)).await;
    assert_eq!(outcome, Err(ShipError::Busy));
    log.flow(true);
    assert_eq!(shipper.send_and_wait(vec![section()], Duration::from_secs(20)).await, Ok(()));
}

#[tokio::test]
async fn a_full_lane_makes_the_source_wait() {
    let log = TestLog::new(1);
    log.flow(false);
    let (shipper, _lanes, _stop) = start(&log, ShipConfig { queue_max: ByteSize::mib(1), ..quick() }).await;
    let section = |step: u64| lines("a", step, step + 1, |i| noise(i, 200 << 10));
    let mut receipts = Vec::new();
    let full = loop {
        let sent = tokio::time::timeout(Duration::from_millis(100), shipper.send(section(receipts.len() as u64))).await;
        match sent {
            Ok(receipt) => receipts.push(receipt.unwrap()),
            Err(_) => break receipts.len(),
        }
        assert!(receipts.len() < 100, "the queue has no bound");
    };
    assert!((3..=5).contains(&full), "1 MiB holds five sections of 200 KiB, took {full}");
    log.flow(true);
    for receipt in receipts {
        receipt.await.unwrap();
    }
}

#[tokio::test]
async fn stop_ends_the_lanes_without_acknowledging() {
    let log = TestLog::new(1);
    log.flow(false);
    let (shipper, lanes, stop) = start(&log, quick()).await;
    let receipt = shipper.send(lines("a", 0, 1, |_| b"x".to_vec())).await.unwrap();
    stop.cancel();
    assert_eq!(receipt.await, Err(ShipError::Stopped));
    drop(shipper);
    lanes.join().await;
}

#[tokio::test]
async fn a_section_larger_than_a_record_is_split_exactly() {
    let log = TestLog::new(2);
    let (shipper, _lanes, _stop) = start(&log, quick()).await;
    let large = lines("a", 0, 60, |i| noise(i, 100 << 10));
    shipper.send(large).await.unwrap().await.unwrap();
    let sections: Vec<Section<LogBatch>> = log.sections().into_iter().flatten().collect();
    assert!(sections.len() > 3);
    let mut at = 0;
    for section in &sections {
        let Mark::Sequence { first, last, .. } = section.header.mark else { panic!("a sequence stays one") };
        let batch = &section.batch;
        assert_eq!((first, last), (at, at + batch.len() as u64));
        assert_eq!(batch.get(batch.len() - 1).sequence, last);
        at = last;
    }
    assert_eq!(at, 60);
}

#[tokio::test]
async fn a_digest_is_split_in_the_same_way_every_time() {
    let log = TestLog::new(1);
    let (shipper, _lanes, _stop) = start(&log, quick()).await;
    let section = || Section { header: header("p", Mark::Digest([7; 16])), ..lines("p", 0, 60, |i| noise(i, 100 << 10)) };
    let marks =
        |sections: Vec<Vec<Section<LogBatch>>>| -> Vec<Mark> { sections.into_iter().flatten().map(|s| s.header.mark).collect() };
    shipper.send(section()).await.unwrap().await.unwrap();
    let first = marks(log.sections());
    // In company the second time: the record's other sections must not move the cuts.
    let other = shipper.send(lines("q", 0, 3, |i| noise(i, 100 << 10))).await.unwrap();
    shipper.send(section()).await.unwrap().await.unwrap();
    other.await.unwrap();
    let again: Vec<Mark> =
        marks(log.sections()).into_iter().skip(first.len()).filter(|mark| matches!(mark, Mark::Digest(_))).collect();
    assert!(first.len() > 3);
    assert_eq!(first, again);
    let distinct: std::collections::HashSet<Mark> = first.iter().copied().collect();
    assert_eq!(distinct.len(), first.len());
}

#[tokio::test]
async fn spans_of_a_trace_meet_in_one_partition() {
    let log = TestLog::new(4);
    let (shipper, _lanes, _stop) = start(&log, quick()).await;
    let span = |i: u8| Span { trace_id: TraceId([i % 16 + 1; 16]), span_id: SpanId([i + 1; 8]), ..Span::default() };
    let batch = SpanBatch::new(Origin::default(), &(0..160).map(span).collect::<Vec<_>>());
    let section = Section::new(header("s", Mark::Digest([1; 16])), batch);
    shipper.send(section).await.unwrap().await.unwrap();
    let mut owner = std::collections::HashMap::new();
    let mut count = 0;
    for (partition, sections) in log.sections::<SpanBatch>().into_iter().enumerate() {
        for section in sections {
            for span in section.batch.spans.iter() {
                assert_eq!(*owner.entry(span.trace_id()).or_insert(partition), partition);
                count += 1;
            }
        }
    }
    assert_eq!((count, owner.len()), (160, 16));
}

#[tokio::test]
async fn a_huge_row_is_cut_by_columns_under_sources_of_their_own() {
    let log = TestLog::new(1);
    let (shipper, _lanes, _stop) = start(&log, quick()).await;
    let text = |i: u64| noise(i, 40).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let series: Vec<Labels> = (0..30_000).map(|i| Labels::from_pairs([("__name__", "m"), ("id", &text(i))])).collect();
    let rows = vec![MetricRow::new(1, (0..30_000).map(f64::from).collect())];
    let batch = MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::new(series, vec![])), rows };
    let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
    shipper.send(Section::new(header("m", mark), batch)).await.unwrap().await.unwrap();
    let sections: Vec<Section<MetricBatch>> = log.sections().into_iter().flatten().collect();
    let sources: std::collections::HashSet<String> = sections.iter().map(|s| s.header.source.clone()).collect();
    assert!(sections.len() > 1);
    assert_eq!(sources.len(), sections.len(), "{sources:?}");
    assert_eq!(sections.iter().map(|section| section.batch.records()).sum::<u64>(), 30_000);
}

#[tokio::test]
async fn what_cannot_be_encoded_is_refused_and_the_rest_goes_on() {
    let log = TestLog::new(1);
    let (shipper, _lanes, _stop) = start(&log, quick()).await;
    let nameless = shipper.send(lines("", 0, 1, |_| b"x".to_vec())).await.unwrap();
    let good = shipper.send(lines("a", 0, 1, |_| b"x".to_vec())).await.unwrap();
    assert!(matches!(nameless.await, Err(ShipError::Refused(_))));
    assert_eq!(good.await, Ok(()));
}

#[tokio::test]
async fn the_lanes_gauges_end_with_the_last_shipper() {
    let (shipper, _lanes, _stop) = start(&TestLog::new(2), quick()).await;
    let mut registry = Registry::default();
    shipper.register(&mut registry);
    let scrape = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let mut expected = BTreeSet::new();
    for topic in ["weir.logs", "weir.metrics", "weir.spans"] {
        for partition in 0..2 {
            for (name, value) in NAMES.into_iter().zip(["0.0", "16777216.0", "0.0"]) {
                expected.insert(format!("{name}{{topic=\"{topic}\",partition=\"{partition}\"}} {value}"));
            }
        }
    }
    assert_eq!(scrape(), expected);
    drop(shipper);
    assert_eq!(scrape(), BTreeSet::new());
}
