//! A connection's stream: tells the connection what comes and goes, and holds its place among those of its listener for as
//! long as it is open, whoever has it: a web socket stays one after its request is over.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::Connection;

/// A peer that is gone without a word is noticed after two minutes: the first question after one, then every ten seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// Before anything is read from it.
pub(crate) fn prepare(stream: &TcpStream) {
    // None is needed for anything to be right, and none fails on a socket that is open.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES);
}

/// See above. `S`: the connection as its requests see it, after TLS. `P`: what holds its place.
pub(crate) struct Socket<S, P> {
    stream: S,
    connection: Arc<Connection>,
    _place: P,
}

impl<S, P> Socket<S, P> {
    pub fn new(stream: S, connection: Arc<Connection>, place: P) -> Self {
        Self { stream, connection, _place: place }
    }

    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(_)) => self.connection.wrote(Instant::now()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.blocked(Instant::now()),
        }
        polled
    }
}

impl<S: AsyncRead + Unpin, P: Unpin> AsyncRead for Socket<S, P> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.connection.read(&buffer.filled()[before..], Instant::now());
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin, P: Unpin> AsyncWrite for Socket<S, P> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS keeps what it has encrypted until the network takes it.
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        match &polled {
            Poll::Ready(Ok(())) => self.connection.flushed(Instant::now()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.blocked(Instant::now()),
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
