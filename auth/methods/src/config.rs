//! `[auth]`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;
use weir_access::Method;
use weir_model::config::{ByteSize, duration};

use super::proxy::TrustedPeers;
use super::session::SessionConfig;
use super::signin::CALLBACK_PATH;

/// A method, as `[auth] methods` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MethodName {
    Certificates,
    Tokens,
    Basic,
    Oidc,
    Kubernetes,
    Keystone,
    Proxy,
}

impl MethodName {
    /// What its principals carry.
    pub fn method(self) -> Method {
        match self {
            Self::Certificates => Method::Certificate,
            Self::Tokens => Method::Token,
            Self::Basic => Method::Basic,
            Self::Oidc => Method::Oidc,
            Self::Kubernetes => Method::Kubernetes,
            Self::Keystone => Method::Keystone,
            Self::Proxy => Method::Proxy,
        }
    }
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Tried in this order; with none everybody is anonymous.
    pub methods: Vec<MethodName>,
    /// Kubernetes' static token file.
    pub tokens_file: PathBuf,
    /// As htpasswd writes it, with bcrypt or argon2id.
    pub basic_file: PathBuf,
    /// The longest that a credential which was found right is believed without being looked at again.
    #[serde(with = "duration")]
    pub cache_ttl: Duration,
    pub cache_max: ByteSize,
    /// How long an issuer or another server that is asked may take.
    #[serde(with = "duration")]
    pub timeout: Duration,
    pub certificates: CertificatesConfig,
    pub oidc: OidcConfig,
    pub kubernetes: KubernetesConfig,
    pub keystone: KeystoneConfig,
    pub proxy: ProxyConfig,
    pub session: SessionConfig,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            methods: Vec::new(),
            tokens_file: PathBuf::new(),
            basic_file: PathBuf::new(),
            // As kube-apiserver does with webhooks: a token that is revoked is taken for so long.
            cache_ttl: Duration::from_secs(120),
            // Some 30,000 credentials at about 512 bytes.
            cache_max: ByteSize::mib(16),
            timeout: Duration::from_secs(5),
            certificates: CertificatesConfig::default(),
            oidc: OidcConfig::default(),
            kubernetes: KubernetesConfig::default(),
            keystone: KeystoneConfig::default(),
            proxy: ProxyConfig::default(),
            session: SessionConfig::default(),
        }
    }
}

/// Where a client certificate has its owner's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateName {
    /// The subject's common name.
    #[default]
    Cn,
    /// The first URI, else e-mail address, else DNS name among the alternative names.
    San,
}

/// `[auth.certificates]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificatesConfig {
    pub name: CertificateName,
}

/// `[auth.oidc]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OidcConfig {
    pub issuer_url: String,
    /// An audience, too.
    pub client_id: String,
    pub audiences: Vec<String>,
    pub username_claim: String,
    pub username_prefix: String,
    pub groups_claim: String,
    pub groups_prefix: String,
    /// None where it is empty: policies alone name tenants.
    pub tenants_claim: String,
    /// Authorities of the issuer's certificate in place of the machine's.
    pub ca_file: PathBuf,
    #[serde(with = "duration")]
    pub clock_skew: Duration,
    /// Where the issuer sends a browser back to, `https://HOST/auth/callback`; the page offers no sign-in there where it is empty.
    pub redirect_url: String,
    /// Of a confidential client.
    pub client_secret_file: PathBuf,
    /// What sign-ins ask the issuer for.
    pub scopes: Vec<String>,
    /// The public client with which terminals sign in (`weir login --device`), an audience, too; none do where it is empty.
    pub device_client_id: String,
}

impl Default for OidcConfig {
    fn default() -> Self {
        Self {
            issuer_url: String::new(),
            client_id: String::new(),
            audiences: Vec::new(),
            username_claim: "sub".into(),
            username_prefix: String::new(),
            groups_claim: "groups".into(),
            groups_prefix: String::new(),
            tenants_claim: String::new(),
            ca_file: PathBuf::new(),
            clock_skew: Duration::from_secs(30),
            redirect_url: String::new(),
            client_secret_file: PathBuf::new(),
            scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
            device_client_id: String::new(),
        }
    }
}

/// Who verifies tokens of service accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenCheck {
    /// The API server: it knows what was deleted.
    #[default]
    Review,
    /// This process, by the keys that the API server publishes.
    Offline,
}

/// `[auth.kubernetes]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// `https://HOST:PORT`; that of the cluster that weir runs in where it is empty.
    pub api_server: String,
    pub ca_file: PathBuf,
    /// weir's own token.
    pub token_file: PathBuf,
    pub audiences: Vec<String>,
    pub mode: TokenCheck,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        let mounted = PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount");
        Self {
            api_server: String::new(),
            ca_file: mounted.join("ca.crt"),
            token_file: mounted.join("token"),
            audiences: Vec::new(),
            mode: TokenCheck::default(),
        }
    }
}

/// What of a Keystone project names its tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantName {
    /// Its id, which no other project has.
    #[default]
    Id,
    /// Its name, of projects in `domain` alone.
    Name,
}

/// `[auth.keystone]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeystoneConfig {
    /// Keystone's without `/v3`.
    pub url: String,
    pub ca_file: PathBuf,
    /// weir's own account, which validates the others' tokens.
    pub user: String,
    pub password_file: PathBuf,
    pub project: String,
    /// The domain of that account and its project, and of all names that stand without one.
    pub domain: String,
    pub tenant: TenantName,
}

impl Default for KeystoneConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            ca_file: PathBuf::new(),
            user: String::new(),
            password_file: PathBuf::new(),
            project: "service".into(),
            domain: "Default".into(),
            tenant: TenantName::default(),
        }
    }
}

/// `[auth.proxy]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// Addresses, networks (`10.0.0.0/8`), and names in client certificates.
    pub peers: Vec<String>,
}

impl AuthConfig {
    /// What serde cannot see. The message names the key.
    pub fn check(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        for name in &self.methods {
            if !seen.insert(name) {
                return Err(format!("methods has {:?} twice", name.method().name()));
            }
            self.check_method(*name)?;
        }
        let counts = [
            ("session.lifetime", self.session.lifetime.is_zero()),
            ("cache_max", self.cache_max == ByteSize::default()),
            ("timeout", self.timeout.is_zero()),
        ];
        match counts.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((key, _)) => Err(format!("{key} must be more than 0")),
            None => Ok(()),
        }
    }

    fn check_method(&self, name: MethodName) -> Result<(), String> {
        let needed = |key: &str, is_there: bool| {
            if is_there { Ok(()) } else { Err(format!("{key} is empty, and methods has {:?}", name.method().name())) }
        };
        let is_path = |path: &PathBuf| !path.as_os_str().is_empty();
        match name {
            MethodName::Certificates => Ok(()),
            MethodName::Tokens => needed("tokens_file", is_path(&self.tokens_file)),
            MethodName::Basic => needed("basic_file", is_path(&self.basic_file)),
            MethodName::Oidc => {
                let oidc = &self.oidc;
                needed("oidc.issuer_url", !oidc.issuer_url.is_empty())?;
                server("oidc.issuer_url", &oidc.issuer_url)?;
                needed("oidc.client_id", !oidc.client_id.is_empty() || !oidc.audiences.is_empty())?;
                needed("oidc.username_claim", !oidc.username_claim.is_empty())?;
                if !oidc.redirect_url.is_empty() {
                    needed("oidc.client_id", !oidc.client_id.is_empty())?;
                    let url = server("oidc.redirect_url", &oidc.redirect_url)?;
                    if url.path() != CALLBACK_PATH {
                        return Err(format!("oidc.redirect_url = {:?} must end in {CALLBACK_PATH}", oidc.redirect_url));
                    }
                }
                Ok(())
            }
            MethodName::Kubernetes if self.kubernetes.api_server.is_empty() => Ok(()),
            MethodName::Kubernetes => server("kubernetes.api_server", &self.kubernetes.api_server).map(drop),
            MethodName::Keystone => {
                needed("keystone.url", !self.keystone.url.is_empty())?;
                server("keystone.url", &self.keystone.url)?;
                needed("keystone.user", !self.keystone.user.is_empty())?;
                needed("keystone.password_file", is_path(&self.keystone.password_file))
            }
            MethodName::Proxy => {
                needed("proxy.peers", !self.proxy.peers.is_empty())?;
                TrustedPeers::parse(&self.proxy.peers).map(drop).map_err(|error| format!("proxy.peers: {error}"))
            }
        }
    }
}

/// A server that decides who asks: https, or on this machine; without a password in its URL, which would be shown.
pub(crate) fn server(key: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{key} = {text:?} is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{key} must have neither a user, nor a query, nor a fragment"));
    }
    let is_local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_local => Ok(url),
        _ => Err(format!("{key} = {text:?} must begin with https:// (http:// on this machine alone)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_method_lacks_is_named() {
        let check = |change: fn(&mut AuthConfig), expected: &str| {
            let mut config = AuthConfig::default();
            change(&mut config);
            let outcome = config.check().err().unwrap_or_default();
            assert!(outcome.contains(expected) && outcome.is_empty() == expected.is_empty(), "{expected:?}: {outcome:?}");
        };
        check(|_| (), "");
        check(|config| config.methods = vec![MethodName::Tokens], "tokens_file");
        check(|config| config.methods = vec![MethodName::Basic], "basic_file");
        check(|config| config.methods = vec![MethodName::Certificates, MethodName::Certificates], "\"certificates\" twice");
        check(|config| config.methods = vec![MethodName::Oidc], "oidc.issuer_url");
        let oidc = |config: &mut AuthConfig| {
            config.methods = vec![MethodName::Oidc];
            (config.oidc.issuer_url, config.oidc.client_id) = ("https://issuer.example".into(), "weir".into());
        };
        check(|config| config.cache_max = ByteSize::default(), "cache_max");
        check(|config| config.timeout = Duration::ZERO, "timeout");
        let mut config = AuthConfig::default();
        oidc(&mut config);
        assert_eq!(config.check(), Ok(()));
        for (url, expected) in [
            ("http://issuer.example", "https://"),
            ("ftp://issuer.example", "https://"),
            ("issuer", "not a URL"),
            ("https://user:secret@issuer.example", "neither a user"),
        ] {
            config.oidc.issuer_url = url.into();
            let error = config.check().unwrap_err();
            assert!(error.contains("oidc.issuer_url") && error.contains(expected) && !error.contains("secret"), "{error}");
        }
        config.oidc.issuer_url = "http://127.0.0.1:8080/realms/weir".into();
        assert_eq!(config.check(), Ok(()));
        config.methods = vec![MethodName::Proxy];
        assert!(config.check().unwrap_err().contains("proxy.peers"));
        config.proxy.peers = vec!["10.0.0.0/99".into()];
        assert!(config.check().unwrap_err().contains("10.0.0.0/99"));
    }
}
