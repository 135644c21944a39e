//! Credentials into principals, by the methods that `[auth]` names, in their order.
//!
//! - `authenticator`: the methods in their order, over one request.
//! - `config`: what `[auth]` says.
//! - `credentials`: what a request's head brings, within limits.
//! - `certificates`, `tokens`, `basic`, `oidc`, `kubernetes`, `keystone`, `proxy`: the methods, a file each.
//! - `jwt`, `jwks`: signed tokens, and the keys that an issuer publishes.
//! - `session`: cookies of the page, `ended`: those that do not count any more. `signin`: how it gets one, `codeflow`: from an issuer.
//! - `device`: how a terminal signs in at an issuer.
//! - `exchange`: a request over HTTP and its answer; `backend`: to issuers and to whoever else is asked. `webhook`: reaches the
//!   service that authorization asks.
//! - `cache`: verdicts that cost something, kept for a while. `digest`: how secrets are looked up.
//! - `throttle`: who has failed too often waits. `file`: a file that is read again when it changes.
//! - `metrics`: how it is doing.

mod authenticator;
mod backend;
mod basic;
mod cache;
mod certificates;
mod codeflow;
mod config;
mod credentials;
pub mod device;
mod digest;
mod ended;
mod exchange;
mod file;
mod jwks;
mod jwt;
mod keystone;
mod kubernetes;
mod metrics;
mod oidc;
mod proxy;
mod session;
pub mod signin;
mod throttle;
mod tokens;
mod verdict;
mod webhook;

pub use authenticator::Authenticator;
pub use config::{
    AuthConfig, CertificateName, CertificatesConfig, KeystoneConfig, KubernetesConfig, MethodName, OidcConfig, ProxyConfig,
    TenantName, TokenCheck,
};
pub use session::SessionConfig;
pub use webhook::webhook;
