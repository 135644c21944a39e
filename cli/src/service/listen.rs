//! Sockets: bound before anything else, so that a taken port is the first thing said; served until shutdown.

use std::net::SocketAddr;

use axum::Router;
use axum::middleware::from_fn;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_collector::Collector;

use crate::config::Config;
use crate::{Failure, fault};

/// What serves; one that ends by itself ends the process.
pub(crate) type Servers = JoinSet<Result<(), String>>;

/// `config.listen`, which is told the port when it asked for any.
pub(crate) async fn bind_main(config: &mut Config) -> Result<TcpListener, Failure> {
    let listener = bind("listen", config.listen).await?;
    config.listen = listener.local_addr().map_err(Failure::failed)?;
    Ok(listener)
}

/// The listeners that only a process with a collector has.
pub(crate) struct Otlp {
    grpc: TcpListener,
    http: TcpListener,
}

impl Otlp {
    pub async fn bind(config: &Config) -> Result<Self, Failure> {
        Ok(Self { grpc: bind("otlp_grpc", config.otlp_grpc).await?, http: bind("otlp_http", config.otlp_http).await? })
    }

    pub fn listeners(&self) -> [&TcpListener; 2] {
        [&self.grpc, &self.http]
    }

    pub fn serve(self, collector: &Collector, servers: &mut Servers) {
        let (grpc, http) = (collector.serve_otlp_grpc(self.grpc), collector.serve_otlp_http(self.http));
        servers.spawn(async move { grpc.await.map_err(|error| error.to_string()) });
        servers.spawn(async move { http.await.map_err(|error| error.to_string()) });
    }
}

/// Serves a router; a request that panics ends alone.
pub(crate) fn serve(listener: TcpListener, router: Router, shutdown: &CancellationToken, servers: &mut Servers) {
    let stop = shutdown.clone().cancelled_owned();
    let server = axum::serve(listener, router.layer(from_fn(fault::contain))).with_graceful_shutdown(stop);
    servers.spawn(async move { server.await.map_err(|error| error.to_string()) });
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| Failure::failed(format!("{key}: cannot listen on {address}: {error}")))
}
