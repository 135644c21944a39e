//! The listeners, and what a request passes on its way in: refused here, or contained by [`fault`] and answered by a router.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::admit::{Admitted, Origin, Rules};
use super::hosts::{self, Hosts};
use super::metrics::FrontMetrics;
use super::{FrontConfig, answer};
use crate::fault;

/// What serves; one that ends by itself ends the process.
pub(crate) type Servers = JoinSet<Result<(), String>>;

/// A bound socket that only [`Front::serve`] can serve.
#[derive(Debug)]
pub(crate) struct Listener {
    /// In messages and metrics.
    name: &'static str,
    socket: TcpListener,
}

impl Listener {
    /// Binds; `name` is the label of its metrics.
    pub async fn bind(name: &'static str, address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { name, socket: TcpListener::bind(address).await? })
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The same socket once more.
    pub fn share(&self) -> std::io::Result<Self> {
        let socket = TcpListener::from_std(std::net::TcpListener::from(self.socket.as_fd().try_clone_to_owned()?))?;
        Ok(Self { name: self.name, socket })
    }
}

/// The front door of a process. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Front(Arc<Gate>);

impl Front {
    /// `config` was checked. `urls` are weir's own, under whose names it answers as well.
    pub fn new(config: &FrontConfig, urls: &[&str], registry: &mut Registry) -> Self {
        let metrics = FrontMetrics::default();
        metrics.register(registry);
        let own = hosts::of_this_machine().into_iter().chain(urls.iter().filter_map(|url| hosts::of_url(url)));
        let rules = Rules {
            hosts: Hosts::new(&config.hosts, own),
            origins: config.origins.iter().filter_map(|origin| Origin::parse(origin)).collect(),
            is_api: weir_dashboards::is_api,
        };
        Self(Arc::new(Gate { rules, metrics }))
    }

    /// Serves a router until `shutdown`; requests under way are finished, and one that panics ends alone.
    pub fn serve(&self, listener: Listener, router: Router, shutdown: &CancellationToken, servers: &mut Servers) {
        let (gate, name) = (Arc::clone(&self.0), listener.name);
        let pass = move |request: Request, next: Next| {
            let gate = Arc::clone(&gate);
            async move { gate.pass(name, request, next).await }
        };
        let router = router.layer(from_fn(fault::contain)).layer(from_fn(pass));
        let server = axum::serve(listener.socket, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
        servers.spawn(async move { server.await.map_err(|error| error.to_string()) });
    }
}

/// What every request passes.
struct Gate {
    rules: Rules,
    metrics: FrontMetrics,
}

impl Gate {
    async fn pass(&self, listener: &'static str, request: Request, next: Next) -> Response {
        let (head, body) = request.into_parts();
        let mut response = match self.rules.admit(&head) {
            Ok(Admitted::Own) => next.run(Request::from_parts(head, body)).await,
            Ok(Admitted::From(origin)) => {
                let mut response = next.run(Request::from_parts(head, body)).await;
                answer::allow(response.headers_mut(), origin);
                response
            }
            Ok(Admitted::Preflight(origin)) => answer::preflight(&head, origin),
            Err(refusal) => {
                self.metrics.refused_request(listener, refusal.reason());
                tracing::debug!(listener, reason = refusal.reason(), %refusal, "a request was refused");
                answer::refuse(&head, &refusal)
            }
        };
        answer::harden(response.headers_mut());
        response
    }
}
