//! `[tls]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[tls]`: of all listeners.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificate chain in PEM; plain where it is empty.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

impl TlsConfig {
    /// What serde cannot see. The message names the key.
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
