//! `[front]`: whom weir answers.

use serde::{Deserialize, Serialize};

use super::admit::Origin;
use super::hosts;

/// `[front]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FrontConfig {
    /// Further names under which clients and proxies ask: `weir.example`, `*.monitoring.svc`.
    pub hosts: Vec<String>,
    /// Origins of other pages that may ask and read: `https://app.example`.
    pub origins: Vec<String>,
}

impl FrontConfig {
    /// What serde cannot see. The message names the key.
    pub fn check(&self) -> Result<(), String> {
        for pattern in &self.hosts {
            hosts::check_pattern(pattern).map_err(|error| format!("hosts: {error}"))?;
        }
        for origin in &self.origins {
            Origin::parse(origin).ok_or_else(|| format!("origins: {origin:?} is not http(s)://HOST or http(s)://HOST:PORT"))?;
        }
        Ok(())
    }
}
