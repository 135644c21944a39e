//! What one request may take, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weir_model::select::{Budget, ReadError};

/// Limits of the query service; `[query]` in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// A query is cancelled after this many seconds.
    pub timeout_seconds: u64,
    /// Samples and log lines a query may decode.
    pub records_max: u64,
    /// Points a range query may have per series; Prometheus and Loki have 11,000.
    pub points_max: u64,
    /// Log lines an answer may hold; Loki has 5,000.
    pub lines_max: usize,
    /// Series an answer may hold.
    pub series_max: usize,
    /// Values (series × steps) that all vectors of one PromQL query may hold together; 8 bytes each.
    pub cells_max: u64,
    /// Queries that run at once; others wait.
    pub concurrency: usize,
    /// How far an instant selector looks back for a sample, in seconds.
    pub lookback_seconds: u64,
    /// Adds `detected_level` to every line of LogQL. Off, because it changes every grouping.
    pub detected_level: bool,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            timeout_seconds: 60,
            records_max: 500_000_000,
            points_max: 11_000,
            lines_max: 50_000,
            series_max: 100_000,
            cells_max: 100_000_000,
            concurrency: 8,
            lookback_seconds: 300,
            detected_level: false,
        }
    }
}

/// The budget of one request. Dropping its [`CancelOnDrop`] (the client went away) cancels it.
pub struct RequestBudget {
    deadline: Instant,
    records_max: u64,
    spent: AtomicU64,
    cancelled: Arc<AtomicBool>,
}

/// Held by the async side of a request.
pub struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl RequestBudget {
    /// A fresh budget and the guard that cancels it.
    pub fn new(config: &QueryConfig) -> (Self, CancelOnDrop) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let budget = Self {
            deadline: Instant::now() + Duration::from_secs(config.timeout_seconds),
            records_max: config.records_max,
            spent: AtomicU64::new(0),
            cancelled: Arc::clone(&cancelled),
        };
        (budget, CancelOnDrop(cancelled))
    }
}

impl Budget for RequestBudget {
    fn check(&self) -> Result<(), ReadError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(ReadError::Cancelled("the client went away"));
        }
        if Instant::now() > self.deadline {
            return Err(ReadError::Cancelled("it took longer than query.timeout_seconds"));
        }
        Ok(())
    }

    fn spend(&self, count: u64) -> Result<(), ReadError> {
        let spent = self.spent.fetch_add(count, Ordering::Relaxed) + count;
        if spent > self.records_max {
            let (limit, what, key) = (self.records_max, "samples or lines", "query.records_max");
            return Err(ReadError::Budget { limit, what, key });
        }
        self.check()
    }
}
