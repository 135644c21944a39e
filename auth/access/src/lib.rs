//! Who asks ([`Principal`]), what they may ([`Authorizer`]), and routes that say what they need ([`Routes`]). A front door makes an
//! [`Access`] of each request's credentials; a route's needs turn it into what its handler is [`Granted`], which is the only place a
//! handler takes a tenant from.
//!
//! - `principal`: whom credentials stand for, and the peer they came from.
//! - `needs`: verbs, signals, and what a route asks of its caller.
//! - `authorizer`: whether a principal may.
//! - `config`: what `[authorization]` says.
//! - `access`: one request's principal and the tenants that it names.
//! - `routes`: routers of which every route declares its needs.
//! - `denied`: why not.

mod access;
mod authorizer;
mod config;
mod denied;
mod needs;
mod principal;
mod routes;

pub use access::{Access, Granted, TENANT_HEADER};
pub use authorizer::Authorizer;
pub use config::{AuthorizationConfig, Mode};
pub use denied::Denied;
pub use needs::{Needs, Telemetry, Verb};
pub use principal::{Method, Peer, Principal};
pub use routes::{Declared, Routes};
