//! The bus's own metrics, of whichever implementation runs. Made once by the binary, registered, and passed in.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of a bus; clones share them.
#[derive(Clone, Debug, Default)]
pub struct BusMetrics {
    /// Records acknowledged.
    pub append_records: Counter,
    /// Bytes of acknowledged records.
    pub append_bytes: Counter,
    /// Records whose append was answered with an error; the caller still has them.
    pub append_errors: Counter,
    /// Time that appends waited for room.
    pub append_wait_seconds: Counter<f64, AtomicU64>,
    /// fdatasync calls of the disk log.
    pub fsyncs: Counter,
    /// Segments of the disk log that could not be opened for now; appends are refused until they can.
    pub segment_open_errors: Counter,
    /// Bytes of the disk log that nobody has released.
    pub unreleased_bytes: Gauge,
    /// Bytes that the disk log found damaged and set aside.
    pub quarantined_bytes: Counter,
    /// Records that the disk log lost to damage; declared to the consumer.
    pub lost_records: Counter,
    /// Bytes of torn tails that were cut off at start: never acknowledged.
    pub torn_bytes: Counter,
    /// Kafka producers that librdkafka gave up and that were replaced.
    pub producer_replacements: Counter,
    /// Times that a Kafka client knew no broker any more and was given those that are configured.
    pub rebootstraps: Counter,
    /// Records handed to consumers.
    pub consume_records: Counter,
}

impl BusMetrics {
    /// Registers all of them as `weir_bus_…`.
    pub fn register(&self, registry: &mut Registry) {
        let mut add =
            |name: &str, help: &str, counter: &Counter| registry.register(format!("weir_bus_{name}"), help, counter.clone());
        add("append_records", "Records acknowledged", &self.append_records);
        add("append_bytes", "Bytes of acknowledged records", &self.append_bytes);
        add("append_errors", "Records whose append failed; the caller keeps them", &self.append_errors);
        add("fsyncs", "fdatasync calls of the disk log", &self.fsyncs);
        add("segment_open_errors", "Segments that could not be opened; appends wait", &self.segment_open_errors);
        add("quarantined_bytes", "Damaged bytes that the disk log set aside", &self.quarantined_bytes);
        add("lost_records", "Records lost to damage and declared", &self.lost_records);
        add("torn_bytes", "Unacknowledged bytes cut off at start", &self.torn_bytes);
        add("producer_replacements", "Kafka producers given up after a fatal error and replaced", &self.producer_replacements);
        add("rebootstraps", "Kafka clients that knew no broker any more and were given them again", &self.rebootstraps);
        add("consume_records", "Records handed to consumers", &self.consume_records);
        registry.register("weir_bus_append_wait_seconds", "Time that appends waited for room", self.append_wait_seconds.clone());
        registry.register("weir_bus_unreleased_bytes", "Bytes that nobody has released", self.unreleased_bytes.clone());
    }
}
