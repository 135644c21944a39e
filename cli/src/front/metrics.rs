//! How the front door is doing, as Prometheus metrics: what is open, what was refused, what took too long, by listener.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    listener: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    listener: &'static str,
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Coded {
    listener: &'static str,
    coding: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Denials {
    listener: &'static str,
    status: u16,
}

/// Of all listeners. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrontMetrics {
    connections: Family<Which, Gauge>,
    refused_connections: Family<Why, Counter>,
    refused_requests: Family<Why, Counter>,
    denied: Family<Denials, Counter>,
    timeouts: Family<What, Counter>,
    handshake_failures: Family<Why, Counter>,
    compressed: Family<Coded, Counter>,
    uncompressed: Family<Which, Counter>,
}

impl FrontMetrics {
    /// Shows them under `weir_front_…`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("weir_front_connections", "Open connections, web sockets included", self.connections.clone());
        let help = "Connections ended to make room for others (evicted), or not accepted";
        registry.register("weir_front_refused_connections", help, self.refused_connections.clone());
        let help = "Requests refused before any API saw them, for the host, origin or site that they came with";
        registry.register("weir_front_refused_requests", help, self.refused_requests.clone());
        let help = "Requests denied: 401 for want of credentials that count, 403 for want of a right, 400 for an unclear tenant, 429 after too many wrong credentials, 503 where it could not be decided";
        registry.register("weir_front_denied", help, self.denied.clone());
        let help = "Connections and requests ended because a client took too long: handshake, head, body, idle, or write (it did not read)";
        registry.register("weir_front_timeouts", help, self.timeouts.clone());
        let help = "Connections without a TLS session: the client spoke plain HTTP (plain), had no certificate (no_certificate), a bad \
                    one (certificate) or a revoked one (revoked), no version or cipher of ours (incompatible), did not take ours (alert), \
                    went (closed), or made no sense (malformed)";
        registry.register("weir_front_handshake_failures", help, self.handshake_failures.clone());
        let help = "Answers compressed on their way out, by coding";
        registry.register("weir_front_compressed_responses", help, self.compressed.clone());
        let help = "Answers that left as they were because all compressors were busy";
        registry.register("weir_front_uncompressed_responses", help, self.uncompressed.clone());
    }

    /// Counts a connection until it is dropped.
    pub fn connection(&self, listener: &'static str) -> ConnectionGauge {
        let gauge = self.connections.get_or_create_owned(&Which { listener });
        gauge.inc();
        ConnectionGauge(gauge)
    }

    pub fn refused_connection(&self, listener: &'static str, reason: &'static str) {
        self.refused_connections.get_or_create(&Why { listener, reason }).inc();
    }

    pub fn refused_request(&self, listener: &'static str, reason: &'static str) {
        self.refused_requests.get_or_create(&Why { listener, reason }).inc();
    }

    pub fn denied(&self, listener: &'static str, status: u16) {
        self.denied.get_or_create(&Denials { listener, status }).inc();
    }

    pub fn compressed(&self, listener: &'static str, coding: &'static str) {
        self.compressed.get_or_create(&Coded { listener, coding }).inc();
    }

    pub fn uncompressed(&self, listener: &'static str) {
        self.uncompressed.get_or_create(&Which { listener }).inc();
    }

    pub fn handshake_failure(&self, listener: &'static str, reason: &'static str) {
        self.handshake_failures.get_or_create(&Why { listener, reason }).inc();
    }

    pub fn timeout(&self, listener: &'static str, what: &'static str) {
        self.timeouts.get_or_create(&What { listener, what }).inc();
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct ConnectionGauge(Gauge);

impl Drop for ConnectionGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}
