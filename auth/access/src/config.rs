//! `[authorization]`.

use serde::{Deserialize, Serialize};

/// Who decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everybody who is known may everything.
    #[default]
    Allow,
}

/// `[authorization]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizationConfig {
    pub mode: Mode,
}

impl AuthorizationConfig {
    /// What serde cannot see. The message names the key.
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
