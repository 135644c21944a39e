//! Clients as others have them, with each kind of credential, right and wrong, at a weir behind TLS: the OpenTelemetry SDK over HTTP
//! and gRPC, a client that asks as `logcli` does, and Prometheus. What was sent with a right one is found; what a wrong one comes to
//! is what the client itself prints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_tls::ClientTls;

use super::fetched;
use crate::process::{Process, run};
use crate::weir::{Weir, binary, eventually, free_port};

const KINDS: [&str; 3] = ["bearer", "basic", "certificate"];

/// A folder with certificates and credentials.
struct Place(PathBuf);

impl Place {
    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).expect("a file");
        self.path(name)
    }

    async fn weir(&self) -> Weir {
        let certs = ["certs", &self.path("certs"), "--role", "collector,client:agent,client:reader"];
        let (made, said) = run(&binary().display().to_string(), &certs, b"");
        assert!(made, "{said}");
        let tokens = self.write("tokens.csv", "t-agent,agent,1\n");
        // `agent-pw`.
        let hash = "$2b$04$JK4doID9cys5Ze/2il3sBOSqXsW7hU/HuKZZu7RD.7sScyNFwT.s6";
        let basic = self.write("htpasswd", &format!("agent:{hash}\n"));
        let file = |key: &str, name: &str| format!("{key} = {:?}\n", self.path(&format!("certs/{name}")));
        let tls = [
            file("cert_file", "collector.pem"),
            file("key_file", "collector.key"),
            file("client_ca_file", "ca.pem"),
            file("client_crl_file", "crl.pem"),
        ]
        .concat();
        let auth =
            format!("methods = [\"tokens\", \"basic\", \"certificates\"]\ntokens_file = {tokens:?}\nbasic_file = {basic:?}\n");
        let config = self.write("weir.toml", &format!("[tls]\n{tls}client_certificates = \"optional\"\n[auth]\n{auth}"));
        let reader = ClientTls {
            ca_file: self.path("certs/ca.pem").into(),
            cert_file: self.path("certs/client-reader.pem").into(),
            key_file: self.path("certs/client-reader.key").into(),
            ..ClientTls::default()
        };
        Weir::start_tls(&self.0.join("data"), &["--no-node", "--config", &config], &reader).await
    }

    /// `Authorization`, and the files of a certificate, of which one is empty. `who`: of a wrong password, so that nobody waits for
    /// another's.
    fn credential(&self, kind: &str, is_right: bool, who: &str) -> (String, [String; 2]) {
        let none = [String::new(), String::new()];
        match (kind, is_right) {
            ("bearer", true) => ("Bearer t-agent".into(), none),
            ("bearer", false) => ("Bearer t-nobody".into(), none),
            ("basic", true) => (basic("agent:agent-pw"), none),
            ("basic", false) => (basic(&format!("{who}:agent-pw")), none),
            ("certificate", true) => (String::new(), ["pem", "key"].map(|end| self.path(&format!("certs/client-agent.{end}")))),
            _ => (String::new(), none),
        }
    }
}

fn basic(text: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(text))
}

fn name(transport: &str, kind: &str, is_right: bool) -> String {
    format!("{transport}-{kind}-{}", if is_right { "right" } else { "wrong" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_others_are_let_in_by_their_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place(folder.path().to_owned());
    let weir = place.weir().await;
    the_sdk_pushes(&place, &weir).await;
    a_client_asks_as_logcli(&place, &weir);
    prometheus_scrapes(&place, &weir).await;
}

/// Logs, metrics and traces, of a service for each case.
async fn the_sdk_pushes(place: &Place, weir: &Weir) {
    let mut cases = Vec::new();
    for (transport, listener) in [("http", &weir.otlp_http), ("grpc", &weir.otlp_grpc)] {
        for (kind, is_right) in KINDS.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
            let name = name(transport, kind, is_right);
            let (authorization, [cert, key]) = place.credential(kind, is_right, &name);
            let headers = if authorization.is_empty() { json!({}) } else { json!({"Authorization": authorization}) };
            cases.push(json!({
                "name": name, "transport": transport, "endpoint": format!("https://{listener}"), "headers": headers,
                "ca": place.path("certs/ca.pem"), "cert": cert, "key": key,
            }));
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("otel/push.py").display().to_string();
    let python = fetched("otel").join("bin/python").display().to_string();
    let input = serde_json::to_vec(&cases).unwrap();
    let (is_done, text) = tokio::task::spawn_blocking(move || run(&python, &["-W", "ignore", &script], &input)).await.unwrap();
    assert!(is_done, "{text}");
    let printed: BTreeMap<String, Vec<String>> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(printed.len(), cases.len());
    for (name, lines) in &printed {
        if name.ends_with("right") {
            assert!(lines.is_empty(), "{name}: {lines:?}");
            is_found(weir, name).await;
            continue;
        }
        let expected = if name.starts_with("http") { "401" } else { "UNAUTHENTICATED" };
        assert!(lines.len() == 3 && lines.iter().all(|line| line.contains(expected)), "{name}: {lines:?}");
        assert!(lines.iter().all(|line| !line.contains("t-nobody")), "{lines:?}");
        assert!(!has(weir, name).await.contains(&true), "{name}");
    }
}

/// Whether weir has this service's line, sample and span.
async fn has(weir: &Weir, name: &str) -> [bool; 3] {
    let is_some = |found: &Value| found.as_array().is_some_and(|found| !found.is_empty());
    let lines = weir.get("/loki/api/v1/query_range", &[("query", &format!("{{service_name={name:?}}}"))]).await;
    let samples = weir.get("/api/v1/query", &[("query", &format!("sdk_pushes_total{{job={name:?}}}"))]).await;
    let traces = weir.get("/tempo/api/search", &[("q", &format!("{{resource.service.name={name:?}}}"))]).await;
    [is_some(&lines["data"]["result"]), is_some(&samples["data"]["result"]), is_some(&traces["traces"])]
}

async fn is_found(weir: &Weir, name: &str) {
    eventually("what was sent is found", async || match has(weir, name).await {
        [true, true, true] => Ok(()),
        found => Err(format!("{name}: {found:?}")),
    })
    .await;
}

/// The query of `logcli query`, with what its `--username`, `--bearer-token` and `--cert` send.
fn a_client_asks_as_logcli(place: &Place, weir: &Weir) {
    let ask = |more: &[&str]| {
        let ca = place.path("certs/ca.pem");
        let url = weir.url("/loki/api/v1/query_range");
        let query = format!("query={{service_name={:?}}}", name("http", "bearer", true));
        let common = ["-sS", "--fail-with-body", "-G", &url, "--cacert", &ca, "--data-urlencode", &query, "-d", "limit=30"];
        run("curl", &[&common[..], more].concat(), b"")
    };
    let (cert, key) = (place.path("certs/client-agent.pem"), place.path("certs/client-agent.key"));
    for right in [&["-u", "agent:agent-pw"][..], &["-H", "Authorization: Bearer t-agent"], &["--cert", &cert, "--key", &key]] {
        let (is_done, said) = ask(right);
        assert!(is_done && said.contains("a line of http-bearer-right"), "{right:?}: {said}");
    }
    for wrong in [&["-u", "logcli:agent-pw"][..], &["-H", "Authorization: Bearer t-nobody"], &[]] {
        let (is_done, said) = ask(wrong);
        assert!(!is_done && said.contains("401") && !said.contains("a line"), "{wrong:?}: {said}");
    }
    // Another authority's: there is no connection.
    let stranger = ["certs", &place.path("stranger"), "--role", "client:agent"];
    assert!(run(&binary().display().to_string(), &stranger, b"").0);
    let (cert, key) = (place.path("stranger/client-agent.pem"), place.path("stranger/client-agent.key"));
    let (is_done, said) = ask(&["--cert", &cert, "--key", &key]);
    // The refusal meets the handshake, the request that is being sent, or the wait for an answer.
    let is_refused = ["curl: (35)", "curl: (55)", "curl: (56)"].iter().any(|code| said.contains(code));
    assert!(!is_done && is_refused && !said.contains("a line"), "{said}");
}

/// Of each job, how its target is.
async fn prometheus_scrapes(place: &Place, weir: &Weir) {
    let mut jobs = String::from("global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n");
    for (kind, is_right) in KINDS.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let mut tls = format!("ca_file: {}", place.path("certs/ca.pem"));
        let token = if is_right { "t-agent" } else { "t-nobody" };
        let user = if is_right { "agent" } else { "prometheus" };
        let credential = match kind {
            "bearer" => format!("  authorization: {{credentials: {token}}}\n"),
            "basic" => format!("  basic_auth: {{username: {user}, password: agent-pw}}\n"),
            _ => {
                let (_, [cert, key]) = place.credential(kind, is_right, "");
                if is_right {
                    tls.push_str(&format!(", cert_file: {cert}, key_file: {key}"));
                }
                String::new()
            }
        };
        let name = name("prometheus", kind, is_right);
        let targets = format!("  static_configs: [{{targets: ['{}']}}]\n", weir.listen);
        jobs.push_str(&format!("- job_name: {name}\n  scheme: https\n  tls_config: {{{tls}}}\n{credential}{targets}"));
    }
    let port = free_port();
    let arguments = [
        format!("--config.file={}", place.write("prometheus.yml", &jobs)),
        format!("--storage.tsdb.path={}", place.path("prometheus")),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let mut process = Process::start(&place.0, "prometheus", &arguments.each_ref().map(String::as_str));
    process.wait_for(&format!("http://127.0.0.1:{port}/-/ready")).await;
    eventually("each job is as its credential", async || {
        let url = format!("http://127.0.0.1:{port}/api/v1/targets");
        let answer = weir_tls::client().get(url).send().await.map_err(weir_tls::why)?;
        let answer: Value = answer.json().await.map_err(weir_tls::why)?;
        let targets = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let is_as_expected = |target: &Value| {
            let is_right = target["labels"]["job"].as_str().is_some_and(|job| job.ends_with("right"));
            let error = target["lastError"].as_str().unwrap_or_default();
            // Whoever goes on to guess is told to wait, in the end.
            let is_refused = ["401", "429"].iter().any(|status| error.contains(&format!("HTTP status {status}")));
            if is_right { target["health"] == "up" } else { target["health"] == "down" && is_refused }
        };
        if targets.len() == 2 * KINDS.len() && targets.iter().all(is_as_expected) { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}
