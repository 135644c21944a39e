//! What a process may hold in memory: the sum of its limits, said once at its start and in `/metrics`, so that whoever gives it
//! memory (a unit, a pod) knows how much. The test below holds
//! what is shipped to it, `tests/src/ledger/storm.rs` a process.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use weir_access::Mode;
use weir_collector::remote_write_out::config::RemoteWriteConfig;
use weir_model::wire::{Kind, SCHEMAS_BYTES_MAX};

use crate::config::{BusKind, Config};
use crate::front::COMPRESSOR_BYTES;
use crate::text::units;

/// The program, its threads' stacks, what the allocator keeps, directories of opened blocks: measured at 20 MiB after a start and
/// 60 MiB after an hour.
const PROCESS_BYTES: u64 = 128 << 20;
/// A connection's buffers and tasks; idle ones were measured at 20 KiB.
const CONNECTION_BYTES: u64 = 64 << 10;

/// A TLS session: what it has encrypted and the network has not taken (64 KiB at most), what it reads a record into, its keys.
const TLS_BYTES: u64 = 128 << 10;

/// Which of weir's parts a process has.
#[derive(Clone, Copy, Default)]
pub(crate) struct Parts {
    pub collector: bool,
    pub aggregator: bool,
    pub query: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    limit: &'static str,
}

/// Says the limits of these parts, each by its key, and their sum.
pub(crate) fn declare(config: &Config, parts: Parts, registry: &mut Registry) {
    let gauges = Family::<Limit, Gauge>::default();
    let help = "Memory that this process may hold, by the limit that bounds it; the sum is what it needs at most";
    registry.register("weir_memory_limit_bytes", help, gauges.clone());
    let limits = limits(config, parts);
    for (limit, bytes) in &limits {
        gauges.get_or_create(&Limit { limit }).set(i64::try_from(*bytes).unwrap_or(i64::MAX));
    }
    let sum = limits.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let keys: Vec<String> = limits.iter().map(|(limit, bytes)| format!("{limit}: {}", units::bytes(*bytes))).collect();
    tracing::info!(total = units::bytes(sum), limits = keys.join(", "), "memory that this process may hold");
}

/// By key, bytes; a product beyond 64 bits is as large as that.
pub(crate) fn limits(config: &Config, parts: Parts) -> Vec<(&'static str, u64)> {
    let topics = Kind::ALL.len() as u64;
    let (partitions, bus) = match config.bus.kind {
        // The writer has its queue once more while it writes.
        BusKind::Disk => {
            let disk = &config.bus.disk;
            let partitions = u64::from(disk.partitions);
            let caches = (topics * partitions).saturating_mul(disk.cache_max.to_u64());
            (partitions, caches.saturating_add(disk.queue_max.to_u64().saturating_mul(2)))
        }
        BusKind::Kafka => (u64::from(config.bus.kafka.partitions), config.bus.kafka.queue_max.to_u64()),
    };
    let listeners = if parts.collector { 3 } else { 1 };
    let connection = CONNECTION_BYTES + if config.tls.is_on() { TLS_BYTES } else { 0 };
    let mut limits = vec![
        ("process", PROCESS_BYTES),
        ("front.connections_max", (listeners * connection).saturating_mul(config.front.connections_max as u64)),
        ("front.compressors_max", COMPRESSOR_BYTES.saturating_mul(config.front.compressors_max as u64)),
        ("bus", bus),
        ("schemas of samples", SCHEMAS_BYTES_MAX as u64),
        ("collector.ship.queue_max", (topics * partitions).saturating_mul(config.collector.ship.queue_max.to_u64())),
    ];
    if config.authorization.mode == Mode::Webhook {
        limits.push(("authorization.webhook.cache_max", config.authorization.webhook.cache_max.to_u64()));
    }
    if parts.collector {
        let of_receiver = |own: &RemoteWriteConfig| own.memory_bytes(partitions);
        let receivers = config.collector.remote_write.iter().map(of_receiver).fold(0, u64::saturating_add);
        if receivers > 0 {
            limits.push(("collector.remote_write", receivers));
        }
        limits.push(("collector.push.inflight_max", config.collector.push.inflight_max.to_u64()));
        limits.push(("collector.push.series_cache_max", config.collector.push.series_cache_max.to_u64()));
    }
    if parts.aggregator {
        limits.extend(config.aggregator.memory_bytes());
    }
    if parts.aggregator || parts.query {
        limits.push(("store.cache_max", config.store.cache_max.to_u64()));
        limits.push(("store.index_cache_max", config.store.index_cache_max.to_u64()));
    }
    if parts.query {
        limits.push(("store.chunk_cache_max", config.store.chunk_cache_max.to_u64()));
        limits.push(("query.memory_max", config.query.memory_max.to_u64()));
        if !parts.aggregator {
            let fanout = (config.query.concurrency as u64).saturating_mul(config.fanout.heads_memory_max.to_u64());
            limits.push(("query.concurrency × fanout.heads_memory_max", fanout));
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use weir_model::config::ByteSize;

    use super::*;

    /// The mebibytes of a line `MemoryMax=6G` or `memory: 6Gi`, the last of its kind in the file.
    fn allowed(file: &str, key: &str) -> u64 {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let value =
            text.lines().rfind(|line| line.trim_start().starts_with(key)).unwrap().trim_start().strip_prefix(key).unwrap();
        let (number, unit) = value.trim().split_at(value.trim().find(|sign: char| !sign.is_ascii_digit()).unwrap());
        number.parse::<u64>().unwrap() * if unit.starts_with('G') { 1024 } else { 1 }
    }

    #[test]
    fn a_sum_beyond_64_bits_is_as_large_as_that() {
        let mut config = Config::default();
        (config.aggregator.head_max, config.aggregator.seals_max) = (ByteSize::bytes(u64::MAX), usize::MAX);
        declare(&config, Parts { aggregator: true, ..Parts::default() }, &mut Registry::default());
        let limits = limits(&config, Parts { aggregator: true, ..Parts::default() });
        assert!(limits.contains(&("aggregator.seals_max × aggregator.head_max", u64::MAX)), "{limits:?}");
    }

    #[test]
    fn what_is_shipped_gives_each_role_the_memory_that_it_declares() {
        let config = |kind| {
            let mut config = Config::default();
            config.bus.kind = kind;
            config
        };
        let check = |what: &str, kind, parts: Parts, files: &[(&str, &str)]| {
            let declared: u64 = limits(&config(kind), parts).iter().map(|(_, bytes)| bytes >> 20).sum();
            for (file, key) in files {
                let allowed = allowed(file, key);
                assert!(declared <= allowed, "{what} may hold {declared} MiB, {file} allows {allowed}");
            }
        };
        let (unit, limit) = ("MemoryMax=", "memory:");
        let all = Parts { collector: true, aggregator: true, query: true };
        check("up", BusKind::Disk, all, &[("systemd/weir.service", unit)]);
        let collector = Parts { collector: true, ..Parts::default() };
        let files = [("systemd/weir-collector.service", unit), ("kubernetes/20-collector.yaml", limit)];
        check("a collector", BusKind::Kafka, collector, &files);
        let aggregator = Parts { aggregator: true, ..Parts::default() };
        let files = [("systemd/weir-aggregator.service", unit), ("kubernetes/30-aggregator.yaml", limit)];
        check("an aggregator", BusKind::Kafka, aggregator, &files);
        let files = [("systemd/weir-query.service", unit), ("kubernetes/40-query.yaml", limit)];
        check("a query node", BusKind::Kafka, Parts { query: true, ..Parts::default() }, &files);
    }
}
