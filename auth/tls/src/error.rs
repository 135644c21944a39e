//! What can be wrong with certificates and their files.

use std::path::{Path, PathBuf};

use weir_watched::ReadError;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{}: {reason}", path.display())]
    Content { path: PathBuf, reason: String },
    #[error("server_name = {0:?} is neither a host name nor an IP address")]
    ServerName(String),
    #[error("{0:?} is no http or https URL")]
    Url(String),
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
}

impl TlsError {
    pub(crate) fn content(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.to_string() }
    }
}
