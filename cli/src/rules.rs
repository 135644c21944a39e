//! Rules: reads the files that the configuration names, and gives the loop a sink for the samples that rules make.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use weir_collector::ship::Shipper;
use weir_model::label::Labels;
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::wire::{Mark, Section, SectionHeader};
use weir_rules::{Recording, RuleFile, RuleOrigin, RuleSample, RuleSet, RulesConfig, SampleSink};
use xxhash_rust::xxh3::Xxh3;

use crate::Failure;
use crate::text::plain;

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
    RuleSet::load(&files, Recording::Allowed).map_err(|error| Failure::input(plain::error(&format!("rules.files: {error}"))))
}

/// Ships samples. Every query node evaluates every rule, at the same times: all their writes have one source and, for one
/// evaluation, one digest, so that the first is stored and the others are duplicates (docs/decisions/0096).
pub(crate) struct Sink {
    shipper: Shipper,
    tenant: String,
}

impl Sink {
    pub fn new(shipper: Shipper, tenant: String) -> Arc<Self> {
        Arc::new(Self { shipper, tenant })
    }
}

#[async_trait]
impl SampleSink for Sink {
    async fn write(&self, origin: &RuleOrigin, samples: Vec<RuleSample>) -> Result<(), String> {
        let mut by_time: std::collections::BTreeMap<i64, Vec<RuleSample>> = std::collections::BTreeMap::new();
        for sample in samples {
            by_time.entry(sample.timestamp_ms).or_default().push(sample);
        }
        let section = |(at, samples)| section(&self.tenant, digest(origin, at), at, samples);
        let sections = by_time.into_iter().map(section).collect();
        self.shipper.send_and_wait(sections, PATIENCE).await.map_err(|error| error.to_string())
    }
}

/// The same for the same evaluation on any node. Each text is preceded by its length, so that no two origins look alike.
fn digest(origin: &RuleOrigin, at_ms: i64) -> [u8; 16] {
    let mut hash = Xxh3::new();
    for text in [&origin.file, &origin.group] {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    for number in [origin.index as i64, origin.at_ms, at_ms] {
        hash.update(&number.to_le_bytes());
    }
    hash.digest128().to_be_bytes()
}

fn section(tenant: &str, digest: [u8; 16], at_ms: i64, samples: Vec<RuleSample>) -> Section<MetricBatch> {
    let values = samples.iter().map(|sample| sample.value).collect();
    let schema = Schema::new(samples.into_iter().map(|sample| sample.labels).collect(), Vec::new());
    let rows = vec![MetricRow { timestamp: at_ms.saturating_mul(1_000_000), values }];
    let header = SectionHeader { tenant: tenant.into(), source: "rules".into(), mark: Mark::Digest(digest), records: 0 };
    Section::new(header, MetricBatch { target: Labels::EMPTY, schema: Arc::new(schema), rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_has_one_digest_wherever_it_runs() {
        let origin = RuleOrigin { file: "a.yml".into(), group: "g".into(), index: 0, at_ms: 60_000 };
        assert_eq!(digest(&origin, 60_000), digest(&origin.clone(), 60_000));
        let others = [
            RuleOrigin { file: "a.ym".into(), group: "lg".into(), ..origin.clone() },
            RuleOrigin { index: 1, ..origin.clone() },
            RuleOrigin { at_ms: 75_000, ..origin.clone() },
        ];
        for other in others {
            assert_ne!(digest(&origin, 60_000), digest(&other, 60_000), "{other:?}");
        }
    }
}
