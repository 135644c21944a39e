//! TLS as curl and openssl see it, and clients that take their time over a handshake.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use axum::Extension;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_access::{Access, Denied, Held, Needs, Peer, Telemetry, Verb};
use weir_tls::{Acceptor, Authority, ClientCertificates, ClientTls, Endpoint, MinVersion, Subject, TlsConfig};

use super::*;

const SHORT: Duration = Duration::from_millis(400);

/// A CA's folder: `ca.pem`, `crl.pem`, and what was issued.
struct Certificates {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Certificates {
    /// With a listener's certificate for localhost and weir.example, and clients `good` and `bad`, of which the latter is revoked.
    fn new() -> Self {
        let (authority, _) = Authority::create(SystemTime::now()).unwrap();
        let own = Self { folder: tempfile::tempdir().unwrap(), authority };
        std::fs::write(own.path("ca.pem"), own.authority.certificate()).unwrap();
        own.issue("server", &["localhost", "weir.example", "127.0.0.1"]);
        own.issue("good", &[]);
        let bad = own.issue("bad", &[]);
        std::fs::write(own.path("crl.pem"), own.authority.revoke(None, &[bad], SystemTime::now()).unwrap()).unwrap();
        own
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str, hosts: &[&str]) -> String {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        let subject = Subject { common_name: name.into(), organization: None, hosts };
        let issued = self.authority.issue(&subject, SystemTime::now(), 30).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), &issued.certificate).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), issued.key).unwrap();
        issued.certificate
    }

    fn config(&self, clients: ClientCertificates) -> TlsConfig {
        let mut config =
            TlsConfig { cert_file: self.path("server.pem"), key_file: self.path("server.key"), ..TlsConfig::default() };
        if clients != ClientCertificates::None {
            config.client_certificates = clients;
            (config.client_ca_file, config.client_crl_file) = (self.path("ca.pem"), self.path("crl.pem"));
        }
        config.check().unwrap();
        config
    }

    async fn door(&self, front: FrontConfig, tls: &TlsConfig) -> Door {
        Door::open_with(front, router(), Acceptor::start(tls).unwrap()).await
    }

    /// `curl` with this CA. Its status is that of the connection: 0, or 35, 56, 60 for one that was not made.
    async fn curl(&self, door: &Door, host: &str, more: &[&str]) -> (i32, String) {
        let port = door.address.port();
        let (resolve, url) = (format!("{host}:{port}:127.0.0.1"), format!("https://{host}:{port}/peer"));
        let ca = self.path("ca.pem").display().to_string();
        let words = ["-sS", "--noproxy", "*", "--cacert", &ca, "--resolve", &resolve, "-H", "host: localhost", &url];
        let output = run("curl", words.iter().chain(more)).await;
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Away from the thread that serves.
async fn run<'a>(program: &'static str, words: impl Iterator<Item = &'a &'a str>) -> Output {
    let words: Vec<String> = words.map(ToString::to_string).collect();
    let started = move || Command::new(program).args(words).stdin(Stdio::null()).output();
    let output = tokio::task::spawn_blocking(started).await.unwrap();
    output.unwrap_or_else(|error| panic!("{program}: {error}; `make test` installs what the tests need"))
}

fn router() -> Router {
    let peer = |Extension(peer): Extension<Peer>, request: axum::extract::Request| async move {
        assert!(peer.address.ip().is_loopback());
        // A client may bring its authority as well.
        format!("{:?} tls {} certificates {}", request.version(), peer.is_tls, usize::from(!peer.certificates.is_empty()))
    };
    let large = || async { Response::new(Body::from(vec![b'x'; 64 << 20])) };
    Router::new().route("/peer", get(peer)).route("/large", get(large))
}

fn failures(door: &Door, reason: &str) -> u64 {
    door.metric(&format!("weir_front_handshake_failures_total{{listener=\"listen\",reason=\"{reason}\"}}"))
}

fn timeouts(door: &Door, what: &str) -> u64 {
    door.metric(&format!("weir_front_timeouts_total{{listener=\"listen\",what=\"{what}\"}}"))
}

#[tokio::test]
async fn openssl_is_taken_from_version_1_2_on() {
    let own = Certificates::new();
    for (min_version, expected) in [(MinVersion::Tls12, [false, true, true]), (MinVersion::Tls13, [false, false, true])] {
        let door = own.door(FrontConfig::default(), &TlsConfig { min_version, ..own.config(ClientCertificates::None) }).await;
        for (version, taken) in ["-tls1_1", "-tls1_2", "-tls1_3"].into_iter().zip(expected) {
            let address = format!("127.0.0.1:{}", door.address.port());
            let ca = own.path("ca.pem").display().to_string();
            // Without this openssl itself does not offer 1.1.
            let weak = if version == "-tls1_1" { &["-cipher", "DEFAULT@SECLEVEL=0"][..] } else { &[] };
            let words = ["s_client", version, "-connect", &address, "-CAfile", &ca, "-verify_return_error", "-alpn", "h2"];
            let output = run("openssl", words.iter().chain(weak)).await;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.success(), taken, "{min_version:?} {version}: {said}");
            assert_eq!(said.contains("ALPN protocol: h2"), taken, "{said}");
        }
        let refused = expected.iter().filter(|taken| !**taken).count() as u64;
        assert_eq!(failures(&door, "incompatible"), refused);
        door.close().await;
    }
}

#[tokio::test]
async fn curl_is_taken_by_name_and_certificate() {
    let own = Certificates::new();
    let (cert, key) = (own.path("good.pem").display().to_string(), own.path("good.key").display().to_string());
    let good = ["--cert", &cert, "--key", &key];
    let (cert, key) = (own.path("bad.pem").display().to_string(), own.path("bad.key").display().to_string());
    let bad = ["--cert", &cert, "--key", &key];
    let said = |certificates: usize| format!("HTTP/2.0 tls true certificates {certificates}");
    for clients in [ClientCertificates::None, ClientCertificates::Optional, ClientCertificates::Required] {
        let door = own.door(FrontConfig::default(), &own.config(clients)).await;
        let (asked, required) = (clients != ClientCertificates::None, clients == ClientCertificates::Required);
        assert_eq!(own.curl(&door, "weir.example", &good).await, (0, said(usize::from(asked))), "{clients:?}");
        let (code, answer) = own.curl(&door, "weir.example", &[]).await;
        assert_eq!((code != 0, answer), if required { (true, String::new()) } else { (false, said(0)) }, "{clients:?}");
        let (code, answer) = own.curl(&door, "weir.example", &bad).await;
        assert_eq!((code != 0, answer), if asked { (true, String::new()) } else { (false, said(0)) }, "{clients:?}");
        assert_eq!((failures(&door, "no_certificate"), failures(&door, "revoked")), (required.into(), asked.into()));
        door.close().await;
    }
    let door = own.door(FrontConfig::default(), &own.config(ClientCertificates::None)).await;
    // Of no name that the certificate has; HTTP/1.1.
    assert_eq!(own.curl(&door, "other.example", &[]).await.0, 60);
    let old = own.curl(&door, "localhost", &["--http1.1", "--tls-max", "1.2"]).await;
    assert_eq!(old, (0, "HTTP/1.1 tls true certificates 0".into()));
    let plain = door.send("GET /peer HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 400 ") && plain.ends_with("this is https, and the request came over http:\n"), "{plain}");
    assert_eq!(failures(&door, "plain"), 1);
    let garbage = door.send("\x16\x03\x01\x00\x05hello\r\n\r\n").await;
    assert!(!garbage.contains("HTTP"), "{garbage:?}");
    assert_eq!(failures(&door, "malformed"), 1);
    drop(door.connect().await);
    until("who goes is counted", || failures(&door, "closed") == 1).await;
    door.close().await;
}

#[tokio::test]
async fn a_plain_listener_knows_its_peers_too() {
    let door = Door::open(FrontConfig::default(), router()).await;
    let answer = door.send("GET /peer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("HTTP/1.1 tls false certificates 0"), "{answer}");
    door.close().await;
}

/// Half a handshake is given up, and many of them keep nobody out.
#[tokio::test]
async fn silent_handshakes_end_and_make_room() {
    let own = Certificates::new();
    let config = FrontConfig { head_timeout: SHORT, ..FrontConfig::default() };
    let door = own.door(config, &own.config(ClientCertificates::None)).await;
    let (mut silent, mut dripping) = (door.connect().await, door.connect().await);
    dripping.write_all(b"\x16\x03\x01\x02").await.unwrap();
    assert_eq!(read_to_end(&mut silent).await + &read_to_end(&mut dripping).await, "");
    assert_eq!(timeouts(&door, "handshake"), 2);
    assert_eq!(own.curl(&door, "localhost", &[]).await.0, 0);
    door.close().await;

    let config = FrontConfig { connections_max: 4, ..FrontConfig::default() };
    let door = own.door(config, &own.config(ClientCertificates::None)).await;
    let mut flood = Vec::new();
    for _ in 0..4 {
        flood.push(door.connect().await);
    }
    until("all places are taken", || door.metric(CONNECTIONS) == 4).await;
    assert_eq!(own.curl(&door, "localhost", &[]).await.0, 0);
    assert!(door.metric("weir_front_refused_connections_total{listener=\"listen\",reason=\"evicted\"}") >= 1);
    // The end does not wait for them.
    door.close().await;
}

/// What TLS has encrypted and the client does not read is not taken for sent.
#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection() {
    let own = Certificates::new();
    let config = FrontConfig { write_timeout: SHORT, ..FrontConfig::default() };
    let door = own.door(config, &own.config(ClientCertificates::None)).await;
    let tls = ClientTls { ca_file: own.path("ca.pem"), ..ClientTls::default() };
    let mut stream = weir_tls::connect(&tls, "localhost", door.connect().await).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    until("it is given up", || timeouts(&door, "write") == 1).await;
    until("its place is free", || door.metric(CONNECTIONS) == 0).await;
    door.close().await;
}

#[tokio::test]
async fn a_tail_whose_client_was_revoked_ends() {
    let own = Certificates::new();
    let acceptor = Acceptor::start(&own.config(ClientCertificates::Required)).unwrap();
    let auth = AuthConfig { methods: vec![MethodName::Certificates], ..AuthConfig::default() };
    let identity = Identity::start(&auth, &AuthorizationConfig::default(), "default").unwrap().with_tls(acceptor);
    let text = std::fs::read_to_string(own.path("good.pem")).unwrap();
    let lines: String = text.lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
    let peer = Peer { address: ([127, 0, 0, 1], 1).into(), certificates: [STANDARD.decode(lines).unwrap()].into(), is_tls: true };
    let (mut head, ()) = axum::http::Request::get("/").header("upgrade", "websocket").body(()).unwrap().into_parts();
    head.extensions.insert(peer);
    identity.admit(&mut head).await;
    let (access, needs) = (head.extensions.remove::<Access>().unwrap(), Needs::Tenant(Verb::Tail, Telemetry::Logs));
    let granted = access.grant(needs).await.unwrap();
    let held = Held::new(access, needs, granted);
    assert_eq!(held.ended().await, None);
    let before = std::fs::read_to_string(own.path("crl.pem")).unwrap();
    std::fs::write(own.path("crl.pem"), own.authority.revoke(Some(&before), &[text], SystemTime::now()).unwrap()).unwrap();
    let ended = async {
        loop {
            match held.ended().await {
                Some(denied) => return denied,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let denied = tokio::time::timeout(END, ended).await.expect("it ends");
    assert_eq!(denied, Denied::Unauthenticated("the client certificate counts no longer".into()));
}

/// Requests on connections that stay, and on new ones, while the certificate is replaced: none fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_while_requests_run() {
    let own = Certificates::new();
    let door = own.door(FrontConfig::default(), &own.config(ClientCertificates::Optional)).await;
    let url = format!("https://localhost:{}/peer", door.address.port());
    let tls = ClientTls {
        ca_file: own.path("ca.pem"),
        cert_file: own.path("good.pem"),
        key_file: own.path("good.key"),
        ..ClientTls::default()
    };
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = [0, 0, 8, 8]
        .into_iter()
        .map(|idle| {
            let client = Endpoint::new(&url, &tls, |builder| builder.no_proxy().pool_max_idle_per_host(idle)).unwrap();
            let (over, done) = (Arc::clone(&over), Arc::clone(&done));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let answer = client.request(reqwest::Method::GET).send().await.unwrap().text().await.unwrap();
                    assert!(answer.ends_with("tls true certificates 1"), "{answer}");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for name in ["one.example", "two.example", "three.example"] {
        own.issue("server", &["localhost", name]);
        let named = ClientTls { server_name: name.into(), ..tls.clone() };
        let client = Endpoint::new(&url, &named, |builder| builder.no_proxy()).unwrap();
        let seen = async {
            while client.request(reqwest::Method::GET).send().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(END, seen).await.unwrap_or_else(|_| panic!("never: {name}"));
    }
    over.store(true, Ordering::Relaxed);
    for asked in asking {
        asked.await.expect("no request fails");
    }
    assert!(done.load(Ordering::Relaxed) > 50, "{done:?}");
    door.close().await;
}
