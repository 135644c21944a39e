//! Bytes a sample of node and cgroup metrics takes on disk: 300 cgroups and a node for two hours at 15 s, sealed every
//! minute and merged, as the aggregator does it. Prints one line a figure. The series are made from a seed.
//!
//!     cargo run --release -p weir-metrics --example metrics_size      # BUSY=1: no cgroup rests

use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Engine, Head, Position};
use weir_metrics::MetricsEngine;
use weir_model::label::{Labels, NAME};
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

const CGROUPS: usize = 300;
const STEP_SECONDS: i64 = 15;
const ROWS: i64 = 480;

/// How a series behaves, as seen on real nodes.
enum Shape {
    /// Limits, info: never changes.
    Constant(f64),
    /// Counter that mostly rests: errors, OOM kills, restarts.
    Rare(u64),
    /// CPU time with a load of its own: in microseconds for cgroups, in hundredths for `/proc/stat`.
    Seconds { ticks: u64, load: f64, per_second: u64 },
    /// Bytes or packets that come in bursts.
    Bytes { total: u64, rate: f64 },
    /// Memory in whole pages, wandering.
    Pages { pages: i64, swing: i64 },
    /// A ratio or load average with two decimals.
    Ratio(f64),
}

impl Shape {
    fn next(&mut self, random: &mut StdRng) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Rare(count) => {
                *count += u64::from(random.random_bool(0.005));
                *count as f64
            }
            Self::Seconds { ticks, load, per_second } => {
                if *load > 0.0 {
                    *ticks += (*load * (STEP_SECONDS as u64 * *per_second) as f64 * random.random_range(0.7..1.3)) as u64;
                }
                *ticks as f64 / *per_second as f64
            }
            Self::Bytes { total, rate } => {
                *total += (*rate * random.random_range(0.0..2.0)) as u64;
                *total as f64
            }
            Self::Pages { pages, swing } => {
                if *swing > 0 && random.random_bool(0.5) {
                    *pages += random.random_range(-*swing..=*swing);
                }
                (*pages * 4096) as f64
            }
            Self::Ratio(value) => {
                *value = (*value + random.random_range(-0.05..0.05)).clamp(0.0, 8.0);
                (*value * 100.0).round() / 100.0
            }
        }
    }
}

/// Two thirds of the cgroups of a node rest, as on real ones: systemd slices, pause containers, idle services.
fn cgroup(index: usize, random: &mut StdRng) -> Vec<(Labels, Shape)> {
    let busy = index.is_multiple_of(3) || std::env::var_os("BUSY").is_some();
    let id = format!("/kubepods/burstable/pod{:016x}/{:016x}", random.random::<u64>(), random.random::<u64>());
    let mut series = Vec::new();
    let mut add = |name: &str, extra: &[(&str, &str)], shape: Shape| {
        let own = [(NAME, name), ("id", &id), ("namespace", ["default", "monitoring", "shop"][index % 3])];
        series.push((Labels::from_pairs(own.iter().chain(extra).copied()), shape));
    };
    // Loads of containers spread over decades: most of the busy ones hardly run, a few take half a core; all of them
    // together must fit the node's eight.
    let load = if busy { 10_f64.powf(random.random_range(-4.0..-0.3)) } else { 0.0 };
    for name in ["container_cpu_usage_seconds_total", "container_cpu_user_seconds_total", "container_cpu_system_seconds_total"] {
        add(name, &[], Shape::Seconds { ticks: random.random_range(0..1 << 38), load, per_second: 1_000_000 });
    }
    for name in ["container_memory_usage_bytes", "container_memory_working_set_bytes", "container_memory_rss"] {
        add(name, &[], Shape::Pages { pages: random.random_range(100..100_000), swing: if busy { 40 } else { 0 } });
    }
    for name in ["container_memory_failcnt", "container_oom_events_total", "weir_container_restarts_total"] {
        add(name, &[], Shape::Rare(0));
    }
    for (name, value) in [("container_spec_memory_limit_bytes", 536_870_912.0), ("container_spec_cpu_quota", 50_000.0)] {
        add(name, &[], Shape::Constant(value));
    }
    add("container_start_time_seconds", &[], Shape::Constant(1_769_000_000.0 + index as f64));
    add("container_last_seen", &[], Shape::Constant(1_769_900_000.0));
    for (name, kind) in [("container_fs_reads_bytes_total", "read"), ("container_fs_writes_bytes_total", "write")] {
        let rate = if busy && index.is_multiple_of(2) { load * 200_000.0 } else { 0.0 };
        add(name, &[("device", "/dev/sda"), ("op", kind)], Shape::Bytes { total: 1 << 30, rate });
    }
    for name in ["container_network_receive_bytes_total", "container_network_transmit_bytes_total"] {
        let rate = if busy { load * 2_000_000.0 } else { 0.0 };
        add(name, &[("interface", "eth0")], Shape::Bytes { total: 1 << 33, rate });
    }
    for resource in ["cpu", "memory", "io"] {
        let moves = busy && resource == "cpu";
        let shape = Shape::Seconds { ticks: 1 << 30, load: if moves { load / 10.0 } else { 0.0 }, per_second: 1_000_000 };
        add("container_pressure_waiting_seconds_total", &[("resource", resource)], shape);
    }
    series
}

fn node(random: &mut StdRng) -> Vec<(Labels, Shape)> {
    let mut series = Vec::new();
    for cpu in 0..8 {
        for mode in ["idle", "user", "system", "iowait", "irq", "nice", "softirq", "steal"] {
            let load = match mode {
                "idle" => 0.8,
                "user" => 0.15,
                "system" => 0.04,
                _ => 0.0,
            };
            let pairs = [(NAME, "node_cpu_seconds_total"), ("cpu", &cpu.to_string()), ("mode", mode)];
            series.push((
                Labels::from_pairs(pairs),
                Shape::Seconds { ticks: random.random_range(0..1 << 28), load, per_second: 100 },
            ));
        }
    }
    for i in 0..300 {
        let shape = match i % 6 {
            0 => Shape::Pages { pages: 100_000, swing: 300 },
            1 => Shape::Bytes { total: 1 << 34, rate: 2000.0 },
            2 => Shape::Rare(0),
            3 if i < 20 => Shape::Ratio(1.0),
            _ => Shape::Constant(0.0),
        };
        series.push((Labels::from_pairs([(NAME, format!("node_metric_{i}_total"))]), shape));
    }
    series
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut random = StdRng::seed_from_u64(3);
    let mut series = node(&mut random);
    (0..CGROUPS).for_each(|index| series.extend(cgroup(index, &mut random)));
    let schema = Arc::new(Schema::new(series.iter().map(|(labels, _)| labels.clone()).collect(), Vec::new()));
    let engine = MetricsEngine::default();
    let (mut blocks, mut small, mut head, mut inserting) = (Vec::new(), 0, engine.head(), 0.0);
    for i in 0..ROWS {
        let values = series.iter_mut().map(|(_, shape)| shape.next(&mut random)).collect();
        let timestamp = (1_770_000_000 + i * STEP_SECONDS) * 1_000_000_000 + 350_000_000;
        let target = Labels::from_pairs([("job", "cadvisor"), ("instance", "node-17"), ("node", "node-17")]);
        let batch = MetricBatch { target, schema: Arc::clone(&schema), rows: vec![MetricRow::new(timestamp, values)] };
        let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
        let header = SectionHeader { tenant: "default".into(), source: "node-17".into(), mark, records: 0 };
        let section = Section::new(header, batch);
        let start = Instant::now();
        head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section)?;
        inserting += start.elapsed().as_secs_f64();
        if i % 4 == 3 {
            for built in std::mem::replace(&mut head, engine.head()).build()? {
                let bytes = built.data.encode(Kind::Metrics);
                small += bytes.len();
                blocks.push(Arc::new(engine.open(Arc::new(MemoryBlob::new("small", bytes)))?));
            }
        }
    }
    let samples = series.len() as f64 * ROWS as f64;
    println!("{} series, {samples} samples, head insert {:.1} M samples/s", series.len(), samples / inserting / 1e6);
    println!("blocks of 1 minute: {:.3} B/sample", small as f64 / samples);
    let start = Instant::now();
    for built in engine.merge(&blocks)? {
        let bytes = built.data.encode(Kind::Metrics);
        println!("merged: {:.3} B/sample (budget 0.35) in {:.2} s", bytes.len() as f64 / samples, start.elapsed().as_secs_f64());
        for (name, section) in built.data.sections {
            println!("  {name}: {} B", section.len());
        }
    }
    Ok(())
}
