//! Rules: reads the files that the configuration names, and gives the loop a sink for the samples that rules make.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use weir_aggregator::Clock;
use weir_collector::ship::Shipper;
use weir_model::label::Labels;
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::wire::{Body, Mark, Section, SectionHeader};
use weir_query::rules::{Recording, RuleFile, RuleSample, RuleSet, RulesConfig, SampleSink};

use crate::Failure;

/// Samples that the bus does not take within this are an error of the rule, and said so under `/api/v1/rules`.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads and checks all rule files.
pub(crate) fn load(config: &RulesConfig) -> Result<RuleSet, Failure> {
    let read = |name: &String| {
        let text =
            std::fs::read_to_string(Path::new(name)).map_err(|error| Failure::input(format!("rules.files: {name}: {error}")))?;
        Ok(RuleFile { name: name.clone(), text })
    };
    let files = config.files.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    RuleSet::load(&files, Recording::Allowed).map_err(|error| Failure::input(format!("rules.files: {error}")))
}

/// Ships samples as a source of this process's own.
pub(crate) struct Sink {
    shipper: Shipper,
    tenant: String,
    node: String,
    epoch: u64,
    writes: AtomicU64,
}

impl Sink {
    pub fn new(shipper: Shipper, tenant: String, node: String, clock: &Clock) -> Arc<Self> {
        let epoch = u64::try_from(clock()).unwrap_or(0);
        Arc::new(Self { shipper, tenant, node, epoch, writes: AtomicU64::new(0) })
    }
}

#[async_trait]
impl SampleSink for Sink {
    async fn write(&self, samples: Vec<RuleSample>) -> Result<(), String> {
        let mut by_time: std::collections::BTreeMap<i64, Vec<RuleSample>> = std::collections::BTreeMap::new();
        for sample in samples {
            by_time.entry(sample.timestamp_ms).or_default().push(sample);
        }
        let sections = by_time.into_iter().map(|(at, samples)| self.section(at, samples)).collect();
        self.shipper.send_and_wait(sections, PATIENCE).await.map_err(|error| error.to_string())
    }
}

impl Sink {
    fn section(&self, at_ms: i64, samples: Vec<RuleSample>) -> Section {
        // Groups write at the same time, so their order on the bus is not that of a sequence: each write is known by a
        // digest that no other has.
        let write = self.writes.fetch_add(1, Ordering::Relaxed);
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&self.epoch.to_le_bytes());
        digest[8..].copy_from_slice(&write.to_le_bytes());
        let values = samples.iter().map(|sample| sample.value).collect();
        let schema = Schema { series: samples.into_iter().map(|sample| sample.labels).collect(), families: Vec::new() };
        let rows = vec![MetricRow { timestamp: at_ms.saturating_mul(1_000_000), values }];
        let header = SectionHeader {
            tenant: self.tenant.clone(),
            source: format!("rules:{}", self.node),
            mark: Mark::Digest(digest),
            records: 0,
        };
        Section { header, body: Body::Metrics(MetricBatch { target: Labels::EMPTY, schema: Arc::new(schema), rows }) }
    }
}
