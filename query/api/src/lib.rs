//! The HTTP APIs, one file each, as routes that say what they need: a handler answers for the scope that its caller was granted, and
//! nothing here names a tenant.
//!
//! - `prometheus`: `/api/v1/*`
//! - `loki`: `/loki/api/v1/*` (push is the collector's)
//! - `tempo`: `/tempo/*`; `jaeger`: `/jaeger/*`
//! - `weir`: `/api/weir/v1/*`, for the page and the command line. Shapes: `docs/api.md`; `status` is what the
//!   aggregator tells it.
//!
//! What several share: `call` (a request's turn, and what its tenants may take), `params` (query string and form), `reply` (an answer's text, within the budget), `coverage_header`,
//! `outage_header` (that new records are not stored), `error` (errors as HTTP status), `revalidate` (304 for who has the answer),
//! `deletions` (requests to delete), `live` (tails), `tenants` (readers for scopes of several tenants), `metrics` (counters of them all); of the trace APIs: `trace_search`, `logfmt` (tags), `values` (attributes), `causal` (the lines of one in causal order).

mod call;
mod causal;
pub(crate) mod coverage_header;
mod deletions;
pub(crate) mod error;
pub mod jaeger;
pub(crate) mod live;
pub(crate) mod logfmt;
pub mod loki;
pub mod metrics;
mod outage_header;
pub(crate) mod params;
pub mod prometheus;
pub(crate) mod reply;
mod revalidate;
pub mod tempo;
mod tenants;
#[cfg(test)]
mod tests;
pub(crate) mod trace_search;
pub(crate) mod values;
pub mod weir;

use std::sync::Arc;

use tenants::{TenantsLogs, TenantsMetrics, TenantsTraces};
use tokio::sync::Semaphore;
use weir_access::{Needs, Routes, Telemetry, Verb};
use weir_budget::{Load, QueryConfig};
use weir_model::deletion::Deletions;
use weir_model::label::Labels;
use weir_model::limits::Limits;
use weir_model::scope::Scope;
use weir_model::select::{LogReader, MetricReader, TraceReader};
use weir_model::status;
use weir_model::targets::ScrapeTargets;
use weir_model::time::UnixNanos;
use weir_model::usage::{StoredUsage, Usage};

/// What every handler works with.
pub struct Api {
    /// Logs.
    pub logs: Arc<dyn LogReader>,
    /// Metrics.
    pub metrics: Arc<dyn MetricReader>,
    /// Traces.
    pub traces: Arc<dyn TraceReader>,
    /// Limits.
    pub config: QueryConfig,
    /// Rules and their alerts, as last evaluated.
    pub rules: Arc<weir_rules::RuleSet>,
    /// What queries share.
    load: Load,
    /// Where usage is kept: the series of weir's own tenant. `None` where it is not kept.
    pub(crate) usage_scope: Option<Scope>,
    /// What is stored of each tenant. `None` where nobody knows.
    pub(crate) stored: Option<Arc<dyn StoredUsage>>,
    /// Places of live tails.
    pub(crate) tails: Arc<Semaphore>,
    /// When a tail is given up.
    pub(crate) tail_timing: live::Timing,
    /// How the APIs are doing.
    pub(crate) counters: metrics::HttpMetrics,
    /// Where each partition stands.
    pub(crate) path: Arc<dyn status::PathStatus>,
    /// What cannot be written now.
    pub(crate) outages: status::OutagesStatus,
    pub(crate) remote_writes: status::RemoteWritesStatus,
    /// What this process scrapes. `None` where it scrapes nothing.
    pub(crate) targets: Option<Arc<dyn ScrapeTargets>>,
    /// Of what is federated.
    pub(crate) external_labels: Labels,
    /// Who deletes.
    pub(crate) deletions: Arc<dyn Deletions>,
    /// The time, for "the last hour".
    pub(crate) clock: fn() -> UnixNanos,
    /// When this service started.
    pub(crate) started: UnixNanos,
}

fn system_clock() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Api {
    /// Puts the readers, of one tenant at a time, behind the limits.
    pub fn new(
        logs: Arc<dyn LogReader>,
        metrics: Arc<dyn MetricReader>,
        traces: Arc<dyn TraceReader>,
        config: QueryConfig,
        rules: Arc<weir_rules::RuleSet>,
    ) -> Self {
        let (tails, path) = (Arc::new(Semaphore::new(config.tails_max)), Arc::new(status::NoPath));
        let (clock, started, counters) = (system_clock as fn() -> UnixNanos, system_clock(), metrics::HttpMetrics::default());
        let load = Load::new(&config, counters.load.clone());
        let tail_timing = live::Timing::within(config.tail_silence);
        Self {
            logs: Arc::new(TenantsLogs(logs)),
            metrics: Arc::new(TenantsMetrics(metrics)),
            traces: Arc::new(TenantsTraces(traces)),
            config,
            rules,
            load,
            usage_scope: None,
            stored: None,
            tails,
            tail_timing,
            counters,
            path,
            outages: Arc::new(Vec::new),
            remote_writes: Arc::new(Vec::new),
            targets: None,
            external_labels: Labels::EMPTY,
            deletions: Arc::new(deletions::NoDeletions),
            clock,
            started,
        }
    }

    /// Answers `/api/weir/v1/status` with what the aggregator knows.
    pub fn with_status(mut self, path: Arc<dyn status::PathStatus>) -> Self {
        self.path = path;
        self
    }

    /// Tells of these targets.
    pub fn with_targets(self, targets: Arc<dyn ScrapeTargets>) -> Self {
        Self { targets: Some(targets), ..self }
    }

    /// Adds these to series that are federated and have no labels of such names.
    pub fn with_external_labels(self, external_labels: Labels) -> Self {
        Self { external_labels, ..self }
    }

    /// Takes requests to delete.
    pub fn with_deletions(self, deletions: Arc<dyn Deletions>) -> Self {
        Self { deletions, ..self }
    }

    /// Says with every answer what cannot be written now.
    pub fn with_outages(mut self, outages: status::OutagesStatus) -> Self {
        self.outages = outages;
        self
    }

    /// Answers `/api/weir/v1/status` with how far receivers of remote write are.
    pub fn with_remote_writes(mut self, remote_writes: status::RemoteWritesStatus) -> Self {
        self.remote_writes = remote_writes;
        self
    }

    /// What each tenant's queries may take, and where what they took is counted.
    pub fn with_tenants(mut self, limits: Limits, usage: Usage) -> Self {
        self.load = Load::of_tenants(&self.config, self.load.metrics().clone(), limits, usage);
        self
    }

    /// Tells usage by tenant out of this scope's series, and what is stored.
    pub fn with_usage_of(mut self, scope: Scope, stored: Arc<dyn StoredUsage>) -> Self {
        (self.usage_scope, self.stored) = (Some(scope), Some(stored));
        self
    }

    /// Counts requests where the caller has registered them.
    pub fn with_counters(mut self, counters: metrics::HttpMetrics) -> Self {
        let load = Load::of_tenants(&self.config, counters.load.clone(), self.load.limits().clone(), self.load.usage().clone());
        self.load = load;
        self.counters = counters;
        self
    }

    /// Memory and places, which rules share.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Gives tails up sooner, in tests.
    #[cfg(test)]
    pub(crate) fn with_tail_timing(mut self, timing: live::Timing) -> Self {
        self.tail_timing = timing;
        self
    }

    /// Takes the time from elsewhere, in tests.
    pub fn with_clock(mut self, clock: fn() -> UnixNanos) -> Self {
        (self.clock, self.started) = (clock, clock());
        self
    }
}

/// A form of a request may have so many bytes: Prometheus reads ten times as much, and no query that a person or a page
/// has made comes near.
const FORM_BYTES_MAX: usize = 1 << 20;

/// All of them.
pub fn router(api: Arc<Api>) -> Routes {
    let routes = Routes::new()
        .merge(prometheus::router(Arc::clone(&api)))
        .merge(loki::router(Arc::clone(&api)))
        .merge(tempo::router(Arc::clone(&api)))
        .merge(jaeger::router(Arc::clone(&api)))
        .merge(weir::router(Arc::clone(&api)));
    routes.map(|router| {
        router
            .layer(axum::extract::DefaultBodyLimit::max(FORM_BYTES_MAX))
            .route_layer(axum::middleware::from_fn(revalidate::conditional))
            .route_layer(axum::middleware::from_fn_with_state(Arc::clone(&api), outage_header::tell))
            .route_layer(axum::middleware::from_fn_with_state(api, metrics::count))
    })
}

/// What routes need that read one kind of telemetry.
const READ_LOGS: Needs = Needs::Tenant(Verb::Read, Telemetry::Logs);
const READ_METRICS: Needs = Needs::Tenant(Verb::Read, Telemetry::Metrics);
const READ_TRACES: Needs = Needs::Tenant(Verb::Read, Telemetry::Traces);
const TAIL_LOGS: Needs = Needs::Tenant(Verb::Tail, Telemetry::Logs);
const ADMIN_LOGS: Needs = Needs::Tenant(Verb::Admin, Telemetry::Logs);
const ADMIN_METRICS: Needs = Needs::Tenant(Verb::Admin, Telemetry::Metrics);
const RULES: Needs = Needs::Tenant(Verb::Rules, Telemetry::Metrics);
const LOG_RULES: Needs = Needs::Tenant(Verb::Rules, Telemetry::Logs);
