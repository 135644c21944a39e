//! Readers for scopes of several tenants (`X-Scope-OrgID: a|b`), over readers of one: each tenant is read by itself, and what is found
//! of each has the label `__tenant_id__`, as in Loki and Mimir. A matcher on that label says which of the tenants are meant. A scope
//! of one tenant goes straight through, and its streams and series have no such label.
//!
//! Traces have no labels: a trace of one id in two tenants is one trace with the spans of both, as in Tempo.

mod logs;
mod metrics;
#[cfg(test)]
mod tests;
mod traces;

pub(crate) use logs::TenantsLogs;
pub(crate) use metrics::TenantsMetrics;
pub(crate) use traces::TenantsTraces;

use std::sync::Arc;

use weir_model::label::{Labels, Matcher};
use weir_model::scope::{Scope, TENANT_LABEL, TenantScope};
use weir_model::select::{Covered, ReadError};

/// Where a label of that name goes that was there already, as in Loki and Mimir.
const TENANT_LABEL_OF_BEFORE: &str = "original___tenant_id__";

/// Labels of a tenant among several.
fn with_tenant(labels: &Labels, tenant: &str) -> Labels {
    let before = labels.get(TENANT_LABEL);
    if before.is_empty() {
        return labels.with(TENANT_LABEL, tenant);
    }
    labels.with(TENANT_LABEL_OF_BEFORE, before).with(TENANT_LABEL, tenant)
}

/// Each tenant that the matchers mean, with a scope of its own; and the matchers that are left for its reader.
fn each(scope: &Scope, matchers: &[Matcher]) -> (Vec<(Arc<str>, Scope)>, Vec<Matcher>) {
    let (on_tenant, others): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|own| own.name == TENANT_LABEL);
    let is_meant = |own: &&TenantScope| on_tenant.iter().all(|matcher| matcher.matches(&own.tenant));
    let meant = scope.tenants().iter().filter(is_meant).map(|own| (Arc::clone(&own.tenant), own.clone().into()));
    let renamed = |matcher: &Matcher| {
        let mut own = matcher.clone();
        if own.name == TENANT_LABEL_OF_BEFORE {
            TENANT_LABEL.clone_into(&mut own.name);
        }
        own
    };
    (meant.collect(), others.into_iter().map(renamed).collect())
}

/// All that the tenants have, one after the other.
fn together<T>(
    tenants: Vec<(Arc<str>, Scope)>,
    mut read: impl FnMut(&str, Scope) -> Result<Covered<Vec<T>>, ReadError>,
) -> Result<Covered<Vec<T>>, ReadError> {
    let mut all = Covered::<Vec<T>>::default();
    for (tenant, scope) in tenants {
        let found = read(&tenant, scope)?;
        all.value.extend(found.value);
        all.coverage.merge(found.coverage);
    }
    Ok(all)
}
