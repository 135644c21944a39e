//! What all queries of a process share: memory, places to run and to wait, and the counters of what was refused.
//!
//! [`Load`] is one a process. A query takes a [`Place`], and memory as it makes series, samples, lines, spans and the text
//! of its answer; a [`Grant`] knows how much that is, and gives all of it back when it is dropped: at the end, after an
//! error, a panic, or when the client has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use weir_model::limits::{Limits, QueryLimits};
use weir_model::select::ReadError;
use weir_model::usage::Usage;

use crate::queue::{Queue, QueueLimits, Refusal, Share, Ticket, Turn};
use crate::request::QueryConfig;
use crate::tenant::{KEY_CONCURRENCY, KEY_QUEUE};

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

/// Tells a query that waits what became of it.
type Entrant = oneshot::Sender<Result<(), ReadError>>;

struct Shared {
    /// Held for as long as it takes to find out whose turn it is.
    queue: Mutex<Queue<Entrant>>,
    config: QueryConfig,
    used: AtomicU64,
    memory_bytes_max: u64,
    query_bytes_max: u64,
    metrics: LoadMetrics,
    limits: Limits,
    usage: Usage,
}

impl Load {
    /// With the limits of a configuration, which tenants share.
    pub fn new(config: &QueryConfig, metrics: LoadMetrics) -> Self {
        Self::of_tenants(config, metrics, Limits::default(), Usage::default())
    }

    /// The same with limits of each tenant, and where is counted what each of them takes.
    pub fn of_tenants(config: &QueryConfig, metrics: LoadMetrics, limits: Limits, usage: Usage) -> Self {
        let of_all = QueueLimits { running_max: config.concurrency.max(1), waiting_max: config.queue_total_max };
        Self(Arc::new(Shared {
            queue: Mutex::new(Queue::new(of_all)),
            config: config.clone(),
            used: AtomicU64::new(0),
            memory_bytes_max: config.memory_max.to_u64(),
            query_bytes_max: config.query_memory_max.to_u64(),
            metrics,
            limits,
            usage,
        }))
    }

    /// Its counters.
    pub fn metrics(&self) -> &LoadMetrics {
        &self.0.metrics
    }

    /// What tenants have taken.
    pub fn usage(&self) -> &Usage {
        &self.0.usage
    }

    /// Of each tenant.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What a tenant's queries may take, now.
    pub(crate) fn limits_of(&self, tenant: &str) -> QueryLimits {
        self.0.limits.of(tenant).query
    }

    /// Memory that is given out.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// A grant of nothing yet.
    pub fn grant(&self) -> Grant {
        Grant { load: self.clone(), held: AtomicU64::new(0) }
    }

    /// A place to run for a query of these tenants. Waits for at most `patience`, for a turn of each of them. Nobody's queries, which
    /// parse and read nothing, wait as one tenant's.
    pub async fn place(&self, tenants: &[Arc<str>], patience: Duration) -> Result<Place, ReadError> {
        let shared = &self.0;
        let share = |tenant: &Arc<str>| {
            let (own, of_all) = (self.limits_of(tenant), shared.config.queue_max as u64);
            let running_max = own.concurrency.unwrap_or(u64::MAX);
            Share { tenant: Arc::clone(tenant), running_max, waiting_max: own.queue_max.map_or(of_all, |own| own.min(of_all)) }
        };
        let shares = match tenants {
            [] => vec![Share { tenant: Arc::from(""), running_max: u64::MAX, waiting_max: shared.config.queue_max as u64 }],
            tenants => tenants.iter().map(share).collect(),
        };
        let (tx, rx) = oneshot::channel();
        let place = {
            let mut queue = shared.queue.lock();
            let (ticket, turns) = queue.enter(shares, tx);
            shared.tell(&queue, turns);
            Place { load: self.clone(), ticket }
        };
        match tokio::time::timeout(patience, rx).await {
            Ok(Ok(turn)) => turn.map(|()| place),
            Ok(Err(_)) => Err(ReadError::Cancelled("weir is stopping")),
            Err(_) => Err(self.not_in_time(place.ticket)),
        }
    }

    /// Of one who was not let in in time: its tenant's own limit is said where that is what it waited for.
    fn not_in_time(&self, ticket: Ticket) -> ReadError {
        let (shared, what) = (&self.0, "queries that run");
        shared.metrics.refused("wait");
        match shared.queue.lock().held_up_by(ticket) {
            Some(Share { tenant, running_max: limit, .. }) => {
                ReadError::TenantBusy { tenant: Arc::clone(tenant), limit: *limit, what, key: KEY_CONCURRENCY }
            }
            None => ReadError::Busy { limit: shared.config.concurrency as u64, what, key: "query.concurrency" },
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

impl Shared {
    /// Tells entrants what became of them. One that has gone gives its place back by itself.
    fn tell(&self, queue: &Queue<Entrant>, turns: Vec<Turn<Entrant>>) {
        for turn in turns {
            let _gone = match turn {
                Turn::Run(entrant) => entrant.send(Ok(())),
                Turn::Refused(entrant, why) => entrant.send(Err(self.refusal(why))),
            };
        }
        self.metrics.running.set(queue.running() as i64);
        self.metrics.waiting.set(queue.waiting() as i64);
    }

    fn refusal(&self, why: Refusal) -> ReadError {
        self.metrics.refused("queue");
        let what = "queries that wait";
        match why {
            Refusal::Tenant { tenant, limit } if tenant.is_empty() => ReadError::Busy { limit, what, key: KEY_QUEUE },
            Refusal::Tenant { tenant, limit } => ReadError::TenantBusy { tenant, limit, what, key: KEY_QUEUE },
            Refusal::All => ReadError::Busy { limit: self.config.queue_total_max as u64, what, key: "query.queue_total_max" },
        }
    }
}

/// A query that waits or runs; dropping it lets the next one in.
pub struct Place {
    load: Load,
    ticket: Ticket,
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.load.0;
        let mut queue = shared.queue.lock();
        let turns = queue.leave(self.ticket);
        shared.tell(&queue, turns);
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
pub(crate) mod tests {
    use weir_model::config::ByteSize;
    use weir_model::limits::OverridesFile;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

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
        let shop: [Arc<str>; 1] = ["shop".into()];
        let load = load(&QueryConfig { concurrency: 1, queue_max: 1, ..QueryConfig::default() });
        let first = load.place(&shop, Duration::ZERO).await.unwrap();
        let slow = load.place(&shop, Duration::from_millis(1)).await.map(|_| ()).unwrap_err();
        assert!(matches!(slow, ReadError::Busy { limit: 1, key: "query.concurrency", .. }), "{slow}");
        let mut second = std::pin::pin!(load.place(&shop, PATIENCE));
        assert!(poll_once(second.as_mut()).is_none());
        assert_eq!(load.metrics().waiting.get(), 1);
        let third = load.place(&shop, PATIENCE).await.map(|_| ()).unwrap_err();
        let text =
            "too many outstanding requests: tenant \"shop\" has 1 queries that wait (query.queue_max); try again in a moment";
        assert_eq!(third.to_string(), text);
        let nobody = load.place(&[], Duration::from_millis(1)).await.map(|_| ()).unwrap_err();
        assert!(matches!(nobody, ReadError::Busy { key: "query.concurrency", .. }), "it has a queue of its own: {nobody}");
        drop(first);
        drop(poll_once(second.as_mut()).expect("its turn").unwrap());
        let metrics = load.metrics();
        assert_eq!((metrics.running.get(), metrics.waiting.get()), (0, 0));
        assert_eq!((metrics.refusals("queue"), metrics.refusals("wait")), (1, 2));
    }

    #[tokio::test]
    async fn a_tenants_own_concurrency_is_named_when_it_was_waited_for() {
        let limits = limits(r#"{"tenants": {"shop": {"query": {"concurrency": 1, "queue_max": 2}}}}"#);
        let load = Load::of_tenants(&QueryConfig::default(), LoadMetrics::default(), limits, Usage::default());
        let shop: [Arc<str>; 1] = ["shop".into()];
        let _first = load.place(&shop, Duration::ZERO).await.unwrap();
        let refused = load.place(&shop, Duration::from_millis(1)).await.map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("tenant \"shop\" has 1 queries that run (query.concurrency)"), "{refused}");
        let mut waiting = [Box::pin(load.place(&shop, PATIENCE)), Box::pin(load.place(&shop, PATIENCE))];
        waiting.iter_mut().for_each(|place| assert!(poll_once(place.as_mut()).is_none()));
        let refused = load.place(&shop, Duration::ZERO).await.map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("tenant \"shop\" has 2 queries that wait (query.queue_max)"), "{refused}");
        drop(waiting);
        let both: [Arc<str>; 2] = ["bank".into(), "shop".into()];
        assert!(load.place(&both, Duration::from_millis(1)).await.is_err());
        assert!(load.place(&both[..1], Duration::ZERO).await.is_ok(), "the other tenant goes on");
    }

    #[tokio::test]
    async fn a_tenant_of_which_nothing_runs_is_not_told_of_its_own_limit() {
        let limits = limits(r#"{"tenants": {"shop": {"query": {"concurrency": 4}}}}"#);
        let load = Load::of_tenants(&QueryConfig::default(), LoadMetrics::default(), limits, Usage::default());
        let mut taken = Vec::new();
        for _ in 0..QueryConfig::default().concurrency {
            taken.push(load.place(&["bank".into()], Duration::ZERO).await.unwrap());
        }
        let refused = load.place(&["shop".into()], Duration::from_millis(1)).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, ReadError::Busy { limit: 8, key: "query.concurrency", .. }), "{refused}");
    }

    /// As a file of overrides says them.
    pub(crate) fn limits(json: &str) -> Limits {
        let file: OverridesFile = serde_json::from_str(json).unwrap();
        Limits::new(file.try_into().unwrap())
    }

    /// What a future gives at once.
    fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}
