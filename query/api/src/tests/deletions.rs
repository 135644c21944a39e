//! Requests to delete, by the API of each peer: what is asked of whoever carries them out, what is refused, and what is listed.

use std::sync::Mutex;

use axum::http::Method;
use weir_access::audit::Deleted;
use weir_model::deletion::{DeletionChange, DeletionError, DeletionFuture, DeletionOrder, DeletionStatus, Deletions, FilterText};
use weir_model::wire::Kind;

use super::*;

/// Keeps what it is told.
#[derive(Default)]
struct Told {
    orders: Mutex<Vec<DeletionOrder>>,
    applied: Mutex<u32>,
    /// It cannot reach all partitions.
    is_away: bool,
    processed: u32,
}

impl Deletions for Told {
    fn change(&self, order: DeletionOrder) -> DeletionFuture<'_, ()> {
        Box::pin(async move {
            if self.is_away {
                return Err(DeletionError::Incomplete("partition 3 does not answer".into()));
            }
            self.orders.lock().unwrap().push(order);
            Ok(())
        })
    }

    fn list<'a>(&'a self, kind: Kind, tenant: &'a str) -> DeletionFuture<'a, Vec<DeletionStatus>> {
        Box::pin(async move {
            let orders = self.orders.lock().unwrap();
            let own = orders.iter().filter(|order| order.kinds.contains(&kind)).filter_map(|order| match &order.change {
                DeletionChange::Accept(request) if request.tenant == tenant => Some(request.clone()),
                _ => None,
            });
            Ok(own.map(|request| DeletionStatus { kind, request, partitions: 2, processed: self.processed }).collect())
        })
    }

    fn apply(&self) -> DeletionFuture<'_, ()> {
        Box::pin(async move {
            *self.applied.lock().unwrap() += 1;
            Ok(())
        })
    }
}

async fn ask(told: &Arc<Told>, method: Method, path: &str) -> (u16, String, Option<String>) {
    let api = api(MemoryLogs::default(), MemoryMetrics::default(), MemoryTraces::default());
    let mut router = router(Arc::new(api.with_deletions(Arc::clone(told) as _)));
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let mut response = tower_service::Service::call(&mut router, request).await.unwrap();
    let deleted = response.extensions_mut().remove::<Deleted>().map(|deleted| deleted.request);
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&bytes).into_owned(), deleted)
}

fn accepted(told: &Told, at: usize) -> (Vec<Kind>, weir_model::deletion::DeletionRequest) {
    let orders = told.orders.lock().unwrap();
    let DeletionChange::Accept(request) = &orders[at].change else { panic!("{orders:?}") };
    (orders[at].kinds.clone(), request.clone())
}

/// `{app="shop"} |= "card"`
const QUERY: &str = "%7Bapp%3D%22shop%22%7D%20%7C%3D%20%22card%22";

#[tokio::test]
async fn loki_s_requests_are_made_listed_and_cancelled() {
    let told = Arc::new(Told::default());
    let path = format!("/loki/api/v1/delete?query={QUERY}&start=10&end=20&max_interval=1h");
    let (status, body, audited) = ask(&told, Method::POST, &path).await;
    let (kinds, request) = accepted(&told, 0);
    assert_eq!((status, body.as_str(), audited), (204, "", Some(request.id.clone())));
    assert_eq!((kinds, request.tenant.as_str(), request.can_cancel), (vec![Kind::Logs], "default", true));
    assert_eq!((request.start, request.end), (10 * SECOND, 20 * SECOND));
    assert_eq!(request.filters, [FilterText::Contains(vec!["card".into()])]);
    let (status, body, _) = ask(&told, Method::GET, "/loki/api/v1/delete").await;
    let listed: Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!([{"request_id": request.id, "start_time": 10, "end_time": 20, "status": "received",
        "query": r#"{app="shop"} |= "card""#, "created_at": 100}]);
    assert_eq!((status, listed), (200, expected));

    let cancel = |id: &str| format!("/loki/api/v1/delete?request_id={id}");
    assert_eq!(ask(&told, Method::DELETE, &cancel("ffff")).await.0, 404);
    assert_eq!(ask(&told, Method::DELETE, &format!("{}&force=true", cancel(&request.id))).await.0, 400);
    assert_eq!(ask(&told, Method::DELETE, &cancel(&request.id)).await.0, 204);
    let cancelled = DeletionChange::Cancel { tenant: "default".into(), id: request.id.clone() };
    assert_eq!(told.orders.lock().unwrap()[1].change, cancelled);
    let processed = Arc::new(Told { orders: Mutex::new(told.orders.lock().unwrap().clone()), processed: 2, ..Told::default() });
    let (status, body, _) = ask(&processed, Method::DELETE, &cancel(&request.id)).await;
    assert!(status == 400 && body.contains("already processed"), "{status} {body}");
}

#[tokio::test]
async fn what_loki_refuses_is_refused_and_nothing_is_deleted() {
    let told = Arc::new(Told::default());
    for (parameters, part) in [
        (format!("query={QUERY}"), "start time not set"),
        (format!("query={QUERY}&start=10&end=200"), "in the future"),
        (format!("query={QUERY}&start=20&end=10"), "greater than or equal to end"),
        (format!("query={QUERY}&start=10&max_interval=-1h"), "max_interval"),
        ("start=10".into(), "query not set"),
        ("start=10&query=%7Bapp%3D%22a%22%7D%20%7C%20json".into(), "at byte"),
        ("start=10&query=%7B%7D".into(), ""),
    ] {
        let (status, body, _) = ask(&told, Method::POST, &format!("/loki/api/v1/delete?{parameters}")).await;
        assert!(status == 400 && body.contains(part), "{parameters}: {status} {body}");
    }
    assert!(told.orders.lock().unwrap().is_empty());
    let away = Arc::new(Told { is_away: true, ..Told::default() });
    let (status, body, _) = ask(&away, Method::POST, &format!("/loki/api/v1/delete?query={QUERY}&start=10")).await;
    assert!(status == 503 && body.contains("partition 3"), "{status} {body}");
}

#[tokio::test]
async fn series_are_deleted_as_prometheus_does() {
    let told = Arc::new(Told::default());
    let path = "/api/v1/admin/tsdb/delete_series?match[]=up&match[]=%7Bjob%3D%22a%22%7D&start=10&end=20";
    assert_eq!(ask(&told, Method::PUT, path).await.0, 204);
    let (kinds, request) = accepted(&told, 0);
    assert_eq!((kinds, request.selectors.len(), request.can_cancel), (vec![Kind::Metrics], 2, false));
    // The end is one of the samples.
    assert_eq!((request.start, request.end), (10 * SECOND, 20 * SECOND + 1_000_000));
    assert_eq!(ask(&told, Method::POST, "/api/v1/admin/tsdb/delete_series?match[]=up").await.0, 204);
    assert_eq!((accepted(&told, 1).1.start, accepted(&told, 1).1.end), (i64::MIN, i64::MAX));
    let (status, body, _) = ask(&told, Method::POST, "/api/v1/admin/tsdb/delete_series").await;
    assert!(status == 400 && body.contains("no match[] parameter"), "{body}");
    assert_eq!(ask(&told, Method::POST, "/api/v1/admin/tsdb/clean_tombstones").await.0, 204);
    assert_eq!(*told.applied.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_tenant_is_deleted_when_its_name_is_said_twice() {
    let told = Arc::new(Told::default());
    for path in ["/api/weir/v1/tenants/shop", "/api/weir/v1/tenants/shop?confirm=shops"] {
        let (status, body, _) = ask(&told, Method::DELETE, path).await;
        assert!(status == 400 && body.contains("confirm=shop"), "{body}");
    }
    let (status, body, audited) = ask(&told, Method::DELETE, "/api/weir/v1/tenants/shop?confirm=shop").await;
    let (kinds, request) = accepted(&told, 0);
    assert_eq!((status, kinds, request.tenant.as_str()), (202, Kind::ALL.to_vec(), "shop"));
    assert!(body.contains(&request.id) && audited == Some(request.id.clone()) && request.selectors.is_empty());
    let (_, body, _) = ask(&told, Method::GET, "/api/weir/v1/tenants/shop/deletions").await;
    let all: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(all["deletions"].as_array().map(Vec::len), Some(3));
    assert_eq!((&all["deletions"][0]["status"], &all["deletions"][0]["partitions"]), (&"received".into(), &2.into()));
}
