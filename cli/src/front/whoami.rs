//! `GET /api/weir/v1/whoami`: whom the caller's credentials stand for, and what they may. For the page and `weir login`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Extension;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use weir_access::{Access, Granted, Needs, Routes, Telemetry, Tenants, Verb};

/// Of every process that serves.
pub(crate) fn routes() -> Routes {
    Routes::new().get("/api/weir/v1/whoami", Needs::Caller, whoami)
}

async fn whoami(granted: Granted, Extension(access): Extension<Access>) -> Response {
    let principal = &granted.principal;
    let mut verbs = BTreeMap::new();
    // Of several tenants the first: a webhook is asked for each verb and signal.
    let first = access.of_first_tenant();
    for telemetry in Telemetry::ALL {
        verbs.insert(telemetry.name(), may(&first, telemetry).await);
    }
    let admin = access.may(Needs::Whole(Verb::Admin)).await;
    // Those that it may name; null where it may name any.
    let tenants = match access.tenants() {
        Tenants::Any => None,
        Tenants::Only(names) => Some(names.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    // Those that this request would read; none where it does not say clearly which.
    let read = access.grant_optional(Needs::AnyOf(Verb::Read)).await.ok();
    let scope: Vec<&str> = read.iter().flat_map(|read| read.scope.tenants()).map(|scope| &*scope.tenant).collect();
    let body = json!({
        "name": principal.name,
        "groups": principal.groups,
        "method": principal.method.name(),
        "tenants": tenants,
        "scope": scope,
        "verbs": verbs,
        "admin": admin,
    });
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// What it may do to this telemetry of the tenant that the request names.
async fn may(access: &Access, telemetry: Telemetry) -> Vec<&'static str> {
    let mut verbs = Vec::new();
    for verb in Verb::ALL {
        if access.may(Needs::Tenant(verb, telemetry)).await {
            verbs.push(verb.name());
        }
    }
    verbs
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use serde_json::Value;
    use tower::ServiceExt;
    use weir_access::{AuthorizationConfig, Authorizer, Mode, Principal, Reviewer};

    use super::*;

    /// Allows all, and keeps of which tenant and which verb it was asked.
    #[derive(Debug, Default)]
    struct Allowing(Mutex<Vec<(String, String)>>);

    #[async_trait]
    impl Reviewer for Allowing {
        async fn review(&self, body: String) -> Result<Vec<u8>, String> {
            let review: Value = serde_json::from_str(&body).unwrap();
            let text = |key: &str| review["spec"]["resourceAttributes"][key].as_str().unwrap().to_owned();
            self.0.lock().unwrap().push((text("namespace"), text("verb")));
            Ok(json!({"kind": "SubjectAccessReview", "status": {"allowed": true}}).to_string().into_bytes())
        }
    }

    #[tokio::test]
    async fn of_several_tenants_a_webhook_is_asked_for_the_verbs_of_the_first() {
        let reviewer = Arc::new(Allowing::default());
        let config = AuthorizationConfig { mode: Mode::Webhook, ..AuthorizationConfig::default() };
        let reach = Arc::clone(&reviewer) as Arc<dyn Reviewer>;
        let authorizer = Authorizer::start(&config, "default", |_| Ok(reach)).unwrap();
        let asked = vec!["a".into(), "b".into()];
        let access = Access::new(Some(Arc::new(Principal::anonymous())), asked, Arc::new(authorizer));
        let request = Request::get("/api/weir/v1/whoami").extension(access).body(Body::empty()).unwrap();
        let answer = routes().into_router().oneshot(request).await.unwrap();
        let answer: Value = serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 20).await.unwrap()).unwrap();
        assert_eq!(answer["scope"], json!(["a", "b"]));
        assert_eq!(answer["verbs"]["logs"], json!(["push", "read", "tail", "admin", "rules"]));
        let reviews = reviewer.0.lock().unwrap();
        assert!(reviews.iter().all(|(tenant, verb)| tenant != "b" || verb == "read"), "{reviews:?}");
    }
}
