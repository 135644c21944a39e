//! When certificates expire and what could not be read again, as metrics of the process: clients are made in many places that
//! have no registry.

use std::path::Path;
use std::sync::OnceLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct File {
    file: String,
}

#[derive(Debug, Default)]
pub(crate) struct TlsMetrics {
    expiry: Family<File, Gauge>,
    pub reload_failures: Counter,
}

impl TlsMetrics {
    pub fn expires(&self, file: &Path, at: i64) {
        self.expiry.get_or_create(&File { file: file.display().to_string() }).set(at);
    }
}

pub(crate) fn metrics() -> &'static TlsMetrics {
    static METRICS: OnceLock<TlsMetrics> = OnceLock::new();
    METRICS.get_or_init(TlsMetrics::default)
}

/// Shows them under `weir_tls_…`.
pub fn register(registry: &mut Registry) {
    let help = "When the first certificate of a file expires";
    registry.register("weir_tls_certificate_expiry_timestamp_seconds", help, metrics().expiry.clone());
    let help = "Changed certificate, key or revocation files that could not be used; what was read before stays in use";
    registry.register("weir_tls_reload_failures", help, metrics().reload_failures.clone());
}
