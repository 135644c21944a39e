//! What a record is about: which container of which pod on which node of which tenant.

use serde::{Deserialize, Serialize};

use crate::label::Labels;

/// The tenant of everything that is not told otherwise.
pub const TENANT_DEFAULT: &str = "default";

/// A resource's identity. An empty string means "not known" or "does not apply".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// Host name of the node.
    pub node: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes pod.
    pub pod: String,
    /// Container name, as its runtime or pod names it.
    pub container: String,
    /// Container id as its runtime writes it, in full.
    pub container_id: String,
    /// Image reference.
    pub image: String,
    /// Further labels: pod labels, `weir run --label`, container labels. Names are valid label names.
    pub labels: Labels,
}

impl Resource {
    /// The resource as a label set: the fixed fields that are known, then the labels (a fixed field wins).
    pub fn to_labels(&self) -> Labels {
        let fixed = [
            ("node", &self.node),
            ("namespace", &self.namespace),
            ("pod", &self.pod),
            ("container", &self.container),
            ("container_id", &self.container_id),
            ("image", &self.image),
        ];
        let free = self.labels.iter().filter(|(name, _)| !fixed.iter().any(|(fixed, value)| fixed == name && !value.is_empty()));
        let known = fixed.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, value.as_str()));
        Labels::from_pairs(free.chain(known))
    }
}
