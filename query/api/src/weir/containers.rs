//! `containers`: what runs now, out of the stored samples under cAdvisor's and node_exporter's names, and what has ended
//! lately ([`super::ended`]).
//!
//! A container is a cgroup with `weir_container_info`, or one that carries a container's name; it runs while its newest
//! sample is at most two minutes old and no staleness marker. Pause containers of pods are left out. The other cgroups
//! (systemd's units and slices) and the nodes themselves stand beside them, so that a machine without containers is not empty.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde_json::{Value, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::label::{Labels, MatchOp, Matcher, NAME};
use weir_model::metric::is_stale;
use weir_model::scope::Scope;
use weir_model::select::read_series;
use weir_model::select::{MetricSelect, Series};
use weir_model::time::SECOND;

use super::super::Api;
use super::super::error::ApiError;
use super::super::reply::Text;
use super::ended::{self, Ended};
use super::{WeirError, end, nodes};
use crate::call::Call;

/// Sparklines show this much.
const HISTORY_MS: i64 = 5 * 60 * 1000;
/// Older samples are of containers that are gone.
pub(super) const ALIVE_MS: i64 = 2 * 60 * 1000;
/// Rates are taken over at least this long, so that one late sample does not make a spike.
const RATE_MS: i64 = 10_000;
/// Points of a sparkline: one every five seconds.
const POINT_MS: i64 = 5000;

const NAMES: &str = "container_cpu_usage_seconds_total|container_memory_working_set_bytes|container_memory_usage_bytes\
    |container_spec_cpu_quota|container_spec_cpu_period|container_spec_memory_limit_bytes|container_cpu_cfs_periods_total\
    |container_cpu_cfs_throttled_periods_total|container_oom_events_total|container_threads|container_processes\
    |container_start_time_seconds|weir_container_info|weir_container_oom_kills_total|weir_container_restarts_total|machine_cpu_cores|machine_memory_bytes\
    |node_cpu_seconds_total|node_load1|node_memory_MemAvailable_bytes";

/// What runs now, and what has ended.
pub(super) async fn containers(api: Call, granted: Granted) -> Result<Response, WeirError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let now_ms = (api.clock)() / 1_000_000;
        let names = Matcher::new(NAME, MatchOp::Regex, NAMES).map_err(|error| ApiError::from(error.to_string()))?;
        let (scope, matchers) = (Scope::clone(&granted.scope), vec![names]);
        // From a multiple of a point's time: what has not changed is answered alike for as long (304).
        let start_ms = (now_ms - HISTORY_MS).div_euclid(POINT_MS) * POINT_MS;
        let select = MetricSelect { scope, matchers, start_ms, end_ms: now_ms };
        let (found, _) = read_series(&*api.metrics, &select, budget)?;
        let (ended, ended_coverage) = ended::read((api, &granted.scope), now_ms, budget)?;
        let ended = ended::by_container(&ended);
        let (mut cgroups, mut machines) = (BTreeMap::<Key<'_>, Cgroup<'_>>::new(), BTreeMap::<&str, nodes::Node<'_>>::new());
        for series in &found.value {
            let (node, name) = (node(&series.labels), series.labels.get(NAME));
            if name.starts_with("node_") || name.starts_with("machine_") {
                machines.entry(node).or_default().add(series, now_ms);
            } else {
                // A container whose cgroup was never seen has its id only.
                let ids = ["id", "container_id"].map(|name| series.labels.get(name));
                cgroups.entry((node, if ids[0].is_empty() { ids[1] } else { ids[0] })).or_default().add(series);
            }
        }
        cgroups.retain(|_, cgroup| cgroup.runs(now_ms));
        let (containers, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            cgroups.into_iter().partition(|(_, cgroup)| cgroup.is_container());
        // The root cgroup is the node.
        let others = others.iter().filter(|(key, cgroup)| key.1 != "/" && !cgroup.is_pause() && !is_within(key, &containers));
        let mut text = Text::new(budget);
        let listed: BTreeSet<Key<'_>> = containers.iter().map(|((node, path), cgroup)| (*node, cgroup.id(path))).collect();
        let (gone, more) =
            ended::newest(ended.iter().filter(|(key, _)| !listed.contains(*key)).map(|(_, ended)| ended).collect());
        let live = containers.iter().map(|((node, path), cgroup)| cgroup.shape(node, path, ended.get(&(*node, cgroup.id(path)))));
        text.raw("{\"containers\":")?;
        text.each(live.chain(gone.into_iter().filter_map(Ended::shape)))?;
        text.raw(",\"ended_more\":")?;
        text.json(&json!(more))?;
        text.raw(",\"nodes\":")?;
        text.each(machines.iter().filter_map(|(node, machine)| machine.shape(node)))?;
        text.raw(",\"cgroups\":")?;
        text.each(others.map(|((node, id), cgroup)| cgroup.unit(node, id)))?;
        let mut coverage = found.coverage;
        coverage.merge(ended_coverage);
        end(text, coverage)
    };
    api.answer(work).await
}

/// A sparkline shows no more digits than a tenth of a millicore's; the rest is half of the bytes that a page polls.
fn drawn(cores: f64) -> f64 {
    (cores * 1e4).round() / 1e4
}

/// Node and cgroup path.
type Key<'a> = (&'a str, &'a str);

/// Whether a cgroup lies inside a container, at any depth.
fn is_within((node, path): &Key<'_>, containers: &BTreeMap<Key<'_>, Cgroup<'_>>) -> bool {
    path.match_indices('/').any(|(at, _)| containers.contains_key(&(*node, &path[..at])))
}

pub(super) fn node(labels: &Labels) -> &str {
    let node = labels.get("node");
    if node.is_empty() { labels.get("instance") } else { node }
}

/// The series of one cgroup by name; of several with one name (a label changed), the one that is newest.
#[derive(Default)]
struct Cgroup<'a>(BTreeMap<&'a str, &'a Series>);

impl<'a> Cgroup<'a> {
    fn add(&mut self, series: &'a Series) {
        let cpu = series.labels.get("cpu");
        let newest = |series: &Series| series.timestamps.last().copied().unwrap_or(i64::MIN);
        if !cpu.is_empty() && cpu != "total" {
            return;
        }
        let known = self.0.entry(series.labels.get(NAME)).or_insert(series);
        let stale = |series: &Series| series.values.last().is_none_or(|value| is_stale(*value));
        if (newest(series), !stale(series)) > (newest(known), !stale(known)) {
            *known = series;
        }
    }

    /// What says who it is: the info series, else any.
    fn about(&self) -> &Labels {
        static NONE: Labels = Labels::EMPTY;
        self.0.get("weir_container_info").or_else(|| self.0.values().next()).map_or(&NONE, |series| &series.labels)
    }

    fn runs(&self, now_ms: i64) -> bool {
        self.0.values().any(|series| {
            let fresh = series.timestamps.last().is_some_and(|at| now_ms - at <= ALIVE_MS);
            fresh && series.values.last().is_some_and(|value| !is_stale(*value))
        })
    }

    fn is_container(&self) -> bool {
        let labels = self.about();
        let named = !labels.get("name").is_empty() || !labels.get("container").is_empty();
        !self.is_pause() && (named || self.0.contains_key("weir_container_info"))
    }

    fn is_pause(&self) -> bool {
        !self.about().get("pod").is_empty() && self.about().get("container").is_empty()
    }

    /// The newest value.
    fn last(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.values.last().copied().filter(|value| !value.is_nan())
    }

    fn rate(&self, name: &str) -> Option<f64> {
        rate(self.0.get(name)?)
    }

    fn cpu_history(&self) -> Vec<Value> {
        let Some(series) = self.0.get("container_cpu_usage_seconds_total") else { return Vec::new() };
        let points = thinned(series);
        points
            .windows(2)
            .filter_map(|pair| Some(json!([seconds(series.timestamps[pair[1]]), drawn(growth(series, pair[0], pair[1])?)])))
            .collect()
    }

    fn memory_history(&self) -> Vec<Value> {
        let Some(series) = self.memory() else { return Vec::new() };
        let points = thinned(series).into_iter().filter(|i| !series.values[*i].is_nan());
        points.map(|i| json!([seconds(series.timestamps[i]), series.values[i]])).collect()
    }

    fn memory(&self) -> Option<&&'a Series> {
        self.0.get("container_memory_working_set_bytes").or_else(|| self.0.get("container_memory_usage_bytes"))
    }

    /// A cgroup that is no container: what it uses, under the name that people know it by.
    fn unit(&self, node: &str, path: &str) -> Value {
        json!({
            "id": path,
            "name": nodes::unit_name(path),
            "kind": nodes::unit_kind(path),
            "node": node,
            "cpu_cores": self.rate("container_cpu_usage_seconds_total"),
            "memory_bytes": self.memory_bytes(),
            "memory_limit_bytes": self.memory_limit_bytes(),
            "pids": self.pids(),
        })
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.memory().and_then(|series| series.values.last()).filter(|value| !value.is_nan()).map(|value| *value as u64)
    }

    fn memory_limit_bytes(&self) -> Option<u64> {
        self.last("container_spec_memory_limit_bytes").filter(|limit| *limit > 0.0).map(|limit| limit as u64)
    }

    fn pids(&self) -> Option<u64> {
        self.last("container_threads").or(self.last("container_processes")).map(|pids| pids as u64)
    }

    /// The container's id, else the path of its cgroup.
    fn id<'b>(&'b self, path: &'b str) -> &'b str {
        Some(self.about().get("container_id")).filter(|id| !id.is_empty()).unwrap_or(path)
    }

    fn shape(&self, node: &str, path: &str, ended: Option<&Ended<'_>>) -> Value {
        let labels = self.about();
        let own = |name: &str| labels.get(name).to_owned();
        let quota = self.last("container_spec_cpu_quota").filter(|quota| *quota > 0.0);
        let period = self.last("container_spec_cpu_period").filter(|period| *period > 0.0);
        let periods = self.rate("container_cpu_cfs_periods_total").filter(|rate| *rate > 0.0);
        let throttled = self.rate("container_cpu_cfs_throttled_periods_total").unwrap_or(0.0);
        let oom_kills = self.last("container_oom_events_total").or(self.last("weir_container_oom_kills_total"));
        let started = self.last("container_start_time_seconds").map(|at| ((at * SECOND as f64) as i64).to_string());
        let mut shape = json!({
            "id": self.id(path),
            "name": name(labels),
            "node": node,
            "namespace": own("namespace"),
            "pod": own("pod"),
            "image": own("image"),
            "runtime": own("runtime"),
            "state": Some(own("state")).filter(|state| !state.is_empty()).unwrap_or_else(|| "running".into()),
            "started": started.unwrap_or_default(),
            "restarts": self.last("weir_container_restarts_total").unwrap_or(0.0) as u64,
            "labels": free_labels(labels),
            "cpu_cores": self.rate("container_cpu_usage_seconds_total").unwrap_or(0.0),
            "cpu_limit_cores": quota.zip(period).map(|(quota, period)| quota / period),
            "memory_bytes": self.memory_bytes().unwrap_or(0),
            "memory_limit_bytes": self.memory_limit_bytes(),
            "throttled_ratio": periods.map_or(0.0, |periods| throttled / periods),
            "oom_kills": oom_kills.unwrap_or(0.0) as u64,
            "pids": self.pids().unwrap_or(0),
            "cpu_history": self.cpu_history(),
            "memory_history": self.memory_history(),
            "exit_code": null,
            "signal": "",
            "oom_killed": false,
            "finished": "",
            "runs_ended": 0,
        });
        if let Some(ended) = ended {
            ended.describe(&mut shape);
            // The end is told before the next sample says the state.
            if ended.at() > self.newest() {
                shape["state"] = json!("exited");
            }
        }
        shape
    }

    /// When it was sampled last, in milliseconds.
    fn newest(&self) -> i64 {
        self.0.values().filter_map(|series| series.timestamps.last()).max().copied().unwrap_or(i64::MIN)
    }
}

/// What people call a container.
pub(super) fn name(labels: &Labels) -> &str {
    ["container", "name"].into_iter().map(|name| labels.get(name)).find(|value| !value.is_empty()).unwrap_or_default()
}

/// The container's own labels.
pub(super) fn free_labels(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().filter_map(|(name, value)| Some((name.strip_prefix("container_label_")?, value))).collect()
}

/// Growth a second of a counter over its newest [`RATE_MS`] or more; `None` where there is none.
pub(super) fn rate(series: &Series) -> Option<f64> {
    let last = series.timestamps.last()?;
    let from = series.timestamps.partition_point(|at| *at <= last - RATE_MS).saturating_sub(1);
    growth(series, from, series.timestamps.len() - 1)
}

/// Growth a second of a counter between two of its samples; `None` over a reset or a gap marker.
fn growth(series: &Series, from: usize, to: usize) -> Option<f64> {
    let millis = series.timestamps[to] - series.timestamps[from];
    let more = series.values[to] - series.values[from];
    (millis > 0 && more >= 0.0).then(|| more * 1000.0 / millis as f64)
}

/// Samples at least [`POINT_MS`] apart.
fn thinned(series: &Series) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for (i, at) in series.timestamps.iter().enumerate() {
        if kept.last().is_none_or(|last| at - series.timestamps[*last] >= POINT_MS) {
            kept.push(i);
        }
    }
    kept
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
