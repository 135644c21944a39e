//! The query service: PromQL, LogQL, trace look-up, rules, and the HTTP APIs over them.
//!
//! - [`budget`]: what one request may take; [`load`]: what all of them together may.
//! - `promql/`, `logql/`: `lex ast parse eval`, the same four words in each language.
//! - `rules/`: Prometheus alerting rule files, evaluated and posted to Alertmanager.
//! - [`http`]: one file per API, all on one router.
//! - [`fanout`]: the readers of a query node: blocks from the object store, unsealed records from their owners.
//!
//! Languages, rules and APIs never see a block, an offset's meaning or the bus: they read through the readers of
//! `weir_model::select`. Only the fan-out knows that there are partitions.

pub mod budget;
pub mod fanout;
pub mod http;
pub mod load;
pub mod logql;
pub mod promql;
pub mod rules;

#[cfg(test)]
mod tests;
