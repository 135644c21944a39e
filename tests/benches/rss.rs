//! Resident memory of a real `weir up` that has taken in the day. Beside it: the bytes that it took in.

use weir_tests::bench::watch::mb;
use weir_tests::bench::{input, otlp, run};
use weir_tests::nezha::{Day, day};
use weir_tests::weir::{PATIENCE, Weir, eventually, node_at, pods_of};

/// Spans of an export request.
const EXPORT_SPANS: usize = 512;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let pods = pods_of(folder.path());
    let config = folder.path().join("weir.toml");
    let keep = "[aggregator.retention]\nlogs = \"0s\"\nmetrics = \"0s\"\ntraces = \"0s\"\n";
    std::fs::write(&config, format!("{}{keep}", node_at(folder.path()))).expect("write the configuration");
    let weir = Weir::start_with(&folder.path().join("data"), &["--config", &config.display().to_string()], &[]).await;
    let idle = weir.resident();

    let day = day(usize::MAX, usize::MAX);
    let files = input::write_files(&pods, &day.lines);
    let requests = input::otlp_requests(&day.spans, EXPORT_SPANS);
    otlp::send(&format!("http://{}/v1/traces", weir.otlp_http), &requests, PATIENCE).await;
    wait_for_lines(&weir, &day).await;
    let (taken, most) = (weir.resident(), weir.resident_peak());
    weir.admin("seal").await;
    weir.admin("compact").await;
    let otlp: u64 = requests.iter().map(|request| request.len() as u64).sum();
    println!(
        "rss: {} resident with the day in memory and on disk ({} at start, {} at most until then, {} after seal and compaction) \
         | beside: {} of log files and {} of OTLP taken in | {}",
        mb(taken),
        mb(idle),
        mb(most),
        mb(weir.resident()),
        mb(files.bytes),
        mb(otlp),
        input::name(&day),
    );
}

async fn wait_for_lines(weir: &Weir, day: &Day) {
    let wanted = day.lines.len() as f64;
    let query = "sum(count_over_time({namespace=\"nezha\"}[30d]))";
    eventually("all lines", || async {
        let answer = weir.get("/loki/api/v1/query", &[("query", query), ("time", "2023-02-10T00:00:00Z")]).await;
        let found = answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        if found >= wanted { Ok(()) } else { Err(format!("{found} of {wanted} lines")) }
    })
    .await;
}
