//! Sockets: bound before anything else, so that a taken port is the first thing said; served by the [front door](crate::front).

use std::io::ErrorKind;
use std::net::SocketAddr;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use weir_collector::Collector;

use crate::Failure;
use crate::config::Config;
use crate::front::{Front, Identity, Listener, Servers, raise_descriptors};

/// The front door of a process that is configured like this. Errors name the file that cannot be used.
pub(crate) fn front(config: &Config, registry: &mut Registry) -> Result<Front, Failure> {
    raise_descriptors();
    weir_tls::register(registry);
    let acceptor = weir_tls::Acceptor::start(&config.tls).map_err(|error| Failure::input(format!("tls: {error}")))?;
    let identity = Identity::start(&config.auth, &config.authorization, &config.collector.tenant).map_err(Failure::input)?;
    let identity = identity.with_tls(acceptor.clone());
    Ok(Front::new(&config.front, identity, &[&config.advertise, &config.rules.external_url], registry).with_tls(acceptor))
}

/// `config.listen`, which is told the port when it asked for any.
pub(crate) async fn bind_main(config: &mut Config) -> Result<Listener, Failure> {
    let listener = bind("listen", config.listen).await?;
    config.listen = listener.address().map_err(Failure::failed)?;
    Ok(listener)
}

/// The listeners that only a process with a collector has.
pub(crate) struct Otlp {
    grpc: Listener,
    http: Listener,
}

impl Otlp {
    pub async fn bind(config: &Config) -> Result<Self, Failure> {
        Ok(Self { grpc: bind("otlp_grpc", config.otlp_grpc).await?, http: bind("otlp_http", config.otlp_http).await? })
    }

    pub fn listeners(&self) -> [&Listener; 2] {
        [&self.grpc, &self.http]
    }

    pub fn serve(self, front: &Front, collector: &Collector, shutdown: &CancellationToken, servers: &mut Servers) {
        front.serve(self.grpc, collector.otlp_grpc_router(), shutdown, servers);
        front.serve(self.http, collector.otlp_http_router(), shutdown, servers);
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<Listener, Failure> {
    let bound = Listener::bind(key, address).await;
    bound.map_err(|error| {
        let flag = format!("--{}", key.replace('_', "-"));
        let why = match error.kind() {
            ErrorKind::AddrInUse => format!("another program listens there already; end it, or say another port with {flag}"),
            ErrorKind::AddrNotAvailable => format!("this machine has no such address; say another with {flag}"),
            ErrorKind::PermissionDenied => format!("this user may not; say a port above 1023 with {flag}"),
            _ => error.to_string(),
        };
        Failure::failed(format!("{key}: cannot listen on {address}: {why}"))
    })
}
