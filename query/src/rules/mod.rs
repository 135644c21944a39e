//! Prometheus rule files: parsed, evaluated on their interval, their alerts shown and posted to Alertmanager.

use parking_lot::RwLock;

/// Rules and their alerts, as last evaluated. Shared by the evaluation loop, which writes, and the HTTP API, which reads.
pub struct RuleSet {
    /// Names of the groups, in file order.
    groups: RwLock<Vec<String>>,
}

impl RuleSet {
    /// No rules at all.
    pub fn empty() -> Self {
        Self { groups: RwLock::new(Vec::new()) }
    }

    /// Names of the groups, in file order.
    pub fn group_names(&self) -> Vec<String> {
        self.groups.read().clone()
    }
}
