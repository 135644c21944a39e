//! What is said once of each run of a container that ended, at the time of its end, so that a day of ends is a day of single
//! samples: who, how, how long it ran. Beside it, [`super::container`] says how the last run ended with every sample.

use std::sync::Arc;

use weir_model::label::{Labels, NAME, normalise_label_name};
use weir_model::metric::{Family, MetricBatch, MetricRow, Schema};
use weir_model::time::{SECOND, UnixNanos};

use super::column::{Metric, counter, gauge};
use super::container;
use crate::containers::Death;

/// The value where nobody knows the exit code; no process ends with it.
const UNKNOWN: f64 = -1.0;

static ENDED: Metric = gauge(
    "weir_container_ended",
    "A run of a container that ended, one sample at its end: its exit code, 128 + signal when one ended it, -1 when it is not known.",
);
static RUN: Metric = gauge("weir_container_run_seconds", "How long a run of a container took that ended, one sample at its end.");
static OOM_KILLS: Metric =
    counter("weir_container_oom_kills_total", "Processes of the container killed for lack of memory, over all of its runs.");
static OOM_EVENTS: Metric = counter("container_oom_events_total", "Processes killed for lack of memory.");

/// One batch at the time of the end. Before it, one in which the kills of a container that no sample has had are 0: a
/// counter that begins at 1 has not grown, as PromQL sees it.
pub(super) fn batches(target: &Labels, death: &Death) -> Vec<MetricBatch> {
    let (own, end) = (&death.record.container, &death.end);
    let base = container::labels(death.record.cgroup.as_deref().unwrap_or_default(), Some(own));
    let mut batches = Vec::new();
    if death.is_unsampled && end.oom_kills > 0 {
        // A sample of before the end, and not so long before that a rate would be thinned out.
        let at = end.started.unwrap_or(i64::MIN).max(end.at - SECOND).min(end.at - 1_000_000);
        let mut columns = vec![(&OOM_KILLS, base.with("container_id", &own.id), 0.0)];
        if death.record.cgroup.is_some() {
            columns.push((&OOM_EVENTS, base.clone(), 0.0));
        }
        batches.push(batch(target, at, columns));
    }
    let free = own.labels.iter().map(|(name, value)| (format!("container_label_{}", normalise_label_name(name)), value.as_str()));
    let free: Vec<(String, &str)> = free.collect();
    let about = [
        ("container_id", own.id.as_str()),
        ("runtime", own.engine.name()),
        ("signal", end.signal()),
        ("oom", if end.oom_kills > 0 { "true" } else { "false" }),
    ];
    let labels = free.iter().map(|(name, value)| (name.as_str(), *value)).chain(base.iter()).chain(about);
    let mut columns = vec![(&ENDED, Labels::from_pairs(labels), end.exit_code.map_or(UNKNOWN, f64::from))];
    if let Some(started) = end.started {
        columns.push((&RUN, base.with("container_id", &own.id), (end.at - started).max(0) as f64 / 1e9));
    }
    batches.push(batch(target, end.at, columns));
    batches
}

fn batch(target: &Labels, timestamp: UnixNanos, columns: Vec<(&'static Metric, Labels, f64)>) -> MetricBatch {
    let families = columns.iter().map(|(metric, ..)| Family {
        name: metric.name.to_owned(),
        kind: metric.kind,
        help: metric.help.to_owned(),
        unit: String::new(),
    });
    let series = columns.iter().map(|(metric, labels, _)| labels.with(NAME, metric.name)).collect();
    let schema = Schema::new(series, families.collect());
    let values = columns.iter().map(|(.., value)| *value).collect();
    MetricBatch { target: target.clone(), schema: Arc::new(schema), rows: vec![MetricRow::new(timestamp, values)] }
}
