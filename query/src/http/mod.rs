//! The HTTP APIs, one file each, on one router.
//!
//! - [`prometheus`]: `/api/v1/*`
//! - [`loki`]: `/loki/api/v1/*` (push is the collector's)
//! - [`tempo`]: `/tempo/*`; [`jaeger`]: `/jaeger/*`
//! - [`weir`]: `/api/weir/v1/*`, for the page and the command line. Shapes: `docs/api.md`.

pub mod jaeger;
pub mod loki;
pub mod prometheus;
pub mod tempo;
pub mod weir;

use std::sync::Arc;

use tokio::sync::Semaphore;
use weir_model::select::{Budget, LogReader, MetricReader, ReadError, TraceReader};

use crate::budget::{QueryConfig, RequestBudget};

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
    pub rules: Arc<crate::rules::RuleSet>,
    slots: Arc<Semaphore>,
}

impl Api {
    /// Puts the readers behind the limits.
    pub fn new(
        logs: Arc<dyn LogReader>,
        metrics: Arc<dyn MetricReader>,
        traces: Arc<dyn TraceReader>,
        config: QueryConfig,
        rules: Arc<crate::rules::RuleSet>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(config.concurrency.max(1)));
        Self { logs, metrics, traces, config, rules, slots }
    }

    /// Runs a query's sync work off the async threads, at most `concurrency` at once, with a fresh budget that is
    /// cancelled when the caller is dropped.
    pub async fn run<T: Send + 'static, E: From<ReadError> + Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &dyn Budget) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let stopped = |_| ReadError::Cancelled("weir is stopping");
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| stopped(()))?;
        let (budget, _guard) = RequestBudget::new(&self.config);
        let api = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work(&api, &budget)
        })
        .await
        .map_err(|_| ReadError::Store("the query stopped by a fault of weir's; the log says more".into()))?
    }
}

/// All of them.
pub fn router(api: Arc<Api>) -> axum::Router {
    axum::Router::new()
        .merge(prometheus::router(Arc::clone(&api)))
        .merge(loki::router(Arc::clone(&api)))
        .merge(tempo::router(Arc::clone(&api)))
        .merge(jaeger::router(Arc::clone(&api)))
        .merge(weir::router(api))
}
