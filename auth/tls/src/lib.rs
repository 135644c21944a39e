//! TLS: listeners and clients whose certificates are read again when they change, and a small CA.
//!
//! - `config`: what `[tls]` says, and what each section of a client says.
//! - `pem`: certificates, keys and revocation lists as files have them.
//! - `certificates`: what is made of files, and made again when they change.
//! - `server`: handshakes of listeners. `client`: HTTP clients of all of weir; `verify`: what they hold a server to;
//!   `endpoint`: one peer under another name.
//! - `authority`: the CA of `weir certs`.
//! - `metrics`: when certificates expire, and what could not be read again.

mod authority;
mod certificates;
mod client;
mod config;
mod endpoint;
mod error;
mod metrics;
mod pem;
mod server;
mod verify;

pub use authority::{Authority, Issued, Subject};
pub use client::{ClientStream, client, client_builder, client_builder_with, client_config, connect};
pub use config::{ClientCertificates, ClientTls, MinVersion, TlsConfig};
pub use endpoint::{Endpoint, why};
pub use error::TlsError;
pub use metrics::register;
pub use server::{Acceptor, HandshakeError, Handshaken, ServerStream};

#[cfg(test)]
mod tests;
