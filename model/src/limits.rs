//! Limits by tenant: what the file of overrides says, merged, and the handle by which all parts of a process look them up. Pure;
//! the binary reads the file and reads it again when it changes.
//!
//! - [`tenant`]: the limits of one tenant, and what is wrong with them.
//!
//! A limit that is not set is none: what the configuration bounds for the whole process holds for everybody.

mod tenant;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

pub use tenant::{
    IngestionLimits, LabelLimits, LogLimits, MetricLimits, QueryLimits, RetentionStream, TenantLimits, TraceLimits,
    check_downsampling_age, is_never_finer,
};

/// A file of overrides as it is written: `[defaults]`, and `[tenants."shop"]` with what is different there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OverridesFile {
    pub defaults: TenantLimits,
    pub tenants: BTreeMap<String, TenantLimits>,
}

/// The limits of every tenant.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    defaults: Arc<TenantLimits>,
    tenants: BTreeMap<String, Arc<TenantLimits>>,
}

impl TryFrom<OverridesFile> for Overrides {
    type Error = String;

    /// Errors with the path of the key that is wrong, and why.
    fn try_from(file: OverridesFile) -> Result<Self, String> {
        file.defaults.check().map_err(|error| format!("defaults.{error}"))?;
        let mut tenants = BTreeMap::new();
        for (tenant, limits) in file.tenants {
            // Merged first: a burst may be the tenant's and its rate the default.
            let limits = limits.or(&file.defaults);
            limits.check().map_err(|error| format!("tenants.{tenant:?}.{error}"))?;
            tenants.insert(tenant, Arc::new(limits));
        }
        Ok(Self { defaults: Arc::new(file.defaults), tenants })
    }
}

impl Overrides {
    /// Of a tenant that the file names, with the defaults where it says nothing; else the defaults.
    pub fn of(&self, tenant: &str) -> Arc<TenantLimits> {
        Arc::clone(self.tenants.get(tenant).unwrap_or(&self.defaults))
    }

    /// Tenants that the file names, in the order of their names.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = (&str, &TenantLimits)> {
        self.tenants.iter().map(|(tenant, limits)| (tenant.as_str(), &**limits))
    }
}

/// The limits in force. Clones share them; without a file nobody has any.
#[derive(Clone, Debug, Default)]
pub struct Limits(Arc<RwLock<Arc<Overrides>>>);

impl Limits {
    pub fn new(overrides: Overrides) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(overrides))))
    }

    /// Of one tenant, now. Cheap: a request asks once.
    pub fn of(&self, tenant: &str) -> Arc<TenantLimits> {
        self.current().of(tenant)
    }

    pub fn current(&self) -> Arc<Overrides> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these are in force.
    pub fn replace(&self, overrides: Overrides) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(overrides);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::ByteSize;

    fn file(json: &str) -> Result<Overrides, String> {
        serde_json::from_str::<OverridesFile>(json).map_err(|error| error.to_string())?.try_into()
    }

    #[test]
    fn a_tenant_has_the_defaults_where_it_says_nothing() {
        let overrides = file(
            r#"{"defaults": {"logs": {"ingestion": {"rate": "4MiB", "burst": "6MiB"}, "retention": "7d",
                    "retention_stream": [{"selector": "{a=\"b\"}", "period": "1d"}]}, "query": {"concurrency": 4}},
                "tenants": {"shop": {"logs": {"ingestion": {"rate": "1MiB"}, "streams_max": 10}},
                            "bank": {"logs": {"retention_stream": []}, "labels": {"count_max": 9}}}}"#,
        )
        .unwrap();
        let (shop, bank, other) = (overrides.of("shop"), overrides.of("bank"), overrides.of("other"));
        let rates = |limits: &TenantLimits| (limits.logs.ingestion.rate, limits.logs.ingestion.burst);
        assert_eq!(rates(&shop), (Some(ByteSize::mib(1)), Some(ByteSize::mib(6))));
        assert_eq!(rates(&other), (Some(ByteSize::mib(4)), Some(ByteSize::mib(6))));
        assert_eq!((shop.logs.streams_max, bank.logs.streams_max, shop.query.concurrency), (Some(10), None, Some(4)));
        assert_eq!((shop.logs.retention_streams().len(), bank.logs.retention_streams().len()), (1, 0));
        assert_eq!((bank.logs.retention, bank.labels.count_max), (Some(Duration::from_secs(7 * 86_400)), Some(9)));
        assert_eq!(overrides.tenants().map(|(tenant, _)| tenant).collect::<Vec<_>>(), ["bank", "shop"]);
    }

    #[test]
    fn each_signal_has_bytes_of_its_own() {
        let overrides = file(
            r#"{"defaults": {"logs": {"retention_bytes": "4GiB"}, "metrics": {"retention_bytes": "5GiB"}, "traces": {"retention_bytes": "6GiB"}},
                "tenants": {"shop": {"metrics": {"retention_bytes": "1MiB"}}}}"#,
        )
        .unwrap();
        let of = |tenant: &str| {
            let limits = overrides.of(tenant);
            [limits.logs.retention_bytes, limits.metrics.retention_bytes, limits.traces.retention_bytes].map(Option::unwrap)
        };
        assert_eq!(of("shop"), [ByteSize::gib(4), ByteSize::mib(1), ByteSize::gib(6)]);
        assert_eq!(of("bank"), [4, 5, 6].map(ByteSize::gib));
    }

    #[test]
    fn what_is_replaced_is_in_force_for_all_who_look() {
        let limits = Limits::default();
        let (other, before) = (limits.clone(), limits.of("shop"));
        limits.replace(file(r#"{"tenants": {"shop": {"metrics": {"series_max": 5}}}}"#).unwrap());
        assert_eq!((other.of("shop").metrics.series_max, before.metrics.series_max), (Some(5), None));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let check = |json: &str, expected: &str| {
            let error = file(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        };
        let shop = |limits: &str| format!(r#"{{"tenants": {{"shop": {limits}}}}}"#);
        check(
            &shop(r#"{"logs": {"ingestion": {"rate": "0B"}}}"#),
            "tenants.\"shop\".logs.ingestion.rate: must be above 0: leave it out for no limit",
        );
        check(&shop(r#"{"traces": {"ingestion": {"burst": "1MiB"}}}"#), "tenants.\"shop\".traces.ingestion.burst: needs rate");
        check(
            &shop(r#"{"metrics": {"ingestion": {"records_burst": 1}}}"#),
            "metrics.ingestion.records_burst: needs records_rate",
        );
        check(r#"{"defaults": {"query": {"concurrency": 0}}}"#, "defaults.query.concurrency: must be above 0");
        check(r#"{"defaults": {"query": {"timeout": "0s"}}}"#, "defaults.query.timeout: must be above 0");
        check(
            r#"{"defaults": {"metrics": {"resolution_1h_after": "30m"}}}"#,
            "defaults.metrics.resolution_1h_after: must be at least 2h, or 0s for never",
        );
        let sooner = "resolution_1h_after: must be longer than metrics.resolution_5m_after";
        check(&shop(r#"{"metrics": {"resolution_5m_after": "30d", "resolution_1h_after": "7d"}}"#), sooner);
        // Together with what the defaults say.
        check(
            r#"{"defaults": {"metrics": {"resolution_1h_after": "7d"}},
                "tenants": {"shop": {"metrics": {"resolution_5m_after": "7d"}}}}"#,
            &format!("tenants.\"shop\".metrics.{sooner}"),
        );
        for signal in ["logs", "metrics", "traces"] {
            let zero = format!(r#"{{"defaults": {{"{signal}": {{"retention_bytes": "0B"}}}}}}"#);
            check(&zero, &format!("defaults.{signal}.retention_bytes: must be above 0: leave it out for no limit"));
        }
        check(r#"{"defaults": {"logs": {"stream_max": 1}}}"#, "unknown field `stream_max`");
        check(r#"{"defaults": {"metrics": {"streams_max": 1}}}"#, "unknown field `streams_max`");
        check(r#"{"default": {}}"#, "unknown field `default`");
        let streams = |stream: &str| format!(r#"{{"defaults": {{"logs": {{"retention_stream": [{stream}]}}}}}}"#);
        check(&streams(r#"{"selector": "a=1", "period": "1d"}"#), "expected {name=");
        check(&streams(r#"{"selector": "{}", "period": "1d"}"#), "at least one matcher");
        check(&streams(r#"{"selector": "{a=~\"(\"}", "period": "1d"}"#), "unclosed group");
        check(&streams(r#"{"selector": "{a=\"b\"}"}"#), "missing field `period`");
    }
}
