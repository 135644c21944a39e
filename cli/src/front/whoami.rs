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
    let read = if access.may(Needs::AnyOf(Verb::Read)).await { access.grant(Needs::AnyOf(Verb::Read)).await.ok() } else { None };
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
