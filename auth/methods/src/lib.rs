//! Credentials into principals, by the methods that `[auth]` names, in their order.
//!
//! - `config`: what `[auth]` says.
//! - `session`: cookies of the page. `signin`: how it gets one.

mod config;
mod session;
pub mod signin;

use std::sync::Arc;

use axum::http::request::Parts;
pub use config::AuthConfig;
pub use session::{SessionConfig, SessionError, Sessions};
use weir_access::{Denied, Peer, Principal};

/// Knows who asks.
#[derive(Debug)]
pub struct Authenticator {
    anonymous: Arc<Principal>,
}

/// What a page can ask its user for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    pub password: bool,
    pub token: bool,
}

impl Authenticator {
    /// What a page can ask its user for, of the methods that are configured.
    pub fn offers(&self) -> Offers {
        Offers::default()
    }

    /// As `[auth]` says. Errors name the key.
    pub fn start(_config: &AuthConfig) -> Result<Self, String> {
        Ok(Self { anonymous: Arc::new(Principal::anonymous()) })
    }

    /// Whom a request's credentials stand for, by its head and its connection alone; `None` where it brings none. Where no
    /// method is configured, everybody is anonymous.
    pub async fn authenticate(&self, _head: &Parts, _peer: &Peer) -> Result<Option<Arc<Principal>>, Denied> {
        Ok(Some(Arc::clone(&self.anonymous)))
    }
}
