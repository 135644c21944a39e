//! What remote write out counts of each receiver.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiverLabel {
    remote_name: String,
}

/// The receiver, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabel {
    remote_name: String,
    reason: &'static str,
}

/// Of all receivers.
#[derive(Clone, Default)]
pub(super) struct RemoteMetrics {
    samples: Family<ReceiverLabel, Counter>,
    histograms: Family<ReceiverLabel, Counter>,
    exemplars: Family<ReceiverLabel, Counter>,
    metadata: Family<ReceiverLabel, Counter>,
    bytes: Family<ReceiverLabel, Counter>,
    retried: Family<ReceiverLabel, Counter>,
    dropped: Family<DropLabel, Counter>,
    dropped_records: Family<DropLabel, Counter>,
    pending_records: Family<ReceiverLabel, Gauge>,
    queue_bytes: Family<ReceiverLabel, Gauge>,
    newest: Family<ReceiverLabel, Gauge<f64, AtomicU64>>,
}

/// Of one receiver.
#[derive(Clone)]
pub(super) struct ReceiverMetrics {
    name: String,
    dropped: Family<DropLabel, Counter>,
    dropped_records: Family<DropLabel, Counter>,
    pub samples: Counter,
    pub histograms: Counter,
    pub exemplars: Counter,
    pub metadata: Counter,
    pub bytes: Counter,
    pub retried: Counter,
    pub pending_records: Gauge,
    pub newest: Gauge<f64, AtomicU64>,
}

impl RemoteMetrics {
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("samples", "Samples that the receiver has acknowledged, histograms aside", &self.samples),
            ("histograms", "Native histograms that the receiver has acknowledged", &self.histograms),
            ("exemplars", "Exemplars that the receiver has acknowledged", &self.exemplars),
            ("metadata", "Metric families whose metadata the receiver has acknowledged", &self.metadata),
            ("bytes", "Bytes of acknowledged requests, compressed", &self.bytes),
            ("samples_retried", "Samples and histograms of requests that failed and were sent again", &self.retried),
        ];
        for (name, help, family) in counters {
            registry.register(format!("weir_collector_remote_storage_{name}"), help, family.clone());
        }
        let help = "Samples and histograms that were given up, by reason";
        registry.register("weir_collector_remote_storage_samples_dropped", help, self.dropped.clone());
        let help = "Records of the bus that were given up before they were read for a receiver, by reason";
        registry.register("weir_collector_remote_storage_records_dropped", help, self.dropped_records.clone());
        let help = "Records of the bus that wait for the receiver";
        registry.register("weir_collector_remote_storage_pending_records", help, self.pending_records.clone());
        let help = "Bytes of records that wait for the receiver, on disk";
        registry.register("weir_collector_remote_storage_queue_bytes", help, self.queue_bytes.clone());
        let help = "Time of the newest sample that the receiver has acknowledged";
        registry.register("weir_collector_remote_storage_newest_sample_timestamp_seconds", help, self.newest.clone());
    }

    /// `queue_bytes`: of its queue.
    pub fn of(&self, name: &str) -> ReceiverMetrics {
        let label = ReceiverLabel { remote_name: name.to_owned() };
        ReceiverMetrics {
            name: name.to_owned(),
            dropped: self.dropped.clone(),
            dropped_records: self.dropped_records.clone(),
            samples: self.samples.get_or_create_owned(&label),
            histograms: self.histograms.get_or_create_owned(&label),
            exemplars: self.exemplars.get_or_create_owned(&label),
            metadata: self.metadata.get_or_create_owned(&label),
            bytes: self.bytes.get_or_create_owned(&label),
            retried: self.retried.get_or_create_owned(&label),
            pending_records: self.pending_records.get_or_create_owned(&label),
            newest: self.newest.get_or_create_owned(&label),
        }
    }

    /// The gauge that the queue of a receiver keeps itself.
    pub fn queue_bytes(&self, name: &str) -> Gauge {
        self.queue_bytes.get_or_create_owned(&ReceiverLabel { remote_name: name.to_owned() })
    }
}

impl ReceiverMetrics {
    pub fn dropped(&self, reason: &'static str, samples: u64) {
        if samples > 0 {
            self.dropped.get_or_create(&self.label(reason)).inc_by(samples);
        }
    }

    pub fn dropped_records(&self, reason: &'static str, records: u64) {
        if records > 0 {
            self.dropped_records.get_or_create(&self.label(reason)).inc_by(records);
        }
    }

    fn label(&self, reason: &'static str) -> DropLabel {
        DropLabel { remote_name: self.name.clone(), reason }
    }

    /// Samples given up so far.
    #[cfg(test)]
    pub fn dropped_of(&self, reason: &'static str) -> u64 {
        self.dropped.get_or_create(&self.label(reason)).get()
    }

    #[cfg(test)]
    pub fn dropped_records_of(&self, reason: &'static str) -> u64 {
        self.dropped_records.get_or_create(&self.label(reason)).get()
    }
}
