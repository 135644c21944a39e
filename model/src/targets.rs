//! What is scraped, as the collector that scrapes it knows it: for Prometheus' `targets` and what goes with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::label::Labels;
use crate::metric::Schema;
use crate::time::UnixNanos;

/// Tells of the targets of one collector. Cheap enough to be asked by every open page.
pub trait ScrapeTargets: Send + Sync {
    /// Whose samples are.
    fn tenant(&self) -> &str;
    /// Jobs, in the order of the configuration.
    fn pools(&self) -> Vec<String>;
    /// By job and labels.
    fn active(&self) -> Vec<ScrapeTarget>;
    /// Targets that relabelling has dropped; of a job with very many, some of them.
    fn dropped(&self) -> Vec<DroppedTarget>;
    /// How many were dropped, by job.
    fn dropped_counts(&self) -> BTreeMap<String, u64>;
    /// The configuration in Prometheus' YAML, with `<secret>` in the place of what is secret.
    fn config(&self) -> String;
    /// The same of one job; `None` where there is no such job.
    fn pool_config(&self, pool: &str) -> Option<String>;
    /// What each of a job's relabelling rules makes of a label set; `None` where there is no such job.
    fn relabel(&self, pool: &str, labels: BTreeMap<String, String>) -> Option<Vec<RelabelStep>>;
}

/// A target that is scraped.
#[derive(Clone, Debug)]
pub struct ScrapeTarget {
    /// The name of its job in the configuration.
    pub pool: String,
    /// Before relabelling, `__address__` and the like among them.
    pub discovered: Labels,
    /// Those that its series have.
    pub labels: Labels,
    /// What is asked, parameters included.
    pub url: String,
    pub interval: Duration,
    pub timeout: Duration,
    /// `None` before the first scrape.
    pub last: Option<LastScrape>,
}

/// A scrape that has ended.
#[derive(Clone, Debug)]
pub struct LastScrape {
    pub at: UnixNanos,
    pub seconds: f64,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// With the metadata of what the target has.
    pub schema: Arc<Schema>,
}

/// A target that relabelling has dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedTarget {
    pub pool: String,
    pub discovered: Labels,
}

/// One relabelling rule and what is left behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct RelabelStep {
    /// As it would be written in the configuration.
    pub rule: serde_json::Value,
    /// Empty from where the target is dropped on.
    pub output: BTreeMap<String, String>,
    pub keep: bool,
}
