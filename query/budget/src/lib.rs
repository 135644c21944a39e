//! What queries may take: one request ([`RequestBudget`], limits in [`QueryConfig`]) and all of them together ([`Load`]).
//!
//! Languages and engines see only `weir_model::select::Budget`; who answers a request makes one of these.

mod load;
mod request;

pub use load::{Grant, Load, LoadMetrics, Place};
pub use request::{QueryConfig, RequestBudget, millis};
