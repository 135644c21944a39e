//! How far every owned partition is, read at each scrape of the process's own `/metrics`.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use weir_model::status::OwnerStatus;

use crate::{Aggregator, PartitionLabels};

#[derive(Debug)]
struct Gauges(Arc<Aggregator>);

/// Name, help, and the value of a partition, if it has one.
type Gauge = (&'static str, &'static str, fn(&OwnerStatus) -> Option<u64>);

const QUARANTINED: &str = "weir_aggregator_quarantined_partitions";

const GAUGES: [Gauge; 9] = [
    ("weir_aggregator_lag_records", "Bus records that cannot be found yet, as far as the bus has said", |of| {
        Some(of.high_watermark.saturating_sub(of.indexed_offset))
    }),
    (
        "weir_aggregator_watermark_age_seconds",
        "For how long the bus has not said how far it is; absent before the first time",
        |of| of.bus_silent_seconds,
    ),
    (
        "weir_aggregator_unsealed_records",
        "Bus records that can be found and are not in blocks: a new owner reads them again",
        |of| Some(of.indexed_offset.saturating_sub(of.committed_offset)),
    ),
    ("weir_aggregator_head_bytes", "Memory of what is unsealed", |of| Some(of.head_bytes)),
    ("weir_aggregator_blocks", "Sealed blocks", |of| Some(of.blocks)),
    ("weir_aggregator_block_bytes", "Bytes of the sealed blocks", |of| Some(of.block_bytes)),
    ("weir_aggregator_downsampled_block_bytes", "Of those, bytes of blocks in which samples are downsampled", |of| {
        Some(of.downsampled_bytes.values().sum())
    }),
    ("weir_aggregator_unopened_blocks", "Sealed blocks that could not be opened; tried again at each tick", |of| {
        Some(of.blocks_unopened)
    }),
    (QUARANTINED, "Whether the partition is in quarantine: not served, and opened again and again", |of| {
        Some(u64::from(of.damage.is_some()))
    }),
];

impl Aggregator {
    /// Adds the owned partitions' gauges to a registry.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(Gauges(Arc::clone(self))));
    }
}

impl fmt::Debug for Aggregator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Aggregator")
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let partitions = self.0.status();
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            // Of one in quarantine nothing else is known.
            for of in partitions.iter().filter(|of| of.damage.is_none() || name == QUARANTINED) {
                let Some(value) = value(of) else { continue };
                let labels = PartitionLabels { topic: of.topic.clone(), partition: of.partition };
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}
