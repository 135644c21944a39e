//! What heads say they hold, against what this thread's allocations say: hostile sections, each through the wire, as a head
//! gets them.

use std::sync::Arc;

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Engine, Head, Position};
use weir_blocks::testing::{Counting, check_memory, held, labels, tenant};
use weir_model::label::{Labels, NAME};
use weir_model::metric::{Family, MetricBatch, MetricKind, MetricRow, Schema};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::MetricsEngine;

#[global_allocator]
static COUNTING: Counting = Counting;

fn metric_batch(target: Labels, series: Vec<Labels>, rows: i64, families: Vec<Family>) -> MetricBatch {
    let rows = (0..rows).map(|i| MetricRow { timestamp: i * 1_000_000, values: vec![0.5; series.len()] }).collect();
    MetricBatch { target, schema: Arc::new(Schema::new(series, families)), rows }
}

#[test]
fn a_metrics_head_says_what_it_holds() {
    let engine = MetricsEngine::default();
    let named = |i: u64| Labels::from_pairs([(NAME, format!("metric_{i}"))]);
    let run = |what: &str, count, make: &dyn Fn(u64) -> MetricBatch| {
        check_memory(what, &engine, count, |offset| (tenant(), make(offset)))
    };
    let job = || labels(2, 10, 0);
    run("scrapes", 20, &|_| metric_batch(job(), (0..500).map(named).collect(), 1, Vec::new()));
    run("rows of one series", 3, &|_| metric_batch(job(), vec![named(1)], 10_000, Vec::new()));
    run("distinct series", 5, &|offset| {
        metric_batch(job(), (0..500).map(|i| labels(10, 8, offset << 32 | i)).collect(), 1, Vec::new())
    });
    run("distinct names", 5, &|offset| {
        metric_batch(Labels::EMPTY, (0..1000).map(|i| named(offset << 32 | i)).collect(), 1, Vec::new())
    });
    run("label names", 20, &|offset| {
        let many = Labels::from_pairs((0..500).map(|i| (format!("l{offset}_{i}"), "v")));
        metric_batch(Labels::EMPTY, vec![many], 1, Vec::new())
    });
    run("a large target", 2, &|offset| metric_batch(labels(1, 50_000, offset), (0..200).map(named).collect(), 1, Vec::new()));
    run("families", 10, &|offset| {
        let family = |i: usize| Family {
            name: format!("f{offset}_{i}"),
            kind: MetricKind::Gauge,
            help: "h".repeat(i * 10),
            unit: "s".into(),
        };
        metric_batch(job(), vec![named(1)], 1, (0..200).map(family).collect())
    });
    run("sources", 2000, &|_| metric_batch(job(), vec![named(1)], 1, Vec::new()));
    check_memory("tenants", &engine, 500, |offset| {
        (format!("tenant {offset}"), metric_batch(job(), vec![named(1)], 1, Vec::new()))
    });
}

#[test]
fn a_series_takes_little_beside_its_schema_and_its_samples() {
    const SERIES: usize = 10_000;
    let own = |i: usize| {
        let (path, code) = (format!("/api/v1/resource{}/{{id}}", i / 5 % 32), ["200", "201", "400", "404", "500"][i % 5]);
        let method = ["GET", "POST", "PUT", "DELETE"][i / 160 % 4];
        Labels::from_pairs([(NAME, &*format!("requests_{}_total", i / 640)), ("code", code), ("method", method), ("path", &path)])
    };
    let target = Labels::from_pairs([("job", "spine"), ("instance", "127.0.0.1:8080")]);
    let batch = metric_batch(target, (0..SERIES).map(own).collect(), 1, Vec::new());
    let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
    let section = Section::new(SectionHeader { tenant: tenant(), source: "source".into(), mark, records: 0 }, batch);
    let engine = MetricsEngine::default();

    let before = held();
    let head = engine.head();
    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
    let of_head = (held() - before) / SERIES as i64 - 8;
    let built = head.build().unwrap().remove(0);
    let blob = Arc::new(MemoryBlob::new("metrics/0/memory", built.data.encode(Kind::Metrics)));
    let before = held();
    let block = engine.open(blob).unwrap();
    let of_block = (held() - before) / SERIES as i64;
    assert_eq!(block.series() as usize, SERIES);
    assert!(of_head < 90 && of_block < 40, "{of_head} bytes a series in a head, {of_block} in a block");
}
