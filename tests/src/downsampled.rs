//! Queries over samples of which the oldest are aggregates of an hour, younger ones of 5 minutes, and the newest as they came: what can be told of
//! aggregates is what was told of all samples, and a warning says what cannot.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::weir::Weir;

const HOUR: i64 = 3600;

/// Lines of InfluxDB's protocol: two hours of a counter that begins anew now and then, every 15 seconds.
fn lines(start: i64) -> String {
    let mut lines = String::new();
    for i in 0..2 * HOUR / 15 {
        let value = if i % 97 > 90 { i % 97 - 91 } else { i % 97 * 3 };
        writeln!(lines, "load,host=a value={value} {}", start + i * 15 + 1).unwrap();
    }
    lines
}

/// Time and value of each step, and warnings.
async fn ask(weir: &Weir, query: &str, (start, end): (i64, i64)) -> (Vec<(i64, f64)>, Vec<String>) {
    let (start, end) = (start.to_string(), end.to_string());
    let parameters = [("query", query), ("start", &start), ("end", &end), ("step", "3600")];
    let answer = weir.get("/api/v1/query_range", &parameters).await;
    let texts = |own: &Value| own.as_array().into_iter().flatten().map(|own| own.as_str().unwrap().to_owned()).collect();
    let rows = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let point = |own: &Value| (own[0].as_f64().unwrap() as i64, own[1].as_str().unwrap().parse().unwrap());
    let points = rows.iter().flat_map(|row| row["values"].as_array().unwrap()).map(point).collect();
    (points, texts(&answer["warnings"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_samples_say_what_they_said() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("weir.toml");
    let text = "[collector.push]\nreject_older_than = \"0s\"\n[telemetry]\nusage_interval = \"10m\"\n[aggregator.downsampling]\n\
                resolution_5m_after = \"1d\"\nresolution_1h_after = \"2d\"\n";
    std::fs::write(&config, text).unwrap();
    // What weir says of itself is of now, and a block waits until all of it is old: its own series lie in another partition by this node's
    // name, and what it says of usage at its start, in any partition, is in a block of its own.
    let arguments = ["--no-node", "--node-name", "elsewhere", "--config", config.to_str().unwrap()];
    let weir = Weir::start_with(&folder.path().join("data"), &arguments, &[]).await;
    weir.admin("seal").await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 / HOUR * HOUR;
    let range = (now - 72 * HOUR, now);
    for hours in [72, 36, 3] {
        let body = lines(now - hours * HOUR);
        let url = weir.url("/api/v2/write?precision=s");
        let answer = weir_tls::client().post(url).body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
        weir.admin("seal").await;
    }
    let selector = "{__name__=~\"load.*\",host=\"a\"}";
    let mut told: Vec<String> =
        ["min", "max", "sum", "count", "avg", "last", "first"].map(|own| format!("{own}_over_time({selector}[1h])")).into();
    told.extend(["rate", "increase", "delta"].map(|own| format!("{own}({selector}[1h])")));
    let mut before = Vec::new();
    for query in &told {
        let (points, warnings) = ask(&weir, query, range).await;
        assert!(points.len() >= 6 && warnings.is_empty(), "{query}: {points:?}, {warnings:?}");
        before.push(points);
    }
    weir.admin("expire").await;
    weir.admin("compact").await;
    let left = format!("count_over_time({selector}[4d])");
    let samples = weir.get("/api/v1/query", &[("query", &format!("{selector}[4d]")), ("time", &now.to_string())]).await;
    let samples = samples["data"]["result"][0]["values"].as_array().unwrap().len();
    assert_eq!(samples, 2 + 24 + 480, "of two hours 2 and 24 are left, of the newest all");
    assert_eq!(ask(&weir, &left, (now, now)).await.0, [(now, 3.0 * 480.0)]);
    for (query, before) in told.iter().zip(&before) {
        let (points, warnings) = ask(&weir, query, range).await;
        assert!(warnings.is_empty(), "{query}: {warnings:?}");
        assert_eq!(points.len(), before.len(), "{query}");
        for ((at, own), (at_before, expected)) in points.iter().zip(before) {
            assert!(
                at == at_before && (own - expected).abs() <= 1e-9 * (1.0 + expected.abs()),
                "{query} at {at}: {own}, {expected}"
            );
        }
    }
    let (points, warnings) = ask(&weir, &format!("stddev_over_time({selector}[1h])"), range).await;
    assert!(!points.is_empty() && warnings.len() == 1, "{warnings:?}");
    assert!(warnings[0].contains("stddev_over_time sees the last sample of each 1h only"), "{warnings:?}");
    let newest = (now - 2 * HOUR, now - HOUR);
    let recent = ask(&weir, &format!("stddev_over_time({selector}[1h])"), newest).await;
    assert!(recent.0.len() == 2 && recent.1.is_empty(), "the newest are as they came: {recent:?}");
}
