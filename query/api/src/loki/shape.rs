//! Streams, vectors and matrices as Loki writes them: nanoseconds as strings for lines, float seconds for samples.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Number, Value as Json, json};
use weir_logql::eval::lines::Entry;
use weir_logql::eval::{Series, Stats, Steps, Value};
use weir_logql::pipeline::labels::LabelSet;
use weir_logql::pipeline::readable;
use weir_model::select::ReadError;
use weir_model::time::UnixNanos;

use super::super::reply::Text;

/// Lines grouped by their labels, in the order of `entries` within a stream: members of `data`. With `categorize`, a stream
/// has only the stream's own labels and every line says the others apart.
pub(super) fn streams(out: &mut Text<'_>, entries: &[Entry], categorize: bool) -> Result<(), ReadError> {
    out.raw("\"resultType\":\"streams\",\"result\":[")?;
    for (i, (labels, entries)) in grouped(entries, categorize).into_iter().enumerate() {
        out.raw(if i == 0 { "{\"stream\":" } else { ",{\"stream\":" })?;
        out.json(&labels.to_json())?;
        out.raw(",\"values\":")?;
        out.each(entries.into_iter().map(|entry| value(entry, categorize)))?;
        out.raw("}")?;
    }
    out.raw(if categorize { "],\"encodingFlags\":[\"categorize-labels\"]" } else { "]" })
}

/// The same as a value, for a message of a tail.
pub(super) fn streams_json(entries: &[Entry], categorize: bool) -> Json {
    let one = |(labels, entries): (&LabelSet, Vec<&Entry>)| {
        let values: Vec<Json> = entries.into_iter().map(|entry| value(entry, categorize)).collect();
        json!({"stream": labels.to_json(), "values": values})
    };
    grouped(entries, categorize).into_iter().map(one).collect()
}

fn grouped(entries: &[Entry], categorize: bool) -> BTreeMap<&LabelSet, Vec<&Entry>> {
    let mut groups: BTreeMap<&LabelSet, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        groups.entry(if categorize { &entry.categories.stream } else { &entry.labels }).or_default().push(entry);
    }
    groups
}

fn value(entry: &Entry, categorize: bool) -> Json {
    let (at, line) = (entry.source.timestamp.to_string(), readable(entry.text()));
    if !categorize {
        return json!([at, line]);
    }
    let mut others = Map::new();
    for (name, labels) in [("structuredMetadata", &entry.categories.metadata), ("parsed", &entry.categories.parsed)] {
        if labels.iter().next().is_some() {
            others.insert(name.into(), labels.to_json());
        }
    }
    json!([at, line, others])
}

/// A vector or a scalar at `at`: members of `data`.
pub(super) fn instant(out: &mut Text<'_>, value: &Value, at: UnixNanos) -> Result<(), ReadError> {
    let series = match value {
        Value::Scalar(number) => {
            out.raw("\"resultType\":\"scalar\",\"result\":")?;
            return out.json(&json!([seconds(at), sample(*number)]));
        }
        Value::Vector(series) => series,
    };
    out.raw("\"resultType\":\"vector\",\"result\":")?;
    out.each(series.iter().filter_map(|series| {
        let point = series.points.first().copied().flatten()?;
        Some(json!({"metric": series.labels.to_json(), "value": [seconds(at), sample(point)]}))
    }))
}

/// Series with their points; a scalar is a series without labels. Members of `data`.
pub(super) fn matrix(out: &mut Text<'_>, value: Value, steps: Steps) -> Result<(), ReadError> {
    let mut series = match value {
        Value::Scalar(number) => vec![Series { labels: LabelSet::default(), points: vec![Some(number); steps.count] }],
        Value::Vector(series) => series,
    };
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    out.raw("\"resultType\":\"matrix\",\"result\":")?;
    out.each(series.iter().map(|series| {
        let points = series.points.iter().enumerate();
        let values: Vec<Json> = points.filter_map(|(i, point)| Some(json!([seconds(steps.at(i)), sample((*point)?)]))).collect();
        json!({"metric": series.labels.to_json(), "values": values})
    }))
}

/// Seconds with milliseconds, without a fraction where there is none.
pub(super) fn seconds(at: UnixNanos) -> Json {
    let millis = at.div_euclid(1_000_000);
    if millis % 1000 == 0 {
        return (millis / 1000).into();
    }
    Number::from_f64(millis as f64 / 1000.0).map_or(Json::Null, Json::Number)
}

/// A number as Go's `strconv` writes it without an exponent.
pub(super) fn sample(value: f64) -> String {
    if value.is_infinite() { if value > 0.0 { "+Inf".into() } else { "-Inf".into() } } else { value.to_string() }
}

/// What Loki says about the work; Grafana's inspector and logcli show the summary. Only what is measured: what weir does not
/// have (shards, splits, caches, chunks) is left out, and clients read it as none.
pub(super) fn stats(stats: Stats, entries: Option<usize>, took: Duration, waited: Duration) -> Json {
    let seconds = took.as_secs_f64().max(1e-9);
    let mut summary = json!({
        "bytesProcessedPerSecond": (stats.bytes_passed as f64 / seconds) as u64,
        "linesProcessedPerSecond": (stats.lines_scanned as f64 / seconds) as u64,
        "totalBytesProcessed": stats.bytes_passed,
        "totalLinesProcessed": stats.lines_scanned,
        "execTime": took.as_secs_f64(),
        "queueTime": waited.as_secs_f64(),
        "totalPostFilterLines": stats.lines_passed,
    });
    if let Some(entries) = entries {
        summary["totalEntriesReturned"] = entries.into();
    }
    json!({"summary": summary})
}
