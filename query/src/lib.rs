//! The query service: PromQL, LogQL, trace look-up, rules, and the HTTP APIs over them.
//!
//! - [`budget`]: what one request may take.
//! - `promql/`, `logql/`: `lex ast parse eval`, the same four words in each language.
//! - `rules/`: Prometheus alerting rule files, evaluated and posted to Alertmanager.
//! - [`http`]: one file per API, all on one router.
//!
//! Nothing here sees a block, an offset's meaning or the bus: it reads through the readers of `weir_model::select`.

pub mod budget;
pub mod http;
pub mod logql;
pub mod promql;
pub mod rules;
