//! Queries of what was scraped, by the API that all have: processor time of the whole process an answer, in milliseconds. Targets go
//! on being scraped meanwhile; what that takes is taken off.

use std::time::{Duration, Instant, SystemTime};

use reqwest::{Client, Url};
use serde_json::Value;
use weir_tests::bench::watch::processor_time_of;

use crate::number;
use crate::table::Figure;

/// Counters of the targets, without what a scrape says of itself.
const ALL: &str = "{job=\"spine\",code!=\"\"}";
const ONE: &str = "http_server_requests_total{job=\"spine\",code=\"200\",method=\"GET\",service=\"ts-order-service\"}";
/// The kernel counts in ticks of 10 ms.
const SPENT_MIN: Duration = Duration::from_millis(600);
const TIMES_MIN: u32 = 5;
const TIMES_MAX: u32 = 500;

struct Query {
    what: &'static str,
    goal: &'static str,
    text: String,
    /// Over the last minutes with a step of so many seconds; else at an instant.
    step: Option<u64>,
    /// Series in the answer, where all must have as many.
    series: usize,
}

fn queries(series: usize) -> Vec<Query> {
    let at = |what, goal, text: String, series| Query { what, goal, text, step: None, series };
    vec![
        at("query: all series at an instant", "≤ 40", ALL.to_owned(), series),
        at("query: count by (__name__) of everything", "≤ 10", "count by (__name__) ({__name__!=\"\"})".to_owned(), 0),
        at("query: topk(10, rate(all[1m]))", "≤ 30", format!("topk(10, rate({ALL}[1m]))"), 10),
        at("query: sum by (service) (rate(all[1m]))", "≤ 40", format!("sum by (service) (rate({ALL}[1m]))"), 4),
        Query {
            what: "query: ten series over the run",
            goal: "≤ 1",
            text: format!("sum by (instance) ({ONE})"),
            step: Some(5),
            series: 10,
        },
    ]
}

/// Asks the API at `url` of the process `pid`; `idle` is what it spends a second while nobody asks.
pub async fn ask(url: &str, pid: u32, series: usize, idle: f64) -> Vec<Figure> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970").as_secs();
    let mut figures = Vec::new();
    for query in queries(series) {
        let (path, mut parameters) = ("query", vec![("query", query.text.clone())]);
        let path = match query.step {
            None => {
                parameters.push(("time", (now - 1).to_string()));
                path
            }
            Some(step) => {
                let run = number("SECONDS_RUN", 75);
                let range = [("start", now - run), ("end", now), ("step", step)];
                parameters.extend(range.map(|(name, value)| (name, value.to_string())));
                "query_range"
            }
        };
        let url = Url::parse_with_params(&format!("{url}/api/v1/{path}"), &parameters).expect("a URL");
        let client = weir_tls::client();
        let (first, first_spent) = once(&client, &url, pid).await;
        let answer: Value = serde_json::from_slice(&first).expect("JSON");
        let found = answer["data"]["result"].as_array().map_or(0, Vec::len);
        assert!(found == query.series || query.series == 0 && found > 0, "{}: {found} series", query.text);
        let (begun, before) = (Instant::now(), processor_time_of(pid));
        let mut times = 0;
        let spent = loop {
            once(&client, &url, pid).await;
            times += 1;
            let spent = (processor_time_of(pid) - before).saturating_sub(begun.elapsed().mul_f64(idle));
            if times >= TIMES_MAX || times >= TIMES_MIN && spent >= SPENT_MIN {
                break spent;
            }
        };
        let millis = spent.as_secs_f64() * 1e3 / f64::from(times);
        println!("    {}: {millis:.2} ms, the first {} ms; {} bytes", query.text, first_spent.as_millis(), first.len());
        figures.push(Figure::new(format!("{}, CPU ms", query.what), query.goal, millis, 2));
    }
    figures
}

/// An answer and what it took.
async fn once(client: &Client, url: &Url, pid: u32) -> (Vec<u8>, Duration) {
    let before = processor_time_of(pid);
    let answer = client.get(url.clone()).send().await.expect("it answers").error_for_status().expect("it can answer");
    let bytes = answer.bytes().await.expect("a body").to_vec();
    (bytes, processor_time_of(pid) - before)
}
