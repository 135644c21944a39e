//! A CA, a listener and clients over real sockets: who is taken, who is refused, and what happens when files change.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::{Method, Proxy};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::verify::{Identity, provider};
use super::*;

const END: Duration = Duration::from_secs(60);

struct Place {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        let (authority, _) = Authority::create(SystemTime::now()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
        Self { folder, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `<name>.pem` and `<name>.key`.
    fn issue(&self, name: &str, hosts: &[&str]) {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        let subject = Subject { common_name: name.into(), organization: Some("weir:cluster".into()), hosts };
        let issued = self.authority.issue(&subject, SystemTime::now(), 30).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), issued.certificate).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), issued.key).unwrap();
    }

    fn revoke(&self, names: &[&str]) {
        let before = std::fs::read_to_string(self.path("crl.pem")).ok();
        let certificates: Vec<String> =
            names.iter().map(|name| std::fs::read_to_string(self.path(&format!("{name}.pem"))).unwrap()).collect();
        let list = self.authority.revoke(before.as_deref(), &certificates, SystemTime::now()).unwrap();
        std::fs::write(self.path("crl.pem"), list).unwrap();
    }

    fn listener(&self, certificates: ClientCertificates) -> TlsConfig {
        let mut config =
            TlsConfig { cert_file: self.path("server.pem"), key_file: self.path("server.key"), ..TlsConfig::default() };
        if certificates != ClientCertificates::None {
            config.client_certificates = certificates;
            config.client_ca_file = self.path("ca.pem");
            config.client_crl_file = self.path("crl.pem");
        }
        config.check().unwrap();
        config
    }

    fn client(&self, own: Option<&str>) -> ClientTls {
        let mut tls = ClientTls { ca_file: self.path("ca.pem"), ..ClientTls::default() };
        if let Some(own) = own {
            tls.cert_file = self.path(&format!("{own}.pem"));
            tls.key_file = self.path(&format!("{own}.key"));
        }
        tls
    }
}

/// Answers every connection's first request with how many certificates its client has; the names that clients asked for, and why
/// handshakes failed.
async fn serve(config: &TlsConfig) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let acceptor = Acceptor::start(config).unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tx, rx) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, tx) = (acceptor.clone(), tx.clone());
            tokio::spawn(async move {
                let Handshaken { mut stream, certificates } = match acceptor.accept(stream).await {
                    Ok(handshaken) => handshaken,
                    Err(error) => return tx.send(error.reason().to_owned()).unwrap(),
                };
                let tokio_util::either::Either::Right(tls) = &stream else { panic!("not TLS") };
                tx.send(format!("sni {}", tls.get_ref().1.server_name().unwrap_or("-"))).unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let host = String::from_utf8_lossy(&request[..length]).to_lowercase();
                let host = host.lines().find_map(|line| line.strip_prefix("host: ").map(str::to_owned)).unwrap_or_default();
                let body = format!("{} {host}", certificates.len());
                let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _gone = stream.write_all(answer.as_bytes()).await;
                let _gone = stream.shutdown().await;
            });
        }
    });
    (address, rx)
}

async fn next(events: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(END, events.recv()).await.expect("the listener has seen the connection").unwrap()
}

/// The answer, or the innermost cause.
async fn ask(url: &str, tls: &ClientTls) -> Result<String, String> {
    let endpoint = Endpoint::new(url, tls, |builder| builder.no_proxy()).map_err(|error| error.to_string())?;
    let answer = endpoint.request(Method::GET).send().await.map_err(why)?;
    answer.text().await.map_err(why)
}

#[tokio::test]
async fn clients_are_taken_by_their_certificates() {
    let place = Place::new();
    place.issue("server", &["localhost", "127.0.0.1"]);
    place.issue("good", &[]);
    place.issue("bad", &[]);
    place.revoke(&["bad"]);
    let stranger = Place::new();
    stranger.issue("other", &[]);
    for (certificates, none, good) in [
        (ClientCertificates::None, Some("0"), "0"),
        (ClientCertificates::Optional, Some("0"), "1"),
        (ClientCertificates::Required, None, "1"),
    ] {
        let (address, mut events) = serve(&place.listener(certificates)).await;
        let url = format!("https://127.0.0.1:{}/", address.port());
        let without = ask(&url, &place.client(None)).await;
        assert_eq!(without.as_deref().ok().map(|text| &text[..1]), none, "{certificates:?}: {without:?}");
        assert_eq!(next(&mut events).await, if none.is_some() { "sni -" } else { "no_certificate" });
        assert!(ask(&url, &place.client(Some("good"))).await.unwrap().starts_with(good), "{certificates:?}");
        next(&mut events).await;
        if certificates == ClientCertificates::None {
            continue;
        }
        let foreign = ClientTls { ca_file: place.path("ca.pem"), ..stranger.client(Some("other")) };
        for (tls, reason) in [(place.client(Some("bad")), "revoked"), (foreign, "certificate")] {
            ask(&url, &tls).await.unwrap_err();
            assert_eq!(next(&mut events).await, reason, "{certificates:?}");
        }
    }
}

#[tokio::test]
async fn servers_are_taken_by_their_authority_and_name() {
    let place = Place::new();
    place.issue("server", &["weir.example", "localhost"]);
    let (address, mut events) = serve(&place.listener(ClientCertificates::None)).await;
    let url = format!("https://127.0.0.1:{}/", address.port());
    let other_name = ask(&url, &place.client(None)).await.unwrap_err();
    assert!(other_name.contains("not valid for name"), "{other_name}");
    assert_eq!(next(&mut events).await, "alert");
    // Another name is sent and verified; the request names who was asked.
    let named = ClientTls { server_name: "weir.example".into(), ..place.client(None) };
    assert_eq!(ask(&url, &named).await.unwrap(), format!("0 127.0.0.1:{}", address.port()));
    assert_eq!(next(&mut events).await, "sni weir.example");
    // No proxy is asked for a name that is not the URL's: nothing listens at this one.
    let proxy = Proxy::all("http://127.0.0.1:1").unwrap();
    let direct = Endpoint::new(&url, &named, |builder| builder.proxy(proxy)).unwrap();
    assert!(direct.request(Method::GET).send().await.unwrap().status().is_success());
    assert_eq!(next(&mut events).await, "sni weir.example");
    let wrong = ClientTls { server_name: "other.example".into(), ..place.client(None) };
    ask(&url, &wrong).await.unwrap_err();
    next(&mut events).await;
    let stranger = ask(&url, &Place::new().client(None)).await.unwrap_err();
    assert!(stranger.contains("UnknownIssuer"), "{stranger}");
    next(&mut events).await;
    let machine = ask(&url, &ClientTls::default()).await.unwrap_err();
    assert!(machine.contains("UnknownIssuer"), "{machine}");
    next(&mut events).await;
    let blind = ClientTls { insecure_skip_verify: true, ..ClientTls::default() };
    assert!(ask(&url, &blind).await.unwrap().starts_with('0'));
    next(&mut events).await;
    let plain = ask(&format!("http://127.0.0.1:{}/", address.port()), &ClientTls::default()).await.unwrap();
    assert_eq!(plain, "this is https, and the request came over http:\n");
    assert_eq!(next(&mut events).await, "plain");
}

/// Of two connections of one client, one after the other: whether the second resumes the session of the first.
async fn resumes(address: SocketAddr, config: ClientConfig) -> bool {
    let (connector, mut kinds) = (TlsConnector::from(Arc::new(config)), Vec::new());
    for _ in 0..2 {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_ne!(kinds[0], HandshakeKind::Resumed);
    kinds[1] == HandshakeKind::Resumed
}

#[tokio::test]
async fn each_connection_is_verified_anew() {
    let place = Place::new();
    place.issue("server", &["localhost"]);
    place.issue("client", &[]);
    place.revoke(&[]);
    let tls = place.client(Some("client"));
    for certificates in [ClientCertificates::None, ClientCertificates::Optional, ClientCertificates::Required] {
        let (address, _events) = serve(&place.listener(certificates)).await;
        // A client of somebody else's, which resumes what it may.
        for version in [&TLS12, &TLS13] {
            let identity = Arc::new(Identity::new(&tls, &provider()).unwrap());
            let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
            let builder = builder.dangerous().with_custom_certificate_verifier(Arc::clone(&identity) as Arc<_>);
            let resumed = resumes(address, builder.with_client_cert_resolver(identity)).await;
            assert_eq!(resumed, certificates == ClientCertificates::None, "{certificates:?}, {version:?}");
        }
        assert!(!resumes(address, client_config(&tls).unwrap()).await, "{certificates:?}: a client of weir's");
    }
}

#[tokio::test]
async fn a_certificate_that_was_revoked_since_its_handshake_is_not_taken_any_more() {
    let place = Place::new();
    ["server", "client", "other"].iter().for_each(|name| place.issue(name, &[]));
    place.revoke(&[]);
    let acceptor = Acceptor::start(&place.listener(ClientCertificates::Optional)).unwrap().unwrap();
    let [client, other] = ["client.pem", "other.pem"].map(|name| {
        let text = std::fs::read(place.path(name)).unwrap();
        pem::certificates(&place.path(name), &text).unwrap().iter().map(|der| der.to_vec()).collect::<Vec<_>>()
    });
    assert!(acceptor.takes(&client) && acceptor.takes(&other) && acceptor.takes(&[]));
    assert!(!acceptor.takes(&[b"junk".to_vec()]));
    place.revoke(&["client"]);
    let revoked = async {
        while acceptor.takes(&client) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(END, revoked).await.expect("it is revoked");
    assert!(acceptor.takes(&other) && acceptor.takes(&[]));
}

/// As they are after a change, without a new listener or client.
#[tokio::test]
async fn files_that_change_count_for_the_next_handshake() {
    let place = Place::new();
    place.issue("server", &["before.example"]);
    place.issue("client", &[]);
    place.issue("spare", &[]);
    place.revoke(&[]);
    let (address, _events) = serve(&place.listener(ClientCertificates::Required)).await;
    let url = format!("https://127.0.0.1:{}/", address.port());
    // No connection is kept, so that each request is a handshake.
    let client = |name: &str| {
        let tls = ClientTls { server_name: name.into(), ..place.client(Some("client")) };
        Endpoint::new(&url, &tls, |builder| builder.no_proxy().pool_max_idle_per_host(0)).unwrap()
    };
    let (before, after) = (client("before.example"), client("after.example"));
    let is_taken = async |endpoint: &Endpoint| endpoint.request(Method::GET).send().await.is_ok();
    assert!(is_taken(&before).await && !is_taken(&after).await);
    let until = async |what: &str, endpoint: &Endpoint, expected: bool| {
        let changed = async {
            while is_taken(endpoint).await != expected {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(END, changed).await.unwrap_or_else(|_| panic!("never: {what}"));
    };
    place.issue("server", &["after.example"]);
    until("the listener has its new certificate", &after, true).await;
    assert!(!is_taken(&before).await);
    place.revoke(&["client"]);
    until("the client is revoked", &after, false).await;
    let copy = |from: &str, to: &str| std::fs::copy(place.path(from), place.path(to)).unwrap();
    copy("spare.pem", "client.pem");
    copy("spare.key", "client.key");
    until("the client has its new certificate", &after, true).await;
}

#[test]
fn files_that_cannot_be_are_refused_by_name() {
    let place = Place::new();
    place.issue("server", &["localhost"]);
    place.issue("other", &["localhost"]);
    let check = |change: &dyn Fn(&mut TlsConfig), parts: &[&str]| {
        let mut config = place.listener(ClientCertificates::Required);
        place.revoke(&[]);
        change(&mut config);
        let said = config.check_files().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(parts.iter().all(|part| said.contains(part)) && said.is_empty() == parts.is_empty(), "{said:?}");
        assert!(!said.contains("BEGIN") && !said.contains("MIG"), "{said}");
    };
    let at = |name: &str| place.path(name);
    check(&|_| {}, &[]);
    check(&|config| config.cert_file = at("away.pem"), &["away.pem", "No such file"]);
    check(&|config| config.cert_file = at("server.key"), &["server.key", "no PEM certificate"]);
    check(&|config| config.key_file = at("server.pem"), &["server.pem", "no PEM private key"]);
    check(&|config| config.key_file = at("other.key"), &["other.key", "not the key of", "server.pem"]);
    check(&|config| config.client_ca_file = at("crl.pem"), &["crl.pem", "no PEM certificate"]);
    check(&|config| config.client_crl_file = at("ca.pem"), &["ca.pem", "no PEM revocation list"]);
    let client = ClientTls { ca_file: at("server.key"), ..ClientTls::default() };
    assert!(client.check_files().unwrap_err().to_string().contains("server.key"));
}

#[test]
fn a_ca_that_is_opened_again_is_the_same() {
    let now = SystemTime::now();
    let (authority, key) = Authority::create(now).unwrap();
    let again = Authority::open(authority.certificate(), &key).unwrap();
    let subject = Subject { common_name: "a".into(), organization: None, hosts: vec!["a.example".into()] };
    let (one, two) = (authority.issue(&subject, now, 1).unwrap(), again.issue(&subject, now, 99_999).unwrap());
    let parsed = |text: &str| {
        let der = pem::certificates(Path::new("x"), text.as_bytes()).unwrap().remove(0);
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        (parsed.issuer().as_raw().to_vec(), parsed.validity().not_after.timestamp())
    };
    let unix = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    let (one, two, own) = (parsed(&one.certificate), parsed(&two.certificate), parsed(authority.certificate()));
    assert_eq!((&one.0, two.0), (&own.0, own.0.clone()));
    assert_eq!((one.1, two.1), (unix + 86_400, own.1), "no longer than its CA");
    let (other, _) = Authority::create(now).unwrap();
    assert!(Authority::open(other.certificate(), &key).err().unwrap().to_string().contains("its key is another's"));
}
