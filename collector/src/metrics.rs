//! The collector's own telemetry: counters for everything shipped and everything not shipped, with the reason.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use weir_model::outage::Outages;
use weir_model::usage::Usage;
use weir_model::wire::Kind;

/// Label `kind`: `logs`, `metrics`, `spans`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    kind: &'static str,
}

/// Label `reason`, and `source`: which part of the collector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    source: &'static str,
    reason: &'static str,
}

/// Tenants that have a label of their own. Whoever may name any tenant makes up as many as they like, and each would stay in memory and
/// in every scrape.
const TENANT_LABELS_MAX: usize = 1000;
/// Label of all other tenants.
const OTHER_TENANTS: &str = "other";

/// Label `reason`, and by which protocol (`source`) and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DropLabel {
    source: &'static str,
    tenant: String,
    reason: &'static str,
}

/// Of shipping.
#[derive(Clone, Debug, Default)]
pub struct ShipMetrics {
    records: Family<KindLabel, Counter>,
    bus_records: Family<KindLabel, Counter>,
    encoded_bytes: Family<KindLabel, Counter>,
    raw_bytes: Family<KindLabel, Counter>,
    retries: Family<KindLabel, Counter>,
    refused: Family<KindLabel, Counter>,
    /// Of the bus, and of the collector's own files.
    pub(crate) outages: Outages,
    /// What each tenant has sent.
    pub(crate) usage: Usage,
}

impl ShipMetrics {
    /// Tells these of what the bus refuses.
    pub fn telling(outages: Outages) -> Self {
        Self { outages, ..Self::default() }
    }

    /// Adds the counters to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let all = [
            ("records", "Log lines, metric values and spans that the bus has acknowledged", &self.records),
            ("bus_records", "Bus records acknowledged", &self.bus_records),
            ("encoded_bytes", "Bytes of bus records acknowledged", &self.encoded_bytes),
            ("raw_bytes", "Bytes of record bodies before compression", &self.raw_bytes),
            ("retries", "Appends that failed and were tried again", &self.retries),
            ("refused_sections", "Sections that cannot be encoded however they are split", &self.refused),
        ];
        for (name, help, family) in all {
            registry.register(format!("weir_collector_shipped_{name}"), help, family.clone());
        }
    }

    pub(crate) fn shipped(&self, kind: Kind, records: u64, encoded: usize, raw: usize) {
        let label = KindLabel { kind: kind.name() };
        self.records.get_or_create(&label).inc_by(records);
        self.bus_records.get_or_create(&label).inc();
        self.encoded_bytes.get_or_create(&label).inc_by(encoded as u64);
        self.raw_bytes.get_or_create(&label).inc_by(raw as u64);
    }

    pub(crate) fn retried(&self, kind: Kind) {
        self.retries.get_or_create(&KindLabel { kind: kind.name() }).inc();
    }

    pub(crate) fn refused(&self, kind: Kind) {
        self.refused.get_or_create(&KindLabel { kind: kind.name() }).inc();
    }

    /// Log lines, metric values or spans acknowledged so far.
    pub fn records_of(&self, kind: Kind) -> u64 {
        self.records.get_or_create(&KindLabel { kind: kind.name() }).get()
    }
}

/// Of all sources.
#[derive(Clone, Debug, Default)]
pub struct CollectorMetrics {
    /// Of shipping.
    pub ship: ShipMetrics,
    events: Family<ReasonLabel, Counter>,
    lost_bytes: Family<ReasonLabel, Counter>,
    dropped_records: Family<DropLabel, Counter>,
    /// Tenants that have a label in `dropped_records`. Held only to look one up or add it.
    labelled: Arc<Mutex<HashSet<String>>>,
    /// Bytes of log files read.
    pub(crate) file_bytes: Counter,
    /// Bytes that pushes hold in memory now.
    pub(crate) inflight_bytes: Gauge,
    /// Files followed now.
    pub(crate) files_open: Gauge,
    /// Bytes that rotated files pin now.
    pub(crate) pinned_bytes: Gauge,
}

impl CollectorMetrics {
    /// Tells these of what the bus and the collector's own files refuse.
    pub(crate) fn telling(outages: Outages) -> Self {
        Self { ship: ShipMetrics::telling(outages), ..Self::default() }
    }

    /// Adds everything to a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.ship.register(registry);
        registry.register("weir_collector_errors", "What was refused or mended, by source and reason", self.events.clone());
        registry.register("weir_collector_lost_bytes", "Bytes of sources that were lost, by reason", self.lost_bytes.clone());
        registry.register(
            "weir_collector_dropped_records",
            "Records of requests that were refused while the rest was taken, by protocol, tenant and reason",
            self.dropped_records.clone(),
        );
        registry.register("weir_collector_file_read_bytes", "Bytes read from log files", self.file_bytes.clone());
        registry.register("weir_collector_files_open", "Log files followed now", self.files_open.clone());
        registry.register(
            "weir_collector_push_inflight_bytes",
            "Bytes that requests hold in memory now",
            self.inflight_bytes.clone(),
        );
        registry.register(
            "weir_collector_pinned_bytes",
            "Bytes of rotated log files held until acknowledged",
            self.pinned_bytes.clone(),
        );
    }

    /// Counts something that was refused, mended or odd.
    pub(crate) fn event(&self, source: &'static str, reason: &'static str, count: u64) {
        self.events.get_or_create(&ReasonLabel { source, reason }).inc_by(count);
    }

    /// Counts a declared loss.
    pub fn lost(&self, source: &'static str, reason: &'static str, bytes: u64) {
        self.lost_bytes.get_or_create(&ReasonLabel { source, reason }).inc_by(bytes);
    }

    /// Counts records that a client was told are not taken.
    pub(crate) fn dropped(&self, source: &'static str, tenant: &str, reason: &'static str, records: u64) {
        if records > 0 {
            let tenant = self.tenant_label(tenant).to_owned();
            self.dropped_records.get_or_create(&DropLabel { source, tenant, reason }).inc_by(records);
        }
    }

    fn tenant_label<'a>(&self, tenant: &'a str) -> &'a str {
        let mut labelled = self.labelled.lock();
        if labelled.contains(tenant) {
            return tenant;
        }
        if labelled.len() >= TENANT_LABELS_MAX {
            return OTHER_TENANTS;
        }
        labelled.insert(tenant.to_owned());
        tenant
    }

    /// Records dropped so far.
    #[cfg(test)]
    pub(crate) fn dropped_of(&self, source: &'static str, tenant: &str, reason: &'static str) -> u64 {
        self.dropped_records.get_or_create(&DropLabel { source, tenant: tenant.to_owned(), reason }).get()
    }

    /// Bytes declared lost so far.
    pub fn lost_of(&self, source: &'static str, reason: &'static str) -> u64 {
        self.lost_bytes.get_or_create(&ReasonLabel { source, reason }).get()
    }

    /// How often an event was counted.
    pub fn events_of(&self, source: &'static str, reason: &'static str) -> u64 {
        self.events.get_or_create(&ReasonLabel { source, reason }).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_tenants_have_a_label_and_the_rest_one() {
        let metrics = CollectorMetrics::default();
        // Each comes back when all labels are taken.
        for i in (0..TENANT_LABELS_MAX + 10).chain(0..TENANT_LABELS_MAX + 10) {
            metrics.dropped("loki", &format!("tenant {i}"), "too_old", 1);
        }
        let dropped = |tenant: &str| metrics.dropped_of("loki", tenant, "too_old");
        assert_eq!((dropped("tenant 0"), dropped("tenant 999"), dropped(OTHER_TENANTS)), (2, 2, 20));
        let mut text = String::new();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let series = text.lines().filter(|line| line.starts_with("weir_collector_dropped_records_total{"));
        assert_eq!(series.count(), TENANT_LABELS_MAX + 1);
    }
}
