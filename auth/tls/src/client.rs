//! HTTP clients of all of weir, over http and https. The files that they name are read again when a connection is made after they
//! have changed; connections that are open stay.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use crate::verify::{Identity, provider};
use crate::{ClientTls, TlsError};

/// A connection to a server, plain or TLS.
pub type ClientStream = Either<TcpStream, tokio_rustls::client::TlsStream<TcpStream>>;

/// A client with defaults.
pub fn client() -> reqwest::Client {
    client_builder().build().unwrap_or_else(|error| panic!("a client without options is always made: {error}"))
}

/// A client in the making, with this machine's authorities.
pub fn client_builder() -> reqwest::ClientBuilder {
    let made = client_builder_with(&ClientTls::default());
    made.unwrap_or_else(|error| panic!("a client without files is always made: {error}"))
}

/// A client in the making. Errors name the file that cannot be used. A `server_name` is what certificates are held against; for
/// it to be sent as well, see [`crate::Endpoint`].
pub fn client_builder_with(tls: &ClientTls) -> Result<reqwest::ClientBuilder, TlsError> {
    Ok(reqwest::Client::builder().tls_backend_preconfigured(client_config(tls)?))
}

/// For clients that are not reqwest's.
pub fn client_config(tls: &ClientTls) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let identity = Arc::new(Identity::new(tls, &provider)?);
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&tls.min_version.versions())?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::clone(&identity) as Arc<_>);
    let mut config = builder.with_client_cert_resolver(identity);
    // A resumed session would hold the server against none of the files, which may have changed since its first handshake.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Shakes hands on an open connection to `host`, for what is not HTTP all the way.
pub async fn connect(tls: &ClientTls, host: &str, stream: TcpStream) -> io::Result<ClientStream> {
    let config = client_config(tls).map_err(io::Error::other)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = match tls.name().map_err(io::Error::other)? {
        Some(name) => name,
        None => ServerName::try_from(host).map_err(io::Error::other)?,
    };
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(Either::Right(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_made_without_a_provider_installed() {
        client();
    }
}
