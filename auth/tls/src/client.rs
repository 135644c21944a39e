//! HTTP clients of all of weir: over http and https, with this machine's certificate authorities. A machine that has none
//! speaks http all the same.

use std::sync::{Arc, OnceLock};

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// A client with defaults.
pub fn client() -> reqwest::Client {
    client_builder().build().unwrap_or_else(|error| panic!("a client without options is always made: {error}"))
}

/// A client in the making.
pub fn client_builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().tls_backend_preconfigured(ClientConfig::clone(machine_config()))
}

/// Read once: the authorities of a machine do not change while a process runs.
fn machine_config() -> &'static ClientConfig {
    static CONFIG: OnceLock<ClientConfig> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        tracing::debug!(added, ignored, "certificate authorities of this machine");
        let versions =
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
        let config = versions.unwrap_or_else(|error| panic!("ring has TLS 1.2 and 1.3: {error}"));
        config.with_root_certificates(roots).with_no_client_auth()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_made_without_a_provider_installed() {
        client();
    }
}
