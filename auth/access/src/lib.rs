//! Who asks ([`Principal`]), what they may ([`Authorizer`]), and routes that say what they need ([`Routes`]). A front door makes an
//! [`Access`] of each request's credentials; a route's needs turn it into what its handler is [`Granted`], which is the only place a
//! handler takes a tenant from.
//!
//! - `principal`: whom credentials stand for, and the peer they came from.
//! - `needs`: verbs, signals, and what a route asks of its caller.
//! - `authorizer`: whether a principal may, decided by `abac` from `policies` (a file that `reload` watches), or by a `webhook`.
//! - `effective`: what is left of a selector, for explanations.
//! - `tenants`: their names, and which of them a request means.
//! - `config`: what `[authorization]` says; `metrics`: what it counts.
//! - `access`: one request's principal and the tenants that it names; `held`: of a connection that stays open.
//! - `routes`: routers of which every route declares its needs.
//! - `denied`: why not; [`audit`]: one line for each time, and for what administrators do.

mod abac;
mod access;
pub mod audit;
mod authorizer;
mod config;
mod denied;
mod effective;
mod held;
mod metrics;
mod needs;
mod policies;
mod principal;
mod reload;
mod routes;
mod tenants;
mod webhook;

pub use abac::Explanation;
pub use access::{Access, Granted, TENANT_HEADER};
pub use authorizer::Authorizer;
pub use config::{AuthorizationConfig, Mode, OnFailure, WebhookConfig};
pub use denied::Denied;
pub use effective::effective;
pub use held::{Held, Reauthenticate};
pub use needs::{Needs, Telemetry, Verb};
pub use policies::{Policies, PolicyError, selector_text};
pub use principal::{CLUSTER_GROUP, Method, Peer, Principal};
pub use routes::{Declared, RouteNeeds, Routes};
pub use tenants::{AUDIT_TENANT, TENANT_BYTES_MAX, TENANTS_MAX, Tenants, asked_tenants, is_tenant};
pub use webhook::Reviewer;
