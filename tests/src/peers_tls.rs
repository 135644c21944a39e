//! The real Prometheus and weir, each behind TLS that wants client certificates: each scrapes the other, and the command line asks
//! weir. All certificates are those of `weir certs`.

use std::path::Path;

use serde_json::Value;
use weir_tls::ClientTls;

use crate::process::{Process, run};
use crate::weir::{Weir, binary, eventually, free_port};

/// `weir certs` with these words.
fn certs(directory: &str, words: &[&str]) {
    let all = [&["certs", directory][..], words].concat();
    let (made, said) = run(&binary().display().to_string(), &all, b"");
    assert!(made, "{said}");
}

async fn prometheus(folder: &Path, (weir, port): (&str, u16), ready: &ClientTls) -> Process {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let tls =
        "tls_config: {ca_file: certs/ca.pem, cert_file: certs/client-prometheus.pem, key_file: certs/client-prometheus.key}";
    let job = "scrape_configs:\n- job_name: weir\n  scheme: https\n  scrape_interval: 1s\n";
    let config = write("prometheus.yml", format!("{job}  {tls}\n  static_configs:\n  - targets: ['{weir}']\n"));
    let server = "  cert_file: certs/query.pem\n  key_file: certs/query.key\n  client_ca_file: certs/ca.pem\n";
    let web = write("web.yml", format!("tls_server_config:\n{server}  client_auth_type: RequireAndVerifyClientCert\n"));
    let arguments = [
        format!("--config.file={config}"),
        format!("--web.config.file={web}"),
        format!("--storage.tsdb.path={}", folder.join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let process = Process::start(folder, "prometheus", &arguments.each_ref().map(String::as_str));
    let client = weir_tls::client_builder_with(ready).unwrap().build().unwrap();
    eventually("Prometheus is ready", || async {
        let answer = client.get(format!("https://127.0.0.1:{port}/-/ready")).send().await;
        let answer = answer.map_err(weir_tls::why)?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
    })
    .await;
    process
}

async fn value(client: &reqwest::Client, url: &str, query: &str) -> Result<(), String> {
    let url = reqwest::Url::parse_with_params(&format!("{url}/api/v1/query"), [("query", query)]).unwrap();
    let answer = client.get(url).send().await.map_err(weir_tls::why)?;
    let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
    match answer["data"]["result"][0]["value"][1].as_str() {
        Some("1") => Ok(()),
        _ => Err(answer.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_and_weir_scrape_each_other_over_mutual_tls() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let directory = at("certs");
    certs(&directory, &["--role", "collector,client:prometheus,client:weir"]);
    // Prometheus is reached by address, and its certificate is for a name.
    certs(&directory, &["--role", "query", "--host", "prometheus.example"]);
    let port = free_port();
    let job = "scrape_configs:\n- job_name: prometheus\n  scheme: https\n  scrape_interval: 1s\n  scrape_timeout: 1s\n";
    let pair = "cert_file: certs/client-weir.pem, key_file: certs/client-weir.key, server_name: prometheus.example";
    let targets = format!("static_configs:\n  - targets: ['127.0.0.1:{port}']");
    std::fs::write(at("scrape.yml"), format!("{job}  tls_config: {{ca_file: certs/ca.pem, {pair}}}\n  {targets}\n")).unwrap();
    let files = [("cert_file", "collector.pem"), ("key_file", "collector.key"), ("client_ca_file", "ca.pem")];
    let files = files.map(|(key, name)| format!("{key} = {:?}\n", at(&format!("certs/{name}")))).concat();
    let crl = format!("client_crl_file = {:?}\nclient_certificates = \"required\"\n", at("certs/crl.pem"));
    let scrape = format!("[collector.scrape]\nconfig_file = {:?}\n", at("scrape.yml"));
    std::fs::write(at("weir.toml"), format!("[tls]\n{files}{crl}{scrape}")).unwrap();

    let own = ClientTls {
        ca_file: at("certs/ca.pem").into(),
        cert_file: at("certs/client-weir.pem").into(),
        key_file: at("certs/client-weir.key").into(),
        ..ClientTls::default()
    };
    let data = folder.path().join("data");
    let weir = Weir::start_tls(&data, &["--no-node", "--config", &at("weir.toml")], &own).await;
    let named = ClientTls { server_name: "prometheus.example".into(), ..own.clone() };
    let _prometheus = prometheus(folder.path(), (&weir.listen, port), &named).await;
    let peer = weir_tls::client_builder_with(&named).unwrap().build().unwrap();
    eventually("weir up in Prometheus", || async {
        value(&peer, &format!("https://127.0.0.1:{port}"), "up{job=\"weir\"}").await
    })
    .await;
    eventually("Prometheus up in weir", || async {
        value(&weir.http, &weir.url(""), "up{job=\"prometheus\"}").await.map_err(|error| format!("{error}\n{}", weir.log()))
    })
    .await;

    let metrics = weir.try_get("/metrics", &[]).await.1;
    for file in ["certs/collector.pem", "certs/ca.pem", "certs/client-weir.pem"] {
        let gauge = format!("weir_tls_certificate_expiry_timestamp_seconds{{file={:?}}} ", at(file));
        let line = metrics.lines().find_map(|line| line.strip_prefix(&gauge));
        assert!(line.is_some_and(|at| at.parse::<u64>().is_ok_and(|at| at > 1_700_000_000)), "{gauge} in\n{metrics}");
    }
    assert!(metrics.contains("weir_tls_reload_failures_total 0\n"), "{metrics}");

    let url = weir.url("");
    let command = |more: &[&str]| {
        let words = [&["metrics", "up", "--addr", &url][..], more].concat();
        run(&binary().display().to_string(), &words, b"")
    };
    let (ca, cert, key) = (at("certs/ca.pem"), at("certs/client-weir.pem"), at("certs/client-weir.key"));
    let (taken, said) = command(&["--ca-file", &ca, "--cert", &cert, "--key", &key]);
    assert!(taken && said.contains("prometheus"), "{said}");
    // The connection may end before a request is on it, and then no alert is told.
    eventually("it is told to name a certificate", async || {
        let (taken, said) = command(&["--ca-file", &ca]);
        assert!(!taken, "{said}");
        if said.contains("--cert") { Ok(()) } else { Err(said) }
    })
    .await;
    let (taken, said) = command(&[]);
    assert!(!taken && said.contains("--ca-file"), "{said}");
    certs_revoked(&directory, &weir, &at("certs/client-prometheus.pem"), &key).await;
}

/// A client that is revoked is refused by a weir that runs, and the others are not.
async fn certs_revoked(directory: &str, weir: &Weir, revoked: &str, key: &str) {
    let (done, said) = run(&binary().display().to_string(), &["certs", "revoke", directory, revoked], b"");
    assert!(done, "{said}");
    let client = ClientTls {
        ca_file: format!("{directory}/ca.pem").into(),
        cert_file: revoked.into(),
        key_file: key.replace("client-weir", "client-prometheus").into(),
        ..ClientTls::default()
    };
    let builder = weir_tls::client_builder_with(&client).unwrap().pool_max_idle_per_host(0);
    let client = builder.build().unwrap();
    eventually("it is refused", || async {
        match client.get(weir.url("/readyz")).send().await.map_err(weir_tls::why) {
            Err(error) if error.contains("Revoked") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(weir.try_get("/readyz", &[]).await.0, 200);
}
