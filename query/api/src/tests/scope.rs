//! Every route asks its readers for the scope that its caller was granted, and for no other.

use std::sync::{Arc, Mutex};

use axum::Extension;
use axum::body::Body;
use axum::http::{Method, Request};
use weir_access::{Access, AuthorizationConfig, Authorizer, Mode, Needs, Principal};
use weir_budget::QueryConfig;
use weir_logql::memory::MemoryLogs;
use weir_model::deletion::{DeletionChange, DeletionFuture, DeletionOrder, DeletionStatus, Deletions};
use weir_model::id::{LineId, TraceId};
use weir_model::label::{Labels, Matcher};
use weir_model::metric::Family;
use weir_model::scope::{Scope, TenantScope, Visible};
use weir_model::select::{
    Budget, Coverage, Covered, LogReader, LogSelect, LogTail, LogVisitor, MetricReader, MetricSelect, OwnedLine, ReadError,
    SeriesCursor, SeriesExemplars, SeriesList, Trace, TraceReader, TraceSelect, TraceSummary,
};
use weir_model::span::{SpanKind, Value};
use weir_model::time::TimeRange;
use weir_model::wire::Kind;
use weir_rules::RuleSet;

use crate::{Api, router};

/// Has nothing, and takes note of whose it was asked.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<Scope>>>);

type Read<T> = Result<Covered<T>, ReadError>;

impl Asked {
    fn note<T: Default>(&self, scope: &Scope) -> Read<T> {
        self.0.lock().unwrap().push(scope.clone());
        Ok(Covered::default())
    }
}

impl LogReader for Asked {
    fn visit(&self, select: &LogSelect, _: &dyn Budget, _: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
        self.note::<()>(&select.scope).map(|found| found.coverage)
    }
    fn streams(&self, select: &LogSelect, _: &dyn Budget) -> Read<Vec<Labels>> {
        self.note(&select.scope)
    }
    fn line(&self, scope: &Scope, _: LineId, _: usize, _: &dyn Budget) -> Read<Vec<OwnedLine>> {
        self.note(scope)
    }
    fn tail(&self, select: LogSelect) -> Result<Box<dyn LogTail>, ReadError> {
        self.note::<()>(&select.scope)?;
        MemoryLogs::default().tail(select)
    }
}

impl MetricReader for Asked {
    fn cursor<'a>(&'a self, select: &MetricSelect, _: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        Ok(Box::new(SeriesList::new(self.note(&select.scope)?)))
    }
    fn series(&self, select: &MetricSelect, _: &dyn Budget) -> Read<Vec<Labels>> {
        self.note(&select.scope)
    }
    fn exemplars(&self, select: &MetricSelect, _: &dyn Budget) -> Read<Vec<SeriesExemplars>> {
        self.note(&select.scope)
    }
    fn families(&self, scope: &Scope, _: &dyn Budget) -> Read<Vec<Family>> {
        self.note(scope)
    }
}

impl TraceReader for Asked {
    fn trace(&self, scope: &Scope, _: TraceId) -> Read<Option<Trace>> {
        self.note(scope)
    }
    fn search(&self, select: &TraceSelect, _: &dyn Budget) -> Read<Vec<TraceSummary>> {
        self.note(&select.scope)
    }
    fn services(&self, scope: &Scope, _: TimeRange, _: &dyn Budget) -> Read<Vec<String>> {
        self.note(scope)
    }
    fn operations(&self, scope: &Scope, _: Option<&str>, _: TimeRange, _: &dyn Budget) -> Read<Vec<(String, SpanKind)>> {
        self.note(scope)
    }
    fn attribute_values(&self, scope: &Scope, _: &str, _: TimeRange, _: usize, _: &dyn Budget) -> Read<Vec<Value>> {
        self.note(scope)
    }
    fn attribute_names(&self, scope: &Scope, _: TimeRange, _: usize, _: &dyn Budget) -> Read<Vec<(String, String)>> {
        self.note(scope)
    }
}

impl Deletions for Asked {
    fn change(&self, order: DeletionOrder) -> DeletionFuture<'_, ()> {
        if let DeletionChange::Accept(request) = order.change {
            self.0.lock().unwrap().push(Scope::of(&request.tenant));
        }
        Box::pin(async { Ok(()) })
    }
    fn list<'a>(&'a self, _: Kind, tenant: &'a str) -> DeletionFuture<'a, Vec<DeletionStatus>> {
        self.0.lock().unwrap().push(Scope::of(tenant));
        Box::pin(async { Ok(Vec::new()) })
    }
    fn apply(&self) -> DeletionFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// A request of a route that all of them understand. No tenant has the name that it puts into a path.
fn request(method: &Method, path: &str) -> Request<Body> {
    let id = if path.contains("/line/") { "0-1-0" } else { "0000000000000000000000000000000a" };
    let place = path
        .replace("{id}", id)
        .replace("{name}", "app")
        .replace("{tag}", "app")
        .replace("{service}", "s")
        .replace("{namespace}", "n")
        .replace("{group}", "g")
        .replace("{tenant}", "%20");
    let ends =
        ["tail", "logs", "diff", "labels", "values", "stats", "volume", "volume_range", "shards", "patterns", "label", "delete"];
    let is_of_lines = path.contains("query_range") && path.contains("loki")
        || path.contains("/detected_")
        || ends.iter().any(|end| path.ends_with(end));
    let query = if is_of_lines { "%7Bapp%3D%22x%22%7D" } else { "rate(%7Bapp%3D%22x%22%7D%5B5m%5D)" };
    let parameters = format!("{place}?query={query}&match[]=%7Bapp%3D%22x%22%7D&start=0&end=50&step=10&service=s&request_id=0");
    let parameters = format!("{parameters}&selector=%7Bapp%3D%22x%22%7D&label_names[]=app");
    // Remote read's question is its body: one query to 50 ms, of app="x".
    let body = if path.ends_with("/api/v1/read") {
        let message = b"\x0a\x0c\x10\x32\x1a\x08\x12\x03app\x1a\x01x";
        Body::from(snap::raw::Encoder::new().compress_vec(message).unwrap())
    } else {
        Body::empty()
    };
    Request::builder().method(method).uri(parameters).body(body).unwrap()
}

#[tokio::test]
async fn every_route_asks_for_what_its_caller_was_granted() {
    let asked = Asked::default();
    let reader = || Arc::new(asked.clone());
    let api = Api::new(reader(), reader(), reader(), QueryConfig::default(), Arc::new(RuleSet::empty()));
    let api = api.with_clock(|| super::NOW).with_deletions(Arc::new(asked.clone()));
    let routes = router(Arc::new(api));
    let declared = routes.declared().to_vec();
    assert!(declared.len() > 50, "{}", declared.len());
    let authorizer = Arc::new(Authorizer::allow("own"));
    let open = |tenant: &str| {
        let access = Access::new(Some(Arc::new(Principal::anonymous())), vec![tenant.into()], Arc::clone(&authorizer));
        routes.clone().into_router().layer(Extension(access))
    };
    let (mut one, mut other) = (open("a"), open("b"));
    for route in declared {
        for (router, tenant) in [(&mut one, "a"), (&mut other, "b")] {
            let response = tower_service::Service::call(router, request(&route.method, &route.path)).await.unwrap();
            let what = format!("{} {} for {tenant}: {}", route.method, route.path, response.status());
            // An upgrade to a WebSocket needs a socket; what a tail follows is opened before.
            assert!(response.status().as_u16() < 500 || route.path.ends_with("/tail"), "{what}");
            let scopes = std::mem::take(&mut *asked.0.lock().unwrap());
            assert!(scopes.iter().all(|scope| *scope == Scope::of(tenant)), "{what}: {scopes:?}");
            let reads = matches!(route.needs, Needs::Tenant(..))
                && !route.path.contains("/rules/")
                && !["rules", "alerts", "alertmanagers", "clean_tombstones", "snapshot"]
                    .iter()
                    .any(|end| route.path.ends_with(end));
            assert_eq!(!scopes.is_empty(), reads, "{what}");
        }
    }
}

/// Whose lines a tail asks for that wants all of the past, in this order, when these policies are in force.
async fn tailed(name: &str, policies: &str) -> Vec<Scope> {
    let file = std::env::temp_dir().join(format!("weir-tail-{name}-{}.jsonl", std::process::id()));
    std::fs::write(&file, policies).unwrap();
    let config = AuthorizationConfig { mode: Mode::Abac, policies_file: file.clone(), ..AuthorizationConfig::default() };
    let authorizer = Arc::new(Authorizer::start(&config, "own", |_| Err("no webhook".into())).unwrap());
    let asked = Asked::default();
    let reader = || Arc::new(asked.clone());
    let api = Api::new(reader(), reader(), reader(), QueryConfig::default(), Arc::new(RuleSet::empty()));
    let access = Access::new(Some(Arc::new(Principal::anonymous())), Vec::new(), authorizer);
    let mut router = router(Arc::new(api.with_clock(|| super::NOW))).into_router().layer(Extension(access));
    let path = "/loki/api/v1/tail?query=%7Bapp%3D%22x%22%7D&start=0";
    // Without a socket there is no upgrade; what a tail follows is opened before.
    tower_service::Service::call(&mut router, Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    std::mem::take(&mut *asked.0.lock().unwrap())
}

#[tokio::test]
async fn a_tail_reads_the_past_of_what_may_be_read_and_no_other() {
    let tail = r#"{"tenant": "shop", "verb": "tail", "signal": "logs"}"#;
    assert_eq!(tailed("alone", tail).await, [Scope::of("shop")], "what arrives, and nothing of before");
    let read = r#"{"tenant": "shop", "verb": "read", "signal": "logs", "matcher": "{namespace=\"web\"}"}"#;
    let visible = Visible::any_of(vec![vec![Matcher::equal("namespace", "web")]]);
    let part = Scope::from(TenantScope { tenant: "shop".into(), visible });
    assert_eq!(tailed("both", &format!("{tail}\n{read}\n")).await, [Scope::of("shop"), part]);
}
