//! What each tenant sends and asks, counted since the process began: by who ships records and who answers queries, for who bills.
//!
//! A process keeps at most [`TENANTS_MAX`] tenants apart: whoever may name any tenant makes up as many as they like. All others are
//! counted together, as [`OTHERS`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::active::Active;
use crate::label::Labels;
use crate::select::{Budget, ReadError};
use crate::wire::Kind;

/// A label of each in every scrape, and some hundred bytes.
pub const TENANTS_MAX: usize = 1000;
/// Together, those that came after [`TENANTS_MAX`] others. No tenant can have this name.
pub const OTHERS: &str = "*";

/// Records, and about how many bytes they are uncompressed on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub records: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        (self.records, self.bytes) = (self.records + other.records, self.bytes + other.bytes);
    }
}

/// What blocks have of each tenant, by [`Kind`] in the order of [`Kind::ALL`]; bytes as they lie there.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub tenants: BTreeMap<Arc<str>, [Amount; Kind::ALL.len()]>,
    /// What could not be read, a sentence each.
    pub missing: Vec<String>,
}

impl Stored {
    pub fn add(&mut self, kind: Kind, tenant: &Arc<str>, amount: Amount) {
        let place = Kind::ALL.iter().position(|other| *other == kind).unwrap_or_default();
        self.tenants.entry(Arc::clone(tenant)).or_default()[place] += amount;
    }
}

/// What the logs that are in blocks take on disk.
#[derive(Clone, Debug, Default)]
pub struct LogsDisk {
    pub blocks: u64,
    /// Records, and the bytes of the chunks that hold them, of each tenant's streams.
    pub streams: BTreeMap<(Arc<str>, Labels), Amount>,
    /// Bytes of all blocks by the name of a part of the format: chunks, dictionary, ids, places.
    pub parts: BTreeMap<String, u64>,
    /// What could not be read, a sentence each.
    pub missing: Vec<String>,
}

impl LogsDisk {
    /// What a stream takes in [`Self::streams`] beside its labels, and in a list by which they are ordered.
    pub const STREAM_BYTES: u64 = 96;
}

/// Tells what is stored now. Takes as long as looking at the directory of every block: for work off the async threads. Errors when the
/// budget says to stop.
pub trait StoredUsage: Send + Sync {
    fn stored(&self, budget: &dyn Budget) -> Result<Stored, ReadError>;
    fn logs_disk(&self, budget: &dyn Budget) -> Result<LogsDisk, ReadError>;
}

/// What one query took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryCost {
    /// While it ran; not while it waited.
    pub time: Duration,
    /// Samples, lines and spans that were decoded.
    pub records: u64,
    /// Of blocks.
    pub bytes: u64,
}

/// Of one tenant, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantUsage {
    /// By [`Kind`], in the order of [`Kind::ALL`].
    pub ingested: [Amount; Kind::ALL.len()],
    pub queries: u64,
    /// Of all queries together.
    pub cost: QueryCost,
    /// Streams and series that are active now; `None` before there was one. Whoever sends them by several processes has them counted by
    /// each.
    pub streams: Option<u64>,
    pub series: Option<u64>,
}

/// A number of a tenant, as it is on `/metrics` and in a series of weir's own tenant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// One of [`METRICS`] or [`GAUGES`].
    pub name: &'static str,
    /// `logs`, `metrics` or `traces`; empty where it is of all.
    pub signal: &'static str,
    pub value: f64,
}

/// Numbers that grow: names, without `_total`, and what they are.
pub const METRICS: [(&str, &str); 6] = [
    (INGESTED_BYTES, "Bytes of log lines, samples and spans that were acknowledged, uncompressed"),
    (INGESTED_RECORDS, "Log lines, samples and spans that were acknowledged"),
    (QUERIES, "Queries that ran, rules included"),
    (QUERY_SECONDS, "Time that queries ran"),
    (QUERY_RECORDS, "Samples, log lines and spans that queries decoded"),
    (QUERY_READ_BYTES, "Bytes of blocks that queries read"),
];
/// Numbers that come and go.
pub const GAUGES: [(&str, &str); 2] = [
    (ACTIVE_STREAMS, "Log streams that were sent by this process within the last 10 to 20 minutes"),
    (ACTIVE_SERIES, "Series that were sent by this process within the last 10 to 20 minutes"),
];
pub const ACTIVE_STREAMS: &str = "weir_usage_active_streams";
pub const ACTIVE_SERIES: &str = "weir_usage_active_series";
pub const INGESTED_BYTES: &str = "weir_usage_ingested_bytes";
pub const INGESTED_RECORDS: &str = "weir_usage_ingested_records";
pub const QUERIES: &str = "weir_usage_queries";
pub const QUERY_SECONDS: &str = "weir_usage_query_seconds";
pub const QUERY_RECORDS: &str = "weir_usage_query_records";
pub const QUERY_READ_BYTES: &str = "weir_usage_query_read_bytes";

/// A label of the series that a process keeps of these: when it began, in milliseconds.
pub const STARTED: &str = "started";

/// As policies and overrides name what a kind carries.
pub fn signal(kind: Kind) -> &'static str {
    match kind {
        Kind::Logs => "logs",
        Kind::Metrics => "metrics",
        Kind::Spans => "traces",
    }
}

impl TenantUsage {
    /// All that grows and is not zero, by [`METRICS`].
    pub fn figures(&self) -> Vec<Figure> {
        let figure = |name, signal, value: u64| Figure { name, signal, value: value as f64 };
        let mut all = Vec::new();
        for (kind, amount) in Kind::ALL.into_iter().zip(self.ingested) {
            all.push(figure(INGESTED_BYTES, signal(kind), amount.bytes));
            all.push(figure(INGESTED_RECORDS, signal(kind), amount.records));
        }
        all.push(figure(QUERIES, "", self.queries));
        all.push(Figure { name: QUERY_SECONDS, signal: "", value: self.cost.time.as_secs_f64() });
        all.push(figure(QUERY_RECORDS, "", self.cost.records));
        all.push(figure(QUERY_READ_BYTES, "", self.cost.bytes));
        all.retain(|figure| figure.value > 0.0);
        all
    }

    /// All that comes and goes and was there once, by [`GAUGES`].
    pub fn gauges(&self) -> impl Iterator<Item = Figure> {
        let all = [(ACTIVE_STREAMS, self.streams), (ACTIVE_SERIES, self.series)];
        all.into_iter().filter_map(|(name, value)| Some(Figure { name, signal: "", value: value? as f64 }))
    }
}

/// Counts. Clones share the counts.
#[derive(Clone, Debug)]
pub struct Usage {
    began: Instant,
    tenants: Arc<Mutex<BTreeMap<Arc<str>, Counted>>>,
}

impl Default for Usage {
    fn default() -> Self {
        Self { began: Instant::now(), tenants: Arc::default() }
    }
}

#[derive(Debug, Default)]
struct Counted {
    usage: TenantUsage,
    streams: Option<Active>,
    series: Option<Active>,
}

impl Counted {
    fn copy(&self) -> (TenantUsage, Option<Active>, Option<Active>) {
        (self.usage, self.streams.clone(), self.series.clone())
    }
}

impl Usage {
    /// Records of a tenant that were acknowledged. What a client sends again because it was not told in time counts again.
    pub fn ingested(&self, tenant: &str, kind: Kind, records: u64, bytes: u64) {
        self.with(tenant, |Counted { usage: own, .. }| {
            let place = Kind::ALL.iter().position(|other| *other == kind).unwrap_or_default();
            own.ingested[place] += Amount { records, bytes };
        });
    }

    /// A query of a tenant that has ended. One of several tenants counts for each.
    pub fn queried(&self, tenant: &str, cost: QueryCost) {
        self.with(tenant, |Counted { usage: own, .. }| {
            own.queries += 1;
            own.cost.time += cost.time;
            (own.cost.records, own.cost.bytes) = (own.cost.records + cost.records, own.cost.bytes + cost.bytes);
        });
    }

    /// Streams or series of a tenant that are sent, by the hashes of [`crate::signal::Signal::active`].
    pub fn active(&self, tenant: &str, kind: Kind, hashes: impl Iterator<Item = u64>) {
        let now = self.began.elapsed();
        self.with(tenant, |own| {
            let active = match kind {
                Kind::Logs => &mut own.streams,
                Kind::Metrics => &mut own.series,
                Kind::Spans => return,
            };
            active.get_or_insert_default().insert(now, hashes);
        });
    }

    /// All so far, by name.
    pub fn all(&self) -> Vec<(Arc<str>, TenantUsage)> {
        let now = self.began.elapsed();
        let count = |active: Option<Active>| active.map(|active| active.count(now));
        let names: Vec<Arc<str>> = self.counted().keys().cloned().collect();
        // Sketches are copied under the lock, one tenant's at a time, and merged without: who ships records waits for a copy at most.
        let usage = |tenant: Arc<str>| {
            let (usage, streams, series) = self.counted().get(&tenant).map(Counted::copy)?;
            Some((tenant, TenantUsage { streams: count(streams), series: count(series), ..usage }))
        };
        names.into_iter().filter_map(usage).collect()
    }

    fn counted(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Counted>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, tenant: &str, count: impl FnOnce(&mut Counted)) {
        let mut counted = self.counted();
        let name = if counted.contains_key(tenant) || counted.len() < TENANTS_MAX { tenant } else { OTHERS };
        match counted.get_mut(name) {
            Some(own) => count(own),
            None => count(counted.entry(name.into()).or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_is_counted_and_too_many_together() {
        let usage = Usage::default();
        usage.ingested("shop", Kind::Logs, 2, 100);
        usage.ingested("shop", Kind::Metrics, 1, 16);
        (0..2).for_each(|_| usage.active("shop", Kind::Metrics, [5, 6].into_iter()));
        let cost = QueryCost { time: Duration::from_millis(1500), records: 7, bytes: 70 };
        (0..2).for_each(|_| usage.queried("shop", cost));
        let all = usage.all();
        let [(name, shop)] = &all[..] else { panic!("{all:?}") };
        let amount = |records, bytes| Amount { records, bytes };
        let of_kind = |kind: Kind| shop.ingested[Kind::ALL.iter().position(|own| *own == kind).unwrap()];
        assert_eq!((&**name, of_kind(Kind::Logs), of_kind(Kind::Metrics)), ("shop", amount(2, 100), amount(1, 16)));
        assert_eq!((of_kind(Kind::Spans), shop.queries), (Amount::default(), 2));
        assert_eq!(shop.cost, QueryCost { time: Duration::from_secs(3), records: 14, bytes: 140 });
        let figures: Vec<_> = shop.figures().iter().map(|own| (own.name, own.signal, own.value)).collect();
        assert_eq!((shop.streams, shop.series), (None, Some(2)));
        assert_eq!(shop.gauges().collect::<Vec<_>>(), [Figure { name: ACTIVE_SERIES, signal: "", value: 2.0 }]);
        let ingested = [("logs", 100.0, 2.0), ("metrics", 16.0, 1.0)];
        let mut expected: Vec<_> = ingested
            .iter()
            .flat_map(|(signal, bytes, records)| [(INGESTED_BYTES, *signal, *bytes), (INGESTED_RECORDS, *signal, *records)])
            .collect();
        expected.extend([(QUERIES, "", 2.0), (QUERY_SECONDS, "", 3.0), (QUERY_RECORDS, "", 14.0), (QUERY_READ_BYTES, "", 140.0)]);
        assert_eq!(figures, expected);
        assert!(expected.iter().all(|(name, ..)| METRICS.iter().any(|(own, _)| own == name)));
        (0..TENANTS_MAX + 5).for_each(|i| usage.ingested(&format!("tenant {i}"), Kind::Logs, 1, 1));
        usage.ingested("shop", Kind::Logs, 1, 1);
        let all: BTreeMap<_, _> = usage.all().into_iter().collect();
        assert_eq!((all.len(), all[OTHERS].ingested[0].records), (TENANTS_MAX + 1, 6));
        assert_eq!(all["shop"].ingested[0].records, 3, "who is known stays apart");
    }
}
