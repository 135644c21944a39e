//! How far every owned partition is, read at each scrape of the process's own `/metrics`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use weir_store::heads::OwnerStatus;

use crate::{Aggregator, PartitionLabels};

struct Gauges<S>(S);

/// Name, help, and the value of a partition, if it has one.
type Gauge = (&'static str, &'static str, fn(&OwnerStatus) -> Option<u64>);

const GAUGES: [Gauge; 6] = [
    ("weir_aggregator_lag_records", "Bus records that cannot be found yet, as far as the bus has said", |of| {
        Some(of.on_bus.saturating_sub(of.searchable))
    }),
    (
        "weir_aggregator_bus_silent_seconds",
        "For how long the bus has not said how far it is; absent before the first time",
        |of| of.bus_silent_seconds,
    ),
    (
        "weir_aggregator_unsealed_records",
        "Bus records that can be found and are not in blocks: a new owner reads them again",
        |of| Some(of.searchable.saturating_sub(of.sealed)),
    ),
    ("weir_aggregator_head_bytes", "Memory of what is unsealed", |of| Some(of.head_bytes)),
    ("weir_aggregator_blocks", "Sealed blocks", |of| Some(of.blocks)),
    ("weir_aggregator_block_bytes", "Bytes of the sealed blocks", |of| Some(of.block_bytes)),
];

impl Aggregator {
    /// Adds the owned partitions' gauges to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let (logs, metrics, traces) = (self.logs.clone(), self.metrics.clone(), self.traces.clone());
        registry.register_collector(Box::new(Gauges(move || [logs.status(), metrics.status(), traces.status()].concat())));
    }
}

impl<S> fmt::Debug for Gauges<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Gauges")
    }
}

impl<S: Fn() -> Vec<OwnerStatus> + Send + Sync + 'static> Collector for Gauges<S> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let partitions = (self.0)();
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for of in &partitions {
                let Some(value) = value(of) else { continue };
                let labels = PartitionLabels { topic: of.topic.clone(), partition: of.partition };
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}
