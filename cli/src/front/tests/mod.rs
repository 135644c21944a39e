//! The front door through real sockets.

mod audit;
mod compress;
mod denied;
mod deploy;
mod http2;
mod limits;
mod matrix;
mod requests;
mod slow;
mod tls;
mod wrong;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use weir_access::{AuthorizationConfig, Routes};
use weir_methods::{AuthConfig, MethodName};

use super::{Front, FrontConfig, Identity, Listener, Servers};

/// Any wait of a test ends here: far beyond what a loaded machine needs.
const END: Duration = Duration::from_secs(60);

/// The gauge of open connections.
const CONNECTIONS: &str = "weir_front_connections{listener=\"listen\"}";

/// Waits for a condition.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(END, waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A served router.
struct Door {
    address: SocketAddr,
    registry: Registry,
    shutdown: CancellationToken,
    servers: Servers,
}

impl Door {
    /// Lets everybody do everything.
    async fn open(config: FrontConfig, router: Router) -> Self {
        Self::open_with(config, router, None).await
    }

    async fn open_with(config: FrontConfig, router: Router, acceptor: Option<weir_tls::Acceptor>) -> Self {
        let identity = Identity::start(&AuthConfig::default(), &AuthorizationConfig::default(), "default").unwrap();
        Self::start(config, identity, Routes::new().map(|routes| routes.merge(router)), acceptor).await
    }

    async fn open_for(config: FrontConfig, identity: Identity, routes: Routes) -> Self {
        Self::start(config, identity, routes, None).await
    }

    async fn start(config: FrontConfig, identity: Identity, routes: Routes, acceptor: Option<weir_tls::Acceptor>) -> Self {
        config.check().unwrap();
        let (mut registry, shutdown, mut servers) = (Registry::default(), CancellationToken::new(), Servers::new());
        let front = Front::new(&config, identity, &["http://advertised.example:9640"], &mut registry).with_tls(acceptor);
        let listener = Listener::bind("listen", SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.address().unwrap();
        front.serve(listener, routes, &shutdown, &mut servers);
        Self { address, registry, shutdown, servers }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends the text on a connection of its own and reads until the other side ends.
    async fn send(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// The value of a counter or gauge, by the start of its line.
    fn metric(&self, line: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Ends as a process does.
    async fn close(mut self) {
        self.shutdown.cancel();
        let ended = async { while self.servers.join_next().await.is_some() {} };
        tokio::time::timeout(END, ended).await.expect("the server ends");
    }
}

/// What comes until the end of the stream, which a reset is as well.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        match tokio::time::timeout(END, stream.read(&mut buffer)).await.expect("the connection ends") {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&bytes).into_owned(),
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}
