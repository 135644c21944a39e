//! `[tls]` of the listeners, and the sections of clients: `[fanout.tls]`, `[rules.tls]`, `[store.tls]`.

use std::path::{Path, PathBuf};

use rustls::SupportedProtocolVersion;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use serde::{Deserialize, Serialize};

use crate::{Acceptor, TlsError, client_config};

/// Whether a listener asks its clients for certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// It does not ask.
    #[default]
    None,
    /// One that is brought must be good.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MinVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

impl MinVersion {
    pub(crate) fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&TLS12, &TLS13],
            Self::Tls13 => vec![&TLS13],
        }
    }
}

/// `[tls]`: of all listeners. All files are PEM and are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificate chain, the listener's own first; listeners are plain where it is empty.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Authorities of clients' certificates.
    pub client_ca_file: PathBuf,
    /// What these authorities have revoked; empty for nothing.
    pub client_crl_file: PathBuf,
    pub client_certificates: ClientCertificates,
    pub min_version: MinVersion,
}

impl TlsConfig {
    /// What serde cannot see. The message names the key.
    pub fn check(&self) -> Result<(), String> {
        together(("cert_file", &self.cert_file), ("key_file", &self.key_file))?;
        let asks = self.client_certificates != ClientCertificates::None;
        if asks && !self.is_on() {
            return Err("client_certificates needs cert_file and key_file".into());
        }
        if asks && is_empty(&self.client_ca_file) {
            return Err("client_ca_file is missing: it says whose client certificates are good".into());
        }
        for (key, path) in [("client_ca_file", &self.client_ca_file), ("client_crl_file", &self.client_crl_file)] {
            if !asks && !is_empty(path) {
                return Err(format!("{key} does nothing with client_certificates = \"none\": say \"optional\" or \"required\""));
            }
        }
        if self.min_version != MinVersion::default() && !self.is_on() {
            return Err("min_version does nothing without cert_file and key_file".into());
        }
        Ok(())
    }

    /// Reads the files. Errors name the one that is wrong.
    pub fn check_files(&self) -> Result<(), TlsError> {
        Acceptor::check(self)
    }

    /// Whether listeners speak TLS.
    pub fn is_on(&self) -> bool {
        !is_empty(&self.cert_file)
    }
}

/// How a client knows its servers, and shows itself. Empty: this machine's authorities, the URL's host, no certificate. All files
/// are PEM and are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTls {
    /// Authorities of the servers' certificates, instead of this machine's.
    pub ca_file: PathBuf,
    /// What a server's certificate must be for, instead of the host in the URL.
    pub server_name: String,
    /// The client's own certificate chain.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Takes any certificate of anybody.
    pub insecure_skip_verify: bool,
    pub min_version: MinVersion,
}

impl ClientTls {
    /// What serde cannot see. The message names the key.
    pub fn check(&self) -> Result<(), String> {
        together(("cert_file", &self.cert_file), ("key_file", &self.key_file))?;
        if self.insecure_skip_verify && !is_empty(&self.ca_file) {
            return Err("insecure_skip_verify takes any certificate: ca_file does nothing beside it".into());
        }
        self.name().map(drop).map_err(|error| error.to_string())
    }

    /// Reads the files. Errors name the one that is wrong.
    pub fn check_files(&self) -> Result<(), TlsError> {
        client_config(self).map(drop)
    }

    /// `server_name`, where there is one. Errors where it cannot be one.
    pub fn name(&self) -> Result<Option<ServerName<'static>>, TlsError> {
        if self.server_name.is_empty() {
            return Ok(None);
        }
        let name = ServerName::try_from(self.server_name.clone());
        name.map(Some).map_err(|_| TlsError::ServerName(self.server_name.clone()))
    }
}

pub(crate) fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn together((one, first): (&str, &Path), (other, second): (&str, &Path)) -> Result<(), String> {
    match (is_empty(first), is_empty(second)) {
        (true, false) => Err(format!("{one} is missing beside {other}")),
        (false, true) => Err(format!("{other} is missing beside {one}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_together_is_refused_by_key() {
        let listeners = TlsConfig { cert_file: "a".into(), key_file: "b".into(), ..TlsConfig::default() };
        let check = |config: TlsConfig, expected: &str| {
            let said = config.check().err().unwrap_or_default();
            assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{said:?}");
        };
        check(TlsConfig::default(), "");
        check(listeners.clone(), "");
        check(TlsConfig { key_file: PathBuf::new(), ..listeners.clone() }, "key_file is missing");
        check(TlsConfig { cert_file: PathBuf::new(), ..listeners.clone() }, "cert_file is missing");
        check(TlsConfig { client_ca_file: "c".into(), ..listeners.clone() }, "client_ca_file does nothing");
        check(TlsConfig { client_crl_file: "c".into(), ..listeners.clone() }, "client_crl_file does nothing");
        let required = TlsConfig { client_certificates: ClientCertificates::Required, ..listeners };
        check(required.clone(), "client_ca_file is missing");
        check(TlsConfig { client_ca_file: "c".into(), client_crl_file: "d".into(), ..required }, "");
        let plain = TlsConfig { client_certificates: ClientCertificates::Optional, ..TlsConfig::default() };
        check(plain, "client_certificates needs");
        check(TlsConfig { min_version: MinVersion::Tls13, ..TlsConfig::default() }, "min_version does nothing");
    }

    #[test]
    fn a_client_with_half_a_pair_or_no_name_is_refused() {
        let check = |tls: ClientTls, expected: &str| {
            let said = tls.check().err().unwrap_or_default();
            assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{said:?}");
        };
        check(ClientTls { server_name: "weir.example".into(), ..ClientTls::default() }, "");
        check(ClientTls { server_name: "10.0.0.1".into(), ..ClientTls::default() }, "");
        check(ClientTls { server_name: "a b".into(), ..ClientTls::default() }, "server_name = \"a b\"");
        check(ClientTls { cert_file: "a".into(), ..ClientTls::default() }, "key_file is missing");
        check(ClientTls { insecure_skip_verify: true, ca_file: "a".into(), ..ClientTls::default() }, "insecure_skip_verify");
    }
}
