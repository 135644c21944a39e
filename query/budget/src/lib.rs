//! What queries may take: one request ([`RequestBudget`], limits in [`QueryConfig`] and those of its tenants) and all
//! of them together ([`Load`]), which run in turn (`queue`).
//!
//! Languages and engines see only `weir_model::select::Budget`; who answers a request makes one of these.

mod load;
mod queue;
mod request;
mod tenant;

pub use load::{Grant, Load, LoadMetrics, Place};
pub use request::{QueryConfig, RequestBudget, millis};
