//! Streams, vectors and matrices as Loki writes them: nanoseconds as strings for lines, float seconds for samples.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Number, Value as Json, json};
use weir_model::time::UnixNanos;

use crate::logql::eval::lines::Entry;
use crate::logql::eval::{Series, Stats, Steps, Value};
use crate::logql::pipeline::labels::LabelSet;
use crate::logql::pipeline::readable;

/// Lines grouped by their labels, in the order of `entries` within a stream. With `categorize`, a stream has only the
/// stream's own labels and every line says the others apart.
pub(super) fn streams(entries: &[Entry], categorize: bool) -> Json {
    let mut groups: BTreeMap<&LabelSet, Vec<Json>> = BTreeMap::new();
    for entry in entries {
        let labels = if categorize { &entry.categories.stream } else { &entry.labels };
        groups.entry(labels).or_default().push(value(entry, categorize));
    }
    let result: Vec<Json> =
        groups.into_iter().map(|(labels, values)| json!({"stream": labels.to_json(), "values": values})).collect();
    let mut data = json!({"resultType": "streams", "result": result});
    if categorize {
        data["encodingFlags"] = json!(["categorize-labels"]);
    }
    data
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

/// A vector or a scalar at `at`.
pub(super) fn instant(value: Value, at: UnixNanos) -> Json {
    match value {
        Value::Scalar(number) => json!({"resultType": "scalar", "result": [seconds(at), sample(number)]}),
        Value::Vector(series) => {
            let one = |series: &Series| {
                let point = series.points.first().copied().flatten()?;
                Some(json!({"metric": series.labels.to_json(), "value": [seconds(at), sample(point)]}))
            };
            json!({"resultType": "vector", "result": series.iter().filter_map(one).collect::<Vec<_>>()})
        }
    }
}

/// Series with their points; a scalar is a series without labels.
pub(super) fn matrix(value: Value, steps: Steps) -> Json {
    let mut series = match value {
        Value::Scalar(number) => vec![Series { labels: LabelSet::default(), points: vec![Some(number); steps.count] }],
        Value::Vector(series) => series,
    };
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let one = |series: &Series| {
        let points = series.points.iter().enumerate();
        let values: Vec<Json> = points.filter_map(|(i, point)| Some(json!([seconds(steps.at(i)), sample((*point)?)]))).collect();
        json!({"metric": series.labels.to_json(), "values": values})
    };
    json!({"resultType": "matrix", "result": series.iter().map(one).collect::<Vec<_>>()})
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

/// What Loki says about the work; Grafana's inspector and logcli show the summary.
pub(super) fn stats(stats: Stats, took: Duration) -> Json {
    let seconds = took.as_secs_f64().max(1e-9);
    json!({
        "summary": {
            "bytesProcessedPerSecond": (stats.bytes_passed as f64 / seconds) as u64,
            "linesProcessedPerSecond": (stats.lines_scanned as f64 / seconds) as u64,
            "totalBytesProcessed": stats.bytes_passed,
            "totalLinesProcessed": stats.lines_scanned,
            "execTime": took.as_secs_f64(),
            "queueTime": 0.0,
            "subqueries": 0,
            "totalEntriesReturned": 0,
            "splits": 0,
            "shards": 0,
            "totalPostFilterLines": stats.lines_passed,
            "totalStructuredMetadataBytesProcessed": 0,
        },
        "querier": {"store": {}},
        "ingester": {"store": {}},
        "cache": {},
        "index": {},
    })
}
