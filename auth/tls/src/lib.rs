//! TLS: listeners whose certificates are read again when they change, clients, and a small CA.
//!
//! - `client`: HTTP clients of all of weir, over http and https.

mod client;

pub use client::{client, client_builder};
