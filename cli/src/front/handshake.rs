//! The first thing on a connection of a listener with TLS. It has no longer than a request's head has, counts among the connections
//! of its listener, and makes room for others like one that is idle.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use weir_access::Peer;
use weir_tls::{Acceptor, Handshaken, ServerStream};

use super::connection::Connection;
use super::metrics::FrontMetrics;

/// What a listener has to say and to count about its handshakes.
pub(crate) struct Handshakes {
    pub listener: &'static str,
    /// None where the listener is plain.
    pub acceptor: Option<Acceptor>,
    pub metrics: FrontMetrics,
}

impl Handshakes {
    /// The connection, and who is at its other end; none where that is over by then. Why is counted.
    pub async fn shake(
        &self,
        (stream, address): (TcpStream, SocketAddr),
        connection: &Connection,
        until: Instant,
        shutdown: &CancellationToken,
    ) -> Option<(ServerStream, Peer)> {
        let Some(acceptor) = &self.acceptor else {
            return Some((Either::Left(stream), Peer { address, certificates: Arc::new([]), is_tls: false }));
        };
        let shaken = tokio::select! {
            shaken = acceptor.accept(stream) => shaken,
            () = shutdown.cancelled() => return None,
            () = connection.evicted.notified() => {
                self.metrics.refused_connection(self.listener, "evicted");
                return None;
            }
            () = sleep_until(until) => {
                self.metrics.timeout(self.listener, "handshake");
                return None;
            }
        };
        match shaken {
            Ok(Handshaken { stream, certificates }) => Some((stream, Peer { address, certificates, is_tls: true })),
            Err(error) => {
                self.metrics.handshake_failure(self.listener, error.reason());
                tracing::debug!(%error, %address, listener = self.listener, reason = error.reason(), "a handshake failed");
                None
            }
        }
    }
}
