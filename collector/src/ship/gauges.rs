//! How every lane is doing, read at each scrape of the process's own `/metrics`: the only place where an outage of the bus shows its
//! back-pressure while it lasts.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::{LaneSenders, LaneState, Shipper};

/// Looks at lanes and does not keep them: they end with the last shipper, whoever goes on looking.
#[derive(Clone)]
pub struct LaneWatch(Weak<LaneSenders>);

impl LaneWatch {
    /// How each lane is doing, by topic and partition; none once they have ended.
    pub fn lanes(&self) -> Vec<LaneState> {
        self.0.upgrade().map(|lanes| lanes.states()).unwrap_or_default()
    }
}

#[derive(EncodeLabelSet)]
struct LaneLabels {
    topic: &'static str,
    partition: u32,
}

/// Bytes that wait, bytes that may, and for how long the record in flight has: also the names of the samples that a collector
/// ships of each topic.
pub(crate) const NAMES: [&str; 3] =
    ["weir_collector_queued_bytes", "weir_collector_queue_bytes_max", "weir_collector_unacknowledged_seconds"];

/// Help and value of a lane, in the order of [`NAMES`].
type Gauge = (&'static str, fn(&LaneState) -> f64);

const GAUGES: [Gauge; 3] = [
    ("What waits for the bus, in flight included", |lane| lane.queued_bytes as f64),
    ("Above it sources are made to wait", |lane| lane.queue_bytes_max as f64),
    ("How long the record in flight has waited", |lane| lane.waiting.unwrap_or_default().as_secs_f64()),
];

impl Shipper {
    /// Adds the lanes' gauges to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.watch()));
    }

    pub fn watch(&self) -> LaneWatch {
        LaneWatch(Arc::downgrade(&self.lanes))
    }
}

impl fmt::Debug for LaneWatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LaneWatch")
    }
}

impl Collector for LaneWatch {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let lanes = self.lanes();
        for (name, (help, value)) in NAMES.into_iter().zip(GAUGES) {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for lane in &lanes {
                let labels = LaneLabels { topic: lane.topic, partition: lane.partition };
                family.encode_family(&labels)?.encode_gauge(&value(lane))?;
            }
        }
        Ok(())
    }
}
