//! Resident memory of a real `weir up` in which a node's logs and spans arrive at a steady pace: rotating CRI files and OTLP, with
//! the times of now. Draws the line to `target/soak.svg` and counts at the end that every line is there and traces are whole.
//! `WEIR_SOAK_MINUTES` makes it longer than the one minute of `make bench`; beside it: the memory that weir declares.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use weir_tests::bench::watch::{mb, processor_time_of};
use weir_tests::bench::{input, otlp, run};
use weir_tests::nezha::{CriWriter, Day, Line, SpanRow, day};
use weir_tests::weir::{PATIENCE, Weir, eventually, node_at, pods_of};

/// Of log files.
const BYTES_PER_SECOND: u64 = 2_600_000;
const SPANS_PER_SECOND: usize = 700;
/// As the kubelet rotates.
const ROTATE_BYTES: u64 = 10 << 20;
/// Traces that are looked up at the end.
const LOOKED_UP: usize = 200;
const TICK: Duration = Duration::from_secs(1);

/// What a tick saw.
struct Point {
    seconds: f64,
    resident: u64,
}

fn main() {
    run(bench());
}

async fn bench() {
    let minutes =
        std::env::var("WEIR_SOAK_MINUTES").map_or(1, |text| text.parse::<u32>().expect("WEIR_SOAK_MINUTES is a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let pods = pods_of(folder.path());
    let config = folder.path().join("weir.toml");
    std::fs::write(&config, node_at(folder.path())).expect("write the configuration");
    let weir = Weir::start_with(&folder.path().join("data"), &["--config", &config.display().to_string()], &[]).await;
    let day = day(200_000, 50_000);

    let (mut files, mut next_line, mut written, mut lines, mut spans) = (CriWriter::new(&pods, ROTATE_BYTES), 0, 0, 0_u64, 0_u64);
    let (begun, export, mut points) = (Instant::now(), format!("http://{}/v1/traces", weir.otlp_http), Vec::new());
    let mut traces: BTreeMap<String, usize> = BTreeMap::new();
    for tick in 1..=minutes * 60 {
        let due = u64::from(tick) * BYTES_PER_SECOND;
        while written < due {
            let line = &day.lines[next_line % day.lines.len()];
            let line = Line { time: weir_model::time::format_rfc3339(now()), ..line.clone() };
            written += line.body.len() as u64 + 50;
            files.write(&line);
            (next_line, lines) = (next_line + 1, lines + 1);
        }
        let made = spans_of(&day, spans as usize);
        made.iter().for_each(|span| *traces.entry(span.trace_id.clone()).or_default() += 1);
        otlp::send(&export, &input::otlp_requests(&made, SPANS_PER_SECOND), PATIENCE).await;
        spans += made.len() as u64;
        points.push(Point { seconds: begun.elapsed().as_secs_f64(), resident: weir.resident() });
        tokio::time::sleep_until((begun + TICK * tick).into()).await;
    }
    let cpu = processor_time_of(weir.pid().expect("weir runs"));
    let took = begun.elapsed();
    wait_for_lines(&weir, lines).await;
    let looked_up = look_up(&weir, traces).await;
    let (peak, declared) = (weir.resident_peak(), weir.declared_memory().await);
    draw(&points, declared);
    println!(
        "soak: {} resident at most and {} at the end | beside: {} declared | {lines} lines ({}) in {:.0} s, all found, and \
         {spans} spans, {looked_up} traces looked up whole; {:.0} s of processor | {}",
        mb(peak),
        mb(points.last().map_or(0, |point| point.resident)),
        mb(declared),
        mb(written),
        took.as_secs_f64(),
        cpu.as_secs_f64(),
        input::name(&day),
    );
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_nanos()).expect("a clock before 2262")
}

/// A second's spans with ids of their own and the times of now.
fn spans_of(day: &Day, first: usize) -> Vec<SpanRow> {
    let at = now() as u64;
    let span = |number: usize| {
        let (row, round) = (&day.spans[number % day.spans.len()], (number / day.spans.len()) as u32);
        // The day's ids in the first round, others of the same shape in each further one.
        let id = |id: &str| if id.is_empty() { String::new() } else { format!("{round:04x}{}", &id[4..]) };
        let (start, end) = (at, at + row.end.saturating_sub(row.start));
        let (trace_id, span_id, parent_id) = (id(&row.trace_id), id(&row.span_id), id(&row.parent_id));
        SpanRow { trace_id, span_id, parent_id, start, end, ..row.clone() }
    };
    (first..first + SPANS_PER_SECOND).map(span).collect()
}

async fn wait_for_lines(weir: &Weir, wanted: u64) {
    let query = "sum(count_over_time({namespace=\"nezha\"}[1d]))";
    eventually("all lines", || async {
        let answer = weir.get("/loki/api/v1/query", &[("query", query)]).await;
        let found = answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        if found == wanted as f64 { Ok(()) } else { Err(format!("{found} of {wanted} lines")) }
    })
    .await;
}

/// Looks traces up, evenly spread over all: each has to be whole. How many they were.
async fn look_up(weir: &Weir, traces: BTreeMap<String, usize>) -> usize {
    let step = (traces.len() / LOOKED_UP).max(1);
    let mut looked_up = 0;
    for (id, wanted) in traces.iter().step_by(step) {
        let answer = weir.get(&format!("/api/weir/v1/traces/{id}"), &[]).await;
        let found = answer["trace"]["spans"].as_array().map_or(0, Vec::len);
        assert_eq!(found, *wanted, "spans of {id}");
        looked_up += 1;
    }
    looked_up
}

/// Memory over time, as a picture.
fn draw(points: &[Point], declared: u64) {
    const SIZE: (f64, f64) = (800.0, 300.0);
    let most = points.iter().map(|point| point.resident).max().unwrap_or(1) as f64 * 1.1;
    let last = points.last().map_or(1.0, |point| point.seconds);
    let (x, y) =
        (|seconds: f64| 60.0 + seconds / last * (SIZE.0 - 80.0), |bytes: f64| SIZE.1 - 30.0 - bytes / most * (SIZE.1 - 60.0));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"60\" y=\"18\">Resident memory of weir up ({} declared), MB by minutes</text>\n",
        SIZE.0,
        SIZE.1,
        mb(declared)
    );
    for part in 0..=4 {
        let bytes = most * f64::from(part) / 4.0;
        let _ = writeln!(
            svg,
            "<path d=\"M60 {0:.1}H{1}\" stroke=\"#ddd\"/><text x=\"8\" y=\"{0:.1}\">{2:.0}</text>",
            y(bytes),
            SIZE.0 - 20.0,
            bytes / 1e6
        );
    }
    for part in 0..=5 {
        let seconds = last * f64::from(part) / 5.0;
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{}\">{:.1}</text>", x(seconds), SIZE.1 - 10.0, seconds / 60.0);
    }
    let line: Vec<String> =
        points.iter().map(|point| format!("{:.1},{:.1}", x(point.seconds), y(point.resident as f64))).collect();
    let _ =
        write!(svg, "<polyline fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"1.5\" points=\"{}\"/>\n</svg>\n", line.join(" "));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/soak.svg");
    std::fs::write(&path, svg).expect("write the picture");
    eprintln!("drawn to {}", path.display());
}
