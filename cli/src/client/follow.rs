//! `weir logs --follow`: the newest lines of the past, then lines as they arrive, until Ctrl-C. A connection that is lost is made
//! again: what arrived meanwhile is asked for, and what was written before is told by its id.

use std::collections::{HashSet, VecDeque};
use std::io::ErrorKind;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::either::Either;
use weir_model::time::{SECOND, UnixNanos};
use weir_tls::ClientStream;

use super::address::Address;
use super::http::{Answer, CONNECT_WITHIN};
use super::lines::{Query, Style, newest, note_limit};
use super::print::{self, number, text};
use super::{http, unreachable};
use crate::args::Output;
use crate::service::lifecycle::now;
use crate::text::safe;
use crate::text::units::count;
use crate::{Failure, stdout};

/// The clocks of other machines may be ahead by so much; the past that is read first ends there, in nanoseconds.
const AHEAD: i64 = 3600 * SECOND;
/// One message: what arrives within 100 ms.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Between two tries to connect again, and to find all of what arrived meanwhile.
const PAUSE: Duration = Duration::from_secs(1);
/// A weir that has started reads its bus again; so many pauses are waited for that before what is not there is given up.
const CATCH_UP_TRIES: usize = 60;
/// What arrived meanwhile is looked for from so long before the newest line that was written: clocks and ways differ.
const OVERLAP: i64 = 60 * SECOND;
/// Lines that arrived meanwhile, at least as many are asked for.
const MEANWHILE_LINES: u64 = 1000;
/// Ids of lines that were written: 10 MB, and more than a terminal shows in a minute.
const WRITTEN_MAX: usize = 100_000;

type Tail = WebSocketStream<ClientStream>;

/// Ends when nobody reads stdout any more. Errors when the first connection fails, and when weir refuses the query.
pub(super) async fn follow(query: &Query, address: &Address, output: Output, style: &Style) -> Result<(), Failure> {
    // Opened before the past is read, so that nothing lies between; what is in both is told by its id.
    let mut tail = connect(query, address).await.map_err(|error| refused(address, error))?;
    let past = Query { text: query.text.clone(), range: (query.range.0, now().saturating_add(AHEAD)), limit: query.limit };
    let (lines, answer) = newest(&past, address).await?;
    print::note_coverage(&answer, false);
    note_limit(lines.len(), query.limit);
    let mut follower = Follower { address: address.clone(), output, style, written: Written::since(&lines, query.range.0) };
    if !follower.write(lines)? {
        return Ok(());
    }
    loop {
        let Some(why) = follower.live(tail).await? else { return Ok(()) };
        print::note(&format!("the connection to {address} was lost ({why}); connecting again"));
        follower.written.interrupted();
        drop(reconnect(query, &mut follower.address).await?);
        // Without a tail, which would have to be read meanwhile.
        follower.wait_until_whole(query).await;
        tail = reconnect(query, &mut follower.address).await?;
        print::note(&format!("connected to {address} again"));
        let lines = follower.meanwhile(query).await;
        if !follower.write(lines)? {
            return Ok(());
        }
    }
}

/// Connection, handshakes and weir's answer together take no longer than `CONNECT_WITHIN`.
async fn connect(query: &Query, address: &Address) -> Result<Tail, Error> {
    let late = |_| Error::Io(ErrorKind::TimedOut.into());
    tokio::time::timeout(CONNECT_WITHIN, connected(query, address)).await.map_err(late)?
}

async fn connected(query: &Query, address: &Address) -> Result<Tail, Error> {
    let mut url = address.url("/api/weir/v1/logs/tail", &[("query", query.text.clone())]);
    let (host, port) = (address.host().to_owned(), url.port_or_known_default().unwrap_or_default());
    let stream = TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), port)).await?;
    let is_tls = url.scheme() == "https";
    // One of http can be changed.
    let _is_http = url.set_scheme(if is_tls { "wss" } else { "ws" });
    let stream = if is_tls { weir_tls::connect(&address.tls, &host, stream).await? } else { Either::Left(stream) };
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    let mut request = url.as_str().into_client_request()?;
    request.headers_mut().extend(address.headers().clone());
    Ok(client_async_with_config(request, stream, Some(config)).await?.0)
}

/// Until there is a connection, or weir says that there will be none. A token that has ended is renewed once, where it can be.
async fn reconnect(query: &Query, address: &mut Address) -> Result<Tail, Failure> {
    let mut was_renewed = false;
    loop {
        tokio::time::sleep(PAUSE).await;
        match connect(query, address).await {
            Ok(tail) => return Ok(tail),
            Err(Error::Http(response)) if response.status().as_u16() == 401 && !was_renewed => {
                *address = address.renewed().await?;
                was_renewed = true;
            }
            Err(Error::Http(response)) if [400, 401, 403].contains(&response.status().as_u16()) => {
                return Err(refused(address, Error::Http(response)));
            }
            Err(_) => {}
        }
    }
}

struct Follower<'a> {
    address: Address,
    output: Output,
    style: &'a Style,
    written: Written,
}

impl Follower<'_> {
    /// Writes lines as they arrive, until the connection is lost: why. None when nobody reads stdout any more.
    async fn live(&mut self, mut tail: Tail) -> Result<Option<String>, Failure> {
        loop {
            let message = match tail.next().await {
                Some(Ok(Message::Text(message))) => message,
                Some(Ok(Message::Close(frame))) => return Ok(Some(ended(frame.as_ref()))),
                None => return Ok(Some(ended(None))),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Ok(Some(error.to_string())),
            };
            let Ok(message) = serde_json::from_str::<Value>(&message) else {
                return Ok(Some("it said what weir does not say".into()));
            };
            if !self.write(message["lines"].as_array().cloned().unwrap_or_default())? {
                return Ok(None);
            }
            let dropped = number(&message["dropped"]).unsigned_abs();
            if dropped > 0 {
                print::note(&format!("{} arrived faster than they could be sent, and are left out here", count(dropped, "line")));
            }
        }
    }

    /// Where what arrived while there was no connection is looked for.
    fn gap(&self, query: &Query, limit: u64) -> Query {
        let range = (self.written.newest.saturating_sub(OVERLAP), now().saturating_add(AHEAD));
        Query { text: query.text.clone(), range, limit }
    }

    /// Until all that is on the bus can be found, or it takes too long.
    async fn wait_until_whole(&self, query: &Query) {
        for _ in 0..CATCH_UP_TRIES {
            if newest(&self.gap(query, 1), &self.address).await.is_ok_and(|(_, answer)| is_whole(&answer)) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What arrived while there was no connection. Says what of it is left out.
    async fn meanwhile(&self, query: &Query) -> Vec<Value> {
        let mut limit = query.limit.max(MEANWHILE_LINES);
        let mut read = newest(&self.gap(query, limit), &self.address).await;
        if read.is_err() && limit > query.limit {
            // The server may allow fewer.
            limit = query.limit;
            read = newest(&self.gap(query, limit), &self.address).await;
        }
        match read {
            Ok((lines, answer)) => {
                print::note_coverage(&answer, false);
                if lines.len() as u64 >= limit {
                    print::note(&format!("of what arrived meanwhile the newest {} are shown", count(limit, "line")));
                }
                lines
            }
            Err(error) => {
                print::note(&format!("what arrived meanwhile could not be read: {}", error.message));
                Vec::new()
            }
        }
    }

    /// Those that were not written before. Whether anybody reads stdout.
    fn write(&mut self, mut lines: Vec<Value>) -> Result<bool, Failure> {
        lines.retain(|line| self.written.is_new(text(&line["id"]), number(&line["t"])));
        write(&lines, self.output, self.style)
    }
}

/// Whether all was read of an answer, and nothing is on the bus that cannot be found yet. A declared loss will not come.
fn is_whole(answer: &Answer) -> bool {
    let partitions = answer.coverage["partitions"].as_array().cloned().unwrap_or_default();
    let missing = answer.coverage["missing"].as_array().is_some_and(|missing| !missing.is_empty());
    !missing && partitions.iter().all(|one| number(&one["on_bus"]) <= number(&one["searchable"]))
}

/// Which lines were written.
struct Written {
    ids: HashSet<String>,
    /// The same, oldest first.
    order: VecDeque<(String, UnixNanos)>,
    /// Where the first of them stood, or behind the last that was forgotten.
    oldest: UnixNanos,
    /// What is older is not written: a weir that has read its bus again sends that, too.
    floor: UnixNanos,
    newest: UnixNanos,
}

impl Written {
    /// Nothing yet; `first` are the lines that are about to be written, `start` where they were looked for.
    fn since(first: &[Value], start: UnixNanos) -> Self {
        let oldest = first.iter().map(|line| number(&line["t"])).min().unwrap_or(start);
        Self { ids: HashSet::new(), order: VecDeque::new(), oldest, floor: UnixNanos::MIN, newest: start }
    }

    /// The connection was lost.
    fn interrupted(&mut self) {
        self.floor = self.oldest;
    }

    /// Remembers a line that is to be written.
    fn is_new(&mut self, id: &str, at: UnixNanos) -> bool {
        if at < self.floor || !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.newest = self.newest.max(at.min(now()));
        self.order.push_back((id.to_owned(), at));
        if self.order.len() > WRITTEN_MAX
            && let Some((forgotten, at)) = self.order.pop_front()
        {
            self.ids.remove(&forgotten);
            self.oldest = self.oldest.max(at.saturating_add(1));
        }
        true
    }
}

/// With weir's reason, which may come from whoever stands between.
fn ended(frame: Option<&CloseFrame>) -> String {
    match frame.map(|frame| frame.reason.as_str()) {
        None | Some("") => "weir ended it".into(),
        Some(reason) => format!("weir ended it: {}", safe::line(reason)),
    }
}

fn write(lines: &[Value], output: Output, style: &Style) -> Result<bool, Failure> {
    stdout::write(&lines.iter().map(|line| style.written(line, output)).collect::<String>())
}

fn refused(address: &Address, error: Error) -> Failure {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let said: Option<Value> = serde_json::from_slice(body).ok();
            let said = said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), |said| text(&said["error"]).to_owned());
            let status = StatusCode::from_u16(response.status().as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            http::refusal(status, &said)
        }
        other => Failure::failed(unreachable::in_words(address, &other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_connection_and_is_silent_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        for scheme in ["http", "https"] {
            let address = Address::parse(&format!("{scheme}://{at}")).unwrap_or_else(|failure| panic!("{}", failure.message));
            let query = Query { text: "{a=\"b\"}".into(), range: (0, 1), limit: 1 };
            // The kernel takes connections that nobody accepts; the clock moves on when nothing else does.
            let error = connect(&query, &address).await.expect_err("nobody answers");
            let said = refused(&address, error).message;
            assert!(said.contains("in time") && said.contains(&at.to_string()), "{said}");
        }
    }

    #[test]
    fn the_reason_of_an_end_is_said() {
        let frame = |reason: &'static str| CloseFrame { code: 1008.into(), reason: reason.into() };
        assert_eq!(ended(Some(&frame("no credentials\u{1b}[2J"))), "weir ended it: no credentials\\x1b[2J");
        for silent in [None, Some(&frame(""))] {
            assert_eq!(ended(silent), "weir ended it");
        }
    }

    #[test]
    fn a_line_is_written_once_and_nothing_older_than_the_first() {
        let mut written = Written::since(&[json!({"id": "b", "t": "20"}), json!({"id": "a", "t": "10"})], 5);
        assert!(written.is_new("a", 10) && written.is_new("b", 20));
        assert!(!written.is_new("a", 10) && written.is_new("came late", 3));
        written.interrupted();
        assert!(!written.is_new("a", 10) && !written.is_new("never shown", 9), "sent again after a restart");
        assert!(written.is_new("late", 15));
        assert_eq!(written.newest, 20);
        for i in 0..WRITTEN_MAX {
            assert!(written.is_new(&i.to_string(), 30));
        }
        assert_eq!((written.ids.len(), written.order.len()), (WRITTEN_MAX, WRITTEN_MAX));
        written.interrupted();
        assert!(!written.is_new("a", 10) && !written.is_new("b", 20), "forgotten, and sent again after a restart");
        // Nothing was found: where it was looked for.
        assert_eq!(Written::since(&[], 5).oldest, 5);
    }
}
