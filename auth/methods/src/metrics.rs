//! How authentication is doing, as Prometheus metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    method: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Backend {
    backend: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct File {
    file: &'static str,
}

/// From a server next door to one that is given up.
const SECONDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 5.0];

/// Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct AuthMetrics {
    requests: Family<Result, Counter>,
    cache: Family<Result, Counter>,
    backend_seconds: Family<Backend, Histogram, fn() -> Histogram>,
    backend_errors: Family<Backend, Counter>,
    reload_failures: Family<File, Counter>,
}

impl Default for AuthMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            cache: Family::default(),
            backend_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            backend_errors: Family::default(),
            reload_failures: Family::default(),
        }
    }
}

impl AuthMetrics {
    /// Shows them under `weir_auth_…`.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests by the method that decided who asks, and its result: ok, wrong, undecided; of the method \
                    none, those without credentials (absent), and with some that no method knows (wrong)";
        registry.register("weir_auth_requests", help, self.requests.clone());
        let help = "Credentials whose verdict was known (hit) or had to be found (miss)";
        registry.register("weir_auth_cache_requests", help, self.cache.clone());
        let help = "How long issuers and other servers took to answer";
        registry.register("weir_auth_backend_seconds", help, self.backend_seconds.clone());
        let help = "Questions to them that were not answered";
        registry.register("weir_auth_backend_errors", help, self.backend_errors.clone());
        let help = "Times that a file of credentials had changed and could not be taken; the one before counts on";
        registry.register("weir_auth_reload_failures", help, self.reload_failures.clone());
    }

    pub fn request(&self, method: &'static str, result: &'static str) {
        self.requests.get_or_create(&Result { method, result }).inc();
    }

    pub fn cache(&self, method: &'static str, result: &'static str) {
        self.cache.get_or_create(&Result { method, result }).inc();
    }

    pub fn backend(&self, backend: &'static str, seconds: f64, answered: bool) {
        self.backend_seconds.get_or_create(&Backend { backend }).observe(seconds);
        if !answered {
            self.backend_errors.get_or_create(&Backend { backend }).inc();
        }
    }

    pub fn reload_failure(&self, file: &'static str) {
        self.reload_failures.get_or_create(&File { file }).inc();
    }

    #[cfg(test)]
    pub fn cached(&self, method: &'static str, result: &'static str) -> u64 {
        self.cache.get_or_create(&Result { method, result }).get()
    }

    #[cfg(test)]
    pub fn requested(&self, method: &'static str, result: &'static str) -> u64 {
        self.requests.get_or_create(&Result { method, result }).get()
    }

    #[cfg(test)]
    pub fn reload_failures(&self, file: &'static str) -> u64 {
        self.reload_failures.get_or_create(&File { file }).get()
    }
}
