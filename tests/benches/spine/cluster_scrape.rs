//! The nodes of [`crate::cluster`] as text targets: one server, which tells by the address that it was asked at which node it is
//! (127.0.0.0/8 is this machine's).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use crate::cluster::{SERIES_A_TARGET, Target};

/// A Prometheus configuration whose targets are in a file, none as yet. Returns its path.
pub fn write_config(folder: &Path, step: Duration) -> String {
    let (config, targets) = (folder.join("scrape.yml"), folder.join("targets.json"));
    std::fs::write(&targets, "[]").expect("write the targets");
    let (step, targets) = (step.as_secs(), targets.display());
    let text = format!(
        "global:\n  scrape_interval: {step}s\n  scrape_timeout: {step}s\nscrape_configs:\n- job_name: cadvisor\n  file_sd_configs:\n  \
         - files: ['{targets}']\n    refresh_interval: 5s\n"
    );
    std::fs::write(&config, text).expect("write the configuration");
    config.display().to_string()
}

/// Serves these nodes, says so in the file of targets, and goes on serving. Returns after the run: samples served until then.
pub async fn serve(folder: &Path, targets: Arc<Vec<Target>>, begun: Instant, run: Duration) -> u64 {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let address = |index: usize| format!("127.1.{}.{}:{port}", index / 250, index % 250);
    let group = |(index, target): (usize, &Target)| json!({"targets": [address(index)], "labels": {"node": target.node()}});
    let groups: Vec<_> = targets.iter().enumerate().map(group).collect();
    let served = Arc::new(AtomicU64::new(0));
    let answers = Arc::clone(&served);
    let answer = move |headers: HeaderMap| async move {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().split(':').next();
        let mut parts = host.unwrap_or_default().split('.').skip(2).filter_map(|part| part.parse::<usize>().ok());
        let place = parts.next().zip(parts.next()).map(|(high, low)| high * 250 + low);
        let Some(target) = place.and_then(|place| targets.get(place)) else { return (StatusCode::NOT_FOUND, String::new()) };
        answers.fetch_add(1, Ordering::AcqRel);
        (StatusCode::OK, target.exposition(begun.elapsed().as_secs() / 15))
    };
    let types = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let routes = Router::new().route("/metrics", get(async move |headers: HeaderMap| (types, answer(headers).await)));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    // Renamed, so that nobody reads half of it.
    std::fs::write(folder.join("targets.new"), serde_json::Value::from(groups).to_string()).expect("write the targets");
    std::fs::rename(folder.join("targets.new"), folder.join("targets.json")).expect("rename the targets");
    tokio::time::sleep(run).await;
    served.load(Ordering::Acquire) * SERIES_A_TARGET as u64
}
