//! A listener at work: takes connections, up to its limit, and serves each until it ends or takes too long. Nothing that a
//! client does, and no lack of descriptors, ends it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use weir_access::Peer;
use weir_tls::ServerStream;

use super::FrontConfig;
use super::body::Outgoing;
use super::connection::{Connection, Limits, Overdue, UnderWay};
use super::handshake::Handshakes;
use super::metrics::{ConnectionGauge, FrontMetrics};
use super::socket::{self, Socket};

/// After an accept that failed for want of something: doubled each time, up to the latter.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Between two looks for a connection that can make room.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// A connection without a request may take so long to say good-bye.
const LINGER: Duration = Duration::from_secs(1);

/// Streams that a client of HTTP/2 may have opened and reset before anybody looked at them, and those that weir may have reset
/// for a client's errors, before the connection is ended: h2's own default, and an eighth of hyper's (a rapid reset, 2023).
const RESETS_PENDING_MAX: usize = 20;
const RESETS_LOCAL_MAX: usize = 128;

/// What the connections of a listener share.
pub(crate) struct Served {
    name: &'static str,
    handshakes: Handshakes,
    builder: Builder<TokioExecutor>,
    service: TowerToHyperService<Router>,
    limits: Limits,
    metrics: FrontMetrics,
    places: Arc<Semaphore>,
    /// Those that can be asked to make room. The lock guards the map alone.
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
}

/// A place among the connections of a listener.
struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: ConnectionGauge,
}

impl Served {
    pub fn new(handshakes: Handshakes, router: Router, config: &FrontConfig) -> Self {
        let (name, metrics) = (handshakes.listener, handshakes.metrics.clone());
        let mut builder = Builder::new(TokioExecutor::new());
        // Its own clock for heads cannot tell one that comes from one that nobody has begun.
        let unlimited: Option<Duration> = None;
        builder.http1().timer(TokioTimer::new()).header_read_timeout(unlimited).max_buf_size(config.head_max.to_usize());
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(config.head_max.to_u64()).unwrap_or(u32::MAX))
            .max_concurrent_streams(config.streams_max)
            .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
            .max_local_error_reset_streams(RESETS_LOCAL_MAX);
        Self {
            name,
            handshakes,
            builder,
            service: TowerToHyperService::new(router),
            limits: Limits::of(config),
            metrics,
            places: Arc::new(Semaphore::new(config.connections_max)),
            open: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    /// Takes connections until `shutdown`; requests under way are finished.
    pub async fn run(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        let taking = async {
            let mut pause = PAUSE_MIN;
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    Some(_) = connections.join_next() => continue,
                };
                match accepted {
                    Ok(accepted) => {
                        pause = PAUSE_MIN;
                        let place = self.place().await;
                        connections.spawn(Arc::clone(&self).connection(accepted, place, shutdown.clone()));
                    }
                    Err(error) => {
                        self.not_accepted(&error);
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = taking => {}
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    /// A place, made by ending the connection that has been idle for longest where all are taken.
    async fn place(&self) -> Place {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
                break permit;
            }
            self.evict();
            if let Ok(Ok(permit)) = timeout(ROOM_PAUSE, Arc::clone(&self.places).acquire_owned()).await {
                break permit;
            }
        };
        Place { _permit: permit, _counted: self.metrics.connection(self.name) }
    }

    fn not_accepted(&self, error: &io::Error) {
        let reason = match rustix::io::Errno::from_io_error(error) {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => "descriptors",
            Some(rustix::io::Errno::NOBUFS | rustix::io::Errno::NOMEM) => "memory",
            _ => "accept",
        };
        self.metrics.refused_connection(self.name, reason);
        tracing::debug!(%error, listener = self.name, "a connection could not be accepted; trying again");
        if reason != "accept" {
            self.evict();
        }
    }

    /// Asks the connection that has been idle for longest to end, if there is one.
    fn evict(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = open.iter().filter_map(|(id, connection)| Some((connection.idle_since()?, *id)));
        if let Some(connection) = idle.min().and_then(|(_, id)| open.remove(&id)) {
            connection.evicted.notify_one();
        }
    }

    async fn connection(self: Arc<Self>, accepted: (TcpStream, SocketAddr), place: Place, shutdown: CancellationToken) {
        let connection = Arc::new(Connection::new(Instant::now()));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.enter(id, &connection);
        socket::prepare(&accepted.0);
        let until = connection.handshake_until(&self.limits);
        if let Some((stream, peer)) = self.handshakes.shake(accepted, &connection, until, &shutdown).await {
            self.requests((id, &connection), Socket::new(stream, Arc::clone(&connection), place), &peer, &shutdown).await;
        }
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn enter(&self, id: u64, connection: &Arc<Connection>) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(connection));
    }

    async fn requests(
        &self,
        (id, connection): (u64, &Arc<Connection>),
        socket: Socket<ServerStream, Place>,
        peer: &Peer,
        shutdown: &CancellationToken,
    ) {
        let service = service_fn(|mut request| {
            request.extensions_mut().insert(peer.clone());
            Self::answer(self.service.clone(), connection.begin(), request)
        });
        let mut served = pin!(self.builder.serve_connection_with_upgrades(TokioIo::new(socket), service));
        let mut leaving: Option<Instant> = None;
        loop {
            tokio::select! {
                // What has come in counts before what took too long.
                biased;
                // Ended, broken, or upgraded, after which it is its handler's.
                _ = served.as_mut() => break,
                () = shutdown.cancelled(), if leaving.is_none() => leaving = Some(Instant::now()),
                () = connection.evicted.notified() => {
                    if connection.idle_since().is_some() {
                        self.metrics.refused_connection(self.name, "evicted");
                        break;
                    }
                    self.enter(id, connection);
                    continue;
                }
                () = sleep_until(self.look_again(connection, leaving)) => match self.overdue(connection, leaving) {
                    None => continue,
                    Some(Overdue::Idle) if leaving.is_none() => leaving = Some(Instant::now()),
                    Some(_) => break,
                },
            }
            served.as_mut().graceful_shutdown();
        }
    }

    /// When to look at a connection: by then nothing is overdue, whatever it does meanwhile.
    fn look_again(&self, connection: &Connection, leaving: Option<Instant>) -> Instant {
        let shortest = if leaving.is_some() { LINGER } else { self.limits.shortest() };
        let soon = Instant::now() + shortest;
        connection.due(&self.limits).map_or(soon, |(due, _)| due.min(soon))
    }

    /// What took too long, counted.
    fn overdue(&self, connection: &Connection, leaving: Option<Instant>) -> Option<Overdue> {
        if leaving.is_some_and(|since| since.elapsed() >= LINGER) && connection.idle_since().is_some() {
            return Some(Overdue::Idle);
        }
        let (due, what) = connection.due(&self.limits)?;
        if due > Instant::now() || (leaving.is_some() && what == Overdue::Idle) {
            return None;
        }
        self.metrics.timeout(self.name, what.name());
        Some(what)
    }

    async fn answer(
        service: TowerToHyperService<Router>,
        under_way: UnderWay,
        request: Request<hyper::body::Incoming>,
    ) -> Result<Response<Outgoing>, Infallible> {
        let response = service.call(request.map(Body::new)).await?;
        Ok(response.map(|body| Outgoing::new(body, under_way)))
    }
}
