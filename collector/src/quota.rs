//! What each tenant may send to this collector: how much a second, how many streams and series, how large. Counted here and by this
//! process alone. Knows no protocol: callers say what is refused in theirs.
//!
//! - [`bucket`]: rates. [`active`]: streams and series that are active. [`labels`]: their labels.
//!
//! Limits are looked up for each request, so that a changed file counts for the next.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use weir_model::histogram::Histogram;
use weir_model::label::Labels;
use weir_model::limits::{IngestionLimits, LabelLimits, Limits, TenantLimits};
use weir_model::time::UnixNanos;
use weir_model::wire::Kind;

use self::active::{ACTIVE_FOR, Active};
use self::bucket::Bucket;
use crate::push::Clock;

mod active;
mod bucket;
mod labels;
#[cfg(test)]
mod tests;

/// Tenants that are counted by themselves; a thousand are those of a large platform. Whoever may name any tenant makes up as many as
/// they like: further ones share one account until others have been idle.
const TENANTS_MAX: usize = 10_000;
/// Reason of counters.
pub(crate) const RATE_LIMITED: &str = "rate_limited";
/// Letters of a label set that a refusal shows.
const SHOWN_MAX: usize = 256;

/// All tenants of one collector. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Quotas {
    limits: Limits,
    clock: Clock,
    accounts: Arc<Mutex<Accounts>>,
    /// Of all tenants beyond [`TENANTS_MAX`].
    others: Arc<Account>,
}

/// Of tenants that have limits. Locked only to look one up or add it: no account is locked meanwhile.
#[derive(Default)]
struct Accounts {
    by_tenant: HashMap<Arc<str>, Arc<Account>>,
    /// When idle ones were dropped last.
    swept: UnixNanos,
}

#[derive(Default)]
struct Account {
    /// When a request of its tenant began last.
    used: AtomicI64,
    counts: Mutex<Counts>,
}

/// What one tenant has sent lately.
#[derive(Default)]
struct Counts {
    /// Bytes and records, by signal.
    rates: [(Bucket, Bucket); 3],
    streams: Active,
    series: Active,
}

/// One tenant's, for one request.
#[derive(Clone)]
pub(crate) struct Quota {
    tenant: Arc<str>,
    limits: Arc<TenantLimits>,
    /// `None` where nothing has to be counted.
    account: Option<Arc<Account>>,
    /// Read while the account is locked: requests overlap, and time must not go back between them.
    clock: Clock,
}

/// A request is refused as a whole: its tenant sends too much a second. Begins as Loki's message does: clients and people look for it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "ingestion rate limit exceeded for user {tenant} (limit: {limit} {unit}/sec) while attempting to ingest '{records}' {noun} \
     totaling '{bytes}' bytes, send less or ask your administrator to raise {key}"
)]
pub(crate) struct RateLimited {
    tenant: Arc<str>,
    limit: u64,
    unit: &'static str,
    records: u64,
    noun: &'static str,
    bytes: u64,
    key: String,
    /// Until it would be taken.
    pub wait: Duration,
}

/// A record, stream or series is refused, and the rest of its request taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    /// Of the counter.
    pub reason: &'static str,
    pub text: String,
    /// Whether it may be taken later.
    pub is_passing: bool,
}

impl Quotas {
    pub fn new(limits: Limits, clock: Clock) -> Self {
        Self { limits, clock, accounts: Arc::default(), others: Arc::default() }
    }

    /// Without limits.
    pub fn none() -> Self {
        Self::new(Limits::default(), Arc::new(|| 0))
    }

    /// Of a tenant, by the limits of now.
    pub fn of(&self, tenant: &str) -> Quota {
        let limits = self.limits.of(tenant);
        let counts = |limits: &IngestionLimits| limits.rate.is_some() || limits.records_rate.is_some();
        let is_counted = Kind::ALL.iter().any(|kind| counts(ingestion(&limits, *kind)))
            || limits.logs.streams_max.is_some()
            || limits.metrics.series_max.is_some();
        let account = is_counted.then(|| self.account(tenant));
        Quota { tenant: tenant.into(), limits, account, clock: Arc::clone(&self.clock) }
    }

    fn account(&self, tenant: &str) -> Arc<Account> {
        let mut accounts = self.accounts.lock();
        let now = (self.clock)();
        accounts.sweep(now);
        if let Some(account) = accounts.by_tenant.get(tenant) {
            account.used.store(now, Ordering::Relaxed);
            return Arc::clone(account);
        }
        if accounts.by_tenant.len() >= TENANTS_MAX {
            return Arc::clone(&self.others);
        }
        let account = Arc::new(Account { used: AtomicI64::new(now), ..Account::default() });
        accounts.by_tenant.insert(tenant.into(), Arc::clone(&account));
        account
    }
}

impl Accounts {
    /// Drops accounts that were idle. Looks through all of them, so seldom.
    fn sweep(&mut self, now: UnixNanos) {
        // Also when the clock was set back by so much.
        if now.saturating_sub(self.swept).saturating_abs() < ACTIVE_FOR / 2 {
            return;
        }
        self.swept = now;
        self.by_tenant.retain(|_, account| now.saturating_sub(account.used.load(Ordering::Relaxed)) < ACTIVE_FOR);
    }
}

fn ingestion(limits: &TenantLimits, kind: Kind) -> &IngestionLimits {
    match kind {
        Kind::Logs => &limits.logs.ingestion,
        Kind::Metrics => &limits.metrics.ingestion,
        Kind::Spans => &limits.traces.ingestion,
    }
}

/// Table of the limits, records, and place among rates.
fn names(kind: Kind) -> (&'static str, &'static str, usize) {
    match kind {
        Kind::Logs => ("logs", "lines", 0),
        Kind::Metrics => ("metrics", "samples", 1),
        Kind::Spans => ("traces", "spans", 2),
    }
}

impl Quota {
    /// Takes so much of what the tenant may send now, or nothing of it. What is larger than a burst is taken when nothing was sent
    /// for so long.
    pub fn take(&self, kind: Kind, records: u64, bytes: u64) -> Result<(), RateLimited> {
        self.spend(kind, records, bytes, false)
    }

    /// The same for what comes in blocks and cannot be refused: it is taken as soon as the tenant is not in debt, also where that makes
    /// a debt, for which all others wait. Else whoever sends single lines would leave no room for a block.
    pub fn borrow(&self, kind: Kind, records: u64, bytes: u64) -> Result<(), RateLimited> {
        self.spend(kind, records, bytes, true)
    }

    fn spend(&self, kind: Kind, records: u64, bytes: u64, into_debt: bool) -> Result<(), RateLimited> {
        let (Some(account), true) = (&self.account, records > 0) else { return Ok(()) };
        let limits = ingestion(&self.limits, kind);
        let (table, noun, at) = names(kind);
        let room = |amount| if into_debt { 0 } else { amount };
        let mut counts = account.counts.lock();
        let now = (self.clock)();
        let (of_bytes, of_records) = &mut counts.rates[at];
        let rate = limits.rate.map(|rate| (rate.to_u64(), limits.burst.unwrap_or(rate).to_u64()));
        let records_rate = limits.records_rate.map(|rate| (rate, limits.records_burst.unwrap_or(rate)));
        let over = |(limit, _): (u64, u64), unit, key: &str, wait| RateLimited {
            tenant: Arc::clone(&self.tenant),
            limit,
            unit,
            records,
            noun,
            bytes,
            key: format!("{table}.ingestion.{key}"),
            wait,
        };
        if let Some(rate) = rate {
            of_bytes.check(now, rate, room(bytes)).map_err(|wait| over(rate, "bytes", "rate", wait))?;
        }
        if let Some(rate) = records_rate {
            of_records.check(now, rate, room(records)).map_err(|wait| over(rate, noun, "records_rate", wait))?;
            of_records.take(records);
        }
        if rate.is_some() {
            of_bytes.take(bytes);
        }
        Ok(())
    }

    /// Whether lines of a stream are taken: its labels are short and few, and it is active or may become so.
    pub fn stream(&self, stream: &Labels) -> Result<(), Excess> {
        self.labels("stream", stream)?;
        let (Some(account), Some(limit)) = (&self.account, self.limits.logs.streams_max) else { return Ok(()) };
        let hash = hash(&Labels::EMPTY, stream);
        let mut counts = account.counts.lock();
        if counts.streams.admit((self.clock)(), limit, hash) {
            return Ok(());
        }
        drop(counts);
        let text = format!(
            "maximum active stream limit exceeded when trying to create stream {}, reduce the number of active streams (reduce \
             labels or reduce label values), or ask your administrator to raise logs.streams_max ({limit}), user: '{}'",
            shown(stream),
            self.tenant
        );
        Err(Excess { reason: "stream_limit", text, is_passing: true })
    }

    /// The same of series of a target, all or none.
    pub fn series<'s>(&self, target: &Labels, series: impl Iterator<Item = &'s Labels> + Clone) -> Result<(), Excess> {
        series.clone().try_for_each(|series| self.labels("series", series))?;
        let (Some(account), Some(limit)) = (&self.account, self.limits.metrics.series_max) else { return Ok(()) };
        let hashes: Vec<u64> = series.map(|series| hash(target, series)).collect();
        let mut counts = account.counts.lock();
        let came = hashes.len();
        if counts.series.admit_all((self.clock)(), limit, hashes.into_iter()) {
            return Ok(());
        }
        let active = counts.series.len();
        let excess = self.too_many_series(limit);
        let text = format!("{}: {active} are active, and {came} came with {}", excess.text, shown(target));
        Err(Excess { text, ..excess })
    }

    /// Whether a series is active or may become so. `shown` is what a refusal calls it.
    #[inline]
    pub fn active(&self, hash: u64, shown: impl Fn() -> String) -> Result<(), Excess> {
        let (Some(account), Some(limit)) = (&self.account, self.limits.metrics.series_max) else { return Ok(()) };
        let is_admitted = account.counts.lock().series.admit((self.clock)(), limit, hash);
        if is_admitted {
            return Ok(());
        }
        let excess = self.too_many_series(limit);
        Err(Excess { text: format!("{} (series {})", excess.text, shown()), ..excess })
    }

    /// By which a series of a target is counted.
    pub fn series_hash(target: &Labels, series: &Labels) -> u64 {
        hash(target, series)
    }

    /// Whether a series' labels are short and few.
    pub fn series_labels(&self, series: &Labels) -> Result<(), Excess> {
        self.labels("series", series)
    }

    /// Of labels, as of now.
    pub fn label_limits(&self) -> LabelLimits {
        self.limits.labels
    }

    /// Whether the labels that a target's series share are short and few.
    pub fn target(&self, target: &Labels) -> Result<(), Excess> {
        self.labels("target", target)
    }

    /// All series of a scrape whose text has so many bytes, or none. Errors with what the target exceeds.
    pub fn scrape<'s>(
        &self,
        target: &Labels,
        series: impl Iterator<Item = &'s Labels> + Clone,
        bytes: usize,
    ) -> Result<(), String> {
        self.series(target, series.clone()).map_err(|excess| excess.text)?;
        self.borrow(Kind::Metrics, series.count() as u64, bytes as u64).map_err(|error| error.to_string())
    }

    /// How long the tenant's records are kept at the longest, zero for ever; `default` where its limits say nothing.
    pub fn retention(&self, kind: Kind, default: Duration) -> Duration {
        let TenantLimits { logs, metrics, traces, .. } = &*self.limits;
        let (own, streams) = match kind {
            Kind::Logs => (logs.retention, logs.retention_streams()),
            Kind::Metrics => (metrics.retention, &[][..]),
            Kind::Spans => (traces.retention, &[][..]),
        };
        let periods = streams.iter().map(|stream| stream.period).chain([own.unwrap_or(default)]);
        periods.max_by_key(|period| if period.is_zero() { Duration::MAX } else { *period }).unwrap_or(default)
    }

    /// A histogram with as few buckets as its tenant may send. `shown` is what a refusal calls the series.
    pub fn histogram(&self, histogram: &mut Arc<Histogram>, shown: impl Fn() -> String) -> Result<(), Excess> {
        let Some(limit) = self.limits.metrics.histogram_buckets_max else { return Ok(()) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if histogram.buckets() <= limit {
            return Ok(());
        }
        Arc::make_mut(histogram).fit(limit).map_err(|error| Excess {
            reason: "histogram_buckets",
            text: format!("series {}: {error} (metrics.histogram_buckets_max)", shown()),
            is_passing: false,
        })
    }

    /// Whether a line is short enough, and has few enough bytes of structured metadata.
    pub fn line(&self, stream: &Labels, line_bytes: usize, metadata_bytes: usize) -> Result<(), Excess> {
        let over =
            |limit: Option<weir_model::config::ByteSize>, bytes: usize| limit.filter(|limit| bytes as u64 > limit.to_u64());
        let logs = &self.limits.logs;
        if let Some(limit) = over(logs.line_max, line_bytes) {
            let (limit, stream) = (limit.to_u64(), shown(stream));
            let text = format!(
                "max entry size '{limit}' bytes exceeded for stream '{stream}' while adding an entry with length '{line_bytes}' bytes"
            );
            return Err(Excess { reason: "line_too_long", text, is_passing: false });
        }
        if let Some(limit) = over(logs.metadata_max, metadata_bytes) {
            let (limit, stream) = (limit.to_u64(), shown(stream));
            let text = format!(
                "stream '{stream}' has structured metadata too large: '{metadata_bytes}' bytes, limit: '{limit}' bytes \
                 (logs.metadata_max)"
            );
            return Err(Excess { reason: "structured_metadata_too_large", text, is_passing: false });
        }
        Ok(())
    }

    /// Whether a span is small enough.
    pub fn span(&self, bytes: usize) -> Result<(), Excess> {
        match self.limits.traces.span_max {
            Some(limit) if bytes as u64 > limit.to_u64() => {
                let text = format!("has {bytes} bytes (limit traces.span_max is {limit})");
                Err(Excess { reason: "span_too_large", text, is_passing: false })
            }
            _ => Ok(()),
        }
    }

    fn labels(&self, what: &str, labels: &Labels) -> Result<(), Excess> {
        match labels::fault(&self.limits.labels, labels) {
            Some(fault) => {
                let text = fault.text(what, &shown(labels));
                Err(Excess { reason: fault.reason(), text, is_passing: false })
            }
            None => Ok(()),
        }
    }

    fn too_many_series(&self, limit: u64) -> Excess {
        let text = format!(
            "per-user series limit of {limit} exceeded for user {}, reduce the number of active series, or ask your administrator to \
             raise metrics.series_max",
            self.tenant
        );
        Excess { reason: "series_limit", text, is_passing: true }
    }
}

/// Within this process; of two that are equal by it the second is taken for the first.
fn hash(target: &Labels, labels: &Labels) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((target, labels))
}

fn shown(labels: &Labels) -> String {
    labels.to_string().chars().take(SHOWN_MAX).collect()
}
