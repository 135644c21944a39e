//! `[collector.otlp]`: what OTLP's metrics become. The keys are those of Prometheus' `otlp` section where it has them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::config::{ByteSize, duration};

/// What OTLP's metrics become.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// How metrics and labels are named.
    pub translation_strategy: Translation,
    /// Resource attributes that are labels of every series of their resource, and not of `target_info` alone.
    pub promote_resource_attributes: Vec<String>,
    /// Whether `target_info` has `service.name`, `service.namespace` and `service.instance.id`, which `job` and `instance` are made of.
    pub keep_identifying_resource_attributes: bool,
    /// Whether histograms with explicit bounds become native histograms with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// What becomes of values that begin anew with each export.
    pub delta: DeltaTemporality,
    /// A series whose deltas are summed is forgotten after so long without one, and begins anew with the next.
    #[serde(with = "duration")]
    pub delta_max_stale: Duration,
    /// Memory for the sums of deltas; a new series, or more buckets, for which there is no room are refused.
    pub delta_max: ByteSize,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            translation_strategy: Translation::default(),
            promote_resource_attributes: Vec::new(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            delta: DeltaTemporality::default(),
            // As the Collector's deltatocumulative; 64 MiB are some 100,000 counters.
            delta_max_stale: Duration::from_secs(300),
            delta_max: ByteSize::mib(64),
        }
    }
}

/// How names are made: whether letters that a classic name may not have become `_`, and whether unit and type are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Translation {
    #[default]
    UnderscoreEscapingWithSuffixes,
    NoUTF8EscapingWithSuffixes,
    UnderscoreEscapingWithoutSuffixes,
    NoTranslation,
}

impl Translation {
    pub(super) fn is_escaped(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes)
    }
}

/// What becomes of delta temporality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeltaTemporality {
    /// Rejected, with the reason.
    #[default]
    Reject,
    /// Summed in this collector's memory. All deltas of a series have to come to the same collector; after its restart sums begin at zero,
    /// which is a reset of a counter as any other.
    Cumulative,
    /// Kept as they are: series of no known type, and gauge histograms.
    Native,
}
