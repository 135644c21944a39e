//! What one request may take, and how it is told to stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weir_model::config::{ByteSize, duration};
use weir_model::select::{Budget, CancelOnDrop, Cancellation, ReadError};

use crate::load::{Grant, Load, LoadMetrics};

/// Pings go out three times within it, over any network.
const TAIL_SILENCE_MIN: Duration = Duration::from_secs(1);

/// Limits of the query service; `[query]` in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// A query is cancelled after so long.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Samples and log lines a query may decode.
    pub records_max: u64,
    /// Points a range query may have per series; Prometheus and Loki have 11,000.
    pub points_max: u64,
    /// Log lines an answer may hold; Loki has 5,000.
    pub lines_max: usize,
    /// Series an answer may hold.
    pub series_max: usize,
    /// What all queries of the process may hold together: series, samples, lines, spans, answers not yet sent.
    pub memory_max: ByteSize,
    /// What one query may hold.
    pub query_memory_max: ByteSize,
    /// The text of one answer.
    pub answer_max: ByteSize,
    /// Queries that run at once; others wait.
    pub concurrency: usize,
    /// Queries that wait; beyond them one is refused.
    pub queue_max: usize,
    /// Live tails open at once: each polls ten times a second.
    pub tails_max: usize,
    /// A tail whose client has not been heard of for so long is closed. It is pinged three times within that.
    #[serde(with = "duration")]
    pub tail_silence: Duration,
    /// How far an instant selector looks back for a sample.
    #[serde(with = "duration")]
    pub lookback: Duration,
    /// How long ago a container may have ended that is listed with those that run.
    #[serde(with = "duration")]
    pub ended_for: Duration,
    /// Every line of LogQL has the label `detected_level`, as Loki's do.
    pub detected_level: bool,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            records_max: 500_000_000,
            points_max: 11_000,
            lines_max: 50_000,
            series_max: 100_000,
            memory_max: ByteSize::gib(1),
            query_memory_max: ByteSize::mib(512),
            answer_max: ByteSize::mib(128),
            concurrency: 8,
            queue_max: 64,
            tails_max: 64,
            tail_silence: Duration::from_secs(30),
            lookback: Duration::from_secs(300),
            ended_for: Duration::from_secs(86_400),
            detected_level: true,
        }
    }
}

impl QueryConfig {
    /// Errors with the key and what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        if self.query_memory_max > self.memory_max {
            let (own, all) = (self.query_memory_max, self.memory_max);
            return Err(format!("query_memory_max: one query may not hold more ({own}) than memory_max gives to all ({all})"));
        }
        if self.answer_max > self.query_memory_max {
            let (own, all) = (self.answer_max, self.query_memory_max);
            return Err(format!("answer_max: an answer ({own}) is held by its query, which may hold query_memory_max ({all})"));
        }
        if self.concurrency == 0 {
            return Err("concurrency: must be above 0".into());
        }
        if self.tail_silence < TAIL_SILENCE_MIN {
            return Err("tail_silence: must be at least 1s".into());
        }
        Ok(())
    }
}

/// As engines and rules count time.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The budget of one request. Dropping its [`CancelOnDrop`] (the client went away) cancels it; dropping itself gives its
/// memory back.
pub struct RequestBudget {
    deadline: Instant,
    records_max: u64,
    answer_bytes_max: u64,
    spent: AtomicU64,
    cancelled: Cancellation,
    memory: Grant,
    metrics: LoadMetrics,
    /// How long the request waited for its turn.
    pub waited: Duration,
}

impl RequestBudget {
    /// A fresh budget and the guard that cancels it. Its time runs from now on.
    pub fn new(config: &QueryConfig, load: &Load) -> (Self, CancelOnDrop) {
        let (cancelled, guard) = Cancellation::new();
        let budget = Self {
            deadline: Instant::now() + config.timeout,
            records_max: config.records_max,
            answer_bytes_max: config.answer_max.to_u64(),
            spent: AtomicU64::new(0),
            cancelled,
            memory: load.grant(),
            metrics: load.metrics().clone(),
            waited: Duration::ZERO,
        };
        (budget, guard)
    }

    /// Errors when an answer's text may not have so many bytes.
    pub fn check_answer(&self, bytes: usize) -> Result<(), ReadError> {
        let limit = self.answer_bytes_max;
        if bytes as u64 <= limit {
            return Ok(());
        }
        self.metrics.refused("answer");
        Err(ReadError::Budget { limit, what: "bytes of answer", key: "query.answer_max" })
    }

    /// The work is over: only `bytes` of its answer are held from now on.
    pub fn keep(self, bytes: usize) -> Result<Grant, ReadError> {
        self.memory.settle(bytes as u64)?;
        Ok(self.memory)
    }

    /// Memory that is held.
    pub fn held(&self) -> u64 {
        self.memory.held()
    }
}

impl Budget for RequestBudget {
    fn check(&self) -> Result<(), ReadError> {
        if self.cancelled.is_cancelled() {
            return Err(ReadError::Cancelled("the client went away"));
        }
        if Instant::now() > self.deadline {
            return Err(ReadError::Cancelled("it took longer than query.timeout"));
        }
        Ok(())
    }

    fn spend(&self, count: u64) -> Result<(), ReadError> {
        let spent = self.spent.fetch_add(count, Ordering::Relaxed) + count;
        if spent > self.records_max {
            self.metrics.refused("records");
            let (limit, what, key) = (self.records_max, "samples or lines", "query.records_max");
            return Err(ReadError::Budget { limit, what, key });
        }
        self.check()
    }

    fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        self.memory.reserve(bytes)
    }

    fn release(&self, bytes: u64) {
        self.memory.release(bytes);
    }
}
