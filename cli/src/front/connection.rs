//! What one connection does: whether it is idle, sends a head, has requests under way, or does not read. Told by its
//! socket and its requests' bodies; asked by the task that serves it, which ends it when it takes too long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::FrontConfig;

/// A method that no request of HTTP/1 has: HTTP/2 begins with it.
const HTTP2_BEGINS: &[u8; 3] = b"PRI";

/// How long each may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub head: Duration,
    pub idle: Duration,
    pub write: Duration,
}

impl Limits {
    pub fn of(config: &FrontConfig) -> Self {
        Self { head: config.head_timeout, idle: config.idle_timeout, write: config.write_timeout }
    }

    /// Whoever looks this often misses no deadline.
    pub fn shortest(&self) -> Duration {
        self.head.min(self.idle).min(self.write)
    }
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// A request's head did not come.
    Head,
    /// No request came.
    Idle,
    /// The client did not read.
    Write,
}

impl Overdue {
    /// The label of its counter.
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Write => "write",
        }
    }
}

/// One connection. Its lock guards plain fields, for as long as it takes to write them.
#[derive(Debug)]
pub(crate) struct Connection {
    opened: Instant,
    state: Mutex<State>,
    /// It was asked to make room.
    pub evicted: Notify,
}

#[derive(Debug)]
struct State {
    /// Its first bytes, as many as tell HTTP/2.
    first: Vec<u8>,
    served: bool,
    /// Responses that are not handed over yet; those that wait for the client to read, since when.
    requests: HashMap<u64, Option<Instant>>,
    next: u64,
    quiet_since: Instant,
    /// The first byte of the next head.
    head_since: Option<Instant>,
    write_blocked_since: Option<Instant>,
    written_at: Instant,
}

impl Connection {
    pub fn new(now: Instant) -> Self {
        let state = State {
            first: Vec::new(),
            served: false,
            requests: HashMap::new(),
            next: 0,
            quiet_since: now,
            head_since: None,
            write_blocked_since: None,
            written_at: now,
        };
        Self { opened: now, state: Mutex::new(state), evicted: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come.
    pub fn read(&self, bytes: &[u8], now: Instant) {
        let mut state = self.lock();
        let wanted = HTTP2_BEGINS.len() - state.first.len();
        state.first.extend(bytes.iter().take(wanted));
        if state.requests.is_empty() && !bytes.is_empty() {
            state.head_since.get_or_insert(now);
        }
    }

    /// Bytes were handed to the network.
    pub fn wrote(&self, now: Instant) {
        let mut state = self.lock();
        (state.written_at, state.write_blocked_since) = (now, None);
    }

    /// All that was written has been handed to the network.
    pub fn flushed(&self, now: Instant) {
        let mut state = self.lock();
        if state.write_blocked_since.take().is_some() {
            state.written_at = now;
        }
    }

    /// The network takes no more.
    pub fn blocked(&self, now: Instant) {
        self.lock().write_blocked_since.get_or_insert(now);
    }

    /// A head is complete. The request is under way until what is returned is dropped.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.lock();
        let id = state.next;
        (state.next, state.served, state.head_since) = (id + 1, true, None);
        state.requests.insert(id, None);
        UnderWay { connection: Arc::clone(self), id }
    }

    /// By when a handshake has to be over.
    pub fn handshake_until(&self, limits: &Limits) -> Instant {
        self.opened + limits.head
    }

    /// Since when it has had nothing to do; `None` while it has.
    pub fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        let busy = !state.requests.is_empty() || state.write_blocked_since.is_some();
        (!busy).then(|| state.quiet_since.max(state.written_at))
    }

    /// When what it does now will have taken too long, and what that is; `None` while weir works for it.
    pub fn due(&self, limits: &Limits) -> Option<(Instant, Overdue)> {
        let state = self.lock();
        let unread = state.requests.values().flatten().chain(&state.write_blocked_since).min();
        if let Some(since) = unread {
            return Some((*since + limits.write, Overdue::Write));
        }
        if !state.requests.is_empty() {
            return None;
        }
        // What comes outside of a request in HTTP/2 need not be the beginning of one.
        if state.first != HTTP2_BEGINS {
            let begun = state.head_since.or((!state.served).then_some(self.opened));
            if let Some(since) = begun {
                return Some((since + limits.head, Overdue::Head));
            }
        }
        Some((state.quiet_since.max(state.written_at) + limits.idle, Overdue::Idle))
    }
}

/// A request from the end of its head to the end of its response.
#[derive(Debug)]
pub(crate) struct UnderWay {
    connection: Arc<Connection>,
    id: u64,
}

impl UnderWay {
    /// A part of the response was handed over: from now on it waits for the client.
    pub fn handed_over(&self, now: Instant) {
        self.connection.lock().requests.insert(self.id, Some(now));
    }

    /// The next part is wanted: the client has read.
    pub fn wanted(&self) {
        self.connection.lock().requests.insert(self.id, None);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.connection.lock();
        state.requests.remove(&self.id);
        if state.requests.is_empty() {
            state.quiet_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { head: Duration::from_secs(10), idle: Duration::from_secs(100), write: Duration::from_secs(30) };

    fn after(connection: &Connection, seconds: u64) -> Instant {
        connection.opened + Duration::from_secs(seconds)
    }

    #[track_caller]
    fn check(connection: &Connection, expected: Option<(u64, Overdue)>) {
        let expected = expected.map(|(seconds, what)| (after(connection, seconds), what));
        assert_eq!(connection.due(&LIMITS), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn each_state_has_its_own_end() {
        let connection = Arc::new(Connection::new(Instant::now()));
        check(&connection, Some((10, Overdue::Head)));
        tokio::time::advance(Duration::from_secs(3)).await;
        connection.read(b"GE", Instant::now());
        connection.read(b"T / HTTP/1.1\r\n", after(&connection, 9));
        // From its first byte: one now and then does not help.
        check(&connection, Some((13, Overdue::Head)));
        let request = connection.begin();
        check(&connection, None);
        assert_eq!(connection.idle_since(), None);
        request.handed_over(after(&connection, 5));
        check(&connection, Some((35, Overdue::Write)));
        request.wanted();
        check(&connection, None);
        connection.blocked(after(&connection, 6));
        connection.blocked(after(&connection, 7));
        check(&connection, Some((36, Overdue::Write)));
        drop(request);
        check(&connection, Some((36, Overdue::Write)));
        connection.wrote(after(&connection, 20));
        check(&connection, Some((120, Overdue::Idle)));
        assert_eq!(connection.idle_since(), Some(after(&connection, 20)));
        connection.read(b"GET", after(&connection, 50));
        check(&connection, Some((60, Overdue::Head)));
    }

    #[tokio::test(start_paused = true)]
    async fn http2_is_idle_between_requests_whatever_it_sends() {
        let connection = Arc::new(Connection::new(Instant::now()));
        connection.read(b"P", Instant::now());
        check(&connection, Some((10, Overdue::Head)));
        connection.read(b"RI * HTTP/2.0", Instant::now());
        check(&connection, Some((100, Overdue::Idle)));
        let (one, two) = (connection.begin(), connection.begin());
        one.handed_over(after(&connection, 4));
        two.handed_over(after(&connection, 2));
        check(&connection, Some((32, Overdue::Write)));
        drop(two);
        check(&connection, Some((34, Overdue::Write)));
        drop(one);
        connection.read(b"a ping", after(&connection, 50));
        check(&connection, Some((100, Overdue::Idle)));
    }
}
