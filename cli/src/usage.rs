//! Usage by tenant, as this process counts it: on `/metrics`, and as series of weir's own tenant, out of which `GET /api/weir/v1/usage`
//! adds up all processes over any time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use weir_aggregator::Clock;
use weir_collector::ship::Shipper;
use weir_model::label::{Labels, NAME};
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::time::{SECOND, UnixNanos};
use weir_model::usage::{GAUGES, METRICS, STARTED, Usage};
use weir_model::wire::{Mark, Section, SectionHeader};
use xxhash_rust::xxh3::Xxh3;

use crate::config::Config;
use crate::service::build;

/// What the bus does not take within this is told the next time: counters only grow.
const PATIENCE: Duration = Duration::from_secs(4);

/// Adds the counters to a registry.
pub(crate) fn register(usage: &Usage, registry: &mut Registry) {
    registry.register_collector(Box::new(Exposed(usage.clone())));
}

struct Exposed(Usage);

impl fmt::Debug for Exposed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Exposed")
    }
}

impl Collector for Exposed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counted = self.0.all();
        let all: Vec<_> = counted.iter().map(|(tenant, usage)| (&**tenant, usage.figures())).collect();
        for (name, help) in METRICS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (tenant, figures) in &all {
                for figure in figures.iter().filter(|figure| figure.name == name) {
                    let mut labels = vec![("tenant", *tenant)];
                    labels.extend((!figure.signal.is_empty()).then_some(("signal", figure.signal)));
                    family.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, u64>(&figure.value, None)?;
                }
            }
        }
        for (name, help) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (tenant, usage) in &counted {
                for figure in usage.gauges().filter(|figure| figure.name == name) {
                    family.encode_family(&[("tenant", &**tenant)])?.encode_gauge(&figure.value)?;
                }
            }
        }
        Ok(())
    }
}

/// Ships the counters until it is ended.
pub(crate) struct Reporting {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

struct Report {
    shipper: Shipper,
    clock: Clock,
    tenant: String,
    /// Of the process from its start to its end: a counter that begins anew is another series, however soon it has grown beyond the old.
    target: Labels,
}

impl Reporting {
    /// `job`: the role of this process; there is one of each on a node.
    pub fn start(config: &Config, shipper: Shipper, clock: &Clock, job: &str) -> Self {
        let (target, stop) = (target(config, job, clock()), CancellationToken::new());
        let report = Report { shipper, clock: Arc::clone(clock), tenant: config.collector.tenant.clone(), target };
        let task = tokio::spawn(report.run(config.telemetry.usage_interval, stop.clone()));
        Self { task, stop }
    }

    /// Ships them once more.
    pub async fn end(self) {
        self.stop.cancel();
        let _panicked = self.task.await;
    }
}

fn target(config: &Config, job: &str, started: UnixNanos) -> Labels {
    let node = build::node_name(config);
    let instance = format!("{node}:{}", config.listen.port());
    let started = started.div_euclid(SECOND / 1000).to_string();
    Labels::from_pairs([("job", job), ("instance", &instance), ("node", &node), (STARTED, &started)])
}

impl Report {
    async fn run(self, interval: Duration, stop: CancellationToken) {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                () = stop.cancelled() => true,
                _ = tick.tick() => false,
            };
            let sections = self.section().into_iter().collect();
            if let Err(error) = self.shipper.send_and_wait(sections, PATIENCE).await {
                tracing::debug!(%error, "usage is told later");
            }
            if is_last {
                return;
            }
        }
    }

    /// `None` before anything is counted.
    fn section(&self) -> Option<Section<MetricBatch>> {
        let (mut series, mut values) = (Vec::new(), Vec::new());
        for (tenant, usage) in self.shipper.usage().all() {
            let growing = usage.figures().into_iter().map(|figure| (format!("{}_total", figure.name), figure));
            for (name, figure) in growing.chain(usage.gauges().map(|figure| (figure.name.to_owned(), figure))) {
                let labels = [(NAME, &*name), ("tenant", &*tenant), ("signal", figure.signal)];
                series.push(Labels::from_pairs(labels.into_iter().filter(|(_, value)| !value.is_empty())));
                values.push(figure.value);
            }
        }
        if series.is_empty() {
            return None;
        }
        let timestamp = (self.clock)();
        let mut hash = Xxh3::new();
        self.target.iter().for_each(|(name, value)| hash.update(format!("{name}={value},").as_bytes()));
        hash.update(&timestamp.to_le_bytes());
        let source = format!("usage:{}:{}", self.target.get("job"), self.target.get("instance"));
        let mark = Mark::Digest(hash.digest128().to_be_bytes());
        let header = SectionHeader { tenant: self.tenant.clone(), source, mark, records: 0 };
        let (schema, rows) = (Arc::new(Schema::new(series, Vec::new())), vec![MetricRow::new(timestamp, values)]);
        Some(Section::new(header, MetricBatch { target: self.target.clone(), schema, rows }))
    }
}

#[cfg(test)]
mod tests {
    use weir_model::usage::QueryCost;
    use weir_model::wire::Kind;

    use super::*;

    #[test]
    fn each_tenant_has_its_counters() {
        let (usage, mut registry) = (Usage::default(), Registry::default());
        register(&usage, &mut registry);
        usage.ingested("shop", Kind::Spans, 2, 300);
        usage.active("shop", Kind::Logs, [1, 2, 3].into_iter());
        usage.queried("bank", QueryCost { time: Duration::from_millis(500), records: 4, bytes: 0 });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE weir_usage_ingested_bytes counter",
            "weir_usage_ingested_bytes_total{tenant=\"shop\",signal=\"traces\"} 300.0",
            "weir_usage_ingested_records_total{tenant=\"shop\",signal=\"traces\"} 2.0",
            "# TYPE weir_usage_active_streams gauge",
            "weir_usage_active_streams{tenant=\"shop\"} 3.0",
            "weir_usage_queries_total{tenant=\"bank\"} 1.0",
            "weir_usage_query_seconds_total{tenant=\"bank\"} 0.5",
            "weir_usage_query_records_total{tenant=\"bank\"} 4.0",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is not in {text}");
        }
        let zeros = ["read_bytes_total{", "active_series{"];
        assert!(zeros.iter().all(|zero| !text.contains(zero)), "what is zero is not there: {text}");
    }

    #[tokio::test]
    async fn what_is_counted_is_told_as_series_of_weirs_own_tenant() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { data: folder.path().to_owned(), ..Config::default() };
        config.collector.tenant = "platform".into();
        let (mut registry, stop) = (Registry::default(), CancellationToken::new());
        let bus = build::open_bus(&config, &mut registry).unwrap();
        let (shipper, lanes) = build::start_shipper(&config, bus, &Default::default(), &mut registry, &stop).await.unwrap();
        config.node.name = "a".into();
        let [target, restarted] = [1_500_000_000, 1_501_000_000].map(|started| target(&config, "weir", started));
        assert!(target.get(STARTED) == "1500" && target != restarted, "{target} {restarted}");
        let report = Report { shipper, clock: Arc::new(|| 5), tenant: config.collector.tenant.clone(), target };
        assert!(report.section().is_none(), "nothing is counted");
        report.shipper.usage().ingested("shop", Kind::Logs, 2, 300);
        report.shipper.usage().active("shop", Kind::Metrics, [1, 2].into_iter());
        let section = report.section().unwrap();
        assert_eq!((&*section.header.tenant, &*section.header.source), ("platform", "usage:weir:a:9640"));
        let series: Vec<String> = section.batch.schema.series.iter().map(ToString::to_string).collect();
        assert_eq!(series.len(), 3, "{series:?}");
        assert!(series[0].contains("weir_usage_ingested_bytes_total") && series[0].contains("shop"), "{series:?}");
        assert!(series[2].contains("\"weir_usage_active_series\""), "{series:?}");
        assert_eq!(section.batch.rows[0].values.to_vec(), [300.0, 2.0, 2.0]);
        // At the end it is told once more, and what is told is durable.
        let (shipper, ending) = (report.shipper.clone(), CancellationToken::new());
        ending.cancel();
        report.run(Duration::from_secs(600), ending).await;
        let counted = shipper.usage().all();
        assert!(counted.iter().any(|(tenant, own)| &**tenant == "platform" && own.ingested[1].records >= 2), "{counted:?}");
        drop(shipper);
        lanes.join().await;
    }
}
