//! What a client holds a server to, and what it shows of itself, as its files are at each handshake.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::certificates::{Certificates, Loaded};
use crate::config::is_empty;
use crate::{ClientTls, TlsError, pem};

/// What a client's files say.
struct Material {
    /// None where nobody is trusted.
    trust: Option<Arc<WebPkiServerVerifier>>,
    own: Option<Arc<CertifiedKey>>,
}

/// One client's side of handshakes.
pub(crate) struct Identity {
    material: Certificates<Material>,
    name: Option<ServerName<'static>>,
    skip: bool,
    has_own: bool,
    provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Identity").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the files. Errors name the one that is wrong.
    pub fn new(tls: &ClientTls, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let files = [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().filter(|file| !is_empty(file));
        let files: Vec<PathBuf> = files.cloned().collect();
        let (config, used) = (tls.clone(), Arc::clone(provider));
        let material = Certificates::open(files, move |contents| load(&config, contents, &used))?;
        let (name, skip, has_own) = (tls.name()?, tls.insecure_skip_verify, !is_empty(&tls.cert_file));
        Ok(Self { material, name, skip, has_own, provider: Arc::clone(provider) })
    }
}

fn load(tls: &ClientTls, contents: &[Vec<u8>], provider: &Arc<CryptoProvider>) -> Loaded<Material> {
    let (mut contents, mut expiries) = (contents.iter().map(Vec::as_slice), Vec::new());
    let mut next = || contents.next().unwrap_or_default();
    let trust = if is_empty(&tls.ca_file) {
        machine_trust(provider)
    } else {
        let (roots, expiry) = pem::roots(&tls.ca_file, next())?;
        expiries.push(expiry);
        Some(trust(roots, provider).map_err(|error| TlsError::content(&tls.ca_file, error))?)
    };
    let mut own = None;
    if !is_empty(&tls.cert_file) {
        let (pair, expiry) = pem::pair((&tls.cert_file, next()), (&tls.key_file, next()), provider)?;
        expiries.push(expiry);
        own = Some(Arc::new(pair));
    }
    Ok((Material { trust, own }, expiries))
}

fn trust(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::client::VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()
}

/// Read once: the authorities of a machine do not change while a process runs. A machine that has none trusts nobody, and speaks
/// http all the same.
fn machine_trust(provider: &Arc<CryptoProvider>) -> Option<Arc<WebPkiServerVerifier>> {
    static TRUST: OnceLock<Option<Arc<WebPkiServerVerifier>>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        tracing::debug!(added, ignored, "certificate authorities of this machine");
        trust(roots, provider).ok()
    };
    TRUST.get_or_init(read).clone()
}

impl ServerCertVerifier for Identity {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.skip {
            return Ok(ServerCertVerified::assertion());
        }
        let material = self.material.fresh();
        let Some(trust) = &material.trust else { return Err(CertificateError::UnknownIssuer.into()) };
        trust.verify_server_cert(certificate, intermediates, self.name.as_ref().unwrap_or(name), ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.material.fresh().own.clone()
    }

    fn has_certs(&self) -> bool {
        self.has_own
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}
