//! Containers that ended: out of the one sample that is stored of each run at its end (`weir_container_ended`), so that
//! a day of them is read with every answer. `containers/{id}/lines`: what one said last.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value, json};
use weir_access::{Access, Granted};
use weir_budget::RequestBudget;
use weir_logql::LogExpr;
use weir_logql::eval::lines::{LogOptions, lines};
use weir_model::label::{Labels, MatchOp, Matcher, NAME};
use weir_model::scope::Scope;
use weir_model::select::read_series;
use weir_model::select::{Coverage, MetricSelect, Series};
use weir_model::time::{SECOND, TimeRange};

use super::super::error::ApiError;
use super::super::params::Params;
use super::super::reply::Text;
use super::super::{Api, READ_METRICS};
use super::logs::entry;
use super::{WeirError, containers, end};
use crate::call::Call;

const ENDED: &str = "weir_container_ended";
const RUN: &str = "weir_container_run_seconds";
/// Ended containers of one answer, the newest; it says how many more there are.
const LISTED_MAX: usize = 1000;
/// Last lines of a container when nothing is said.
const LINES_DEFAULT: usize = 20;
/// Lines are looked for so long before the end: who has said nothing for longer has no last words.
const LINES_BEFORE: i64 = 86_400 * SECOND;
/// The lines of an end come a moment after the engine says that it was.
const LINES_AFTER: i64 = 60 * SECOND;

/// The samples of the ends within `query.ended_for`.
pub(super) fn read(
    (api, scope): (&Api, &Scope),
    now_ms: i64,
    budget: &RequestBudget,
) -> Result<(Vec<Series>, Coverage), WeirError> {
    let window_ms = i64::try_from(api.config.ended_for.as_millis()).unwrap_or(i64::MAX);
    let names = format!("{ENDED}|{RUN}");
    let names = Matcher::new(NAME, MatchOp::Regex, &names).map_err(|error| ApiError::from(error.to_string()))?;
    let start_ms = now_ms.saturating_sub(window_ms);
    let select = MetricSelect { scope: scope.clone(), matchers: vec![names], start_ms, end_ms: now_ms };
    let (found, _) = read_series(&*api.metrics, &select, budget)?;
    Ok((found.value, found.coverage))
}

/// How a run ended.
struct Run<'a> {
    labels: &'a Labels,
    /// `None` when nobody knows.
    exit_code: Option<i32>,
    is_oom: bool,
}

/// The runs of one container that ended, by their end in milliseconds.
#[derive(Default)]
pub(super) struct Ended<'a> {
    node: &'a str,
    id: &'a str,
    runs: BTreeMap<i64, Run<'a>>,
    seconds: BTreeMap<i64, f64>,
}

/// By node and container id.
pub(super) fn by_container(series: &[Series]) -> BTreeMap<(&str, &str), Ended<'_>> {
    let mut found = BTreeMap::<_, Ended<'_>>::new();
    for series in series {
        let (node, id) = (containers::node(&series.labels), series.labels.get("container_id"));
        let ended = found.entry((node, id)).or_insert_with(|| Ended { node, id, ..Ended::default() });
        for (at, value) in series.timestamps.iter().zip(&series.values) {
            match series.labels.get(NAME) {
                RUN => _ = ended.seconds.insert(*at, *value),
                _ => ended.add(*at, *value, &series.labels),
            }
        }
    }
    found.retain(|_, ended| !ended.runs.is_empty());
    found
}

impl<'a> Ended<'a> {
    /// An end of which more became known is told again, with other labels.
    fn add(&mut self, at: i64, value: f64, labels: &'a Labels) {
        let exit_code = (value >= 0.0).then_some(value as i32);
        let told = Run { labels, exit_code, is_oom: labels.get("oom") == "true" };
        let run = self.runs.entry(at).or_insert(Run { labels, exit_code, is_oom: told.is_oom });
        if (told.is_oom, told.exit_code.is_some()) > (run.is_oom, run.exit_code.is_some()) {
            *run = told;
        }
    }

    fn last(&self) -> Option<(&i64, &Run<'a>)> {
        self.runs.last_key_value()
    }

    /// When the run began that ended then.
    fn started(&self, at: i64) -> Option<i64> {
        self.seconds.get(&at).map(|seconds| nanos(at) - (seconds * SECOND as f64) as i64)
    }

    /// When the last run ended, in milliseconds.
    pub fn at(&self) -> i64 {
        self.last().map_or(i64::MIN, |(at, _)| *at)
    }

    /// Adds to a container's shape how its last run ended.
    pub fn describe(&self, shape: &mut Value) {
        let Some((at, run)) = self.last() else { return };
        shape["exit_code"] = json!(run.exit_code);
        shape["signal"] = json!(run.labels.get("signal"));
        shape["oom_killed"] = json!(run.is_oom);
        shape["finished"] = json!(nanos(*at).to_string());
        shape["runs_ended"] = json!(self.runs.len());
        if shape["started"] == "" {
            shape["started"] = json!(self.started(*at).map(|at| at.to_string()).unwrap_or_default());
        }
    }

    /// The shape of a container of which there is nothing else.
    pub fn shape(&self) -> Option<Value> {
        let (_, run) = self.last()?;
        let own = |name: &str| run.labels.get(name).to_owned();
        let kills = self.runs.values().filter(|run| run.is_oom).count();
        let mut shape = json!({
            "id": self.id,
            "name": containers::name(run.labels),
            "node": self.node,
            "namespace": own("namespace"),
            "pod": own("pod"),
            "image": own("image"),
            "runtime": own("runtime"),
            "state": "exited",
            "started": "",
            "restarts": 0,
            "labels": containers::free_labels(run.labels),
            "cpu_cores": 0.0,
            "cpu_limit_cores": null,
            "memory_bytes": 0,
            "memory_limit_bytes": null,
            "throttled_ratio": 0.0,
            "oom_kills": kills,
            "pids": 0,
            "cpu_history": [],
            "memory_history": [],
        });
        self.describe(&mut shape);
        Some(shape)
    }
}

/// The newest ends first, no more than an answer may have, and how many there are beside them.
pub(super) fn newest<'a, 'b>(mut ended: Vec<&'b Ended<'a>>) -> (Vec<&'b Ended<'a>>, usize) {
    ended.sort_by_key(|ended| std::cmp::Reverse(ended.at()));
    let more = ended.len().saturating_sub(LISTED_MAX);
    ended.truncate(LISTED_MAX);
    (ended, more)
}

fn nanos(millis: i64) -> i64 {
    millis.saturating_mul(1_000_000)
}

/// The last lines of a container: those before its end where one is known, the newest otherwise.
pub(super) async fn last_lines(
    api: Call,
    granted: Granted,
    Extension(access): Extension<Access>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, WeirError> {
    // Ends are samples: who may not read those gets the newest lines.
    let ends = access.grant_optional(READ_METRICS).await.ok().map(|granted| granted.scope);
    let work = move |api: &Api, budget: &RequestBudget| {
        let limit = params.number("limit", LINES_DEFAULT)?;
        if limit > api.config.lines_max {
            return Err(format!("parameter limit: {limit} is above query.lines_max ({})", api.config.lines_max).into());
        }
        let now = (api.clock)();
        let ends = ends.map(|scope| read((api, &scope), now / 1_000_000, budget)).transpose()?;
        let (series, mut coverage) = ends.unwrap_or_default();
        let ended = by_container(&series);
        let at = ended.values().filter(|ended| ended.id == id).map(Ended::at).max();
        let until = at.map_or(now, |at| (nanos(at) + LINES_AFTER).min(now));
        let matcher = Matcher::new("container_id", MatchOp::Equal, &id).map_err(|error| ApiError::from(error.to_string()))?;
        let log = LogExpr { matchers: vec![matcher], stages: Vec::new() };
        let options = LogOptions {
            scope: Scope::clone(&granted.scope),
            range: TimeRange { start: until - LINES_BEFORE, end: until },
            limit,
            newest_first: true,
            detected_level: api.config.detected_level,
        };
        let found = lines(&*api.logs, "", &log, &options, budget)?;
        coverage.merge(found.coverage);
        let mut text = Text::new(budget);
        text.raw("{\"lines\":")?;
        text.each(found.value.iter().rev().map(entry))?;
        text.raw(",\"finished\":")?;
        text.json(&json!(at.map(|at| nanos(at).to_string()).unwrap_or_default()))?;
        end(text, coverage)
    };
    api.answer(work).await
}
