//! Whether a principal may.

use std::sync::Arc;

use weir_model::scope::Scope;

use super::{AuthorizationConfig, Denied, Mode, Needs, Principal};

/// Decides for all requests of a process.
#[derive(Debug)]
pub struct Authorizer {
    /// The tenant of requests that name none, where no principal or policy says another.
    own: Arc<str>,
}

impl Authorizer {
    /// As `[authorization]` says. `own`: the tenant of this process' own data. Errors name the key.
    pub fn start(config: &AuthorizationConfig, own: &str) -> Result<Self, String> {
        match config.mode {
            Mode::Allow => Ok(Self::allow(own)),
        }
    }

    /// Everybody may everything.
    pub fn allow(own: &str) -> Self {
        Self { own: own.into() }
    }

    /// What the principal is granted of what it asks for. `asked`: the tenants that the request names, without repetition.
    pub async fn decide(&self, _principal: &Principal, asked: &[Arc<str>], _needs: Needs) -> Result<Scope, Denied> {
        match asked {
            [] => Ok(Scope::of(&self.own)),
            [tenant] => Ok(Scope::of(tenant)),
            _ => Err(Denied::Unclear("name one tenant".into())),
        }
    }
}
