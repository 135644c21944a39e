//! Every route of every role, as the routers themselves declare them, for each kind of caller: who is let in, what the others are told
//! and in which shape, and that nothing of another tenant's comes through. A route that is added is in here by being declared.

pub(super) mod parts;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;
use weir_access::{Declared, Needs, Peer, TENANT_HEADER};

use self::parts::{Cluster, OTHER, OWN, TRACE};
use super::*;

/// Who asks.
#[derive(Clone, Debug, PartialEq)]
enum Caller {
    /// Without credentials.
    Nobody,
    Token(String),
    /// A client certificate of this organization.
    Certificate(&'static str),
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    /// The status that HTTP would have said, of gRPC as well.
    fn meant(&self) -> u16 {
        match self.headers.get("grpc-status").map(|code| code.to_str().unwrap()) {
            None | Some("0") => self.status.as_u16(),
            Some("16") => 401,
            Some("7") => 403,
            Some("3") => 400,
            Some(other) => panic!("gRPC's {other}: {}", self.body),
        }
    }
}

/// What a caller asks of a route, for the data of one tenant.
async fn ask(router: &axum::Router, route: &Declared, caller: &Caller, tenant: &str) -> Answer {
    let selector = "%7Bapp%3D~%22.%2B%22%7D";
    let path = route.path.replace("{name}", "app").replace("{id}", TRACE).replace("{tag}", "service.name");
    let path = path
        .replace("{tenant}", OWN)
        .replace("{namespace}", "n")
        .replace("{group}", "g")
        .replace("{*group}", "g")
        .replace("{index}", "i");
    let path = path.replace("{service}", &format!("{OWN}-service"));
    assert!(!path.contains('{'), "{path}: the matrix knows no value for this parameter");
    let parameters =
        format!("query={selector}&match[]={selector}&q=%7B%7D&service={OWN}-service&limit=100&step=60&traceID={TRACE}");
    let kind = match &*path {
        path if path.starts_with("/opentelemetry.") => "application/grpc",
        path if path.contains("/v1/logs")
            || path.starts_with("/v1/")
            || path.ends_with("/push")
            || path.starts_with("/api/weir/internal/") =>
        {
            "application/json"
        }
        _ => "application/x-www-form-urlencoded",
    };
    let body = if kind == "application/json" { "{}".to_owned() } else { String::new() };
    let mut request = Request::builder().method(route.method.clone()).uri(format!("{path}?{parameters}"));
    request = request.header("host", "localhost").header("content-type", kind).header(TENANT_HEADER, tenant);
    if let Caller::Token(token) = caller {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let certificates = match caller {
        Caller::Certificate(organization) => vec![certificate(organization)].into(),
        _ => Default::default(),
    };
    let peer = Peer { address: ([127, 0, 0, 1], 1).into(), certificates, is_tls: true };
    let response = router.clone().oneshot(request.extension(peer).body(Body::from(body)).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    // Server-sent events go on.
    let is_endless = head.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let body = if is_endless { Body::empty() } else { body };
    let body = tokio::time::timeout(END, to_bytes(body, 16 << 20)).await.expect("the answer ends").unwrap();
    Answer { status: head.status, headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() }
}

fn certificate(organization: &str) -> Vec<u8> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "query-0");
    parameters.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
    let key = rcgen::KeyPair::generate().unwrap();
    parameters.self_signed(&key).unwrap().der().to_vec()
}

/// Who has to be let in, and who must not be, with the status.
fn expected(needs: Needs) -> Vec<(Caller, u16)> {
    let token = |name: &str| Caller::Token(format!("token-{name}"));
    let (own, other, root) = (token(OWN), token(OTHER), token("root"));
    let less = |verb: weir_access::Verb| token(&format!("{}-less", verb.name()));
    let mut all = match needs {
        Needs::Nothing => return [Caller::Nobody, token("wrong"), other, own].map(|caller| (caller, 200)).into(),
        Needs::Caller => vec![(other, 200), (own, 200)],
        Needs::Tenant(verb, _) | Needs::AnyOf(verb) => vec![(other, 403), (less(verb), 403), (own, 200)],
        Needs::Whole(verb) => {
            let anywhere = token(&format!("{}-less-anywhere", verb.name()));
            vec![(other, 403), (own, 403), (anywhere, 403), (root, 200)]
        }
        Needs::Cluster => {
            let stranger = Caller::Certificate("other:cluster");
            vec![(own, 403), (root, 403), (stranger, 403), (Caller::Certificate("weir:cluster"), 200)]
        }
    };
    all.extend([(Caller::Nobody, 401), (token("wrong"), 401)]);
    all
}

/// A refusal is one that a client of this API can read.
fn check_shape(path: &str, answer: &Answer) {
    let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let said = match path {
        _ if path.starts_with("/opentelemetry.") => answer.headers["grpc-message"].to_str().unwrap(),
        _ if ["/v1/", "/otlp/", "/api/v1/otlp/"].iter().any(|root| path.starts_with(root)) => {
            assert!(json["code"] == 16 || json["code"] == 7, "{path}: {}", answer.body);
            json["message"].as_str().unwrap()
        }
        _ if matches!(path, "/write" | "/query" | "/api/v2/write") || path.starts_with("/influx/") => {
            let code = if answer.meant() == 401 { "unauthorized" } else { "forbidden" };
            assert!(json["code"] == code && json["message"] == json["error"], "{path}: {}", answer.body);
            json["error"].as_str().unwrap()
        }
        _ if path.starts_with("/jaeger/") => {
            assert_eq!(json["errors"][0]["code"], answer.status.as_u16(), "{path}: {}", answer.body);
            json["errors"][0]["msg"].as_str().unwrap()
        }
        _ if path.starts_with("/api/v1/") => {
            assert_eq!(json["status"], "error", "{path}: {}", answer.body);
            json["error"].as_str().unwrap()
        }
        _ if path.starts_with("/api/weir/") => json["error"].as_str().unwrap(),
        _ => {
            assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"), "{path}");
            answer.body.trim()
        }
    };
    assert!(!said.is_empty() && !said.contains('\n'), "{path}: {}", answer.body);
    let challenged = answer.headers.contains_key("www-authenticate");
    assert_eq!(challenged, answer.meant() == 401, "{path}: {:?}", answer.headers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_lets_in_who_may_and_tells_others_nothing() {
    let cluster = Cluster::start().await;
    let front = Front::new(&FrontConfig::default(), parts::identity(cluster.folder.path()), &[], &mut Registry::default());
    let gated = |(role, routes): (&'static str, Routes)| {
        let declared = routes.declared().to_vec();
        (role, declared, front.gated("listen", routes))
    };
    let roles: Vec<_> = cluster.roles().into_iter().map(gated).collect();
    for tenant in [OWN, OTHER] {
        for (role, path, body) in parts::pushed(tenant) {
            let (.., router) = roles.iter().find(|(name, ..)| *name == role).unwrap();
            let request = Request::post(path).header("host", "localhost").header("content-type", "application/json");
            let request = request.header("authorization", format!("Bearer token-{tenant}"));
            let peer = Peer { address: ([127, 0, 0, 1], 1).into(), certificates: Default::default(), is_tls: true };
            let response = router.clone().oneshot(request.extension(peer).body(Body::from(body)).unwrap()).await.unwrap();
            assert!(response.status().is_success(), "{path}: {}", response.status());
        }
    }
    cluster.caught_up().await;
    for tenant in [OWN, OTHER] {
        assert_eq!(cluster.ingested(tenant), [1, 1, 1], "what was pushed counts for {tenant}");
    }
    let (mut asked, mut seen) = (0, 0);
    for (role, declared, router) in &roles {
        // What seals or deletes comes last.
        let mut declared = declared.clone();
        declared.sort_by_key(|route| (route.needs.verb() == Some(weir_access::Verb::Admin), route.path.clone()));
        for route in &declared {
            for (caller, status) in expected(route.needs) {
                let answer = ask(router, route, &caller, OWN).await;
                let what = format!("{role}: {} {} for {caller:?}: {} {}", route.method, route.path, answer.status, answer.body);
                asked += 1;
                if status == 200 {
                    assert!(![401, 403, 500].contains(&answer.meant()), "{what}");
                    let all_of_weir = matches!(route.needs, Needs::Whole(_) | Needs::Cluster);
                    assert!(
                        all_of_weir || caller == Caller::Token(format!("token-{OTHER}")) || !answer.body.contains(OTHER),
                        "{what}"
                    );
                    seen += usize::from(answer.body.contains(&format!("{OWN}-")) || answer.body.contains(&format!("{OWN}_")));
                    continue;
                }
                assert_eq!(answer.meant(), status, "{what}");
                assert!(!answer.body.contains(&format!("{OWN}-")) && !answer.body.contains(&format!("{OWN}_")), "{what}");
                check_shape(&route.path, &answer);
                // Whether there is such a tenant is not said.
                let nowhere = ask(router, route, &caller, "nowhere").await;
                assert_eq!(nowhere.meant(), status, "{what}");
                assert_eq!(nowhere.body.replace("nowhere", OWN), answer.body, "{what}");
            }
        }
    }
    // By now an administrator has had everything sealed: each tenant is told what blocks have of it.
    let of_own = Caller::Token(format!("token-{OWN}"));
    for (role, declared, router) in roles.iter().filter(|(role, ..)| ["up", "query"].contains(role)) {
        let route = declared.iter().find(|route| route.path.ends_with("/usage")).unwrap();
        let begun = std::time::Instant::now();
        loop {
            let answer = ask(router, route, &of_own, OWN).await;
            let usage: Value = serde_json::from_str(&answer.body).unwrap();
            let stored = |signal: &str| usage["tenants"][0]["stored"][signal]["records"].as_u64().unwrap();
            if ["logs", "metrics", "traces"].iter().all(|signal| stored(signal) >= 1) {
                break;
            }
            assert!(begun.elapsed() < END, "{role}: {}", answer.body);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // The answers of those who may have their data: the rest would pass where nothing is ever answered.
    let is_read = |route: &Declared| matches!(route.needs, Needs::Tenant(weir_access::Verb::Read, _));
    let reads = roles.iter().flat_map(|(_, declared, _)| declared).filter(|route| is_read(route)).count();
    assert!(asked > 100 && seen >= reads / 4, "{asked} questions, {seen} answers with data of {reads} routes that read");
}
