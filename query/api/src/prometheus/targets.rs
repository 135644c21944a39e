//! `targets`, `targets/metadata`, `targets/relabel_steps`, `scrape_pools`, `scrape_pools/config`: what is scraped, as far as the
//! caller may see it. Scraping is a collector's: in one process it is asked, and a collector of its own answers these routes itself
//! ([`router`]). A query node knows targets by what is stored of them, the series `up`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use weir_access::{Granted, Needs, Routes, Verb};
use weir_budget::{RequestBudget, millis};
use weir_model::clip;
use weir_model::label::{Labels, MatchOp, Matcher, NAME};
use weir_model::metric::{Schema, is_stale};
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage, MetricSelect, ReadError, Series, label_bytes};
use weir_model::targets::{ScrapeTarget, ScrapeTargets};
use weir_model::time::{SECOND, format_duration, format_rfc3339};
use weir_promql::QueryError;
use weir_promql::parse::parse_selector;

use super::answer::{ApiError, Success};
use super::params::Params;
use crate::call::Call;
use crate::{Api, READ_METRICS, revalidate};

/// Prometheus' word for a time that there has not been.
const NEVER: &str = "0001-01-01T00:00:00Z";
const ELSEWHERE: &str = "targets are those whose series `up` is stored; what is scraped of them and how, dropped ones and metadata by \
                         target are known to collectors, at the same path of their own listeners";

/// Answers of a collector that are made at once.
const TURNS: usize = 2;
/// Memory of one of them.
const ANSWER_BYTES: u64 = 64 << 20;
/// Of a target in an answer, beside its labels.
const SHAPE_BYTES: u64 = 2048;
/// Of a dropped target or a family in an answer, beside its texts.
const ENTRY_BYTES: u64 = 512;

/// Labels as JSON.
fn shown_bytes(labels: &Labels) -> u64 {
    let text: usize = labels.iter().map(|(name, value)| name.len() + value.len() + 96).sum();
    text as u64
}

/// The routes of a collector that is a process of its own.
pub fn router(targets: Arc<dyn ScrapeTargets>) -> Routes {
    let turns = Arc::new(Semaphore::new(TURNS));
    let of = |answer: Answered| {
        let turns = Arc::clone(&turns);
        move |State(targets): State<Arc<dyn ScrapeTargets>>, granted: Granted, params: Params| async move {
            // A closed semaphore cannot be: nobody closes it.
            let turn = turns.acquire_owned().await;
            let work = move || {
                let _turn = turn;
                answered(answer, &*targets, &granted.scope, &params)
            };
            let done = tokio::task::spawn_blocking(work).await;
            done.unwrap_or_else(|error| ApiError::from(ReadError::Store(error.to_string())).into_response())
        }
    };
    Routes::new()
        .get("/api/v1/targets", READ_METRICS, of(targets_json))
        .get("/api/v1/targets/metadata", READ_METRICS, of(metadata_json))
        .get("/api/v1/targets/relabel_steps", Needs::Whole(Verb::Read), of(relabel_json))
        .get("/api/v1/scrape_pools", READ_METRICS, of(|targets, scope, _, _| Ok(pools_json(targets, scope))))
        .get("/api/v1/scrape_pools/config", Needs::Whole(Verb::Read), of(pool_config_json))
        .get("/api/v1/status/config", Needs::Whole(Verb::Read), of(|targets, _, _, _| Ok(json!({"yaml": targets.config()}))))
        .with_state(targets)
}

/// `GET targets?state&scrapePool`
pub(super) async fn targets(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    of_collector_or(api, granted, params, targets_json, |found, params| {
        let shown = found.iter().filter(|own| wants(params, "active", own["scrapePool"].as_str().unwrap_or_default()));
        json!({"activeTargets": shown.collect::<Vec<_>>(), "droppedTargets": [], "droppedTargetCounts": {}})
    })
    .await
}

/// `GET targets/metadata?match_target&metric&limit`
pub(super) async fn metadata(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    of_collector_or(api, granted, params, metadata_json, |_, _| json!([])).await
}

/// `GET scrape_pools`
pub(super) async fn pools(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let own: Answered = |targets, scope, _, _| Ok(pools_json(targets, scope));
    of_collector_or(api, granted, params, own, |found, _| {
        let pools: BTreeSet<&str> = found.iter().filter_map(|target| target["scrapePool"].as_str()).collect();
        json!({"scrapePools": pools})
    })
    .await
}

/// `GET targets/relabel_steps?scrapePool&labels`
pub(super) async fn relabel_steps(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    of_collector(api, granted, params, relabel_json).await
}

/// `GET scrape_pools/config?scrapePool`
pub(super) async fn pool_config(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    of_collector(api, granted, params, pool_config_json).await
}

/// `GET status/config`
pub(super) async fn config(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    of_collector(api, granted, params, |targets, _, _, _| Ok(json!({"yaml": targets.config()}))).await
}

type Answered = fn(&dyn ScrapeTargets, &Scope, &Params, Reserve<'_>) -> Result<Value, ApiError>;
/// Told of memory before it is taken.
type Reserve<'a> = &'a dyn Fn(u64) -> Result<(), ApiError>;

/// A collector's own answer, within [`ANSWER_BYTES`].
fn answered(answer: Answered, targets: &dyn ScrapeTargets, scope: &Scope, params: &Params) -> Response {
    let held = Cell::new(0_u64);
    let reserve = |bytes: u64| {
        held.set(held.get().saturating_add(bytes));
        if held.get() <= ANSWER_BYTES {
            return Ok(());
        }
        Err(ApiError::from(QueryError::Execution(format!(
            "the answer takes more than {ANSWER_BYTES} bytes of memory; ask for less by scrapePool, state, match_target, metric or limit"
        ))))
    };
    match answer(targets, scope, params, &reserve) {
        Ok(data) => {
            let mut body = json!({"status": "success"});
            body["data"] = data;
            revalidate::json(&body)
        }
        Err(error) => error.into_response(),
    }
}

async fn of_collector_or(
    api: Call,
    granted: Granted,
    params: Params,
    own: Answered,
    stored: fn(&[Value], &Params) -> Value,
) -> Result<Response, ApiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        if let Some(targets) = &api.targets {
            let reserve = |bytes: u64| budget.reserve(bytes).map_err(ApiError::from);
            return Success::of(budget, &own(&**targets, &granted.scope, &params, &reserve)?)?.reply(None);
        }
        let (found, coverage) = stored_targets(api, &granted.scope, budget)?;
        let mut success = Success::of(budget, &stored(&found, &params))?;
        success.warnings.push(ELSEWHERE.to_owned());
        success.reply(Some(coverage))
    };
    api.answer(work).await
}

async fn of_collector(api: Call, granted: Granted, params: Params, own: Answered) -> Result<Response, ApiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let Some(targets) = &api.targets else {
            return Err(ApiError::not_found(
                "this process scrapes nothing: ask a collector, at the same path of its own listener",
            ));
        };
        let reserve = |bytes: u64| budget.reserve(bytes).map_err(ApiError::from);
        Success::of(budget, &own(&**targets, &granted.scope, &params, &reserve)?)?.reply(None)
    };
    api.answer(work).await
}

fn wants(params: &Params, state: &str, pool: &str) -> bool {
    let asked = params.get("state").unwrap_or("any").to_ascii_lowercase();
    (asked == "any" || asked == state) && params.get("scrapePool").is_none_or(|own| own == pool)
}

fn visible<'a>(targets: &'a dyn ScrapeTargets, scope: &'a Scope) -> impl Iterator<Item = ScrapeTarget> + 'a {
    targets.active().into_iter().filter(|target| scope.sees(targets.tenant(), &target.labels))
}

/// Whether nothing of the collector's tenant is hidden: of what has no labels of its own to be judged by.
fn sees_all(targets: &dyn ScrapeTargets, scope: &Scope) -> bool {
    scope.tenants().iter().any(|own| *own.tenant == *targets.tenant() && own.visible.is_all())
}

fn targets_json(targets: &dyn ScrapeTargets, scope: &Scope, params: &Params, reserve: Reserve<'_>) -> Result<Value, ApiError> {
    let mut active = Vec::new();
    for own in visible(targets, scope).filter(|own| wants(params, "active", &own.pool)) {
        reserve(shown_bytes(&own.labels) + shown_bytes(&own.discovered) + 2 * own.url.len() as u64 + SHAPE_BYTES)?;
        active.push(shape(&own));
    }
    let (mut dropped, mut counts) = (Vec::new(), BTreeMap::new());
    if sees_all(targets, scope) {
        for own in targets.dropped().into_iter().filter(|own| wants(params, "dropped", &own.pool)) {
            reserve(shown_bytes(&own.discovered) + ENTRY_BYTES)?;
            dropped.push(json!({"discoveredLabels": own.discovered, "scrapePool": own.pool}));
        }
        if wants(params, "dropped", params.get("scrapePool").unwrap_or_default()) {
            counts = targets.dropped_counts();
        }
    }
    Ok(json!({"activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts}))
}

fn shape(target: &ScrapeTarget) -> Value {
    let last = target.last.as_ref();
    let error = last.and_then(|last| last.error.as_deref());
    let health = match (last, error) {
        (None, _) => "unknown",
        (_, None) => "up",
        (_, Some(_)) => "down",
    };
    let text = |duration: std::time::Duration| format_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX));
    json!({
        "discoveredLabels": target.discovered,
        "labels": target.labels,
        "scrapePool": target.pool,
        "scrapeUrl": target.url,
        "globalUrl": target.url,
        "lastError": error.unwrap_or_default(),
        "lastScrape": last.map_or(NEVER.to_owned(), |last| format_rfc3339(last.at)),
        "lastScrapeDuration": last.map_or(0.0, |last| last.seconds),
        "health": health,
        "scrapeInterval": text(target.interval),
        "scrapeTimeout": text(target.timeout),
    })
}

fn pools_json(targets: &dyn ScrapeTargets, scope: &Scope) -> Value {
    let pools: BTreeSet<String> = match sees_all(targets, scope) {
        true => targets.pools().into_iter().collect(),
        false => visible(targets, scope).map(|target| target.pool).collect(),
    };
    json!({"scrapePools": pools})
}

fn metadata_json(targets: &dyn ScrapeTargets, scope: &Scope, params: &Params, reserve: Reserve<'_>) -> Result<Value, ApiError> {
    let limit = params.count("limit")?.unwrap_or(usize::MAX);
    let matchers = match params.get("match_target") {
        Some(text) => {
            parse_selector(text)
                .map_err(|error| ApiError::bad_data(format!("invalid parameter \"match_target\": {error}")))?
                .matchers
        }
        None => Vec::new(),
    };
    let (metric, all) = (params.get("metric"), sees_all(targets, scope));
    let mut found = Vec::new();
    for target in visible(targets, scope).filter(|own| matchers.iter().all(|matcher| matcher.matches_labels(&own.labels))) {
        if found.len() >= limit {
            break;
        }
        let Some(schema) = target.last.as_ref().map(|last| &last.schema) else { continue };
        let shown = (!all).then(|| visible_families(schema, &target, (targets.tenant(), scope)));
        for family in &schema.families {
            if shown.as_ref().is_some_and(|shown| !shown.contains(&*family.name)) || metric.is_some_and(|own| own != family.name)
            {
                continue;
            }
            reserve(shown_bytes(&target.labels) + (family.name.len() + family.help.len()) as u64 + ENTRY_BYTES)?;
            let mut entry =
                json!({"target": target.labels, "type": family.kind.name(), "help": family.help, "unit": family.unit});
            if metric.is_none() {
                entry["metric"] = json!(family.name);
            }
            found.push(entry);
        }
    }
    Ok(json!(found))
}

/// Families of which the caller may see a series of the target.
fn visible_families<'s>(schema: &'s Schema, target: &ScrapeTarget, (tenant, scope): (&str, &Scope)) -> HashSet<&'s str> {
    const SUFFIXES: [&str; 8] = ["_total", "_created", "_info", "_bucket", "_sum", "_count", "_gsum", "_gcount"];
    let families: HashSet<&str> = schema.families.iter().map(|family| family.name.as_str()).collect();
    let sees = |own: &&Labels| scope.sees(tenant, &Labels::from_pairs(target.labels.iter().chain(own.iter())));
    let family = |own: &'s Labels| {
        let name = own.get(NAME);
        let base = || SUFFIXES.iter().filter_map(|suffix| name.strip_suffix(suffix)).find(|base| families.contains(base));
        if families.contains(name) { Some(name) } else { base() }
    };
    schema.series.iter().filter(sees).filter_map(family).collect()
}

fn pool(params: &Params) -> Result<&str, ApiError> {
    params.get("scrapePool").ok_or_else(|| ApiError::bad_data("no scrapePool parameter provided"))
}

fn unknown(pool: &str) -> ApiError {
    ApiError::bad_data(format!("error retrieving scrape config: scrape pool {:?} not found", clip(pool)))
}

fn relabel_json(targets: &dyn ScrapeTargets, _: &Scope, params: &Params, _: Reserve<'_>) -> Result<Value, ApiError> {
    let pool = pool(params)?;
    let labels = params.get("labels").ok_or_else(|| ApiError::bad_data("no labels parameter provided"))?;
    let labels = serde_json::from_str(labels).map_err(|error| ApiError::bad_data(format!("error parsing labels: {error}")))?;
    let steps = targets.relabel(pool, labels).ok_or_else(|| unknown(pool))?;
    let steps: Vec<Value> = steps.iter().map(|own| json!({"rule": own.rule, "output": own.output, "keep": own.keep})).collect();
    Ok(json!({"steps": steps}))
}

fn pool_config_json(targets: &dyn ScrapeTargets, _: &Scope, params: &Params, _: Reserve<'_>) -> Result<Value, ApiError> {
    let pool = pool(params)?;
    Ok(json!({"yaml": targets.pool_config(pool).ok_or_else(|| unknown(pool))?}))
}

/// Targets by the newest samples of `up` and `scrape_duration_seconds` within the lookback.
fn stored_targets(api: &Api, scope: &Scope, budget: &RequestBudget) -> Result<(Vec<Value>, Coverage), ApiError> {
    let end_ms = (api.clock)().div_euclid(SECOND / 1000);
    let names = Matcher::new(NAME, MatchOp::Regex, "up|scrape_duration_seconds").map_err(|error| error.to_string())?;
    let start_ms = end_ms.saturating_sub(millis(api.config.lookback));
    let select = MetricSelect { scope: scope.clone(), matchers: vec![names], start_ms, end_ms };
    let mut cursor = api.metrics.cursor(&select, budget)?;
    let (mut series, mut durations, mut up) = (Series::default(), BTreeMap::new(), Vec::new());
    while cursor.next(&mut series)? {
        let (Some(at), Some(value)) = (series.timestamps.last(), series.values.last()) else { continue };
        if is_stale(*value) {
            continue;
        }
        budget.reserve(2 * label_bytes(&series.labels) + 512)?;
        let labels = series.labels.without(|name| name == NAME);
        match series.labels.get(NAME) {
            "up" => up.push((labels, *at, *value)),
            _ => _ = durations.insert(labels, *value),
        }
    }
    let shape = |(labels, at, value): &(Labels, i64, f64)| {
        json!({
            "discoveredLabels": {},
            "labels": labels,
            "scrapePool": labels.get("job"),
            "scrapeUrl": "",
            "globalUrl": "",
            "lastError": if *value == 0.0 { "the collector that scrapes it knows why" } else { "" },
            "lastScrape": format_rfc3339(at.saturating_mul(SECOND / 1000)),
            "lastScrapeDuration": durations.get(labels).copied().unwrap_or_default(),
            "health": if *value == 0.0 { "down" } else { "up" },
            "scrapeInterval": "",
            "scrapeTimeout": "",
        })
    };
    Ok((up.iter().map(shape).collect(), cursor.coverage()))
}

/// Metadata, as who has this scope is told of it.
#[cfg(test)]
pub(crate) fn families_shown_to(targets: &dyn ScrapeTargets, scope: &Scope) -> Value {
    metadata_json(targets, scope, &Params::none(), &|_| Ok(())).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Targets and jobs, as who has this scope is told of them.
#[cfg(test)]
pub(crate) fn shown_to(targets: &dyn ScrapeTargets, scope: &Scope) -> (Value, Value) {
    let shown = targets_json(targets, scope, &Params::none(), &|_| Ok(())).unwrap_or_else(|error| panic!("{error:?}"));
    (shown, pools_json(targets, scope))
}
