//! The series of the target that both scrape.

/// A series' value at each of its samples, where it has one.
type Sampled = Box<dyn Fn(i64) -> Option<f64>>;
/// As it is written, and its values.
type Series = (String, Sampled);

/// Between two samples of a series.
pub(super) const INTERVAL_MS: i64 = 15_000;
/// Samples of a series.
pub(super) const SAMPLES: i64 = 60;

/// What the target answers: every series with all of its samples, and their metadata.
pub(super) fn exposition(first_ms: i64) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, series: Vec<Series>| {
        text.push_str(&format!("# HELP {name} What {name} is.\n# TYPE {name} {kind}\n"));
        for (series, value) in series {
            for i in 0..SAMPLES {
                if let Some(value) = value(i) {
                    let value = if value.is_infinite() { "+Inf".to_owned() } else { value.to_string() };
                    text.push_str(&format!("{series} {value} {}\n", first_ms + i * INTERVAL_MS));
                }
            }
        }
    };
    let mut requests: Vec<Series> = Vec::new();
    for (n, method) in (1_i64..).zip(["GET", "POST"]) {
        for (m, code) in (1_i64..).zip(["200", "404", "500"]) {
            for (k, path) in (1_i64..).zip(["/", "/cart"]) {
                let slope = (7 * n + 3 * m + k) as f64 + 0.25;
                let has_reset = code == "500";
                let series = format!("requests_total{{method=\"{method}\",code=\"{code}\",path=\"{path}\"}}");
                let value = move |i: i64| Some(slope * (if has_reset && i > 30 { i - 30 } else { i }) as f64);
                requests.push((series, Box::new(value)));
            }
        }
    }
    family("requests_total", "counter", requests);
    let gauge = |room: &str, value: Sampled| (format!("temperature{{room=\"{room}\"}}"), value);
    family(
        "temperature",
        "gauge",
        vec![
            gauge("hall", Box::new(|i| Some((i as f64 / 5.0).sin() * 20.0))),
            gauge("cellar", Box::new(|i| Some(-3.5 + i as f64 / 10.0))),
            gauge("attic", Box::new(|i| Some(if i % 10 == 3 { f64::NAN } else { 30.0 }))),
            gauge("oven", Box::new(|i| Some(if i == 40 { f64::INFINITY } else { 1e9 * i as f64 }))),
            gauge("b\\\\\\\"ü\\n", Box::new(|i| (i % 8 == 0).then_some(1e-7 * i as f64))),
            gauge("left", Box::new(|i| (i < 20).then_some(i as f64))),
        ],
    );
    let mut latencies: Vec<Series> = Vec::new();
    for (n, service) in (1_i64..).zip(["front", "back"]) {
        for (m, le) in (1_i64..).zip(["0.1", "0.5", "1", "+Inf"]) {
            latencies.push((
                format!("latency_seconds_bucket{{service=\"{service}\",le=\"{le}\"}}"),
                Box::new(move |i| Some((i * n * m) as f64)),
            ));
        }
        latencies.push((format!("latency_seconds_sum{{service=\"{service}\"}}"), Box::new(move |i| Some((i * n) as f64 * 1.7))));
        latencies.push((format!("latency_seconds_count{{service=\"{service}\"}}"), Box::new(move |i| Some((i * n * 4) as f64))));
    }
    family("latency_seconds", "histogram", latencies);
    let owner = |room: &str, owner: &str| {
        (format!("owner_info{{room=\"{room}\",owner=\"{owner}\"}}"), Box::new(|_: i64| Some(1.0)) as Sampled)
    };
    family("owner_info", "gauge", vec![owner("hall", "ann"), owner("cellar", "bob"), owner("oven", "ann")]);
    text
}

/// Series of the target.
pub(super) const SERIES: usize = 12 + 6 + 12 + 3;
