//! Shapes and refusals of the Loki, Jaeger, Tempo and weir APIs, through the router, over in-memory readers.

mod deletions;
mod drilldown;
mod load;
mod logs;
pub(crate) mod memory;
mod prometheus;
mod revalidate;
mod scope;
mod tenants;
mod trace_logs;
mod trace_search;
mod traces;
mod weir;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use memory::{MemoryMetrics, MemoryTraces};
use serde_json::Value;
use weir_access::{Access, Authorizer, Principal, Routes};
use weir_budget::QueryConfig;
use weir_logql::memory::MemoryLogs;
use weir_model::time::{SECOND, UnixNanos};
use weir_rules::RuleSet;

use super::Api;

/// The routes as a caller that may everything comes to them.
pub(crate) fn open(routes: Routes) -> axum::Router {
    let access = Access::new(Some(Arc::new(Principal::anonymous())), Vec::new(), Arc::new(Authorizer::allow("default")));
    routes.into_router().layer(Extension(access))
}

/// A request of one tenant.
fn call(api: &Arc<Api>) -> super::call::Call {
    super::call::Call::of(api, &weir_model::scope::Scope::of("default"))
}

fn router(api: Arc<Api>) -> axum::Router {
    open(super::router(api))
}

/// "Now" of all tests: 100 s after the epoch.
const NOW: UnixNanos = 100 * SECOND;

fn api(logs: MemoryLogs, metrics: MemoryMetrics, traces: MemoryTraces) -> Api {
    let rules = Arc::new(RuleSet::empty());
    Api::new(Arc::new(logs), Arc::new(metrics), Arc::new(traces), QueryConfig::default(), rules).with_clock(|| NOW)
}

struct Got {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn send(api: Api, request: Request<Body>) -> Got {
    let mut router = router(Arc::new(api));
    let response = tower_service::Service::call(&mut router, request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 4 << 20).await.unwrap().to_vec();
    Got { status: parts.status.as_u16(), headers: parts.headers, bytes }
}

async fn get(api: Api, path: &str) -> Got {
    send(api, Request::get(path).body(Body::empty()).unwrap()).await
}
