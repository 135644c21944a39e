//! Handshakes of listeners: each takes the certificates as they are at that moment, whatever name the client asks for.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, Error as RustlsError, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use weir_watched::keep_polling;

use crate::certificates::{Certificates, Loaded};
use crate::{ClientCertificates, TlsConfig, TlsError, pem};

/// A client's connection, plain or TLS.
pub type ServerStream = Either<TcpStream, tokio_rustls::server::TlsStream<TcpStream>>;

/// What is told to a client that speaks HTTP without TLS.
const PLAIN_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 47\r\n\r\n\
    this is https, and the request came over http:\n";
/// Of such a client's request, what is read before that: a request that is not read would undo the answer.
const PLAIN_READ: usize = 16 << 10;

/// What a listener needs for handshakes. Cloning shares it.
#[derive(Clone)]
pub struct Acceptor {
    certificates: Arc<Certificates<Listening>>,
}

struct Listening {
    server: Arc<ServerConfig>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// A connection after its handshake.
pub struct Handshaken {
    pub stream: ServerStream,
    /// Of a client that brought one which the listener's CA has signed: DER, its own first.
    pub certificates: Arc<[Vec<u8>]>,
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client speaks HTTP without TLS, and was told so.
    #[error("the client speaks HTTP without TLS")]
    Plain,
    #[error("{0}")]
    Failed(#[from] io::Error),
}

impl HandshakeError {
    /// The label of its counter.
    pub fn reason(&self) -> &'static str {
        let Self::Failed(error) = self else { return "plain" };
        let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<RustlsError>()) else { return "closed" };
        match cause {
            RustlsError::NoCertificatesPresented => "no_certificate",
            RustlsError::InvalidCertificate(CertificateError::Revoked) => "revoked",
            RustlsError::InvalidCertificate(_) | RustlsError::InvalidCertRevocationList(_) => "certificate",
            RustlsError::PeerIncompatible(_) => "incompatible",
            RustlsError::AlertReceived(_) => "alert",
            _ => "malformed",
        }
    }
}

impl Acceptor {
    /// Of `config`, which was checked; none where it is off. Reads its files again while it is there. Runs within a runtime.
    pub fn start(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        if !config.is_on() {
            return Ok(None);
        }
        let certificates = Arc::new(open(config)?);
        keep_polling(&certificates, Certificates::poll);
        Ok(Some(Self { certificates }))
    }

    pub(crate) fn check(config: &TlsConfig) -> Result<(), TlsError> {
        if config.is_on() { open(config).map(drop) } else { Ok(()) }
    }

    /// Shakes hands; for as long as the client lets it take.
    pub async fn accept(&self, mut stream: TcpStream) -> Result<Handshaken, HandshakeError> {
        // A record of a handshake begins with 22, a request with its method.
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            let _read = stream.read(&mut vec![0; PLAIN_READ]).await?;
            stream.write_all(PLAIN_ANSWER).await?;
            stream.shutdown().await?;
            return Err(HandshakeError::Plain);
        }
        let stream = TlsAcceptor::from(Arc::clone(&self.certificates.current().server)).accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificates = certificates.iter().map(|certificate| certificate.to_vec()).collect();
        Ok(Handshaken { stream: Either::Right(stream), certificates })
    }

    /// Whether the certificates of a connection that stays open would be taken in a handshake now: neither expired nor revoked.
    pub fn takes(&self, certificates: &[Vec<u8>]) -> bool {
        let [own, issuers @ ..] = certificates else { return true };
        let issuers: Vec<CertificateDer<'_>> = issuers.iter().map(|der| der.as_slice().into()).collect();
        let listening = self.certificates.current();
        listening.clients.verify_client_cert(&own.as_slice().into(), &issuers, UnixTime::now()).is_ok()
    }
}

fn open(config: &TlsConfig) -> Result<Certificates<Listening>, TlsError> {
    let mut files = vec![config.cert_file.clone(), config.key_file.clone()];
    if config.client_certificates != ClientCertificates::None {
        files.push(config.client_ca_file.clone());
        let revocations = Some(config.client_crl_file.clone()).filter(|file| !file.as_os_str().is_empty());
        files.extend(revocations);
    }
    let (config, names) = (config.clone(), files.clone());
    Certificates::open(files, move |contents| load(&config, &names, contents))
}

fn load(config: &TlsConfig, names: &[PathBuf], contents: &[Vec<u8>]) -> Loaded<Listening> {
    let provider = Arc::new(ring::default_provider());
    let mut files = names.iter().map(PathBuf::as_path).zip(contents.iter().map(Vec::as_slice));
    let mut next = || files.next().ok_or_else(|| TlsError::content(&config.cert_file, "not read, a fault of weir's"));
    let (pair, expiry) = pem::pair(next()?, next()?, &provider)?;
    let mut expiries = vec![expiry];
    let clients = match config.client_certificates {
        ClientCertificates::None => WebPkiClientVerifier::no_client_auth(),
        asks => {
            let authorities = next()?;
            let (verifier, expiry) = verifier(asks, authorities, next().ok(), &provider)?;
            expiries.push(expiry);
            verifier
        }
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&config.min_version.versions())?;
    let resolver = Arc::new(SingleCertAndKey::from(pair));
    let mut server = builder.with_client_cert_verifier(Arc::clone(&clients)).with_cert_resolver(resolver);
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would bring the client's certificate of its first handshake along, even one that has expired since.
    if config.client_certificates != ClientCertificates::None {
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    }
    Ok((Listening { server: Arc::new(server), clients }, expiries))
}

type File<'a> = (&'a std::path::Path, &'a [u8]);

/// With revocation lists, a client whose authority has none among them is refused.
fn verifier(
    asks: ClientCertificates,
    authorities: File<'_>,
    revocations: Option<File<'_>>,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, pem::Expiry), TlsError> {
    let (roots, expiry) = pem::roots(authorities.0, authorities.1)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if let Some((path, text)) = revocations {
        builder = builder.with_crls(pem::revocations(path, text)?).only_check_end_entity_revocation();
    }
    if asks == ClientCertificates::Optional {
        builder = builder.allow_unauthenticated();
    }
    let file = revocations.map_or(authorities.0, |(path, _)| path);
    let verifier = builder.build().map_err(|error| TlsError::content(file, error))?;
    Ok((verifier, expiry))
}
