//! Prometheus alerting rule files.

/// Rules and their alerts, as last evaluated.
pub struct RuleSet;
