//! Native batches → encoded → acknowledged by the embedded log → decoded → in the head. Limit: decoding the same bus records
//! alone. The batches are this machine's own sample (real names, labels and values), copied for many nodes.

use weir_model::metric::MetricBatch;
use weir_model::resource::TENANT_DEFAULT;
use weir_model::wire::{self, Kind, Limits, Mark, Section, SectionHeader};
use weir_runtime::samples::{NodeSampler, SamplerConfig};
use weir_tests::bench::path::{Aggregating, Collecting, clock, disk_bus};
use weir_tests::bench::run;
use weir_tests::bench::until;
use weir_tests::bench::watch::{Watch, mb, spent};

/// Nodes that the sample is copied for.
const NODES: usize = 32;

/// Samples in all, roughly.
const SAMPLES: u64 = 4_000_000;

/// Between two samples of a target.
const STEP: i64 = 15_000_000_000;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut sampler = NodeSampler::new(SamplerConfig::local("bench")).expect("this machine has cgroups");
    let targets = targets(&sampler.sample(clock()()));
    let series: u64 = targets.iter().map(|batch| batch.schema.series.len() as u64).sum();
    let rows = SAMPLES.div_ceil(series);
    let samples = rows * series;

    let bus = disk_bus(folder.path());
    let collecting = Collecting::start(bus.clone(), folder.path(), None).await;
    let sections: Vec<Vec<_>> = (0..rows).map(|row| targets.iter().map(|batch| section(batch, row)).collect()).collect();
    let watch = Watch::start();
    let shipper = collecting.collector.shipper();
    for section in sections.into_iter().flatten() {
        drop(shipper.send(section).await.expect("the shipper takes it"));
    }
    until("all samples are acknowledged", || bus.records() >= samples).await;
    let acknowledged = watch.spent();
    drop(shipper);

    let watch = Watch::start();
    let aggregating = Aggregating::start(bus.clone(), folder.path());
    aggregating.searchable(Kind::Metrics).await;
    let head = watch.spent();
    let in_head: u64 = aggregating.status(Kind::Metrics).iter().map(|status| status.head_records).sum();
    // What a collector says of itself is there as well.
    assert!((samples..samples + 1000).contains(&in_head), "each sample once: {in_head} of {samples}");

    let records = bus.values();
    let (limit, decoded) = spent(|| {
        let decoded =
            records.iter().map(|record| wire::decode::<MetricBatch>(record, &Limits::default()).expect("our own bytes"));
        let of_targets = |section: &&Section<MetricBatch>| section.header.source.starts_with("node:");
        let sections = decoded.map(|sections| sections.iter().filter(of_targets).count());
        sections.sum::<usize>()
    });
    assert_eq!(decoded as u64, rows * targets.len() as u64, "sections");
    println!(
        "samples: {:.2} M samples/s per core from batch to head ({:.2} to acknowledged, {:.2} from the bus to the head) \
         | limit: decoding alone {:.2} M samples/s per core | {samples} samples of {series} series, {} on the bus",
        samples as f64 / (acknowledged.cpu + head.cpu).as_secs_f64() / 1e6,
        acknowledged.per_core(samples) / 1e6,
        head.per_core(samples) / 1e6,
        limit.per_core(samples) / 1e6,
        mb(bus.bytes()),
    );
    collecting.end().await;
    aggregating.end().await;
}

/// One batch a job and node; the schema of a copy is shared between all of its rows, as a sampler's is.
fn targets(own: &[MetricBatch]) -> Vec<MetricBatch> {
    let copies = (0..NODES).flat_map(|node| own.iter().map(move |batch| (format!("node-{node}"), batch)));
    copies
        .map(|(node, batch)| MetricBatch { target: batch.target.with("instance", &node).with("node", &node), ..batch.clone() })
        .collect()
}

fn section(batch: &MetricBatch, row: u64) -> Section<MetricBatch> {
    let mut batch = batch.clone();
    for sample in &mut batch.rows {
        sample.timestamp += row as i64 * STEP;
        // Every other value moves, as counters of a machine that does something.
        sample.values.iter_mut().step_by(2).for_each(|value| *value += row as f64);
    }
    let source = format!("node:{}/{}", batch.target.get("node"), batch.target.get("job"));
    let mark = Mark::Sequence { epoch: 1, first: row, last: row + 1 };
    Section::new(SectionHeader { tenant: TENANT_DEFAULT.into(), source, mark, records: 0 }, batch)
}
