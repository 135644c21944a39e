//! The heads of this process for query nodes in others. Protocol: `docs/formats/heads.md`; what an answer holds is the affair of
//! `weir_heads`.
//!
//! - [`routes`]: what whoever listens merges into its router;
//! - [`service`]: what bounds the answers, and counts them;
//! - [`request`]: one request, answered off the async threads;
//! - [`tail`]: log lines as they enter a head.
//!
//! Not here: who may ask (the listener's affair), and any reading of blocks: the client reads those itself.

mod request;
mod routes;
pub(crate) mod service;
mod tail;

pub use routes::router;
