//! What the aggregator is given by its process.

use std::sync::Arc;

use object_store::ObjectStore;
use weir_blocks::blob::BlobCache;
use weir_blocks::manifest::NonceSource;
use weir_bus::Log;
use weir_model::limits::Limits;
use weir_model::time::UnixNanos;

use crate::metrics::Metrics;

/// Wall clock, passed in.
pub type Clock = Arc<dyn Fn() -> UnixNanos + Send + Sync>;

/// What the aggregator works with.
pub struct Dependencies {
    /// Where records come from.
    pub bus: Arc<dyn Log>,
    /// Where blocks and manifests go; probed by the caller.
    pub object_store: Arc<dyn ObjectStore>,
    /// Ranges of blocks that were read.
    pub cache: BlobCache,
    /// Wall clock.
    pub clock: Clock,
    /// Names of blocks.
    pub nonces: NonceSource,
    /// Counters; the caller registers them.
    pub metrics: Metrics,
    /// Static identity in the group, and the owner's URL in the manifests.
    pub member: String,
    /// Limits by tenant, of which retention is asked here.
    pub limits: Limits,
}
