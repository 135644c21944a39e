//! What is said when there is no answer, or not weir's.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::address::Address;
use super::{http, range};
use crate::Failure;
use crate::args::RangeArguments;
use crate::text::clock::Clock;

/// What a question to `addr` fails with.
async fn failed(addr: &str) -> Failure {
    let address = Address::parse(addr).unwrap_or_else(|failure| panic!("{}", failure.message));
    http::get(&address, "/api/weir/v1/logs", &[]).await.unwrap_err()
}

fn holds(failure: &Failure, code: u8, parts: &[&str]) {
    for part in parts {
        assert!(failure.message.contains(part), "{part:?} is not in {:?}", failure.message);
    }
    for leak in ["reqwest", "hyper", "os error", "Connect", "client error", "kind:"] {
        assert!(!failure.message.contains(leak), "{leak:?} is in {:?}", failure.message);
    }
    assert_eq!(failure.code, code, "{:?}", failure.message);
}

/// A server that answers one request with these bytes and closes.
async fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _read = socket.read(&mut request).await.unwrap();
        socket.write_all(bytes).await.unwrap();
    });
    address
}

#[tokio::test]
async fn no_answer_is_said_in_words_with_the_address_and_what_to_do() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    holds(&failed(&closed).await, 1, &[&closed, "nothing listens", "weir up", "--addr"]);
    let local = closed.replace("127.0.0.1", "localhost");
    holds(&failed(&local).await, 1, &[&local, "nothing listens"]);
    holds(&failed("no-such-name.invalid:1").await, 1, &["no machine", "no-such-name.invalid", "--addr"]);
    let alert = answering(b"\x15\x03\x01\x00\x02\x02\x46").await;
    holds(&failed(&alert).await, 1, &[&alert, "not in HTTP", "TLS"]);
    let address = Address::parse("https://localhost:1").unwrap();
    let said = |text: &str| super::unreachable::in_words(&address, &std::io::Error::other(text.to_owned()));
    assert!(said("invalid peer certificate: UnknownIssuer").contains("--ca-file"));
    assert!(said("received fatal alert: CertificateRequired").contains("--cert"));
    let silent = answering(b"").await;
    holds(&failed(&silent).await, 1, &[&silent, "closed the connection"]);
}

#[tokio::test]
async fn other_programs_and_refusals_are_told_apart() {
    let other = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    holds(&failed(&other).await, 1, &[&other, "another program"]);
    let gone = answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    holds(&failed(&gone).await, 1, &[&gone, "404"]);
    // Nothing listens where it points.
    let redirect = b"HTTP/1.1 308 Permanent Redirect\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\n\r\n";
    let moved = answering(redirect).await;
    holds(&failed(&moved).await, 1, &[&moved, "308", "not followed", "http://127.0.0.1:1/x"]);
    let wrong = answering(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 27\r\n\r\n{\"error\": \"parse error: x\"}").await;
    holds(&failed(&wrong).await, 2, &["parse error: x"]);
}

#[test]
fn ranges_are_read_as_the_page_reads_them() {
    let clock = Clock::local();
    let read = |since: Option<&str>, from: Option<&str>, to: Option<&str>| {
        let [since, from, to] = [since, from, to].map(|text| text.map(str::to_owned));
        range(&RangeArguments { since, from, to }, &clock)
    };
    let hour = 3_600_000_000_000;
    let length = |(start, end): (i64, i64)| end - start;
    assert_eq!(read(None, None, None).map(length).unwrap(), hour);
    assert_eq!(read(Some("2h"), None, Some("now-1h")).map(length).unwrap(), 2 * hour);
    assert_eq!(
        read(None, Some("1795766400"), Some("1795766400500")).unwrap(),
        (1_795_766_400_000_000_000, 1_795_766_400_500_000_000)
    );
    assert_eq!(read(None, Some("2026-11-27 10:00"), Some("2026-11-27 11:00")).map(length).unwrap(), hour);
    let refused = |since, from, to, expected: &str| {
        let failure = read(since, from, to).unwrap_err();
        assert!(failure.message.contains(expected) && failure.code == 2, "{}", failure.message);
    };
    refused(Some("yesterday"), None, None, "--since: not a duration: \"yesterday\"");
    refused(None, Some("yesterday"), None, "--from: not a time: \"yesterday\"");
    refused(None, None, Some("noon"), "--to: not a time: \"noon\"");
    refused(None, Some("now-1h"), Some("now-2h"), "the range is empty");
}
