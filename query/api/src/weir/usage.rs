//! `GET /api/weir/v1/usage`: what tenants have sent and asked over a time, of all processes, and what blocks have of them now. Each process keeps what it counts as series of
//! weir's own tenant, of which the caller need not be: it is shown those of its own tenants and no others.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::Extension;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use weir_access::{Access, Granted, Needs, Telemetry, Verb};
use weir_budget::RequestBudget;
use weir_model::active::ACTIVE_FOR;
use weir_model::label::{Labels, MatchOp, Matcher, NAME};
use weir_model::scope::Scope;
use weir_model::select::{Coverage, MetricSelect, Series};
use weir_model::time::{SECOND, TimeRange};
use weir_model::usage::{
    ACTIVE_SERIES, ACTIVE_STREAMS, Amount, INGESTED_BYTES, INGESTED_RECORDS, QUERIES, QUERY_READ_BYTES, QUERY_RECORDS,
    QUERY_SECONDS, STARTED, signal,
};
use weir_model::wire::Kind;

use super::super::call::Call;
use super::super::error::ApiError;
use super::super::params::Params;
use super::super::{Api, params::HOUR};
use super::{WeirError, answer};

/// What is asked for when nothing is said.
const RANGE_DEFAULT: i64 = 24 * HOUR;
/// A counter that has a sample within so long before the range had that value when it began; another of the same process was zero.
/// Processes tell at least every ten minutes, and the bus may be away for a while.
const BEFORE: i64 = HOUR;
/// For who was not told all.
const UNKNOWN_BEGIN: &str = "a process that began before the range has told nothing in the hour before it that is kept: what it had counted \
                             by its first figure in the range is left out";

/// A pattern of the names of what grows.
const GROWING: &str = "weir_usage_.+_total";

/// Figures of one tenant, by name and signal.
type Figures = BTreeMap<(String, String), f64>;

/// Tenants of the caller, each with the telemetry that it may read all of.
type Readable = Vec<(Arc<str>, Vec<Telemetry>)>;

/// A process from its start to its end. Its series are no other's, so that they only grow.
#[derive(PartialEq, Eq, Hash)]
struct Process([String; 4]);

impl Process {
    fn of(series: &Labels) -> Self {
        Self(["job", "instance", "node", STARTED].map(|name| series.get(name).to_owned()))
    }

    /// Milliseconds. `None` where its series do not say it.
    fn started(&self) -> Option<i64> {
        self.0[3].parse().ok()
    }
}

/// Those of the caller's tenants; with `all=true`, which takes an administrator, of every tenant.
pub(super) async fn usage(
    api: Call,
    granted: Granted,
    Extension(access): Extension<Access>,
    params: Params,
) -> Result<Response, WeirError> {
    let range = params.range((api.clock)(), RANGE_DEFAULT)?;
    let tenants = if params.flag("all")? {
        if let Err(denied) = access.grant(Needs::Whole(Verb::Admin)).await {
            return Ok(denied.into_response());
        }
        None
    } else {
        Some(readable(&access, &granted.scope).await?)
    };
    let work = move |api: &Api, budget: &RequestBudget| {
        let (mut found, mut coverage): (BTreeMap<String, Figures>, _) = (BTreeMap::new(), Coverage::default());
        if let Some(scope) = &api.usage_scope {
            let kept = Kept { api, scope, range, budget, before: told_before(api, scope, range, budget)? };
            match &tenants {
                None => coverage = kept.read(None, &mut found)?,
                Some(tenants) => {
                    for (tenant, _) in tenants {
                        coverage.merge(kept.read(Some(tenant), &mut found)?);
                    }
                }
            }
        }
        tenants.iter().flatten().for_each(|(tenant, _)| _ = found.entry(tenant.to_string()).or_default());
        let stored = api.stored.as_ref().map(|stored| stored.stored(budget)).transpose()?.unwrap_or_default();
        stored.missing.into_iter().for_each(|sentence| coverage.miss(sentence));
        if tenants.is_none() {
            stored.tenants.keys().for_each(|tenant| _ = found.entry(tenant.to_string()).or_default());
        }
        let of = |tenant: &str| stored.tenants.get(tenant).copied().unwrap_or_default();
        let may_read = |tenant: &str| match &tenants {
            None => Telemetry::ALL.to_vec(),
            Some(own) => own.iter().find(|(own, _)| **own == *tenant).map(|(_, all)| all.clone()).unwrap_or_default(),
        };
        let shape = |(tenant, figures): (&String, &Figures)| shape(tenant, figures, &of(tenant), &may_read(tenant));
        let shown: Vec<Value> = found.iter().map(shape).collect();
        let body = json!({"start": range.start.to_string(), "end": range.end.to_string(), "tenants": shown});
        answer(budget, &body, coverage)
    };
    api.answer(work).await
}

/// Errors where of a tenant no telemetry may be read as a whole: usage is of all of it.
async fn readable(access: &Access, scope: &Scope) -> Result<Readable, ApiError> {
    let mut tenants = Vec::new();
    for own in scope.tenants() {
        let mut all = Vec::new();
        for telemetry in Telemetry::ALL {
            all.extend(access.reads_all_of(&own.tenant, telemetry).await.then_some(telemetry));
        }
        if all.is_empty() {
            let text = format!("usage is of the whole of a tenant, and you may see a part of tenant {:?} only", own.tenant);
            return Err(ApiError::new(StatusCode::FORBIDDEN, text));
        }
        tenants.push((Arc::clone(&own.tenant), all));
    }
    Ok(tenants)
}

fn millis(nanos: i64) -> i64 {
    nanos.div_euclid(SECOND / 1000)
}

fn select(scope: &Scope, matchers: Vec<Matcher>, start_ms: i64, end_ms: i64) -> MetricSelect {
    MetricSelect { scope: scope.clone(), matchers, start_ms, end_ms }
}

/// The processes that told something shortly before the range: what they had not told of then was zero. All tell of the same series once
/// they have told anything, because what they tell is counted for the tenant that keeps it.
fn told_before(api: &Api, scope: &Scope, range: TimeRange, budget: &RequestBudget) -> Result<HashSet<Process>, WeirError> {
    let name = Matcher::equal(NAME, format!("{INGESTED_RECORDS}_total"));
    let (own, metrics) = (Matcher::equal("tenant", &*scope.one()?.tenant), Matcher::equal("signal", signal(Kind::Metrics)));
    let (first, last) = (millis(range.start.saturating_sub(BEFORE)), millis(range.start).saturating_sub(1));
    let mut cursor = api.metrics.cursor(&select(scope, vec![name, own, metrics], first, last), budget)?;
    let (mut series, mut processes) = (Series::default(), HashSet::new());
    while cursor.next(&mut series)? {
        if !series.timestamps.is_empty() {
            processes.insert(Process::of(&series.labels));
        }
    }
    Ok(processes)
}

/// What processes have told.
struct Kept<'a> {
    api: &'a Api,
    scope: &'a Scope,
    range: TimeRange,
    budget: &'a RequestBudget,
    before: HashSet<Process>,
}

impl Kept<'_> {
    /// Adds what the series of a tenant, or of all, have grown by, and what was active at the end of the range.
    fn read(&self, tenant: Option<&Arc<str>>, found: &mut BTreeMap<String, Figures>) -> Result<Coverage, WeirError> {
        let mut coverage = self.growth(tenant, found)?;
        coverage.merge(self.active(tenant, found)?);
        Ok(coverage)
    }

    fn select(&self, names: &str, tenant: Option<&Arc<str>>, start: i64) -> Result<MetricSelect, WeirError> {
        let names = Matcher::new(NAME, MatchOp::Regex, names).map_err(|error| error.to_string())?;
        let matchers = std::iter::once(names).chain(tenant.map(|tenant| Matcher::equal("tenant", &**tenant))).collect();
        Ok(select(self.scope, matchers, millis(start), millis(self.range.end)))
    }

    /// The sum of what each process has told last, of one that was started anew what it tells now.
    fn active(&self, tenant: Option<&Arc<str>>, found: &mut BTreeMap<String, Figures>) -> Result<Coverage, WeirError> {
        let since = self.range.end.saturating_sub(ACTIVE_FOR.as_nanos() as i64);
        let select = self.select(&format!("{ACTIVE_STREAMS}|{ACTIVE_SERIES}"), tenant, since)?;
        let mut cursor = self.api.metrics.cursor(&select, self.budget)?;
        let (mut series, mut last) = (Series::default(), BTreeMap::new());
        while cursor.next(&mut series)? {
            series.drop_before(select.start_ms);
            let mut newest_first = series.timestamps.iter().zip(&series.values).rev();
            // A staleness marker says that nothing is told any more, not that it is nothing.
            let Some((at, value)) = newest_first.find(|(_, value)| value.is_finite()) else { continue };
            let newest = last.entry(["tenant", NAME, "job", "instance", "node"].map(|name| series.labels.get(name).to_owned()));
            let newest = newest.or_insert((*at, *value));
            if *at > newest.0 {
                *newest = (*at, *value);
            }
        }
        for ([tenant, name, ..], (_, value)) in last {
            *found.entry(tenant).or_default().entry((name, String::new())).or_default() += value;
        }
        Ok(cursor.coverage())
    }

    fn growth(&self, tenant: Option<&Arc<str>>, found: &mut BTreeMap<String, Figures>) -> Result<Coverage, WeirError> {
        let start_ms = millis(self.range.start);
        let select = self.select(GROWING, tenant, self.range.start.saturating_sub(BEFORE))?;
        let mut cursor = self.api.metrics.cursor(&select, self.budget)?;
        let (mut series, mut is_whole) = (Series::default(), true);
        while cursor.next(&mut series)? {
            let label = |name: &str| series.labels.get(name).to_owned();
            let (name, process) = (label(NAME).trim_end_matches("_total").to_owned(), Process::of(&series.labels));
            let is_from_zero = process.started().is_some_and(|at| at >= start_ms) || self.before.contains(&process);
            let (grown, knows_begin) = increase(&series.timestamps, &series.values, start_ms, is_from_zero);
            is_whole &= knows_begin;
            *found.entry(label("tenant")).or_default().entry((name, label("signal"))).or_default() += grown;
        }
        let mut coverage = cursor.coverage();
        if !is_whole {
            coverage.miss(UNKNOWN_BEGIN.to_owned());
        }
        Ok(coverage)
    }
}

/// What a counter has grown by from `start_ms` on, since its last sample before; without one, since zero where it `is_from_zero`, or else
/// since its first sample. And whether it is known what it was at `start_ms`.
fn increase(timestamps: &[i64], values: &[f64], start_ms: i64, is_from_zero: bool) -> (f64, bool) {
    let (mut last, mut sum, mut knows_begin) = (is_from_zero.then_some(0.0), 0.0, true);
    for (at, value) in timestamps.iter().zip(values).filter(|(_, value)| value.is_finite()) {
        if *at >= start_ms {
            knows_begin &= last.is_some();
            sum += (value - last.unwrap_or(*value)).max(0.0);
        }
        last = Some(*value);
    }
    (sum, knows_begin)
}

/// Of the telemetry that may be read; queries, which read all of it, are shown to who may read all of it.
fn shape(tenant: &str, figures: &Figures, stored: &[Amount], may_read: &[Telemetry]) -> Value {
    let is_shown = |signal: &str| may_read.iter().any(|telemetry| telemetry.name() == signal);
    let figure = |name: &str, signal: &str| figures.get(&(name.to_owned(), signal.to_owned())).copied().unwrap_or_default();
    let whole = |name: &str, signal: &str| figure(name, signal).round() as u64;
    let ingested = |signal: &str| json!({"bytes": whole(INGESTED_BYTES, signal), "records": whole(INGESTED_RECORDS, signal)});
    let amount = |own: &Amount| json!({"bytes": own.bytes, "records": own.records});
    let kinds = || Kind::ALL.into_iter().map(signal).zip(stored).filter(|(signal, _)| is_shown(signal));
    let stored: serde_json::Map<String, Value> = kinds().map(|(signal, own)| (signal.to_owned(), amount(own))).collect();
    let ingested: serde_json::Map<String, Value> = kinds().map(|(signal, _)| (signal.to_owned(), ingested(signal))).collect();
    let active = [("logs", "streams", ACTIVE_STREAMS), ("metrics", "series", ACTIVE_SERIES)];
    let active = active.into_iter().filter(|(signal, ..)| is_shown(signal));
    let active: serde_json::Map<String, Value> =
        active.map(|(_, what, name)| (what.to_owned(), json!(whole(name, "")))).collect();
    let mut shape = json!({"tenant": tenant, "stored": stored, "ingested": ingested, "active": active});
    if may_read.len() == Telemetry::ALL.len() {
        shape["queries"] = json!({
            "count": whole(QUERIES, ""),
            "seconds": figure(QUERY_SECONDS, ""),
            "records": whole(QUERY_RECORDS, ""),
            "read_bytes": whole(QUERY_READ_BYTES, ""),
        });
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_counts_from_zero_where_its_process_began_in_the_range_or_from_what_it_was() {
        let check = |samples: &[(i64, f64)], from_zero: (f64, bool), otherwise: (f64, bool)| {
            let (timestamps, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
            assert_eq!(increase(&timestamps, &values, 100, true), from_zero, "{samples:?}");
            assert_eq!(increase(&timestamps, &values, 100, false), otherwise, "{samples:?}");
        };
        check(&[], (0.0, true), (0.0, true));
        check(&[(100, 5.0)], (5.0, true), (0.0, false));
        check(&[(100, 5.0), (200, 7.0)], (7.0, true), (2.0, false));
        check(&[(99, 5.0)], (0.0, true), (0.0, true));
        check(&[(50, 3.0), (99, 5.0), (100, 7.0), (200, 7.0), (300, 10.0)], (5.0, true), (5.0, true));
        check(&[(100, 5.0), (150, f64::NAN), (200, 6.0)], (6.0, true), (1.0, false));
    }
}
