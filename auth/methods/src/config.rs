//! `[auth]`.

use serde::{Deserialize, Serialize};

/// `[auth]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Tried in this order; with none everybody is anonymous.
    pub methods: Vec<String>,
}

impl AuthConfig {
    /// What serde cannot see. The message names the key.
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
