//! What an open page costs: it asks every two seconds, records arrive all the time, and what they do not change is not sent again.

use serde_json::json;

use crate::weir::{Weir, eventually};

const CONTAINERS: usize = 4;
const POLLS: usize = 20;

/// A gauge of each container, once.
async fn push_containers(weir: &Weir) {
    let at = now().to_string();
    let text = |key: &str, value: String| json!({"key": key, "value": {"stringValue": value}});
    let points: Vec<_> = (0..CONTAINERS)
        .map(|i| {
            let attributes = [text("id", format!("/box/{i}")), text("name", format!("box-{i}")), text("node", "n".into())];
            json!({"attributes": attributes, "timeUnixNano": at, "asDouble": 1e6})
        })
        .collect();
    let metric = json!({"name": "container_memory_working_set_bytes", "gauge": {"dataPoints": points}});
    let body = json!({"resourceMetrics": [{"resource": {"attributes": []}, "scopeMetrics": [{"metrics": [metric]}]}]});
    let url = format!("http://{}/v1/metrics", weir.otlp_http);
    let answer = weir.http.post(url).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// A sample of something else, which moves the coverage of every answer about metrics.
async fn push_another(weir: &Weir, i: usize) {
    let point = json!({"attributes": [], "timeUnixNano": now().to_string(), "asDouble": i});
    let metric = json!({"name": "another", "gauge": {"dataPoints": [point]}});
    let body = json!({"resourceMetrics": [{"resource": {"attributes": []}, "scopeMetrics": [{"metrics": [metric]}]}]});
    let url = format!("http://{}/v1/metrics", weir.otlp_http);
    assert!(weir.http.post(url).json(&body).send().await.unwrap().status().is_success());
}

fn now() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_change_nothing_of_an_answer_do_not_send_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start(folder.path()).await;
    push_containers(&weir).await;
    eventually("the containers", async || {
        let answer = weir.get("/api/weir/v1/containers", &[]).await;
        if answer["containers"].as_array().unwrap().len() == CONTAINERS { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    let (mut tag, mut coverages, mut sent, mut whole) = (String::new(), Vec::new(), 0, 0);
    for i in 0..POLLS {
        push_another(&weir, i).await;
        let request = weir.http.get(weir.url("/api/weir/v1/containers")).header("if-none-match", &tag);
        let answer = request.send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        (tag, _) = (header("etag"), coverages.push(header("x-weir-coverage")));
        let bytes = answer.bytes().await.unwrap().len();
        (sent, whole) = (sent + bytes, whole.max(bytes));
    }
    coverages.dedup();
    assert!(coverages.len() > POLLS / 2, "the coverage is that of each moment: {coverages:?}");
    // A sparkline's window moves on every five seconds: twice is a slow machine.
    assert!(whole > 500 && sent <= 3 * whole, "{sent} bytes in {POLLS} polls of an answer of {whole}");
}
