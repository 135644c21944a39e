//! Servers of others behind TLS that want a client certificate: the object store (`[store.tls]`), as ministack behind a listener with
//! TLS, and the real Alertmanager (`[rules.tls]`), whose own `--web.config.file` asks for it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use weir_blocks::location::Location;
use weir_blocks::manifest::{probe, random_nonces};
use weir_tls::{Acceptor, ClientCertificates, ClientTls, TlsConfig};

use crate::process::{Process, run};
use crate::s3::S3;
use crate::weir::{Weir, binary, eventually, free_port};

/// A folder with certificates of one authority: `query` for 127.0.0.1, `client-weir`.
struct Place(PathBuf);

impl Place {
    fn new(folder: &Path) -> Self {
        let place = Self(folder.to_owned());
        for words in [&["--role", "query", "--host", "127.0.0.1"][..], &["--role", "client:weir"]] {
            let (made, said) = run(&binary().display().to_string(), &[&["certs", &place.path("certs")][..], words].concat(), b"");
            assert!(made, "{said}");
        }
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).expect("a file");
        self.path(name)
    }

    /// weir as a client.
    fn client(&self, has_certificate: bool) -> ClientTls {
        let mut tls = ClientTls { ca_file: self.path("certs/ca.pem").into(), ..ClientTls::default() };
        if has_certificate {
            tls.cert_file = self.path("certs/client-weir.pem").into();
            tls.key_file = self.path("certs/client-weir.key").into();
        }
        tls
    }

    /// Takes the TLS from connections with a good certificate and passes them on; its port.
    async fn behind_tls(&self, endpoint: &str) -> u16 {
        let config = TlsConfig {
            cert_file: self.path("certs/query.pem").into(),
            key_file: self.path("certs/query.key").into(),
            client_ca_file: self.path("certs/ca.pem").into(),
            client_certificates: ClientCertificates::Required,
            ..TlsConfig::default()
        };
        let acceptor = Acceptor::start(&config).expect("its files").expect("it is on");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (port, to) = (listener.local_addr().expect("an address").port(), endpoint.trim_start_matches("http://").to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, to) = (acceptor.clone(), to.clone());
                tokio::spawn(async move {
                    let Ok(mut handshaken) = acceptor.accept(stream).await else { return };
                    let mut behind = TcpStream::connect(to).await.expect("the endpoint is there");
                    let _either_has_gone = tokio::io::copy_bidirectional(&mut handshaken.stream, &mut behind).await;
                });
            }
        });
        port
    }

    async fn alertmanager(&self) -> (Process, u16) {
        let port = free_port();
        let [cert, key, ca] = ["query.pem", "query.key", "ca.pem"].map(|name| self.path(&format!("certs/{name}")));
        let server = format!("  cert_file: {cert}\n  key_file: {key}\n  client_ca_file: {ca}\n");
        let web = format!("tls_server_config:\n{server}  client_auth_type: RequireAndVerifyClientCert\n");
        let arguments = [
            format!("--config.file={}", self.write("am.yml", "route:\n  receiver: nobody\nreceivers:\n- name: nobody\n")),
            format!("--web.config.file={}", self.write("web.yml", &web)),
            format!("--storage.path={}", self.path("alertmanager")),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--cluster.listen-address=".to_owned(),
        ];
        (Process::start(&self.0, "prometheus-alertmanager", &arguments.each_ref().map(String::as_str)), port)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_store_and_an_alertmanager_behind_mutual_tls() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path());
    let s3 = S3::start(folder.path()).await;
    let endpoint = format!("https://127.0.0.1:{}", place.behind_tls(&s3.endpoint).await);
    let environment: Vec<(&str, &str)> =
        s3.environment().into_iter().filter(|(key, _)| *key != "AWS_ENDPOINT").chain([("AWS_ENDPOINT", &*endpoint)]).collect();

    let (_alertmanager, port) = place.alertmanager().await;
    let files = |own: bool| {
        let tls = place.client(own);
        let pair = format!("cert_file = {:?}\nkey_file = {:?}\n", tls.cert_file, tls.key_file);
        format!("ca_file = {:?}\n{}", tls.ca_file, if own { pair } else { String::new() })
    };
    let rules = "groups:\n- name: a\n  interval: 1s\n  rules:\n  - alert: Always\n    expr: vector(1)\n";
    let rules = format!("files = [{:?}]\nalertmanagers = [\"https://127.0.0.1:{port}\"]", place.write("rules.yml", rules));
    let config = |name: &str, own: bool| {
        let store = format!("[store]\nurl = {:?}\n[store.tls]\n{}", S3::url(name), files(own));
        place.write(&format!("{name}.toml"), &format!("{store}[rules]\n{rules}\n[rules.tls]\n{}", files(own)))
    };
    // A request that fails is tried again for 8 s: all three at once.
    let without = command(&environment, &["check", "config", "--connect", &config("without", false)]);
    let checked = refusal("CertificateRequired", async || {
        let words = without.clone();
        let run = move || run("env", &words.iter().map(String::as_str).collect::<Vec<_>>(), b"");
        let (is_fine, said) = tokio::task::spawn_blocking(run).await.expect("it ran");
        if is_fine { Ok(()) } else { Err(said) }
    });
    let bare = refusal("CertificateRequired", async || open(&environment, place.client(false)).await);
    let stranger = refusal("UnknownIssuer", async || open(&environment, ClientTls::default()).await);
    tokio::join!(checked, bare, stranger);
    assert_eq!(open(&environment, place.client(true)).await, Ok(()));

    let config = config("right", true);
    let weir = Weir::start_with(&folder.path().join("data"), &["--no-node", "--config", &config], &environment).await;
    weir.admin("seal").await;
    let client = |own: bool| weir_tls::client_builder_with(&place.client(own)).unwrap().build().unwrap();
    let url = format!("https://127.0.0.1:{port}/api/v2/alerts?active=true");
    let (known, stranger) = (client(true), client(false));
    eventually("the alert is in Alertmanager", async || {
        let alerts: Value = known.get(&url).send().await.map_err(weir_tls::why)?.json().await.map_err(weir_tls::why)?;
        if alerts[0]["labels"]["alertname"] == "Always" { Ok(()) } else { Err(format!("{alerts}\n{}", weir.log())) }
    })
    .await;
    refusal("fatal alert", async || stranger.get(&url).send().await.map(|_| ()).map_err(weir_tls::why)).await;
}

/// Is refused, with this in what is said. In TLS 1.3 a client is ready before the server looks at its certificate: where the connection ends
/// before a request is on it, no alert is told, so it is asked again.
async fn refusal<F: Future<Output = Result<(), String>>>(why: &str, mut ask: impl FnMut() -> F) {
    eventually(why, || {
        let asked = ask();
        async move {
            let refused = asked.await.expect_err(why);
            if refused.contains(why) { Ok(()) } else { Err(refused) }
        }
    })
    .await;
}

/// weir with these words in this environment.
fn command(environment: &[(&str, &str)], words: &[&str]) -> Vec<String> {
    let environment = environment.iter().map(|(key, value)| format!("{key}={value}"));
    environment.chain([binary().display().to_string()]).chain(words.iter().map(ToString::to_string)).collect()
}

/// Opens the object store as weir does, and tries what it promises.
async fn open(environment: &[(&str, &str)], tls: ClientTls) -> Result<(), String> {
    let options = environment.iter().map(|(key, value)| (key.to_ascii_lowercase(), (*value).to_owned())).collect();
    let location = Location { url: S3::url("probe"), options, tls, default: PathBuf::new() };
    let store = location.open(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
    probe(&store, &random_nonces()).await.map_err(|error| format!("{error:?}"))
}
