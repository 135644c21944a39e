//! Prometheus targets: an unmodified `scrape_configs`, scraped, relabelled and shipped with Prometheus' synthetic series
//! and staleness markers.
//!
//! - [`config`]: the YAML; [`tls`]: its `tls_config`. [`relabel`]: the eleven actions. [`target`]: which targets there are.
//! - [`fetch`]: one request. [`read`]: what its answer says. [`cache`]: what of it need not be read again.
//! - [`batch`]: an answer as a metric batch. [`run`]: the tasks. [`registry`]: how they fare, told over HTTP; `redact`: without secrets.

pub(crate) mod batch;
mod cache;
pub mod config;
mod fetch;
mod read;
mod redact;
pub(crate) mod registry;
pub mod relabel;
mod run;
pub(crate) mod target;
mod tls;

pub use run::{Deps, run};
