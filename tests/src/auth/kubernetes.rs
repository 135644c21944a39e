//! A real kube-apiserver, without a node: tokens of service accounts, reviewed and verified by its published keys; and
//! `SubjectAccessReview` both ways, as its RBAC answers weir's and as its webhook authorizer sends its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use weir_access::{AuthorizationConfig, Authorizer, Mode, Needs, Principal, Telemetry, Verb, WebhookConfig};
use weir_methods::{AuthConfig, Authenticator, KubernetesConfig, MethodName, TokenCheck, webhook};
use weir_tls::{Authority, ClientTls, Subject};

use super::{ask_bearer, fetched, known, refusal};
use crate::process::{Process, run};
use crate::weir::{eventually, free_port};

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Reviews that a webhook was sent, which denies them all.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Value>>>);

impl Recorder {
    async fn serve(&self) -> String {
        let answer = async |State(own): State<Self>, Json(mut review): Json<Value>| {
            own.0.lock().push(review.clone());
            review["status"] = json!({"allowed": false});
            Json(review)
        };
        let router = Router::new().route("/", post(answer)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// The last about a verb.
    fn about(&self, verb: &str) -> Value {
        let reviews = self.0.lock();
        let found = reviews.iter().rev().find(|review| review["spec"]["resourceAttributes"]["verb"] == verb);
        found.unwrap_or_else(|| panic!("no review about {verb}: {reviews:?}")).clone()
    }
}

struct Kubernetes {
    _etcd: Process,
    _api: Process,
    url: String,
    folder: PathBuf,
    http: reqwest::Client,
}

impl Kubernetes {
    /// `hook`: what its webhook authorizer asks about what RBAC does not allow.
    async fn start(folder: &Path, hook: &str) -> Self {
        let bin = fetched("kubernetes").join("bin");
        let path = |name: &str| folder.join(name).display().to_string();
        let (authority, _) = Authority::create(SystemTime::now()).unwrap();
        let subject = Subject { common_name: "kube-apiserver".into(), organization: None, hosts: vec!["127.0.0.1".into()] };
        let issued = authority.issue(&subject, SystemTime::now(), 1).unwrap();
        let hook = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "hook",
            "clusters": [{"name": "hook", "cluster": {"server": hook}}], "users": [{"name": "api", "user": {}}],
            "contexts": [{"name": "hook", "context": {"cluster": "hook", "user": "api"}}],
        });
        for (name, text) in [
            ("ca.pem", authority.certificate()),
            ("api.pem", &issued.certificate),
            ("api.key", &issued.key),
            ("hook.json", &hook.to_string()),
            ("tokens.csv", "admin-token,admin,admin,system:masters\n"),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let (made, said) = run("openssl", &["genrsa", "-out", &path("accounts.key"), "2048"], b"");
        assert!(made, "{said}");

        let (client, peer, port) = (free_port(), free_port(), free_port());
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let start = |name: &str, arguments: &[String]| {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            Process::start(folder, &bin.join(name).display().to_string(), &arguments)
        };
        let etcd = start(
            "etcd",
            &[
                format!("--data-dir={}", path("etcd")),
                "--unsafe-no-fsync".into(),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
            ],
        );
        let api = start(
            "kube-apiserver",
            &[
                format!("--etcd-servers={client}"),
                "--bind-address=127.0.0.1".into(),
                "--advertise-address=127.0.0.1".into(),
                format!("--secure-port={port}"),
                "--endpoint-reconciler-type=none".into(),
                "--service-cluster-ip-range=10.96.0.0/16".into(),
                format!("--tls-cert-file={}", path("api.pem")),
                format!("--tls-private-key-file={}", path("api.key")),
                format!("--token-auth-file={}", path("tokens.csv")),
                "--authorization-mode=RBAC,Webhook".into(),
                format!("--authorization-webhook-config-file={}", path("hook.json")),
                "--authorization-webhook-version=v1".into(),
                "--service-account-issuer=https://kubernetes.default.svc".into(),
                format!("--service-account-key-file={}", path("accounts.key")),
                format!("--service-account-signing-key-file={}", path("accounts.key")),
                // Accounts of namespaces are made by a controller that is not here.
                "--disable-admission-plugins=ServiceAccount".into(),
            ],
        );
        let tls = ClientTls { ca_file: folder.join("ca.pem"), ..ClientTls::default() };
        let http = weir_tls::client_builder_with(&tls).unwrap().build().unwrap();
        let own = Self { _etcd: etcd, _api: api, url: format!("https://127.0.0.1:{port}"), folder: folder.to_owned(), http };
        eventually("kube-apiserver is ready", async || {
            let answer = own.http.get(format!("{}/readyz", own.url)).bearer_auth("admin-token").send().await;
            answer.and_then(reqwest::Response::error_for_status).map_err(weir_tls::why)
        })
        .await;
        own
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth("admin-token").json(body);
        let answer = request.send().await.expect("kube-apiserver answers");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn create(&self, path: &str, mut object: Value, name: &str) -> Value {
        object["metadata"] = json!({"name": name});
        self.send(Method::POST, path, &object).await
    }

    async fn delete(&self, path: &str) {
        self.send(Method::DELETE, path, &json!({"gracePeriodSeconds": 0})).await;
    }

    /// A service account's token: of this audience, the API server's own where it is empty; bound to a pod of that name.
    async fn token(&self, namespace: &str, account: &str, audience: &str, pod: Option<(&str, &Value)>) -> String {
        let audiences: Vec<&str> = Some(audience).filter(|audience| !audience.is_empty()).into_iter().collect();
        let mut spec = json!({"audiences": audiences, "expirationSeconds": 3600});
        if let Some((name, uid)) = pod {
            spec["boundObjectRef"] = json!({"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid});
        }
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let made = self.send(Method::POST, &path, &json!({"spec": spec})).await;
        made["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// Grants a role of the whole cluster to what `subject` says.
    async fn bind(&self, role: &str, mut subject: Value) {
        if subject["kind"] != "ServiceAccount" {
            subject["apiGroup"] = json!("rbac.authorization.k8s.io");
        }
        let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
        let binding = json!({"roleRef": reference, "subjects": [subject]});
        self.create(&format!("{RBAC}/clusterrolebindings"), binding, &format!("test-{role}")).await;
    }

    fn authenticator(&self, account: &str, mode: TokenCheck, cache_ttl: Duration) -> Authenticator {
        let kubernetes = KubernetesConfig {
            api_server: self.url.clone(),
            ca_file: self.folder.join("ca.pem"),
            token_file: self.folder.join(account),
            audiences: vec!["weir".into()],
            mode,
        };
        let methods = vec![MethodName::Kubernetes];
        let timeout = Duration::from_secs(60);
        Authenticator::start(&AuthConfig { methods, cache_ttl, timeout, kubernetes, ..AuthConfig::default() }).expect("start")
    }

    /// Which asks at `url` about everything, anew each time.
    fn authorizer(&self, url: String) -> Authorizer {
        let brief = Duration::from_millis(1);
        let webhook_config = WebhookConfig {
            url,
            token_file: self.folder.join("weir"),
            ca_file: self.folder.join("ca.pem"),
            timeout: Duration::from_secs(60),
            allowed_ttl: brief,
            denied_ttl: brief,
            ..WebhookConfig::default()
        };
        let config = AuthorizationConfig { mode: Mode::Webhook, webhook: webhook_config, ..AuthorizationConfig::default() };
        Authorizer::start(&config, "own", webhook).expect("start")
    }
}

#[tokio::test]
async fn accounts_and_reviews_of_a_real_kubernetes() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::default();
    let hook = recorder.serve().await;
    let kubernetes = Kubernetes::start(folder.path(), &hook).await;
    for (namespace, accounts) in [("weir", &["weir", "powerless"][..]), ("shop", &["agent", "sender"])] {
        kubernetes.create("/api/v1/namespaces", json!({}), namespace).await;
        for account in accounts {
            kubernetes.create(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), json!({}), account).await;
        }
    }
    for account in ["weir", "powerless"] {
        let token = kubernetes.token("weir", account, "", None).await;
        std::fs::write(folder.path().join(account), token).unwrap();
    }
    kubernetes.bind("system:auth-delegator", json!({"kind": "ServiceAccount", "namespace": "weir", "name": "weir"})).await;
    accounts_and_what_becomes_of_them(&kubernetes).await;
    rbac_decides_what_weir_asks(&kubernetes).await;
    its_own_reviews_have_the_fields_of_weirs(&kubernetes, &recorder, &hook).await;
}

async fn accounts_and_what_becomes_of_them(kubernetes: &Kubernetes) {
    let brief = Duration::from_millis(1);
    let review = kubernetes.authenticator("weir", TokenCheck::Review, brief);
    let offline = kubernetes.authenticator("weir", TokenCheck::Offline, brief);
    let believing = kubernetes.authenticator("weir", TokenCheck::Review, Duration::from_secs(600));
    let spec = json!({"spec": {"serviceAccountName": "agent", "containers": [{"name": "main", "image": "none"}]}});
    let pod = kubernetes.create("/api/v1/namespaces/shop/pods", spec, "agent-0").await;
    let of_pod = kubernetes.token("shop", "agent", "weir", Some(("agent-0", &pod["metadata"]["uid"]))).await;
    let of_account = kubernetes.token("shop", "sender", "weir", None).await;

    for (token, account) in [(&of_pod, "agent"), (&of_account, "sender")] {
        eventually("weir may create reviews", async || {
            ask_bearer(&review, token).await.map(drop).map_err(|denied| denied.to_string())
        })
        .await;
        let reviewed = known(&review, token).await;
        assert_eq!(reviewed.name, format!("system:serviceaccount:shop:{account}"));
        assert_eq!(reviewed.tenants.as_deref(), Some(&["shop".into()][..]), "its namespace and no other");
        assert!(reviewed.groups.iter().any(|group| group == "system:serviceaccounts:shop"), "{reviewed:?}");
        assert_eq!(known(&offline, token).await, reviewed, "by keys alone it is the same account");
        assert_eq!(known(&believing, token).await, reviewed);
    }
    for audience in ["", "other"] {
        let other = kubernetes.token("shop", "agent", audience, None).await;
        assert_eq!((refusal(&review, &other).await, refusal(&offline, &other).await), (401, 401), "of audience {audience:?}");
    }
    let (message, _) = of_pod.rsplit_once('.').unwrap();
    let (_, signature) = of_account.rsplit_once('.').unwrap();
    let forged = format!("{message}.{signature}");
    assert_eq!((refusal(&review, &forged).await, refusal(&offline, &forged).await), (401, 401), "another token's signature");
    let powerless = kubernetes.authenticator("powerless", TokenCheck::Review, brief);
    assert_eq!(refusal(&powerless, &of_pod).await, 503, "weir's account may not ask");

    kubernetes.delete("/api/v1/namespaces/shop/pods/agent-0").await;
    kubernetes.delete("/api/v1/namespaces/shop/serviceaccounts/sender").await;
    // The API server itself believes a token for ten seconds.
    for token in [&of_pod, &of_account] {
        eventually("what was deleted is refused", async || match ask_bearer(&review, token).await {
            Err(denied) if denied.status() == 401 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        known(&believing, token).await;
        known(&offline, token).await;
    }
}

fn person(name: &str) -> Principal {
    let groups = ["dev", "ops", "system:authenticated"].map(str::to_owned).to_vec();
    Principal { name: name.into(), uid: "7".into(), groups, tenants: None, method: weir_access::Method::Oidc }
}

const READ: Needs = Needs::Tenant(Verb::Read, Telemetry::Logs);

/// Roles of Kubernetes, granted as Kubernetes grants them.
async fn rbac_decides_what_weir_asks(kubernetes: &Kubernetes) {
    let rule =
        |resources: &str, verb: &str| json!({"rules": [{"apiGroups": ["weir"], "resources": [resources], "verbs": [verb]}]});
    kubernetes.create(&format!("{RBAC}/namespaces/shop/roles"), rule("logs", "read"), "readers").await;
    let reference = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let binding = json!({"roleRef": reference("Role", "readers"), "subjects": [reference("Group", "dev")]});
    kubernetes.create(&format!("{RBAC}/namespaces/shop/rolebindings"), binding, "readers").await;
    kubernetes.create(&format!("{RBAC}/clusterroles"), rule("*", "admin"), "weir-admin").await;
    kubernetes.bind("weir-admin", json!({"kind": "User", "name": "carol"})).await;

    let authorizer = kubernetes.authorizer(format!("{}{REVIEWS}", kubernetes.url));
    let (alice, carol) = (person("alice"), Principal { groups: Vec::new(), ..person("carol") });
    let decide = async |principal: &Principal, tenant: Option<&str>, needs: Needs| {
        let asked: Vec<Arc<str>> = tenant.map(Into::into).into_iter().collect();
        authorizer.decide(principal, &asked, needs).await.map(drop).map_err(|denied| denied.status().as_u16())
    };
    let admin = Needs::Whole(Verb::Admin);
    eventually("the roles are in force", async || {
        let granted = [decide(&alice, Some("shop"), READ).await, decide(&carol, None, admin).await];
        if granted == [Ok(()), Ok(())] { Ok(()) } else { Err(format!("{granted:?}")) }
    })
    .await;
    assert_eq!(decide(&alice, Some("bank"), READ).await, Err(403), "another namespace");
    assert_eq!(decide(&alice, Some("shop"), Needs::Tenant(Verb::Tail, Telemetry::Logs)).await, Err(403), "another verb");
    assert_eq!(decide(&alice, Some("shop"), Needs::Tenant(Verb::Read, Telemetry::Metrics)).await, Err(403), "another resource");
    assert_eq!(decide(&carol, Some("shop"), READ).await, Err(403), "another group");
    assert_eq!(decide(&alice, None, admin).await, Err(403));
    // Whoever may not ask hears nothing.
    std::fs::copy(kubernetes.folder.join("weir"), kubernetes.folder.join("spare")).unwrap();
    std::fs::copy(kubernetes.folder.join("powerless"), kubernetes.folder.join("weir")).unwrap();
    assert_eq!(decide(&alice, Some("shop"), READ).await, Err(503), "weir's account may not create reviews");
    std::fs::copy(kubernetes.folder.join("spare"), kubernetes.folder.join("weir")).unwrap();
}

/// What its webhook authorizer sends: of a review that it was sent by weir, and of a request of its own.
async fn its_own_reviews_have_the_fields_of_weirs(kubernetes: &Kubernetes, recorder: &Recorder, hook: &str) {
    let alice = person("alice");
    let shop: [Arc<str>; 1] = ["shop".into()];
    let rules = Needs::Tenant(Verb::Rules, Telemetry::Logs);
    let ask = async |url: String| {
        let authorizer = kubernetes.authorizer(url);
        authorizer.decide(&alice, &shop, rules).await.expect_err("denied by the webhook").status().as_u16()
    };
    assert_eq!(ask(hook.to_owned()).await, 403);
    let weirs = recorder.about("rules");
    assert_eq!(ask(format!("{}{REVIEWS}", kubernetes.url)).await, 403);
    let passed_on = recorder.about("rules");
    let mut expected = weirs["spec"].clone();
    expected["resourceAttributes"]["version"] = json!("*");
    assert_eq!(passed_on["spec"], expected, "all fields arrive, and that of an API's version means any");

    // Alice lists `logs` of the group `weir`, which no API here serves: that is decided first.
    let request = list_as_alice(kubernetes).send().await.expect("kube-apiserver answers");
    assert_eq!(request.status(), 403);
    let own = recorder.about("list");
    for name in ["apiVersion", "kind"] {
        assert_eq!((&weirs[name], &passed_on[name]), (&own[name], &own[name]));
    }
    let fields = |object: &Value| object.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&weirs["spec"]), fields(&own["spec"]));
    for name in ["user", "uid", "groups", "extra"] {
        assert_eq!(weirs["spec"][name], own["spec"][name], "{name}");
    }
    let (weirs, own) = (&weirs["spec"]["resourceAttributes"], &own["spec"]["resourceAttributes"]);
    let mut expected = weirs.clone();
    (expected["verb"], expected["version"]) = (json!("list"), json!("v1"));
    assert_eq!(own, &expected, "but for its verbs and an API's version it asks as weir does");
}

fn list_as_alice(kubernetes: &Kubernetes) -> reqwest::RequestBuilder {
    let request = kubernetes.http.get(format!("{}/apis/weir/v1/namespaces/shop/logs", kubernetes.url)).bearer_auth("admin-token");
    let request = request.header("impersonate-user", "alice").header("impersonate-uid", "7");
    let request = request.header("impersonate-group", "dev").header("impersonate-group", "ops");
    request.header("impersonate-extra-weir%2fmethod", "oidc")
}
