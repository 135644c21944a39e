//! Prometheus targets: an unmodified `scrape_configs`, scraped, relabelled and shipped with Prometheus' synthetic series
//! and staleness markers.
//!
//! - [`config`]: the YAML; [`global`]: what jobs inherit; [`tls`]: its `tls_config`. [`relabel`]: the eleven actions. [`target`]: which targets there are.
//! - [`protocol`]: the formats that are asked for; [`body_size`]: how large an answer may be.
//! - [`fetch`]: one request. [`read`]: what its answer says. [`cache`]: what of it need not be read again.
//! - [`batch`]: an answer as a metric batch; [`extras`]: what it has beside numbers. [`run`]: the tasks. [`registry`]: how they fare, told
//!   over HTTP; `redact`: without secrets.

pub(crate) mod batch;
mod body_size;
mod cache;
pub mod config;
mod extras;
#[cfg(test)]
mod extras_tests;
mod fetch;
pub mod file;
mod global;
pub mod protocol;
mod read;
mod redact;
pub(crate) mod registry;
pub mod relabel;
mod run;
pub(crate) mod target;
mod tls;

pub use run::{Deps, run};
