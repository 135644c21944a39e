//! How much there is of which streams: `index/stats`, `index/volume`, `index/volume_range` and `index/shards`. From roll-ups where they can say it.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde_json::{Value as Json, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::label::{Labels, Matcher};
use weir_model::scope::Scope;
use weir_model::select::label_bytes;
use weir_model::select::{Budget, Covered, LogVolume};
use weir_model::time::{SECOND, TimeRange};

use super::super::Api;
use super::super::params::{HOUR, Params};
use super::super::reply::Reply;
use super::names::{matchers, select, success};
use super::query::steps;
use super::shape::{sample, seconds};
use super::{LokiError, query_of};
use crate::call::Call;

/// Width of a roll-up.
const ROLL_UP: i64 = 10 * SECOND;

/// Loki's default for `limit`, and what it takes 0 for.
const LIMIT_DEFAULT: usize = 100;

/// A step that roll-ups can answer: the next multiple of theirs.
pub(super) fn whole_step(step: i64) -> i64 {
    (step.max(1) - 1).div_euclid(ROLL_UP).saturating_add(1).saturating_mul(ROLL_UP).min(i64::MAX / ROLL_UP * ROLL_UP)
}

/// Volumes in buckets of `step`; without one, of the whole range in as few as the readers allow.
fn volume(
    (api, scope): (&Api, &Scope),
    matchers: Vec<Matcher>,
    (range, step): (TimeRange, Option<i64>),
    budget: &RequestBudget,
) -> Result<Covered<Vec<LogVolume>>, LokiError> {
    let step = step.unwrap_or_else(|| whole_step(range.end.saturating_sub(range.start).saturating_add(1)));
    let found = api.logs.volume(&select(scope, matchers, range), step, budget)?;
    budget.reserve(found.value.iter().map(|one| 64 + label_bytes(&one.stream)).sum())?;
    Ok(found)
}

/// What `index/stats` says of a selector. weir has no count of chunks; Grafana adds the number up, so there is one.
fn stats(of: (&Api, &Scope), params: &Params, budget: &RequestBudget) -> Result<Covered<Json>, LokiError> {
    let range = params.range((of.0.clock)(), HOUR)?;
    let found = volume(of, matchers(params.get("query"))?, (range, None), budget)?;
    let streams: BTreeSet<&Labels> = found.value.iter().map(|one| &one.stream).collect();
    let entries: u64 = found.value.iter().map(|one| one.lines).sum();
    let bytes: u64 = found.value.iter().map(|one| one.bytes).sum();
    let value = json!({"streams": streams.len(), "chunks": 0, "entries": entries, "bytes": bytes});
    Ok(Covered { value, coverage: found.coverage })
}

/// `/index/stats`
pub(super) async fn index_stats(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let found = stats((api, &granted.scope), &params, budget)?;
        Ok(Reply::json(budget, &found.value, Some(found.coverage))?)
    };
    api.answer(work).await
}

/// `/index/shards`: how a query may be cut so that its parts run beside each other. One of weir's uses all cores by itself, so there is one shard,
/// of all streams.
pub(super) async fn index_shards(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        query_of(&params)?;
        let found = stats((api, &granted.scope), &params, budget)?;
        let body = json!({"shards": [{"bounds": {"min": 0, "max": u64::MAX}, "stats": found.value}]});
        Ok(Reply::json(budget, &body, Some(found.coverage))?)
    };
    api.answer(work).await
}

/// `/index/volume`: bytes of the whole range, the largest first.
pub(super) async fn index_volume(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let range = params.range((api.clock)(), HOUR)?;
        let asked = Asked::of(&params)?;
        let found = volume((api, &granted.scope), asked.matchers.clone(), (range, None), budget)?;
        let one = |(metric, sums): (Json, BTreeMap<i64, u64>)| {
            let bytes: u64 = sums.values().sum();
            json!({"metric": metric, "value": [seconds(range.end), sample(bytes as f64)]})
        };
        let result: Vec<Json> = asked.largest(&found.value).into_iter().map(one).collect();
        success(budget, &json!({"resultType": "vector", "result": result}), found.coverage)
    };
    api.answer(work).await
}

/// `/index/volume_range`: bytes of each step. Steps begin at multiples of their width, and a sample stands at the end of its step, or of
/// the range.
pub(super) async fn volume_range(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let range = params.range((api.clock)(), HOUR)?;
        let asked = Asked::of(&params)?;
        let step = whole_step(steps(range, params.duration("step")?, api.config.points_max)?.step);
        let found = volume((api, &granted.scope), asked.matchers.clone(), (range, Some(step)), budget)?;
        let one = |(metric, sums): (Json, BTreeMap<i64, u64>)| {
            let end = |bucket: i64| seconds(bucket.saturating_add(step).min(range.end));
            let values: Vec<Json> = sums.into_iter().map(|(at, bytes)| json!([end(at), sample(bytes as f64)])).collect();
            json!({"metric": metric, "values": values})
        };
        let result: Vec<Json> = asked.largest(&found.value).into_iter().map(one).collect();
        success(budget, &json!({"resultType": "matrix", "result": result}), found.coverage)
    };
    api.answer(work).await
}

/// How volumes are to be summed.
struct Asked {
    matchers: Vec<Matcher>,
    /// `targetLabels`: streams without one of them do not count.
    targets: Option<Vec<String>>,
    by_label: bool,
    limit: usize,
}

impl Asked {
    fn of(params: &Params) -> Result<Self, LokiError> {
        let by_label = match params.get("aggregateBy") {
            None | Some("series") => false,
            Some("labels") => true,
            Some(_) => return Err("parameter aggregateBy is series or labels".to_owned().into()),
        };
        let matchers = matchers(params.get("query"))?;
        let targets = params.get("targetLabels").map(|targets| targets.split(',').map(|name| name.trim().to_owned()).collect());
        let limit = match params.number("limit", LIMIT_DEFAULT)? {
            0 => LIMIT_DEFAULT,
            limit => limit,
        };
        Ok(Self { matchers, targets, by_label, limit })
    }

    /// Whether a label is told apart: a target; else one that the selector names, or any where it names none.
    fn tells(&self, name: &str) -> bool {
        match &self.targets {
            Some(targets) => targets.iter().any(|target| target == name),
            None => self.by_label || self.matchers.is_empty() || self.matchers.iter().any(|matcher| matcher.name == name),
        }
    }

    /// Bytes by bucket of each series or label, the largest first.
    fn largest(&self, volumes: &[LogVolume]) -> Vec<(Json, BTreeMap<i64, u64>)> {
        let mut sums: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
        let mut add = |key: Labels, one: &LogVolume| *sums.entry(key).or_default().entry(one.bucket).or_default() += one.bytes;
        let has_targets = |stream: &Labels| self.targets.iter().flatten().all(|target| !stream.get(target).is_empty());
        for one in volumes.iter().filter(|one| has_targets(&one.stream)) {
            if self.by_label {
                let names = one.stream.iter().map(|(name, _)| name).filter(|name| self.tells(name));
                names.for_each(|name| add(Labels::from_pairs([(name, name)]), one));
            } else {
                add(one.stream.without(|name| !self.tells(name)), one);
            }
        }
        let total = |sums: &BTreeMap<i64, u64>| sums.values().sum::<u64>();
        let mut ordered: Vec<_> = sums.into_iter().collect();
        ordered.sort_by(|a, b| total(&b.1).cmp(&total(&a.1)).then_with(|| a.0.cmp(&b.0)));
        ordered.truncate(self.limit);
        let by_label = |labels: &Labels| json!({labels.iter().next().map_or("", |(name, _)| name): ""});
        let metric = |labels: &Labels| if self.by_label { by_label(labels) } else { json!(labels) };
        ordered.into_iter().map(|(labels, sums)| (metric(&labels), sums)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_of_whole_roll_ups() {
        let check = |step: i64, expected: i64| assert_eq!(whole_step(step), expected, "{step}");
        check(0, ROLL_UP);
        check(ROLL_UP, ROLL_UP);
        check(ROLL_UP + 1, 2 * ROLL_UP);
        check(i64::MAX, i64::MAX / ROLL_UP * ROLL_UP);
    }
}
