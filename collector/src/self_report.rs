//! The collector about itself, as samples on the bus: that it lives, and how shipping goes. So everyone who can query sees
//! every collector, and one that has gone silent, without knowing where it is.
//!
//! Not its own metrics (those are scraped from `/metrics`): only what the health of the path is made of.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_model::label::{Labels, NAME};
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use crate::epoch::Rows;
use crate::metrics::CollectorMetrics;
use crate::push::Clock;
use crate::ship::{LaneState, NAMES, Shipper};

const SOURCE: &str = "self_report";

/// Often enough for a page that somebody watches; a few hundred bytes each time.
const INTERVAL: Duration = Duration::from_secs(5);

/// A report that the bus has not acknowledged by then is given up: the next one has newer values of the same series.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) struct SelfReport {
    pub tenant: String,
    pub node: String,
    pub shipper: Shipper,
    pub metrics: CollectorMetrics,
    pub clock: Clock,
    pub rows: Rows,
    pub shutdown: CancellationToken,
}

impl SelfReport {
    /// Until shutdown.
    pub async fn run(mut self) {
        let schema = Arc::new(schema());
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.rows.try_again((self.clock)()).await;
            let mark = match self.rows.next((self.clock)()).await {
                Ok(mark) => mark,
                Err(_) => {
                    self.metrics.event(SOURCE, "epoch_not_written", 1);
                    continue;
                }
            };
            let section = self.section(mark, &schema);
            let sent = tokio::select! {
                () = self.shutdown.cancelled() => return,
                sent = self.shipper.send_and_wait(vec![section], PATIENCE) => sent,
            };
            if sent.is_err() {
                self.metrics.event(SOURCE, "sample_late", 1);
            }
        }
    }

    fn section(&self, mark: Mark, schema: &Arc<Schema>) -> Section<MetricBatch> {
        let target = Labels::from_pairs([("job", "weir-collector"), ("instance", &*self.node), ("node", &*self.node)]);
        let rows = vec![MetricRow::new((self.clock)(), values(&self.shipper.lanes()))];
        let source = format!("self_report:{}", self.node);
        let header = SectionHeader { tenant: self.tenant.clone(), source, mark, records: 0 };
        Section::new(header, MetricBatch { target, schema: Arc::clone(schema), rows })
    }
}

fn schema() -> Schema {
    let info = Labels::from_pairs([(NAME, "weir_collector_info"), ("version", env!("CARGO_PKG_VERSION"))]);
    let of_topic =
        Kind::ALL.into_iter().flat_map(|kind| NAMES.map(|name| Labels::from_pairs([(NAME, name), ("topic", kind.topic())])));
    Schema::new(std::iter::once(info).chain(of_topic).collect(), Vec::new())
}

/// One, then of each topic what [`NAMES`] names.
fn values(lanes: &[LaneState]) -> Vec<f64> {
    let mut values = vec![1.0];
    for kind in Kind::ALL {
        let of_kind = || lanes.iter().filter(move |lane| lane.topic == kind.topic());
        values.push(of_kind().map(|lane| lane.queued_bytes).sum::<u64>() as f64);
        values.push(of_kind().map(|lane| lane.queue_bytes_max).sum::<u64>() as f64);
        values.push(of_kind().filter_map(|lane| lane.waiting).max().unwrap_or_default().as_secs_f64());
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_series() {
        let lane = |kind: Kind, queued_bytes, waiting| LaneState {
            topic: kind.topic(),
            partition: 0,
            queued_bytes,
            queue_bytes_max: 100,
            waiting,
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let lanes = [lane(Kind::Logs, 10, seconds(2)), lane(Kind::Logs, 20, None), lane(Kind::Spans, 7, seconds(1))];
        let (schema, values) = (schema(), values(&lanes));
        assert_eq!(schema.series.len(), values.len());
        let value = |name: &str, topic: &str| {
            let at = schema.series.iter().position(|labels| labels.get(NAME) == name && labels.get("topic") == topic);
            values[at.unwrap()]
        };
        assert_eq!(value("weir_collector_info", ""), 1.0);
        assert_eq!(value("weir_collector_queued_bytes", "weir.logs"), 30.0);
        assert_eq!(value("weir_collector_queue_bytes_max", "weir.logs"), 200.0);
        assert_eq!(value("weir_collector_unacknowledged_seconds", "weir.logs"), 2.0);
        assert_eq!(value("weir_collector_queued_bytes", "weir.spans"), 7.0);
    }
}
