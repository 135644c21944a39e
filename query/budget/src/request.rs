//! What one request may take, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use weir_model::config::{ByteSize, duration};
use weir_model::select::{Budget, CancelOnDrop, Cancellation, ReadError};
use weir_model::time::{TimeRange, format_duration};
use weir_model::usage::{QueryCost, Usage};

use crate::load::{Grant, Load, LoadMetrics};
use crate::tenant::{KEY_BYTES, KEY_RANGE, KEY_RECORDS, KEY_TIMEOUT, Of, smallest};

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
    /// Queries of one tenant that wait; beyond them one is refused.
    pub queue_max: usize,
    /// Queries that wait; beyond them the tenant that has most loses its last.
    pub queue_total_max: usize,
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
            queue_total_max: 512,
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
        if self.queue_max > self.queue_total_max {
            let (own, all) = (self.queue_max, self.queue_total_max);
            return Err(format!(
                "queue_max: of one tenant no more ({own}) can wait than queue_total_max lets wait of all ({all})"
            ));
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
/// memory back, and counts for its tenants what it has taken.
pub struct RequestBudget {
    deadline: Instant,
    /// A tenant's, where that is the earlier one.
    tenant_deadline: Option<(Instant, Of<Duration>)>,
    records_max: u64,
    tenant_records: Option<Of<u64>>,
    tenant_bytes: Option<Of<u64>>,
    tenant_range: Option<Of<Duration>>,
    answer_bytes_max: u64,
    meter: Meter,
    cancelled: Cancellation,
    memory: Grant,
    metrics: LoadMetrics,
    /// How long the request waited for its turn.
    pub waited: Duration,
}

/// What a request takes, counted for each of its tenants when it is over.
struct Meter {
    tenants: Vec<Arc<str>>,
    usage: Usage,
    records: AtomicU64,
    bytes: AtomicU64,
    /// `None` while it waits: who was not let in has taken nothing.
    begun: Option<Instant>,
}

impl Drop for Meter {
    fn drop(&mut self) {
        let Some(begun) = self.begun else { return };
        let cost = QueryCost { time: begun.elapsed(), records: *self.records.get_mut(), bytes: *self.bytes.get_mut() };
        self.tenants.iter().for_each(|tenant| self.usage.queried(tenant, cost));
    }
}

impl RequestBudget {
    /// A fresh budget and the guard that cancels it. Its time runs from now on. Of `tenants`, each has to allow what the request takes.
    pub fn new(config: &QueryConfig, load: &Load, tenants: &[Arc<str>]) -> (Self, CancelOnDrop) {
        let (cancelled, guard) = Cancellation::new();
        let now = Instant::now();
        let own: Vec<_> = tenants.iter().map(|tenant| (Arc::clone(tenant), load.limits_of(tenant))).collect();
        let time = smallest(&own, |own| own.timeout).filter(|own| own.limit < config.timeout);
        let (records, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let meter = Meter { tenants: tenants.to_vec(), usage: load.usage().clone(), records, bytes, begun: None };
        let budget = Self {
            deadline: now + config.timeout,
            tenant_deadline: time.map(|own| (now + own.limit, own)),
            records_max: config.records_max,
            tenant_records: smallest(&own, |own| own.records_max).filter(|own| own.limit < config.records_max),
            tenant_bytes: smallest(&own, |own| own.bytes_max.map(ByteSize::to_u64)),
            tenant_range: smallest(&own, |own| own.range_max),
            answer_bytes_max: config.answer_max.to_u64(),
            meter,
            cancelled,
            memory: load.grant(),
            metrics: load.metrics().clone(),
            waited: Duration::ZERO,
        };
        (budget, guard)
    }

    /// How long it may wait for its turn.
    pub fn patience(&self) -> Duration {
        let until = self.tenant_deadline.as_ref().map_or(self.deadline, |(deadline, _)| *deadline);
        until.saturating_duration_since(Instant::now())
    }

    /// Its work begins, `waited` after it came.
    pub fn begin(&mut self, waited: Duration) {
        self.waited = waited;
        self.meter.begun = Some(Instant::now());
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

    /// How much time one read may span. `None`: any.
    pub fn range_max(&self) -> Option<Duration> {
        self.tenant_range.as_ref().map(|own| own.limit)
    }

    /// Memory that is held.
    pub fn held(&self) -> u64 {
        self.memory.held()
    }

    /// Errors when `taken` is above a tenant's limit.
    fn within<T: PartialOrd + Copy>(
        &self,
        limit: Option<&Of<T>>,
        taken: T,
        (reason, what, key): (&'static str, &'static str, &'static str),
        shown: impl Fn(T) -> String,
    ) -> Result<(), ReadError> {
        match limit.filter(|own| taken > own.limit) {
            None => Ok(()),
            Some(own) => {
                self.metrics.refused(reason);
                Err(ReadError::TenantBudget { tenant: Arc::clone(&own.tenant), limit: shown(own.limit), what, key })
            }
        }
    }
}

fn shown(duration: Duration) -> String {
    format_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

impl Budget for RequestBudget {
    fn check(&self) -> Result<(), ReadError> {
        if self.cancelled.is_cancelled() {
            return Err(ReadError::Cancelled("the client went away"));
        }
        let now = Instant::now();
        if let Some((_, own)) = self.tenant_deadline.as_ref().filter(|(deadline, _)| now > *deadline) {
            return Err(ReadError::TenantTime { tenant: Arc::clone(&own.tenant), limit: shown(own.limit), key: KEY_TIMEOUT });
        }
        if now > self.deadline {
            return Err(ReadError::Cancelled("it took longer than query.timeout"));
        }
        Ok(())
    }

    fn spend(&self, count: u64) -> Result<(), ReadError> {
        let spent = self.meter.records.fetch_add(count, Ordering::Relaxed) + count;
        self.within(self.tenant_records.as_ref(), spent, ("records", "samples or lines", KEY_RECORDS), |limit| {
            limit.to_string()
        })?;
        if spent > self.records_max {
            self.metrics.refused("records");
            let (limit, what, key) = (self.records_max, "samples or lines", "query.records_max");
            return Err(ReadError::Budget { limit, what, key });
        }
        self.check()
    }

    fn read(&self, bytes: u64) -> Result<(), ReadError> {
        let read = self.meter.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let text = |limit| ByteSize::bytes(limit).to_string();
        self.within(self.tenant_bytes.as_ref(), read, ("bytes", "of blocks", KEY_BYTES), text)
    }

    fn span(&self, range: TimeRange) -> Result<(), ReadError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = range.end.min(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
        let span = Duration::from_nanos(end.saturating_sub(range.start).max(0).unsigned_abs());
        self.within(self.tenant_range.as_ref(), span, ("range", "of time", KEY_RANGE), shown)
    }

    fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        self.memory.reserve(bytes)
    }

    fn release(&self, bytes: u64) {
        self.memory.release(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::limits;

    fn names(text: &str) -> Vec<Arc<str>> {
        text.split('|').map(Arc::from).collect()
    }

    fn load(usage: &Usage) -> Load {
        let limits = limits(
            r#"{"tenants": {
                "small": {"query": {"bytes_max": "1KiB", "records_max": 10, "range_max": "1h", "timeout": "1ns"}},
                "large": {"query": {"records_max": 1000000, "timeout": "1h"}}}}"#,
        );
        Load::of_tenants(
            &QueryConfig { records_max: 100, ..QueryConfig::default() },
            LoadMetrics::default(),
            limits,
            usage.clone(),
        )
    }

    #[test]
    fn a_tenant_may_not_wait_more_than_all_may() {
        let config = QueryConfig { queue_max: 1000, ..QueryConfig::default() };
        let error = config.check().unwrap_err();
        assert!(error.contains("queue_max: of one tenant no more (1000)") && error.contains("queue_total_max"), "{error}");
        assert_eq!(QueryConfig { queue_total_max: 1000, ..config }.check(), Ok(()));
    }

    #[test]
    fn the_smallest_limit_counts_and_says_whose_it_is() {
        let load = load(&Usage::default());
        let config = QueryConfig { records_max: 100, ..QueryConfig::default() };
        let budget = |tenants: &str| RequestBudget::new(&config, &load, &names(tenants)).0;
        let check = |got: Result<(), ReadError>, expected: &str| {
            let text = got.map_or_else(|error| error.to_string(), |()| String::new());
            assert!(text.contains(expected) && text.is_empty() == expected.is_empty(), "{text:?}, not {expected:?}");
        };
        let hour = 3_600_000_000_000;
        let from_zero = |end: i64| TimeRange { start: 0, end };
        for tenants in ["small", "large|small|other"] {
            let own = budget(tenants);
            check(own.read(1024), "");
            check(own.read(1), "tenant \"small\": the query needs more than 1KiB of blocks (query.bytes_max of this tenant)");
            check(own.span(from_zero(hour)), "");
            check(own.span(TimeRange { start: i64::MAX - hour, end: i64::MAX }), "");
            check(
                own.span(from_zero(hour + 1)),
                "tenant \"small\": the query needs more than 1h of time (query.range_max of this tenant)",
            );
            check(
                own.spend(11),
                "tenant \"small\": the query needs more than 10 samples or lines (query.records_max of this tenant)",
            );
        }
        for tenants in ["large", "other"] {
            let (own, _guard) = RequestBudget::new(&config, &load, &names(tenants));
            check(own.read(u64::MAX / 2), "");
            check(own.span(TimeRange::ALL), "");
            check(own.spend(100), "");
            check(own.spend(1), "the query needs more than 100 samples or lines");
        }
        let metrics = load.metrics();
        assert_eq!(["records", "bytes", "range"].map(|reason| metrics.refusals(reason)), [4, 2, 2]);
    }

    #[test]
    fn a_tenants_time_ends_before_everybodys() {
        let load = load(&Usage::default());
        let (own, _guard) = RequestBudget::new(&QueryConfig::default(), &load, &names("small|large"));
        assert!(own.patience() <= Duration::from_nanos(1));
        let ended = loop {
            if let Err(error) = own.check() {
                break error.to_string();
            }
        };
        assert_eq!(ended, "the query was cancelled: it took longer than the 1ns that tenant \"small\" allows (query.timeout)");
        let (own, _guard) = RequestBudget::new(&QueryConfig::default(), &load, &names("large"));
        assert!(own.check().is_ok() && own.patience() <= QueryConfig::default().timeout);
    }

    #[test]
    fn what_a_query_takes_counts_for_each_of_its_tenants_once_it_ran() {
        let usage = Usage::default();
        let load = load(&usage);
        let (waiting, _guard) = RequestBudget::new(&QueryConfig::default(), &load, &names("large"));
        drop(waiting);
        assert!(usage.all().is_empty(), "it has not begun");
        let (mut own, _guard) = RequestBudget::new(&QueryConfig::default(), &load, &names("large|other"));
        own.begin(Duration::ZERO);
        own.spend(3).unwrap();
        own.read(40).unwrap();
        drop(own.keep(0).unwrap());
        let all = usage.all();
        let counted = |at: usize| (&*all[at].0, all[at].1.queries, all[at].1.cost.records, all[at].1.cost.bytes);
        assert_eq!((counted(0), counted(1), all.len()), (("large", 1, 3, 40), ("other", 1, 3, 40), 2));
    }
}
