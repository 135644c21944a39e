//! The front door itself: made once by each process, handed every socket that it listens on.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_access::Routes;
use weir_access::audit::{self, AuditLines};
use weir_tls::Acceptor;

use super::FrontConfig;
use super::accept::Served;
use super::admit::{Origin, Rules};
use super::body::Pace;
use super::compress::Compressors;
use super::gate::Gate;
use super::handshake::Handshakes;
use super::hosts::{self, Hosts};
use super::identity::Identity;
use super::metrics::FrontMetrics;
use crate::fault;

/// What serves; one that ends by itself ends the process.
pub(crate) type Servers = JoinSet<Result<(), String>>;

/// Lets this process open as many descriptors as it may: each connection is one.
pub(crate) fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open descriptors stays as it is");
    }
}

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
pub(crate) struct Front {
    config: Arc<FrontConfig>,
    gate: Arc<Gate>,
    /// Held for as long as it takes to move them.
    audit_lines: Arc<Mutex<Option<AuditLines>>>,
    acceptor: Option<Acceptor>,
}

impl Front {
    /// `config` was checked. `urls` are weir's own, under whose names it answers as well.
    pub fn new(config: &FrontConfig, identity: Identity, urls: &[&str], registry: &mut Registry) -> Self {
        let metrics = FrontMetrics::default();
        metrics.register(registry);
        identity.register(registry);
        let (audit, lines) = audit::open(registry);
        let own = hosts::of_this_machine().into_iter().chain(urls.iter().filter_map(|url| hosts::of_url(url)));
        let rules = Rules {
            hosts: Hosts::new(&config.hosts, own),
            origins: config.origins.iter().filter_map(|origin| Origin::parse(origin)).collect(),
            is_api: weir_dashboards::is_api,
        };
        let pace = Pace { wait: config.body_timeout, bytes_per_second: config.body_rate_min.to_u64() };
        let compressors = Compressors::new(config.compressors_max);
        let gate = Arc::new(Gate { rules, identity, audit, pace, compressors, metrics });
        let audit_lines = Arc::new(Mutex::new(Some(lines)));
        Self { config: Arc::new(config.clone()), gate, audit_lines, acceptor: None }
    }

    /// What the audit log says of its requests, once: for whoever ships it. Until then it waits in a queue.
    pub fn audit_lines(&self) -> Option<AuditLines> {
        self.audit_lines.lock().ok().and_then(|mut lines| lines.take())
    }

    /// With TLS on all listeners, where there is an acceptor.
    #[must_use]
    pub fn with_tls(self, acceptor: Option<Acceptor>) -> Self {
        Self { acceptor, ..self }
    }

    /// Where the page gets a session: of every process that has the page.
    pub fn sign_in_routes(&self) -> Routes {
        self.gate.identity.sign_in_routes()
    }

    /// The routes behind the gate. `listener`: in metrics.
    pub(super) fn gated(&self, listener: &'static str, routes: Routes) -> Router {
        let gate = Arc::clone(&self.gate);
        let pass = move |request: Request, next: Next| {
            let gate = Arc::clone(&gate);
            async move { gate.pass(listener, request, next).await }
        };
        routes.into_router().layer(from_fn(fault::contain)).layer(from_fn(pass))
    }

    /// Serves routes until `shutdown`; requests under way are finished, and one that panics ends alone.
    pub fn serve(&self, listener: Listener, routes: Routes, shutdown: &CancellationToken, servers: &mut Servers) {
        let (name, router) = (listener.name, self.gated(listener.name, routes));
        let (acceptor, metrics) = (self.acceptor.clone(), self.gate.metrics.clone());
        let served = Arc::new(Served::new(Handshakes { listener: name, acceptor, metrics }, router, &self.config));
        let shutdown = shutdown.clone();
        servers.spawn(async move {
            served.run(listener.socket, shutdown).await;
            Ok(())
        });
    }
}
