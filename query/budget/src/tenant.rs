//! What one tenant's queries may take, of which the smaller counts beside what everybody's may.

use std::sync::Arc;

use weir_model::limits::QueryLimits;

/// Keys of a tenant in the file of overrides, for refusals.
pub(crate) const KEY_BYTES: &str = "query.bytes_max";
pub(crate) const KEY_RECORDS: &str = "query.records_max";
pub(crate) const KEY_RANGE: &str = "query.range_max";
pub(crate) const KEY_TIMEOUT: &str = "query.timeout";
pub(crate) const KEY_CONCURRENCY: &str = "query.concurrency";
pub(crate) const KEY_QUEUE: &str = "query.queue_max";

/// A tenant's limit.
#[derive(Clone, Debug)]
pub(crate) struct Of<T> {
    pub tenant: Arc<str>,
    pub limit: T,
}

/// The smallest that one of the tenants has.
pub(crate) fn smallest<T: Ord + Copy>(all: &[(Arc<str>, QueryLimits)], of: impl Fn(&QueryLimits) -> Option<T>) -> Option<Of<T>> {
    let limited = all.iter().filter_map(|(tenant, limits)| Some(Of { tenant: Arc::clone(tenant), limit: of(limits)? }));
    limited.min_by_key(|own| own.limit)
}
