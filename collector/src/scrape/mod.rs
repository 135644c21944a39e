//! Prometheus targets: an unmodified `scrape_configs`, scraped, relabelled and shipped with Prometheus' synthetic series
//! and staleness markers.
//!
//! - [`config`]: the YAML. [`relabel`]: the eleven actions. [`target`]: which targets there are.
//! - [`fetch`]: one request. [`batch`]: an answer as a metric batch. [`run`]: the tasks.

pub(crate) mod batch;
pub mod config;
mod fetch;
pub mod relabel;
mod run;
pub(crate) mod target;

pub use run::{Deps, run};
