//! Limits by tenant, from the file to the answers of a collector's door.

use std::sync::Arc;

use weir_model::outage::Outages;

use super::*;
use crate::config::Config;
use crate::limits::{LimitsConfig, LimitsWatch};
use crate::service::health::Readiness;
use crate::service::{build, health, lifecycle};

struct Ready;

impl Readiness for Ready {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Sends it until the answer has this in it.
async fn until_answered(door: &Door, request: &str, part: &str) {
    let answered = async {
        while !door.send(request).await.contains(part) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(END, answered).await.unwrap_or_else(|_| panic!("never: {part}"));
}

#[tokio::test]
async fn a_changed_file_counts_for_the_next_push_and_a_wrong_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("overrides.toml");
    std::fs::write(&file, "[tenants.shop.logs.ingestion]\nrecords_rate = 1\n").unwrap();
    let limits = LimitsConfig { overrides_file: file.clone() };
    let mut config = Config { data: folder.path().join("data"), limits, ..Config::default() };
    (config.collector.files.containers, config.collector.sample.enabled) = (false, false);
    let (mut registry, shutdown, outages) = (Registry::default(), CancellationToken::new(), Outages::default());
    let limits = LimitsWatch::start(&config.limits, &mut registry).unwrap();
    let bus = build::open_bus(&config, &mut registry).unwrap();
    let (clock, told): (weir_aggregator::Clock, _) = (Arc::new(lifecycle::now), (&outages, limits.limits()));
    let collector = build::start_collector(&config, bus, &clock, told, &mut registry, &shutdown).await.unwrap();
    let routes = collector.push_router().merge(health::router(registry, limits.told_by(Ready)));
    let identity = Identity::start(&AuthConfig::default(), &AuthorizationConfig::default(), "default").unwrap();
    let door = Door::open_for(FrontConfig::default(), identity, routes).await;
    let push = |tenant: &str, lines: usize| {
        let values = vec![format!("[\"{}\",\"line\"]", lifecycle::now()); lines].join(",");
        let body = format!("{{\"streams\":[{{\"stream\":{{\"app\":\"a\"}},\"values\":[{values}]}}]}}");
        format!(
            "POST /loki/api/v1/push HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-scope-orgid: {tenant}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    // More than a burst, from full: what is too much is waited for.
    assert_eq!(status(&door.send(&push("shop", 1_000)).await), 204);
    let refused = door.send(&push("shop", 1)).await;
    assert!(status(&refused) == 429 && refused.contains("\r\nretry-after: "), "{refused}");
    assert!(refused.contains("ingestion rate limit exceeded for user shop (limit: 1 lines/sec)"), "{refused}");
    assert_eq!(status(&door.send(&push("bank", 1_000)).await), 204);

    let ready = "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(door.send(ready).await.ends_with("ready\n"));
    std::fs::write(&file, "[tenants.shop.logs]\nstreams_max = 0\n").unwrap();
    until_answered(&door, ready, "tenants.\"shop\".logs.streams_max: must be above 0").await;
    assert_eq!(status(&door.send(&push("shop", 1)).await), 429, "the limits of before are in force");
    std::fs::write(&file, "# No limits.\n").unwrap();
    until_answered(&door, &push("shop", 1), "HTTP/1.1 204").await;
    assert_eq!(status(&door.send(ready).await), 200);
    door.close().await;
    shutdown.cancel();
    collector.join().await;
}
