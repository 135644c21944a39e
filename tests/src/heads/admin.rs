//! Sealing and merging through a query node, which owns nothing: every owner does it, or the answer says who did not.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use weir_fanout::{FanOut, FanOutConfig};
use weir_model::id::TopicPartition;

use super::cluster::{Cluster, PARTITIONS};
use crate::granted::granted;

fn place(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

fn all_places() -> Vec<TopicPartition> {
    let topics = ["weir.logs", "weir.metrics", "weir.spans"];
    topics.iter().flat_map(|topic| (0..PARTITIONS).map(|partition| place(topic, partition))).collect()
}

/// Serves the routes of a query node to which the bus told of these places; returns where.
async fn serve(fan_out: &FanOut, places: Vec<TopicPartition>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = granted(fan_out.admin_router(places));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn order(url: &str, action: &str) -> (u16, Value) {
    let answer = weir_tls::client().post(format!("{url}/api/weir/v1/admin/{action}")).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// In the manifests of all owners.
fn blocks(cluster: &Cluster) -> u64 {
    cluster.nodes.iter().flat_map(|node| node.aggregator.status()).map(|status| status.blocks).sum()
}

fn places_of(answer: &Value) -> Vec<TopicPartition> {
    serde_json::from_value(answer["partitions"].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_owner_seals_and_merges() {
    let mut cluster = Cluster::start().await;
    let (fan_out, _) = cluster.fan_out();
    let url = serve(&fan_out, all_places()).await;
    for _ in 0..2 {
        cluster.write_lines(30).await;
        // One scrape: of two with the same target and time one would be dropped, and what is sealed not be what was in the heads.
        cluster.write_samples(1).await;
        cluster.caught_up().await;
        let unsealed: u64 =
            cluster.nodes.iter().flat_map(|node| node.aggregator.status()).map(|status| status.head_records).sum();
        let (status, answer) = order(&url, "seal").await;
        assert_eq!((status, places_of(&answer)), (200, all_places()), "{answer}");
        assert!(answer["blocks"].as_u64() > Some(0) && unsealed > 0, "{answer}");
        assert_eq!(answer["records"].as_u64(), Some(unsealed), "{answer}");
        let (status, answer) = order(&url, "seal").await;
        assert_eq!((status, &answer["blocks"], &answer["records"]), (200, &json!(0), &json!(0)), "{answer}");
    }
    let before = blocks(&cluster);
    let (status, answer) = order(&url, "compact").await;
    assert_eq!((status, places_of(&answer)), (200, all_places()), "{answer}");
    assert!(answer["blocks"].as_u64() > Some(0) && blocks(&cluster) < before, "{answer}");

    // One owner leaves, the other takes over: what was its is asked of the other.
    cluster.write_lines(30).await;
    cluster.nodes[0].kill().await;
    cluster.caught_up().await;
    let (status, answer) = order(&url, "seal").await;
    assert_eq!((status, places_of(&answer)), (200, all_places()), "{answer}");
    assert!(answer["records"].as_u64() > Some(0), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_did_not_and_what_is_nobodys_is_named() {
    let mut cluster = Cluster::start().await;
    let (fan_out, _) =
        cluster.fan_out_with(FanOutConfig { owner_timeout: Duration::from_millis(300), ..FanOutConfig::default() });
    let nobodys = place("weir.logs", 99);
    let url = serve(&fan_out, all_places().into_iter().chain([nobodys.clone()]).collect()).await;
    cluster.write_lines(60).await;
    cluster.caught_up().await;
    let (status, answer) = order(&url, "seal").await;
    assert_eq!((status, places_of(&answer)), (503, all_places()), "{answer}");
    assert_eq!(answer["error"], "weir.logs partition 99 has no owner yet");
    assert!(answer["records"].as_u64() > Some(0), "{answer}");

    // The first owner is not there; then it takes connections and says nothing.
    let owned: Vec<BTreeSet<TopicPartition>> = cluster
        .nodes
        .iter()
        .map(|node| node.aggregator.status().into_iter().map(|status| place(&status.topic, status.partition)).collect())
        .collect();
    cluster.nodes[0].deafen().await;
    let mut silent = None;
    for why in ["Connection refused", "no status within 300ms"] {
        cluster.write_lines(60).await;
        cluster.caught_up().await;
        let (status, answer) = order(&url, "seal").await;
        let said = answer["error"].as_str().unwrap();
        assert_eq!((status, places_of(&answer)), (503, owned[1].iter().cloned().collect::<Vec<_>>()), "{answer}");
        assert!(answer["records"].as_u64() > Some(0), "{answer}");
        let names = |place: &TopicPartition| said.contains(&place.to_string());
        assert!(owned[0].iter().all(names) && names(&nobodys) && !owned[1].iter().any(names), "{said}");
        assert!(said.contains(&cluster.nodes[0].url) && said.contains(why) && !said.contains(&cluster.nodes[1].url), "{said}");
        let address = cluster.nodes[0].url.trim_start_matches("http://").to_owned();
        silent.get_or_insert_with(|| std::net::TcpListener::bind(address).unwrap());
    }
}
