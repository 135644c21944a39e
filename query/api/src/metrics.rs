//! How the APIs are doing, as Prometheus metrics: requests by API and status (refusals are the 4xx), their time, and what
//! tails dropped.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use weir_budget::LoadMetrics;

use super::Api;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    api: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    api: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Counters of the HTTP APIs. Cloning shares them.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<Outcome, Counter>,
    seconds: Family<Which, Histogram, fn() -> Histogram>,
    tail_dropped: Counter,
    tails_closed: Family<Reason, Counter>,
    /// Memory, places, refusals.
    pub(crate) load: LoadMetrics,
}

/// From the 5 ms of a warm look-up to the default timeout of a query.
fn buckets() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0])
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let seconds = Family::new_with_constructor(buckets as fn() -> Histogram);
        Self {
            requests: Family::default(),
            seconds,
            tail_dropped: Counter::default(),
            tails_closed: Family::default(),
            load: LoadMetrics::default(),
        }
    }
}

impl HttpMetrics {
    /// Shows them under `weir_query_…`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("weir_query_requests", "Requests by API and HTTP status", self.requests.clone());
        registry.register_with_unit("weir_query_request", "Time until an answer began", Unit::Seconds, self.seconds.clone());
        let help = "Lines that a live tail was too slow to be shown";
        registry.register("weir_query_tail_dropped_lines", help, self.tail_dropped.clone());
        let help = "Live tails that were closed because their client was silent, took nothing, or may not follow any more";
        registry.register("weir_query_tails_closed", help, self.tails_closed.clone());
        self.load.register(registry);
    }

    /// Lines that a tail lost.
    pub(crate) fn tail_dropped(&self, lines: u64) {
        self.tail_dropped.inc_by(lines);
    }
}

impl HttpMetrics {
    /// A tail was given up.
    pub(crate) fn tail_closed(&self, reason: &'static str) {
        self.tails_closed.get_or_create(&Reason { reason }).inc();
    }

    /// Tails that were given up for a reason so far.
    #[cfg(test)]
    pub(crate) fn tails_closed(&self, reason: &'static str) -> u64 {
        self.tails_closed.get_or_create(&Reason { reason }).get()
    }
}

/// Which API a path is of. A closed list: paths of strangers make no series.
fn api_of(path: &str) -> &'static str {
    let prefixes = [("/loki/", "loki"), ("/tempo/", "tempo"), ("/jaeger/", "jaeger"), ("/api/weir/", "weir")];
    prefixes.iter().find(|(prefix, _)| path.starts_with(prefix)).map_or("prometheus", |(_, api)| api)
}

/// Counts a request around its handler.
pub(super) async fn count(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let (which, begun) = (api_of(request.uri().path()), Instant::now());
    let response = next.run(request).await;
    let counters = &api.counters;
    counters.requests.get_or_create(&Outcome { api: which, code: response.status().as_u16() }).inc();
    counters.seconds.get_or_create(&Which { api: which }).observe(begun.elapsed().as_secs_f64());
    response
}
