//! Our own API.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_logql::memory::MemoryLogs;
use weir_model::id::TraceId;
use weir_model::label::Labels;
use weir_model::select::Series;
use weir_model::status::OwnerStatus;
use weir_model::status::{PartitionStatus, PathStatus, RemoteWriteError, RemoteWriteStatus};
use weir_model::time::SECOND;

use super::memory::{MemoryMetrics, two_traces};
use super::{Got, api, get};

fn store() -> MemoryLogs {
    let mut store = MemoryLogs::default();
    let line = store.push(&[("pod", "a")], 10 * SECOND, b"one k=v \xff");
    (line.severity, line.trace_id) = (17, TraceId([1; 16]));
    store.push(&[("pod", "b")], 11 * SECOND, b"two");
    store.push(&[("pod", "a")], 21 * SECOND, b"three");
    store
}

async fn ask(path: &str) -> Got {
    get(api(store(), Default::default(), two_traces()), &format!("/api/weir/v1/{path}")).await
}

const COMPLETE: &str = r#"{"complete": true, "missing": [], "partitions": []}"#;

fn complete() -> Value {
    serde_json::from_str(COMPLETE).unwrap()
}

#[tokio::test]
async fn lines() {
    let got = ask("logs?query=%7Bpod%3D%22a%22%7D%20%7C%20logfmt&start=0&end=15").await;
    assert_eq!(got.header("x-weir-coverage"), r#"{"complete":true,"missing":[],"partitions":[]}"#);
    let body = got.json();
    assert_eq!((&body["coverage"], &body["stats"]["lines_scanned"]), (&complete(), &json!(3)));
    let id = "01010101010101010101010101010101";
    assert_eq!(
        body["lines"],
        json!([{"id": "0-0-0", "t": "10000000000", "stream": {"pod": "a"}, "line": "one k=v \\xff", "level": "error",
            "trace_id": id, "span_id": "", "attributes": {}, "labels": {"pod": "a", "k": "v", "trace_id": id, "detected_level": "error"}}])
    );
    let ids = |body: Value| {
        body["lines"].as_array().unwrap().iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(ask("logs?limit=2").await.json()), ["0-2-0", "0-1-0"]);
    assert_eq!(ids(ask("logs?query=%7B%7D&direction=forward&limit=2").await.json()), ["0-0-0", "0-1-0"]);
    let all = ask("logs?query=%7B%7D").await.json();
    let text = all["lines"][0]["line"].as_str().unwrap().to_owned();
    let found = ask(&format!("logs?query=%7B%7D%20%7C%3D%20%60{}%60", text.replace(' ', "%20"))).await.json();
    assert_eq!(found["lines"][0], all["lines"][0], "a filter on every line");
    assert_eq!(ids(ask("logs/line/0-2-0?context=5").await.json()), ["0-0-0", "0-2-0"]);
    assert_eq!(ids(ask("logs/line/0-2-0?context=0").await.json()), ["0-2-0"]);
}

#[tokio::test]
async fn volume() {
    let body = ask("logs/volume?query=%7Bpod%3D~%22a%7Cb%22%7D%20!%3D%20%22nope%22&start=0&end=30").await.json();
    let bucket = |at: &str, level: &str, lines: u64, bytes: u64| json!({"t": at, "level": level, "lines": lines, "bytes": bytes});
    assert_eq!(body["step"], "10000000000");
    assert_eq!(
        body["buckets"],
        json!([bucket("10000000000", "", 1, 3), bucket("10000000000", "error", 1, 9), bucket("20000000000", "", 1, 5)])
    );
    // Behind a pipeline, whatever its parsers make of a line.
    let body = ask("logs/volume?query=%7B%7D%20%7C%20json%20%7C%20pod%3D%22a%22&start=0&end=30").await.json();
    assert_eq!(body["buckets"], json!([bucket("10000000000", "error", 1, 9), bucket("20000000000", "", 1, 5)]));
    let body = ask("logs/volume?query=%7B%7D%20%7C%3E%20%22t%3C_%3E%22&start=0&end=30&step=30s").await.json();
    assert_eq!(body["buckets"], json!([bucket("0", "", 2, 8)]));
    let body = ask("logs/volume?query=%7B%7D%7Cdetected_level%3D%22error%22&start=0&end=30").await.json();
    assert_eq!(body["buckets"], json!([bucket("10000000000", "error", 1, 9)]));
}

#[tokio::test]
async fn a_search_becomes_logql_that_finds() {
    let query = async |parameters: &str| ask(&format!("logs/query?{parameters}")).await.json()["query"].clone();
    assert_eq!(query("search=error%20-x&selector=%7Bpod%3D%22a%22%7D").await, r#"{pod="a"} |~ "(?i)error" !~ "(?i)x""#);
    assert_eq!(query("").await, "{}");
    assert_eq!(query("search=%7Bpod%3D%22a%22%7D%20%7C%3D%20%60x%60").await, r#"{pod="a"} |= `x`"#);
    let trace = query("trace=01010101010101010101010101010101").await;
    let found = ask(&format!("logs?query={}", escape(trace.as_str().unwrap()))).await.json();
    assert_eq!((found["lines"].as_array().unwrap().len(), &found["lines"][0]["id"]), (1, &json!("0-0-0")));
    assert_eq!(
        query("span=00000000000000ff").await,
        r#"{} | span_id="00000000000000ff" or __line__=~"(?i).*00000000000000ff.*""#
    );
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn traces() {
    let body = ask("traces/01010101010101010101010101010101").await.json();
    assert_eq!((&body["trace"]["state"], &body["coverage"]), (&json!("quiescent"), &complete()));
    let span = &body["trace"]["spans"][1];
    assert_eq!(
        *span,
        json!({"id": "0303030303030303", "parent_id": "0202020202020202", "service": "cart", "name": "add", "kind": "server",
            "start": "1010000000", "duration": "250000000", "status": "error", "status_message": "no stock",
            "attributes": {"http.status_code": 500, "item": "mug"}, "resource": {"service.name": "cart", "k8s.pod": "p"},
            "scope": "lib 1", "events": [{"t": "2000000000", "name": "retry", "attributes": {"n": 2}}], "links": [], "orphan": false})
    );
    let orphan = ask("traces/02020202020202020202020202020202").await.json();
    assert_eq!(orphan["trace"]["spans"][0]["orphan"], true);
    let unknown = ask("traces/ff").await;
    let expected = json!({"error": "no span of trace 000000000000000000000000000000ff has been seen", "coverage": complete()});
    assert_eq!((unknown.status, unknown.json()), (404, expected));
    let found = ask("traces?service=cart&min_duration=100ms&tags=item%3Dmug").await.json();
    assert_eq!(
        found["traces"],
        json!([{"id": "01010101010101010101010101010101", "root_service": "front", "root_name": "GET /cart", "has_root": true,
            "start": "1000000000", "duration": "300000000", "spans": 2, "errors": 1, "matched": 1}])
    );
    assert_eq!(ask("traces/services").await.json()["services"], json!(["cart", "front"]));
    assert_eq!(ask("traces/operations?service=cart").await.json()["operations"], json!([{"name": "add", "kind": "server"}]));
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let check = async |path: &str, status: u16, expected: &str| {
        let got = ask(path).await;
        assert_eq!((got.status, &got.json()["error"]), (status, &json!(expected)), "{path}");
    };
    check("logs?query=vector(1)", 400, "parameter query: a log query is wanted here, this is a metric query").await;
    check("logs?query=%7B", 400, "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }: here is the end of the query, expected is a label name or \"}\"")
        .await;
    check("logs?limit=x", 400, "parameter limit: \"x\" is no whole number from 0 on").await;
    check("logs?limit=50001", 400, "parameter limit: 50001 is above query.lines_max (50000)").await;
    check(
        "logs/volume?step=7s",
        400,
        "parameter step: a multiple of 10s is wanted, as volumes are kept in buckets of 10 seconds",
    )
    .await;
    check("logs/query?search=a%20%22b", 400, "parse error at line 1, col 3: the phrase that begins here has no closing \"").await;
    check("logs/query?trace=zz", 400, "parameter trace: a trace id has 1 to 32 hex digits, got \"zz\"").await;
    let selector = "parameter selector: a selector such as {app=\"x\"} is wanted, and nothing behind it";
    check("logs/query?search=a&selector=%7B%7D%7Cjson", 400, selector).await;
    check("containers/a/lines?limit=50001", 400, "parameter limit: 50001 is above query.lines_max (50000)").await;
    check("logs/line/1-2", 400, "a line id reads partition-offset-ordinal, got \"1-2\"").await;
    check("logs/line/9-9-9", 404, "no line has the id 9-9-9").await;
    check("traces/zz", 400, "a trace id has 1 to 32 hex digits, got \"zz\"").await;
    check("traces?tags=x", 400, "parameter tags: \"x\" reads name=value").await;
    check("traces/operations", 400, "parameter service is missing").await;
}

#[tokio::test]
async fn containers_come_from_samples_under_cadvisors_names() {
    let series = |name: &str, more: &[(&str, &str)], points: &[(i64, f64)]| Series {
        labels: Labels::from_pairs(
            [("__name__", name), ("node", "n1"), ("id", "/kube/x")].into_iter().chain(more.iter().copied()),
        ),
        timestamps: points.iter().map(|(at, _)| at * 1000).collect(),
        values: points.iter().map(|(_, value)| *value).collect(),
        ..Series::default()
    };
    let named = [("name", "web"), ("image", "shop:1")];
    let info = [
        ("name", "web"),
        ("image", "shop:1"),
        ("container_id", "abc"),
        ("runtime", "podman"),
        ("state", "running"),
        ("container_label_tier", "1"),
    ];
    let mut gone = series("container_threads", &[("name", "old")], &[(0, 1.0)]);
    gone.labels = gone.labels.with("id", "/kube/old");
    gone.timestamps = vec![-60_000];
    let metrics = MemoryMetrics(vec![
        series("container_cpu_usage_seconds_total", &[("name", "web"), ("cpu", "total")], &[(70, 1.0), (80, 6.0), (90, 8.5)]),
        series("container_memory_working_set_bytes", &named, &[(80, 1000.0), (90, 2000.0)]),
        series("container_spec_cpu_quota", &named, &[(90, 50_000.0)]),
        series("container_spec_cpu_period", &named, &[(90, 100_000.0)]),
        series("container_spec_memory_limit_bytes", &named, &[(90, 0.0)]),
        series("container_cpu_cfs_periods_total", &named, &[(80, 10.0), (90, 110.0)]),
        series("container_cpu_cfs_throttled_periods_total", &named, &[(80, 5.0), (90, 30.0)]),
        series("container_oom_events_total", &named, &[(90, 2.0)]),
        series("container_threads", &named, &[(90, 3.0)]),
        series("container_start_time_seconds", &named, &[(90, 42.5)]),
        series("weir_container_info", &info, &[(90, 1.0)]),
        series("weir_container_restarts_total", &named, &[(90, 4.0)]),
        gone,
    ]);
    let body = get(api(store(), metrics, two_traces()), "/api/weir/v1/containers").await.json();
    assert_eq!(
        body["containers"],
        json!([{"id": "abc", "name": "web", "node": "n1", "namespace": "", "pod": "", "image": "shop:1", "runtime": "podman",
            "state": "running", "started": "42500000000", "restarts": 4, "labels": {"tier": "1"}, "cpu_cores": 0.25,
            "cpu_limit_cores": 0.5, "memory_bytes": 2000, "memory_limit_bytes": null, "throttled_ratio": 0.25, "oom_kills": 2,
            "pids": 3, "cpu_history": [[80.0, 0.5], [90.0, 0.25]], "memory_history": [[80.0, 1000.0], [90.0, 2000.0]],
            "exit_code": null, "signal": "", "oom_killed": false, "finished": "", "runs_ended": 0}])
    );
}

#[tokio::test]
async fn containers_that_ended_stay_with_how_they_did() {
    let series = |name: &str, id: &str, more: &[(&str, &str)], points: &[(i64, f64)]| Series {
        labels: Labels::from_pairs(
            [("__name__", name), ("node", "n1"), ("name", id), ("container_id", id)].into_iter().chain(more.iter().copied()),
        ),
        timestamps: points.iter().map(|(at, _)| at * 1000).collect(),
        values: points.iter().map(|(_, value)| *value).collect(),
        ..Series::default()
    };
    let told = |signal, oom| [("signal", signal), ("oom", oom), ("runtime", "docker"), ("container_label_team", "a")];
    let (ended, run) = ("weir_container_ended", "weir_container_run_seconds");
    let metrics = MemoryMetrics(vec![
        // Killed for memory; that it was for memory became known later.
        series(ended, "dead", &told("SIGKILL", "false"), &[(50, 137.0)]),
        series(ended, "dead", &told("SIGKILL", "true"), &[(50, 137.0)]),
        series(run, "dead", &[], &[(50, 2.5)]),
        // Nobody knows how.
        series(ended, "lost", &told("", "false"), &[(60, -1.0)]),
        // Runs again, for the third time.
        series(ended, "again", &told("", "false"), &[(70, 3.0), (80, 3.0)]),
        series("weir_container_info", "again", &[("id", "/docker/again"), ("state", "running")], &[(90, 1.0)]),
        // Its engine still lists it, and so do samples.
        series(ended, "listed", &told("", "false"), &[(71, 0.0)]),
        series("weir_container_info", "listed", &[("state", "exited")], &[(90, 1.0)]),
        // A moment ago: the samples do not say so yet.
        series(ended, "now", &told("", "false"), &[(95, 1.0)]),
        series("weir_container_info", "now", &[("id", "/docker/now"), ("state", "running")], &[(90, 1.0)]),
        series(ended, "long ago", &told("", "false"), &[(-86_400, 1.0)]),
    ]);
    let body = get(api(store(), metrics, two_traces()), "/api/weir/v1/containers").await.json();
    let said = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        (
            text("id"),
            text("state"),
            row["exit_code"].as_i64(),
            text("signal"),
            row["oom_killed"] == true,
            text("finished"),
            row["runs_ended"].as_u64(),
        )
    };
    let row = |id: &str, state: &str, code, signal: &str, oom, at: i64, runs| {
        (id.to_owned(), state.to_owned(), code, signal.to_owned(), oom, (at * SECOND).to_string(), Some(runs))
    };
    let rows: Vec<_> = body["containers"].as_array().unwrap().iter().map(said).collect();
    assert_eq!(
        rows,
        [
            row("again", "running", Some(3), "", false, 80, 2),
            row("now", "exited", Some(1), "", false, 95, 1),
            row("listed", "exited", Some(0), "", false, 71, 1),
            row("lost", "exited", None, "", false, 60, 1),
            row("dead", "exited", Some(137), "SIGKILL", true, 50, 1),
        ]
    );
    let dead = &body["containers"][4];
    assert_eq!(
        (&dead["started"], &dead["labels"], &dead["oom_kills"]),
        (&json!("47500000000"), &json!({"team": "a"}), &json!(1))
    );
    assert_eq!(body["ended_more"], 0);
}

#[tokio::test]
async fn the_last_lines_of_a_container_are_those_before_its_end() {
    let mut lines = MemoryLogs::default();
    for (at, text) in [(10, "first"), (20, "second"), (30, "last"), (99, "of another container")] {
        lines.push(&[("container_id", if at == 99 { "other" } else { "dead" })], at * SECOND, text.as_bytes());
    }
    let ended = Series {
        labels: Labels::from_pairs([
            ("__name__", "weir_container_ended"),
            ("node", "n1"),
            ("container_id", "dead"),
            ("oom", "true"),
        ]),
        timestamps: vec![30_000],
        values: vec![137.0],
        ..Series::default()
    };
    let api = api(lines, MemoryMetrics(vec![ended]), two_traces());
    let got = get(api, "/api/weir/v1/containers/dead/lines?limit=2").await.json();
    let texts: Vec<_> = got["lines"].as_array().unwrap().iter().map(|line| line["line"].as_str().unwrap()).collect();
    assert_eq!((texts, &got["finished"]), (vec!["second", "last"], &json!("30000000000")), "oldest first");
    let none = ask("containers/nobody/lines").await.json();
    assert_eq!((&none["lines"], &none["finished"]), (&json!([]), &json!("")));
}

#[tokio::test]
async fn beside_the_containers_stand_the_nodes_and_their_services() {
    let series = |name: &str, more: &[(&str, &str)], points: &[(i64, f64)]| Series {
        labels: Labels::from_pairs([("__name__", name), ("node", "n1")].into_iter().chain(more.iter().copied())),
        timestamps: points.iter().map(|(at, _)| at * 1000).collect(),
        values: points.iter().map(|(_, value)| *value).collect(),
        ..Series::default()
    };
    let (cpu, memory) = ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes");
    let ssh = [("id", "/system.slice/ssh.service")];
    let metrics = MemoryMetrics(vec![
        series(cpu, &ssh, &[(80, 1.0), (90, 2.0)]),
        series(memory, &ssh, &[(90, 4096.0)]),
        series(memory, &[("id", "/")], &[(90, 9.0)]),
        series(memory, &[("id", "/gone.service")], &[(-60, 9.0)]),
        series(memory, &[("id", "/box"), ("name", "web")], &[(90, 1.0)]),
        series(memory, &[("id", "/box/init.scope")], &[(90, 1.0)]),
        series(memory, &[("id", "/kubepods/a/pause"), ("pod", "a")], &[(90, 1.0)]),
        series("machine_cpu_cores", &[], &[(90, 2.0)]),
        series("machine_memory_bytes", &[], &[(90, 8000.0)]),
        series("node_memory_MemAvailable_bytes", &[], &[(90, 3000.0)]),
        series("node_load1", &[], &[(90, 0.5)]),
        series("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "idle")], &[(80, 0.0), (90, 7.5)]),
        series("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "idle")], &[(80, 0.0), (90, 10.0)]),
        series("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "user")], &[(80, 0.0), (90, 9.0)]),
    ]);
    let body = get(api(store(), metrics, two_traces()), "/api/weir/v1/containers").await.json();
    assert_eq!(body["containers"].as_array().unwrap().len(), 1);
    assert_eq!(
        body["nodes"],
        json!([{"node": "n1", "cores": 2.0, "cpu_cores": 0.25, "memory_bytes": 5000, "memory_total_bytes": 8000, "load1": 0.5}])
    );
    assert_eq!(
        body["cgroups"],
        json!([{"id": "/system.slice/ssh.service", "name": "ssh.service", "kind": "service", "node": "n1", "cpu_cores": 0.1,
            "memory_bytes": 4096, "memory_limit_bytes": null, "pids": null}])
    );
}

struct OnePartition;

impl PathStatus for OnePartition {
    fn status(&self) -> Vec<PartitionStatus> {
        let progress =
            OwnerStatus { topic: "weir.logs".into(), high_watermark: 7, losses: vec![(1, 2)], ..OwnerStatus::default() };
        vec![PartitionStatus { progress, ..PartitionStatus::default() }]
    }
}

#[tokio::test]
async fn status_says_where_the_path_stands() {
    let api = api(store(), Default::default(), two_traces()).with_status(Arc::new(OnePartition));
    let body = get(api, "/api/weir/v1/status").await.json();
    assert_eq!((&body["version"], &body["started"]), (&json!(env!("CARGO_PKG_VERSION")), &json!("100000000000")));
    assert_eq!(
        body["path"],
        json!([{"topic": "weir.logs", "partition": 0, "owner": "", "epoch": 0, "version": 0, "answers": false, "on_bus": 7, "bus_silent_seconds": null, "searchable": 0, "sealed": 0, "lag": 0,
            "head_bytes": 0, "head_records": 0, "blocks": 0, "block_bytes": 0, "blocks_opening": 0,
            "blocks_unopened": 0, "duplicates": 0, "gaps": 0, "quarantined": 0, "losses": [[1, 2]]}])
    );
}

#[tokio::test]
async fn status_says_how_far_receivers_of_remote_write_are() {
    let error = RemoteWriteError { time: "7".into(), text: "answered 400 Bad Request".into() };
    let far = RemoteWriteStatus {
        name: "far".into(),
        pending_records: 3,
        pending_bytes: 4096,
        lag_seconds: Some(1.5),
        last_error: Some(error),
    };
    let api = api(store(), Default::default(), two_traces()).with_remote_writes(Arc::new(move || vec![far.clone()]));
    let body = get(api, "/api/weir/v1/status").await.json();
    assert_eq!(
        body["remote_write"],
        json!([{"name": "far", "pending_records": 3, "pending_bytes": 4096, "lag_seconds": 1.5,
            "last_error": {"time": "7", "text": "answered 400 Bad Request"}}])
    );
}

#[tokio::test]
async fn requests_are_counted_by_api_and_status() {
    let counters = crate::metrics::HttpMetrics::default();
    let mut registry = prometheus_client::registry::Registry::default();
    counters.register(&mut registry);
    for path in ["/api/weir/v1/logs", "/api/weir/v1/traces/zz", "/tempo/api/echo", "/loki/api/v1/query", "/nowhere"] {
        get(api(store(), Default::default(), two_traces()).with_counters(counters.clone()), path).await;
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let mut counts: Vec<&str> = text.lines().filter(|line| line.starts_with("weir_query_requests_total")).collect();
    counts.sort_unstable();
    let line = |api: &str, code: u16| format!("weir_query_requests_total{{api=\"{api}\",code=\"{code}\"}} 1");
    assert_eq!(counts, [line("loki", 400), line("tempo", 200), line("weir", 200), line("weir", 400)]);
}

#[tokio::test]
async fn the_context_of_a_line_may_be_its_whole_container() {
    let ask = async |path: &str| {
        let mut logs = MemoryLogs::default();
        for (at, stream, text) in
            [(1, "stdout", "a"), (2, "stderr", "b"), (3, "stdout", "c"), (3, "stderr", "d"), (4, "stderr", "e")]
        {
            logs.push(&[("pod", "p"), ("stream", stream)], at * SECOND, text.as_bytes());
        }
        logs.push(&[("pod", "q"), ("stream", "stdout")], 2 * SECOND, b"other");
        // More labels are another container's.
        logs.push(&[("container", "sidecar"), ("pod", "p"), ("stream", "stdout")], 3 * SECOND, b"x");
        logs.push(&[("pod", "p"), ("stream", "stdout"), ("zone", "z")], 2 * SECOND, b"y");
        get(api(logs, Default::default(), Default::default()), &format!("/api/weir/v1/logs/line/{path}")).await
    };
    let lines = async |path: &str| {
        let answer = ask(path).await.json();
        answer["lines"].as_array().unwrap().iter().map(|line| line["line"].as_str().unwrap().to_owned()).collect::<String>()
    };
    assert_eq!(lines("0-2-0?context=1").await, "ac", "its own stream");
    for (context, expected) in [(0, "c"), (1, "bcd"), (10, "abcde")] {
        assert_eq!(lines(&format!("0-2-0?context={context}&across=container")).await, expected, "{context}");
    }
    assert_eq!(ask("9-9-9?across=container").await.status, 404);
    assert_eq!(ask("0-2-0?across=pod").await.status, 400);
}

#[tokio::test]
async fn what_is_new_is_told_beside_the_time_before_or_another_selector() {
    let ask = async |parameters: &str| {
        let mut logs = MemoryLogs::default();
        for (at, app, line) in [
            (5, "a", "took 5 ms"),
            (6, "a", "opened file 1"),
            (15, "a", "took 6 ms"),
            (16, "a", "level=error user=ann failed 3 times"),
            (17, "a", "level=error user=bob failed 4 times"),
            (18, "b", "took 7 ms"),
        ] {
            logs.push(&[("app", app)], at * SECOND, line.as_bytes());
        }
        get(api(logs, Default::default(), Default::default()), &format!("/api/weir/v1/logs/diff?{parameters}")).await
    };
    let names = |found: &Value, key: &str| {
        found.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let of_a = "query=%7Bapp%3D%22a%22%7D&start=10&end=20";
    let found = ask(of_a).await.json();
    assert_eq!((&found["against_start"], &found["against_end"]), (&json!("0"), &json!("10000000000")));
    assert_eq!(
        names(&found["patterns"]["new"], "pattern"),
        ["level=error user=ann failed <_> times", "level=error user=bob failed <_> times"]
    );
    assert_eq!((&found["patterns"]["new"][0]["lines"], &found["patterns"]["new"][0]["level"]), (&json!(1), &json!("unknown")));
    assert_eq!(names(&found["patterns"]["gone"], "pattern"), ["opened file <_>"]);
    assert_eq!(
        (names(&found["fields"]["new"], "label"), names(&found["fields"]["gone"], "label")),
        (vec!["level".into(), "user".into()], vec![])
    );
    assert_eq!(found["coverage"]["complete"], true);
    // Another selector has the same time.
    let found = ask(&format!("{of_a}&against=%7Bapp%3D%22b%22%7D")).await.json();
    assert_eq!((names(&found["patterns"]["new"], "pattern").len(), &found["against_start"]), (2, &json!("10000000000")));
    let found = ask(&format!("{of_a}&against_start=15&against_end=20")).await.json();
    assert_eq!((&found["patterns"]["new"], &found["patterns"]["gone"]), (&json!([]), &json!([])));
    let few = ask(&format!("{of_a}&line_limit=1")).await.json();
    assert!(few["coverage"]["missing"][0].as_str().unwrap().contains("line_limit"), "{few}");
    for wrong in ["against_start=10", "line_limit=1000000", "query=rate(%7Ba%3D%22b%22%7D%5B1m%5D)"] {
        assert_eq!(ask(&format!("start=10&end=20&{wrong}")).await.status, 400, "{wrong}");
    }
}
