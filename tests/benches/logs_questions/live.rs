//! How long a line takes from its push to an answer that has it, and to a tail, in a weir that holds all the others.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use weir_tests::weir::{PATIENCE, Weir};

use crate::now;
use crate::table::Figure;

/// Lines, one after the other; of so many the 99th percentile is the third worst.
const LINES: usize = 300;
/// A question that has no answer yet is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// Both, as figures.
pub async fn measure(weir: &Weir) -> Vec<Figure> {
    let mut figures = Vec::from(percentiles("push → answered by a query, ms", "≤ 1000 (p99)", visible(weir).await));
    figures.extend(percentiles("push → message of a tail, ms", "≤ 100 (p99)", tailed(weir).await));
    figures
}

fn percentiles(what: &str, goal: &'static str, mut took: Vec<Duration>) -> [Figure; 2] {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    [Figure::new(format!("{what}, p50"), "", at(0.5), 1), Figure::new(format!("{what}, p99"), goal, at(0.99), 1)]
}

async fn push(weir: &Weir, text: &str) {
    let body = json!({"streams": [{"stream": {"app": "live"}, "values": [[now().to_string(), text]]}]});
    let answer = weir.http.post(weir.url("/loki/api/v1/push")).json(&body).send().await.expect("weir answers");
    assert!(answer.status().is_success(), "{}", answer.status());
}

async fn visible(weir: &Weir) -> Vec<Duration> {
    let mut took = Vec::new();
    for line in 0..LINES {
        let text = format!("seen {line:05} at {}", now());
        let query = format!("{{app=\"live\"}} |= `{text}`");
        let begun = Instant::now();
        push(weir, &text).await;
        loop {
            let answer = weir.get("/loki/api/v1/query_range", &[("query", &query), ("since", "5m")]).await;
            if answer["data"]["result"].as_array().is_some_and(|streams| !streams.is_empty()) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "line {line} is not seen: {answer}");
            tokio::time::sleep(ASK_AGAIN).await;
        }
        took.push(begun.elapsed());
    }
    took
}

async fn tailed(weir: &Weir) -> Vec<Duration> {
    let url = format!("ws://{}/api/weir/v1/logs/tail?query=%7Bapp%3D%22live%22%7D", weir.listen);
    let (mut tail, _) = tokio_tungstenite::connect_async(url).await.expect("weir tails");
    let mut took = Vec::new();
    for line in 0..LINES {
        let text = format!("tailed {line:05} at {}", now());
        // Not in step with the tail's own clock.
        tokio::time::sleep(Duration::from_millis((line as u64 * 37) % 101)).await;
        let begun = Instant::now();
        let wait = async {
            loop {
                let message = tail.next().await.expect("the tail goes on").expect("a message");
                if matches!(&message, Message::Text(lines) if lines.contains(&text)) {
                    return begun.elapsed();
                }
            }
        };
        let both = async { tokio::join!(push(weir, &text), wait).1 };
        took.push(tokio::time::timeout(PATIENCE, both).await.unwrap_or_else(|_| panic!("line {line} is not tailed")));
    }
    took
}
