//! What all queries of a process share: memory, places to run and to wait, and the counters of what was refused.
//!
//! [`Load`] is one a process. A query takes a [`Place`], and memory as it makes series, samples, lines, spans and the text
//! of its answer; a [`Grant`] knows how much that is, and gives all of it back when it is dropped: at the end, after an
//! error, a panic, or when the client has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_model::select::ReadError;

use crate::request::QueryConfig;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// How loaded the process is. Cloning shares the counters.
#[derive(Clone, Debug, Default)]
pub struct LoadMetrics {
    memory_bytes: Gauge,
    running: Gauge,
    waiting: Gauge,
    refused: Family<Reason, Counter>,
}

impl LoadMetrics {
    /// Shows them under `weir_query_…`.
    pub fn register(&self, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, own: &Gauge| registry.register(name, help, own.clone());
        gauge("weir_query_memory_bytes", "Memory that queries and their answers hold", &self.memory_bytes);
        gauge("weir_query_running", "Queries that run", &self.running);
        gauge("weir_query_waiting", "Queries that wait for their turn", &self.waiting);
        let help = "Requests that were refused because of a limit";
        registry.register("weir_query_refused", help, self.refused.clone());
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// Refusals for a reason so far.
    pub fn refusals(&self, reason: &'static str) -> u64 {
        self.refused.get_or_create(&Reason { reason }).get()
    }
}

/// Shared by all queries of a process. Cloning is cheap.
#[derive(Clone)]
pub struct Load(Arc<Shared>);

struct Shared {
    slots: Arc<Semaphore>,
    concurrency: usize,
    waiting: AtomicUsize,
    queue_max: usize,
    used: AtomicU64,
    memory_bytes_max: u64,
    query_bytes_max: u64,
    metrics: LoadMetrics,
}

impl Load {
    /// With the limits of a configuration.
    pub fn new(config: &QueryConfig, metrics: LoadMetrics) -> Self {
        let concurrency = config.concurrency.max(1);
        Self(Arc::new(Shared {
            slots: Arc::new(Semaphore::new(concurrency)),
            concurrency,
            waiting: AtomicUsize::new(0),
            queue_max: config.queue_max,
            used: AtomicU64::new(0),
            memory_bytes_max: config.memory_max.to_u64(),
            query_bytes_max: config.query_memory_max.to_u64(),
            metrics,
        }))
    }

    /// Its counters.
    pub fn metrics(&self) -> &LoadMetrics {
        &self.0.metrics
    }

    /// Memory that is given out.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// A grant of nothing yet.
    pub fn grant(&self) -> Grant {
        Grant { load: self.clone(), held: AtomicU64::new(0) }
    }

    /// A place to run. Waits for at most `patience`, behind those who wait already.
    pub async fn place(&self, patience: Duration) -> Result<Place, ReadError> {
        let shared = &self.0;
        if let Ok(permit) = Arc::clone(&shared.slots).try_acquire_owned() {
            return Ok(Place::new(permit, &shared.metrics));
        }
        let busy = |reason, limit: usize, what, key| {
            shared.metrics.refused(reason);
            ReadError::Busy { limit: limit as u64, what, key }
        };
        let Some(_waiting) = Waiting::begin(shared) else {
            return Err(busy("queue", shared.queue_max, "queries that wait", "query.queue_max"));
        };
        match tokio::time::timeout(patience, Arc::clone(&shared.slots).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place::new(permit, &shared.metrics)),
            Ok(Err(_)) => Err(ReadError::Cancelled("weir is stopping")),
            Err(_) => Err(busy("wait", shared.concurrency, "queries that run", "query.concurrency")),
        }
    }

    fn take(&self, bytes: u64) -> Result<(), ReadError> {
        let shared = &self.0;
        let limit = shared.memory_bytes_max;
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        if shared.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            shared.metrics.refused("memory");
            return Err(ReadError::Busy { limit, what: "bytes of all queries together", key: "query.memory_max" });
        }
        shared.metrics.memory_bytes.inc_by(bytes as i64);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        self.0.metrics.memory_bytes.dec_by(bytes as i64);
    }
}

/// One who waits.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared) -> Option<Self> {
        let more = |waiting: usize| (waiting < shared.queue_max).then_some(waiting + 1);
        shared.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        shared.metrics.waiting.inc();
        Some(Self(shared))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.waiting.dec();
    }
}

/// A query that runs; dropping it lets the next one in.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    running: Gauge,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, metrics: &LoadMetrics) -> Self {
        metrics.running.inc();
        Self { _permit: permit, running: metrics.running.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.dec();
    }
}

/// Memory that one query, answer or tail holds. Dropping it gives all of it back.
pub struct Grant {
    load: Load,
    held: AtomicU64,
}

impl Grant {
    /// So much more. Errors, and takes nothing, when the query or all queries together would hold too much.
    pub fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        let limit = self.load.0.query_bytes_max;
        let more = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= limit);
        if self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            self.load.0.metrics.refused("query_memory");
            return Err(ReadError::Budget { limit, what: "bytes of memory", key: "query.query_memory_max" });
        }
        self.load.take(bytes).inspect_err(|_| {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    /// So much less, at most what is held.
    pub fn release(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        if let Ok(held) = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            self.load.give_back(bytes.min(held));
        }
    }

    /// So much in all.
    pub fn settle(&self, bytes: u64) -> Result<(), ReadError> {
        let held = self.held();
        if bytes >= held {
            return self.reserve(bytes - held);
        }
        self.release(held - bytes);
        Ok(())
    }

    /// How much it is.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.load.give_back(self.held());
    }
}

#[cfg(test)]
mod tests {
    use weir_model::config::ByteSize;

    use super::*;

    fn load(config: &QueryConfig) -> Load {
        Load::new(config, LoadMetrics::default())
    }

    #[test]
    fn memory_is_given_out_within_both_limits_and_comes_back() {
        let config =
            QueryConfig { memory_max: ByteSize::bytes(100), query_memory_max: ByteSize::bytes(70), ..QueryConfig::default() };
        let load = load(&config);
        let (one, two) = (load.grant(), load.grant());
        one.reserve(60).unwrap();
        let error = one.reserve(11).unwrap_err().to_string();
        assert!(error.contains("more than 70 bytes of memory") && error.contains("query.query_memory_max"), "{error}");
        let error = two.reserve(41).unwrap_err().to_string();
        assert!(error.contains("limit of 100") && error.contains("query.memory_max"), "{error}");
        assert_eq!((one.held(), two.held(), load.used()), (60, 0, 60), "what was refused is not held");
        two.reserve(40).unwrap();
        two.settle(5).unwrap();
        two.release(1000);
        assert_eq!(load.used(), 60, "no more comes back than was held");
        assert!(two.reserve(u64::MAX).is_err());
        drop(one);
        assert_eq!((load.used(), load.metrics().memory_bytes.get()), (0, 0));
        assert_eq!((load.metrics().refusals("memory"), load.metrics().refusals("query_memory")), (1, 2));
    }

    #[tokio::test]
    async fn those_who_wait_are_bounded_in_number_and_in_time() {
        let load = load(&QueryConfig { concurrency: 1, queue_max: 1, ..QueryConfig::default() });
        let first = load.place(Duration::ZERO).await.unwrap();
        let slow = load.place(Duration::from_millis(1)).await.map(|_| ()).unwrap_err();
        assert!(matches!(slow, ReadError::Busy { limit: 1, key: "query.concurrency", .. }), "{slow}");
        let waiting = load.clone();
        let second = tokio::spawn(async move { waiting.place(Duration::from_secs(60)).await.map(drop) });
        let begun = std::time::Instant::now();
        while load.metrics().waiting.get() == 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "the second never waits");
            tokio::task::yield_now().await;
        }
        let third = load.place(Duration::from_secs(60)).await.map(|_| ()).unwrap_err();
        assert!(matches!(third, ReadError::Busy { limit: 1, key: "query.queue_max", .. }), "{third}");
        drop(first);
        second.await.unwrap().unwrap();
        let metrics = load.metrics();
        assert_eq!((metrics.running.get(), metrics.waiting.get()), (0, 0));
        assert_eq!((metrics.refusals("queue"), metrics.refusals("wait")), (1, 1));
    }
}
