//! Owners behind mutual TLS: a query node of the cluster reads their heads, and nobody else does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio_util::either::Either;
use weir_fanout::FanOutConfig;
use weir_model::config::ByteSize;
use weir_tls::{Acceptor, Authority, ClientCertificates, ClientTls, ServerStream, Subject, TlsConfig};

use super::cluster::{Cluster, PARTITIONS};
use super::faults::lines;
use super::readers::Readers;
use crate::weir::eventually;

/// What axum serves; handshakes wait for each other.
pub(super) struct Listener {
    pub listener: TcpListener,
    pub acceptor: Option<Acceptor>,
}

impl axum::serve::Listener for Listener {
    type Io = ServerStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ServerStream, SocketAddr) {
        loop {
            let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
            match &self.acceptor {
                None => return (Either::Left(stream), address),
                Some(acceptor) => {
                    if let Ok(shaken) = acceptor.accept(stream).await {
                        return (shaken.stream, address);
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// `<name>.pem` and `<name>.key`.
fn issue(folder: &Path, authority: &Authority, name: &str, hosts: &[&str]) -> (PathBuf, PathBuf) {
    let hosts = hosts.iter().map(ToString::to_string).collect();
    let subject = Subject { common_name: name.into(), organization: Some("weir:cluster".into()), hosts };
    let issued = authority.issue(&subject, SystemTime::now(), 30).unwrap();
    let files = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    std::fs::write(&files.0, issued.certificate).unwrap();
    std::fs::write(&files.1, issued.key).unwrap();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_read_over_mutual_tls_and_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, (authority, _)) = (folder.path().join("ca.pem"), Authority::create(SystemTime::now()).unwrap());
    std::fs::write(&ca_file, authority.certificate()).unwrap();
    // Owners are reached by address, and their certificate is for a name.
    let (cert_file, key_file) = issue(folder.path(), &authority, "weir-aggregator", &["weir-aggregator"]);
    let (client_certificates, client_ca_file) = (ClientCertificates::Required, ca_file.clone());
    let listeners = TlsConfig { cert_file, key_file, client_ca_file, client_certificates, ..TlsConfig::default() };
    let mut cluster = Cluster::start_with(listeners).await;
    let (cert_file, key_file) = issue(folder.path(), &authority, "weir-query", &[]);
    let own = ClientTls { ca_file, server_name: "weir-aggregator".into(), cert_file, key_file, ..ClientTls::default() };
    let reader = |tls: ClientTls| {
        let (fan_out, _) = cluster.fan_out_with(FanOutConfig { page_min: ByteSize::kib(2), tls, ..FanOutConfig::default() });
        (Readers::of(&fan_out), fan_out)
    };
    let (query, _node) = reader(own.clone());
    let strangers = [
        (ClientTls { cert_file: PathBuf::new(), key_file: PathBuf::new(), ..own.clone() }, "CertificateRequired"),
        (ClientTls { server_name: String::new(), ..own.clone() }, "not valid for name"),
        (ClientTls { ca_file: PathBuf::new(), ..own }, "UnknownIssuer"),
    ]
    .map(|(tls, why)| (reader(tls), why));
    cluster.write_lines(60).await;
    cluster.caught_up().await;
    let (found, coverage) = lines(&query).await;
    assert!(coverage.is_complete() && !found.is_empty(), "{} lines, {coverage:?}", found.len());
    for ((stranger, _node), why) in strangers {
        eventually(why, async || {
            let (found, coverage) = lines(&stranger).await;
            assert_eq!((found.len(), coverage.missing.len()), (0, PARTITIONS as usize), "{why}: {:?}", coverage.missing);
            // What is asked over a connection that the owner has just ended says that, and no more.
            if coverage.missing.iter().any(|text| text.contains(why)) { Ok(()) } else { Err(format!("{:?}", coverage.missing)) }
        })
        .await;
    }
    cluster.seal().await;
    assert_eq!(lines(&query).await.0, found, "sealed");
}
