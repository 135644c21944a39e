//! Runs scripts in the language of Prometheus' own PromQL tests: `load`, `clear`, `eval instant`, `eval range`, `expect`.
//!
//! Own scripts lie in `tests/scripts/promql/`; Prometheus' are run where they are at hand. For tests only.

mod compare;
mod histogram;
#[cfg(test)]
mod memory;
mod run;
mod script;
mod series;
mod store;

pub use run::{Failure, Report, run_script};
pub use store::MemoryReader;

#[cfg(test)]
mod tests;
