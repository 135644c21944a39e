//! `status/buildinfo`: who answers, and which Prometheus it answers like.

use serde_json::json;

use super::answer::Success;

/// The Prometheus whose API and language this is. Grafana decides by it which calls it may make.
const PROMETHEUS_VERSION: &str = "3.0.0";

/// `GET status/buildinfo`
pub(super) async fn buildinfo() -> Success {
    let weir = env!("CARGO_PKG_VERSION");
    Success::of(&json!({
        "version": format!("{PROMETHEUS_VERSION}+weir.{weir}"),
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}
