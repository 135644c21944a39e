//! Whom credentials stand for.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_model::clip;

/// The group of weir's own processes: organisation (O) of their certificates.
pub const CLUSTER_GROUP: &str = "weir:cluster";

/// How a principal was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Nobody is asked who they are.
    Anonymous,
    Certificate,
    Token,
    Basic,
    Oidc,
    Kubernetes,
    Keystone,
    Proxy,
}

impl Method {
    pub const ALL: [Self; 8] =
        [Self::Anonymous, Self::Certificate, Self::Token, Self::Basic, Self::Oidc, Self::Kubernetes, Self::Keystone, Self::Proxy];

    /// In metrics, the audit log and `[auth] methods`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Certificate => "certificates",
            Self::Token => "tokens",
            Self::Basic => "basic",
            Self::Oidc => "oidc",
            Self::Kubernetes => "kubernetes",
            Self::Keystone => "keystone",
            Self::Proxy => "proxy",
        }
    }
}

/// A user or a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub name: String,
    /// As its issuer identifies it; may be empty.
    pub uid: String,
    pub groups: Vec<String>,
    /// Whose data it may at most ask for, where its credentials say so; otherwise policies alone do.
    pub tenants: Option<Vec<Arc<str>>>,
    pub method: Method,
}

impl Principal {
    /// Whoever asks where nobody is asked who they are.
    pub fn anonymous() -> Self {
        Self { name: "anonymous".into(), uid: String::new(), groups: Vec::new(), tenants: None, method: Method::Anonymous }
    }

    /// Another process of the same cluster: by its certificate, or anybody where nobody is asked who they are.
    pub(crate) fn is_cluster(&self) -> bool {
        self.method == Method::Anonymous || self.is_cluster_member()
    }

    /// The same, known to be one.
    pub(crate) fn is_cluster_member(&self) -> bool {
        self.method == Method::Certificate && self.groups.iter().any(|group| group == CLUSTER_GROUP)
    }

    /// In errors.
    pub(crate) fn shown(&self) -> String {
        format!("{:?}", clip(&self.name))
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// Of a client that the listener's CA has verified: DER, its own first.
    pub certificates: Arc<[Vec<u8>]>,
    /// Whether the connection is TLS.
    pub is_tls: bool,
}
