//! What TLS costs: requests a second and processor time of a real `weir up`, plain and with TLS side by side, on connections that stay, and
//! with a connection each (resumed, and shaken anew). Processor time is weir's alone; the clients share its processors.

use std::path::Path;
use std::time::Instant;

use weir_tests::bench::run;
use weir_tests::bench::watch::processor_time_of;
use weir_tests::process;
use weir_tests::weir::{Weir, binary};
use weir_tls::{ClientTls, client_builder_with};

/// On connections that stay, by each of two clients; the kernel counts processor time in ticks of 10 ms.
const KEPT: u32 = 2_000;
/// With a connection each.
const CONNECTIONS: u32 = 500;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let certs = folder.path().join("certs").display().to_string();
    let (made, said) = process::run(&binary().display().to_string(), &["certs", &certs, "--role", "query"], b"");
    assert!(made, "{said}");
    let config = folder.path().join("weir.toml");
    let text = format!("[tls]\ncert_file = \"{certs}/query.pem\"\nkey_file = \"{certs}/query.key\"\n");
    std::fs::write(&config, text).expect("write the configuration");
    let tls = ClientTls { ca_file: Path::new(&certs).join("ca.pem"), ..ClientTls::default() };
    let plain = Weir::start(&folder.path().join("plain")).await;
    let config = config.display().to_string();
    let secure = Weir::start_tls(&folder.path().join("secure"), &["--no-node", "--config", &config], &tls).await;
    for (what, weir) in [("plain", &plain), ("TLS", &secure)] {
        let kept = measured(weir, 2 * KEPT, || async {
            let asked = [(); 2].map(|()| ask(client(&tls, 8), weir.url("/api/v1/query?query=1"), KEPT));
            futures_util::future::join_all(asked).await;
        });
        let kept = kept.await;
        let resumed = measured(weir, CONNECTIONS, || ask(client(&tls, 0), weir.url("/healthz"), CONNECTIONS)).await;
        let anew = measured(weir, CONNECTIONS, || async {
            for _ in 0..CONNECTIONS {
                ask(client(&tls, 0), weir.url("/healthz"), 1).await;
            }
        });
        println!("tls: {what}: kept {kept}; a connection each {resumed}; with a new client each {}", anew.await);
    }
}

fn client(tls: &ClientTls, idle: usize) -> reqwest::Client {
    let builder = client_builder_with(tls).expect("its files").no_proxy().pool_max_idle_per_host(idle);
    builder.build().expect("a client")
}

async fn ask(client: reqwest::Client, url: String, times: u32) {
    for _ in 0..times {
        let answer = client.get(&url).send().await.expect("weir answers");
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.bytes().await.expect("a body");
    }
}

/// Requests a second, and weir's processor time of each.
async fn measured<F: Future<Output = ()>>(weir: &Weir, requests: u32, work: impl FnOnce() -> F) -> String {
    let pid = weir.pid().expect("weir runs");
    let (begun, before) = (Instant::now(), processor_time_of(pid));
    work().await;
    let (taken, spent) = (begun.elapsed(), processor_time_of(pid) - before);
    let rate = f64::from(requests) / taken.as_secs_f64();
    format!("{rate:.0}/s at {:.0} µs", spent.as_secs_f64() * 1e6 / f64::from(requests))
}
