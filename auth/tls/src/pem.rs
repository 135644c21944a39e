//! PEM files: certificates, keys, revocation lists. Errors name the file and what is wrong with it.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::TlsError;

/// When the first certificate of a file expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    pub file: PathBuf,
    /// Unix seconds.
    pub at: i64,
}

/// All certificates of a file, at least one.
pub(crate) fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let certificates = read.map_err(|error| TlsError::content(path, error))?;
    if certificates.is_empty() {
        return Err(TlsError::content(path, "there is no PEM certificate in it"));
    }
    Ok(certificates)
}

/// A chain and the key of its first certificate.
pub(crate) fn pair(
    (cert_file, chain): (&Path, &[u8]),
    (key_file, key): (&Path, &[u8]),
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Expiry), TlsError> {
    let chain = certificates(cert_file, chain)?;
    let expiry = expiry(cert_file, &chain)?;
    // What a parser says of a key is not repeated: it may hold a part of it.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::content(key_file, "there is no PEM private key in it"))?;
    let pair = CertifiedKey::from_der(chain, key, provider);
    let pair = pair.map_err(|error| TlsError::content(key_file, format!("not the key of {}: {error}", cert_file.display())))?;
    Ok((pair, expiry))
}

/// The authorities of a file.
pub(crate) fn roots(path: &Path, text: &[u8]) -> Result<(RootCertStore, Expiry), TlsError> {
    let certificates = certificates(path, text)?;
    let expiry = expiry(path, &certificates)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| TlsError::content(path, error))?;
    }
    Ok((roots, expiry))
}

/// All revocation lists of a file, at least one.
pub(crate) fn revocations(path: &Path, text: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
    let lists = read.map_err(|error| TlsError::content(path, error))?;
    if lists.is_empty() {
        return Err(TlsError::content(path, "there is no PEM revocation list (X509 CRL) in it"));
    }
    Ok(lists)
}

fn expiry(path: &Path, certificates: &[CertificateDer<'_>]) -> Result<Expiry, TlsError> {
    let mut ends = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| TlsError::content(path, error))?;
        ends.push(parsed.validity().not_after.timestamp());
    }
    Ok(Expiry { file: path.to_owned(), at: ends.into_iter().min().unwrap_or(i64::MAX) })
}
