//! Data directories of versions before: each is taken over as it lies. What it has is found once, what is sent again is known, and
//! what is new comes to it. How they are made says `data/directories/make`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::ask;
use crate::weir::{Weir, eventually};

/// Of all that the pushes say.
const TIMES: [(&str, &str); 2] = [("start", "1795694000000000000"), ("end", "1795700000000000000")];
const AFTER: &str = "1795700000";
/// What was sealed by the version before, what was only on the bus, and what today's sends.
const SEALED: u32 = 1;
const UNSEALED: u32 = 3;
const NEW: u32 = 4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/directories")
}

fn archives() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.to_str().unwrap().ends_with(".tar.zst")).collect();
    found.sort();
    found
}

fn unpack(archive: &Path, into: &Path) {
    let packed = std::fs::File::open(archive).unwrap();
    let bytes = zstd::decode_all(packed).unwrap();
    let mut tar = Command::new("tar").arg("-xC").arg(into).stdin(Stdio::piped()).spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert!(tar.wait().unwrap().success(), "{archive:?}");
}

fn push_body(kind: &str, number: u32) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(format!("pushes/{kind}-{number}.json"))).unwrap()).unwrap()
}

async fn push(weir: &Weir, number: u32) {
    let otlp = |path: &str| format!("http://{}{path}", weir.otlp_http);
    for (kind, url) in [("logs", weir.url("/loki/api/v1/push")), ("spans", otlp("/v1/traces")), ("metrics", otlp("/v1/metrics"))]
    {
        let answer = weir.http.post(url).json(&push_body(kind, number)).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{kind}: {status} {}", answer.text().await.unwrap());
    }
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// An OTLP value as weir shows it.
fn shown(value: &Value) -> Value {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "intValue" => json!(value.as_str().unwrap().parse::<i64>().unwrap()),
        "arrayValue" => list(&value["values"]).iter().map(shown).collect(),
        _ => value.clone(),
    }
}

fn attributes(of: &Value) -> Value {
    let list = of["attributes"].as_array().into_iter().flatten();
    Value::Object(list.map(|own| (text(&own["key"]), shown(&own["value"]))).collect())
}

/// What was found or is expected, in an order that does not depend on how it is stored.
#[derive(Debug, Default, PartialEq)]
struct Content {
    lines: Vec<String>,
    spans: BTreeMap<String, Vec<String>>,
    /// By name: time, value and the series.
    samples: BTreeMap<String, Vec<String>>,
}

impl Content {
    fn sorted(mut self) -> Self {
        self.lines.sort();
        self.spans.values_mut().chain(self.samples.values_mut()).for_each(|own| own.sort());
        self
    }

    fn differs_from(&self, expected: &Self) -> String {
        let all = |content: &Self| -> Vec<String> {
            let lists = content.spans.values().chain(content.samples.values());
            content.lines.iter().chain(lists.flatten()).cloned().collect()
        };
        let (found, expected) = (all(self), all(expected));
        let odd: Vec<&String> = found.iter().filter(|one| !expected.contains(one)).take(3).collect();
        let lacks: Vec<&String> = expected.iter().filter(|one| !found.contains(one)).take(3).collect();
        format!("{} records, {} are expected; not expected: {odd:?}; not there: {lacks:?}", found.len(), expected.len())
    }

    fn of_pushes(numbers: RangeInclusive<u32>) -> Self {
        let mut content = Self::default();
        for number in numbers {
            content.add_lines(&push_body("logs", number));
            content.add_spans(&push_body("spans", number));
            content.add_samples(&push_body("metrics", number));
        }
        content.sorted()
    }

    fn add_lines(&mut self, body: &Value) {
        for stream in list(&body["streams"]) {
            for value in list(&stream["values"]) {
                let metadata = value.get(2).cloned().unwrap_or_else(|| json!({}));
                self.lines.push(json!([value[0], stream["stream"], value[1], metadata]).to_string());
            }
        }
    }

    fn add_spans(&mut self, body: &Value) {
        for resource in list(&body["resourceSpans"]) {
            for span in list(&resource["scopeSpans"][0]["spans"]) {
                let (start, end) = (text(&span["startTimeUnixNano"]), text(&span["endTimeUnixNano"]));
                let duration = end.parse::<i64>().unwrap() - start.parse::<i64>().unwrap();
                let lists = |key: &str| span[key].as_array().into_iter().flatten();
                let events: Vec<Value> =
                    lists("events").map(|event| json!([event["timeUnixNano"], event["name"], attributes(event)])).collect();
                let links: Vec<Value> =
                    lists("links").map(|link| json!([link["traceId"], link["spanId"], attributes(link)])).collect();
                let status = if span["status"]["code"] == 2 { "error" } else { "unset" };
                let own = json!([
                    [span["spanId"], span["parentSpanId"], span["name"], start, duration.to_string(), status],
                    [attributes(span), attributes(&resource["resource"]), events, links]
                ]);
                self.spans.entry(text(&span["traceId"])).or_default().push(own.to_string());
            }
        }
    }

    fn add_samples(&mut self, body: &Value) {
        for resource in list(&body["resourceMetrics"]) {
            let job = format!("shop/{}", attributes(&resource["resource"])["service.name"].as_str().unwrap());
            let mut add = |name: &str, point: &Value, value: f64, le: &str| {
                let at = text(&point["timeUnixNano"]).parse::<i64>().unwrap() / 1_000_000_000;
                let sample = json!([at, value, job, le]).to_string();
                self.samples.entry(name.into()).or_default().push(sample);
            };
            let number = |value: &Value| text(value).parse::<f64>().unwrap();
            let metrics = list(&resource["scopeMetrics"][0]["metrics"]);
            list(&metrics[0]["gauge"]["dataPoints"])
                .iter()
                .for_each(|point| add("shop_queue_length", point, number(&point["asInt"]), ""));
            list(&metrics[1]["sum"]["dataPoints"])
                .iter()
                .for_each(|point| add("shop_orders_total", point, point["asDouble"].as_f64().unwrap(), ""));
            for point in list(&metrics[2]["histogram"]["dataPoints"]) {
                let mut sum = 0.0;
                for (count, le) in list(&point["bucketCounts"]).iter().zip(["0.1", "1", "+Inf"]) {
                    sum += number(count);
                    add("shop_checkout_time_seconds_bucket", point, sum, le);
                }
                add("shop_checkout_time_seconds_count", point, number(&point["count"]), "");
                add("shop_checkout_time_seconds_sum", point, point["sum"].as_f64().unwrap(), "");
            }
        }
    }

    /// What a weir answers; errors when an answer has not seen everything.
    async fn found(weir: &Weir, ids: &BTreeSet<String>) -> Result<Self, String> {
        let mut content = Self::default();
        let get = async |path: &str, more: &[(&str, &str)]| {
            ask::complete(ask::get(&weir.http, &weir.url(path), &[more, &TIMES[..]].concat()).await?)
        };
        let logs = get("/api/weir/v1/logs", &[("query", "{namespace=\"shop\"}"), ("limit", "5000")]).await?;
        for line in list(&logs["lines"]) {
            content.lines.push(json!([line["t"], line["stream"], line["line"], line["attributes"]]).to_string());
        }
        for id in ids {
            let trace = get(&format!("/api/weir/v1/traces/{id}"), &[]).await?;
            let spans = trace["trace"]["spans"].as_array().into_iter().flatten();
            content.spans.insert(id.clone(), spans.map(found_span).collect());
        }
        let query = [("query", "{__name__=~\"shop_.+\"}[1d]"), ("time", AFTER)];
        let samples = ask::complete(ask::get(&weir.http, &weir.url("/api/v1/query"), &query).await?)?;
        for series in list(&samples["data"]["result"]) {
            let (name, le) = (text(&series["metric"]["__name__"]), series["metric"]["le"].as_str().unwrap_or(""));
            for value in list(&series["values"]) {
                let number = text(&value[1]).parse::<f64>().unwrap();
                let sample = json!([value[0], number, series["metric"]["job"], le]).to_string();
                content.samples.entry(name.clone()).or_default().push(sample);
            }
        }
        Ok(content.sorted())
    }
}

fn found_span(span: &Value) -> String {
    let events: Vec<Value> =
        list(&span["events"]).iter().map(|event| json!([event["t"], event["name"], event["attributes"]])).collect();
    let links: Vec<Value> =
        list(&span["links"]).iter().map(|link| json!([link["trace_id"], link["span_id"], link["attributes"]])).collect();
    json!([
        [span["id"], span["parent_id"], span["name"], span["start"], span["duration"], span["status"]],
        [span["attributes"], span["resource"], events, links]
    ])
    .to_string()
}

/// Waits until everything up to this push is there, and nothing else.
async fn check(weir: &Weir, last: u32) {
    let expected = Content::of_pushes(SEALED..=last);
    let ids = expected.spans.keys().cloned().collect();
    eventually(&format!("everything up to push {last}, once"), async || {
        let found = Content::found(weir, &ids).await?;
        (found == expected).then_some(()).ok_or_else(|| found.differs_from(&expected))
    })
    .await;
    let failed = [&TIMES[..], &[("tags", "http.response.status_code=500"), ("limit", "100")]].concat();
    let found = ask::complete(ask::get(&weir.http, &weir.url("/api/weir/v1/traces"), &failed).await.unwrap()).unwrap();
    let found: BTreeSet<String> = list(&found["traces"]).iter().map(|trace| text(&trace["id"])).collect();
    let has = |spans: &Vec<String>| spans.iter().any(|span| span.contains("\"http.response.status_code\":500"));
    let expected: BTreeSet<String> = expected.spans.into_iter().filter(|(_, spans)| has(spans)).map(|(id, _)| id).collect();
    assert_eq!(found, expected, "{}", weir.log());
}

/// Sum over the partitions of each topic.
async fn status(weir: &Weir, key: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for partition in list(&weir.get("/api/weir/v1/status", &[]).await["path"]) {
        *sums.entry(text(&partition["topic"])).or_default() += partition[key].as_u64().unwrap();
    }
    sums
}

/// `unsealed`: which pushes are in no block, once the new one has come.
async fn goes_on(data: &Path, unsealed: &[u32]) {
    let config = folder().join("weir.toml");
    let mut weir = Weir::start_with(data, &["--no-node", "--config", config.to_str().unwrap()], &[]).await;
    check(&weir, UNSEALED).await;

    for number in [SEALED, UNSEALED, NEW] {
        push(&weir, number).await;
    }
    check(&weir, NEW).await;
    // What is read may be told apart by its content, too: heads say that nothing of what came again has entered them.
    let unsealed: Vec<Content> = unsealed.iter().map(|number| Content::of_pushes(*number..=*number)).collect();
    let held = status(&weir, "head_records").await;
    let lines: usize = unsealed.iter().map(|content| content.lines.len()).sum();
    let spans: usize = unsealed.iter().flat_map(|content| content.spans.values()).map(Vec::len).sum();
    assert_eq!((held["weir.logs"], held["weir.spans"]), (lines as u64, spans as u64), "{}", weir.log());

    weir.admin("seal").await;
    check(&weir, NEW).await;
    let dropped = status(&weir, "duplicates").await;
    assert!(dropped.values().all(|sections| *sections > 0), "what was sent again is known by its digest: {dropped:?}");
    let before = status(&weir, "blocks").await;
    weir.admin("compact").await;
    let after = status(&weir, "blocks").await;
    assert!(before.iter().all(|(topic, blocks)| after[topic] < *blocks), "blocks of before are merged: {before:?}, {after:?}");
    check(&weir, NEW).await;

    assert_eq!(weir.terminate().await, Some(0), "{}", weir.log());
    weir.spawn();
    weir.wait_ready().await;
    check(&weir, NEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_of_before_are_taken_over() {
    let archives = archives();
    assert!(!archives.is_empty(), "there are archives in {:?}", folder());
    for archive in archives {
        let unpacked = tempfile::tempdir().unwrap();
        unpack(&archive, unpacked.path());
        goes_on(&unpacked.path().join("killed"), &[UNSEALED, NEW]).await;
        goes_on(&unpacked.path().join("stopped"), &[NEW]).await;
    }
}
