//! TLS: listeners whose certificates are read again when they change, clients, and a small CA.
//!
//! - `config`: what `[tls]` says.
//! - `client`: HTTP clients of all of weir, over http and https.

mod client;
mod config;

pub use client::{client, client_builder};
pub use config::TlsConfig;
