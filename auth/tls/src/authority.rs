//! A small CA: signs certificates of roles and clients, and says which of them are revoked. Knows no files: PEM in, PEM out.

use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::TlsError;

/// Clocks of other machines may be behind by so much.
const SKEW: Duration = Duration::hours(1);
/// A CA that has to be put on every machine anew is one that expires unseen.
const AUTHORITY_DAYS: i64 = 3650;

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    /// Groups, for who reads them from certificates.
    pub organization: Option<String>,
    /// Host names and IP addresses that it serves; none for one that is a client alone.
    pub hosts: Vec<String>,
}

/// A new certificate, PEM.
#[derive(Debug)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    /// DER of its name, as its certificates have it as their issuer.
    name: Vec<u8>,
    not_after: OffsetDateTime,
}

impl Authority {
    /// A new one; its key is returned beside it, PEM.
    pub fn create(now: SystemTime) -> Result<(Self, String), TlsError> {
        let now = now.into();
        let key = KeyPair::generate()?;
        // Two that have one name are told apart by nothing but signatures that fail.
        let id: String =
            authority_params("", now).key_identifier(&key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let params = authority_params(&format!("weir CA {id}"), now);
        let certificate = params.self_signed(&key)?.pem();
        let pem = key.serialize_pem();
        Ok((Self::open(&certificate, &pem)?, pem))
    }

    /// One that was made before.
    pub fn open(certificate: &str, key: &str) -> Result<Self, TlsError> {
        let wrong = |reason: &str| TlsError::Content { path: "the CA".into(), reason: reason.into() };
        let der =
            CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| wrong("there is no PEM certificate in it"))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| wrong(&error.to_string()))?;
        // What its signatures name is made anew from its common name; another CA's name may have more in it.
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
        let params = authority_params(name, OffsetDateTime::UNIX_EPOCH);
        let key = KeyPair::from_pem(key).map_err(|_| wrong("there is no PEM private key in its key's file"))?;
        let again = params.self_signed(&key)?;
        let (_, own) = X509Certificate::from_der(again.der()).map_err(|error| wrong(&error.to_string()))?;
        if own.subject().as_raw() != parsed.subject().as_raw() || !parsed.is_ca() {
            return Err(wrong("it was not made by weir certs"));
        }
        if own.public_key().raw != parsed.public_key().raw {
            return Err(wrong("its key is another's"));
        }
        let name = parsed.subject().as_raw().to_vec();
        let not_after = parsed.validity().not_after.to_datetime();
        Ok(Self { issuer: Issuer::new(params, key), certificate: certificate.to_owned(), name, not_after })
    }

    /// PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for so many days, and its key. It outlives its CA in no case.
    pub fn issue(&self, subject: &Subject, now: SystemTime, days: u32) -> Result<Issued, TlsError> {
        let now = OffsetDateTime::from(now);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(subject.hosts.clone())?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = &subject.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.distinguished_name.push(DnType::CommonName, subject.common_name.as_str());
        params.not_before = now - SKEW;
        params.not_after = (now + Duration::days(days.into())).min(self.not_after);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !subject.hosts.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }

    /// A revocation list with what `before` has, if there is one, and the serials of `certificates`; all PEM. Errors when one is of
    /// another CA.
    pub fn revoke(&self, before: Option<&str>, certificates: &[String], now: SystemTime) -> Result<String, TlsError> {
        let now = OffsetDateTime::from(now);
        let wrong = |reason: &str| TlsError::Content { path: "revoke".into(), reason: reason.into() };
        let (mut revoked, mut number) = (Vec::new(), 1);
        if let Some(before) = before {
            let der = rustls::pki_types::CertificateRevocationListDer::from_pem_slice(before.as_bytes());
            let der = der.map_err(|_| wrong("there is no PEM revocation list in the list of before"))?;
            let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| wrong(&error.to_string()))?;
            number = list.crl_number().and_then(|number| u64::try_from(number).ok()).unwrap_or_default() + 1;
            for one in list.iter_revoked_certificates() {
                revoked.push((one.raw_serial().to_vec(), one.revocation_date.to_datetime()));
            }
        }
        for certificate in certificates {
            let der = CertificateDer::from_pem_slice(certificate.as_bytes());
            let der = der.map_err(|_| wrong("there is no PEM certificate in one of the files"))?;
            let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| wrong(&error.to_string()))?;
            if parsed.issuer().as_raw() != self.name {
                return Err(wrong(&format!("the certificate of {} is another CA's", parsed.subject())));
            }
            if !revoked.iter().any(|(serial, _)| serial == parsed.raw_serial()) {
                revoked.push((parsed.raw_serial().to_vec(), now));
            }
        }
        let revoked_certs = revoked.into_iter().map(|(serial, revocation_time)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now - SKEW,
            // It is good until there is another.
            next_update: self.not_after,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }
}

fn authority_params(name: &str, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = now - SKEW;
    params.not_after = now + Duration::days(AUTHORITY_DAYS);
    params
}
